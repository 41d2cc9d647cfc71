"""What a transform family is: the base classes, one general and one for matrices."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids

Tensor = Any


class Transform:
    """A family of maps from target points to source points, steered by a few parameters.

    Subclass it for a family of your own: state `num_params` and `identity_params`, and write
    `transform_points`. A family of affine maps is shorter as a `MatrixTransform`. Register the class, so
    that models which use it can be saved; a family with arguments also has `get_config`, as in Keras.

    Convention:
        Points are (x, y) in normalised coordinates, and go from target to source: the output pixel at p
        shows the input at `transform_points(params, p)`.

    Attributes:
        num_params: How many numbers steer one map.
        identity_params: The `num_params` numbers of the identity, a tuple.

    Example:
        >>> import keras, keras_stn
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class Bulge(keras_stn.transforms.Transform):
        ...     '''Magnifies the middle: p (1 + k |p|^2).'''
        ...
        ...     num_params = 1
        ...     identity_params = (0.0,)
        ...
        ...     def transform_points(self, params, points):
        ...         radius2 = keras.ops.sum(points**2, axis=-1, keepdims=True)
        ...         return points * (1 + keras.ops.expand_dims(params, 1) * radius2)
        >>> layer = keras_stn.SpatialTransformer(transform=Bulge())
    """

    num_params: int
    identity_params: tuple[float, ...]

    def transform_points(self, params: Tensor, points: Tensor) -> Tensor:
        """Map target points to source points.

        Args:
            params: (batch, num_params)
            points: (batch, n, 2), normalised (x, y), in the dtype of `params`; a batch of 1 serves every
                map.

        Returns:
            (batch, n, 2)
        """
        raise TypeError(f"{type(self).__name__} must define transform_points(params, points).")

    def compose(self, outer: Tensor, inner: Tensor) -> Tensor:
        """The params of `inner` followed by `outer`: p -> outer(inner(p)). All (batch, num_params)."""
        raise TypeError(f"{type(self).__name__} does not define the composition of two maps.")

    def inverse(self, params: Tensor) -> Tensor:
        """The params of the inverse map. Both (batch, num_params)."""
        raise TypeError(f"{type(self).__name__} does not define the inverse of a map.")

    def grid(self, params: Tensor, output_size: tuple[int, int], align_corners: bool = False) -> Tensor:
        """The sampling grid of `params`, for `keras_stn.ops.grid_sample`.

        Args:
            params: (batch, num_params), floating point.
            output_size: (height, width) of the target.
            align_corners: Whether -1 and 1 are the centres of the corner pixels (True) or their edges.

        Returns:
            (batch, height, width, 2), normalised (x, y) of the source, in the dtype of `params` but at
            least float32.
        """
        params = self._params_of_coordinates(params)
        height, width = output_size = _output_size(output_size)
        base = grids.base_grid(output_size, align_corners, params.dtype)
        points = self.transform_points(params, tf.reshape(base, (1, height * width, 2)))
        return tf.reshape(points, (-1, height, width, 2))

    def pixels(
        self,
        params: Tensor,
        source_size: tuple[int, int],
        output_size: tuple[int, int],
        align_corners: bool = False,
    ) -> Tensor:
        """The sampling grid in source pixels: x and y, stacked as (2, batch, height, width).

        What `keras_stn.Warp` reads images at. The pixels of `grid`, unless a family knows a way with
        fewer roundings. Where x depends on the column alone and y on the row, it may be the tuple of
        x (batch, 1, width) and y (batch, height, 1), and of an affine map a `keras_stn.grids.Sum`, from
        which x and y can be unpacked as well: that is less to compute, and to keep.
        """
        grid = self.grid(params, output_size, align_corners)
        return grids.to_pixels(grid, source_size, align_corners)

    def get_config(self) -> dict:
        return {}

    def _checked_params(self, params: Tensor, argument: str = "params") -> Tensor:
        params = tf.convert_to_tensor(params)
        _checks.params(argument, params, self.num_params)
        return params

    def _params_of_coordinates(self, params: Tensor) -> Tensor:
        """`params` in the dtype of coordinates."""
        params = self._checked_params(params)
        return tf.cast(params, grids.coordinate_dtype(params.dtype))

    @classmethod
    def from_config(cls, config: dict) -> "Transform":
        return cls(**config)


class MatrixTransform(Transform):
    """A family of affine maps, each given by a 2x3 matrix theta: source = theta @ (x, y, 1).

    A subclass states `num_params` and `identity_params` and writes `theta`. With `from_theta`, the way
    back, it also has `compose` and `inverse`; the family must be closed under them.

    Attributes:
        axis_aligned: Whether theta is diagonal but for its last column, for all params: the map moves
            and scales each axis by itself. Sampling is then cheaper.

    Example:
        >>> import keras, keras_stn, tensorflow as tf
        >>> @keras.saving.register_keras_serializable(package="my_project")
        ... class Scroll(keras_stn.transforms.MatrixTransform):
        ...     '''Moves along x alone.'''
        ...
        ...     num_params = 1
        ...     identity_params = (0.0,)
        ...
        ...     def theta(self, params):
        ...         one, zero = tf.ones_like(params), tf.zeros_like(params)
        ...         rows = tf.concat([one, zero, params, zero, one, zero], axis=1)
        ...         return tf.reshape(rows, (-1, 2, 3))
        >>> keras_stn.Warp(Scroll()).transform.num_params
        1

    Reference:
        Eq. (1) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    axis_aligned = False

    def theta(self, params: Tensor) -> Tensor:
        """The matrices (batch, 2, 3) of params (batch, num_params)."""
        raise TypeError(f"{type(self).__name__} must define theta(params).")

    def from_theta(self, theta: Tensor) -> Tensor:
        """The params (batch, num_params) of matrices (batch, 2, 3) that belong to the family."""
        raise TypeError(
            f"{type(self).__name__} must define from_theta(theta) to have compose and inverse."
        )

    def transform_points(self, params, points):
        a, b, c, d, e, f = matrix_entries(self._checked_theta(params))  # (batch, 1) each
        points = tf.convert_to_tensor(points, a.dtype)
        _checks.shape("points", points, (None, None, 2), "(batch, n, 2)")
        x, y = (tf.squeeze(axis, -1) for axis in tf.split(points, 2, axis=-1))  # (batch, n)
        return tf.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)

    def compose(self, outer, inner):
        a, b, c, d, e, f = matrix_entries(self._checked_theta(outer, "outer"))
        k, m, n, p, q, r = matrix_entries(self._checked_theta(inner, "inner"))
        x_row = a * k + b * p, a * m + b * q, a * n + b * r + c
        y_row = d * k + e * p, d * m + e * q, d * n + e * r + f
        return self.from_theta(matrix(*x_row, *y_row))

    def inverse(self, params):
        # In closed form: tf.linalg.inv has no TFLite kernel.
        a, b, c, d, e, f = matrix_entries(self._checked_theta(params))
        det = a * e - b * d
        rows = (e, -b, b * f - e * c, -d, a, d * c - a * f)
        return self.from_theta(matrix(*(entry / det for entry in rows)))

    def grid(self, params, output_size, align_corners=False):
        theta = self._checked_theta(self._params_of_coordinates(params))
        return grids.affine_grid(theta, _output_size(output_size), align_corners)

    def pixels(self, params, source_size, output_size, align_corners=False):
        theta = self._checked_theta(params)
        pixels = grids.axis_aligned_pixels if self.axis_aligned else grids.affine_pixels
        return pixels(theta, source_size, output_size, align_corners)

    def _checked_theta(self, params, argument="params"):
        theta = tf.convert_to_tensor(self.theta(self._checked_params(params, argument)))
        _checks.shape(f"{type(self).__name__}.theta(params)", theta, (None, 2, 3), "(batch, 2, 3)")
        return theta


