"""The form of the sampler for training and serving: written for XLA, with a gradient of its own.

Automatic differentiation keeps every tap for the backward pass, four outputs and more. This gradient
keeps the images and the coordinates, and reads the taps again.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import grids
from keras_stn.sampler.forms import hint, image_by_image, on_gpu
from keras_stn.sampler.taps import accumulator, shape_of, slopes_along, taps_along

Tensor = Any

# Channels up to which one scatter of all four taps side by side beats a scatter of each.
_FEW_CHANNELS = 16

# Scatters of a part of the batch each run side by side, on two cores: in a step with the gradient to the
# images 13.4 ms for 14.9 at 16x56x56x64, and 3.6 for 4.3 at 128x40x40x1.
_PARTS = 8


def read_fused(images, coordinates, interpolation, fill_mode, fill_value):
    """`keras_stn.sampler.sample`, by ops for XLA to fuse."""
    axes = coordinates if isinstance(coordinates, tuple) else (coordinates,)
    fill_values = tuple(fill_value) if isinstance(fill_value, list) else (fill_value,)
    how = interpolation, fill_mode, fill_values
    if tf.executing_eagerly():
        return _reader(*how)(images, *axes)
    return _traced((on_gpu(), *_signature((images, *axes))), *how)(images, *axes)


def _signature(tensors: Iterable[Tensor]) -> tuple:
    return tuple((tensor.dtype, *tensor.shape) for tensor in tensors)


@functools.lru_cache(maxsize=256)
def _traced(signature: tuple, *how: Any) -> Callable:
    """The reader as a function of its own, which graphs call and optimisers inline.

    TensorFlow never forgets a custom gradient made in a graph, nor the graph. So each is made once, in a
    small graph, and not once for each model.
    """
    return tf.function(_reader(*how), autograph=False)


def _reader(interpolation: str, fill_mode: str, fill_values: tuple[float, ...]) -> Callable:
    """The function of images and coordinates: x and y, or the two stacked."""
    fill_value = list(fill_values) if len(fill_values) > 1 else fill_values[0]
    how = interpolation, fill_mode, fill_value

    def read(images, *axes):
        batch_and_size = functools.reduce(tf.broadcast_static_shape, (axis.shape[-3:] for axis in axes))
        with hint(images, (*batch_and_size, images.shape[3])):
            x, y = _apart(axes)
            return _output(images, *_taps(images, x, y, *how), fill_value)

    @tf.custom_gradient
    def read_with_gradient(images, *axes):
        def gradient(upstream):
            with hint(images, upstream.shape):
                x, y = _apart(axes)
                smooth = interpolation != "nearest"
                columns, rows = _taps(images, x, y, *how, slopes=smooth)
                if image_by_image(images, upstream.shape):
                    inputs = images, upstream, x, y
                    to_images = _image_by_image(_signature(inputs), interpolation, fill_mode)(*inputs)
                else:
                    to_images = _to_images(images, upstream, columns, rows, *how)
                if not smooth:
                    return to_images, *(None for _ in axes)
                pixels = images
                if images.shape[3] == 1:
                    # A sum over one channel is none, and XLA then computes all of it again for each use.
                    # So the rows of taps take the channels' place: 2.0 ms for 3.7 in a step at
                    # 128x40x40x1.
                    columns, rows = _taps_of_one_channel(images, x, y, *how)
                    pixels = tf.squeeze(images, 3)
                both = _to_coordinates(pixels, x, y, upstream, columns, rows, fill_value)
                return to_images, *(both if len(axes) == 2 else [tf.stack(both)])

        return read(images, *axes), gradient

    return lambda images, *axes: (read_with_gradient if images.dtype.is_floating else read)(
        images, *axes
    )


def _apart(axes: tuple[Tensor, ...]) -> Iterable[Tensor]:
    """x and y, (batch, h, w) or broadcasting to it."""
    return axes if len(axes) == 2 else tf.unstack(axes[0])


class Tap(NamedTuple):
    """One of an axis: tensors that broadcast to (batch, h, w)."""

    pixel: Tensor  # int32; outside, where a fill value stands
    index: Tensor  # int32, the nearest one in the image
    weight: Tensor
    slope: Tensor | None  # of the weight, by the coordinate
    inside: Tensor | None  # whether the pixel is the image's, for a fill value other than zero


def _taps(images, x, y, *how: Any, slopes: bool = False) -> tuple[list[Tap], list[Tap]]:
    height, width = grids.image_size(images)
    dtype = accumulator(images.dtype)
    return _along(x, width, dtype, slopes, *how), _along(y, height, dtype, slopes, *how)


def _taps_of_one_channel(images, x, y, *how: Any) -> tuple[list[Tap], list[Tap]]:
    """The columns, and all rows as one, of tensors (batch, h, w, 1) and (batch, h, w, rows)."""
    interpolation, *_ = how
    height, width = grids.image_size(images)
    x, y = (tf.expand_dims(axis, -1) for axis in (x, y))
    dtype, slopes = accumulator(images.dtype), True
    columns = _along(x, width, dtype, slopes, *how)
    if interpolation == "bilinear":
        return columns, _along(y, height, dtype, slopes, *how, as_pair=True)
    rows = _along(y, height, dtype, slopes, *how)  # by choice of four the step takes 6.5 ms for 4.9
    fields = (None if field[0] is None else tf.concat(field, -1) for field in zip(*rows, strict=True))
    return columns, [Tap(*fields)]


def _along(
    coordinate, size, dtype, slopes, interpolation, fill_mode, fill_value, *, as_pair=False
) -> list[Tap]:
    how = size, interpolation, fill_mode, as_pair
    along = taps_along(coordinate, *how)
    slopes_of = slopes_along(coordinate, *how) if slopes else [None] * len(along)
    last = tf.cast(size, coordinate.dtype) - 1
    zero = tf.zeros((), dtype)
    taps = []
    for (pixel, weight), slope in zip(along, slopes_of, strict=True):
        inside = None
        slope = tf.cast(slope, dtype) if slopes else None
        weight, index = tf.cast(weight, dtype), pixel
        if fill_mode == "constant":
            inside = (pixel >= 0) & (pixel <= last)
            index = tf.clip_by_value(pixel, 0, last)
            # A weight of zero is faster than to choose between values: 2.5 ms for 4.5 at 8x224x224x3.
            # The price: NaN in a pixel at the border also stands outside of it.
            if fill_value == 0:
                weight = tf.where(inside, weight, zero)
                slope = tf.where(inside, slope, zero) if slopes else None
                inside = None
        taps.append(Tap(tf.cast(pixel, tf.int32), tf.cast(index, tf.int32), weight, slope, inside))
    return taps


def _read(images, columns, rows, fill_value, again=False) -> Iterator[tuple[Tensor, Tap, Tap]]:
    """(pixels (batch, h, w, channels), row, column) of each tap.

    `again`: by another way, in which XLA does not see that it has read these pixels before. It would
    keep them all from the forward pass: 12 ms for 8 in a step at 8x224x224x3.
    """
    batch, height, width, *channels = shape_of(images)
    dtype = accumulator(images.dtype)
    first = tf.reshape(tf.range(batch) * height, (-1, *[1] * (rows[0].index.shape.rank - 1)))
    one_by_one = tf.reshape(images, (batch, height * width, *channels))
    all_in_one = tf.reshape(images, (batch * height * width, *channels))
    for row, column in itertools.product(rows, columns):  # indices are (batch, h, w)
        if again:
            index = row.index * width + column.index
            pixels = tf.gather(one_by_one, index, batch_dims=1)
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


def _to_coordinates(images, x, y, upstream, columns, rows, fill_value):
    """Eq. (7) of the paper: the gradients to x and y."""
    by_x: Tensor = None
    by_y: Tensor = None
    for pixels, row, column in _read(images, columns, rows, fill_value, again=True):
        by_x = _plus(by_x, pixels, row.weight * column.slope)
        by_y = _plus(by_y, pixels, row.slope * column.weight)
    # As one complex number, because XLA then reads each tap once for both: 3.3 ms for 8.5 at
    # 8x224x224x3.
    upstream = tf.cast(upstream, by_x.dtype)
    both = tf.reduce_sum(tf.complex(by_x * upstream, by_y * upstream), axis=-1)  # (batch, h, w)
    return _summed(tf.math.real(both), x), _summed(tf.math.imag(both), y)


def _summed(gradient: Tensor, coordinate: Tensor) -> Tensor:
    """The sum over the axis along which a coordinate of an axis-aligned map is one for all."""
    axes = [axis for axis in (1, 2) if coordinate.shape[axis] == 1 and gradient.shape[axis] != 1]
    return tf.reduce_sum(gradient, axes, keepdims=True) if axes else gradient


def _to_images(images, upstream, columns, rows, interpolation, fill_mode, fill_value):
    """Eq. (6) of the paper: each tap gives its share back to its pixel."""
    channels = images.shape[3]
    upstream = tf.cast(upstream, accumulator(images.dtype))
    few = channels is not None and channels <= _FEW_CHANNELS
    adjacent = interpolation == "bilinear" and fill_mode in ("constant", "nearest")
    scattered = _scattered_in_quads if few and adjacent else _scattered
    return tf.cast(scattered(upstream, columns, rows, shape_of(images)), images.dtype)


@functools.lru_cache(maxsize=256)
def _image_by_image(signature: tuple, interpolation: str, fill_mode: str) -> Callable:
    """`_to_images` as a loop over the batch, so that what the taps give back is there for one image.

    A step at 8x224x224x3 takes 21 MB beside its arguments for 55, and 10.6 ms for 12.0, because an image
    stays in the cache. Larger ones pay for the memory, as no two scatters run side by side: 143 ms for
    125 at 4x1024x1024x3.
    """

    how = interpolation, fill_mode, 0.0  # a fill value has no gradient

    def at_once(images, upstream, x, y):
        return _to_images(images, upstream, *_taps(images, x, y, *how), *how)

    @tf.custom_gradient
    def one_by_one(images, *tensors):
        def add(index, total):
            count = tf.minimum(tf.shape(images)[0], 1)  # the loop is compiled for an empty batch, too
            places = index + tf.range(count)
            image, *parts = (tf.gather(tensor, places) for tensor in (images, *tensors))
            share = at_once(image, *parts)
            return index + 1, tf.tensor_scatter_nd_update(total, tf.expand_dims(places, 1), share)

        def gradient(upstream):  # of a loop it would be a list, which XLA and TensorFlow cannot share
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                total = at_once(images, *tensors)
            return None, *tape.gradient(total, tensors, upstream)

        batch, *_ = shape_of(images)
        start = 0, tf.zeros_like(images)
        _, total = tf.while_loop(lambda index, _: index < batch, add, start, maximum_iterations=batch)
        return total, gradient

    # Inlined, TensorFlow would take the loop apart before XLA could compile it: 38 ms for 10.5.
    return tf.function(one_by_one, autograph=False, experimental_attributes={"_noinline": True})


def _weights(columns, rows) -> list[Tensor]:
    """How much of each tap is the image's: (batch, h, w) each."""
    weights = []
    for row, column in itertools.product(rows, columns):
        weight = row.weight * column.weight
        if row.inside is not None:
            weight = tf.where(row.inside & column.inside, weight, tf.zeros((), weight.dtype))
        weights.append(weight)
    return weights


