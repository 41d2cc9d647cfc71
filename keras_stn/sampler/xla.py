"""The reader for TensorFlow: formulas only, written for XLA, which fuses what stands here.

Equations are those of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
Automatic differentiation keeps every tap for the backward pass, four outputs and more; `gradients` keeps
the images and the coordinates, and reads the taps again. Which form is taken where is for `plan` to say.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf

from keras_stn.grids import image_size, shape_of
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import accumulator
from keras_stn.sampler.xla_axes import to_axes
from keras_stn.sampler.xla_taps import (
    Tap,
    joined_taps,
    made_once,
    plus,
    product,
    raveled,
    reads,
    taps_of_axes,
)

Tensor = Any


def output(images: Tensor, axes: Sequence[Tensor], sampling: Sampling) -> Tensor:
    """Eq. (3): the sum over taps of weight * pixel."""
    total: Tensor = None
    of_axes = taps_of_axes(image_size(images), images.dtype, axes, sampling)
    for pixels, taps in reads(images, of_axes, sampling):
        total = plus(total, pixels, product(tap.weight for tap in taps))
    return tf.cast(total, images.dtype)


def splat(
    values: Tensor,
    axes: Sequence[Tensor],
    size: Sequence[int],
    sampling: Sampling,
    blocks: bool = False,
    chunks: int = 1,
) -> Tensor:
    """The adjoint of `output`, eq. (6): each tap gives its share of a value to its pixel."""
    batch, *_, channels = shape_of(values)
    shape = batch, *size, channels
    if isinstance(batch, int) and not batch:  # TensorFlow's graph optimiser would divide by 0, and die
        return tf.zeros(shape, values.dtype)
    upstream = tf.cast(values, accumulator(values.dtype))
    if blocks:
        corners_and_weights = _blocks(size, values.dtype, made_once(axes), sampling, channels)
        total = _scattered_in_blocks(upstream, *corners_and_weights, shape, chunks)
    else:
        taps = taps_of_axes(size, values.dtype, axes, sampling)
        total = _scattered(upstream, taps, shape, chunks)
    return tf.cast(total, values.dtype)


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
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        axes = make(*tensors)
    by_images = splat(upstream, axes, image_size(images), sampling, blocks, chunks)
    if sampling.kernel.slopes is None:
        return [by_images]
    taps = taps_of_axes(image_size(images), images.dtype, axes, sampling, slopes=True)
    by_axes = to_axes(images, upstream, axes, taps, sampling)
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
    taps = taps_of_axes(image_size(upstream), upstream.dtype, axes, sampling, slopes=True)
    by_axes = to_axes(upstream, values, axes, taps, sampling)
    return [by_values, *tape.gradient(axes, tensors, by_axes)]


# --- The gradient to the images ------------------------------------------------------------------------


def _weight(tap: Tap) -> Tensor:
    """How much of the tap is the image's."""
    return tap.weight if tap.inside is None else tf.where(tap.inside, tap.weight, 0)


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
        tf.broadcast_to(raveled([tap.index for tap in combination], sizes), size)
        for combination in combinations
    ]
    weights = [product(map(_weight, combination)) for combination in combinations]
    updates = [upstream * tf.expand_dims(weight, -1) for weight in weights]

    def images_of(*tensors):
        indices, updates = tensors[: len(combinations)], tensors[len(combinations) :]
        batch, *_ = shape_of(indices[0])
        first = tf.reshape(tf.range(batch) * product(sizes), (-1, *[1] * len(sizes)))
        index = tf.concat([tf.reshape(first + index, (-1, 1)) for index in indices], 0)
        update = tf.concat([tf.reshape(update, (-1, channels)) for update in updates], 0)
        total = tf.scatter_nd(index, update, (batch * product(sizes), channels))
        return tf.reshape(total, (batch, *sizes, channels))

    return tf.concat([images_of(*chunk) for chunk in _in_chunks(chunks, *indices, *updates)], 0)


def _blocks(size, dtype, axes, sampling, channels) -> tuple[list[Tensor], Tensor]:
    """The first pixel of a block of neighbouring taps, and its weights (batch, [d,] h, w, 2 ** axes)."""
    if channels != 1 and len(axes) == 2:
        pairs = taps_of_axes(size, dtype, axes, sampling)
        weights = [product(map(_weight, taps)) for taps in itertools.product(*reversed(pairs))]
        return [first.pixel for first, _ in pairs], tf.stack(weights, axis=-1)
    # In one loop with what they weigh: 2.9 ms instead of 3.8 in a step at 128x40x40x1, and 14 instead of
    # 18 at 2x64x64x64x1. But 15.3 instead of 11.9 at 8x224x224x3.
    joined = joined_taps(size, dtype, axes, sampling)
    apart = []
    for number, weight in enumerate(map(_weight, joined)):
        *points, two = shape_of(weight)
        apart.append(tf.reshape(weight, (*points, *[1] * (len(axes) - 1 - number), two, *[1] * number)))
    of_blocks = product(apart)
    shape = *shape_of(of_blocks)[: -len(axes)], 2 ** len(axes)
    return [tap.pixel[..., 0] for tap in joined], tf.reshape(of_blocks, shape)


def _scattered_in_blocks(upstream, corners, weights, shape, chunks):
    """One scatter of 2x2 taps side by side, into an image whose pixels stand for 2x2 of them.

    Compiled for a CPU a scatter is serial, and costs its rows and not their width. For two taps along
    each axis that are neighbours, or have no weight.
    """
    batch, *sizes, channels = shape
    points = product(shape_of(upstream)[1:-1])
    larger = [size + 1 for size in sizes]
    # From -1 on; at `size` there are none but outside.
    corner = [tf.minimum(one + 1, size) for one, size in zip(reversed(corners), sizes, strict=True)]
    index = tf.broadcast_to(raveled(corner, larger), shape_of(upstream)[:-1])
    count = 2 ** len(sizes)
    weights = tf.reshape(weights, (batch, points, count, 1))
    updates = -weights * tf.reshape(upstream, (batch, points, 1, channels))  # see `plus`

    def images_of(index, updates):
        batch, *_ = shape_of(updates)
        first = tf.reshape(tf.range(batch) * product(larger), (-1, 1))
        index = tf.reshape(first + index, (-1, 1))
        updates = tf.reshape(updates, (batch * points, count, channels))
        total = tf.scatter_nd(index, updates, (batch * product(larger), count, channels))
        blocks = tf.unstack(tf.reshape(total, (batch, *larger, count, channels)), axis=-2)
        corners = itertools.product((slice(1, None), slice(0, -1)), repeat=len(sizes))
        first_block, *others = (
            block[(slice(None), *corner)] for block, corner in zip(blocks, corners, strict=True)
        )
        return functools.reduce(operator.sub, others, -first_block)

    index = tf.reshape(index, (batch, points))
    return tf.concat([images_of(*chunk) for chunk in _in_chunks(chunks, index, updates)], 0)
