"""Kernel and border along one axis: which pixels a coordinate reads, and with which weights.

Any rank is a product of axes, so this is all that readers know of kernels and borders.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import _checks
from keras_stn.sampler.borders import FAR, Border
from keras_stn.sampler.sampling import Sampling

Tensor = Any


class Tap(NamedTuple):
    """One pixel that a coordinate reads: tensors of the coordinate's shape.

    `pixel` is a whole number in floats, in [0, size - 1]; with a fill value -1 and size show it.
    """

    pixel: Tensor
    weight: Tensor | None  # None: the only tap
    slope: Tensor | None = None  # of the weight, by the coordinate


def check_size(argument: str, shape: Sequence[int | None], sampling: Sampling) -> None:
    """Raise for images so large that two of their pixels would have the same index."""
    batch, *sizes, _ = shape
    along = sampling.along(len(sizes))
    repeated = [size for size, axis in zip(reversed(sizes), along, strict=True) if axis.border.repeat]
    if max((size or 0 for size in repeated), default=0) > FAR:
        raise _checks.error(
            f"{argument} must be at most {int(FAR):,} pixels high and wide for "
            f"fill_mode={sampling.fill_mode!r}. Received: {argument}.shape={tuple(shape)}."
        )
    if math.prod(size or 1 for size in (batch, *sizes)) >= 2**31:
        raise _checks.error(
            f"{argument} must have fewer than 2**31 pixels in a batch. "
            f"Received: {argument}.shape={tuple(shape)}."
        )


def taps_along(
    coordinate: Tensor,
    size: Any,
    sampling: Sampling,
    whole: Tensor | None = None,
    slopes: bool = False,
    joined: bool = False,
) -> list[Tap]:
    """The taps along an axis of `size` pixels, whose `sampling` is one of `Sampling.along`.

    `whole` pixels may be added to the coordinate: of the sum, float16 would lose the fraction. `joined`:
    all taps as one, along the last axis, where the coordinate is of size 1.
    """
    kernel, border = sampling.kernel, sampling.border
    size = tf.cast(size, coordinate.dtype)
    reach = kernel.reach
    if kernel.weights is None or kernel.slopes is None:
        near = within_reach(coordinate if whole is None else whole + coordinate, size, reach, border)
        # Ties are broken inside the image, as PyTorch and ONNX do: extend first, then round.
        return [Tap(_pixel(tf.round(_repeated(near, size, border)), 0, reach, size, border), None)]
    if whole is not None:
        up = tf.floor(coordinate)
        fraction = coordinate - up
        reach += 1
        position = within_reach(whole + up, size, reach, border)
    else:
        near = within_reach(coordinate, size, reach, border)
        position = tf.floor(near)
        fraction = near - position
    weights: Sequence[Any] = kernel.weights(fraction)
    derivatives: Sequence[Any] = [None] * len(weights)
    if slopes:
        # Zero where the coordinate is so far out, or NaN, that moving it changes nothing.
        zero = tf.zeros((), coordinate.dtype)
        derivatives = [tf.where(near == coordinate, slope, zero) for slope in kernel.slopes(fraction)]
    offsets: Sequence[Any] = kernel.offsets
    if joined:
        offsets = [np.array(offsets, coordinate.dtype.as_numpy_dtype)]
        weights, derivatives = [_joined(weights)], [_joined(derivatives)]
    return [
        Tap(_pixel(position, offset, reach, size, border), weight, slope)
        for offset, weight, slope in zip(offsets, weights, derivatives, strict=True)
    ]


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors (..., 1) along the last axis.

    Two by choice and not by tf.concat, which XLA writes to memory: 1.8 ms instead of 2.6 in a step at
    128x40x40x1. Four by choice take 6.5 ms instead of 4.9.
    """
    return tf.where([True, False], *tensors) if len(tensors) == 2 else tf.concat(tensors, -1)


def _pixel(position: Tensor, offset: Any, reach: int, size: Tensor, border: Border) -> Tensor:
    """The pixel at a whole position within reach, and an offset, or several, from it."""
    pixel = position + offset if np.any(offset) else position
    if border.repeat:
        return border.repeat(pixel, size)
    low, high = border.ends(size)
    if np.min(offset) < reach:  # it may be below the low end
        pixel = tf.maximum(pixel, low)
    if np.max(offset) > -reach:
        pixel = tf.minimum(pixel, high)
    return pixel


def _repeated(coordinate: Tensor, size: Tensor, border: Border) -> Tensor:
    return border.repeat(coordinate, size) if border.repeat else coordinate


def within_reach(coordinate: Tensor, size: Tensor, reach: int, border: Border) -> Tensor:
    """A finite coordinate that looks the same: beyond the reach of the kernel all is one pixel.

    NaN is on the low side. A gather index made from NaN raises in TFLite's CPU runtime and is undefined
    elsewhere.
    """
    low, high = border.ends(size)
    low, high = (-FAR, FAR) if border.repeat else (low - reach, high + reach)
    # The comparison is false for NaN; `x == x` would say the same, but GPU delegates do not take it. It
    # comes first, as a clip in TFLite makes either end of NaN. Not `>= low`: XLA would make a maximum of
    # that, which keeps NaN.
    coordinate = tf.where(coordinate > low - 1, coordinate, tf.cast(low, coordinate.dtype))
    return tf.clip_by_value(coordinate, low, high)


def bounded(coordinate: Tensor, size: Any, sampling: Sampling) -> Tensor:
    """A finite coordinate, inside the image or beside it, where the extended image looks the same.

    For readers that know taps, but neither NaN nor the far plane. It is in the image or, with a fill
    value, its frame, but for the outer taps of a cubic. With the nearest kernel it is the pixel read.
    `sampling` is that of one axis.
    """
    kernel, border = sampling.kernel, sampling.border
    size = tf.cast(size, coordinate.dtype)
    coordinate = within_reach(coordinate, size, kernel.reach, border)
    if border.edge and kernel.reach:
        return border.edge(coordinate, size)
    coordinate = _repeated(coordinate, size, border)
    # size - 0.5 may be rounded to size, which repeats.
    return coordinate if kernel.weights else _repeated(tf.round(coordinate), size, border)


def accumulator(dtype: tf.DType) -> tf.DType:
    """Half-precision images are summed in float32; integers, which only nearest takes, in kind."""
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype
