"""Data formats: everything inside is channels_last, and layers and functions convert at their door."""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks

Shape = tuple[int | None, ...]


# The axes of images, as errors name them.
_AXES = {
    "channels_last": "(batch, H, W, channels)",
    "channels_first": "(batch, channels, H, W)",
}


def data_format(value: str | None) -> str:
    """`value`, checked; Keras' setting where it is None."""
    if value is None:
        return keras.config.image_data_format()
    return _checks.one_of("data_format", value, _AXES)


def axes(data_format: str) -> str:
    """The axes of images, in words."""
    return _AXES[data_format]


def to_channels_last(images: Any, data_format: str) -> Any:
    return tf.transpose(images, (0, 2, 3, 1)) if data_format == "channels_first" else images


def from_channels_last(images: Any, data_format: str) -> Any:
    return tf.transpose(images, (0, 3, 1, 2)) if data_format == "channels_first" else images


def shape_to_channels_last(shape: Shape, data_format: str) -> Shape:
    batch, *rest = shape
    return (batch, *rest[1:], rest[0]) if data_format == "channels_first" else tuple(shape)


def shape_from_channels_last(shape: Shape, data_format: str) -> Shape:
    batch, *rest = shape
    return (batch, rest[-1], *rest[:-1]) if data_format == "channels_first" else tuple(shape)
