"""Families of affine maps, each given by a matrix."""

import abc
import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids, pixel_matrices
from keras_stn.transforms import boxes as boxes_of
from keras_stn.transforms.base import Transform
from keras_stn.transforms.matrices import check_last_row, inverse_matrix, product

Tensor = Any


class MatrixTransform(Transform):
    """A family of affine maps, each given by a 2x3 matrix theta: source = theta @ (x, y, 1).

    With `ndim = 3` it is one of volumes, and theta is 3x4: source = theta @ (x, y, z, 1).

    A subclass states `num_params` and `identity_params` and writes `theta`. With `from_theta`, the way
    back, it also has `compose` and `inverse`: the family must be closed under them.

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
    straight = True

    @property
    def theta_shape(self) -> tuple[int, int]:
        return self.ndim, self.ndim + 1

    @abc.abstractmethod
    def theta(self, params: Tensor) -> Tensor:
        """The matrices (batch, 2, 3), or (batch, 3, 4), of params (batch, num_params)."""
        raise _checks.missing(f"{type(self).__name__} must define theta(params).")

    @abc.abstractmethod
    def from_theta(self, theta: Tensor) -> Tensor:
        """The params (batch, num_params) of matrices, as `theta` makes them, of the family."""
        raise _checks.missing(
            f"{type(self).__name__} must define from_theta(theta) to have compose and inverse."
        )

    def map(self, params, *axes):
        return tuple(grids.matrix_map(self._checked_theta(params), axes))

    def points(self, params, source_size, output_size, align_corners=False):
        theta, sizes = self._checked_theta(params), (source_size, output_size)
        return grids.matrix_points(theta, *sizes, align_corners, self.axis_aligned)

    def compose(self, outer, inner):
        theta = product(self._checked_theta(outer), self._checked_theta(inner), self.ndim)
        return self.from_theta(theta)

    def check_compose(self):
        made_of_theta = type(self).compose is MatrixTransform.compose
        if made_of_theta and getattr(type(self).from_theta, "__isabstractmethod__", False):
            self.from_theta(None)  # raises
        super().check_compose()

    def check_inverse(self):
        made_of_theta = type(self).inverse is MatrixTransform.inverse
        if made_of_theta and getattr(type(self).from_theta, "__isabstractmethod__", False):
            self.from_theta(None)  # raises

    def inverse(self, params):
        return self.from_theta(inverse_matrix(self._checked_theta(params), self.ndim))

    def tiles(self, count):
        """As square a table of tiles as `count` allows, row by row, each of them as a map of the family.

        Those of a volume are as deep as it is. Without `from_theta` all are the identity. A family whose
        scale is one for all axes takes that of the width, which is the smallest.
        """
        rows = math.isqrt(count)
        thetas = []
        for row in range(rows):
            columns = count // rows + (row < count % rows)
            for column in range(columns):
                x, y = (2 * column + 1) / columns - 1, (2 * row + 1) / rows - 1
                ends = [(1 / columns, x), (1 / rows, y), (1.0, 0.0)][: self.ndim]
                scales, places = zip(*ends, strict=True)
                thetas.append(np.column_stack([np.diag(scales), places]))
        try:
            params = np.asarray(self.from_theta(np.array(thetas)))
        except NotImplementedError:
            return super().tiles(count)
        return [tuple(map(float, tile)) for tile in params]

    def from_pixel_matrix(
        self,
        matrix: Tensor,
        source_size: tuple[int, ...],
        output_size: tuple[int, ...] | None = None,
        align_corners: bool = False,
        target_to_source: bool = False,
    ) -> Tensor:
        """The params of an affine matrix in pixels, such as `cv2.getRotationMatrix2D` makes.

        `keras_stn.Warp` then shows what `cv2.warpAffine` shows, on pictures of any height and width.

        Convention:
            Pixels (x, y) are counted from the centre of the first one, as OpenCV does.

        Args:
            matrix: (2, 3) or (3, 3), of a volume (3, 4) or (4, 4), or a batch of these, floating point.
                The params are in its dtype.
            source_size: (height, width) of the images, or (depth, height, width) of volumes.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer that takes the params.
            target_to_source: Whether the matrix maps the output to the images, which OpenCV calls
                `WARP_INVERSE_MAP`. By default it maps the images to the output.

        Returns:
            (batch, num_params); a batch of 1 for a single matrix.

        Raises:
            ValueError: if the family does not hold the matrix, or the last row is not (0, 0, 1): both
                are seen outside of graphs only. A family that turns needs an `aspect_ratio` of width /
                height, and with `align_corners=True` of (width - 1) / (height - 1).

        Example:
            >>> import numpy as np, keras_stn
            >>> to_the_right = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]])  # by 10 pixels of 40
            >>> family = keras_stn.transforms.Translation()
            >>> family.from_pixel_matrix(to_the_right, (30, 40)).numpy().tolist()
            [[-0.5, 0.0]]
        """
        check_last_row(matrix)
        matrix = tf.reshape(matrix[..., : self.ndim, :], (-1, self.ndim, self.ndim + 1))
        if not target_to_source:
            matrix = inverse_matrix(matrix, self.ndim)
        sizes = source_size, source_size if output_size is None else output_size
        theta = pixel_matrices.theta_of_pixels(matrix, *sizes, align_corners)
        params = self.from_theta(theta)
        self._check_belongs(theta, params)
        return params

    def pixel_matrix(
        self,
        params: Tensor,
        source_size: tuple[int, ...],
        output_size: tuple[int, ...] | None = None,
        align_corners: bool = False,
        target_to_source: bool = False,
    ) -> Tensor:
        """The matrices in pixels, as `cv2.warpAffine` takes them: `from_pixel_matrix` undone.

        Args:
            params: (batch, num_params), floating point.
            source_size: (height, width) of the images.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer that takes the params.
            target_to_source: Whether the matrices map the output to the images. By default they map the
                images to the output.

        Returns:
            (batch, 2, 3), or (batch, 3, 4), in the dtype of `params`.
        """
        theta = self._checked_theta(params)
        sizes = source_size, source_size if output_size is None else output_size
        matrix = pixel_matrices.pixels_of_theta(theta, *sizes, align_corners)
        return matrix if target_to_source else inverse_matrix(matrix, self.ndim)

    def from_boxes(
        self, boxes, bounding_box_format, source_size=None, output_size=None, align_corners=False
    ):
        """The params that show boxes of the source, each from edge to edge of the output.

        For crops of what a detector finds. A family that scales both axes alike shows the box with what
        is beside it, all of it: its window has the shape of the picture, around the middle of the box.
        `Translation` moves the middle of the box to that of the output.

        Args:
            boxes: (batch, 4), or (batch, n, 4) for n crops of each image; whole numbers or floating
                point.
            bounding_box_format: One of Keras', as in `transform_boxes`.
            source_size: (height, width) of the images. Formats with `"rel_"` need no sizes, but with
                `align_corners=True`.
            output_size: (height, width) of the output, which counts with `align_corners=True` alone; the
                size of the images by default.
            align_corners: That of the layer that takes the params.

        Returns:
            (batch, num_params), or (batch, n, num_params); float32 at least.

        Raises:
            ValueError: if the family holds no such map; this is seen outside of graphs only.

        Example:
            >>> import numpy as np, keras_stn
            >>> box = np.array([[10, 0, 30, 15]])  # of a picture 30 pixels high and 40 wide
            >>> keras_stn.transforms.Affine().from_boxes(box, "xyxy", (30, 40)).numpy().tolist()
            [[0.5, 0.0, 0.0, 0.0, 0.5, -0.5]]
        """
        boxes_of.check(boxes, 4)
        sizes = boxes_of.sizes(bounding_box_format, source_size, output_size, align_corners)
        flat = boxes_of.flat(boxes)
        edges = boxes_of.to_edges(flat, bounding_box_format, sizes[0])
        theta = boxes_of.theta_of_edges(edges, *sizes, align_corners)
        return boxes_of.in_lead_of(boxes, self._showing(theta))

    def from_rotated_boxes(self, boxes, source_size, output_size=None, align_corners=False):
        """The params that show rotated boxes of the source upright, from edge to edge of the output.

        `Affine` does so exactly. `Similarity` shows the box with what is beside it, all of it, and needs
        an `aspect_ratio` as in `from_pixel_matrix`.

        Args:
            boxes: (batch, 5), or (batch, n, 5) for n crops of each image, as in
                `transform_rotated_boxes`.
            source_size: (height, width) of the images.
            output_size: (height, width) of the output, which counts with `align_corners=True` alone; the
                size of the images by default.
            align_corners: That of the layer that takes the params.

        Returns:
            (batch, num_params), or (batch, n, num_params); float32 at least.

        Raises:
            ValueError: if the family holds no such map; this is seen outside of graphs only.

        Example:
            >>> import numpy as np, keras_stn
            >>> box = np.array([[20, 15, 10, 5, np.pi / 2]])
            >>> theta = keras_stn.transforms.Affine().from_rotated_boxes(box, (30, 40))
            >>> theta.numpy().round(4).tolist()
            [[0.0, -0.125, 0.0, 0.3333, 0.0, 0.0]]
        """
        boxes_of.check(boxes, 5)
        flat, sizes = boxes_of.flat(boxes), (source_size, output_size or source_size)
        theta = boxes_of.theta_of_rotated(flat, *sizes, align_corners)
        return boxes_of.in_lead_of(boxes, self._showing(theta))

    def covering(self, theta: Tensor) -> Tensor:
        """The matrices of the family's maps that show all that `theta` shows, and least beside it.

        For families that do not hold every crop; by default these are the very matrices.
        """
        return theta

    def _showing(self, theta):
        """The params of the maps that show what `theta` shows, and perhaps more."""
        params = self.from_theta(self.covering(theta))
        if tf.executing_eagerly():
            boxes_of.check_shows(repr(self), np.asarray(theta), np.asarray(self.theta(params)))
        return params

    def _check_belongs(self, theta, params):
        if not tf.executing_eagerly():
            return
        theta, nearest = np.asarray(theta), np.asarray(self.theta(params))
        # Sines and roundings are off by a few eps.
        tolerance = 100 * np.finfo(theta.dtype).eps * np.maximum(np.max(np.abs(theta), initial=0), 1)
        if np.any(np.abs(theta - nearest) > tolerance):
            raise _checks.error(
                f"matrix must be a map of {self}; keras_stn.transforms.Affine takes any. "
                f"Received: theta={theta.tolist()}, which is no {nearest.tolist()}."
            )

    def _checked_theta(self, params):
        theta = tf.convert_to_tensor(self.theta(params))
        rows, columns = self.ndim, self.ndim + 1
        names = f"(batch, {rows}, {columns})"
        _checks.shape(f"{type(self).__name__}.theta(params)", theta, (None, rows, columns), names)
        return theta
