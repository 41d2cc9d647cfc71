"""The sampler: reads channels_last images at pixel coordinates, by gathers, in plain TF ops.

One idea carries all fill modes. `fill_mode` extends the image to the whole plane, and the sampler
interpolates that extension. So each axis has a handful of taps, whole pixels around the coordinate
with a weight each (two for bilinear), and fill_mode only decides which pixel stands at a tap:

    output = sum over taps i of y, j of x:   weight_i * weight_j * image[pixel_i, pixel_j]

which is eq. (3) of Jaderberg et al. (2015, arXiv:1506.02025) with a kernel of finite support. Automatic
differentiation of this sum gives eq. (6) and (7), with the derivative from the right at a pixel centre.

The form of each line is chosen for what it becomes on a phone and under XLA: integers are computed and
clipped in float (an int32 clip to 0..6 turns into a Relu6 that no TFLite kernel has), a fill value
stands in a frame around the image (a mask for each tap takes a third more operations), and pixels come
from flat `tf.gather`s on axis 0 (GATHER_ND takes three to five times as long).
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

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
    coordinates: Tensor,
    interpolation: str,
    fill_mode: str,
    fill_value: float | list[float],
) -> Tensor:
    """Sample `images` (batch, H, W, channels) at pixel coordinates.

    `coordinates` are x and y: a tensor (2, batch, h, w) or, where x depends on the column alone and y on
    the row, the tuple of x (batch, 1, w) and y (batch, h, 1).

    Returns (batch, h, w, channels) in the dtype of `images`. Arguments are taken as checked.
    """
    function = _stand_in.get() or gather_taps
    return function(images, coordinates, interpolation, fill_mode, fill_value)


def gather_taps(images, coordinates, interpolation, fill_mode, fill_value, index_dtype=None):
    """`sample`, by one gather for each tap."""
    batch, _, _, channels = _shape(images)
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

    dtype = _accumulator(images.dtype)
    pixels = tf.reshape(images, (-1, channels))  # (batch * H * W, channels)
    total: Tensor = None
    for start, (_, row_weight) in zip(starts, rows, strict=True):
        for column, column_weight in columns:
            index = tf.reshape(tf.cast(start + column, tf.int32), (-1,))  # (batch * h * w,)
            weight = tf.reshape(row_weight * column_weight, (-1, 1))  # (batch * h * w, 1)
            tap = tf.gather(pixels, index)  # (batch * h * w, channels)
            product = tf.cast(tap, dtype) * tf.cast(weight, dtype)
            total = product if total is None else total + product
    return tf.cast(tf.reshape(total, shape), images.dtype)


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
        x, y = (_shape(axis) for axis in coordinates)
        return batch, y[1], x[2], channels
    if isinstance(coordinates, grids.Split):
        coordinates = coordinates.whole
    return batch, *_shape(coordinates)[2:], channels


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


def taps(
    coordinates: Tensor, image_size: tuple[Any, Any], interpolation: str, fill_mode: str
) -> tuple[list[tuple[Tensor, Tensor]], list[tuple[Tensor, Tensor]]]:
    """(pixel, weight) for each tap along x, and for each along y.

    `pixel` is a whole float in [0, size - 1]; for fill_mode="constant", -1 and size are the frame.
    """
    height, width = image_size
    if isinstance(coordinates, grids.Split) and interpolation == "nearest":
        coordinates = coordinates.whole + coordinates.rest  # ties to even must see the sum
    if isinstance(coordinates, tuple):
        x, y = coordinates
        return (
            taps_along(x, width, interpolation, fill_mode),
            taps_along(y, height, interpolation, fill_mode),
        )
    # Both axes in one go: half the operations.
    size = tf.reshape(tf.stack([width, height]), (2, 1, 1, 1))
    both = taps_along(coordinates, size, interpolation, fill_mode)
    # tf.split and not unstack: GPU delegates do not take UNPACK.
    halves = [(tf.split(pixel, 2), tf.split(weight, 2)) for pixel, weight in both]
    columns, rows = ([(pixel[i], weight[i]) for pixel, weight in halves] for i in range(2))
    return columns, rows


def taps_along(
    coordinate: Tensor, size: Any, interpolation: str, fill_mode: str
) -> list[tuple[Tensor, Tensor]]:
    """`taps` along one axis, or along both where `coordinate` and `size` are stacked."""
    kernel, reach = _KERNELS[interpolation]
    extend = _EXTENSIONS.get(fill_mode)
    if isinstance(coordinate, grids.Split):
        up = tf.floor(coordinate.rest)
        size = tf.cast(size, up.dtype)
        reach += 1  # in whole pixels, with the kernel's own position to come
        position, weights = kernel(coordinate.rest - up)
        position += _within_reach(coordinate.whole + up, size, reach, fill_mode)
    else:
        size = tf.cast(size, coordinate.dtype)
        coordinate = _within_reach(coordinate, size, reach, fill_mode)
        if extend is not None and interpolation == "nearest":
            # Ties are broken inside the image, as PyTorch and ONNX do: extend first, then round.
            coordinate = extend(coordinate, size)
        position, weights = kernel(coordinate)
    if extend is not None:
        return [(extend(position + offset, size), weight) for offset, weight in weights]
    low, high = _ends(size, fill_mode)
    taps = []
    for offset, weight in weights:
        pixel = position + offset if offset else position
        if offset < reach:  # it may be below the low end
            pixel = tf.maximum(pixel, low)
        if offset > -reach:
            pixel = tf.minimum(pixel, high)
        taps.append((pixel, weight))
    return taps


def _ends(size: Tensor, fill_mode: str) -> tuple[Any, Any]:
    """The outermost pixels, of the frame for fill_mode="constant". What they show, all beyond shows."""
    margin = 1 if fill_mode == "constant" else 0
    return -margin, size - 1 + margin


def _within_reach(coordinate: Tensor, size: Tensor, reach: int, fill_mode: str) -> Tensor:
    """A finite coordinate that looks the same: beyond the reach of the kernel all is one pixel."""
    if fill_mode in _EXTENSIONS:
        return _guard(coordinate, -_FAR, _FAR)
    low, high = _ends(size, fill_mode)
    return _guard(coordinate, low - reach, high + reach)


def settle(coordinate: Tensor, size: Any, interpolation: str, fill_mode: str) -> Tensor:
    """A finite coordinate, inside the image or beside it, where the extended image looks the same.

    For stand-ins that know taps, but neither NaN nor the far plane. It is in the image or, for
    fill_mode="constant", its frame, but for the outer taps of a cubic. With interpolation="nearest" it
    is the pixel that `sample` takes.
    """
    size = tf.cast(size, coordinate.dtype)
    coordinate = _within_reach(coordinate, size, _KERNELS[interpolation][1], fill_mode)
    if fill_mode == "reflect" and interpolation == "bicubic":
        coordinate = _reflect_between_edges(coordinate, size)
    elif fill_mode in _EXTENSIONS:
        coordinate = _EXTENSIONS[fill_mode](coordinate, size)
    if interpolation == "nearest":
        coordinate = tf.round(coordinate)  # ties to even
        if fill_mode == "wrap":
            coordinate = _wrap(coordinate, size)  # size - 0.5 may have been rounded to size
    return coordinate


def pixel_at(position: Tensor, size: Any, fill_mode: str) -> Tensor:
    """The pixel that stands at whole positions, for the modes that repeat the image."""
    return _EXTENSIONS[fill_mode](position, tf.cast(size, position.dtype))


def _guard(coordinate: Tensor, low: Any, high: Any) -> Tensor:
    """Clip to [low, high], and put NaN on the low side.

    A gather index made from NaN raises in TFLite's CPU runtime and is undefined elsewhere. The
    comparison is false for NaN; `x == x` would say the same, but GPU delegates do not take it. It comes
    first, as a clip in TFLite makes either end of NaN.
    """
    # Not `>= low`: XLA would make a maximum of that, which keeps NaN.
    coordinate = tf.where(coordinate > low - 1, coordinate, tf.cast(low, coordinate.dtype))
    return tf.clip_by_value(coordinate, low, high)


# The kernels: the whole position around which the taps stand, and (offset, weight) for each.


def _nearest(coordinate: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    position = tf.round(coordinate)  # ties to even
    return position, [(0, tf.ones_like(position))]


def _bilinear(coordinate: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    position = tf.floor(coordinate)
    t = coordinate - position
    return position, [(0, 1 - t), (1, t)]


_A = -0.75  # the cubic's slope parameter, as in PyTorch and ONNX GridSample


def _bicubic(coordinate: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """Keys' cubic convolution (1981), eq. (4) with a = -0.75, in Horner form."""

    def inner(d):  # at distance d in [0, 1]
        return ((_A + 2) * d - (_A + 3)) * d * d + 1

    def outer(d):  # at distance d in [1, 2]
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A

    position = tf.floor(coordinate)
    t = coordinate - position
    before, here, after = outer(t + 1), inner(t), inner(1 - t)
    rest = 1 - here - after - before  # outer(2 - t), but for roundings: an even area stays even
    return position, [(-1, before), (0, here), (1, after), (2, rest)]


# With each, how far outside the image a coordinate may be and still see some of it.
_KERNELS: dict[str, tuple[Callable, int]] = {
    "nearest": (_nearest, 0),
    "bilinear": (_bilinear, 0),
    "bicubic": (_bicubic, 2),
}


# --- One axis: which pixel stands at a position of the extended image ----------------------------
# On whole positions these give whole pixels of [0, size - 1], exactly.


def _clip(position: Tensor, size: Tensor) -> Tensor:
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


_EXTENSIONS: dict[str, Callable] = {
    "reflect": _reflect,
    "mirror": _mirror,
    "wrap": _wrap,
}
