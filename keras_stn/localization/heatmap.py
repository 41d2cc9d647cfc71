"""`heatmap`: a localization network that finds things by softmax maps and their centroids."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks

layers = keras.layers
Tensor = Any


def heatmap(
    image_size: tuple[int | None, ...] = (None, None),
    filters: Sequence[int] = (16, 32, 32),
    maps: int = 16,
    units: int = 32,
    side: int = 40,
    *,
    dtype: Any = None,
) -> keras.Model:
    """The default: finds things, by maps that say where they are, and what is seen there.

    Three convolutions, then `Centroids`. A place is found wherever it is once it has been seen
    somewhere, and the head moves to it by one number: a dense layer on flattened features must learn
    each place by itself. Images are brought to `side` x `side` first: one cost, and weights of one
    shape, for images of any size.

    Args:
        image_size: (height, width) of the images, where they are known. Large images are then averaged
            down before they are resized, and no pixel is skipped.
        filters: Width of each convolution, 5x5 the first and 3x3 the others; the first two with
            stride 2.
        maps: How many things are looked for.
        units: Width of the dense layer on what is seen at them.
        side: Side of the square that the convolutions see.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, 2 * maps + units).

    Example:
        >>> import keras_stn
        >>> network = keras_stn.localization.heatmap((224, 320))
        >>> network.compute_output_shape((None, 224, 320, 3))
        (None, 64)

    Reference:
        The softmax map and its centroid: section 3.1 of Finn et al., "Deep Spatial Autoencoders for
        Visuomotor Learning" (2015, arXiv:1509.06113); as the localization of a transformer, section 3.2
        of Esteves et al., "Polar Transformer Networks" (2017, arXiv:1709.01889).
    """
    image_size = _checks.size_or_unknown("image_size", image_size)
    filters, maps = _checks.counts("filters", filters, least=1), _checks.count("maps", maps)
    units, side = _checks.count("units", units), _checks.count("side", side)
    dtype = _checks.dtype_policy("dtype", dtype)
    pool = tuple(max((size or 0) // side, 1) for size in image_size)
    # "same", so that images smaller than those it was built for are pooled to something.
    stack = [layers.AveragePooling2D(pool, padding="same", data_format="channels_last", dtype=dtype)]
    # float32, whatever the policy: under XLA the gradient of a float64 resize does not compile.
    stack += [layers.Resizing(side, side, data_format="channels_last", dtype="float32")]
    stack += [
        layers.Conv2D(
            width,
            3 if number else 5,
            strides=2 if number < 2 else 1,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            data_format="channels_last",
            dtype=dtype,
        )
        for number, width in enumerate(filters)
    ]
    stack += [Centroids(maps, units, dtype=dtype)]
    return keras.Sequential(stack, name="heatmap")


@keras.saving.register_keras_serializable(package="keras_stn")
class Centroids(keras.layers.Layer):
    """Where things are, and what is seen there: the end of a localization network of your own.

    A 3x3 convolution scores each place of the feature maps for each thing, and a softmax over the places
    makes a map of shares. Its centroid is where the thing is; the mean of the features under it, through
    one dense layer for all things, is what is seen there. Centroids stay inside of the picture whatever
    the weights are.

    Convention:
        Centroids are normalised, -1 and 1 the outer edges of the picture: all x first, then all y.

    Args:
        maps: How many things are looked for.
        units: Width of the dense layer.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, h, w, channels), static but for the batch.

    Output shape:
        (batch, 2 * maps + units).

    Example:
        >>> import keras, keras_stn
        >>> network = keras.Sequential([
        ...     keras.layers.Conv2D(16, 5, strides=4, activation="relu"),
        ...     keras_stn.localization.Centroids(8),
        ... ])
        >>> layer = keras_stn.SpatialTransformer(network, "similarity")
        >>> layer.compute_output_shape((None, 60, 80, 3))
        (None, 60, 80, 3)

    Reference:
        As of `keras_stn.localization.heatmap`.
    """

    def __init__(self, maps: int = 16, units: int = 32, **kwargs: Any):
        super().__init__(**kwargs)
        self.maps = _checks.count("maps", maps)
        self.units = _checks.count("units", units)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        # float32, or more: shares of half precision move a centroid by 0.06 pixels of 224.
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self.scores = layers.Conv2D(
            self.maps, 3, padding="same", data_format="channels_last", dtype=dtype, name="scores"
        )
        self.seen = layers.Dense(self.units, activation="relu", dtype=dtype, name="seen")

    def build(self, input_shape):
        _, *size, channels = input_shape
        if None in (*size, channels):
            raise _checks.error(
                "Centroids need feature maps of a static size: resize the images before. "
                f"Received: input_shape={tuple(input_shape)}."
            )
        self.scores.build(input_shape)
        self.seen.build((input_shape[0], self.maps * channels))

    def call(self, features: Tensor) -> Tensor:
        features = tf.cast(features, self.scores.compute_dtype)
        _, height, width, channels = features.shape
        places = height * width
        # The softmax along the last axis, where phones have it.
        scores = tf.reshape(self.scores(features), (-1, places, self.maps))
        shares = tf.nn.softmax(tf.transpose(scores, (0, 2, 1)))  # (batch, maps, places)
        rows = tf.reshape(shares, (-1, places))
        y, x = np.meshgrid(*map(_centres, (height, width)), indexing="ij")
        columns = [tf.matmul(rows, tf.constant(axis.reshape(-1, 1), rows.dtype)) for axis in (x, y)]
        x, y = (tf.reshape(column, (-1, self.maps)) for column in columns)
        under = tf.matmul(shares, tf.reshape(features, (-1, places, channels)))
        seen = self.seen(tf.reshape(under, (-1, self.maps * channels)))
        return tf.cast(tf.concat([x, y, seen], axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0], 2 * self.maps + self.units

    def get_config(self):
        return {**super().get_config(), "maps": self.maps, "units": self.units}


def _centres(size: int) -> np.ndarray:
    """The normalised coordinates of the centres of `size` pixels."""
    return (2 * np.arange(size) + 1) / size - 1
