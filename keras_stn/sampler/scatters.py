"""The gradient to the images: each tap gives its share back to its pixel, by scatters for XLA."""

import functools
import itertools
import math
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from keras_stn.sampler.axis_taps import taps_of, x_and_y
from keras_stn.sampler.forms import image_by_image, on_gpu
from keras_stn.sampler.loop import one_by_one
from keras_stn.sampler.taps import accumulator, shape_of

Tensor = Any

# Channels up to which one scatter of all four taps side by side beats a scatter of each.
_FEW_CHANNELS = 16

# Channels up to which a single image is better given back in two halves, side by side: a step with the
# gradient to the images 3.1 ms for 4.5 at 1x300x300x1, and 2.5 for 2.7 at 1x224x224x3. With four it is
# the same, and with more it takes longer.
_VERY_FEW_CHANNELS = 3

# Scatters of a part of the batch each run side by side, on two cores: in a step with the gradient to the
# images 13.4 ms for 14.9 at 16x56x56x64, and 6 for 9 in batches of unknown size at 128x40x40x1.
_PARTS = 8


def to_images(images, upstream, axes, columns, rows, interpolation, fill_mode):
    """Eq. (6) of the paper: each tap gives its share back to its pixel.

    `axes` are the coordinates, as in `axis_taps.x_and_y`, and `columns` and `rows` their taps.
    """
    how = interpolation, fill_mode
    if images.shape[0] == 0:  # TensorFlow's graph optimiser would divide by 0: the process dies
        return tf.zeros_like(images)
    if image_by_image(images, upstream.shape):
        tensors = images, upstream, *axes
        (total,) = one_by_one(_of_images, tensors, *how, like=(0,))
        return total
    return _at_once(images, upstream, columns, rows, *how, 1 if on_gpu() else _PARTS)


def _of_images(tensors, interpolation, fill_mode):
    images, upstream, *axes = tensors
    columns, rows = taps_of(images, *x_and_y(axes), interpolation, fill_mode, 0.0)  # any fill value does
    return [_at_once(images, upstream, columns, rows, interpolation, fill_mode)]


def _at_once(images, upstream, columns, rows, interpolation, fill_mode, parts=1):
    """All images of the batch, in up to so many parts that run side by side."""
    channels = images.shape[3]
    upstream = tf.cast(upstream, accumulator(images.dtype))
    few = channels is not None and channels <= _FEW_CHANNELS
    adjacent = interpolation == "bilinear" and fill_mode in ("constant", "nearest")
    scattered = _scattered_in_quads if few and adjacent else _scattered
    return tf.cast(scattered(upstream, columns, rows, shape_of(images), parts), images.dtype)


def _weights(columns, rows) -> list[Tensor]:
    """How much of each tap is the image's: (batch, h, w) each."""
    weights = []
    for row, column in itertools.product(rows, columns):
        weight = row.weight * column.weight
        if row.inside is not None:
            weight = tf.where(row.inside & column.inside, weight, tf.zeros((), weight.dtype))
        weights.append(weight)
    return weights


def _in_parts(parts: int, *tensors: Tensor, axis: int = 0) -> Iterable[tuple[Tensor, ...]]:
    """The tensors in up to so many parts along an axis, none longer than another by two."""
    size = shape_of(tensors[0])[axis]
    if parts == 1:
        return [tensors]
    if isinstance(size, int):
        parts = max(min(parts, size), 1)
        sizes = [(size + part) // parts for part in range(parts)]
    else:
        sizes = (size + tf.range(parts)) // parts
    return zip(*(tf.split(tensor, sizes, axis, num=parts) for tensor in tensors), strict=True)


def _scattered(upstream, columns, rows, shape, parts):
    """One scatter of all taps, one after the other."""
    _, height, width, channels = shape
    size = shape_of(upstream)[:3]
    pairs = itertools.product(rows, columns)
    places = [tf.broadcast_to(row.index * width + column.index, size) for row, column in pairs]
    shares = [upstream * tf.expand_dims(weight, -1) for weight in _weights(columns, rows)]

    def images_of(*tensors):
        places, shares = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        batch, *_ = shape_of(places[0])
        first = tf.reshape(tf.range(batch) * (height * width), (-1, 1, 1))
        index = tf.concat([tf.reshape(first + place, (-1, 1)) for place in places], 0)
        share = tf.concat([tf.reshape(share, (-1, channels)) for share in shares], 0)
        total = tf.scatter_nd(index, share, (batch * height * width, channels))
        return tf.reshape(total, (batch, height, width, channels))

    return tf.concat([images_of(*part) for part in _in_parts(parts, *places, *shares)], 0)


def _scattered_in_quads(upstream, columns, rows, shape, parts):
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
    shares = -weights * tf.reshape(upstream, (batch, points, 1, channels))  # see `fused._plus`
    images_of = functools.partial(_images_of_quads, size=(height, width))
    if upstream.shape[0] == 1 and parts > 1 and channels <= _VERY_FEW_CHANNELS:
        halves = _in_parts(2, places, shares, axis=1)
        return functools.reduce(_sum, (images_of(*half) for half in halves))
    return tf.concat([images_of(*part) for part in _in_parts(parts, places, shares)], 0)


def _sum(first: Tensor, second: Tensor) -> Tensor:
    return first - -second  # see `fused._plus`


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
