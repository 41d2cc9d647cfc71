"""The sampler and the grid generator as functions: `grid_sample` and `affine_grid`.

Both take tensors, arrays or the symbolic tensors of a Functional model.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids, sampler

__all__ = ["affine_grid", "grid_sample"]

Tensor = Any


def grid_sample(
    images: Tensor,
    grid: Tensor,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float | Sequence[float] = 0.0,
    align_corners: bool = False,
) -> Tensor:
    """Read images at the points of a sampling grid.

    The sampler of a spatial transformer, as a function: differentiable with respect to the images and,
    except for `interpolation="nearest"`, to the grid. It runs eagerly, in `tf.function` and under XLA,
    on CPU and GPU. `keras_stn.Warp` does the same as a layer, from the parameters of a transform.

    Convention:
        A grid point is (x, y) in normalised coordinates: -1 and 1 are the outer edges of the corner
        pixels, or their centres with `align_corners=True`. A point that is NaN or infinite lies outside
        the image; its gradient is zero and no other point is touched by it. The gradient with respect
        to the grid is, at the centre of a pixel, the derivative from the right.

    Args:
        images: The images, in any range of values.
        grid: The sampling points, floating point. They may lie outside the image.
        interpolation: `"nearest"` (ties to even; no gradient to the grid), `"bilinear"`, or `"bicubic"`
            (cubic convolution with a = -0.75).
        fill_mode: What stands outside the image `a b c d`:

            - `"constant"`: `fill_value`. A pixel beside the border blends with it.
            - `"nearest"`: `a a a a | a b c d | d d d d`
            - `"reflect"`: `d c b a | a b c d | d c b a`
            - `"mirror"`: `d c b | a b c d | c b a`
            - `"wrap"`: `a b c d | a b c d | a b c d`
        fill_value: A number, or one for each channel, that `images` can hold. Only used by
            `fill_mode="constant"`.
        align_corners: Which points of the corner pixels -1 and 1 are; the same value as the grid was
            made with.

    Input shape:
        `images` (batch, H, W, channels), `grid` (batch, h, w, 2); any size from 1 up, static or not. A
        batch of 1 goes with any other, and no image is copied: one image at many poses, one grid for
        many images. In a graph it must be known to be 1.

    Output shape:
        (batch, h, w, channels), in the dtype of `images`. Weights and sums are float32 for images in
        half precision. Integer images, such as label maps, are taken with `interpolation="nearest"`.

    Raises:
        ValueError: if an argument is none of the above, a shape does not fit, or integer images are to
            be interpolated.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
        >>> between = np.array([[[[-1 / 3, 0.0], [1 / 3, 0.0]]]], "float32")  # halfway, in x and y
        >>> keras_stn.ops.grid_sample(image, between).numpy().ravel().round(4).tolist()
        [2.0, 3.0]

    Reference:
        Eq. (3) and (5) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025). The
        same function as PyTorch's `grid_sample` and ONNX' GridSample, on channels_last images.
    """
    operation = GridSample(interpolation, fill_mode, fill_value, align_corners)
    return _call(operation, images=images, grid=grid)


def affine_grid(theta: Tensor, output_size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Make the sampling grid of an affine map.

    Convention:
        `theta` maps target to source: each target pixel (x, y), in normalised coordinates, is read at
        `theta @ (x, y, 1)`. So a theta that scales by 2 makes the picture half as large. `align_corners`
        says what -1 and 1 are, as in `grid_sample`.

    Args:
        theta: The maps, floating point.
        output_size: (height, width) of the target, two positive integers.
        align_corners: Whether -1 and 1 are the centres of the corner pixels (True) or their outer edges.

    Input shape:
        (batch, 2, 3)

    Output shape:
        (batch, height, width, 2): (x, y) for each target pixel, in the dtype of `theta` but at least
        float32.

    Raises:
        ValueError: if `theta` has another shape or dtype, or `output_size` is not two positive integers.

    Example:
        >>> import numpy as np, keras_stn
        >>> identity = np.array([[[1, 0, 0], [0, 1, 0]]], "float32")
        >>> keras_stn.ops.affine_grid(identity, (1, 4)).numpy()[0, 0].tolist()
        [[-0.75, 0.0], [-0.25, 0.0], [0.25, 0.0], [0.75, 0.0]]

    Reference:
        Eq. (1) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """
    return _call(AffineGrid(output_size, align_corners), theta=theta)


