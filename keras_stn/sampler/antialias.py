"""Antialiased reads: where a map shrinks, the mean over the footprint of each output pixel.

The footprint of an output pixel is the parallelogram of the source that it stands for. Its two sides are
differences of neighbouring points, so every family has one. Four probes, bilinear reads, lie in it; the
more pixels it covers, the coarser are those that they read:

    output = mean over four probes (a, b) of  level[l] at  point + a * side_x + b * side_y

Level l is the image in pixels of 2**l, means of means of four. Four probes are enough for two reasons:

- Their covariance is that of the footprint: 1/12 of side * side', of both sides. What the pixels of a
  level blur by themselves is subtracted.
- Each lies in a row and a column of its own, so that along a narrow footprint four are in line: 50 dB
  where it is 4 pixels long and 1 wide, and 2 x 2 probes have 42.

All levels lie below each other in one picture. So all probes are one plain read, by the reader in force,
with its gradients to images and points. Which level is read has no gradient.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_stn import _checks
from keras_stn.grids import image_size, shape_of
from keras_stn.points import Points
from keras_stn.sampler.borders import FAR
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import accumulator, bounded, within_reach

Tensor = Any
Side = Sequence[Tensor]  # (x, y) in pixels of the source

# How often the image is halved. With three the mean is right where the map shrinks by up to 30.
LEVELS = 3
# How far the levels go on beyond the image: by one of the coarsest pixels.
MARGIN = 2**LEVELS

# Where the probes lie, in sides of the footprint: the squares of a have the mean 1/12, and those of b.
_UNIT = 30**-0.5
PROBES = ((2 * _UNIT, _UNIT), (_UNIT, -2 * _UNIT), (-2 * _UNIT, -_UNIT), (-_UNIT, 2 * _UNIT))

# Sides up to this length do not count as shrunk: coordinates are rounded.
STEADY = 1 + 2.0**-6
# From there on the probes part, all the way while the side grows by half.
_RAMP = 3.0
# How many pixels of the level below a footprint covers when it is read from the next: at 4 the probes
# lie as close as 2 x 2 reads of whole pixels. Of 1, 1.1, 1.2 and 1.35 times as close, this is best.
_AREA = 4 * 4 / 1.1
# Across a narrow footprint a level may blur more than it should. There the probes stay this far apart.
_LEAST = 0.1


def read(images: Tensor, points: Points, sampling: Sampling, plain: Callable) -> Tensor:
    """`keras_stn.sampler.read` with `sampling.antialias`, where `plain` is `read` itself."""
    if points.ndim != 2:
        raise _checks.missing("antialias=True is for images, not for volumes: use antialias=False.")
    sampling = dataclasses.replace(sampling, antialias=False)
    dtype, images = images.dtype, tf.cast(images, accumulator(images.dtype))
    along, sizes = sampling.along(2), image_size(images)[::-1]  # x first, as in `points`
    sides = footprint(points)
    steps = _steps(sides)
    moves = [_move(side, steps) for side in sides]
    picture, starts = _picture(images, along)
    scale = 1 - sum(step * 0.5**level for level, step in enumerate(steps, start=1))
    shifts = [_shift(steps, start) for start in starts]

    probes = []
    for places in PROBES:
        axes = list(points.axes)
        for place, move, side in zip(places, moves, sides, strict=True):
            axes = [axis + place * move * component for axis, component in zip(axes, side, strict=True)]
        axes = [_inside(*axis) for axis in zip(axes, sizes, along, strict=True)]
        probes.append([axis * scale + shift for axis, shift in zip(axes, shifts, strict=True)])
    below = Points(tuple(tf.concat(axis, axis=1) for axis in zip(*probes, strict=True)))
    values = tf.split(plain(picture, below, _of_picture(sampling)), len(PROBES), axis=1)
    # In pairs: of four equal numbers the mean is that number, to the bit.
    output = ((values[0] + values[1]) + (values[2] + values[3])) * 0.25
    if any(axis.border.repeat for axis in along):
        # Beyond the image coordinates were brought back into it, for other bits than those of a plain
        # read.
        steady = tf.equal(moves[0] + moves[1] + sum(steps), 0)
        output = tf.where(tf.expand_dims(steady, -1), plain(images, points, sampling), output)
    return tf.cast(output, dtype)


def footprint(points: Points) -> list[Side]:
    """The sides of the footprints, along a row of the output and down a column: central differences."""
    return [[_difference(axis, dimension) for axis in points.axes] for dimension in (2, 1)]


def _difference(coordinate: Tensor, dimension: int) -> Tensor:
    """Half of what lies between both neighbours, or all that lies between it and one.

    A neighbour that is NaN, infinite or far away is none.
    """
    if coordinate.shape[dimension] == 1:
        return tf.zeros((), coordinate.dtype)
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[dimension], behind[dimension] = slice(1, None), slice(None, -1)
    step = coordinate[tuple(ahead)] - coordinate[tuple(behind)]
    near = tf.abs(step) < FAR
    step, near = tf.where(near, step, tf.zeros_like(step)), tf.cast(near, step.dtype)
    return _around(step, dimension) / tf.maximum(_around(near, dimension), 1)


def _around(steps: Tensor, dimension: int) -> Tensor:
    """The sum of the steps to and from each point."""
    before, after = [[0, 0] for _ in range(3)], [[0, 0] for _ in range(3)]
    before[dimension][0] = after[dimension][1] = 1
    return tf.pad(steps, before) + tf.pad(steps, after)


def _steps(sides: Sequence[Side]) -> list[Tensor]:
    """Of each level above 0: whether it, or one above it, is read. 0 or 1."""
    (x_along, y_along), (x_down, y_down) = sides
    area = tf.abs(x_along * y_down - x_down * y_along)
    return [tf.cast(area >= _AREA * 4**level, area.dtype) for level in range(LEVELS)]


def _move(side: Side, steps: Sequence[Tensor]) -> Tensor:
    """How far the probes part along a side: 0 where it is not shrunk, else about 1."""
    square = tf.maximum(functools.reduce(operator.add, map(tf.square, side)), 1)
    parting = tf.clip_by_value(_RAMP * (1 - STEADY / tf.sqrt(square)), 0, 1)
    # The variance of what a level shows at a point, less that of the image: a box of 2**l pixels has
    # (4**l - 1) / 12 and the tent of the read (4**l - 1) / 6. Probes have 1/12 of the square.
    blur = sum(step * (9 * 4.0**level) for level, step in enumerate(steps))
    return tf.minimum(parting, tf.sqrt(tf.maximum(1 - blur / square, _LEAST)))


def _inside(coordinate: Tensor, size: Any, sampling: Sampling) -> Tensor:
    """The same place in the image, or beyond it where all levels show the fill value alone."""
    border, length = sampling.border, tf.cast(size, coordinate.dtype)
    if border.repeat:
        coordinate = bounded(coordinate, size, sampling)
        return tf.where(coordinate < 0, coordinate + length, coordinate)  # of "wrap"
    return within_reach(coordinate, length, (MARGIN - 1) / 2 if border.filled else 0, border)


def _picture(images: Tensor, along: Sequence[Sampling]) -> tuple[Tensor, list[list[Any]]]:
    """All levels below each other, and where pixel 0 of the image starts in each: along x, along y."""
    level = _extended(images, along)
    # The image itself starts the picture: to its coordinates nothing is added, and no bit is lost.
    levels, lefts, tops = [level[:, MARGIN:, MARGIN:]], [0], [0]
    width, top = shape_of(levels[0])[2], 0
    for number in range(1, LEVELS + 1):
        top += shape_of(levels[-1])[1]
        level = tf.nn.avg_pool2d(level, 2, 2, "VALID")
        levels.append(tf.pad(level, ((0, 0), (0, 0), (0, width - shape_of(level)[2]), (0, 0))))
        lefts.append(MARGIN >> number)
        tops.append(top + (MARGIN >> number))
    return tf.concat(levels, axis=1), [lefts, tops]


def _extended(images: Tensor, along: Sequence[Sampling]) -> Tensor:
    """The images with a margin, filled up to whole pixels of the coarsest level."""
    for dimension, axis in enumerate(reversed(along), start=1):
        size = shape_of(images)[dimension]
        ends = (-MARGIN, 0), (size, size + MARGIN + -size % MARGIN)
        before, after = (_beyond(images, dimension, size, axis, *end) for end in ends)
        images = tf.concat([before, images, after], axis=dimension)
    return images


def _beyond(images, dimension, size, sampling, first, last) -> Tensor:
    """What stands from position `first` to before `last` of an axis, beyond the image."""
    border, length = sampling.border, tf.cast(size, tf.float32)
    positions = tf.cast(tf.range(first, last), tf.float32)
    repeat = border.repeat or (lambda position, length: tf.clip_by_value(position, 0, length - 1))
    pixels = tf.gather(images, tf.cast(repeat(positions, length), tf.int32), axis=dimension)
    return tf.zeros_like(pixels) + tf.constant(sampling.fill, images.dtype) if border.filled else pixels


def _shift(steps: Sequence[Tensor], starts: Sequence[Any]) -> Tensor:
    """What to add to a coordinate in pixels of its level, which start half a pixel before pixel 0."""
    dtype = steps[0].dtype
    shifts = [tf.cast(start, dtype) + (0.5**level - 1) / 2 for level, start in enumerate(starts)]
    rises = [after - before for before, after in zip(shifts, shifts[1:], strict=False)]
    return sum(step * rise for step, rise in zip(steps, rises, strict=True))


def _of_picture(sampling: Sampling) -> Sampling:
    """How the picture is read: beyond it there is the fill value, or nothing that is read."""
    words = ["constant" if axis.border.filled else "nearest" for axis in reversed(sampling.along(2))]
    return dataclasses.replace(sampling, fill_mode=words)
