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

Sizes are Python integers where the shape is static and scalar int32 tensors where it is not.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

Size = Any  # int, or a scalar int32 tensor
Tensor = Any


@dataclasses.dataclass(frozen=True)
class Split:
    """Pixel coordinates x and y as a sum that is exact in float16: (2, batch, height, width) each.

    float16 holds whole numbers up to 2048, but a coordinate of 400 only to a quarter of a pixel.
    """

    whole: Tensor
    rest: Tensor  # a few pixels


@dataclasses.dataclass(frozen=True)
class Sum:
    """Pixel coordinates x and y of an affine map: what the column gives to them, and what the row gives.

    For who can add the two where they are used: their sum is as large as the grid.
    """

    of_columns: Tensor  # (2, batch, 1, width)
    of_rows: Tensor  # (2, batch, height, 1)

    @property
    def shape(self) -> tf.TensorShape:
        return tf.broadcast_static_shape(self.of_columns.shape, self.of_rows.shape)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(tf.unstack(self.added()))

    def added(self) -> Tensor:
        return self.of_columns + self.of_rows  # (2, batch, height, width)


_split: contextvars.ContextVar[bool] = contextvars.ContextVar("split", default=False)


@contextlib.contextmanager
def split_pixels() -> Iterator[None]:
    """Within this context `affine_pixels` gives `Split` coordinates: for what may run in float16."""
    token = _split.set(True)
    try:
        yield
    finally:
        _split.reset(token)


def image_size(images: Tensor) -> tuple[Size, Size]:
    """(height, width) of channels_last images, as integers wherever they are static."""
    height, width = images.shape[1], images.shape[2]
    if height is not None and width is not None:
        return height, width
    _, dynamic_height, dynamic_width, _ = tf.unstack(tf.shape(images), num=4)
    return (
        dynamic_height if height is None else height,
        dynamic_width if width is None else width,
    )


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


def _divisor(size: Size, align_corners: bool, dtype: tf.DType) -> Any:
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


def normalised_axis(size: Size, align_corners: bool, dtype: tf.DType) -> Tensor:
    """The normalised coordinate of each pixel of an axis."""
    return steps(size, dtype) / _divisor(size, align_corners, dtype)  # (size,)


def base_grid(output_size: tuple[Size, Size], align_corners: bool, dtype: tf.DType) -> Tensor:
    """The normalised (x, y) of every target pixel, row by row."""
    height, width = output_size
    x, y = tf.meshgrid(
        normalised_axis(width, align_corners, dtype), normalised_axis(height, align_corners, dtype)
    )
    return tf.stack([x, y], axis=-1)  # (height, width, 2)


def _apply(theta: Tensor, xs: Tensor, ys: Tensor, first: Tensor | None = None) -> Sum:
    """`theta` (2, batch, 1, 3) on the grid of two axes, counted from the point `first`: x and y.

    Written with products and sums of the axes, and not as a matmul with a (h * w, 3) grid: that grid
    would be a constant of O(h * w) in every exported file, and on a GPU the matmul would run on
    reduced-precision units (TF32), which are off by tenths of a pixel. Both rows of theta at once take
    half the operations, which counts where each costs a dispatch and 150 bytes of file.
    """
    to_x, to_y, offset = tf.split(theta, 3, axis=3)  # (2, batch, 1, 1) each
    # The difference and the reshape also keep TensorFlow's graph optimiser from regrouping the sum: for
    # other roundings, and out of the reach of XLA.
    if first is not None:
        offset = rounded(offset) - first
    of_rows = tf.reshape(rounded(to_y * ys) + offset, (2, -1, tf.size(ys), 1))  # (2, batch, height, 1)
    return Sum(rounded(to_x * xs), of_rows)


def _rows(theta: Tensor) -> Tensor:
    """theta (batch, 2, 3), its row of x before its row of y: (2, batch, 1, 3)."""
    return tf.transpose(tf.reshape(theta, (-1, 2, 1, 3)), (1, 0, 2, 3))


