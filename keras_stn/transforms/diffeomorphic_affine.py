"""DiffeomorphicAffine: affine maps by their logarithm, which can always be undone."""

import abc
import operator
from typing import Any

import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.affine import entries_of_theta
from keras_stn.transforms.base import register
from keras_stn.transforms.of_any_rank import OfAnyRank

Tensor = Any

# exp(m) = exp(m / 2^_SQUARINGS)^(2^_SQUARINGS), and of the small matrix the first terms of the series:
# what they leave out is below 1e-9 of the map up to a norm of 3, and below 1e-6 up to 10.
_SQUARINGS = 4
_TERMS = 7


@register
class DiffeomorphicAffine(OfAnyRank):
    """Affine maps that can always be undone, 6 params, or 12 of a volume: the entries of log(theta).

    theta = exp([[p0, p1, p2], [p3, p4, p5], [0, 0, 0]]) without its last row; the determinant of its
    square part is exp(p0 + p4), which is above zero. So a network that predicts the params can neither
    flip its images nor flatten them, as `Affine` can. Params that are zero are the identity.

    `inverse` is exact: the params with their sign changed. `compose` is missing: exp(p) exp(q) may have
    no real logarithm.

    Convention:
        Normalised units, target to source, row by row as in `Affine`.

    Args:
        ndim: 2, or 3 for volumes.

    Example:
        >>> import numpy as np, keras_stn
        >>> family = keras_stn.transforms.DiffeomorphicAffine()
        >>> params = np.array([[0, -np.pi / 2, 0, np.pi / 2, 0, 0]])  # the logarithm of a quarter turn
        >>> (family.theta(params).numpy().round(6) + 0.0).tolist()
        [[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]

    Reference:
        Skafte Detlefsen, Freifeld and Hauberg, "Deep Diffeomorphic Transformer Networks" (CVPR 2018).
        Scaling and squaring: section 10.3 of Higham, "Functions of Matrices" (2008).
    """

    def __init__(self, ndim: int = 2):
        super().__init__(ndim, entries_of_theta(ndim, diagonal=0.0))

    def theta(self, params):
        shape = self.ndim, self.ndim + 1
        return tf.eye(*shape, dtype=params.dtype) + _exponential(tf.reshape(params, (-1, *shape)))

    @abc.abstractmethod
    def from_theta(self, theta):
        raise _checks.missing(
            "DiffeomorphicAffine does not define params of a matrix, nor the composition of two maps: "
            "not every matrix has a real logarithm. keras_stn.transforms.Affine has both, its params "
            "are theta(params), row by row."
        )

    @abc.abstractmethod
    def compose(self, outer, inner):
        self.from_theta(None)  # raises

    def inverse(self, params):
        return -params


def _exponential(logarithm: Tensor) -> Tensor:
    """exp of matrices (batch, n, n + 1), whose last row is zero, less the identity.

    Less the identity, because then a small map keeps its digits: (1 + m)^2 - 1 = 2 m + m^2.
    """
    small = logarithm * 0.5**_SQUARINGS
    total = small * (1 / _TERMS)
    for term in range(_TERMS - 1, 0, -1):  # m (1 + m / 2 (1 + m / 3 (...)))
        total = (small + _product(small, total)) * (1 / term)
    for _ in range(_SQUARINGS):
        total = 2 * total + _product(total, total)
    return total


def _product(one: Tensor, two: Tensor) -> Tensor:
    """As a sum of outer products: a matmul would be in reduced precision (TF32) on GPUs.

    Rounded one by one, for the same bits in every graph.
    """
    ndim = one.shape[1]
    *columns, _ = tf.split(one, ndim + 1, axis=2)  # (batch, n, 1)
    rows = tf.split(two, ndim, axis=1)  # (batch, 1, n + 1)
    total, *others = map(grids.rounded, map(operator.mul, columns, rows))
    for other in others:
        total = grids.rounded(total + other)
    return total
