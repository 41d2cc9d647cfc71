"""Where maps put points: what losses, regularizers and metrics see of params.

Params are those of one map an image, (batch, num_params) or a field, or of several, with an axis after
the batch: glimpses of an image, frames of a video. Functions here see maps in a row.
"""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms import Transform
from keras_stn.transforms.operations import params_of_one

Tensor = Any

# Half the way over which slopes are taken, in normalised units. In float64 rounding counts for 1e-12
# then, and a third derivative of 1 for 2e-9.
_STEP = 2.0**-13

# Points on each axis of which a share is taken, by the axes of an image.
_POINTS = {2: 16, 3: 8}


def no_field(what: str, transform: Transform, instead: str) -> Transform:
    """`transform`, unless its params are a field."""
    if transform.params_ndim == 2:
        return transform
    raise _checks.error(
        f"transform must be a family whose params are a vector, for {what}; {instead}. "
        f"Received: transform={transform!r}."
    )


def checked(argument: str, transform: Transform, params: Any) -> Tensor:
    """`params` as a tensor of one map an image, or of several."""
    params = _checks.tensor(argument, params, symbolic=False)
    sizes, names = params_of_one(transform)
    several = (params.shape.rank or 0) > transform.params_ndim
    lead = [None] * (params.shape.rank - len(sizes)) if several else [None]
    _checks.shape(argument, params, (*lead, *sizes), f"(batch, [maps,] {names})")
    _checks.floating(argument, params.dtype)
    return params


def in_a_row(transform: Transform, params: Tensor) -> Tensor:
    """The maps of all images in a row: (maps, num_params), or a field for num_params."""
    of_one = grids.shape_of(params)[1 - transform.params_ndim :]
    return tf.reshape(params, (-1, *of_one))


def of_images(transform: Transform, params: Tensor, values: Tensor) -> Tensor:
    """A value for each map, (maps,), as one for each image, (batch,): the mean over its maps."""
    lead = grids.shape_of(params)[: 1 - transform.params_ndim]
    values = tf.reshape(values, lead)
    return tf.reduce_mean(values, axis=list(range(1, len(lead)))) if len(lead) > 1 else values


def corners(ndim: int) -> np.ndarray:
    """Those of the picture, (1, 4, 2), or of a volume, (1, 8, 3)."""
    return np.array([list(itertools.product((-1.0, 1.0), repeat=ndim))])


def lattice(ndim: int, count: int) -> np.ndarray:
    """(1, count ** ndim, ndim): the pixels of an output with `count` on each axis, normalised."""
    along = (2 * np.arange(count) + 1) / count - 1
    return np.array([list(itertools.product(along, repeat=ndim))])


def identity(transform: Transform, dtype: Any) -> Tensor:
    """The params that a transformer starts from, (1, num_params)."""
    return tf.constant([transform.identity_params], dtype)


def moved(transform: Transform, params: Tensor, points: np.ndarray, **sizes: Any) -> Tensor:
    """Where the maps put target points: (maps, n, ndim)."""
    points = tf.constant(points, params.dtype)
    return transform.transform_points(in_a_row(transform, params), points, **sizes)


def slopes(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    """The linear part of each map at the middle of the output: (maps, ndim, ndim).

    By central differences, which all families have: float64 params give it to 1e-9.
    """
    steps = np.eye(transform.ndim) * _STEP
    ends = moved(transform, params, np.concatenate([steps, -steps])[np.newaxis], **sizes)
    ahead, behind = tf.split(ends, 2, axis=1)  # (maps, target axis, source axis)
    return tf.linalg.matrix_transpose((ahead - behind) / (2 * _STEP))


# --- Measures of maps, (maps,)


def share_outside(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    ndim = transform.ndim
    points = moved(transform, params, lattice(ndim, _POINTS[ndim]), **sizes)
    inside = tf.reduce_all(tf.abs(points) <= 1, axis=-1)  # which NaN is not
    return 1 - tf.reduce_mean(tf.cast(inside, points.dtype), axis=-1)


def determinant(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    return _determinant(slopes(transform, params, **sizes))


def _determinant(matrices: Tensor) -> Tensor:
    """Of (maps, 2, 2) or (maps, 3, 3); XLA has no kernel for that of `tf.linalg`."""
    first, second, *third = tf.unstack(matrices, axis=1)
    if third:
        return tf.reduce_sum(first * tf.linalg.cross(second, third[0]), axis=-1)
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def zoom(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    return tf.abs(determinant(transform, params, **sizes)) ** (1 / transform.ndim)


def turn(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    linear = slopes(transform, params, **sizes)
    if sizes["source_size"] is not None:
        size = [
            float(grids.divisor(n, sizes["align_corners"], tf.float64))
            for n in reversed(sizes["source_size"])
        ]
        linear *= np.array(size)[:, np.newaxis] / np.array(size)  # (maps, axis of source, of target)
    if transform.ndim == 2:
        (a, b), (c, d) = (tf.unstack(row, axis=-1) for row in tf.unstack(linear, axis=1))
        return tf.atan2(c - b, a + d)
    known = tf.reduce_all(tf.math.is_finite(linear), axis=(1, 2))
    linear = tf.where(known[:, tf.newaxis, tf.newaxis], linear, tf.eye(3, dtype=linear.dtype))
    _, left, right = tf.linalg.svd(linear)
    sign = tf.sign(_determinant(left) * _determinant(right))
    trace = tf.reduce_sum(left * right, axis=1)  # (maps, singular value)
    cosine = (trace[:, 0] + trace[:, 1] + sign * trace[:, 2] - 1) / 2
    angle = tf.acos(tf.clip_by_value(cosine, -1, 1))
    return tf.where(known, angle, tf.fill(tf.shape(angle), tf.constant(np.nan, angle.dtype)))


def size_of_turn(transform: Transform, params: Tensor, **sizes: Any) -> Tensor:
    return tf.abs(turn(transform, params, **sizes))
