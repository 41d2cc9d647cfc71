"""Affine: the entries of theta."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.of_any_rank import OfAnyRank, axis_names


def entries_of_theta(ndim: int, diagonal: float) -> dict[str, float]:
    """The entries of theta, row by row: "xy" is what y adds to x, "x" what is added to it.

    All are 0, but for the `diagonal`.
    """
    axes = axis_names(ndim)
    return {f"{row}{column}": diagonal * (row == column) for row in axes for column in (*axes, "")}


@register
class Affine(OfAnyRank):
    """Any affine map, 6 params, or 12 of a volume: the entries of theta, row by row.

    Convention:
        Normalised units, target to source: theta = [[p0, p1, p2], [p3, p4, p5]]. Of a volume it has
        three rows (of x, y and z) of four.

    Args:
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Affine().theta(np.array([[1, 2, 3, 4, 5, 6.0]])).numpy().tolist()
        [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]

    Reference:
        Eq. (1) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    def __init__(self, ndim: int = 2):
        super().__init__(ndim, entries_of_theta(ndim, diagonal=1.0))

    def theta(self, params):
        return tf.reshape(params, (-1, self.ndim, self.ndim + 1))

    def from_theta(self, theta):
        return tf.reshape(theta, (-1, self.num_params))
