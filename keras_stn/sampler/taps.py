"""Which pixels a coordinate reads, and with which weights: kernels, and what stands outside an image.

Integers are computed and clipped in float: an int32 clip to 0..6 turns into a Relu6 that no TFLite
kernel has.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids

Tensor = Any
Tap = tuple[Tensor, Tensor | None]  # pixel, weight; a kernel of one tap has no weight

# All coordinates further out than this count as this far out: beyond any image that `check_size` lets
# through, and near enough for the float32 arithmetic of `_wrap` to stay exact, with three bits to
# spare.
_FAR = 2.0**20


def check_size(images: Tensor, fill_mode: str) -> None:
    """Raise where a pixel would have no number of its own."""
    batch, height, width, _ = images.shape
    if fill_mode in _EXTENSIONS and max(height or 0, width or 0) > _FAR:
        raise _checks.error(
            f"images must be at most {int(_FAR):,} pixels high and wide for fill_mode={fill_mode!r}. "
            f"Received: images.shape={tuple(images.shape)}."
        )
    if math.prod(size or 1 for size in (batch, height, width)) >= 2**31:
        raise _checks.error(
            "images must have fewer than 2**31 pixels in a batch. "
            f"Received: images.shape={tuple(images.shape)}."
        )


def shape_of(tensor: Tensor) -> tuple[Any, ...]:
    """The shape, as integers wherever it is static."""
    static = tensor.shape.as_list()
    if None not in static:
        return tuple(static)
    dynamic = tf.unstack(tf.shape(tensor), num=len(static))
    return tuple(d if s is None else s for s, d in zip(static, dynamic, strict=True))


def accumulator(dtype: tf.DType) -> tf.DType:
    """Half-precision images are summed in float32; integers, which only nearest takes, in kind."""
    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def taps(
    coordinates: Tensor, image_size: tuple[Any, Any], interpolation: str, fill_mode: str
) -> tuple[list[Tap], list[Tap]]:
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
    halves = [(tf.split(pixel, 2), _halves(weight)) for pixel, weight in both]
    columns, rows = ([(pixel[i], weight[i]) for pixel, weight in halves] for i in range(2))
    return columns, rows


def _halves(weight: Tensor | None) -> Sequence[Tensor | None]:
    return (None, None) if weight is None else tf.split(weight, 2)


def taps_along(
    coordinate: Tensor, size: Any, interpolation: str, fill_mode: str, as_pair: bool = False
) -> list[Tap]:
    """`taps` along one axis, or along both where `coordinate` and `size` are stacked.

    `as_pair`: two taps as one, side by side along the last axis, where `coordinate` is of size 1.
    """
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
    if as_pair:
        offsets, values = zip(*weights, strict=True)
        weights = [(np.array(offsets, position.dtype.as_numpy_dtype), _side_by_side(values))]
    if extend is not None:
        return [(extend(position + offset, size), weight) for offset, weight in weights]
    low, high = _ends(size, fill_mode)
    taps = []
    for offset, weight in weights:
        pixel = position + offset if np.any(offset) else position
        if np.min(offset) < reach:  # it may be below the low end
            pixel = tf.maximum(pixel, low)
        if np.max(offset) > -reach:
            pixel = tf.minimum(pixel, high)
        taps.append((pixel, weight))
    return taps


def slopes_along(
    coordinate: Tensor, size: Any, interpolation: str, fill_mode: str, as_pair: bool = False
) -> list[Tensor]:
    """The derivatives of the weights of `taps_along` by the coordinate, from the right.

    Zero where the coordinate is so far out, or NaN, that moving it changes nothing. Not for "nearest",
    which has none.
    """
    size = tf.cast(size, coordinate.dtype)
    within = _within_reach(coordinate, size, _KERNELS[interpolation][1], fill_mode)
    slopes = _SLOPES[interpolation](within - tf.floor(within))
    if as_pair:
        slopes = [_side_by_side(slopes)]
    return [tf.where(within == coordinate, slope, tf.zeros((), slope.dtype)) for slope in slopes]


def _side_by_side(pair: Sequence[Tensor]) -> Tensor:
    """Two tensors (..., 1) as one (..., 2).

    By choice and not by tf.concat, which XLA writes to memory: 1.8 ms for 2.6 in a step at 128x40x40x1.
    """
    first, second = pair
    return tf.where([True, False], first, second)


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


def _nearest(coordinate: Tensor) -> tuple[Tensor, list[tuple[int, None]]]:
    # No weight of one: XNNPACK of LiteRT 2.3 gets the product of labels with ones wrong, beside float
    # images and after some changes of the batch; and TFLite has no product of bytes.
    return tf.round(coordinate), [(0, None)]  # ties to even


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


# With each, how far beyond `_ends` a coordinate may be and still see some of the image.
_KERNELS: dict[str, tuple[Callable, int]] = {
    "nearest": (_nearest, 0),
    "bilinear": (_bilinear, 0),
    "bicubic": (_bicubic, 2),
}


# The derivatives of the weights by t, the coordinate less the position.


def _bilinear_slopes(t: Tensor) -> list[Tensor]:
    return [-tf.ones_like(t), tf.ones_like(t)]


def _bicubic_slopes(t: Tensor) -> list[Tensor]:
    def inner(d):
        return (3 * (_A + 2) * d - 2 * (_A + 3)) * d

    def outer(d):
        return (3 * _A * d - 10 * _A) * d + 8 * _A

    before, here, after = outer(t + 1), inner(t), -inner(1 - t)
    return [before, here, after, -(before + here + after)]


_SLOPES = {"bilinear": _bilinear_slopes, "bicubic": _bicubic_slopes}


# --- One axis: which pixel stands at a position of the extended image ----------------------------
# On whole positions these give whole pixels of [0, size - 1], exactly.


def _clip(position: Tensor, size: Tensor) -> Tensor:
    return tf.clip_by_value(position, 0, size - 1)


def _reflect(position: Tensor, size: Tensor) -> Tensor:
    """c b a | a b c d | d c b"""
    return _clip(_reflect_between_edges(position, size), size)


def _reflect_between_edges(position: Tensor, size: Tensor) -> Tensor:
    """`_reflect` into [-0.5, size - 0.5], which is where a cubic tells a picture from its edge pixel."""
    near = _nearest_period(position, 2 * size, 0.5)
    return tf.maximum(near, -1 - near)


def _mirror(position: Tensor, size: Tensor) -> Tensor:
    """d c b | a b c d | c b a"""
    # An image of one pixel mirrors onto itself.
    return _clip(tf.abs(_nearest_period(position, tf.maximum(2 * size - 2, 1), 0)), size)


def _nearest_period(position: Tensor, period: Tensor, shift: float) -> Tensor:
    """`position` less the multiple of `period` that brings it nearest to -shift, with all its bits.

    Modulo the period -1e-6 would come to its other end, where float32 no longer holds it.
    """
    return position - period * tf.floor((position + shift) / period + 0.5)


def _wrap(position: Tensor, size: Tensor) -> Tensor:
    """b c d | a b c d | a b c"""
    # Compilers turn the division by a constant into a product with its rounded reciprocal, which may put
    # a multiple of the size on the wrong side of the floor. A quarter of a pixel keeps whole positions
    # clear of it, and halfway between two, where nearest breaks ties. On floats alone, as FLOOR_MOD is
    # missing on GPU delegates.
    return position - size * tf.floor((position + 0.25) / size)


_EXTENSIONS: dict[str, Callable] = {
    "reflect": _reflect,
    "mirror": _mirror,
    "wrap": _wrap,
}
