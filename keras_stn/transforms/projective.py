"""Projective: the eight free entries of a homography."""

import numpy as np
import tensorflow as tf

from keras_stn import grids, pixel_matrices
from keras_stn.transforms import homographies
from keras_stn.transforms.affine import Affine
from keras_stn.transforms.base import Transform, register
from keras_stn.transforms.homographies import NEAR, choose, normalised

CORNERS = (((-1, -1), (1, -1), (1, 1), (-1, 1)),)  # of the output, clockwise


@register
class Projective(Transform):
    """Any view of a plane, 8 params (h00, h01, h02, h10, h11, h12, h20, h21).

    source = ((h00 x + h01 y + h02) / w, (h10 x + h11 y + h12) / w), w = h20 x + h21 y + 1: straight
    lines stay straight, parallels need not. Straightens a photographed document; shears, turns and
    shifts as `Affine` does where h20 = h21 = 0.

    A point with w <= 1e-6 is on or behind the plane of the camera. It is mapped to NaN, which images
    show as outside, and gives no gradient. The middle of the output is always in front: what has it
    behind, as the composition or inverse of two maps may, has no params and is given as NaN.

    Convention:
        Normalised units, target to source: theta = [[h00, h01, h02], [h10, h11, h12], [h20, h21, 1]].

    Example:
        >>> import numpy as np, keras_stn
        >>> corners = np.array([[[-0.5, -0.8], [0.6, -0.7], [0.9, 0.8], [-0.9, 0.7]]])
        >>> family = keras_stn.transforms.Projective()
        >>> straighten = family.from_points(corners)  # they become those of the output
        >>> family.transform_points(straighten, [[[-1, -1], [1, 1]]]).numpy().round(6).tolist()
        [[[-0.5, -0.8], [0.9, 0.8]]]

    Reference:
        Hartley and Zisserman, "Multiple View Geometry in Computer Vision" (2004), eq. (2.6).
    """

    num_params = 8
    identity_params = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    param_names = ("h00", "h01", "h02", "h10", "h11", "h12", "h20", "h21")
    theta_shape = (3, 3)
    straight = True

    def map(self, params, x, y):
        *rows, g, h = tf.split(tf.expand_dims(params, 2), 8, axis=1)  # (batch, 1, 1) each
        w = grids.combination((g, h), (x, y), tf.ones_like(g))
        w = choose(w < w.dtype.max, w, 0.0)  # of an infinite one all would come to the middle
        front = w > NEAR
        # Divisions, for of 1 / w, for both, TensorFlow's graphs make a reciprocal of other bits.
        w = choose(front, w, 1.0)
        pairs = (rows[:3], rows[3:])
        ends = [grids.combination(slopes, (x, y), offset) for *slopes, offset in pairs]
        return tuple(choose(front, end / w, np.nan) for end in ends)

    def theta(self, params):
        """The matrices (batch, 3, 3)."""
        one = tf.ones_like(params[:, :1])
        return tf.reshape(tf.concat([params, one], axis=1), (-1, 3, 3))

    def from_theta(self, theta):
        """The params of matrices (batch, 3, 3), which are divided by their last entry."""
        return normalised(theta)

    def compose(self, outer, inner):
        theta = homographies.product(self.theta(outer), self.theta(inner))
        return normalised(theta, theta[:, 2, 2:] > NEAR)

    def inverse(self, params):
        adjugate, det = homographies.adjugate(self.theta(params))
        return normalised(adjugate, adjugate[:, 2, 2:] * det > NEAR * det * det)

    def tiles(self, count):
        return [(*tile, 0.0, 0.0) for tile in Affine().tiles(count)]

    def from_pixel_matrix(
        self, matrix, source_size, output_size=None, align_corners=False, target_to_source=False
    ):
        """The params of a homography in pixels, (3, 3) or a batch of these, times any factor but 0.

        `keras_stn.Warp` then shows what `cv2.warpPerspective` shows, in front of the camera. For the
        arguments see `MatrixTransform.from_pixel_matrix`.
        """
        matrix = tf.reshape(matrix, (-1, 3, 3))
        if not target_to_source:
            matrix, _ = homographies.adjugate(matrix)
        sizes = source_size, source_size if output_size is None else output_size
        return normalised(pixel_matrices.theta_of_homography(matrix, *sizes, align_corners))

    def pixel_matrix(
        self, params, source_size, output_size=None, align_corners=False, target_to_source=False
    ):
        """`from_pixel_matrix` undone: homographies in pixels, (batch, 3, 3), with a last entry of 1."""
        sizes = source_size, source_size if output_size is None else output_size
        matrix = pixel_matrices.pixels_of_homography(self.theta(params), *sizes, align_corners)
        if not target_to_source:
            matrix, _ = homographies.adjugate(matrix)
        return self.theta(normalised(matrix))

    @classmethod
    def from_points(cls, source, target=CORNERS):
        """The params of the map by which four target points show four source points.

        Args:
            source: (batch, 4, 2), normalised (x, y).
            target: (batch, 4, 2), in the same order; by default the corners of the output, clockwise
                from the top left.

        Returns:
            (batch, 8). NaN for points with three on a line, or with some of them, or the middle of the
            output, behind the camera: outside of graphs that is a ValueError.
        """
        theta, front = homographies.of_four_points(source, target)
        homographies.check_front(front, source, target)
        return normalised(theta, front)
