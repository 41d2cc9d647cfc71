"""Turns of the plane and of space as matrices, and a sine of the same bits everywhere."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import grids

Tensor = Any
Rows = Sequence[Sequence[Tensor]]  # of entries, each (batch, 1)


class Turn(NamedTuple):
    """The turns of space of some rank.

    Attributes:
        names: Of its params.
        rows: The rows of scale times the matrix of a turn, of params (batch, len(names)) and a scale.
        undone: (scale, params) of such rows.
    """

    names: tuple[str, ...]
    rows: Callable[[Tensor, Any], Rows]
    undone: Callable[[Rows], tuple[Tensor, Tensor]]


# --- Of the plane --------------------------------------------------------------------------------------


def _of_angle(angle: Tensor, scale: Any) -> Rows:
    cos, sin = (scale * part for part in cos_sin(angle))
    return [[cos, -sin], [sin, cos]]


def _angle(rows: Rows) -> tuple[Tensor, Tensor]:
    (cos, _), (sin, _) = rows
    return tf.sqrt(tf.square(cos) + tf.square(sin)), tf.atan2(sin, cos)


# sin(r) = r + r^3 (c0 + c1 r^2 + ...) on [-pi/2, pi/2]: the polynomial of this length whose largest
# error is smallest, 5e-9. In float32 all is within 1.2e-7.
_SINE = (-0.16666657096472237, 0.00833301729089424, -0.0001980661515893449, 2.6000546830315807e-06)

# pi as a sum, the first part short enough for whole multiples of it to be exact.
_PI = (3.140625, np.pi - 3.140625)


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of `angle` (batch, 1), in radians, with the same bits on every machine.

    The sines of runtimes differ: in the last bits on CPUs, which moves a point of a 64 pixel image by
    8e-6 pixels, and by 2^-11 on GPUs (Vulkan asks no more), which is 0.03 pixels. Products and sums are
    the same everywhere. Within 1.2e-7 up to 1e3 radians and 2.5e-5 up to 1e5;
    beyond, where float32 no longer tells angles apart, still a number in [-1, 1].
    """
    if angle.dtype == tf.float64:
        return tf.cos(angle), tf.sin(angle)
    # cos(angle) = sin(angle + pi / 2), so both are the one sine of angle - k pi, up to its sign.
    quarter = tf.constant([0.5, 0.0], angle.dtype)
    half_turns = tf.floor(angle * (1 / np.pi) + (quarter + 0.5))  # (batch, 2)
    k = half_turns - quarter
    rest = tf.clip_by_value((angle - k * _PI[0]) - grids.rounded(k * _PI[1]), -np.pi / 2, np.pi / 2)
    odd = half_turns - 2 * tf.floor(half_turns / 2)
    rest *= 1 - 2 * odd
    square = rest * rest
    *others, series = _SINE
    for coefficient in reversed(others):
        series = grids.rounded(series * square) + coefficient
    cos, sin = tf.split(rest + grids.rounded(rest * square * series), 2, axis=1)
    return cos, sin


# --- Of space ------------------------------------------------------------------------------------------

# Squares of angles below which series stand for quotients of 0 by 0: three terms are then exact in
# float64.
_SMALL = 2.0**-10


def _of_vector(vector: Tensor, scale: Any) -> Rows:
    """Rodrigues' formula for exp([vector]x), by the unit quaternion of half the angle."""
    square = tf.reduce_sum(tf.square(vector), axis=1, keepdims=True)
    small = square < _SMALL
    angle = tf.sqrt(tf.where(small, tf.ones_like(square), square))  # the slope at 0 is none
    cos, sin = cos_sin(angle / 2)
    w = tf.where(small, _series(square, -1 / 8, 1 / 384, -1 / 46080), cos)
    shrink = tf.where(small, 0.5 * _series(square, -1 / 24, 1 / 1920, -1 / 322560), sin / angle)
    x, y, z = tf.split(vector * shrink, 3, axis=1)

    def twice(one, two):  # which compilers round alike everywhere
        return grids.rounded(2 * one * two)

    def less(one, two):  # of 1; rounded, so that TensorFlow's graph optimiser does not regroup the sum
        return 1 - grids.rounded(one + two)

    xx, yy, zz = (twice(axis, axis) for axis in (x, y, z))
    xy, xz, yz = twice(x, y), twice(x, z), twice(y, z)
    wx, wy, wz = (twice(w, axis) for axis in (x, y, z))
    rows = [
        [less(yy, zz), xy - wz, xz + wy],
        [xy + wz, less(xx, zz), yz - wx],
        [xz - wy, yz + wx, less(xx, yy)],
    ]
    return [[scale * entry for entry in row] for row in rows]


def _series(square: Tensor, *coefficients: float) -> Tensor:
    """1 + c0 square + c1 square^2 + ..."""
    total: Any = 0.0
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * square
    return 1 + total


def _vector(rows: Rows) -> tuple[Tensor, Tensor]:
    """The logarithm, by the quaternion q: of scale * 4 q q^T the column that is largest."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rows
    norm = tf.sqrt(grids.rounded(tf.square(xx) + tf.square(yx)) + tf.square(zx))
    det = xx * (yy * zz - yz * zy) + xy * (yz * zx - yx * zz) + xz * (yx * zy - yy * zx)
    sign = tf.where(det < 0, -tf.ones_like(det), tf.ones_like(det))
    w = [
        norm + sign * (xx + grids.rounded(yy + zz)),
        sign * (zy - yz),
        sign * (xz - zx),
        sign * (yx - xy),
    ]
    x = [w[1], norm + sign * (xx - grids.rounded(yy + zz)), sign * (xy + yx), sign * (xz + zx)]
    y = [w[2], x[2], norm + sign * (yy - grids.rounded(xx + zz)), sign * (yz + zy)]
    z = [w[3], x[3], y[3], norm + sign * (zz - grids.rounded(xx + yy))]
    column, largest = tf.concat(w, axis=1), w[0]
    for other, diagonal in ((x, x[1]), (y, y[2]), (z, z[3])):
        column = tf.where(diagonal > largest, tf.concat(other, axis=1), column)
        largest = tf.maximum(largest, diagonal)
    column *= tf.where(column[:, :1] < 0, -tf.ones_like(det), tf.ones_like(det))  # q and -q are one turn
    length = tf.sqrt(tf.reduce_sum(tf.square(column), axis=1, keepdims=True))
    cos, sines = tf.split(column / tf.where(length > 0, length, tf.ones_like(length)), [1, 3], axis=1)
    square = tf.reduce_sum(tf.square(sines), axis=1, keepdims=True)
    small = square < _SMALL / 4
    sin = tf.sqrt(tf.where(small, tf.ones_like(square), square))
    stretch = tf.where(small, _series(square, 1 / 6, 3 / 40, 15 / 336), tf.atan2(sin, cos) / sin)
    return sign * norm, 2 * stretch * sines


TURNS = {
    2: Turn(("angle",), _of_angle, _angle),
    3: Turn(("angle_x", "angle_y", "angle_z"), _of_vector, _vector),
}
