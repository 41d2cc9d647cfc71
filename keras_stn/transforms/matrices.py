"""Affine maps as matrices: put together, taken apart and undone."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks

Tensor = Any


def matrix(*entries: Tensor) -> Tensor:
    """theta (batch, 2, 3) from its six entries, row by row, each (batch, 1)."""
    return tf.reshape(tf.concat(entries, axis=1), (-1, 2, 3))


def matrix_entries(theta: Tensor) -> list[Tensor]:
    """The six entries of theta (batch, 2, 3), row by row, each (batch, 1)."""
    return tf.split(tf.reshape(theta, (-1, 6)), 6, axis=1)


def inverse_matrix(theta: Tensor) -> Tensor:
    """The inverse of affine maps (batch, 2, 3), in closed form: tf.linalg.inv has no TFLite kernel."""
    a, b, c, d, e, f = matrix_entries(theta)
    det = a * e - b * d
    rows = (e, -b, b * f - e * c, -d, a, d * c - a * f)
    return matrix(*(entry / det for entry in rows))


def check_last_row(pixel_matrix: Tensor) -> None:
    """Raise for a perspective map, outside of graphs."""
    if pixel_matrix.shape[-2] == 3 and tf.executing_eagerly():
        rows = np.asarray(pixel_matrix[..., 2, :])
        if np.any(rows != [0, 0, 1]):
            raise _checks.error(
                f"matrix must be affine, with a last row of (0, 0, 1). Received: {rows.tolist()}."
            )
