"""Attention: isotropic scale and translation."""

import functools

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import diagonal_matrix, matrix_rows
from keras_stn.transforms.of_any_rank import OfAnyRank, axis_names


@register
class Attention(OfAnyRank):
    """Crop, 3 params (scale, x, y): theta = [[scale, 0, x], [0, scale, y]].

    Of a volume 4, (scale, x, y, z).

    Convention:
        Normalised units, target to source: scale = 0.5 reads a window half as wide and half as high as
        the picture, centred at (x, y), and so magnifies it two times.

    Args:
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Attention().theta(np.array([[0.5, 0.1, -0.2]])).numpy().tolist()
        [[[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]]

    Reference:
        Eq. (2) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    axis_aligned = True

    def __init__(self, ndim: int = 2):
        super().__init__(ndim, {"scale": 1.0, **dict.fromkeys(axis_names(ndim), 0.0)})

    def theta(self, params):
        scale, *offsets = tf.split(params, self.num_params, axis=1)
        return diagonal_matrix(scale, offsets)

    def from_theta(self, theta):
        rows = matrix_rows(theta, self.ndim)
        return tf.concat([rows[0][0], *(row[-1] for row in rows)], axis=1)

    def covering(self, theta):
        rows = matrix_rows(theta, self.ndim)
        scale = functools.reduce(tf.maximum, (tf.abs(row[axis]) for axis, row in enumerate(rows)))
        return diagonal_matrix(scale, [row[-1] for row in rows])
