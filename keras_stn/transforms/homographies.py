"""Homographies as 3x3 matrices: put together, undone, and made of four points."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks

Tensor = Any

# What is nearer to the plane of the camera than this lies on it. w is a sum of numbers of order 1, whose
# roundings in float32 are of 1e-7: below it nobody can tell what is in front from what is behind.
NEAR = 1e-6


def entries(theta: Tensor) -> list[Tensor]:
    """The nine entries of theta (batch, 3, 3), row by row, each (batch, 1)."""
    return tf.split(tf.reshape(theta, (-1, 9)), 9, axis=1)


def matrix(rows: Sequence[Tensor]) -> Tensor:
    """theta (batch, 3, 3) from its nine entries, row by row, each (batch, 1)."""
    return tf.reshape(tf.concat(rows, axis=1), (-1, 3, 3))


def product(outer: Tensor, inner: Tensor) -> Tensor:
    """outer @ inner, both (batch, 3, 3), in full precision on every machine."""
    return tf.reduce_sum(tf.expand_dims(outer, 3) * tf.expand_dims(inner, 1), axis=2)


def adjugate(theta: Tensor) -> tuple[Tensor, Tensor]:
    """The inverse of theta (batch, 3, 3) times its determinant, and the determinant (batch, 1)."""
    a, b, c, d, e, f, g, h, i = entries(theta)
    rows = (
        *(e * i - f * h, c * h - b * i, b * f - c * e),
        *(f * g - d * i, a * i - c * g, c * d - a * f),
        *(d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return matrix(rows), a * rows[0] + b * rows[3] + c * rows[6]


def normalised(theta: Tensor, front: Tensor | None = None) -> Tensor:
    """The eight entries before the last one, divided by that: (batch, 8).

    NaN where it is 0 or where `front` (batch, 1) is false, with a gradient of zero.
    """
    before, last = tf.split(tf.reshape(theta, (-1, 9)), [8, 1], axis=1)
    good = tf.abs(last) > 0 if front is None else front
    return choose(good, before / choose(good, last, 1.0), float("nan"))


def choose(condition: Tensor, tensor: Tensor, otherwise: float) -> Tensor:
    return tf.where(condition, tensor, tf.cast(otherwise, tensor.dtype))


def of_square(corners: Tensor) -> tuple[Tensor, Tensor]:
    """The map of the unit square to four corners (batch, 4, 2), up to a factor.

    Heckbert's closed form, multiplied by its denominator.

    Returns:
        theta (batch, 3, 3), and w at each of the four corners (batch, 4). Where one of these is 0, three
        of the corners are on a line; of a convex quadrilateral, in order, all have one sign.

    Reference:
        Section 2.2.3 of Heckbert, "Fundamentals of Texture Mapping and Image Warping" (1989).
    """
    x0, y0, x1, y1, x2, y2, x3, y3 = tf.split(tf.reshape(corners, (-1, 8)), 8, axis=1)
    x, y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3  # 0 for a parallelogram
    after, before = (x1 - x2, y1 - y2), (x3 - x2, y3 - y2)
    g = x * before[1] - y * before[0]
    h = after[0] * y - after[1] * x
    i = after[0] * before[1] - after[1] * before[0]
    rows = (
        *(x1 * (i + g) - x0 * i, x3 * (i + h) - x0 * i, x0 * i),
        *(y1 * (i + g) - y0 * i, y3 * (i + h) - y0 * i, y0 * i),
        *(g, h, i),
    )
    return matrix(rows), tf.concat([i, i + g, i + g + h, i + h], axis=1)


def of_four_points(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The map of four target points to four source points, both (batch, 4, 2), up to a factor.

    Returns:
        theta (batch, 3, 3), and whether (batch, 1) its params are such a map: with no three points on a
        line, and all four and (0, 0) in front of the camera.
    """
    (to_source, of_source), (to_target, of_target) = of_square(source), of_square(target)
    theta = product(to_source, adjugate(to_target)[0])
    theta = theta / tf.maximum(_largest(theta, axis=(1, 2)), theta.dtype.as_numpy_dtype(1e-30))
    # All that follows decides, and has no gradient.
    sides = functools.reduce(tf.multiply, map(_of_largest, (of_source, of_target)))
    same = tf.abs(tf.reduce_sum(tf.sign(sides), axis=1, keepdims=True)) > 3.5
    apart = tf.reduce_min(tf.abs(sides), axis=1, keepdims=True) > NEAR
    *_, g, h, i = entries(theta)
    x, y, _ = tf.split(tf.reshape(target, (-1, 8)), [1, 1, 6], axis=1)
    return theta, same & apart & (i * (g * x + h * y + i) > NEAR * i * i)


def check_front(front: Tensor, source: Tensor, target: Tensor) -> None:
    """Raise, outside of graphs, where four points have no map."""
    if tf.executing_eagerly() and not np.all(front):
        bad = int(np.argmin(front))
        pair = [np.asarray(points)[bad % len(points)].tolist() for points in (source, target)]
        raise _checks.error(
            "source and target must be four points each in one order, no three of them on a line, "
            "all of the target and its middle in front of the camera. "
            f"Received, as the first that are not: source={pair[0]}, target={pair[1]}."
        )


def _largest(tensor: Tensor, axis: Any) -> Tensor:
    return tf.stop_gradient(tf.reduce_max(tf.abs(tensor), axis=axis, keepdims=True))


def _of_largest(weights: Tensor) -> Tensor:
    return weights / tf.maximum(_largest(weights, axis=1), weights.dtype.as_numpy_dtype(1e-30))
