"""Sampling grids, and the one place that knows the pixel convention.

A pixel coordinate counts pixels from the centre of the first one: 0, 1, ..., size - 1. A normalised
coordinate measures the same axis from -1 to 1. Between the two stands one number, the `span`:

    pixel      = (normalised * span + (size - 1)) / 2
    normalised = (2 * pixel - (size - 1)) / span

    align_corners=False   span = size       -1 and 1 are the outer edges of the corner pixels
    align_corners=True    span = size - 1   -1 and 1 are the centres of the corner pixels

The numerator `2 * pixel - (size - 1)` is a whole number at every pixel. `steps` holds these numbers, and
everything here is written in them: that is why the identity, flips, whole-pixel shifts and 90 degree
turns come out as the very pixels rather than within a rounding error of them.

Sizes are Python integers where the shape is static and scalar int32 tensors where it is not. They are in
the order of an image's axes, ([depth,] height, width); coordinates begin with x, as a grid point does.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from keras_stn.points import Deferred, Points, Stack

Size = Any  # int, or a scalar int32 tensor
Tensor = Any


_float16: contextvars.ContextVar[bool] = contextvars.ContextVar("float16", default=False)


@contextlib.contextmanager
def for_float16() -> Iterator[None]:
    """Within this context `matrix_points` gives `whole` pixels apart: for what may run in float16."""
    token = _float16.set(True)
    try:
        yield
    finally:
        _float16.reset(token)


def in_float16() -> bool:
    """Whether it is so: points are then made at once, whole pixels and the rest."""
    return _float16.get()


def shape_of(tensor: Tensor) -> tuple[Any, ...]:
    """The shape, as integers wherever it is static."""
    static = tensor.shape.as_list()
    if None not in static:
        return tuple(static)
    dynamic = tf.unstack(tf.shape(tensor), num=len(static))
    return tuple(d if s is None else s for s, d in zip(static, dynamic, strict=True))


def image_size(images: Tensor) -> tuple[Size, ...]:
    """([depth,] height, width) of channels_last images."""
    return shape_of(images)[1:-1]


def coordinate_dtype(images_dtype: Any) -> tf.DType:
    """float64 for float64 images, float32 for all others.

    Half precision is not enough for a coordinate: at width 224 float16 is off by 0.06 pixels, and
    bfloat16 by a whole one.
    """
    return tf.float64 if tf.as_dtype(images_dtype) == tf.float64 else tf.float32


def rounded(product: Tensor) -> Tensor:
    """`product`, rounded before anything is added to it, with the same bits on every machine.

    Compilers make one operation with one rounding of `a * b + c`, wherever they find it. XLA computes a
    coordinate in several places of a graph, in some of them with that operation: around a whole number
    the floor of one and the weight of another were then a pixel apart. A maximum stands in the way.
    It is the largest negative number and not -inf, which LLVM would take out again, so of -inf this
    makes a number: a slope must not come through here, for it would be multiplied by 0.
    """
    return tf.maximum(product, product.dtype.min)


def span(size: Size, align_corners: bool, dtype: tf.DType) -> Any:
    """Pixels between the normalised coordinates -1 and 1 (module docstring)."""
    if not align_corners:
        return _number(size, dtype)
    if isinstance(size, int):
        return float(size - 1)
    return tf.cast(size - 1, dtype)


def steps(size: Size, dtype: tf.DType) -> Tensor:
    """`2 * pixel - (size - 1)` for each pixel of an axis: -(size - 1), ..., -1, 1, ..., size - 1."""
    return tf.cast(2 * tf.range(size) - (size - 1), dtype)  # (size,)


def _number(size: Size, dtype: tf.DType) -> Any:
    return float(size) if isinstance(size, int) else tf.cast(size, dtype)


def divisor(size: Size, align_corners: bool, dtype: tf.DType) -> Any:
    """The span, but 1 on an axis of one pixel, whose only step is 0: its centre is then at 0."""
    value = span(size, align_corners, dtype)
    return max(value, 1.0) if isinstance(value, float) else tf.maximum(value, 1)


def _half_ratio(source: Any, target: Any) -> Any:
    """source / target / 2, and exactly 1/2 where the two are equal.

    TensorFlow's graph optimiser turns a division by a constant into a product with its rounded
    reciprocal, so no tensor is divided by a number: a known target is divided by an unknown source. The
    identity at width 41 would be off by 1e-5 otherwise.
    """
    if isinstance(source, float) and isinstance(target, float):
        return source / (2 * target)
    return 1 / (2 * target / source)


def target_axes(output_size: Sequence[Size], align_corners: bool, dtype: tf.DType) -> list[Tensor]:
    """The normalised x (1, [1,] 1, w), y (1, [1,] h, 1)[, z] of the target pixels."""
    axes = [steps(size, dtype) / divisor(size, align_corners, dtype) for size in output_size]
    return _broadcasting(axes)


def _broadcasting(axes: list[Tensor]) -> list[Tensor]:
    """Vectors along the axes of images, as axes of `Points`: x first."""
    ndim = len(axes)
    shapes = [[1] * (number + 1) + [-1] + [1] * (ndim - 1 - number) for number in range(ndim)]
    return [tf.reshape(axis, shape) for axis, shape in zip(axes, shapes, strict=True)][::-1]


def rows(theta: Tensor, ndim: int) -> list[list[Tensor]]:
    """The entries of theta (batch, ndim, ndim + 1), row by row, each (batch, 1, ...) as axes are."""
    flat = tf.reshape(theta, (-1, ndim * (ndim + 1), *[1] * (ndim - 1)))
    entries = tf.split(flat, ndim * (ndim + 1), axis=1)
    return [entries[row * (ndim + 1) : (row + 1) * (ndim + 1)] for row in range(ndim)]


def combination(slopes: Sequence[Tensor], axes: Sequence[Tensor], offset: Tensor) -> Tensor:
    """slope * axis, of every axis, and the offset added up: one row of theta times (x, y[, z], 1).

    Written with products and sums of the axes, and not as a matmul with a (h * w, 3) grid: that grid
    would be a constant of O(h * w) in every exported file, and on a GPU the matmul would run on
    reduced-precision units (TF32), which are off by tenths of a pixel.
    """
    *first, last = zip(slopes, axes, strict=True)
    total = rounded(last[0] * last[1]) + offset
    for slope, axis in reversed(first):
        # TensorFlow's graph optimiser regroups sums of sums: for other roundings, and out of the reach
        # of XLA. A maximum between them is in its way, too.
        total = rounded(slope * axis) + rounded(total)
    return total


def matrix_map(theta: Tensor, axes: Sequence[Tensor]) -> list[Tensor]:
    """theta @ (x, y[, z], 1) of `axes`, which broadcast: theta (batch, n, n + 1)."""
    return [combination(slopes, axes, offset) for *slopes, offset in rows(theta, len(axes))]


def matrix_grid(theta: Tensor, output_size: Sequence[Size], align_corners: bool) -> Tensor:
    """The normalised sampling grid (batch, [d,] h, w, n) of `theta` (batch, n, n + 1)."""
    axes = target_axes(output_size, align_corners, theta.dtype)
    return tf.stack(matrix_map(theta, axes), axis=-1)


def matrix_points(
    theta: Tensor,
    source_size: Sequence[Size],
    output_size: Sequence[Size],
    align_corners: bool,
    axis_aligned: bool = False,
) -> Points:
    """The points of `theta` (batch, n, n + 1), with the convention folded into it.

    The numbers of `to_pixels` with fewer roundings, because the axes stay whole numbers: at the identity
    the coordinates are exact. `axis_aligned`: theta is diagonal but for its last column.
    """
    static = tuple(source_size), tuple(output_size), align_corners
    if _float16.get():  # and so for a GPU, which unstacks nothing
        pairs = _each_axis(theta, *static, axis_aligned, _along_in_float16)
        whole, rest = zip(*pairs, strict=True)
        return Points(rest, whole)
    if axis_aligned:
        return Points(tuple(_each_axis(theta, *static, axis_aligned)), even=True)
    if not all(isinstance(size, int) for size in (*source_size, *output_size)):
        return Stack(_all_axes(theta, *static), even=True)
    shape, make = tf.TensorShape([theta.shape[0], *output_size]), _made_of_theta(*static)
    plain = lambda theta: Stack(_all_axes(theta, *static))  # noqa: E731
    return Deferred(make, (theta,), shape, plain, even=True)


@functools.lru_cache(maxsize=256)
def _made_of_theta(*static: Any) -> Callable:
    """A function of theta to axes: one object for what is alike, which caches know again."""
    return lambda theta: _each_axis(theta, *static)


def _each_axis(theta, source_size, output_size, align_corners, axis_aligned=False, along=None) -> list:
    """Axis by axis: in XLA, a stack of them would be written to memory."""
    scale, first = _to_pixel_theta(source_size, output_size, align_corners, theta.dtype)
    axes = _broadcasting([steps(size, theta.dtype) for size in output_size])
    coordinates = []
    for number, (*slopes, offset) in enumerate(rows(theta * scale, len(axes))):
        own = slice(number, number + 1) if axis_aligned else slice(None)
        coordinates.append((along or _along)(slopes[own], axes[own], offset, first[number]))
    return coordinates


def _all_axes(theta, source_size, output_size, align_corners) -> Tensor:
    """The same bits as a stack: 45 nodes instead of 55 of a model for digits in ONNX."""
    scale, first = _to_pixel_theta(source_size, output_size, align_corners, theta.dtype)
    axes = _broadcasting([steps(size, theta.dtype) for size in output_size])
    ndim, ones = len(axes), [1] * (len(axes) - 1)
    by_row = tf.reshape(tf.transpose(theta * scale, (1, 0, 2)), (ndim, -1, ndim + 1, *ones))
    *slopes, offset = tf.split(by_row, ndim + 1, axis=2)  # (ndim, batch, 1, ...) each
    return _along(slopes, axes, offset, tf.reshape(vector(first, theta.dtype), (ndim, 1, 1, *ones)))


def _along(slopes: Sequence[Tensor], axes: Sequence[Tensor], offset: Tensor, first: Any) -> Tensor:
    """A coordinate of the source, counted from the point `first`."""
    return combination(slopes, axes, rounded(offset) - first)


def _along_in_float16(slopes, axes, offset, first) -> tuple[Tensor, Tensor]:
    """`_along` as (whole, rest), with what takes many bits done on the axes alone."""
    before = tf.convert_to_tensor(-first, offset.dtype)
    whole = tf.floor(offset) + tf.floor(before)
    rest = (offset - tf.floor(offset)) + (before - tf.floor(before))
    for slope, axis in reversed(list(zip(slopes, axes, strict=True))):
        more_whole, more_rest = _product(slope, axis)
        whole, rest = more_whole + whole, more_rest + rest
    return _split(_along(slopes, axes, offset, first), whole, rest)


def _split(plain: Tensor, whole: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """A coordinate as (whole, rest), by another sum of the same: 0 <= rest < 1."""
    # In float32 `plain` is what Keras reads, and what the sum differs by is rounding: the same bits are
    # worth more. In float16 it is off by up to a quarter of a pixel, which the sum makes good.
    floor, fraction, zero = tf.floor(plain), plain - tf.floor(plain), tf.zeros((), plain.dtype)
    error = (whole - floor) + (rest - fraction)
    rest = fraction + tf.where(tf.abs(error) > 2.0**-10, error, zero)
    # Far away there is no fraction, and infinity less its floor is no number.
    return floor, tf.where(tf.abs(plain) < 2.0**20, rest, zero)


def _product(slope: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """slope * axis as (whole, rest), right to 1/256 of a pixel in float16 up to a size of 1024.

    Both factors are cut in two, into parts of so few bits that three of the products are exact but for
    the one with the small part of the slope, which is small itself.
    """
    coarse = tf.floor(slope * 32 + 0.5)  # of 1/32: exact
    far = tf.floor(axis / 16 + 0.5)
    near = axis - 16 * far  # -8 to 8
    parts = coarse * far * 0.5, coarse * near / 32, (slope - coarse / 32) * axis
    whole = [tf.floor(part) for part in parts]
    rest = [part - floor for part, floor in zip(parts, whole, strict=True)]
    return whole[0] + whole[1] + whole[2], rest[0] + rest[1] + rest[2]


def _to_pixel_theta(
    source_size: Sequence[Size],
    output_size: Sequence[Size],
    align_corners: bool,
    dtype: tf.DType,
) -> tuple[Tensor, list[Any]]:
    """For a map of `steps` to pixels: a factor for each entry of theta, and where the first pixel lies.

    With the factors theta counts pixels from the middle of the image, as the second result, x first,
    does.
    """
    targets = [divisor(size, align_corners, dtype) for size in reversed(output_size)]
    scale, first = [], []  # of the rows of theta: x, y[, z]
    for size in reversed(source_size):
        source = span(size, align_corners, dtype)
        scale += [*(_half_ratio(source, target) for target in targets), source / 2]
        first.append(-_number(size - 1, dtype) / 2)
    ndim = len(first)
    return tf.reshape(vector(scale, dtype), (ndim, ndim + 1)), first


def vector(entries: list[Any], dtype: tf.DType) -> Tensor:
    """Numbers and scalar tensors as one vector."""
    # Converted, not cast: a cast would take Python's numbers through float32 on their way to float64.
    return tf.stack([tf.convert_to_tensor(entry, dtype) for entry in entries])


def to_pixels(axes: Sequence[Tensor], source_size: Sequence[Size], align_corners: bool) -> Points:
    """The points of normalised coordinates x, y[, z]."""
    coordinates = []
    for axis, size in zip(axes, reversed(source_size), strict=True):
        scale = span(size, align_corners, axis.dtype) / 2
        coordinates.append(rounded(axis * scale) + _number(size - 1, axis.dtype) / 2)
    return Points(tuple(coordinates))


def moved_points(
    axes: Sequence[Tensor],
    mapped: Sequence[Tensor],
    source_size: Sequence[Size],
    output_size: Sequence[Size],
    align_corners: bool,
) -> Points:
    """The points of `axes`, those of the target, that are `mapped` in normalised coordinates.

    The numbers of `to_pixels`, counted from where the identity reads: that is exact where nothing moves.
    """
    halves = [span(size, align_corners, axes[0].dtype) / 2 for size in reversed(source_size)]
    shifts = [(to - at) * half for at, to, half in zip(axes, mapped, halves, strict=True)]
    return shifted_points(shifts, source_size, output_size, align_corners)


def shifted_points(
    shifts: Sequence[Tensor],
    source_size: Sequence[Size],
    output_size: Sequence[Size],
    align_corners: bool,
) -> Points:
    """The points that lie by `shifts`, in pixels of the source, beside those that the identity reads."""
    sizes, dtype = zip(source_size, output_size, strict=True), shifts[0].dtype
    starts = _broadcasting([places(*pair, align_corners, dtype) for pair in sizes])
    pairs = [(rounded(shift), start) for shift, start in zip(shifts, starts, strict=True)]
    plain = [shift + start for shift, start in pairs]
    if not _float16.get():
        return Points(tuple(plain))
    sums = [(tf.floor(start), shift + (start - tf.floor(start))) for shift, start in pairs]
    whole, rest = zip(*map(_split, plain, *zip(*sums, strict=True)), strict=True)
    return Points(rest, whole)


def places(size: Size, target_size: Size, align_corners: bool, dtype: tf.DType) -> Tensor:
    """Where the pixels of an axis lie on another that covers the same picture: (target_size,) pixels."""
    ratio = _half_ratio(span(size, align_corners, dtype), divisor(target_size, align_corners, dtype))
    return rounded(ratio * steps(target_size, dtype)) + _number(size - 1, dtype) / 2


def normalising(size: Size, align_corners: bool, dtype: tf.DType) -> tuple[float, Tensor]:
    """(offset, divisor) with `(pixel + offset) / divisor - 1` normalised.

    For those who must do `to_pixels` backwards, and can keep a division a division: a product with the
    reciprocal is off by up to twice as much.
    """
    half = divisor(size, align_corners, dtype) / 2
    return 0.0 if align_corners else 0.5, tf.convert_to_tensor(half, dtype)
