"""A batch of 1 beside a larger one, without a copy of an image: what the sampler reads stays one batch.

All forms, gradients and files so do it alike.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_stn import grids
from keras_stn.sampler.taps import shape_of

Tensor = Any


def batch_of(coordinates: Any) -> int | None:
    """The batch of what `sampler.sample` takes for coordinates, where it is static."""
    if isinstance(coordinates, tuple):
        return coordinates[0].shape[0]
    if isinstance(coordinates, grids.Split):
        return coordinates.whole.shape[1]
    return coordinates.shape[1]


def of_one_image(read: Callable, image: Tensor, coordinates: Any, *how: Any) -> Tensor:
    """One image at many poses: their grids below each other are one grid, and so is what is read."""
    if isinstance(coordinates, tuple):
        x, y = coordinates
        coordinates = tf.stack([x + tf.zeros_like(y), tf.zeros_like(x) + y])
    if isinstance(coordinates, grids.Sum):
        coordinates = coordinates.added()
    if isinstance(coordinates, grids.Split):
        sizes = shape_of(coordinates.whole)[1:]
        coordinates = grids.Split(_as_one(coordinates.whole), _as_one(coordinates.rest))
    else:
        sizes = shape_of(coordinates)[1:]
        coordinates = _as_one(coordinates)
    return tf.reshape(read(image, coordinates, *how), (*sizes, shape_of(image)[3]))


def _as_one(coordinates: Tensor) -> Tensor:
    _, batch, height, width = shape_of(coordinates)
    return tf.reshape(coordinates, (2, 1, batch * height, width))


def repeated(coordinates: Any, batch: Any) -> Any:
    """One map for a batch of images: the coordinates, before what is large is made of them."""
    if isinstance(coordinates, tuple):
        return tuple(tf.tile(axis, (batch, 1, 1)) for axis in coordinates)
    parts = {grids.Sum: ("of_columns", "of_rows"), grids.Split: ("whole", "rest")}.get(type(coordinates))
    if parts:
        return type(coordinates)(*(repeated(getattr(coordinates, part), batch) for part in parts))
    return tf.tile(coordinates, (1, batch, 1, 1))