def _parts(batch: Any) -> int:
    return math.gcd(batch, _PARTS) if isinstance(batch, int) and not on_gpu() else 1


def _scattered(upstream, columns, rows, shape):
    """One scatter of all taps, one after the other."""
    batch, height, width, channels = shape
    size = shape_of(upstream)[:3]
    pairs = itertools.product(rows, columns)
    places = [tf.broadcast_to(row.index * width + column.index, size) for row, column in pairs]
    shares = [upstream * tf.expand_dims(weight, -1) for weight in _weights(columns, rows)]

    def images_of(places, shares):
        batch, *_ = shape_of(places[0])
        first = tf.reshape(tf.range(batch) * (height * width), (-1, 1, 1))
        places = tf.concat([tf.reshape(first + place, (-1, 1)) for place in places], 0)
        shares = tf.concat([tf.reshape(share, (-1, channels)) for share in shares], 0)
        total = tf.scatter_nd(places, shares, (batch * height * width, channels))
        return tf.reshape(total, (batch, height, width, channels))

    def in_parts(tensors):
        return zip(*(tf.split(tensor, _parts(batch)) for tensor in tensors), strict=True)

    return tf.concat(list(map(images_of, in_parts(places), in_parts(shares))), 0)


def _scattered_in_quads(upstream, columns, rows, shape):
    """One scatter of all four taps side by side, into an image whose pixels stand for 2x2 of them.

    Compiled for a CPU a scatter is serial, and costs its rows and not their width. For taps that are
    neighbours, or have no weight.
    """
    batch, height, width, channels = shape
    points = math.prod(shape_of(upstream)[1:3])
    # The upper left of each four, from -1; at `size` there are none but outside.
    left = tf.minimum(columns[0].pixel + 1, width)
    top = tf.minimum(rows[0].pixel + 1, height)
    places = tf.reshape(top * (width + 1) + left, (batch, points))
    weights = tf.reshape(tf.stack(_weights(columns, rows), axis=-1), (batch, points, 4, 1))
    shares = -weights * tf.reshape(upstream, (batch, points, 1, channels))  # see `_plus`
    parts = _parts(batch)
    split = zip(tf.split(places, parts), tf.split(shares, parts), strict=True)
    return tf.concat([_images_of_quads(*part, (height, width)) for part in split], 0)


def _images_of_quads(places, shares, size):
    """Images of `size`, from shares (batch, points, 4, channels) and the place of each 2x2 of pixels."""
    height, width = size
    batch, points, _, channels = shape_of(shares)
    first = tf.reshape(tf.range(batch) * ((height + 1) * (width + 1)), (-1, 1))
    places = tf.reshape(first + places, (-1, 1))
    shares = tf.reshape(shares, (batch * points, 4, channels))
    quads = tf.scatter_nd(places, shares, (batch * (height + 1) * (width + 1), 4, channels))
    quads = tf.reshape(quads, (batch, height + 1, width + 1, 4, channels))
    upper_left, upper_right, lower_left, lower_right = tf.unstack(quads, axis=3)
    return (
        -upper_left[:, 1:, 1:]
        - upper_right[:, 1:, :-1]
        - lower_left[:, :-1, 1:]
        - lower_right[:, :-1, :-1]
    )
