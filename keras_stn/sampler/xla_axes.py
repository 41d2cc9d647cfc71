"""Eq. (7) of Jaderberg et al. (2015): the gradient to the coordinates, for XLA.

Sums over channels are what it costs. Which way they go hangs on how many axes and channels there are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from keras_stn.grids import shape_of
from keras_stn.sampler.taps import accumulator
from keras_stn.sampler.xla_taps import Tap, plus, product, reads, taps_for_channels

Tensor = Any


def to_axes(images, upstream, axes, taps, sampling) -> list[Tensor]:
    """The gradient to each of the axes."""
    upstream = tf.cast(upstream, accumulator(images.dtype))
    if images.shape[-1] == 1:
        by_channels = _of_one_channel_in_space if len(axes) > 2 else _of_one_channel
        sums = by_channels(images, upstream, taps_for_channels(images, axes, sampling), sampling)
    else:
        by_channels = _of_taps if len(axes) > 2 else _of_totals
        sums = by_channels(images, upstream, taps, sampling)
    return [_summed(*pair) for pair in zip(sums, axes, strict=True)]


def _slopes(combination: Sequence[Tap]) -> Iterator[Tensor]:
    """The slope of the weight of a combination of taps, by x, y[, z]."""
    for number in range(1, len(combination) + 1):
        factors = [tap.weight for tap in combination]
        factors[-number] = combination[-number].slope  # x is last
        yield product(factors)


def _added(totals: Sequence[Tensor], pixels: Tensor, combination: Sequence[Tap]) -> list[Tensor]:
    """The totals of the axes, and pixels by the slopes of their weight."""
    slopes = _slopes(combination)
    return [plus(total, pixels, slope) for total, slope in zip(totals, slopes, strict=True)]


def _of_totals(images, upstream, taps, sampling) -> list[Tensor]:
    """Sums over the channels of what the taps add up to, of one axis each."""
    totals: list[Tensor] = [None] * len(taps)
    for pixels, combination in reads(images, taps, sampling, again=True):
        totals = _added(totals, pixels, combination)
    return _summed_over_channels(*(total * upstream for total in totals))


def _of_one_channel(images, upstream, taps, sampling) -> list[Tensor]:
    """The same, with the taps of the last axis in the channel's place.

    A sum over one channel is none, and XLA then computes all of it again for each use: 2.0 ms instead of
    3.7 in a step at 128x40x40x1.
    """
    return _of_totals(tf.squeeze(images, -1), upstream, taps, sampling)


def _of_taps(images, upstream, taps, sampling) -> list[Tensor]:
    """Sums over the channels of one tap each, which are then weighted.

    So three axes need no more reads than one: a step to params takes 15 ms instead of 49 at
    4x32x32x32x16. Two are better off without: 15 ms instead of 12 at 8x224x224x3.
    """
    pixels, combinations = zip(*reads(images, taps, sampling, again=True), strict=True)
    terms = [pixel * upstream for pixel in pixels]
    sums: list[Tensor] = []
    for start in range(0, len(terms), 2):
        sums += _summed_over_channels(*terms[start : start + 2])
    totals: list[Tensor] = [None] * len(taps)
    for total, combination in zip(sums, combinations, strict=True):
        totals = _added(totals, total, combination)
    return totals


def _of_one_channel_in_space(images, upstream, taps, sampling) -> list[Tensor]:
    """The same, with the taps of the last axis in the channel's place.

    A step to params takes 15 ms instead of 20 at 2x64x64x64x1.
    """
    totals: list[Tensor] = [None] * len(taps)
    for pixels, (last, *others) in reads(tf.squeeze(images, -1), taps, sampling, again=True):
        sums = _summed_over_channels(pixels * last.weight, pixels * last.slope)
        weight, slope = (tf.expand_dims(total, -1) for total in sums)
        totals = _added(totals, upstream, (last._replace(weight=weight, slope=slope), *others))
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
