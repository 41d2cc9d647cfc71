"""The form of the sampler for training and serving: written for XLA, with a gradient of its own.

Automatic differentiation keeps every tap for the backward pass, four outputs and more. This gradient
keeps the images and the coordinates, and reads the taps again.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import grids
from keras_stn.sampler.axis_taps import Tap, taps_of, taps_of_one_channel, x_and_y
from keras_stn.sampler.forms import added_late, hint, image_by_image, on_gpu
from keras_stn.sampler.loop import one_by_one, signature_of
from keras_stn.sampler.scatters import to_images
from keras_stn.sampler.taps import accumulator, shape_of

Tensor = Any

# Channels from which they are summed eight by eight, in a loop that is unrolled. XLA writes the terms of
# longer sums to memory: a step takes 5.3 ms for 6.2 at 16x56x56x64, and 19 MB for 39.
_MANY_CHANNELS = 32


def read_fused(images, coordinates, interpolation, fill_mode, fill_value):
    """`keras_stn.sampler.sample`, by ops for XLA to fuse."""
    for tensor in _tensors_of(coordinates):
        _check_batch(tensor, images)
    axes = _axes_of(coordinates, images)
    fill_values = tuple(fill_value) if isinstance(fill_value, list) else (fill_value,)
    how = interpolation, fill_mode, fill_values
    if tf.executing_eagerly():
        return _reader(*how)(images, *axes)
    # The gradient is traced with it, and has another form on a GPU.
    signature = on_gpu(), signature_of((images, *axes))
    return _traced(signature, *how)(images, *axes)


def _tensors_of(coordinates: Any) -> tuple[Tensor, ...]:
    """Those that tell the batch of the coordinates."""
    if isinstance(coordinates, grids.Sum):
        return (coordinates.of_rows,)
    return coordinates if isinstance(coordinates, tuple) else (coordinates,)


def _axes_of(coordinates: Any, images: Tensor) -> tuple[Tensor, ...]:
    """The coordinates as x and y; as the two stacked; or as two addends of each: x, y, x, y."""
    if isinstance(coordinates, tuple):
        return coordinates
    if not isinstance(coordinates, grids.Sum):
        return (coordinates,)
    if added_late(images, (*coordinates.shape[1:], images.shape[3])):
        return (*tf.unstack(coordinates.of_columns), *tf.unstack(coordinates.of_rows))
    return (coordinates.added(),)


def _check_batch(axis: Tensor, images: Tensor) -> None:
    """Raise where coordinates (..., batch, h, w) are not of as many images, in graphs when they run.

    Forward they would be broadcast, and the gradient would be that of something else. Where all of it is
    compiled, XLA leaves the check out.
    """
    if axis.shape[-3] is None or axis.shape[-3] != images.shape[0]:
        message = (
            "there must be as many maps (rows of params, grids) as images in a batch; a batch of 1 that "
            "is to go with all must be known to be 1: keras.Input(..., batch_size=1), tensor[:1]"
        )
        tf.debugging.assert_equal(shape_of(axis)[-3], shape_of(images)[0], message)


@functools.lru_cache(maxsize=256)
def _traced(signature: tuple, *how: Any) -> Callable:
    """The reader as a function of its own, which graphs call and optimisers inline.

    TensorFlow never forgets a custom gradient made in a graph, nor the graph. So each is made once, in a
    small graph, and not once for each model.
    """
    return tf.function(_reader(*how), autograph=False)


def _reader(interpolation: str, fill_mode: str, fill_values: tuple[float, ...]) -> Callable:
    """The function of images and coordinates, as `_axes_of` has them."""
    fill_value = _fill_value(fill_values)
    how = interpolation, fill_mode, fill_value

    def read(images, *axes):
        batch_and_size = functools.reduce(tf.broadcast_static_shape, (axis.shape[-3:] for axis in axes))
        with hint(images, (*batch_and_size, images.shape[3])):
            return _output(images, *taps_of(images, *x_and_y(_apart(axes)), *how), fill_value)

    @tf.custom_gradient
    def read_with_gradient(images, *axes):
        def gradient(upstream):
            with hint(images, upstream.shape):
                parts = _apart(axes)
                x, y = x_and_y(parts)
                smooth = interpolation != "nearest"
                columns, rows = taps_of(images, x, y, *how, slopes=smooth)
                by_images = to_images(images, upstream, parts, columns, rows, interpolation, fill_mode)
                if not smooth:
                    return by_images, *(None for _ in axes)
                if len(parts) == 4 and image_by_image(images, upstream.shape):
                    tensors = images, upstream, *parts
                    by_addends = one_by_one(
                        _to_addends, tensors, interpolation, fill_mode, fill_values, like=(2, 3, 4, 5)
                    )
                    return by_images, *by_addends
                pixels = images
                if images.shape[3] == 1:
                    # A sum over one channel is none, and XLA then computes all of it again for each use.
                    # So the rows of taps take the channels' place: 2.0 ms for 3.7 in a step at
                    # 128x40x40x1.
                    columns, rows = taps_of_one_channel(images, x, y, *how)
                    pixels = tf.squeeze(images, 3)
                both = _to_coordinates(pixels, parts, upstream, columns, rows, fill_value)
                return by_images, *(both if len(axes) > 1 else [tf.stack(both)])

        return read(images, *axes), gradient

    return lambda images, *axes: (read_with_gradient if images.dtype.is_floating else read)(
        images, *axes
    )


def _fill_value(fill_values: tuple[float, ...]) -> float | list[float]:
    return list(fill_values) if len(fill_values) > 1 else fill_values[0]


def _apart(axes: tuple[Tensor, ...]) -> Sequence[Tensor]:
    """x and y in turn, with the batch as the first of three axes."""
    return axes if len(axes) > 1 else tf.unstack(axes[0])


def _to_addends(tensors, interpolation, fill_mode, fill_values):
    """`_to_coordinates` by what there is before the loop."""
    images, upstream, *addends = tensors
    fill_value = _fill_value(fill_values)
    how = interpolation, fill_mode, fill_value
    columns, rows = taps_of(images, *x_and_y(addends), *how, slopes=True)
    return _to_coordinates(images, addends, upstream, columns, rows, fill_value)


def _read(images, columns, rows, fill_value, again=False) -> Iterator[tuple[Tensor, Tap, Tap]]:
    """(pixels (batch, h, w, channels), row, column) of each tap.

    `again`: by another way, in which XLA does not see that it has read these pixels before. It would
    keep them all from the forward pass: 12 ms for 8 in a step at 8x224x224x3.
    """
    batch, height, width, *channels = shape_of(images)
    dtype = accumulator(images.dtype)
    first = tf.reshape(tf.range(batch) * height, (-1, *[1] * (rows[0].index.shape.rank - 1)))
    each_alone = tf.reshape(images, (batch, height * width, *channels))
    all_in_one = tf.reshape(images, (batch * height * width, *channels))
    for row, column in itertools.product(rows, columns):  # indices are (batch, h, w)
        if again:
            index = row.index * width + column.index
            pixels = tf.gather(each_alone, index, batch_dims=1)
        else:  # the faster way: forward 2.6 ms for 3.4 at 8x224x224x3
            index = (first + row.index) * width + column.index
            pixels = tf.gather(all_in_one, index)
        pixels = tf.cast(pixels, dtype)
        if row.inside is not None:
            inside = _for_channels(row.inside & column.inside)
            pixels = tf.where(inside, pixels, np.asarray(fill_value, dtype.as_numpy_dtype))
        yield pixels, row, column


def _for_channels(tensor: Tensor) -> Tensor:
    """(batch, h, w) as (batch, h, w, 1)."""
    return tf.expand_dims(tensor, -1) if tensor.shape.rank == 3 else tensor


def _output(images, columns, rows, fill_value):
    total: Tensor = None
    for pixels, row, column in _read(images, columns, rows, fill_value):
        total = _plus(total, pixels, row.weight * column.weight)
    return tf.cast(total, images.dtype)


def _plus(total: Tensor, pixels: Tensor, weight: Tensor) -> Tensor:
    """total + pixels * weight, for a weight without the axis of the channels.

    Written as a difference. Of sums TensorFlow's graph optimiser makes one AddN, outside of what XLA
    compiles: 13.6 ms for 4 at 8x224x224x3.
    """
    if total is None:
        return pixels * _for_channels(weight)
    return total - pixels * _for_channels(-weight)


def _to_coordinates(images, parts, upstream, columns, rows, fill_value):
    """Eq. (7) of the paper: the gradients to x and y, or to their addends."""
    by_x: Tensor = None
    by_y: Tensor = None
    for pixels, row, column in _read(images, columns, rows, fill_value, again=True):
        by_x = _plus(by_x, pixels, row.weight * column.slope)
        by_y = _plus(by_y, pixels, row.slope * column.weight)
    # As one complex number, because XLA then reads each tap once for both: 3.3 ms for 8.5 at
    # 8x224x224x3.
    upstream = tf.cast(upstream, by_x.dtype)
    axes = _summed_over_channels(tf.complex(by_x * upstream, by_y * upstream))  # (batch, h, w) each
    return [_summed(axes[number % 2], part) for number, part in enumerate(parts)]


def _summed_over_channels(both: Tensor) -> list[Tensor]:
    """The real and the imaginary part of the sum over the last axis."""
    parts = tf.math.real, tf.math.imag
    channels = both.shape[-1] or 0
    if channels < _MANY_CHANNELS or channels % 8:
        total = tf.reduce_sum(both, axis=-1)
        return [part(total) for part in parts]
    eights = tf.reshape(both, (*shape_of(both)[:-1], 8, channels // 8))
    totals = tf.reduce_sum(eights, axis=-2)
    # Each part by itself: XLA would make one sum again of two.
    return [tf.reduce_sum(part(totals), axis=-1) for part in parts]


def _summed(gradient: Tensor, coordinate: Tensor) -> Tensor:
    """The sum over the axis along which a coordinate, or its addend, is one for all."""
    axes = [axis for axis in (1, 2) if coordinate.shape[axis] == 1 and gradient.shape[axis] != 1]
    return tf.reduce_sum(gradient, axes, keepdims=True) if axes else gradient
