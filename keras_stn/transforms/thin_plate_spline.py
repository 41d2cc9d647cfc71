"""Thin-plate spline: a lattice of control points, two parameters a point."""

import abc
import functools

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms import radial
from keras_stn.transforms.base import Transform, register


@register
class ThinPlateSpline(Transform):
    """Bend the picture smoothly by the points of a lattice, 2 rows columns params.

    source(p) = p + a + A p + sum over i of U(|p - c_i|) w_i, with U(r) = r^2 log r. Of all maps that
    move each control point c_i by its displacement this one bends least. The params are displacements:
    (x_1, y_1, x_2, y_2, ...), lattice points row by row, from the upper left to the lower right.

    Convention:
        Normalised coordinates, target to source: the output shows at the control point c_i what the
        image holds at c_i + (x_i, y_i). The lattice spans -1 to 1 along both axes, corners included.

    There is no `compose` and no `inverse`, which have no closed form; `Velocity` has an inverse.

    Args:
        grid_size: (rows, columns) of the lattice, both at least 2.
        regularization: How far the map may miss the displacements to bend less, 0 or above. It is added
            to the diagonal of the matrix of U(|c_i - c_j|), and so has the unit of U, normalised
            coordinates squared: SciPy's `smoothing`. At 0 displacements are met; where it grows, the map
            tends to the affine map of least squares.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import numpy as np, keras_stn
        >>> family = keras_stn.transforms.ThinPlateSpline((2, 3))
        >>> params = np.zeros((1, 12))
        >>> params[0, 2:4] = 0.25, -0.5  # the second point of the first row, at (0, -1)
        >>> family.transform_points(params, [[[0.0, -1.0], [1.0, 1.0]]]).numpy().round(6).tolist()
        [[[0.25, -1.5], [1.0, 1.0]]]

    Reference:
        Eq. (1) to (9) of Bookstein, "Principal Warps: Thin-Plate Splines and the Decomposition of
        Deformations" (1989). In spatial transformers: appendix A.2 of Jaderberg et al. (2015,
        arXiv:1506.02025), with a lattice of 4 x 4.
    """

    def __init__(self, grid_size: tuple[int, int] = (4, 4), regularization: float = 0.0):
        self.grid_size = _checks.lattice("grid_size", grid_size)
        self.regularization = _checks.not_negative("regularization", regularization)
        rows, columns = self.grid_size
        self.num_params = 2 * rows * columns
        self.identity_params = (0.0,) * self.num_params
        _system(self.grid_size, self.regularization)  # which is kept, and found again by these two

    def map(self, params, x, y):
        return self._map(params, (x, y), compiled=False)

    def _map(self, params, axes, compiled):
        ones, count = [1] * (axes[0].shape.rank - 1), self.num_params // 2
        points, solution = _system(self.grid_size, self.regularization)
        places = [place.reshape(-1, *ones) for place in points]
        bumps = radial.bumps(axes, places)
        solution, mapped = tf.constant(solution, params.dtype), []
        displacements = tf.split(tf.reshape(params, (-1, count, 2)), 2, axis=2)
        for axis, displacement in zip(axes, displacements, strict=True):
            coefficients = radial.summed(solution * displacement)  # (batch, count + 3)
            weights, *slopes, offset = tf.split(coefficients, (count, 1, 1, 1), axis=1)
            slopes, offset = (
                [tf.reshape(part, (-1, *ones)) for part in slopes],
                tf.reshape(offset, (-1, *ones)),
            )
            bent = radial.combined(tf.reshape(weights, (-1, count, *ones)), bumps, compiled)
            bent += grids.combination(slopes, axes, offset)
            mapped.append(axis + grids.rounded(bent))
        return tuple(mapped)

    @abc.abstractmethod
    def compose(self, outer, inner):
        raise _checks.missing(
            "ThinPlateSpline.compose has no closed form. Map the points of the grid of one map by "
            "transform_points of the other, and read by keras_stn.ops.grid_sample."
        )

    @abc.abstractmethod
    def inverse(self, params):
        raise _checks.missing(
            "ThinPlateSpline.inverse has no closed form. keras_stn.transforms.Velocity, a smooth map of "
            "as many params as you like, has one."
        )

    def get_config(self):
        return {"grid_size": self.grid_size, "regularization": self.regularization}


@functools.lru_cache(maxsize=32)
def _system(grid_size: tuple[int, int], regularization: float) -> tuple[np.ndarray, np.ndarray]:
    """The points of a lattice (2, rows * columns), and the inverse of its system: made once."""
    ends = (np.linspace(-1, 1, count) for count in grid_size)
    y, x = np.meshgrid(*ends, indexing="ij")
    points = np.stack([x.ravel(), y.ravel()])
    return points, radial.solution(points, regularization)
