"""Antialiased reads: where a map shrinks, the mean over the footprint of each output pixel.

The footprint of an output pixel is the parallelogram of the source that it stands for. Its two sides are
differences of neighbouring points, so every family has one. Four probes, bilinear reads, lie in it; the
more pixels it covers, the coarser are those that they read:

    output = mean over four probes (a, b) of  level[l] at  point + a * side_x + b * side_y

Level l is the image in pixels of 2**l, means of means of four. Four probes are enough for two reasons:

- Their covariance is that of the footprint: 1/12 of side * side', of both sides. What the pixels of a
  level blur by themselves is subtracted.
- Each lies in a row and a column that no other is in. So along a narrow footprint they are four.

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
from keras_stn.sampler import settings
from keras_stn.sampler.borders import FAR
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import accumulator, bounded

Tensor = Any
Side = Sequence[Tensor]  # (x, y) in pixels of the source

# How often the image is halved. With three the mean is right where the map shrinks by up to 30.
LEVELS = 3
# How far they go on beyond the image: by one of the largest pixels.
MARGIN = 2**LEVELS

# Where the probes lie, in sides of the footprint: the squares of a have the mean 1/12, and those of b.
# With a ratio of 1/3 they are evenly spaced along a narrow footprint, and with 1 they are a square. The
# least PSNR of photographs, where a footprint is 8 pixels long and 1 wide, is 41 dB at 0.45, 36 at 0.6.
# But where its sides are far from square to each other, it is 39.3 at 0.45 and 40.1 at 0.75.
_RATIO, _RATIO_OF_SKEWED = 0.45, 0.85

# Sides up to this length do not count as shrunk: coordinates are rounded.
STEADY = 1 + 2.0**-6
# From there on the probes part, all the way while the side grows by half.
_RAMP = 3.0
# Pixels that a footprint covers when it is read from level 1; at each level above, four times as many.
# Then a probe stands for four pixels, and shows no less than that. Of 16 / 1, 1.1, 1.2 and 1.35 this has
# the best least PSNR.
_AREA = 16 / 1.1
# Across a narrow footprint a level may blur more than it should. There the probes stay this far apart.
_LEAST = 0.1


def read(
    images: Tensor, points: Points, sampling: Sampling, plain: Callable, choose: bool = False
) -> Tensor:
    """`keras_stn.sampler.read` with `sampling.antialias`, where `plain` is `read` itself.

    `choose`: look first which levels are read, and make no others. Not for files: they would hold the
    reads of each choice.
    """
    settings.antialias_fits(sampling.antialias, points.ndim)
    if points.whole is not None:  # the picture of all levels is too high for float16
        raise _checks.missing(
            'antialias=True is not for target="gpu", which computes in float16: use target="cpu".'
        )
    sampling = dataclasses.replace(sampling, antialias=False)
    dtype, images = images.dtype, tf.cast(images, accumulator(images.dtype))
    sides = footprint(points)
    steps = _steps(sides)
    moves = [_move(side, steps) for side in sides]
    moved = [[move * part for part in side] for move, side in zip(moves, sides, strict=True)]
    probes = _probes(*sides)

    def mean(picture, sampling, place=lambda probe: probe):
        values = []
        for a, b in probes:
            # Four reads, and not one of four times the height, of which XLA keeps all values: 13 ms
            # instead of 45 at 8x224x224x3.
            probe = [point + (a * x + b * y) for point, x, y in zip(points.axes, *moved, strict=True)]
            values.append(plain(picture, Points(tuple(place(probe))), sampling))
        # In pairs: of four equal numbers the mean is that number, to the bit.
        return ((values[0] + values[1]) + (values[2] + values[3])) * 0.25

    def in_picture(with_image):
        picture, axes = _picture(images, sampling, steps, with_image)

        def place(probe):
            return [axis.place(part) for axis, part in zip(axes, probe, strict=True)]

        return mean(picture, _of_picture(sampling), place)

    repeats = any(axis.border.repeat for axis in sampling.along(2))

    def of_all_levels():
        output = in_picture(with_image=True)
        if not repeats:
            return output
        # Beyond the image coordinates were brought back into it, for other bits than those of a plain
        # read.
        steady = tf.equal(moves[0] + moves[1] + sum(steps), 0)
        return tf.where(tf.expand_dims(steady, -1), plain(images, points, sampling), output)

    if not choose:
        return tf.cast(of_all_levels(), dtype)
    # The levels, and the copy of the image, take most of the time of a small output: 1.2 ms instead of
    # 4.1 at 4x512x512x3 and 204x238. Each choice gives the same bits: one NaN may change what is chosen.
    halved = tf.greater(steps[0], 0)
    choices = [functools.partial(in_picture, with_image=False), of_all_levels]
    choice = tf.where(tf.reduce_all(halved), 0, 1)
    if not repeats:
        choices.append(functools.partial(mean, images, sampling))
        choice = tf.where(tf.reduce_any(halved), choice, 2)
    return tf.cast(tf.switch_case(choice, choices), dtype)


def footprint(points: Points) -> list[Side]:
    """The sides of the footprints, along a row of the output and down a column."""
    difference = _even_difference if points.even else _difference
    if isinstance(points.maps, int) and points.maps == 1:
        return [[difference(axis, dimension) for axis in points.axes] for dimension in (2, 1)]
    # Between one map and the next below it there is no footprint.
    batch, rows, columns = shape_of(points.axes[0])
    one = -1, rows // tf.maximum(points.maps, 1), columns
    apart = [tf.reshape(axis, one) for axis in points.axes]
    whole = [tf.zeros_like(axis) for axis in apart]
    return [
        [
            tf.reshape(difference(axis, dimension) + zero, (batch, rows, columns))
            for axis, zero in zip(apart, whole, strict=True)
        ]
        for dimension in (2, 1)
    ]


def _even_difference(coordinate: Tensor, dimension: int) -> Tensor:
    """The step from one point to the next, of all alike, (batch, 1, 1)."""
    if coordinate.shape[dimension] == 1:
        return tf.zeros((), coordinate.dtype)
    first, last = [slice(None), slice(1), slice(1)], [slice(None), slice(1), slice(1)]
    last[dimension] = slice(-1, None)
    steps = tf.maximum(shape_of(coordinate)[dimension] - 1, 1)
    step = (coordinate[tuple(last)] - coordinate[tuple(first)]) / tf.cast(steps, coordinate.dtype)
    return tf.where(tf.abs(step) < FAR, step, tf.zeros((), step.dtype))


def _difference(coordinate: Tensor, dimension: int) -> Tensor:
    """Half of what lies between both neighbours, or at an end what lies between it and one.

    A neighbour that is NaN, infinite or far away counts as no step away.
    """
    size, dtype = shape_of(coordinate)[dimension], coordinate.dtype
    if coordinate.shape[dimension] == 1:
        return tf.zeros((), dtype)
    ahead, behind = [slice(None)] * 3, [slice(None)] * 3
    ahead[dimension], behind[dimension] = slice(1, None), slice(None, -1)
    step = coordinate[tuple(ahead)] - coordinate[tuple(behind)]
    step = tf.where(tf.abs(step) < FAR, step, tf.zeros((), dtype))
    before, after, shape = [[0, 0] for _ in range(3)], [[0, 0] for _ in range(3)], [1] * 3
    before[dimension][0] = after[dimension][1] = 1
    shape[dimension] = -1
    places = tf.range(size)
    share = tf.where((places > 0) & (places < size - 1), tf.constant(0.5, dtype), 1)
    return (tf.pad(step, before) + tf.pad(step, after)) * tf.reshape(share, shape)


def _steps(sides: Sequence[Side]) -> list[Tensor]:
    """Of each level above 0: whether it, or one above it, is read. 0 or 1."""
    (x_along, y_along), (x_down, y_down) = sides
    area = tf.abs(x_along * y_down - x_down * y_along)
    return [tf.cast(area >= _AREA * 4**level, area.dtype) for level in range(LEVELS)]


def _probes(along: Side, down: Side) -> list[tuple[Tensor, Tensor]]:
    """Where the probes lie, in sides of the footprint."""
    squares = [tf.maximum(_dot(side, side), 1) for side in (along, down)]
    skew = tf.square(_dot(along, down)) / (squares[0] * squares[1])  # the squared cosine between them
    ratio = _RATIO + (_RATIO_OF_SKEWED - _RATIO) * skew
    far = tf.math.rsqrt(6 * (1 + tf.square(ratio)))
    near = ratio * far
    return [(far, near), (near, -far), (-far, -near), (-near, far)]


def _dot(one: Side, other: Side) -> Tensor:
    return functools.reduce(operator.add, map(operator.mul, one, other))


def _move(side: Side, steps: Sequence[Tensor]) -> Tensor:
    """How far the probes part along a side: 0 where it is not shrunk, else about 1."""
    inverse = 1 / tf.maximum(_dot(side, side), 1)
    parting = tf.clip_by_value(_RAMP * (1 - STEADY * tf.sqrt(inverse)), 0, 1)
    # The variance of what a level shows at a point, less that of the image: a box of 2**l pixels has
    # (4**l - 1) / 12 and the tent of the read (4**l - 1) / 6. Probes have 1/12 of the square.
    blur = sum(step * (9 * 4.0**level) for level, step in enumerate(steps))
    return tf.minimum(parting, tf.sqrt(tf.maximum(1 - blur * inverse, _LEAST)))


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


def _picture(
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


def _of_picture(sampling: Sampling) -> Sampling:
    """How the picture is read: beyond it there is the fill value, or nothing that is read."""
    words = ["constant" if axis.border.filled else "nearest" for axis in reversed(sampling.along(2))]
    return dataclasses.replace(sampling, fill_mode=words)
