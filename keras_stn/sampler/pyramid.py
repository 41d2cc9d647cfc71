"""An image and its halvings below each other in one picture, so that all are read by one plain read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_stn.grids import image_size, shape_of
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import bounded

Tensor = Any

# How often the image is halved. With three the mean is right where the map shrinks by up to 30.
LEVELS = 3
# How far the halvings go on beyond the image: by one of the largest pixels.
MARGIN = 2**LEVELS


@dataclasses.dataclass(frozen=True)
class _Axis:
    """An axis of the picture: where on it a coordinate of the image lies, at the level that is read.

    Attributes:
        sampling: That along the axis.
        size: Of the image.
        shift: Of the coordinate: 0 in the image itself.
        left_out: Pixels of the picture that are not there. They are subtracted from what is rounded, so
            that no bit differs from where they are.
        scale: Of the coordinate: 1 in the image itself.
        more: 0 in the image itself, 1 at all levels above.
    """

    sampling: Sampling
    size: Any
    shift: Tensor
    left_out: Any
    scale: Tensor
    more: Tensor

    def place(self, coordinate: Tensor) -> Tensor:
        border, size = self.sampling.border, tf.cast(self.size, coordinate.dtype)
        if border.repeat:
            coordinate = bounded(coordinate, self.size, self.sampling)
            coordinate = tf.where(coordinate < 0, coordinate + size, coordinate)  # of "wrap"
        else:
            # Up to where the largest pixels lie beyond the image with all of their area.
            low, high = border.ends(size)
            more = self.more * (MARGIN / 2 + 0.5 + low)
            coordinate = tf.maximum(tf.minimum(coordinate, high + more), low - more)
        return coordinate * self.scale + self.shift - self.left_out


def picture(
    images: Tensor, sampling: Sampling, steps: Sequence[Tensor], with_image: bool
) -> tuple[Tensor, list[_Axis]]:
    """All levels below each other, the image first or left out, and its axes, x first."""
    sizes, along = image_size(images), sampling.along(2)[::-1]
    levels = [_first_level(images, along)]
    for _ in range(LEVELS - 1):
        levels.append(_halved(_halved(levels[-1], 1), 2))
    heights = [sizes[0] + 1, *(shape_of(level)[1] for level in levels)]
    if with_image:
        levels.insert(0, _image(images, along, shape_of(levels[0])[2]))
    width = shape_of(levels[0])[2]
    levels = [tf.pad(one, ((0, 0), (0, 0), (0, width - shape_of(one)[2]), (0, 0))) for one in levels]

    dtype, more = steps[0].dtype, steps[0]
    scale = 1 - sum(step * 0.5**number for number, step in enumerate(steps, start=1))
    # The image itself stays where it is: nothing is added to its coordinates, and no bit is lost. Else a
    # coordinate counts from the centre of pixel 0, and the level starts with its margin.
    shift = more * MARGIN * scale + (scale - 1) / 2
    heights = [tf.cast(height, dtype) for height in heights]
    down = sum(step * height for step, height in zip(steps, heights, strict=False))
    shifts, left_out = (shift + down, shift), (0 if with_image else heights[0], 0)
    axes = [_Axis(*parts, scale, more) for parts in zip(along, sizes, shifts, left_out, strict=True)]
    return tf.concat(levels, axis=1), axes[::-1]


def _first_level(images: Tensor, along: Sequence[Sampling]) -> Tensor:
    """Level 1 with its margins, full pixels of the last level at both ends.

    The margins are halved by themselves, and no larger image is made: that would be a copy of all.
    """
    for dimension, sampling in enumerate(along, start=1):
        size = shape_of(images)[dimension]
        even = size - size % 2
        parts = [
            _beyond(images, dimension, sampling, -MARGIN, 0),
            images[:, :even] if dimension == 1 else images[:, :, :even],
            # Not -size % MARGIN: in ONNX that is less than 0.
            _beyond(images, dimension, sampling, even, size + 2 * MARGIN - 1 - (size - 1) % MARGIN),
        ]
        images = tf.concat([_halved(part, dimension) for part in parts], axis=dimension)
    return images


def _halved(images: Tensor, dimension: int) -> Tensor:
    """The means of pairs. Not by a pooling layer: that takes 0.55 ms instead of 0.35 at 8x224x224x3."""
    first, second = [slice(None)] * 3, [slice(None)] * 3
    first[dimension], second[dimension] = slice(None, None, 2), slice(1, None, 2)
    return (images[tuple(first)] + images[tuple(second)]) * 0.5


def _image(images: Tensor, along: Sequence[Sampling], least: Any) -> Tensor:
    """The image with a row more, and at least so wide: with what stands beyond it."""
    rows, columns = along
    width = shape_of(images)[2]
    fits = isinstance(width, int) and isinstance(least, int) and least <= width
    if columns.border.repeat or not fits:  # else what stands beyond the picture stands there
        more = 1 if fits else tf.maximum(least - width, 1)
        images = tf.concat([images, _beyond(images, 2, columns, width, width + more)], axis=2)
    height = shape_of(images)[1]
    return tf.concat([images, _beyond(images, 1, rows, height, height + 1)], axis=1)


def _beyond(images: Tensor, dimension: int, sampling: Sampling, first: Any, last: Any) -> Tensor:
    """What stands from position `first` to before `last` of an axis."""
    border, size = sampling.border, tf.cast(shape_of(images)[dimension], tf.float32)
    positions = tf.cast(tf.range(first, last), tf.float32)
    places = border.repeat(positions, size) if border.repeat else positions
    places = tf.cast(tf.clip_by_value(places, 0, size - 1), tf.int32)
    pixels = tf.gather(images, places, axis=dimension)
    if not border.filled:
        return pixels
    shape = [1] * 4
    shape[dimension] = -1
    inside = tf.reshape((positions >= 0) & (positions < size), shape)
    return tf.where(inside, pixels, tf.constant(sampling.fill, images.dtype))


def of_picture(sampling: Sampling) -> Sampling:
    """How the picture is read: beyond it there is the fill value, or nothing that is read."""
    words = ["constant" if axis.border.filled else "nearest" for axis in reversed(sampling.along(2))]
    return dataclasses.replace(sampling, fill_mode=words)
