"""LogPolar: angles along x and the logarithms of radii along y."""

import math

import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.base import register
from keras_stn.transforms.polar import Polar


@register
class LogPolar(Polar):
    """`Polar` with radii that grow by a factor from row to row, 2 params (x, y): the centre.

    radius = min_radius (max_radius / min_radius)^((ty + 1) / 2) of the target point (tx, ty); all else
    is as with `Polar`. A picture that turns about the centre moves along the columns, and one that is
    magnified along the rows, so that a convolution sees every turn and size alike.

    Row i of an output of h rows stands for the radius min_radius (max_radius / min_radius)^t with
    t = (i + 1/2) / h; with `align_corners=True` t = i / (h - 1).

    Convention:
        Normalised coordinates, target to source; angles clockwise from the right.

    Args:
        min_radius: The radius at the upper end of the output, above 0 and below `max_radius`. What is
            nearer to the centre is not shown. The default is one pixel of 40.
        max_radius: The radius at the lower end. 1 is half the shorter side.
        aspect_ratio: width / height of the picture, above 0, for radii that are circles in pixels.

    Example:
        >>> import numpy as np, keras_stn
        >>> ray = [[[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0]]]
        >>> family = keras_stn.transforms.LogPolar(min_radius=0.01)
        >>> family.transform_points(np.zeros((1, 2)), ray).numpy().round(6).tolist()
        [[[0.01, 0.0], [0.1, 0.0], [1.0, 0.0]]]

    Reference:
        Eq. (10) and (11) of Esteves et al., "Polar Transformer Networks" (2018, arXiv:1709.01889).
    """

    def __init__(self, min_radius: float = 0.05, max_radius: float = 1.0, aspect_ratio: float = 1.0):
        super().__init__(max_radius, aspect_ratio)
        self.min_radius = _checks.positive("min_radius", min_radius)
        if self.min_radius >= self.max_radius:
            raise _checks.error(
                f"min_radius must be below max_radius={max_radius}. Received: min_radius={min_radius!r}."
            )

    def radius(self, y):
        largest = math.log(self.max_radius / self.min_radius)
        return self.max_radius * _exp((y - 1) * (largest / 2), largest)

    def get_config(self):
        return {"min_radius": self.min_radius, **super().get_config()}


def _exp(exponent, largest):
    """exp(exponent), from -largest to 0, with the same bits on every machine.

    Runtimes differ in the last bits of theirs. exp - 1 is a short series near 0, and of exp(2 z) - 1 the
    product of exp(z) - 1 and exp(z) + 1. Within 1.6e-7 in float32.
    """
    if exponent.dtype == tf.float64:
        return tf.exp(exponent)
    doublings = max(math.ceil(math.log2(largest / 0.2)), 0)
    z = exponent * 2.0**-doublings
    series = 1.0
    for number in (6, 5, 4, 3, 2):
        series = 1 + grids.rounded(z * (1 / number) * series)
    less_1 = z * series
    for _ in range(doublings):
        less_1 = less_1 * (less_1 + 2)
    return 1 + grids.rounded(less_1)
