"""Translation: a shift along each axis."""

import tensorflow as tf

from keras_stn.transforms.base import register
from keras_stn.transforms.matrices import diagonal_matrix
from keras_stn.transforms.of_any_rank import OfAnyRank, axis_names


@register
class Translation(OfAnyRank):
    """Shift, 2 params (x, y): theta = [[1, 0, x], [0, 1, y]]. Of a volume 3, (x, y, z).

    Convention:
        Normalised units, target to source: x = 1 reads half a picture further right, so the picture
        moves left by half its width.

    Args:
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> keras_stn.transforms.Translation().inverse(np.array([[0.5, -1.0]])).numpy().tolist()
        [[-0.5, 1.0]]
    """

    axis_aligned = True

    def __init__(self, ndim: int = 2):
        super().__init__(ndim, dict.fromkeys(axis_names(ndim), 0.0))

    def theta(self, params):
        offsets = tf.split(params, self.ndim, axis=1)
        return diagonal_matrix(tf.ones_like(offsets[0]), offsets)

    def from_theta(self, theta):
        return tf.squeeze(theta[:, :, self.ndim :], -1)
