"""`affine_grid`, and its operation."""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids

Tensor = Any


def affine_grid(theta: Tensor, output_size: tuple[int, ...], align_corners: bool = False) -> Tensor:
    """Make the sampling grid of an affine map, of images or of volumes.

    Convention:
        `theta` maps target to source: each target pixel (x, y), in normalised coordinates, is read at
        `theta @ (x, y, 1)`. A theta that scales by 2 makes the picture half as large. `align_corners`
        says what -1 and 1 are, as in `grid_sample`. A voxel is (x, y, z), and z goes along the depth.

    Args:
        theta: The maps, floating point.
        output_size: (height, width) of the target, or (depth, height, width): positive integers.
        align_corners: Whether -1 and 1 are the centres of the corner pixels (True) or their outer edges.

    Input shape:
        (batch, 2, 3), or (batch, 3, 4) for volumes

    Output shape:
        (batch, height, width, 2): (x, y) for each target pixel, or (batch, depth, height, width, 3):
        (x, y, z) for each voxel; in the dtype of `theta` but at least float32.

    Raises:
        ValueError: if `theta` has another shape or dtype, or `output_size` is neither two nor three
            positive integers.

    Example:
        >>> import numpy as np, keras_stn
        >>> identity = np.array([[[1, 0, 0], [0, 1, 0]]], "float32")
        >>> keras_stn.ops.affine_grid(identity, (1, 4)).numpy()[0, 0].tolist()
        [[-0.75, 0.0], [-0.25, 0.0], [0.25, 0.0], [0.75, 0.0]]

    Reference:
        Eq. (1) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """
    operation = AffineGrid(output_size, align_corners)
    theta = _checks.tensor("theta", theta)
    symbolic = isinstance(theta, keras.KerasTensor)
    return operation.symbolic_call(theta) if symbolic else operation.call(theta)


@keras.saving.register_keras_serializable(package="keras_stn")
class AffineGrid(keras.Operation):
    """The operation of `affine_grid`."""

    def __init__(self, output_size, align_corners, *, name=None):
        super().__init__(name=name)
        self.output_size = _checks.size("output_size", output_size, 2, 3)
        self.align_corners = _checks.boolean("align_corners", align_corners)

    @property
    def _ndim(self) -> int:
        return len(self.output_size)

    def call(self, theta):
        self._check(theta)
        theta = tf.cast(theta, grids.coordinate_dtype(theta.dtype))
        return grids.matrix_grid(theta, self.output_size, self.align_corners)

    def compute_output_spec(self, theta):
        self._check(theta)
        dtype = grids.coordinate_dtype(theta.dtype).name
        return keras.KerasTensor((theta.shape[0], *self.output_size, self._ndim), dtype=dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "align_corners": self.align_corners,
        }

    def _check(self, theta):
        rows, columns = self._ndim, self._ndim + 1
        names = f"(batch, {rows}, {columns}) for an output_size of {rows} sizes"
        _checks.known_rank("theta", theta, names)
        _checks.shape("theta", theta, (None, rows, columns), names)
        _checks.floating("theta", theta.dtype)
