"""The reader for TensorFlow: formulas only, written for XLA, which fuses what stands here.

Equations are those of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
Automatic differentiation keeps every tap for the backward pass, four outputs and more; `gradients` keeps
the images and the coordinates, and reads the taps again. Which form is taken where is for `plan` to say.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn.grids import image_size, shape_of
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import accumulator, taps_along

Tensor = Any


class Tap(NamedTuple):
    """A tap of one axis: tensors that broadcast to (batch, [d,] h, w)."""

    pixel: Tensor  # int32; outside, where a fill value stands
    index: Tensor  # int32, the nearest one in the image
    weight: Tensor
    slope: Tensor | None  # of the weight, by the coordinate
    inside: Tensor | None  # whether the pixel is the image's, for a fill value other than zero


def output(images: Tensor, axes: Sequence[Tensor], sampling: Sampling) -> Tensor:
    """Eq. (3): the sum over taps of weight * pixel."""
    total: Tensor = None
    of_axes = _taps(image_size(images), images.dtype, axes, sampling)
    for pixels, taps in _read(images, of_axes, sampling):
        total = _plus(total, pixels, _product(tap.weight for tap in taps))
    return tf.cast(total, images.dtype)


def splat(
    values: Tensor,
    axes: Sequence[Tensor],
    size: Sequence[int],
    sampling: Sampling,
    blocks: bool = False,
    chunks: int = 1,
) -> Tensor:
    """The adjoint of `output`: each tap gives its share of a value to its pixel, as in eq. (6)."""
    taps = _taps(size, values.dtype, axes, sampling)
    batch, *_, channels = shape_of(values)
    return _to_images((batch, *size, channels), values.dtype, values, taps, blocks, chunks)


def gradients(
    images: Tensor,
    upstream: Tensor,
    *tensors: Tensor,
    make: Callable,
    sampling: Sampling,
    blocks: bool,
    chunks: int,
) -> list[Tensor]:
    """The gradients to images and, but for the nearest kernel, to the tensors that axes are made of."""
    smooth = sampling.kernel.slopes is not None
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        axes = make(*tensors)
    taps = _taps(image_size(images), images.dtype, axes, sampling, slopes=smooth)
    by_images = _to_images(shape_of(images), images.dtype, upstream, taps, blocks, chunks)
    if not smooth:
        return [by_images]
    by_axes = _to_axes(images, upstream, axes, taps, sampling)
    return [by_images, *tape.gradient(axes, tensors, by_axes)]


def splat_gradients(
    values: Tensor, upstream: Tensor, *tensors: Tensor, make: Callable, sampling: Sampling
) -> list[Tensor]:
    """Those of `splat`: `upstream` is read where values went, and in eq. (7) stands for the images."""
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        axes = make(*tensors)
    by_values = output(upstream, axes, sampling)
    if sampling.kernel.slopes is None:
        return [by_values]
    taps = _taps(image_size(upstream), upstream.dtype, axes, sampling, slopes=True)
    by_axes = _to_axes(upstream, values, axes, taps, sampling)
    return [by_values, *tape.gradient(axes, tensors, by_axes)]


# --- Taps ----------------------------------------------------------------------------------------------


def _taps(sizes, dtype, axes, sampling, slopes=False) -> list[list[Tap]]:
    """The taps of each axis, x first, in images of `sizes`."""
    along = functools.partial(_along, accumulator(dtype), slopes)
    return [along(*of_axis) for of_axis in _by_axis(sizes, axes, sampling)]


def _taps_for_channels(images, axes, sampling) -> list[list[Tap]]:
    """Taps (batch, [d,] h, w, 1), and all of the last axis as one, (batch, [d,] h, w, taps)."""
    along = functools.partial(_along, accumulator(images.dtype), True)
    axes = [tf.expand_dims(axis, -1) for axis in axes]
    *axes, last = _by_axis(image_size(images), axes, sampling)
    return [*(along(*of_axis) for of_axis in axes), along(*last, joined=True)]


def _by_axis(sizes, axes, sampling) -> Iterator[tuple[Tensor, Any, Sampling]]:
    """The coordinate, the size and the sampling of each axis, x first."""
    return zip(axes, reversed(sizes), sampling.along(len(axes)), strict=True)


def _along(dtype, slopes, coordinate, size, sampling, joined=False) -> list[Tap]:
    last = tf.cast(size, coordinate.dtype) - 1
    zero = tf.zeros((), dtype)
    taps = []
    for pixel, weight, slope in taps_along(coordinate, size, sampling, slopes=slopes, joined=joined):
        inside, index = None, pixel
        weight = tf.cast(tf.ones_like(pixel) if weight is None else weight, dtype)
        slope = None if slope is None else tf.cast(slope, dtype)
        if sampling.fill:
            inside = (pixel >= 0) & (pixel <= last)
            index = tf.clip_by_value(pixel, 0, last)
            # A weight of zero is faster than to choose between values: 2.5 ms instead of 4.5 at
            # 8x224x224x3. The price: NaN in a pixel at the border also stands outside of it.
            if not any(sampling.fill):
                weight = tf.where(inside, weight, zero)
                slope = None if slope is None else tf.where(inside, slope, zero)
                inside = None
        taps.append(Tap(tf.cast(pixel, tf.int32), tf.cast(index, tf.int32), weight, slope, inside))
    return taps


# --- Reading -------------------------------------------------------------------------------------------


def _read(images, taps, sampling, again=False) -> Iterator[tuple[Tensor, tuple[Tap, ...]]]:
    """The pixels (batch, [d,] h, w, channels) of each combination of taps, and the taps, x last.

    `again`: by another way, in which XLA does not see that it has read these pixels before. It would
    keep them all from the forward pass: 8.5 ms instead of 2.9 in a step to params at 16x56x56x64.
    """
    batch, *sizes = shape_of(images)[: len(taps) + 1]
    dtype = accumulator(images.dtype)
    rank = taps[0][0].index.shape.rank
    first = tf.reshape(tf.range(batch), (-1, *[1] * (rank - 1)))
    channels = shape_of(images)[len(taps) + 1 :]
    of_each = tf.reshape(images, (batch, _product(sizes), *channels))
    of_all = tf.reshape(images, (-1, *channels))
    for combination in itertools.product(*reversed(taps)):
        indices = [tap.index for tap in combination]
        if again:
            pixels = tf.gather(of_each, _raveled(indices, sizes), batch_dims=1)
        else:  # the faster way: forward 2.6 ms instead of 3.4 at 8x224x224x3
            pixels = tf.gather(of_all, _raveled([first, *indices], [batch, *sizes]))
        pixels = tf.cast(pixels, dtype)
        if (inside := _inside(combination)) is not None:
            inside = _for_channels(inside, pixels)
            pixels = tf.where(inside, pixels, np.asarray(sampling.fill, dtype.as_numpy_dtype))
        yield pixels, combination


def _raveled(indices: Sequence[Tensor], sizes: Sequence[Any]) -> Tensor:
    """The flat index of an entry of an array of `sizes`."""
    first, *rest = zip(indices, sizes, strict=True)
    return functools.reduce(lambda flat, axis: flat * axis[1] + axis[0], rest, first[0])


def _inside(taps: Iterable[Tap]) -> Tensor | None:
    """Whether all of them are, where one may not be."""
    insides = [tap.inside for tap in taps if tap.inside is not None]
    return functools.reduce(operator.and_, insides) if insides else None


def _product(factors: Iterable[Any]) -> Any:
    return functools.reduce(operator.mul, factors)


def _plus(total: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
    """total + pixels * weight.

    Written as a difference. Of sums TensorFlow's graph optimiser makes one AddN, outside of what XLA
    compiles: 13.6 ms instead of 4 at 8x224x224x3.
    """
    if total is None:
        return pixels * _for_channels(weight, pixels)
    return total - pixels * _for_channels(-weight, pixels)


def _for_channels(tensor: Tensor, pixels: Tensor) -> Tensor:
    """(batch, [d,] h, w) as (batch, [d,] h, w, 1), unless the channels are there."""
    return tensor if tensor.shape.rank == pixels.shape.rank else tf.expand_dims(tensor, -1)


# --- The gradient to the coordinates -------------------------------------------------------------------


def _to_axes(images, upstream, axes, taps, sampling) -> list[Tensor]:
    """Eq. (7): the gradient to each of the axes."""
    upstream = tf.cast(upstream, accumulator(images.dtype))
    form = _to_two_axes
    if len(taps) > 2:
        form = _to_axes_of_one if images.shape[-1] == 1 else _to_axes_by_tap
    found = form(images, upstream, axes, taps, sampling)
    return [_summed(*pair) for pair in zip(found, axes, strict=True)]


def _to_two_axes(images, upstream, axes, taps, sampling) -> list[Tensor]:
    """Both coordinates in one read: the gradient to each, (batch, h, w)."""
    if images.shape[-1] == 1:
        # A sum over one channel is none, and XLA then computes all of it again for each use. So the taps
        # of an axis take the channels' place: 2.0 ms instead of 3.7 in a step at 128x40x40x1.
        taps = _taps_for_channels(images, axes, sampling)
        images = tf.squeeze(images, -1)
    totals: list[Tensor] = [None] * len(taps)
    for pixels, combination in _read(images, taps, sampling, again=True):
        slopes = _slopes(combination)
        totals = [_plus(total, pixels, slope) for total, slope in zip(totals, slopes, strict=True)]
    return _summed_over_channels(*(total * upstream for total in totals))


def _slopes(combination: Sequence[Tap]) -> Iterator[Tensor]:
    """The slope of the weight of a combination of taps, by x, y[, z]."""
    for number in range(1, len(combination) + 1):
        factors = [tap.weight for tap in combination]
        factors[-number] = combination[-number].slope  # x is last
        yield _product(factors)


def _to_axes_by_tap(images, upstream, axes, taps, sampling) -> list[Tensor]:
    """`_to_two_axes` in the other order: each tap is summed over the channels, and then weighted.

    So three coordinates need no more reads than one: a step to params takes 15 ms instead of 49 at
    4x32x32x32x16. Two are better off without: 15 ms instead of 12 at 8x224x224x3.
    """
    pixels, combinations = zip(*_read(images, taps, sampling, again=True), strict=True)
    terms = [pixel * upstream for pixel in pixels]
    sums: list[Tensor] = []
    for start in range(0, len(terms), 2):
        sums += _summed_over_channels(*terms[start : start + 2])
    totals: list[Tensor] = [None] * len(taps)
    for total, combination in zip(sums, combinations, strict=True):
        slopes = _slopes(combination)
        totals = [_plus(so_far, total, slope) for so_far, slope in zip(totals, slopes, strict=True)]
    return totals


def _to_axes_of_one(images, upstream, axes, taps, sampling) -> list[Tensor]:
    """The same for one channel, whose place the taps of the last axis take.

    A step to params takes 15 ms instead of 20 at 2x64x64x64x1.
    """
    taps = _taps_for_channels(images, axes, sampling)
    totals: list[Tensor] = [None] * len(taps)
    for pixels, (last, *others) in _read(tf.squeeze(images, -1), taps, sampling, again=True):
        sums = _summed_over_channels(pixels * last.weight, pixels * last.slope)
        weight, slope = (tf.expand_dims(total, -1) for total in sums)
        slopes = _slopes((last._replace(weight=weight, slope=slope), *others))
        totals = [_plus(total, upstream, slope) for total, slope in zip(totals, slopes, strict=True)]
    return [tf.squeeze(total, -1) for total in totals]


# Channels from which they are summed eight by eight, in a loop that is unrolled. XLA writes the terms of
# longer sums to memory: a step takes 5.3 ms instead of 6.2 at 16x56x56x64, and 19 MB instead of 39.
_MANY_CHANNELS = 32


def _summed_over_channels(*terms: Tensor) -> list[Tensor]:
    """The sums of one or two tensors over the last axis.

    Of two as one complex number, because XLA then reads each tap once for both: 3.3 ms instead of 8.5 at
    8x224x224x3.
    """
    parts: list[Callable] = [tf.identity] if len(terms) == 1 else [tf.math.real, tf.math.imag]
    together = terms[0] if len(terms) == 1 else tf.complex(*terms)
    channels = together.shape[-1] or 0
    if channels < _MANY_CHANNELS or channels % 8:
        total = tf.reduce_sum(together, axis=-1)
        return [part(total) for part in parts]
    eights = tf.reshape(together, (*shape_of(together)[:-1], 8, channels // 8))
    totals = tf.reduce_sum(eights, axis=-2)
    # Each part by itself: XLA would make one sum again of two.
    return [tf.reduce_sum(part(totals), axis=-1) for part in parts]


def _summed(gradient: Tensor, axis: Tensor) -> Tensor:
    """The sum over what `axis` was broadcast along."""
    shapes = zip(axis.shape, gradient.shape, strict=True)
    numbers = [number for number, (size, whole) in enumerate(shapes) if size == 1 and whole != 1]
    return tf.reduce_sum(gradient, numbers, keepdims=True) if numbers else gradient


# --- The gradient to the images ------------------------------------------------------------------------


def _to_images(shape, dtype, upstream, taps, blocks, chunks) -> Tensor:
    """Eq. (6): each tap gives its share of `upstream` to its pixel, in images of that shape."""
    batch, *_ = shape
    if isinstance(batch, int) and not batch:  # TensorFlow's graph optimiser would divide by 0, and die
        return tf.zeros(shape, dtype)
    upstream = tf.cast(upstream, accumulator(dtype))
    scatter = _scattered_in_blocks if blocks else _scattered
    return tf.cast(scatter(upstream, taps, shape, chunks), dtype)


def _weights(taps) -> list[Tensor]:
    """How much of each combination of taps is the image's: (batch, [d,] h, w) each."""
    weights = []
    for combination in itertools.product(*reversed(taps)):
        weight = _product(tap.weight for tap in combination)
        if (inside := _inside(combination)) is not None:
            weight = tf.where(inside, weight, tf.zeros((), weight.dtype))
        weights.append(weight)
    return weights