def affine_grid(theta: Tensor, output_size: tuple[Size, Size], align_corners: bool) -> Tensor:
    """Normalised sampling grid of `theta` (batch, 2, 3)."""
    height, width = output_size
    xs = normalised_axis(width, align_corners, theta.dtype)
    ys = normalised_axis(height, align_corners, theta.dtype)
    return tf.transpose(_apply(_rows(theta), xs, ys).added(), (1, 2, 3, 0))  # (batch, height, width, 2)


def affine_pixels(
    theta: Tensor,
    source_size: tuple[Size, Size],
    output_size: tuple[Size, Size],
    align_corners: bool,
) -> Sum | Split:
    """`to_pixels(affine_grid(theta))` with the convention folded into theta.

    Same numbers with fewer roundings, because the axes stay whole numbers: at the identity the
    coordinates are exact.
    """
    height, width = output_size
    scale, first = _to_pixel_theta(source_size, output_size, align_corners, theta.dtype)
    xs, ys = steps(width, theta.dtype), steps(height, theta.dtype)
    scaled = _rows(theta) * tf.reshape(scale, (2, 1, 1, 3))
    apply = _apply_split if _split.get() else _apply
    return apply(scaled, xs, ys, tf.reshape(first, (2, 1, 1, 1)))


def _apply_split(theta: Tensor, xs: Tensor, ys: Tensor, first: Tensor) -> Split:
    """`_apply(theta, xs, ys, first)`, with what takes many bits done on the axes alone."""
    to_x, to_y, offset = tf.split(theta, 3, axis=3)
    whole, rest = _product(to_y, ys)
    for term in (offset, -first):
        whole, rest = whole + tf.floor(term), rest + (term - tf.floor(term))
    rows = (2, -1, tf.size(ys), 1)
    column_whole, column_rest = _product(to_x, xs)
    whole, rest = column_whole + tf.reshape(whole, rows), column_rest + tf.reshape(rest, rows)
    # In float32 this is what Keras reads, and what the split differs by is rounding: the same bits are
    # worth more. In float16 it is off by up to a quarter of a pixel, which `rest` makes good.
    plain = _apply(theta, xs, ys, first).added()
    floor, zero = tf.floor(plain), tf.zeros((), theta.dtype)
    fraction = plain - floor
    error = (whole - floor) + (rest - fraction)
    rest = fraction + tf.where(tf.abs(error) > 2.0**-10, error, zero)
    # Far away there is no fraction, and infinity less its floor is no number.
    return Split(floor, tf.where(tf.abs(plain) < 2.0**20, rest, zero))


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


def axis_aligned_pixels(
    theta: Tensor,
    source_size: tuple[Size, Size],
    output_size: tuple[Size, Size],
    align_corners: bool,
) -> tuple[Tensor, Tensor]:
    """`affine_pixels` of a theta that keeps the axes apart: x (batch, 1, w) and y (batch, h, 1)."""
    height, width = output_size
    scale, first = _to_pixel_theta(source_size, output_size, align_corners, theta.dtype)
    scaled = tf.reshape(tf.reshape(theta, (-1, 6)) * scale, (-1, 6, 1))
    to_x, _, x, _, to_y, y = tf.split(scaled, 6, axis=1)  # (batch, 1, 1) each
    x, y = (rounded(offset) - start for offset, start in zip((x, y), tf.unstack(first), strict=True))
    ys = tf.reshape(steps(height, theta.dtype), (-1, 1))
    return rounded(to_x * steps(width, theta.dtype)) + x, rounded(to_y * ys) + y


