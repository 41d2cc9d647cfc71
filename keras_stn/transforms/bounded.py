"""Bounded: another family with params that are fixed, or stay inside of ranges."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms import bounds
from keras_stn.transforms import boxes as boxes_of
from keras_stn.transforms.base import Transform
from keras_stn.transforms.lookup import get

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_stn")
class Bounded(Transform):
    """Another family whose params are fixed, or stay inside of ranges, for every input.

    Use it where the task says how far a picture may move: nothing else keeps a localization network from
    a scale of 20, or from reading outside the picture. Its params are free real numbers, of which
    `constrain` makes those of the family inside:

        identity + reach s(p / reach),    s(z) = z / sqrt(1 + z^2),

    with `reach` the distance from the identity to the end of the range on the side of p; a param without
    a range is identity + p. So zeros are the identity, a small p moves its param by p, and no number,
    however large, takes it out of the range: in float32 and float64 to the last bit. NaN stays NaN, and
    so outside the picture. A param that is fixed takes no number: `num_params` shrinks.

    `compose` and `inverse` give the params inside the ranges that are nearest to the exact result, param
    by param. `transform.inverse(bounded.constrain(params))` is the exact one, of the family inside, and
    the one that `keras_stn.Warp(inverse=True)` and `transform_boxes` take.

    Convention:
        As the family inside: target to source, normalised coordinates.

    Args:
        transform: The family inside: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        fixed: {name: number} of params that do not move, such as `{"x": 0.0}`. Names are those of the
            family's `param_names`, or "p0", "p1", ... where it has none.
        max_rotation: How far angles go from 0, in radians, above 0.
        scale_range: (low, high) of `scale`, around 1.
        max_translation: How far x, y[, z] go from 0, in the units of the family, above 0: a number, or
            one for each axis. An axis may be fixed instead.
        ranges: {name: (low, high)} of any params, or one (low, high) for all. The identity of each lies
            between.

    Raises:
        ValueError: if a name is none of the family's, a param is given twice, its identity is not inside
            its range, or all params are fixed.

    Example:
        >>> import numpy as np, keras_stn
        >>> family = keras_stn.transforms.Bounded(
        ...     "similarity", fixed={"x": 0.0}, max_rotation=0.5, scale_range=(0.5, 2.0)
        ... )
        >>> family.num_params, family.param_names
        (3, ('scale', 'angle', 'y'))
        >>> family.constrain(np.array([[0, 0, 0], [-1e30, 1e30, 0.3]])).numpy().tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.3]]
        >>> layer = keras_stn.SpatialTransformer(transform=family)
    """

    def __init__(
        self,
        transform: str | Transform,
        fixed: Mapping[str, float] | None = None,
        max_rotation: float | None = None,
        scale_range: tuple[float, float] | None = None,
        max_translation: float | Sequence[float] | None = None,
        ranges: Mapping[str, tuple[float, float]] | tuple[float, float] | None = None,
    ):
        family = get(transform)
        self.transform = family
        self.fixed = bounds.fixed_values(family, fixed)
        self.ranges = bounds.all_ranges(
            family, self.fixed, max_rotation, scale_range, max_translation, ranges
        )
        names = bounds.names_of(family)
        self.param_names = tuple(name for name in names if name not in self.fixed)
        self.num_params = len(self.param_names)
        self.identity_params = (0.0,) * self.num_params
        for name in ("ndim", "params_ndim", "straight"):
            setattr(self, name, getattr(family, name))
        identity = dict(zip(names, family.identity_params, strict=True))
        kept = all(identity[name] == value for name, value in self.fixed.items())
        self.has_identity = family.has_identity and kept
        self._squash = bounds.Squash(
            tuple(identity[name] for name in self.param_names),
            tuple(self.ranges.get(name) for name in self.param_names),
        )
        self._fixed = [self.fixed.get(name) for name in names]

    def constrain(self, params: Tensor) -> Tensor:
        """The params of the family inside, (batch, its num_params), of params (batch, num_params)."""
        free = self._squash(tf.cast(params, grids.coordinate_dtype(params.dtype)))
        return tf.cast(bounds.filled(free, self._fixed), params.dtype)

    def unconstrain(self, inner_params: Tensor) -> Tensor:
        """`constrain` undone: of params outside of the ranges, those of the nearest inside."""
        parts = tf.split(inner_params, self.transform.num_params, axis=-1)
        free = [part for part, value in zip(parts, self._fixed, strict=True) if value is None]
        raw = tf.cast(tf.concat(free, axis=-1), grids.coordinate_dtype(inner_params.dtype))
        return tf.cast(self._squash.inverse(raw), inner_params.dtype)

    def nudged(self, params, noise):
        # Of the family inside: with a value that is fixed, the start is not the identity.
        return self.unconstrain(self.transform.nudged(self.constrain(params), noise))

    def check_nudged(self):
        self.transform.check_nudged()

    def inverted(self, params, *args, **kwargs):
        return self.transform.inverted(self.constrain(params), *args, **kwargs)

    def tiles(self, count):
        tiles = self.unconstrain(np.array(self.transform.tiles(count), "float64"))
        return [tuple(params) for params in self._squash.start(tiles.numpy()).tolist()]

    def check_compose(self):
        self.transform.check_compose()

    def check_inverse(self):
        self.transform.check_inverse()

    def map(self, params, *axes):
        return self.transform.map(self.constrain(params), *axes)

    def transform_points(self, params, *args, **kwargs):
        return self.transform.transform_points(self.constrain(params), *args, **kwargs)

    def grid(self, params, *args, **kwargs):
        return self.transform.grid(self.constrain(params), *args, **kwargs)

    def points(self, params, *args, **kwargs):
        return self.transform.points(self.constrain(params), *args, **kwargs)

    def compose(self, outer, inner):
        outer, inner = self.constrain(outer), self.constrain(inner)
        return self.unconstrain(self.transform.compose(outer, inner))

    def inverse(self, params):
        return self.unconstrain(self.transform.inverse(self.constrain(params)))

    def from_boxes(self, boxes, *args, **kwargs):
        return self._crops(self.transform.from_boxes(boxes, *args, **kwargs))

    def from_rotated_boxes(self, boxes, *args, **kwargs):
        return self._crops(self.transform.from_rotated_boxes(boxes, *args, **kwargs))

    def _crops(self, inner_params):
        flat = tf.reshape(inner_params, (-1, self.transform.num_params))
        return boxes_of.in_lead_of(inner_params, self.unconstrain(flat))

    # --- Of a family of matrices

    @property
    def theta_shape(self) -> tuple[int, int]:
        return self._of_matrices("theta_shape")

    def theta(self, params: Tensor) -> Tensor:
        """The matrices (batch, 2, 3) of params (batch, num_params)."""
        return self._of_matrices("theta")(self.constrain(params))

    def from_theta(self, theta: Tensor) -> Tensor:
        """The params of matrices (batch, 2, 3): of a map outside of the ranges, the nearest inside."""
        return self.unconstrain(self._of_matrices("from_theta")(theta))

    def pixel_matrix(
        self, params, source_size, output_size=None, align_corners=False, target_to_source=False
    ):
        method = self._of_matrices("pixel_matrix")
        sizes = source_size, output_size
        return method(self.constrain(params), *sizes, align_corners, target_to_source)

    def from_pixel_matrix(
        self, matrix, source_size, output_size=None, align_corners=False, target_to_source=False
    ):
        """As that of the family inside; raises for a map outside of the ranges, where it can see it."""
        method = self._of_matrices("from_pixel_matrix")
        inner = method(matrix, source_size, output_size, align_corners, target_to_source)
        params = self.unconstrain(inner)
        if tf.executing_eagerly():
            nearest = self.constrain(params)
            # A range's end is reached within the square root of eps: see Squash.
            if not np.allclose(inner, nearest, rtol=0, atol=1e-5):
                raise _checks.error(
                    f"matrix must be a map inside of the ranges of {self!r}. Received: "
                    f"{np.asarray(inner).tolist()}, which is no {np.asarray(nearest).tolist()}."
                )
        return params

    def _of_matrices(self, method: str) -> Any:
        if not hasattr(self.transform, method):
            raise _checks.missing(f"{type(self.transform).__name__} does not define {method}.")
        return getattr(self.transform, method)

    def get_config(self):
        return {
            "transform": keras.saving.serialize_keras_object(self.transform),
            "fixed": dict(self.fixed),
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
        }

    def __repr__(self):
        return f"{type(self).__name__}({self.transform!r}, fixed={self.fixed}, ranges={self.ranges})"
