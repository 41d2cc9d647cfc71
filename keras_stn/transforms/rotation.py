"""Rotation about the centre: one parameter."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import matrix_entries
from keras_stn.transforms.turns import ScaledAxes


@register
class Rotation(ScaledAxes):
    """Turn about the centre, 1 param (angle,): theta = [[cos, -sin / a, 0], [a sin, cos, 0]].

    a is `aspect_ratio`.

    Convention:
        Radians, target to source, y downwards: an angle above zero reads the picture along axes turned
        clockwise, so the picture turns counter-clockwise.

    Args:
        aspect_ratio: width / height of the picture, above 0. The turn is then rigid in pixels. The
            default, 1, is a turn in normalised coordinates: rigid on square pictures only.

    Example:
        >>> import numpy as np, keras_stn
        >>> quarter = np.array([[np.pi / 2]])
        >>> keras_stn.transforms.Rotation().theta(quarter).numpy().round(6).tolist()
        [[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]
    """

    num_params = 1
    identity_params = (0.0,)
    param_names = ("angle",)

    def theta(self, params):
        angle = tf.convert_to_tensor(params)
        zero = tf.zeros_like(angle)
        return self.turn(angle, 1.0, zero, zero)

    def from_theta(self, theta):
        cos, _, _, sin, _, _ = matrix_entries(theta)
        return tf.atan2(sin * (1 / self.aspect_ratio), cos)
