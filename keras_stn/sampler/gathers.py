"""The form of the sampler for files: few kinds of plain ops, each fast on a phone.

A fill value stands in a frame around the image (a mask for each tap takes a third more operations), and
pixels come from flat `tf.gather`s on axis 0 (four GATHER_ND take 1.5 to 8 times as long).
"""

import math
from typing import Any

import tensorflow as tf

from keras_stn import grids
from keras_stn.sampler.taps import accumulator, shape_of, taps

Tensor = Any

_CARRIERS = dict.fromkeys((tf.bool, tf.uint8, tf.int8, tf.uint16, tf.int16), tf.int32)
_CARRIERS |= {tf.uint32: tf.int64, tf.uint64: tf.int64}  # and back again, which keeps all bits

# Whole numbers up to this are exact in float32.
_EXACT_FLOAT32 = 2**24


def gather_taps(images, coordinates, interpolation, fill_mode, fill_value, index_dtype=None):
    """`keras_stn.sampler.sample`, by one gather for each tap."""
    batch, _, _, channels = shape_of(images)
    dtype, images = images.dtype, readable(images)
    shape = _output_shape(batch, coordinates, channels)
    columns, rows = taps(coordinates, grids.image_size(images), interpolation, fill_mode)
    framed = fill_mode == "constant"
    if framed:
        images = frame(images, fill_value)
    height, width = grids.image_size(images)

    index_dtype = index_dtype or _index_dtype(batch, height, width)
    first = tf.range(batch) * (height * width)  # flat index of each image's pixel (0, 0)
    if framed:
        first += width + 1
    first = tf.cast(tf.reshape(first, (-1, 1, 1)), index_dtype)  # (batch, 1, 1)
    starts = [tf.cast(row, index_dtype) * tf.cast(width, index_dtype) + first for row, _ in rows]
    columns = [(tf.cast(column, index_dtype), weight) for column, weight in columns]

    sum_dtype = accumulator(images.dtype)
    pixels = tf.reshape(images, (-1, channels))  # (batch * H * W, channels)
    total: Tensor = None
    for start, (_, row_weight) in zip(starts, rows, strict=True):
        for column, column_weight in columns:
            index = tf.reshape(tf.cast(start + column, tf.int32), (-1,))  # (batch * h * w,)
            tap = tf.gather(pixels, index)  # (batch * h * w, channels)
            if row_weight is not None:  # of several taps
                weight = tf.reshape(row_weight * column_weight, (-1, 1))  # (batch * h * w, 1)
                tap = tf.cast(tap, sum_dtype) * tf.cast(weight, sum_dtype)
            total = tap if total is None else total + tap
    return tf.cast(tf.reshape(total, shape), dtype)


def readable(images: Tensor) -> Tensor:
    """The images in a dtype that runtimes can pad and gather: label maps of bytes as int32.

    TFLite has no PADV2 of int16 and tf2onnx no Pad of bytes.
    """
    return tf.cast(images, _CARRIERS.get(images.dtype, images.dtype))


def frame(images: Tensor, fill_value: float | list[float]) -> Tensor:
    """The images in a frame of one pixel of the fill value: (batch, H + 2, W + 2, channels).

    What stands outside a framed image is what stands on its frame. So one copy of the images takes the
    place of a mask for each tap, and a fill value costs nothing.
    """
    values = fill_value if isinstance(fill_value, list) else [fill_value]
    parts = tf.split(images, len(values), axis=-1) if len(values) > 1 else [images]
    margins = (0, 0), (1, 1), (1, 1), (0, 0)
    numbers = [images.dtype.as_numpy_dtype(value) for value in values]
    if images.shape[-1] is None or images.shape[-1] < 32:
        # As tensors, for PADV2 even where it is a zero: in TFLite the whole warp takes 0.076 ms with it
        # at 64x64x1, and 0.115 with PAD. On many channels PAD is faster: 0.56 ms for 0.60 at 56x56x64.
        numbers = [tf.convert_to_tensor(number) for number in numbers]
    framed = [tf.pad(part, margins, constant_values=n) for part, n in zip(parts, numbers, strict=True)]
    return tf.concat(framed, axis=-1)


def _output_shape(batch: Any, coordinates: Tensor, channels: Any) -> tuple[Any, ...]:
    if isinstance(coordinates, tuple):
        x, y = (shape_of(axis) for axis in coordinates)
        return batch, y[1], x[2], channels
    if isinstance(coordinates, grids.Split):
        coordinates = coordinates.whole
    return batch, *shape_of(coordinates)[2:], channels


def _index_dtype(batch: Any, height: Any, width: Any) -> tf.DType:
    """float32 where it holds every index exactly: int32 takes 1.2 to 1.9 times as long in TFLite."""
    static = all(isinstance(size, int) for size in (batch, height, width))
    if static and math.prod((batch, height, width)) < _EXACT_FLOAT32:
        return tf.float32
    return tf.int32
