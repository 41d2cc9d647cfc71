"""`Resize`: images of any size to one size, for the networks that look at those."""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks

Tensor = Any


def pool_before(image_size: tuple[int | None, ...], side: int) -> tuple[int, ...]:
    """By how much to average images down before they are resized to `side`: so no pixel is skipped."""
    return tuple(max((size or 0) // side, 1) for size in image_size)


@keras.saving.register_keras_serializable(package="keras_stn")
class Resize(keras.layers.Layer):
    """Images, channels last, to `size`, by bilinear interpolation.

    `keras.layers.Resizing` does the same, but trains where nobody says that it should, and Keras hands
    that on to all layers behind it: a `Dropout` there would drop.

    Args:
        size: (height, width) of the output.
        **kwargs: Arguments of `keras.layers.Layer`. Whatever the dtype, the output is float32: under XLA
            the gradient of a float64 resize does not compile.

    Input shape:
        (batch, H, W, channels), of any size.

    Output shape:
        (batch, *size, channels).

    Example:
        >>> import keras_stn, numpy as np
        >>> keras_stn.localization.resize.Resize((32, 32))(np.ones((2, 50, 90, 3))).shape
        TensorShape([2, 32, 32, 3])
    """

    def __init__(self, size: tuple[int, int], **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.size = _checks.size("size", size)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, images: Tensor) -> Tensor:
        return tf.image.resize(tf.cast(images, "float32"), self.size)

    def compute_output_shape(self, input_shape):
        return input_shape[0], *self.size, input_shape[3]

    def get_config(self):
        return {**super().get_config(), "size": self.size}
