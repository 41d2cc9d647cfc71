"""Polar: angles along x and radii along y, about a centre of two params."""

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.base import Transform, register
from keras_stn.transforms.turns import cos_sin


@register
class Polar(Transform):
    """The picture around a centre, 2 params (x, y): columns are angles, rows are radii.

    With angle = pi (tx + 1) and radius = max_radius (ty + 1) / 2 of the target point (tx, ty),

        source = (x + radius cos(angle) / max(a, 1), y + radius sin(angle) min(a, 1))

    where a is `aspect_ratio`. A picture that turns about the centre moves along its columns, so that a
    convolution sees every turn alike.

    Pixel (i, j) of an output of (h, w) pixels stands for the radius max_radius (i + 1/2) / h and the
    angle 2 pi (j + 1/2) / w; with `align_corners=True` for max_radius i / (h - 1) and 2 pi j / (w - 1).

    The output is periodic: its last column is beside its first. What reads it next does well to know,
    for example with `fill_mode=("nearest", "wrap")`.

    There is no identity: a network that starts at `identity_params` starts in the middle of the picture.

    Convention:
        Normalised coordinates, target to source. Angles begin at the right of the centre and go
        clockwise, as y points down.

    Args:
        max_radius: The radius at the lower end of the output, above 0. 1 is half the shorter side.
        aspect_ratio: width / height of the picture, above 0. Radii are then circles in pixels. The
            default, 1, has circles in normalised coordinates: in pixels on square pictures only.

    Example:
        >>> import numpy as np, keras_stn
        >>> ray = [[[-1.0, 1.0], [-0.5, 1.0], [0.0, 0.0]]]  # 0 degrees, 90, and 180 half as far
        >>> polar = keras_stn.transforms.Polar(max_radius=0.5)
        >>> polar.transform_points(np.array([[0.1, 0.0]]), ray).numpy().round(6).tolist()
        [[[0.6, 0.0], [0.1, 0.5], [-0.15, 0.0]]]

    Reference:
        Esteves et al., "Polar Transformer Networks" (2018, arXiv:1709.01889).
    """

    has_identity = False
    num_params = 2
    identity_params = (0.0, 0.0)
    param_names = ("x", "y")

    def __init__(self, max_radius: float = 1.0, aspect_ratio: float = 1.0):
        self.max_radius = _checks.positive("max_radius", max_radius)
        self.aspect_ratio = _checks.positive("aspect_ratio", aspect_ratio)

    def radius(self, y):
        """The radius that a row stands for."""
        return (y + 1) * (self.max_radius / 2)

    def map(self, params, x, y):
        center_x, center_y = tf.split(tf.expand_dims(params, 2), 2, axis=1)  # (batch, 1, 1) each
        # From half a turn on, for numbers up to pi have a bit more than those up to 2 pi.
        cos, sin = cos_sin(tf.reshape(x * np.pi, (-1, 1)))
        cos, sin = (tf.reshape(part, grids.shape_of(x)) for part in (cos, sin))
        radius = self.radius(y)
        # The factors first: they are of the columns alone.
        across = grids.rounded((cos * (1 / max(self.aspect_ratio, 1.0))) * radius)
        down = grids.rounded((sin * min(self.aspect_ratio, 1.0)) * radius)
        return center_x - across, center_y - down

    def get_config(self):
        return {"max_radius": self.max_radius, "aspect_ratio": self.aspect_ratio}
