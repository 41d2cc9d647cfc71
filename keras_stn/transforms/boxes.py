"""Boxes: Keras' formats, the outline of a box, and the hull of an outline that a map has moved.

Pixels of boxes are counted from the outer edge of the first one, as Keras does: 0 to the size of the
picture. That is half a pixel more than the pixels that `grids` counts, from the centre of the first one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids

Tensor = Any
Size = tuple[Any, Any]
Map = Callable[[Tensor], Tensor]  # of normalised points (batch, n, 2)

# Each format but for "rel_": its four columns to left, top, right, bottom, and back.
_FORMATS: dict[str, tuple[Callable, Callable]] = {
    "xyxy": (
        lambda left, top, right, bottom: (left, top, right, bottom),
        lambda left, top, right, bottom: (left, top, right, bottom),
    ),
    "yxyx": (
        lambda top, left, bottom, right: (left, top, right, bottom),
        lambda left, top, right, bottom: (top, left, bottom, right),
    ),
    "xywh": (
        lambda left, top, width, height: (left, top, left + width, top + height),
        lambda left, top, right, bottom: (left, top, right - left, bottom - top),
    ),
    "center_xywh": (
        lambda x, y, width, height: (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        lambda left, top, right, bottom: (
            (left + right) / 2,
            (top + bottom) / 2,
            right - left,
            bottom - top,
        ),
    ),
    "center_yxhw": (
        lambda y, x, height, width: (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
        lambda left, top, right, bottom: (
            (top + bottom) / 2,
            (left + right) / 2,
            bottom - top,
            right - left,
        ),
    ),
}
FORMATS = (*_FORMATS, "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")

_UNIT: Size = (1, 1)  # of which relative boxes are the pixels


# --- Checks ----------------------------------------------------------------------------------------


def checked_format(value: Any) -> str:
    """The argument `bounding_box_format`."""
    lower = value.lower() if isinstance(value, str) else value  # Keras takes both
    return _checks.one_of("bounding_box_format", lower, FORMATS)


def check(boxes: Tensor, last: int | None = None, ranks: tuple[int, ...] = (2, 3)) -> None:
    """Raise unless `boxes` may be boxes of `last` numbers each."""
    words = " or ".join("(batch, 4)" if rank == 2 else "(batch, n, 4)" for rank in ranks)
    words = words if last is None else words.replace("4", str(last))
    _checks.known_rank("boxes", boxes, words)
    received = tuple(boxes.shape)
    if len(received) not in ranks or received[-1] not in ((4, 5) if last is None else (last,)):
        raise _checks.error(f"boxes must have shape {words}. Received: boxes.shape={received}.")


def sizes(
    bounding_box_format: str, source_size: Any, output_size: Any, align_corners: bool
) -> tuple[Size, Size]:
    """The two sizes, of which boxes that count no pixels need none."""
    if source_size is None and output_size is None:
        if bounding_box_format.startswith("rel_") and not align_corners:
            return _UNIT, _UNIT
        raise _checks.error(
            "source_size must be given for boxes that count pixels, and with align_corners=True. "
            f"Received: source_size=None, bounding_box_format={bounding_box_format!r}."
        )
    return (
        output_size if source_size is None else source_size,
        source_size if output_size is None else output_size,
    )


# --- Formats, pixels and normalised coordinates ----------------------------------------------------


def to_edges(boxes: Tensor, bounding_box_format: str, size: Size) -> list[Tensor]:
    """[left, top, right, bottom] in pixels, each (..., 1)."""
    to, _ = _FORMATS[bounding_box_format.removeprefix("rel_")]
    return _scaled(to(*tf.split(boxes, 4, axis=-1)), bounding_box_format, size)


def from_edges(edges: list[Tensor], bounding_box_format: str, size: Size) -> Tensor:
    """`to_edges` undone."""
    _, back = _FORMATS[bounding_box_format.removeprefix("rel_")]
    height, width = (1 / _number(number, edges[0].dtype) for number in size)
    return tf.concat(back(*_scaled(edges, bounding_box_format, (height, width))), axis=-1)


def _scaled(edges, bounding_box_format, factors):
    if not bounding_box_format.startswith("rel_"):
        return list(edges)
    height, width = (_number(factor, edges[0].dtype) for factor in factors)
    pairs = zip(edges, (width, height) * 2, strict=True)
    return [grids.rounded(edge * factor) for edge, factor in pairs]


# Below, tensors meet each number once, and are divided by none: TensorFlow's graph optimiser would put
# two numbers together and make products of divisions, with other bits than an eager call. The maximum
# in `rounded` stands between two of them.


def _number(size: Any, dtype: tf.DType) -> Any:
    return tf.cast(size, dtype) if tf.is_tensor(size) else float(size)


def normalised(pixel: Tensor, size: Any, align_corners: bool) -> Tensor:
    """A coordinate that counts pixels from the outer edge as a normalised one."""
    scale = 2 / grids.divisor(size, align_corners, pixel.dtype)
    return grids.rounded(pixel * scale) - _number(size, pixel.dtype) * scale / 2


def pixels(coordinate: Tensor, size: Any, align_corners: bool) -> Tensor:
    """`normalised` undone."""
    scale = grids.span(size, align_corners, coordinate.dtype) / 2
    return grids.rounded(grids.rounded(coordinate * scale) + _number(size, coordinate.dtype) / 2)


# --- Outlines that move ----------------------------------------------------------------------------


def outline(straight: bool) -> np.ndarray:
    """Points of the outline of a box, (m, 2), in it from 0 to 1.

    Where straight lines stay straight, the four corners say all. Of an edge that is bent, 32 parts miss
    the hull by 1 / 32^2 of how far it leaves its chord: a thousandth of a pixel for one pixel.
    """
    parts = np.linspace(0, 1, 2 if straight else 33)[:-1]
    zero, one = np.zeros_like(parts), np.ones_like(parts)
    edges = [(parts, zero), (one, parts), (1 - parts, one), (zero, 1 - parts)]
    return np.concatenate([np.stack(edge, axis=-1) for edge in edges])


def moved(x: Tensor, y: Tensor, move: Map, from_to: tuple[Size, Size], align_corners: bool) -> list:
    """x, y of points (batch, n, m) of the target, in pixels, as those of the source."""
    target, source = from_to
    # All sizes by number: of no boxes at all a reshape can tell none.
    batch, count, places = grids.shape_of(x)
    points = [
        tf.reshape(normalised(axis, size, align_corners), (batch, count * places, 1))
        for axis, size in zip((x, y), reversed(target), strict=True)
    ]
    moved = move(tf.concat(points, axis=-1))
    batch, mapped = grids.shape_of(moved)[0], tf.split(moved, 2, axis=-1)
    return [
        pixels(tf.reshape(axis, (batch, count, places)), size, align_corners)
        for axis, size in zip(mapped, reversed(source), strict=True)
    ]


def hull(edges: list[Tensor], move: Callable, straight: bool) -> list[Tensor]:
    """The edges, each (batch, n, 1), of what stands upright around a box that has moved."""
    left, top, right, bottom = edges
    across, down = tf.split(tf.constant(outline(straight).T, left.dtype), 2)  # (1, m) each
    x, y = (
        grids.rounded(start * (1 - part)) + end * part
        for start, end, part in ((left, right, across), (top, bottom, down))
    )
    x, y = move(grids.rounded(x), grids.rounded(y))
    return [
        reduce(axis, axis=-1, keepdims=True)
        for reduce in (tf.reduce_min, tf.reduce_max)
        for axis in (x, y)
    ]


def rotated_hull(boxes: Tensor, move: Callable, straight: bool) -> Tensor:
    """The rotated boxes (batch, n, 5) around what has moved, along the x axis as the map turns it."""
    x, y, width, height, angle = tf.split(boxes, 5, axis=-1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The two ends of the axis through the middle come after the outline.
    around = np.concatenate([outline(straight) - 0.5, [[-0.5, 0.0], [0.5, 0.0]]])
    across, down = tf.split(tf.constant(around.T, boxes.dtype), 2)
    across, down = grids.rounded(across * width), grids.rounded(down * height)
    x, y = move(*_turned(x, y, across, down, cos, sin))
    count = len(around) - 2
    (x, *x_axis), (y, *y_axis) = (tf.split(axis, [count, 1, 1], axis=-1) for axis in (x, y))
    angle = tf.atan2(y_axis[1] - y_axis[0], x_axis[1] - x_axis[0])
    cos, sin = tf.cos(angle), tf.sin(angle)
    ends = [
        [reduce(along, axis=-1, keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max)]
        for along in (x * cos + y * sin, y * cos - x * sin)
    ]
    (first, last), (top, bottom) = ends
    along, down = (first + last) / 2, (top + bottom) / 2
    x, y = _turned(0.0, 0.0, along, down, cos, sin)
    return tf.concat([x, y, last - first, bottom - top, angle], axis=-1)


def _turned(x, y, across, down, cos, sin):
    """(x, y) and the turned (across, down) added up."""
    x = x + (grids.rounded(across * cos) - grids.rounded(down * sin))
    y = y + (grids.rounded(across * sin) + grids.rounded(down * cos))
    return grids.rounded(x), grids.rounded(y)


def kept_padding(boxes: Tensor, mapped: Tensor) -> Tensor:
    """`mapped`, but -1 for the boxes of -1 that Keras fills batches with."""
    padding = tf.reduce_all(tf.equal(boxes, -1), axis=-1, keepdims=True)
    return tf.where(padding, -tf.ones_like(mapped), mapped)


def clipped(boxes: Tensor, bounding_box_format: str, size: Size) -> tuple[Tensor, Tensor]:
    """Boxes cut to a picture, and which (batch, n) are left, as `clip_to_image_size` of Keras does."""
    edges = to_edges(boxes, bounding_box_format, size)
    height, width = (tf.cast(number, boxes.dtype) for number in size)
    edges = [
        tf.minimum(tf.maximum(edge, 0), end)
        for edge, end in zip(edges, (width, height) * 2, strict=True)
    ]
    left, top, right, bottom = edges
    seen = tf.squeeze(tf.logical_and(right > left, bottom > top), -1)
    return kept_padding(boxes, from_edges(edges, bounding_box_format, size)), seen


# --- Crops of boxes --------------------------------------------------------------------------------


def theta_of_edges(edges: list[Tensor], source: Size, output: Size, align_corners: bool) -> Tensor:
    """theta (batch, 2, 3) of the map that shows boxes, each edge (batch, 1), from edge to edge."""
    left, top, right, bottom = edges
    zero = tf.zeros_like(left)
    sides = (right - left, zero), (zero, bottom - top)
    return _theta((left, top), *sides, source, output, align_corners)


def theta_of_rotated(boxes: Tensor, source: Size, output: Size, align_corners: bool) -> Tensor:
    """The same of rotated boxes (batch, 5)."""
    x, y, width, height, angle = tf.split(boxes, 5, axis=-1)
    cos, sin = tf.cos(angle), tf.sin(angle)
    across, down = (width * cos, width * sin), (-height * sin, height * cos)
    corner = (
        middle - grids.rounded(side + other) * 0.5
        for middle, side, other in zip((x, y), across, down, strict=True)
    )
    return _theta(corner, across, down, source, output, align_corners)


def _theta(corner, across, down, source, output, align_corners):
    """Of a parallelogram in pixels of the source: its first corner, and two sides."""
    dtype = across[0].dtype
    # A target of n pixels is from -1 to 1 and, with aligned corners, half a pixel more at both ends: the
    # side of a box belongs to n pixels, and a step of 2 in normalised coordinates to n - 1.
    parts = [grids.span(size, align_corners, dtype) / _number(size, dtype) for size in reversed(output)]
    rows = []
    for start, *sides, size in zip(corner, across, down, reversed(source), strict=True):
        scale = 1 / grids.divisor(size, align_corners, dtype)
        rows += [side * (part * scale) for side, part in zip(sides, parts, strict=True)]
        middle = grids.rounded(grids.rounded(start * 2) + grids.rounded(sides[0] + sides[1]))
        rows.append(grids.rounded(middle * scale) - _number(size, dtype) * scale)
    return tf.reshape(tf.concat(rows, axis=1), (-1, 2, 3))


def flat(boxes: Tensor) -> Tensor:
    """Boxes (batch, 4) or (batch, n, 4) below each other, floating point."""
    if not boxes.dtype.is_floating:
        boxes = tf.cast(boxes, tf.float32)
    boxes = tf.cast(boxes, grids.coordinate_dtype(boxes.dtype))
    return tf.reshape(boxes, (-1, boxes.shape[-1]))


def in_lead_of(boxes: Tensor, params: Tensor) -> Tensor:
    """Params, one below the other, in the order of `boxes`."""
    return tf.reshape(params, (*grids.shape_of(boxes)[:-1], params.shape[-1]))


def check_shows(family: str, theta: np.ndarray, shown: np.ndarray) -> None:
    """Raise unless maps are turned and placed as `theta`; their scale is the family's own."""
    cross = theta[:, 0, :2] * shown[:, 1, :2] - theta[:, 1, :2] * shown[:, 0, :2]
    offset = theta[:, :, 2] - shown[:, :, 2]
    tolerance = 100 * np.finfo(theta.dtype).eps * max(1, np.max(np.abs(theta), initial=0)) ** 2
    if np.any(np.abs(cross) > tolerance) or np.any(np.abs(offset) > tolerance):
        raise _checks.error(
            f"boxes must be what {family} can show; keras_stn.transforms.Affine shows any, and a family "
            "that turns needs an aspect_ratio of width / height. "
            f"Received: theta={theta.tolist()}, which is no {shown.tolist()}."
        )