def _output_size(size: Any) -> tuple[Any, Any]:
    """`size` if it is (height, width): integers, or scalar tensors inside of graphs."""
    if isinstance(size, (list, tuple)) and len(size) == 2 and any(map(tf.is_tensor, size)):
        return size[0], size[1]
    return _checks.size("output_size", size)


def matrix(*entries: Tensor) -> Tensor:
    """theta (batch, 2, 3) from its six entries, row by row, each (batch, 1)."""
    return tf.reshape(tf.concat(entries, axis=1), (-1, 2, 3))


def matrix_entries(theta: Tensor) -> list[Tensor]:
    """The six entries of theta (batch, 2, 3), row by row, each (batch, 1)."""
    return tf.split(tf.reshape(theta, (-1, 6)), 6, axis=1)


class ScaledAxes(MatrixTransform):
    """Base of the families that turn the picture: holds the `aspect_ratio` that keeps turns rigid.

    Normalised coordinates run from -1 to 1 along both axes, so on a picture that is not square a
    rotation matrix turns circles into ellipses. Stretching x by `aspect_ratio` = width / height
    before the turn and back after it makes the turn rigid in pixels.
    """

    def __init__(self, aspect_ratio: float = 1.0):
        self.aspect_ratio = _checks.positive("aspect_ratio", aspect_ratio)

    def turn(self, angle: Tensor, scale: Tensor | float, x: Tensor, y: Tensor) -> Tensor:
        """theta of a turn by `angle`, a scale, and a shift to (x, y)."""
        cos, sin = (scale * part for part in cos_sin(angle))
        return matrix(cos, -sin / self.aspect_ratio, x, sin * self.aspect_ratio, cos, y)

    def get_config(self):
        return {"aspect_ratio": self.aspect_ratio}


