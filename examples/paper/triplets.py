"""Learning from triplets: two crops shall be more alike than one and a random crop of its image."""

import keras
import tensorflow as tf

import keras_stn
from keras_stn.demo.digits import SIDE

layers, ops = keras.layers, keras.ops


@keras.saving.register_keras_serializable("paper")
class Box(keras_stn.transforms.Attention):
    """A square that starts in the middle, half as wide as the image: larger than a digit."""

    def __init__(self):
        super().__init__()
        self.identity_params = (0.5, 0.0, 0.0)
        self.has_identity = False

    def get_config(self):
        return {}


@keras.saving.register_keras_serializable("paper")
class RandomCrop(layers.Layer):
    """Images (batch, h, w, c) to crops (batch, SIDE, SIDE, c) anywhere in them, other ones each time."""

    def call(self, images):
        count, size = ops.shape(images)[0], images.shape[1]
        scale = SIDE / size
        places = tf.random.uniform((count, 2), scale - 1, 1 - scale)
        params = ops.concatenate([ops.full((count, 1), scale), places], axis=1)
        return keras_stn.ops.warp(images, params, "attention", (SIDE, SIDE), data_format="channels_last")


@keras.saving.register_keras_serializable("paper")
class Triplets(keras.losses.Loss):
    """Hinges max(0, |found_n - found_m|^2 - |found_n - random_n|^2 + margin): their mean over m != n.

    Predictions are (batch, 2, features): of the crop that was found, and of a random one.
    """

    def __init__(self, margin: float = 1.0, name="triplets", **kwargs):
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def call(self, y_true, y_pred):
        found, random = y_pred[:, 0], y_pred[:, 1]
        count = ops.shape(found)[0]
        pairs = ops.sum(ops.square(found[:, None] - found[None]), axis=-1)
        apart = ops.sum(ops.square(found - random), axis=-1)
        hinges = ops.relu(pairs - apart[:, None] + self.margin)
        hinges = hinges * (1 - ops.eye(count, dtype=hinges.dtype))
        return ops.sum(hinges, axis=1) / ops.cast(ops.maximum(count - 1, 1), hinges.dtype)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}
