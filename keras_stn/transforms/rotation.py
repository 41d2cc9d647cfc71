"""Rotation about the centre."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.turning import Turning


@register
class Rotation(Turning):
    """Turn about the centre, 1 param (angle,): theta = [[cos, -sin / a, 0], [a sin, cos, 0]].

    a is `aspect_ratio`. Of a volume there are 3, (angle_x, angle_y, angle_z): the rotation vector. It
    points along the axis, and its length is the angle: theta = [exp([vector]x) | 0], Rodrigues' formula.
    With (0, 0, angle) each slice is turned as a picture is.

    Convention:
        Radians, target to source, y downwards: an angle above zero reads the picture along axes turned
        clockwise, so the picture turns counter-clockwise. `compose`, `inverse` and `from_theta` return
        an angle in (-pi, pi], or a rotation vector not longer than pi.

    Args:
        aspect_ratio: width / height of the picture, above 0. The turn is then rigid in pixels. The
            default, 1, is a turn in normalised coordinates: rigid on square pictures only. Of a volume a
            pair, (width / height, depth / height); 1 stands for (1, 1).
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> quarter = np.array([[np.pi / 2]])
        >>> keras_stn.transforms.Rotation().theta(quarter).numpy().round(6).tolist()
        [[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]
    """

    def __init__(self, aspect_ratio: float | tuple[float, float] = 1.0, ndim: int = 2):
        super().__init__(aspect_ratio, ndim, self.angles(ndim))

    def theta(self, params):
        zero = tf.zeros_like(params[:, :1])
        return self.turned(params, 1.0, [zero] * self.ndim)

    def from_theta(self, theta):
        _, angles, _ = self.undone(theta)
        return angles
