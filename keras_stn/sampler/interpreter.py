"""The reader for files: few kinds of plain ops, each fast in the interpreters that run on phones.

There each op costs a dispatch. A fill value stands in a frame around the image (a mask for each tap
takes a third more operations), and pixels come from flat `tf.gather`s on axis 0 (four GATHER_ND take 1.5
to 8 times as long).
"""

import functools
import itertools
import math
import operator
from typing import Any

import tensorflow as tf

from keras_stn.grids import image_size, shape_of
from keras_stn.points import Points
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import Tap, accumulator, taps_along

Tensor = Any

_CARRIERS = dict.fromkeys((tf.bool, tf.uint8, tf.int8, tf.uint16, tf.int16), tf.int32)
_CARRIERS |= {tf.uint32: tf.int64, tf.uint64: tf.int64}  # and back again, which keeps all bits

# Whole numbers up to this are exact in float32.
_EXACT_FLOAT32 = 2**24


def read(images: Tensor, points: Points, sampling: Sampling, index_dtype: Any = None) -> Tensor:
    """`keras_stn.sampler.read`, by one gather for each tap."""
    dtype, images = images.dtype, readable(images)
    batch, *_, channels = shape_of(images)
    taps = _taps(points, image_size(images), sampling)
    if sampling.fill:
        images = framed(images, sampling)
    sizes = image_size(images)
    index_dtype = index_dtype or _index_dtype(batch, *sizes)

    # The flat index of a tap is the sum of one number for each axis: `first` and y * width, and x.
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    first = tf.range(batch) * math.prod(sizes)
    if sampling.fill:  # pixel 0 lies behind the frame
        first += sum(s for s, margin in zip(strides, margins(images, sampling), strict=True) if margin)
    first = tf.cast(tf.reshape(first, (-1, *[1] * len(sizes))), index_dtype)
    for axis, stride in zip(taps, reversed(strides), strict=True):
        axis[:] = [tap._replace(pixel=_times(tf.cast(tap.pixel, index_dtype), stride)) for tap in axis]
    taps[-1] = [tap._replace(pixel=tap.pixel + first) for tap in taps[-1]]

    sum_dtype = accumulator(images.dtype)
    pixels = tf.reshape(images, (-1, channels))  # (batch * H * W, channels)
    total: Tensor = None
    for combination in itertools.product(*reversed(taps)):
        index = functools.reduce(operator.add, (tap.pixel for tap in combination))
        values = tf.gather(pixels, tf.reshape(tf.cast(index, tf.int32), (-1,)))
        if sampling.kernel.weights:
            weight = functools.reduce(operator.mul, (tap.weight for tap in combination))
            weight = tf.reshape(weight, (-1, 1))  # (batch * h * w, 1)
            values = tf.cast(values, sum_dtype) * tf.cast(weight, sum_dtype)
        total = values if total is None else total + values
    return tf.cast(tf.reshape(total, (batch, *points.output_size, channels)), dtype)


def _taps(points: Points, sizes: tuple[Any, ...], sampling: Sampling) -> list[list[Tap]]:
    """The taps of each axis, x first."""
    wholes = points.whole or [None] * points.ndim
    along = sampling.along(points.ndim)
    return [
        taps_along(axis, size, of_axis, whole)
        for axis, size, of_axis, whole in zip(points.axes, reversed(sizes), along, wholes, strict=True)
    ]


def _times(index: Tensor, stride: Any) -> Tensor:
    return index if isinstance(stride, int) and stride == 1 else index * tf.cast(stride, index.dtype)


def readable(images: Tensor) -> Tensor:
    """The images in a dtype that runtimes can pad and gather: label maps of bytes as int32.

    TFLite has no PADV2 of int16 and tf2onnx no Pad of bytes.
    """
    return tf.cast(images, _CARRIERS.get(images.dtype, images.dtype))


def framed(images: Tensor, sampling: Sampling) -> Tensor:
    """The images in a frame of one pixel of the fill value: (batch, H + 2, W + 2, channels).

    It stands where a fill value does: with `fill_mode=("constant", "wrap")` above and below alone.
    What stands outside a framed image is what stands on its frame. So one copy of the images takes the
    place of a mask for each tap, and a fill value costs nothing.
    """
    values = sampling.fill
    slices = tf.split(images, len(values), axis=-1) if len(values) > 1 else [images]
    frame = (0, 0), *((margin, margin) for margin in margins(images, sampling)), (0, 0)
    numbers = [images.dtype.as_numpy_dtype(value) for value in values]
    if images.shape[-1] is None or images.shape[-1] < 32:
        # As tensors, for PADV2 even where it is a zero: in TFLite the whole warp takes 0.076 ms instead
        # of 0.115 at 64x64x1. On many channels PAD is faster: 0.56 ms instead of 0.60 at 56x56x64.
        numbers = [tf.convert_to_tensor(number) for number in numbers]
    framed = [tf.pad(part, frame, constant_values=n) for part, n in zip(slices, numbers, strict=True)]
    return tf.concat(framed, axis=-1)


def margins(images: Tensor, sampling: Sampling) -> list[int]:
    """How wide the frame is at each axis of the images, ([D,] H, W)."""
    return [int(axis.border.filled) for axis in reversed(sampling.along(images.shape.rank - 2))]


def _index_dtype(*sizes: Any) -> tf.DType:
    """float32 where it holds every index exactly: int32 takes 1.2 to 1.9 times as long in TFLite."""
    static = all(isinstance(size, int) for size in sizes)
    return tf.float32 if static and math.prod(sizes) < _EXACT_FLOAT32 else tf.int32
