"""Similarity: isotropic scale, rotation and translation, four parameters."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import matrix_entries
from keras_stn.transforms.turns import ScaledAxes


@register
class Similarity(ScaledAxes):
    """Scale, turn and shift, 4 params (scale, angle, x, y).

    theta = [[scale cos(angle), -scale sin(angle) / a, x], [a scale sin(angle), scale cos(angle), y]],
    with `aspect_ratio` for a.

    Convention:
        Target to source, normalised units, radians, y downwards: scale = 0.5 magnifies two times, an
        angle above zero turns the picture counter-clockwise, (x, y) is the point shown in the middle.

    Args:
        aspect_ratio: width / height of the picture, above 0. The turn is then rigid in pixels. The
            default, 1, is a turn in normalised coordinates: rigid on square pictures only.

    Example:
        >>> import numpy as np, keras_stn
        >>> similarity = keras_stn.transforms.Similarity()
        >>> params = np.array([[2.0, 0.3, 0.1, -0.2]])
        >>> similarity.compose(params, similarity.inverse(params)).numpy().round(6).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
    """

    num_params = 4
    identity_params = (1.0, 0.0, 0.0, 0.0)
    param_names = ("scale", "angle", "x", "y")

    def theta(self, params):
        scale, angle, x, y = tf.split(params, 4, axis=1)
        return self.turn(angle, scale, x, y)

    def from_theta(self, theta):
        """The scale comes out positive and the angle in (-pi, pi]."""
        cos, _, x, sin, _, y = matrix_entries(theta)
        sin = sin * (1 / self.aspect_ratio)
        return tf.concat([tf.sqrt(tf.square(cos) + tf.square(sin)), tf.atan2(sin, cos), x, y], axis=1)

    def covering(self, theta):
        a, b, x, c, d, y = matrix_entries(theta)
        c, b = c * (1 / self.aspect_ratio), b * self.aspect_ratio
        sides = tf.sqrt(tf.square(a) + tf.square(c)), tf.sqrt(tf.square(b) + tf.square(d))
        return self.turn(tf.atan2(c, a), tf.maximum(*sides), x, y)
