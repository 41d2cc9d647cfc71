"""Attention: isotropic scale and translation, three parameters."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import matrix, matrix_entries
from keras_stn.transforms.matrix_transform import MatrixTransform


@register
class Attention(MatrixTransform):
    """Crop, 3 params (scale, x, y): theta = [[scale, 0, x], [0, scale, y]].

    Convention:
        Normalised units, target to source: scale = 0.5 reads a window half as wide and half as high as
        the picture, centred at (x, y), and so magnifies it two times.

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Attention().theta(np.array([[0.5, 0.1, -0.2]])).numpy().tolist()
        [[[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]]

    Reference:
        Eq. (2) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    axis_aligned = True
    num_params = 3
    identity_params = (1.0, 0.0, 0.0)
    param_names = ("scale", "x", "y")

    def theta(self, params):
        scale, x, y = tf.split(params, 3, axis=1)
        zero = tf.zeros_like(scale)
        return matrix(scale, zero, x, zero, scale, y)

    def from_theta(self, theta):
        scale, _, x, _, _, y = matrix_entries(theta)
        return tf.concat([scale, x, y], axis=1)

    def covering(self, theta):
        x, _, _, _, y, _ = matrix_entries(theta)
        _, _, offset = tf.split(theta, 3, axis=2)
        scale = tf.expand_dims(tf.maximum(tf.abs(x), tf.abs(y)), -1)
        eye = tf.eye(2, batch_shape=tf.shape(scale)[:1], dtype=scale.dtype)
        return tf.concat([scale * eye, offset], axis=2)
