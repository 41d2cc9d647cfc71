"""What a transform family is, and the table of families."""

import abc
import copy
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.points import Deferred, Points
from keras_stn.transforms.moves_boxes import MovesBoxes
from keras_stn.transforms.operations import as_operations

Tensor = Any

FAMILIES: dict[str, type["Transform"]] = {}


def register(cls: type) -> type:
    """Enter a family of this package in `FAMILIES`, and with Keras, so that saved models find it."""
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()  # ThinPlateSpline: thin_plate_spline
    FAMILIES[name] = cls
    return keras.saving.register_keras_serializable(package="keras_stn")(cls)


@as_operations
class Transform(MovesBoxes):
    """A family of maps from target points to source points, steered by a few parameters.

    Subclass it for a family of your own: state `num_params` and `identity_params`, and write `map`. A
    family of affine maps is shorter as a `MatrixTransform`. Register the class, so that models which use
    it can be saved; a family with arguments also has `get_config`, as in Keras. Families are equal where
    their classes and configs are.

    All other methods but `points` take the symbolic tensors of a Functional model as well, and those
    that you write do, too: the call becomes one operation of the model, saved and exported with it.
    Arguments are checked before your method is called, and are tensors then.

    Convention:
        Coordinates are normalised, x before y, and go from target to source: the output pixel at (x, y)
        shows the input at `map(params, x, y)`.

    Attributes:
        num_params: How many numbers steer one map; in a field of params, one point of it.
        identity_params: The `num_params` numbers of the identity, a tuple.
        has_identity: Whether `identity_params` map every point to itself. A family that changes what the
            axes mean, as polar coordinates do, has none and starts from these params all the same. Say
            False as well where a family of your own starts elsewhere.
        param_names: A name for each param, which `Bounded` takes; () where they have none.
        straight: Whether straight lines stay straight under every map. The corners of a box then say
            where it goes; of bent maps it takes points along its edges.
        ndim: How many axes an image has: 2, or 3 for volumes.
        params_ndim: How many axes params have: 2, (batch, num_params). For a field of params it is
            `ndim` + 2, (batch, [d,] h, w, num_params).

    Example:
        >>> import keras, keras_stn
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class Bulge(keras_stn.transforms.Transform):
        ...     '''Magnifies the middle: p (1 + k |p|^2).'''
        ...
        ...     num_params = 1
        ...     identity_params = (0.0,)
        ...
        ...     def map(self, params, x, y):
        ...         k = keras.ops.expand_dims(params, -1)  # (batch, 1, 1)
        ...         scale = 1 + k * (x * x + y * y)
        ...         return x * scale, y * scale
        >>> layer = keras_stn.SpatialTransformer(transform=Bulge())
    """

    num_params: int
    identity_params: tuple[float, ...]
    param_names: tuple[str, ...] = ()
    straight = False
    has_identity = True
    ndim = 2
    params_ndim = 2

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        as_operations(cls)

    @abc.abstractmethod
    def map(self, params: Tensor, *axes: Tensor) -> tuple[Tensor, ...]:
        """Map target points to source points: all that a family writes.

        Args:
            params: (batch, num_params), floating point.
            *axes: x and y of the target points, normalised, in the dtype of `params`. They broadcast:
                for the pixels of an output x is (batch, 1, w) and y (batch, h, 1).

        Returns:
            x and y of the source, which broadcast to (batch, h, w). What hangs on one axis alone can
            stay (batch, 1, w) or (batch, h, 1): that is less to compute. Where the very axes come back,
            as they do at the identity, the image is read at its pixels, without a rounding.
        """
        # Of points in a list no file could be made that does not grow with the area of its images.
        has_points = type(self).transform_points is not Transform.transform_points
        hint = ", of which transform_points is made" if has_points else ""
        raise _checks.missing(f"{type(self).__name__} must define map(params, x, y){hint}.")

    @abc.abstractmethod
    def compose(self, outer: Tensor, inner: Tensor) -> Tensor:
        """The params of `inner` followed by `outer`: p -> outer(inner(p)).

        All (batch, num_params); a batch of 1 goes with every map.
        """
        raise _checks.missing(
            f"{type(self).__name__} does not define the composition of two maps; warp twice, or map "
            "points by transform_points twice."
        )

    @abc.abstractmethod
    def inverse(self, params: Tensor) -> Tensor:
        """The params of the inverse map. Both (batch, num_params)."""
        raise _checks.missing(
            f"{type(self).__name__} does not define the inverse of a map; transform_points "
            "goes from the target to the source."
        )

    def check_inverse(self) -> None:
        """Raise, before any work, where the family does not define `inverse`."""
        if getattr(type(self).inverse, "__isabstractmethod__", False):
            self.inverse(None)  # raises

    def check_compose(self) -> None:
        """Raise, before any work, where the family does not define `compose`."""
        if getattr(type(self).compose, "__isabstractmethod__", False):
            self.compose(None, None)  # raises

    def nudged(self, params: Tensor, noise: Callable[[Tensor], Tensor]) -> Tensor:
        """The params (batch, num_params) of maps whose outputs are moved a little.

        Composed with maps near the identity, whose params differ from `identity_params` by
        `noise(params)`, of the same shape.
        """
        identity = tf.constant(self.identity_params, params.dtype)
        return self.compose(params, identity + noise(params))

    def check_nudged(self) -> None:
        """Raise, before any work, where the family has no maps near the identity to compose with."""
        self.check_compose()
        if not self.has_identity:
            raise NotImplementedError(
                f"{type(self).__name__} has no identity, and so no maps near it: use jitter=0."
            )

    def inverted(
        self, params: Tensor, source_size: Any, output_size: Any, align_corners: bool = False
    ) -> tuple["Transform", Tensor]:
        """The inverses of the maps from an output to the images, as (family, params).

        Their source is the output, and their output the images. That is `inverse`, but for a family
        whose params have ranges, which it may leave, or count the pixels of their source.
        """
        return self, self.inverse(params)

    def tiles(self, count: int) -> Sequence[tuple[float, ...]]:
        """The params of `count` maps that show the picture between them, in rows, as glimpses start.

        Those of the identity for a family that cannot scale.
        """
        return [self.identity_params] * count

    # --- What all families have

    def transform_points(
        self,
        params: Tensor,
        points: Tensor,
        source_size: tuple[int, ...] | None = None,
        align_corners: bool = False,
    ) -> Tensor:
        """Map target points to source points.

        Args:
            params: (batch, num_params); a batch of 1 maps all points.
            points: (batch, n, 2), normalised (x, y); cast to the dtype of `params`. A batch of 1 serves
                every map.
            source_size: (height, width) of the images. Families whose params count their pixels need it,
                `Displacement` and `Velocity`; to others it is nothing.
            align_corners: That of the layer that takes the params; for the same families.

        Returns:
            (batch, n, 2), in the dtype of `params`.
        """
        batch, count, _ = grids.shape_of(points)
        shape = (batch, *[1] * (self.ndim - 1), count)
        axes = [tf.reshape(axis, shape) for axis in tf.split(points, self.ndim, axis=-1)]
        mapped = _stacked(axes, self._places(params, axes, source_size, align_corners))
        return tf.reshape(mapped, (-1, count, self.ndim))

    def grid(
        self,
        params: Tensor,
        output_size: tuple[int, ...],
        align_corners: bool = False,
        source_size: tuple[int, ...] | None = None,
    ) -> Tensor:
        """The sampling grid of `params`, for `keras_stn.ops.grid_sample`.

        Args:
            params: (batch, num_params), floating point.
            output_size: (height, width) of the target.
            align_corners: Whether -1 and 1 are the centres of the corner pixels (True) or their edges.
            source_size: (height, width) of the images, for families that count their pixels.

        Returns:
            (batch, height, width, 2), normalised (x, y) of the source, in the dtype of `params` but at
            least float32.
        """
        params = tf.cast(params, grids.coordinate_dtype(params.dtype))
        axes = grids.target_axes(output_size, align_corners, params.dtype)
        return _stacked(axes, self._places(params, axes, source_size, align_corners))

    def points(
        self,
        params: Tensor,
        source_size: tuple[int, ...],
        output_size: tuple[int, ...],
        align_corners: bool = False,
    ) -> Points:
        """The sampling grid in source pixels, which `keras_stn.Warp` reads images at."""
        static = tuple(source_size), tuple(output_size), align_corners

        def plain(params):
            return self._pixels(params, *static, compiled=False)

        known = type(self) in FAMILIES.values()  # nobody knows whether users' code can be compiled
        if grids.in_float16() or not known or not all(map(_is_static, (*source_size, *output_size))):
            return plain(params)
        shape = tf.TensorShape([params.shape[0], *output_size])
        # As it is now: of a family that is changed later, caches would know the old self by the new.
        make = _made_of_params(copy.copy(self), *static)
        return Deferred(make, (params,), shape, plain)

    def _pixels(self, params, source_size, output_size, align_corners, *, compiled) -> Points:
        """`points`; `compiled` inside of what XLA compiles, where no file is made."""
        axes = grids.target_axes(output_size, align_corners, params.dtype)
        if not compiled:
            # Converters fold what hangs on constants alone: x * x + y * y would stand in a file as a
            # picture, 1.7 MB at 640 pixels instead of 16 KB. So a zero made of the params is added.
            # By a comparison, for that of NaN is a zero as well.
            first = params[(slice(None), *[slice(0, 1)] * (self.params_ndim - 1))]
            zero = tf.where(tf.abs(first) < 0, first, tf.zeros_like(first))
            zero = tf.reshape(zero, (-1, *[1] * self.ndim))
            axes = [axis + zero for axis in axes]
        mapped = self._mapped(params, axes, compiled)
        return grids.moved_points(axes, mapped, source_size, output_size, align_corners)

    def get_config(self) -> dict:
        return {}

    @classmethod
    def from_config(cls, config: dict) -> "Transform":
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return self.get_config() == other.get_config()

    def __hash__(self):
        return hash(type(self))  # configs may hold lists

    def _mapped(self, params, axes, compiled=False):
        mapped = self._map(params, axes, compiled)
        if not isinstance(mapped, (tuple, list)) or len(mapped) != self.ndim:
            raise _checks.error(
                f"{type(self).__name__}.map must return a tuple with a coordinate for each of the "
                f"{self.ndim} axes. Received: {type(mapped).__name__}"
                + (f" of {len(mapped)}." if isinstance(mapped, (tuple, list)) else ".")
            )
        return [tf.convert_to_tensor(axis) for axis in mapped]

    def _map(self, params, axes, compiled):
        """`map`, for a family that writes it otherwise for what XLA compiles."""
        return self.map(params, *axes)

    def _places(self, params, axes, source_size, align_corners) -> Sequence[Tensor]:
        """Where the points of `axes` go, normalised."""
        return self._mapped(params, axes)


def _stacked(axes: Sequence[Tensor], mapped: Sequence[Tensor]) -> Tensor:
    """The mapped axes as points (batch, ..., ndim)."""
    whole = functools.reduce(tf.add, map(tf.zeros_like, (*axes, *mapped)))
    return tf.stack([axis + whole for axis in mapped], axis=-1)


def _is_static(size: Any) -> bool:
    return isinstance(size, int)


@functools.lru_cache(maxsize=256)
def _made_of_params(family: Transform, *static: Any) -> Callable:
    """A function of params to axes: one object for equal families, which caches know again."""
    return lambda params: family._pixels(params, *static, compiled=True).axes
