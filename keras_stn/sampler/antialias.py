"""Antialiased reads: where a map shrinks, the mean over the footprint of each output pixel.

The footprint of an output pixel is the parallelogram of the source that it stands for. Its two sides are
differences of neighbouring points, so every family has one. Four probes, bilinear reads, lie in it; the
more pixels it covers, the coarser are those that they read:

    output = mean over four probes (a, b) of  level[l] at  point + a * side_x + b * side_y

Level l is the image in pixels of 2**l, means of means of four. Four probes are enough for two reasons:

- Their covariance is that of the footprint: 1/12 of side * side', of both sides. What the pixels of a
  level blur by themselves is subtracted.
- Each lies in a row and a column that no other is in. So along a narrow footprint they are four.

Where several levels are read, they lie below each other in one picture. So a probe is a plain read, by
the reader in force, with its gradients to images and points. Which level is read has no gradient.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_stn import _checks
from keras_stn.grids import shape_of
from keras_stn.points import Points
from keras_stn.sampler import pyramid, settings
from keras_stn.sampler.borders import FAR
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import accumulator

Tensor = Any
Side = Sequence[Tensor]  # (x, y) in pixels of the source

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
    if not choose:
        return tf.cast(_Reading(images, points, sampling, plain).of_all_levels(), dtype)
    make, tensors = points.recipe

    def reading(images, *tensors):
        points_of = Points(tuple(make(*tensors)), even=points.even, maps=points.maps)
        return _Reading(images, points_of, sampling, plain)

    return tf.cast(_chosen(reading)(images, *tensors), dtype)


_ALL_LEVELS = 2


class _Reading:
    """The three ways to read: the image alone, halved images alone, or a picture of all."""

    def __init__(self, images: Tensor, points: Points, sampling: Sampling, plain: Callable):
        self.images, self.points, self.sampling, self.plain = images, points, sampling, plain
        sides = footprint(points)
        self.steps = _steps(sides)
        self.moves = [_move(side, self.steps) for side in sides]
        self.moved = [
            [move * part for part in side] for move, side in zip(self.moves, sides, strict=True)
        ]
        self.probes = _probes(*sides)
        self.repeats = any(axis.border.repeat for axis in sampling.along(2))

    def of_images(self) -> Tensor:
        return self._mean(self.images, self.sampling)

    def of_halved(self) -> Tensor:
        return self._in_picture(with_image=False)

    def of_all_levels(self) -> Tensor:
        output = self._in_picture(with_image=True)
        if not self.repeats:
            return output
        # Beyond the image coordinates were brought back into it, for other bits than those of a plain
        # read.
        steady = tf.equal(self.moves[0] + self.moves[1] + sum(self.steps), 0)
        plain = self.plain(self.images, self.points, self.sampling)
        return tf.where(tf.expand_dims(steady, -1), plain, output)

    def choice(self) -> Tensor:
        """Which of the three it takes, by number."""
        halved = tf.greater(self.steps[0], 0)
        some = tf.where(tf.reduce_all(halved), 1, _ALL_LEVELS)
        return some if self.repeats else tf.where(tf.reduce_any(halved), some, 0)

    def chosen(self, number: int) -> Tensor:
        return (self.of_images, self.of_halved, self.of_all_levels)[number]()

    def _in_picture(self, with_image: bool) -> Tensor:
        picture, axes = pyramid.picture(self.images, self.sampling, self.steps, with_image)

        def place(probe):
            return [axis.place(part) for axis, part in zip(axes, probe, strict=True)]

        return self._mean(picture, pyramid.of_picture(self.sampling), place)

    def _mean(self, picture: Tensor, sampling: Sampling, place: Callable = list) -> Tensor:
        values = []
        for a, b in self.probes:
            # Four reads, and not one of four times the height, of which XLA keeps all values: 13 ms
            # instead of 45 at 8x224x224x3.
            probe = [
                point + (a * x + b * y)
                for point, x, y in zip(self.points.axes, *self.moved, strict=True)
            ]
            values.append(self.plain(picture, Points(tuple(place(probe))), sampling))
        # In pairs: of four equal numbers the mean is that number, to the bit.
        return ((values[0] + values[1]) + (values[2] + values[3])) * 0.25


def _chosen(reading: Callable) -> Callable:
    """A function of images and what points are made of, which makes the levels that are read alone.

    They, and the copy of the image, take most of the time of a small output: of 4x512x512x3 at 102x119
    a step to params and images takes 25 ms instead of 68, and its compilation 10 s instead of 3. Each
    choice gives the same bits: one NaN may change what is chosen.
    """

    def switched(function, choice, *tensors):
        first, *others = (functools.partial(function, number, *tensors) for number in range(3))
        # Not by tf.switch_case, which Keras' own export to ONNX leaves in a file that cannot be read.
        return tf.cond(choice < 1, first, lambda: tf.cond(choice < 2, *others))

    def gradients(part, number, upstream, *tensors):
        return _gradients(functools.partial(value, number), tensors, upstream, part)

    def value(number, *tensors):
        return reading(*tensors).chosen(number)

    @tf.custom_gradient
    def read(*tensors):
        choice = reading(*tensors).choice()

        def gradient(upstream):
            # To images by themselves: they are not made where nobody asks for them.
            parts = slice(1), slice(1, None)
            functions = [functools.partial(gradients, part) for part in parts]
            return [one for function in functions for one in once(function)(upstream, *tensors)]

        def once(function):
            @tf.custom_gradient
            def chosen(*tensors):
                def gradient(*upstreams):  # of a gradient: XLA compiles none of a choice of choices
                    return _gradients(functools.partial(function, _ALL_LEVELS), tensors, upstreams)

                return switched(function, choice, *tensors), gradient

            return chosen

        return switched(value, choice, *tensors), gradient

    return read


def _gradients(function: Callable, tensors, upstream, part=slice(None)) -> list[Tensor]:
    """Those of a function to a part of its tensors."""
    sources = tensors[part]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        results = function(*tensors)
    zero = tf.UnconnectedGradients.ZERO
    return tape.gradient(results, sources, upstream, unconnected_gradients=zero)


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
    return [tf.cast(area >= _AREA * 4**level, area.dtype) for level in range(pyramid.LEVELS)]


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
