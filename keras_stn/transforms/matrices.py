"""Affine maps as matrices theta (batch, n, n + 1) of n axes: put together, taken apart and undone."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids

Tensor = Any
Rows = Sequence[Sequence[Tensor]]  # of entries, each (batch, 1)


def matrix(rows: Rows) -> Tensor:
    """theta from its entries, row by row."""
    entries = [entry for row in rows for entry in row]
    return tf.reshape(tf.concat(entries, axis=1), (-1, len(rows), len(rows[0])))


def matrix_rows(theta: Tensor, ndim: int) -> list[list[Tensor]]:
    """The entries of theta, row by row, each (batch, 1)."""
    rows, columns = ndim, ndim + 1
    entries = tf.split(tf.reshape(theta, (-1, rows * columns)), rows * columns, axis=1)
    return [entries[start : start + columns] for start in range(0, len(entries), columns)]


def diagonal_matrix(scale: Tensor, offsets: Sequence[Tensor]) -> Tensor:
    """theta of a scale for all axes, and an offset for each."""
    zero, count = tf.zeros_like(scale), len(offsets)
    return matrix(
        [
            [*(scale if column == row else zero for column in range(count)), offset]
            for row, offset in enumerate(offsets)
        ]
    )


def product(outer: Tensor, inner: Tensor, ndim: int) -> Tensor:
    """theta of `inner` followed by `outer`."""
    columns = list(zip(*matrix_rows(inner, ndim), strict=True))
    return matrix(
        [
            [*(_dot(row, column) for column in columns[:-1]), _dot(row, columns[-1]) + offset]
            for *row, offset in matrix_rows(outer, ndim)
        ]
    )


def inverse_matrix(theta: Tensor, ndim: int) -> Tensor:
    """The inverse of affine maps, in closed form: tf.linalg.inv has no TFLite kernel."""
    *columns, offsets = zip(*matrix_rows(theta, ndim), strict=True)
    adjugate = _ADJUGATES[ndim](columns)
    det = _dot(adjugate[0], columns[0])
    return matrix([[entry / det for entry in (*row, -_dot(row, offsets))] for row in adjugate])


def _dot(row: Sequence[Tensor], column: Sequence[Tensor]) -> Tensor:
    first, second, *others = map(operator.mul, row, column)
    total = first + second
    for other in others:  # rounded, so that TensorFlow's graph optimiser does not regroup the sum
        total = grids.rounded(total) + other
    return total


def _adjugate_2(columns: Rows) -> Rows:
    (a, c), (b, d) = columns
    return [[d, -b], [-c, a]]


def _adjugate_3(columns: Rows) -> Rows:
    a, b, c = columns
    return [_cross(b, c), _cross(c, a), _cross(a, b)]


def _cross(one: Sequence[Tensor], two: Sequence[Tensor]) -> list[Tensor]:
    x, y, z = one
    u, v, w = two
    return [y * w - z * v, z * u - x * w, x * v - y * u]


_ADJUGATES = {2: _adjugate_2, 3: _adjugate_3}


def check_last_row(pixel_matrix: Tensor) -> None:
    """Raise for a perspective map, outside of graphs."""
    rows, columns = pixel_matrix.shape[-2:]
    if rows == columns and tf.executing_eagerly():
        last, affine = np.asarray(pixel_matrix[..., -1, :]), (*[0] * (columns - 1), 1)
        if np.any(last != affine):
            hint = "; keras_stn.transforms.Projective takes others" if columns == 3 else ""
            raise _checks.error(
                f"matrix must be affine, with a last row of {affine}{hint}. Received: {last.tolist()}."
            )
