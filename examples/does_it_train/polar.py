"""The classifier of polar reads, and the random poses in which it sees its training images."""

import math

import keras

from keras_stn import Warp

layers = keras.layers


@keras.saving.register_keras_serializable(package="does_it_train")
class Around(layers.Layer):
    """Images with `width` columns more at either side, those of the other side, and as many rows of 0.

    Columns are angles: what lies at the last one goes on at the first.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def call(self, images):
        width = self.width
        around = keras.ops.concatenate([images[:, :, -width:], images, images[:, :, :width]], axis=2)
        return keras.ops.pad(around, ((0, 0), (width, width), (0, 0), (0, 0)))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="does_it_train")
class Posed(layers.Layer):
    """In training, images in random poses; else as they are.

    Each is turned by up to `turn` degrees either way, scaled by up to a factor `scale` either way, and
    shifted by up to `shift`, in normalised units, along each axis.
    """

    def __init__(self, turn: float, scale: float, shift: float, **kwargs):
        super().__init__(**kwargs)
        self.turn, self.scale, self.shift = turn, scale, shift
        self.warp = Warp("similarity", data_format="channels_last")
        self.seed = keras.random.SeedGenerator()

    def build(self, input_shape):
        self.warp.build([input_shape, (input_shape[0], 4)])

    def call(self, images, training=None):
        if not training:
            return images
        spans = [math.log(self.scale), math.radians(self.turn), self.shift, self.shift]
        draw = keras.random.uniform((keras.ops.shape(images)[0], 4), -1, 1, seed=self.seed) * spans
        params = keras.ops.concatenate([keras.ops.exp(draw[:, :1]), draw[:, 1:]], axis=1)
        return self.warp(images, params)

    def get_config(self):
        return {**super().get_config(), "turn": self.turn, "scale": self.scale, "shift": self.shift}


@keras.saving.register_keras_serializable(package="does_it_train")
class MaxOfAngles(layers.Layer):
    """The largest of each row: (n, h, w, channels) -> (n, h, channels)."""

    def call(self, images):
        return keras.ops.max(images, axis=2)


def classifier(units: int) -> list[layers.Layer]:
    """Reads (n, h, w, channels), whose columns are angles, to logits (n, 10): alike for all turns."""
    return [
        *_convolution(16, 5),
        layers.MaxPooling2D(2, data_format="channels_last"),
        *_convolution(32, 3),
        *_convolution(32, 3),
        layers.MaxPooling2D(2, data_format="channels_last"),
        *_convolution(64, 3),
        *_convolution(64, 3),
        MaxOfAngles(),
        layers.Flatten(data_format="channels_last"),
        layers.Dropout(0.3),
        layers.Dense(units, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(10),
    ]


def _convolution(filters: int, kernel: int) -> list[layers.Layer]:
    return [
        Around(kernel // 2),
        layers.Conv2D(filters, kernel, use_bias=False, data_format="channels_last"),
        layers.BatchNormalization(),
        layers.ReLU(),
    ]