def _in_chunks(chunks: int, *tensors: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The tensors in up to so many chunks of the batch, none longer than another by two."""
    size, *_ = shape_of(tensors[0])
    if chunks == 1:
        return [tensors]
    if isinstance(size, int):
        chunks = max(min(chunks, size), 1)
        sizes = [(size + chunk) // chunks for chunk in range(chunks)]
    else:
        sizes = (size + tf.range(chunks)) // chunks
    return zip(*(tf.split(tensor, sizes, num=chunks) for tensor in tensors), strict=True)


def _scattered(upstream, taps, shape, chunks):
    """One scatter of all taps, one after the other."""
    _, *sizes, channels = shape
    size = shape_of(upstream)[:-1]
    combinations = list(itertools.product(*reversed(taps)))
    indices = [
        tf.broadcast_to(_raveled([tap.index for tap in combination], sizes), size)
        for combination in combinations
    ]
    updates = [upstream * tf.expand_dims(weight, -1) for weight in _weights(taps)]

    def images_of(*tensors):
        indices, updates = tensors[: len(combinations)], tensors[len(combinations) :]
        batch, *_ = shape_of(indices[0])
        first = tf.reshape(tf.range(batch) * _product(sizes), (-1, *[1] * len(sizes)))
        index = tf.concat([tf.reshape(first + index, (-1, 1)) for index in indices], 0)
        update = tf.concat([tf.reshape(update, (-1, channels)) for update in updates], 0)
        total = tf.scatter_nd(index, update, (batch * _product(sizes), channels))
        return tf.reshape(total, (batch, *sizes, channels))

    return tf.concat([images_of(*chunk) for chunk in _in_chunks(chunks, *indices, *updates)], 0)


def _scattered_in_blocks(upstream, taps, shape, chunks):
    """One scatter of 2x2 taps side by side, into an image whose pixels stand for 2x2 of them.

    Compiled for a CPU a scatter is serial, and costs its rows and not their width. For two taps along
    each axis that are neighbours, or have no weight.
    """
    batch, *sizes, channels = shape
    points = _product(shape_of(upstream)[1:-1])
    larger = [size + 1 for size in sizes]
    # The first pixel of each block, from -1; at `size` there are none but outside.
    corner = [
        tf.minimum(axis[0].pixel + 1, size) for axis, size in zip(reversed(taps), sizes, strict=True)
    ]
    index = tf.broadcast_to(_raveled(corner, larger), shape_of(upstream)[:-1])
    weights = _weights(taps)
    count = len(weights)
    weights = tf.reshape(tf.stack(weights, axis=-1), (batch, points, count, 1))
    updates = -weights * tf.reshape(upstream, (batch, points, 1, channels))  # see `_plus`

    def images_of(index, updates):
        batch, *_ = shape_of(updates)
        first = tf.reshape(tf.range(batch) * _product(larger), (-1, 1))
        index = tf.reshape(first + index, (-1, 1))
        updates = tf.reshape(updates, (batch * points, count, channels))
        total = tf.scatter_nd(index, updates, (batch * _product(larger), count, channels))
        blocks = tf.unstack(tf.reshape(total, (batch, *larger, count, channels)), axis=-2)
        corners = itertools.product((slice(1, None), slice(0, -1)), repeat=len(sizes))
        first_block, *others = (
            block[(slice(None), *corner)] for block, corner in zip(blocks, corners, strict=True)
        )
        return functools.reduce(operator.sub, others, -first_block)

    index = tf.reshape(index, (batch, points))
    return tf.concat([images_of(*chunk) for chunk in _in_chunks(chunks, index, updates)], 0)
