"""The sampler: reads channels_last images at pixel coordinates, by gathers, in plain TF ops.

One idea carries all fill modes. `fill_mode` extends the image to the whole plane, and the sampler
interpolates that extension. So each axis has a handful of taps, whole pixels around the coordinate
with a weight each (two for bilinear), and fill_mode only decides which pixel stands at a tap:

    output = sum over taps i of y, j of x:   weight_i * weight_j * image[pixel_i, pixel_j]

which is eq. (3) of Jaderberg et al. (2015, arXiv:1506.02025) with a kernel of finite support. Automatic
differentiation of this sum gives eq. (6) and (7), with the derivative from the right at a pixel centre.

The form of each line is chosen for what it becomes on a phone and under XLA: integers are computed and
clipped in float (an int32 clip to 0..6 turns into a Relu6 that no TFLite kernel has), outside is
masked by arithmetic (boolean masks cost two to three times as much), and pixels come from flat
`tf.gather`s on axis 0 (GATHER_ND takes two to six times as long).
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import grids

Tensor = Any

# All coordinates further out than this count as this far out: beyond any image, and near enough for the
# float32 arithmetic of `_modulo` to stay exact, with three bits to spare.
_FAR = 2.0**20

# Whole numbers up to this are exact in float32.
_EXACT_FLOAT32 = 2**24

_stand_in: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("stand_in", default=None)


@contextlib.contextmanager
def replaced_by(stand_in: Callable) -> Iterator[None]:
    """Within this context `sample` calls `stand_in` with its arguments.

    For exports: a file format may have a better form of the same numbers, such as one GridSample in
    ONNX. What is traced in here, and only that, has that form.
    """
    token = _stand_in.set(stand_in)
    try:
        yield
    finally:
        _stand_in.reset(token)


def sample(
    images: Tensor,
    x: Tensor,
    y: Tensor,
    interpolation: str,
    fill_mode: str,
    fill_value: float | list[float],
) -> Tensor:
    """Sample `images` (batch, H, W, channels) at pixel coordinates `x`, `y` (batch, h, w).

    Returns (batch, h, w, channels) in the dtype of `images`. Arguments are taken as checked.
    """
    function = _stand_in.get() or gather_taps
    return function(images, x, y, interpolation, fill_mode, fill_value)


def gather_taps(images, x, y, interpolation, fill_mode, fill_value):
    """`sample`, by one gather for each tap."""
    height, width = grids.image_size(images)
    batch, _, _, channels = _shape(images)
    dtype = _accumulator(images.dtype)

    columns = _taps(x, width, interpolation, fill_mode)
    rows = _taps(y, height, interpolation, fill_mode)

    index_dtype = _index_dtype(batch, height, width)
    first = tf.range(batch) * (height * width)  # flat index of each image's first pixel
    first = tf.cast(tf.reshape(first, (-1, 1, 1)), index_dtype)  # (batch, 1, 1)
    starts = [tf.cast(row, index_dtype) * tf.cast(width, index_dtype) + first for row, _ in rows]
    columns = [(tf.cast(column, index_dtype), weight) for column, weight in columns]

    pixels = tf.reshape(images, (-1, channels))  # (batch * H * W, channels)
    total: Tensor = 0
    for start, (_, row_weight) in zip(starts, rows, strict=True):
        for column, column_weight in columns:
            index = tf.reshape(tf.cast(start + column, tf.int32), (-1,))  # (batch * h * w,)
            weight = tf.reshape(row_weight * column_weight, (-1, 1))  # (batch * h * w, 1)
            tap = tf.gather(pixels, index)  # (batch * h * w, channels)
            total += tf.cast(tap, dtype) * tf.cast(weight, dtype)

    if fill_mode == "constant" and fill_value != 0:
        inside = sum(weight for _, weight in rows) * sum(weight for _, weight in columns)
        outside = tf.cast(tf.reshape(1 - inside, (-1, 1)), dtype)
        total += outside * np.asarray(fill_value, dtype.as_numpy_dtype)

    return tf.cast(tf.reshape(total, (*_shape(x), channels)), images.dtype)


def _shape(tensor: Tensor) -> tuple[Any, ...]:
    """The shape, as integers wherever it is static."""
    static = tensor.shape.as_list()
    if None not in static:
        return tuple(static)
    dynamic = tf.unstack(tf.shape(tensor), num=len(static))
    return tuple(d if s is None else s for s, d in zip(static, dynamic, strict=True))


def _accumulator(dtype: tf.DType) -> tf.DType:
    """Half-precision images are summed in float32; integers, which only nearest takes, in kind."""
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def _index_dtype(batch: Any, height: Any, width: Any) -> tf.DType:
    """float32 where it holds every index exactly: int32 takes 1.2 to 1.9 times as long in TFLite."""
    static = all(isinstance(size, int) for size in (batch, height, width))
    if static and math.prod((batch, height, width)) < _EXACT_FLOAT32:
        return tf.float32
    return tf.int32


# --- One axis: taps ------------------------------------------------------------------------------


def _taps(
    coordinate: Tensor, size: Any, interpolation: str, fill_mode: str
) -> list[tuple[Tensor, Tensor]]:
    """(pixel, weight) for each tap along an axis; pixel is a whole float in [0, size - 1]."""
    size = tf.cast(size, coordinate.dtype)
    pixel_at = _EXTENSIONS[fill_mode]
    coordinate = _guard(coordinate)
    if interpolation == "nearest" and fill_mode != "constant":
        # Ties are broken inside the image, as PyTorch and ONNX do: extend first, then round.
        coordinate = pixel_at(coordinate, size)
    taps = []
    for position, weight in _KERNELS[interpolation](coordinate):
        pixel = pixel_at(position, size)
        if fill_mode == "constant":
            # A tap that had to be moved to reach the image is outside it: its weight becomes zero.
            weight *= tf.nn.relu(1 - tf.abs(position - pixel))
        taps.append((pixel, weight))
    return taps


def _guard(coordinate: Tensor) -> Tensor:
    """Make every coordinate finite: the huge ones far on their own side, NaN far on the low side.

    A gather index made from NaN raises in TFLite's CPU runtime and is undefined elsewhere. The
    comparison is false for NaN; `x == x` would say the same, but GPU delegates do not take it.
    """
    coordinate = tf.clip_by_value(coordinate, -_FAR, _FAR)
    return tf.where(coordinate <= _FAR, coordinate, -_FAR)


def _nearest(coordinate: Tensor) -> list[tuple[Tensor, Tensor]]:
    position = tf.round(coordinate)  # ties to even
    return [(position, tf.ones_like(position))]


def _bilinear(coordinate: Tensor) -> list[tuple[Tensor, Tensor]]:
    position = tf.floor(coordinate)
    t = coordinate - position
    return [(position, 1 - t), (position + 1, t)]


_A = -0.75  # the cubic's slope parameter, as in PyTorch and ONNX GridSample


def _bicubic(coordinate: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Keys' cubic convolution (1981), eq. (4) with a = -0.75, in Horner form."""

    def inner(d):  # at distance d in [0, 1]
        return ((_A + 2) * d - (_A + 3)) * d * d + 1

    def outer(d):  # at distance d in [1, 2]
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A

    position = tf.floor(coordinate)
    t = coordinate - position
    return [
        (position - 1, outer(t + 1)),
        (position, inner(t)),
        (position + 1, inner(1 - t)),
        (position + 2, outer(2 - t)),
    ]


