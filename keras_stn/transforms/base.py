"""What a transform family is: the base classes, one general and one for matrices."""

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.matrices import check_last_row, inverse_matrix, matrix, matrix_entries
from keras_stn.transforms.operations import as_operations

Tensor = Any


@as_operations
class Transform:
    """A family of maps from target points to source points, steered by a few parameters.

    Subclass it for a family of your own: state `num_params` and `identity_params`, and write
    `transform_points`. A family of affine maps is shorter as a `MatrixTransform`. Register the class, so
    that models which use it can be saved; a family with arguments also has `get_config`, as in Keras.

    All methods but `pixels` take the symbolic tensors of a Functional model as well, and those that you
    write do, too: the call becomes one operation of the model, saved and exported with it. Arguments are
    checked before your method is called, and are tensors or NumPy arrays then.

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
        ...         radius2 = keras.ops.sum(keras.ops.square(points), axis=-1, keepdims=True)
        ...         return points * (1 + keras.ops.expand_dims(params, 1) * radius2)
        >>> layer = keras_stn.SpatialTransformer(transform=Bulge())
    """

    num_params: int
    identity_params: tuple[float, ...]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        as_operations(cls)

    @abc.abstractmethod
    def transform_points(self, params: Tensor, points: Tensor) -> Tensor:
        """Map target points to source points.

        Args:
            params: (batch, num_params); a batch of 1 maps all points.
            points: (batch, n, 2), normalised (x, y); cast to the dtype of `params`. A batch of 1 serves
                every map.

        Returns:
            (batch, n, 2), in the dtype of `params`.
        """
        raise _checks.missing(f"{type(self).__name__} must define transform_points(params, points).")

    @abc.abstractmethod
    def compose(self, outer: Tensor, inner: Tensor) -> Tensor:
        """The params of `inner` followed by `outer`: p -> outer(inner(p)).

        All (batch, num_params); a batch of 1 goes with every map.
        """
        raise _checks.missing(f"{type(self).__name__} does not define the composition of two maps.")

    @abc.abstractmethod
    def inverse(self, params: Tensor) -> Tensor:
        """The params of the inverse map. Both (batch, num_params)."""
        raise _checks.missing(f"{type(self).__name__} does not define the inverse of a map.")

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
        params = tf.cast(params, grids.coordinate_dtype(params.dtype))
        height, width = output_size
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

    @abc.abstractmethod
    def theta(self, params: Tensor) -> Tensor:
        """The matrices (batch, 2, 3) of params (batch, num_params)."""
        raise _checks.missing(f"{type(self).__name__} must define theta(params).")

    @abc.abstractmethod
    def from_theta(self, theta: Tensor) -> Tensor:
        """The params (batch, num_params) of matrices (batch, 2, 3) that belong to the family."""
        raise _checks.missing(
            f"{type(self).__name__} must define from_theta(theta) to have compose and inverse."
        )

    def transform_points(self, params, points):
        a, b, c, d, e, f = matrix_entries(self._checked_theta(params))  # (batch, 1) each
        x, y = (tf.squeeze(axis, -1) for axis in tf.split(points, 2, axis=-1))  # (batch, n)
        return tf.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)

    def compose(self, outer, inner):
        a, b, c, d, e, f = matrix_entries(self._checked_theta(outer))
        k, m, n, p, q, r = matrix_entries(self._checked_theta(inner))
        x_row = a * k + b * p, a * m + b * q, a * n + b * r + c
        y_row = d * k + e * p, d * m + e * q, d * n + e * r + f
        return self.from_theta(matrix(*x_row, *y_row))

    def inverse(self, params):
        return self.from_theta(inverse_matrix(self._checked_theta(params)))

    def grid(self, params, output_size, align_corners=False):
        theta = self._checked_theta(tf.cast(params, grids.coordinate_dtype(params.dtype)))
        return grids.affine_grid(theta, output_size, align_corners)

    def pixels(self, params, source_size, output_size, align_corners=False):
        theta = self._checked_theta(params)
        pixels = grids.axis_aligned_pixels if self.axis_aligned else grids.affine_pixels
        return pixels(theta, source_size, output_size, align_corners)

    def from_pixel_matrix(
        self,
        matrix: Tensor,
        source_size: tuple[int, int],
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
        target_to_source: bool = False,
    ) -> Tensor:
        """The params of an affine matrix in pixels, such as `cv2.getRotationMatrix2D` makes.

        `keras_stn.Warp` then shows what `cv2.warpAffine` shows, on pictures of any height and width.

        Convention:
            Pixels (x, y) are counted from the centre of the first one, as OpenCV does.

        Args:
            matrix: (2, 3) or (3, 3), or a batch of these, floating point. The params are in its dtype.
            source_size: (height, width) of the images.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer that takes the params.
            target_to_source: Whether the matrix maps the output to the images, which OpenCV calls
                `WARP_INVERSE_MAP`. By default it maps the images to the output.

        Returns:
            (batch, num_params); a batch of 1 for a single matrix.

        Raises:
            ValueError: if the matrix is not of the family: the theta of the params is another one. This
                and a last row other than (0, 0, 1) are seen outside of graphs only. A family that turns
                needs an `aspect_ratio` of width / height, with `align_corners=True` of
                (width - 1) / (height - 1).

        Example:
            >>> import numpy as np, keras_stn
            >>> to_the_right = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]])  # by 10 pixels of 40
            >>> family = keras_stn.transforms.Translation()
            >>> family.from_pixel_matrix(to_the_right, (30, 40)).numpy().tolist()
            [[-0.5, 0.0]]
        """
        check_last_row(matrix)
        matrix = tf.reshape(matrix[..., :2, :], (-1, 2, 3))
        if not target_to_source:
            matrix = inverse_matrix(matrix)
        sizes = source_size, _size_or(source_size, output_size)
        theta = grids.theta_of_pixels(matrix, *sizes, align_corners)
        params = self.from_theta(theta)
        self._check_belongs(theta, params)
        return params

    def pixel_matrix(
        self,
        params: Tensor,
        source_size: tuple[int, int],
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
        target_to_source: bool = False,
    ) -> Tensor:
        """The matrices in pixels, as `cv2.warpAffine` takes them: `from_pixel_matrix` undone.

        Args:
            params: (batch, num_params), floating point.
            source_size: As in `from_pixel_matrix`, and so the others.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer.
            target_to_source: Whether to map the output to the images.

        Returns:
            (batch, 2, 3), in the dtype of `params`.
        """
        theta = self._checked_theta(params)
        sizes = source_size, _size_or(source_size, output_size)
        matrix = grids.pixels_of_theta(theta, *sizes, align_corners)
        return matrix if target_to_source else inverse_matrix(matrix)

    def _check_belongs(self, theta, params):
        if not tf.executing_eagerly():
            return
        theta, nearest = np.asarray(theta), np.asarray(self.theta(params))
        # Sines and roundings are off by a few eps.
        tolerance = 100 * np.finfo(theta.dtype).eps * np.maximum(np.max(np.abs(theta), initial=0), 1)
        if np.any(np.abs(theta - nearest) > tolerance):
            arguments = "".join(f" with {name}={value}" for name, value in self.get_config().items())
            raise _checks.error(
                f"matrix must be a map of {type(self).__name__}{arguments}; "
                "keras_stn.transforms.Affine takes any. "
                f"Received: theta={theta.tolist()}, which is no {nearest.tolist()}."
            )

    def _checked_theta(self, params):
        theta = tf.convert_to_tensor(self.theta(params))
        _checks.shape(f"{type(self).__name__}.theta(params)", theta, (None, 2, 3), "(batch, 2, 3)")
        return theta


def _size_or(default: tuple[int, int], output_size: Any) -> tuple[int, int]:
    return default if output_size is None else _checks.size("output_size", output_size)


class ScaledAxes(MatrixTransform):
    """Base of the families that turn the picture: holds the `aspect_ratio` that keeps turns rigid.

    Normalised coordinates run from -1 to 1 along both axes, so on a picture that is not square a
    rotation matrix turns circles into ellipses. Stretching x by `aspect_ratio` = width / height
    before the turn and back after it makes the turn rigid in pixels.
    """

    def __init__(self, aspect_ratio: float = 1.0):
        self.aspect_ratio = _checks.positive("aspect_ratio", aspect_ratio)

    def turn(self, angle: Tensor, scale: Tensor | float, x: Tensor, y: Tensor) -> Tensor:
        """theta of a turn by `angle`, a scale, and a shift to (x, y). Graphs do not divide."""
        cos, sin = (scale * part for part in cos_sin(angle))
        return matrix(cos, -sin * (1 / self.aspect_ratio), x, sin * self.aspect_ratio, cos, y)

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