def _to_pixel_theta(
    source_size: tuple[Size, Size],
    output_size: tuple[Size, Size],
    align_corners: bool,
    dtype: tf.DType,
) -> tuple[Tensor, Tensor]:
    """For a map of `steps` to pixels: a factor for each entry of theta, and where the first pixel lies.

    With the factors theta counts pixels from the middle of the image, as the second result (x, y) does.
    """
    height, width = output_size
    targets = [_divisor(size, align_corners, dtype) for size in (width, height)]
    scale, first = [], []  # of the rows of theta: x, y
    for size in reversed(source_size):
        source = span(size, align_corners, dtype)
        scale += [*(_half_ratio(source, target) for target in targets), source / 2]
        first.append(-_number(size - 1, dtype) / 2)
    return vector(scale, dtype), vector(first, dtype)


def vector(entries: list[Any], dtype: tf.DType) -> Tensor:
    """Numbers and scalar tensors as one vector."""
    # Converted, not cast: a cast would take Python's numbers through float32 on their way to float64.
    return tf.stack([tf.convert_to_tensor(entry, dtype) for entry in entries])


def to_pixels(grid: Tensor, source_size: tuple[Size, Size], align_corners: bool) -> Tensor:
    """The pixel coordinates x and y, (2, batch, h, w), of a normalised grid (batch, h, w, 2)."""
    dtype = grid.dtype
    scale = vector([span(size, align_corners, dtype) / 2 for size in reversed(source_size)], dtype)
    offset = vector([_number(size - 1, dtype) / 2 for size in reversed(source_size)], dtype)
    return tf.transpose(rounded(grid * scale) + offset, (3, 0, 1, 2))


def normalising(size: Size, align_corners: bool, dtype: tf.DType) -> tuple[float, Tensor]:
    """(offset, divisor) with `(pixel + offset) / divisor - 1` normalised.

    For those who must do `to_pixels` backwards, and can keep a division a division: a product with the
    reciprocal is off by up to twice as much.
    """
    divisor = _divisor(size, align_corners, dtype) / 2
    return 0.0 if align_corners else 0.5, tf.convert_to_tensor(divisor, dtype)


def theta_of_pixels(
    matrix: Tensor, source_size: tuple[int, int], output_size: tuple[int, int], align_corners: bool
) -> Tensor:
    """theta (batch, 2, 3) of a matrix (batch, 2, 3) that maps target pixels to source pixels."""
    source, target, last_source, last_target = _spans(source_size, output_size, align_corners)
    linear, offset = tf.split(matrix, [2, 1], axis=2)  # (batch, 2, 2), (batch, 2, 1)
    of_target = tf.reduce_sum(linear * (last_target / source), axis=2, keepdims=True)
    offset = offset * (2 / source) + of_target - last_source / source
    return tf.concat([linear * (target / source), offset], axis=2)


def pixels_of_theta(
    theta: Tensor, source_size: tuple[int, int], output_size: tuple[int, int], align_corners: bool
) -> Tensor:
    """`theta_of_pixels` undone."""
    source, target, last_source, last_target = _spans(source_size, output_size, align_corners)
    linear, offset = tf.split(theta, [2, 1], axis=2)
    to_pixels = source / target
    of_target = tf.reduce_sum(linear * (to_pixels * last_target / 2), axis=2, keepdims=True)
    offset = offset * (source / 2) - of_target + last_source / 2
    return tf.concat([linear * to_pixels, offset], axis=2)


def _spans(source_size, output_size, align_corners):
    """The span of source (2, 1) and target (2,), and `size - 1` of both: x first, NumPy.

    As numbers, so that tensors meet each constant once: graphs would put two of them together, and
    divide by none (see `_half_ratio`).
    """
    source, target = ((width, height) for height, width in (source_size, output_size))
    spans = [[_divisor(size, align_corners, tf.float64) for size in sizes] for sizes in (source, target)]
    columns = np.reshape(spans[0], (2, 1)), np.reshape(source, (2, 1)) - 1.0
    return columns[0], np.array(spans[1]), columns[1], np.array(target) - 1.0
