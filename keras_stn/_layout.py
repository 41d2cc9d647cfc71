"""Data formats: everything inside is channels_last, and layers and functions convert at their door.

An image has `ndim` axes, 2 or 3 of a volume. Axes may lead it beside the batch: the frames of a video,
the glimpses of an image. They stay in front in either format.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks

Shape = tuple[int | None, ...]


# The axes of images, as errors name them.
_AXES = {
    "channels_last": "(batch, {}, channels)",
    "channels_first": "(batch, channels, {})",
}


def data_format(value: str | None) -> str:
    """`value`, checked; Keras' setting where it is None."""
    if value is None:
        return keras.config.image_data_format()
    return _checks.one_of("data_format", value, _AXES)


def axes(data_format: str, ndim: int = 2) -> str:
    """The axes of images, in words."""
    return _AXES[data_format].format(", ".join(("D", "H", "W")[-ndim:]))


def to_channels_last(images: Any, data_format: str, ndim: int = 2) -> Any:
    if data_format == "channels_last":
        return images
    return tf.transpose(images, shape_to_channels_last(range(len(images.shape)), data_format, ndim))


def from_channels_last(images: Any, data_format: str, ndim: int = 2) -> Any:
    if data_format == "channels_last":
        return images
    return tf.transpose(images, shape_from_channels_last(range(len(images.shape)), data_format, ndim))


def shape_to_channels_last(shape: Any, data_format: str, ndim: int = 2) -> Shape:
    *lead, channels = shape[: len(shape) - ndim]
    rest = shape[len(shape) - ndim :]
    return (*lead, *rest, channels) if data_format == "channels_first" else tuple(shape)


def shape_from_channels_last(shape: Any, data_format: str, ndim: int = 2) -> Shape:
    *rest, channels = shape
    lead, sizes = rest[: len(rest) - ndim], rest[len(rest) - ndim :]
    return (*lead, channels, *sizes) if data_format == "channels_first" else tuple(shape)
