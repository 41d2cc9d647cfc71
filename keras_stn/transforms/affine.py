"""Affine: the six entries of theta."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrix_transform import MatrixTransform


@register
class Affine(MatrixTransform):
    """Any affine map, 6 params: the entries of theta, row by row.

    Convention:
        Normalised units, target to source: theta = [[p0, p1, p2], [p3, p4, p5]].

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Affine().theta(np.array([[1, 2, 3, 4, 5, 6.0]])).numpy().tolist()
        [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]

    Reference:
        Eq. (1) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    num_params = 6
    identity_params = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    param_names = ("xx", "xy", "x", "yx", "yy", "y")

    def theta(self, params):
        return tf.reshape(params, (-1, 2, 3))

    def from_theta(self, theta):
        return tf.reshape(theta, (-1, 6))
