"""Translation: two parameters."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import matrix
from keras_stn.transforms.matrix_transform import MatrixTransform


@register
class Translation(MatrixTransform):
    """Shift, 2 params (x, y): theta = [[1, 0, x], [0, 1, y]].

    Convention:
        Normalised units, target to source: x = 1 reads half a picture further right, so the picture
        moves left by half its width.

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Translation().inverse(np.array([[0.5, -1.0]])).numpy().tolist()
        [[-0.5, 1.0]]
    """

    axis_aligned = True
    num_params = 2
    identity_params = (0.0, 0.0)
    param_names = ("x", "y")

    def theta(self, params):
        x, y = tf.split(params, 2, axis=1)
        one, zero = tf.ones_like(x), tf.zeros_like(x)
        return matrix(one, zero, x, zero, one, y)

    def from_theta(self, theta):
        return tf.squeeze(theta[:, :, 2:], -1)
