"""Similarity: isotropic scale, rotation and translation."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import matrix_rows
from keras_stn.transforms.of_any_rank import axis_names
from keras_stn.transforms.turning import Turning


@register
class Similarity(Turning):
    """Scale, turn and shift, 4 params (scale, angle, x, y).

    theta = [[scale cos(angle), -scale sin(angle) / a, x], [a scale sin(angle), scale cos(angle), y]],
    with `aspect_ratio` for a. Of a volume there are 7, (scale, angle_x, angle_y, angle_z, x, y, z), with
    the rotation vector of `Rotation`.

    Convention:
        Target to source, normalised units, radians, y downwards: scale = 0.5 magnifies two times, an
        angle above zero turns the picture counter-clockwise, (x, y) is the point shown in the middle.

    Args:
        aspect_ratio: width / height of the picture, above 0. The turn is then rigid in pixels. The
            default, 1, is a turn in normalised coordinates: rigid on square pictures only. Of a volume a
            pair, (width / height, depth / height); 1 stands for (1, 1).
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> similarity = keras_stn.transforms.Similarity()
        >>> params = np.array([[2.0, 0.3, 0.1, -0.2]])
        >>> similarity.compose(params, similarity.inverse(params)).numpy().round(6).tolist()
        [[1.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, aspect_ratio: float | tuple[float, float] = 1.0, ndim: int = 2):
        offsets = dict.fromkeys(axis_names(ndim), 0.0)
        super().__init__(aspect_ratio, ndim, {"scale": 1.0, **self.angles(ndim), **offsets})

    def theta(self, params):
        turn = self.num_params - 1 - self.ndim
        scale, angles, *offsets = tf.split(params, [1, turn, *[1] * self.ndim], axis=1)
        return self.turned(angles, scale, offsets)

    def from_theta(self, theta):
        """An angle comes out in (-pi, pi], a rotation vector not longer than pi.

        The scale comes out positive; of a volume it has the sign of the determinant, for there -1 is no
        turn.
        """
        scale, angles, offsets = self.undone(theta)
        return tf.concat([scale, angles, *offsets], axis=1)

    def covering(self, theta):
        """Turned as the x axis of a picture is, and as large as the longer side."""
        scale, angles, offsets = self.undone(theta)
        (_, down_x, _), (_, down_y, _) = matrix_rows(theta, self.ndim)
        down = tf.sqrt(tf.square(down_x * self.aspect_ratio) + tf.square(down_y))
        return self.turned(angles, tf.maximum(scale, down), offsets)