# sin(r) = r + r^3 (c0 + c1 r^2 + ...) on [-pi/2, pi/2]: the polynomial of this length whose largest
# error is smallest, 5e-9. In float32 all is within 1.2e-7.
_SINE = (-0.16666657096472237, 0.00833301729089424, -0.0001980661515893449, 2.6000546830315807e-06)

# pi as a sum, the first part short enough for whole multiples of it to be exact.
_PI = (3.140625, np.pi - 3.140625)


def cos_sin(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of `angle` (batch, 1), in radians, with the same bits on every machine.

    Each runtime has a sine of its own, and they differ: in the last bits on CPUs, which moves a point of
    a 64 pixel image by 8e-6 pixels, and by 2^-11 on GPUs (Vulkan asks no more), which is 0.03 pixels.
    Products and sums are the same everywhere. Within 1.2e-7 up to 1e3 radians and 2.5e-5 up to 1e5;
    beyond, where float32 no longer tells angles apart, still a number in [-1, 1].
    """
    if angle.dtype == tf.float64:
        return tf.cos(angle), tf.sin(angle)
    # cos(angle) = sin(angle + pi / 2), so both are the one sine of angle - k pi, up to its sign.
    quarter = tf.constant([0.5, 0.0], angle.dtype)
    half_turns = tf.floor(angle * (1 / np.pi) + (quarter + 0.5))  # (batch, 2)
    k = half_turns - quarter
    rest = tf.clip_by_value((angle - k * _PI[0]) - grids.rounded(k * _PI[1]), -np.pi / 2, np.pi / 2)
    odd = half_turns - 2 * tf.floor(half_turns / 2)
    rest *= 1 - 2 * odd
    square = rest * rest
    *others, series = _SINE
    for coefficient in reversed(others):
        series = grids.rounded(series * square) + coefficient
    cos, sin = tf.split(rest + grids.rounded(rest * square * series), 2, axis=1)
    return cos, sin


def register(cls: type) -> type:
    """Register a family of this package with Keras, so that saved models find it."""
    return keras.saving.register_keras_serializable(package="keras_stn")(cls)
