"""`heatmap`: a localization network that finds things, by maps of where they are."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks
from keras_stn.localization.resize import Resize, pool_before

layers = keras.layers
Tensor = Any
SCALE = 0.3  # of a transformer that looks once; the measurements stand at `heatmap`


def heatmap(
    image_size: tuple[int | None, ...] = (None, None),
    filters: Sequence[int] = (16, 32, 32),
    maps: int = 32,
    side: int = 40,
    *,
    scale: float = SCALE,
    batch_norm: bool = True,
    dtype: Any = None,
) -> keras.Model:
    """The default: finds things, and tells where they are.

    Convolutions, then `Centroids`. What it learns at one place holds at every place, and a shift of the
    picture shifts the centroids. A dense layer on flattened features must learn each place by itself.
    Turns and scales show in how the centroids lie to each other. Images are brought to `side` x `side`
    first: one cost, and weights of one shape, for images of any size.

    Args:
        image_size: (height, width) of the images, where they are known. Large images are then averaged
            down before they are resized, and no pixel is skipped.
        filters: Width of each convolution, 5x5 the first and 3x3 the others; the first two with
            stride 2.
        maps: How many things are looked for.
        side: Side of the square that the convolutions see.
        scale: What centroids are multiplied by. A step of Adam changes each weight of the head by the
            learning rate, whatever the gradient is, and all centroids of a batch may pull the same way.
            At a rate of 1e-2 and with a scale of 1, projective maps of cluttered digits err 9.3 %, with
            0.3 7.2 %. At 1e-3 a scale of 0.1 errs 9.0 %, 0.3 7.2 %, and 1 5.9 %.
        batch_norm: Whether batch normalization stands between each convolution and its ReLU, in place
            of a bias. At a rate of 1e-2 two thirds of the channels otherwise die: cluttered digits err
            18.5 % instead of 6.9 %. Exported files fold it into the convolutions.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, 2 * maps), in -scale to scale.

    Example:
        >>> import keras_stn
        >>> network = keras_stn.localization.heatmap((224, 320))
        >>> network.compute_output_shape((None, 224, 320, 3))
        (None, 64)

    Reference:
        The softmax map and its centroid: section 3.1 of Finn et al., "Deep Spatial Autoencoders for
        Visuomotor Learning" (2015, arXiv:1509.06113); as the localization of a transformer, section 3.2
        of Esteves et al., "Polar Transformer Networks" (2017, arXiv:1709.01889). Batch normalization:
        Ioffe and Szegedy (2015, arXiv:1502.03167).
    """
    image_size = _checks.size_or_unknown("image_size", image_size)
    filters, maps = _checks.counts("filters", filters, least=1), _checks.count("maps", maps)
    side, dtype = _checks.count("side", side), _checks.dtype_policy("dtype", dtype)
    stack = _resized(image_size, side, dtype)
    batch_norm = _checks.boolean("batch_norm", batch_norm)
    for number, width in enumerate(filters):
        stack += [
            layers.Conv2D(
                width,
                3 if number else 5,
                strides=2 if number < 2 else 1,
                padding="same",
                activation=None if batch_norm else "relu",
                use_bias=not batch_norm,
                kernel_initializer="he_normal",
                data_format="channels_last",
                dtype=dtype,
            )
        ]
        if batch_norm:
            # Keras' momentum of 0.99 lags: after six epochs of 60 steps its averages are of no use.
            stack += [
                layers.BatchNormalization(axis=-1, momentum=0.9, dtype=dtype),
                layers.ReLU(dtype=dtype),
            ]
    stack += [Centroids(maps, scale, dtype=dtype)]
    return keras.Sequential(stack, name="heatmap")


def _resized(image_size: tuple[int | None, ...], side: int, dtype: Any) -> list[keras.layers.Layer]:
    """Layers that bring images to `side` x `side`: none for those that are so large already."""
    pool = pool_before(image_size, side)
    stack = []
    if max(pool) > 1:
        # "same", so that images smaller than those it was built for are pooled to something.
        stack += [
            layers.AveragePooling2D(pool, padding="same", data_format="channels_last", dtype=dtype)
        ]
    if any(
        size is None or -(-size // step) != side for size, step in zip(image_size, pool, strict=True)
    ):
        stack += [Resize((side, side))]
    return stack


@keras.saving.register_keras_serializable(package="keras_stn")
class Centroids(keras.layers.Layer):
    """Where things are in feature maps: the end of a localization network of your own.

    A 3x3 convolution scores each place for each thing, a softmax over all places makes shares of the
    scores, and the centroid of the shares is where the thing is. It stays inside of the picture whatever
    the weights are.

    Convention:
        Centroids are normalised, -1 and 1 the outer edges of the picture.

    Args:
        maps: How many things are looked for.
        scale: What centroids are multiplied by, as in `keras_stn.localization.heatmap`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        (batch, h, w, channels), static but for the batch.

    Output shape:
        (batch, 2 * maps): x and y of the first thing, x and y of the second, ...

    Raises:
        ValueError: if an argument is none of the above, or the size of the feature maps is not static.

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

    def __init__(self, maps: int = 32, scale: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.maps = _checks.count("maps", maps)
        self.scale = _checks.positive("scale", scale)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        # float32 or more: a sum of shares of half precision rounds each of them.
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self.scores = layers.Conv2D(
            self.maps, 3, padding="same", data_format="channels_last", dtype=dtype, name="scores"
        )

    def build(self, input_shape):
        _check_static(input_shape)
        self.scores.build(input_shape)

    def call(self, features: Tensor) -> Tensor:
        _check_static(features.shape)
        scores = self.scores(features)  # (batch, h, w, maps)
        _, height, width, _ = scores.shape
        rows = tf.reshape(tf.transpose(scores, (0, 3, 1, 2)), (-1, height * width))
        x, y = np.meshgrid(_centres(width), _centres(height))
        places = self.scale * np.stack([x.ravel(), y.ravel()], axis=1)  # (h * w, 2)
        found = tf.matmul(tf.nn.softmax(rows), tf.constant(places, scores.dtype))  # (batch * maps, 2)
        return tf.cast(tf.reshape(found, (-1, 2 * self.maps)), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0], 2 * self.maps

    def get_config(self):
        return {**super().get_config(), "maps": self.maps, "scale": self.scale}


def _check_static(shape: Any) -> None:
    if None in tuple(shape)[1:]:
        raise _checks.error(
            "Centroids must have feature maps of a static size: resize the images before. "
            f"Received: feature maps of shape {tuple(shape)}."
        )


def _centres(size: int) -> np.ndarray:
    """The normalised coordinates of the centres of `size` pixels."""
    return (2 * np.arange(size) + 1) / size - 1