_KERNELS: dict[str, Callable] = {"nearest": _nearest, "bilinear": _bilinear, "bicubic": _bicubic}


# --- One axis: which pixel stands at a position of the extended image ----------------------------
# On whole positions these give whole pixels of [0, size - 1], exactly.


def _clip(position: Tensor, size: Tensor) -> Tensor:
    """a a a | a b c d | d d d"""
    return tf.clip_by_value(position, 0, size - 1)


def _modulo(position: Tensor, period: Tensor) -> Tensor:
    """`position` modulo `period`, on floats alone: FLOOR_MOD is missing on GPU delegates.

    Compilers turn the division by a constant into a product with its rounded reciprocal, which may
    put a multiple of the period on the wrong side of the floor. Callers shift by a part of a pixel, so
    that whole positions stay clear of it, or do not care.
    """
    return position - period * tf.floor(position / period)


def _reflect(position: Tensor, size: Tensor) -> Tensor:
    """c b a | a b c d | d c b"""
    return _clip(_reflect_between_edges(position, size), size)


def _reflect_between_edges(position: Tensor, size: Tensor) -> Tensor:
    """`_reflect` into [-0.5, size - 0.5], which is where a cubic tells a picture from its edge pixel."""
    phase = _modulo(position + 0.5, 2 * size)
    return tf.minimum(phase, 2 * size - phase) - 0.5


def _mirror(position: Tensor, size: Tensor) -> Tensor:
    """d c b | a b c d | c b a"""
    period = tf.maximum(2 * size - 2, 1)  # an image of one pixel mirrors onto itself
    phase = _modulo(position, period)  # the fold below sends 0 and period to the same pixel
    return _clip(tf.minimum(phase, period - phase), size)


def _wrap(position: Tensor, size: Tensor) -> Tensor:
    """b c d | a b c d | a b c"""
    # A quarter, so that halfway between two pixels, where nearest breaks ties, is clear of it as well.
    return _modulo(position + 0.25, size) - 0.25


def settle(coordinate: Tensor, size: Any, interpolation: str, fill_mode: str) -> Tensor:
    """A finite coordinate, inside the image or beside it, where the extended image looks the same.

    For stand-ins that know taps, but neither NaN nor the far plane. It is inside the image, but for
    fill_mode="constant", where it is only finite, and for the outer taps of a cubic. With
    interpolation="nearest" it is the pixel that `sample` takes.
    """
    size = tf.cast(size, coordinate.dtype)
    coordinate = _guard(coordinate)
    if interpolation == "bicubic" and fill_mode == "reflect":
        return _reflect_between_edges(coordinate, size)
    if fill_mode != "constant" and (interpolation, fill_mode) != ("bicubic", "nearest"):
        coordinate = _EXTENSIONS[fill_mode](coordinate, size)
    if interpolation == "nearest":
        coordinate = tf.round(coordinate)  # ties to even
        if fill_mode == "wrap":
            coordinate = _wrap(coordinate, size)  # size - 0.5 may have been rounded to size
    return coordinate


def pixel_at(position: Tensor, size: Any, fill_mode: str) -> Tensor:
    """The pixel that stands at whole positions of the extended image."""
    return _EXTENSIONS[fill_mode](position, tf.cast(size, position.dtype))


_EXTENSIONS: dict[str, Callable] = {
    "constant": _clip,
    "nearest": _clip,
    "reflect": _reflect,
    "mirror": _mirror,
    "wrap": _wrap,
}