def _call(operation: keras.Operation, **arguments: Tensor) -> Tensor:
    tensors = [_checks.tensor(*argument) for argument in arguments.items()]
    symbolic = any(isinstance(tensor, keras.KerasTensor) for tensor in tensors)
    return (operation.symbolic_call if symbolic else operation.call)(*tensors)


# The operations behind the functions, so that a Functional model can hold and save them.


@keras.saving.register_keras_serializable(package="keras_stn")
class GridSample(keras.Operation):
    """The operation of `grid_sample`."""

    def __init__(self, interpolation, fill_mode, fill_value, align_corners, *, name=None):
        super().__init__(name=name)
        self.interpolation = _checks.interpolation(interpolation)
        self.fill_mode = _checks.fill_mode(fill_mode)
        self.fill_value = _checks.fill_value(fill_value)
        self.align_corners = _checks.boolean("align_corners", align_corners)

    def call(self, images, grid):
        shape = self._output_shape(images, grid)
        grid = tf.cast(grid, grids.coordinate_dtype(images.dtype))
        sampling = sampler.Sampling(self.interpolation, self.fill_mode, self.fill_value)
        size = grids.image_size(images)
        with sampler.compiled(images, shape):
            axes = [tf.squeeze(axis, -1) for axis in tf.split(grid, len(size), axis=-1)]
            points = grids.to_pixels(axes, size, self.align_corners)
            return sampler.read(images, points, sampling)

    def compute_output_spec(self, images, grid):
        return keras.KerasTensor(self._output_shape(images, grid), dtype=images.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "align_corners": self.align_corners,
        }

    def _output_shape(self, images, grid):
        """The shape of the output; raises if the arguments do not fit."""
        of_grid = "(batch of images, h, w, 2)"
        _checks.known_rank("images", images, "(batch, H, W, channels)")
        _checks.known_rank("grid", grid, of_grid)
        _checks.shape("images", images, (None,) * 4, "(batch, H, W, channels)")
        _checks.shape("grid", grid, (None, None, None, 2), of_grid)
        batch = _checks.batch("grid", grid, of_grid, "images", images)
        _checks.interpolated(images.dtype, self.interpolation)
        _checks.floating("grid", grid.dtype)
        dtype = keras.backend.standardize_dtype(images.dtype)
        _checks.fill_value_fits(self.fill_value, images.shape[3], dtype)
        return batch, *grid.shape[1:3], images.shape[3]


@keras.saving.register_keras_serializable(package="keras_stn")
class AffineGrid(keras.Operation):
    """The operation of `affine_grid`."""

    def __init__(self, output_size, align_corners, *, name=None):
        super().__init__(name=name)
        self.output_size = _checks.size("output_size", output_size)
        self.align_corners = _checks.boolean("align_corners", align_corners)

    def call(self, theta):
        self._check(theta)
        theta = tf.cast(theta, grids.coordinate_dtype(theta.dtype))
        axes = grids.target_axes(self.output_size, self.align_corners, theta.dtype)
        rows = grids.rows(theta)
        return tf.stack([grids.combination(slopes, axes, offset) for *slopes, offset in rows], axis=-1)

    def compute_output_spec(self, theta):
        self._check(theta)
        dtype = grids.coordinate_dtype(theta.dtype).name
        return keras.KerasTensor((theta.shape[0], *self.output_size, 2), dtype=dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "align_corners": self.align_corners,
        }

    def _check(self, theta):
        _checks.shape("theta", theta, (None, 2, 3), "(batch, 2, 3)")
        _checks.floating("theta", theta.dtype)
