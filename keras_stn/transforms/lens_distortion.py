"""LensDistortion: the polynomial of Brown and Conrady, five coefficients."""

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.base import Transform, register


@register
class LensDistortion(Transform):
    """What a lens bends, and straight lines again, 5 params (k1, k2, p1, p2, k3), in OpenCV's order.

    With a = (x - cx) / fx, b = (y - cy) / fy and s = a^2 + b^2, source = (cx + fx a', cy + fy b'):

        a' = a (1 + k1 s + k2 s^2 + k3 s^3) + 2 p1 a b + p2 (s + 2 a^2)
        b' = b (1 + k1 s + k2 s^2 + k3 s^3) + p1 (s + 2 b^2) + 2 p2 a b

    The output is the picture without the distortion that the params describe, as `cv2.undistort` shows
    it: k1 < 0 undoes a barrel, k1 > 0 a pincushion. Where the polynomial turns back, as it may far from
    (cx, cy), the picture shows twice.

    The inverse has no closed form. `transform_points` goes from the straight picture to the bent one.

    Convention:
        Normalised coordinates, target to source. A focal length of 1 is half the picture wide, an angle
        of view of 90 degrees. Coefficients hold at any size of the same picture.

    Args:
        fx: Focal length along x, in half widths of the picture, above 0. Circles are circles in pixels
            where fy / fx = width / height.
        fy: The same along y, in half heights.
        cx: x of the point where the camera's axis meets the picture, normalised.
        cy: The same along y.

    Example:
        >>> import numpy as np, keras_stn
        >>> barrel = np.array([[-0.25, 0.0, 0.0, 0.0, 0.0]])
        >>> lens = keras_stn.transforms.LensDistortion()
        >>> lens.transform_points(barrel, [[[1.0, 0.0], [0.5, 0.0]]]).numpy().tolist()
        [[[0.75, 0.0], [0.46875, 0.0]]]

    Reference:
        Brown, "Decentering Distortion of Lenses" (1966); "Camera Calibration" in OpenCV's documentation.
    """

    num_params = 5
    identity_params = (0.0, 0.0, 0.0, 0.0, 0.0)
    param_names = ("k1", "k2", "p1", "p2", "k3")

    def __init__(self, fx: float = 1.0, fy: float = 1.0, cx: float = 0.0, cy: float = 0.0):
        self.fx = _checks.positive("fx", fx)
        self.fy = _checks.positive("fy", fy)
        self.cx = _checks.finite("cx", cx)
        self.cy = _checks.finite("cy", cy)

    @classmethod
    def from_camera_matrix(cls, matrix, size, align_corners=False):
        """The family of a camera that OpenCV has calibrated.

        Args:
            matrix: OpenCV's camera matrix ((fx, 0, cx), (0, fy, cy), (0, 0, 1)), in pixels.
            size: (height, width) of the calibrated pictures.
            align_corners: That of the layer that warps.

        Returns:
            A `LensDistortion`, whose params are the first five distortion coefficients.

        Raises:
            ValueError: if `matrix` is no camera matrix, or has a skew.
        """
        matrix = np.asarray(matrix, "float64")
        height, width = _checks.size("size", size)
        if matrix.shape != (3, 3) or np.any(
            matrix * [[0, 1, 0], [1, 0, 0], [1, 1, 1]] != [0, 0, 1] * np.eye(3)
        ):
            raise _checks.error(
                "matrix must be a camera matrix ((fx, 0, cx), (0, fy, cy), (0, 0, 1)). "
                f"Received: matrix={matrix.tolist()}."
            )
        spans = [grids.divisor(side, align_corners, tf.float64) for side in (width, height)]
        focal = 2 * np.diag(matrix)[:2] / spans
        center = (2 * matrix[:2, 2] - [width - 1, height - 1]) / spans
        return cls(*focal.tolist(), *center.tolist())

    def map(self, params, x, y):
        k1, k2, p1, p2, k3 = tf.split(tf.expand_dims(params, 2), 5, axis=1)  # (batch, 1, 1) each
        a, b = (x - self.cx) * (1 / self.fx), (y - self.cy) * (1 / self.fy)
        square = grids.rounded(a * a) + grids.rounded(b * b)
        series = grids.rounded(k3 * square) + k2
        series = grids.rounded(series * square) + k1
        tilt = grids.rounded(2 * p1 * b) + grids.rounded(2 * p2 * a)
        both = grids.rounded(series * square) + tilt
        along_x = grids.rounded(a * both) + grids.rounded(p2 * square)
        along_y = grids.rounded(b * both) + grids.rounded(p1 * square)
        # Of what is no number `rounded` makes one on GPUs, which here would get either sign. So the axes
        # are none then; else they stay as they are, and what is added is 0 where nothing is bent.
        finite = tf.abs(params) < params.dtype.max
        zero = tf.reduce_sum(tf.where(finite, tf.zeros_like(params), np.nan), axis=1, keepdims=True)
        x, y = (axis + tf.expand_dims(zero, 2) for axis in (x, y))
        return x + grids.rounded(self.fx * along_x), y + grids.rounded(self.fy * along_y)

    def get_config(self):
        return {"fx": self.fx, "fy": self.fy, "cx": self.cx, "cy": self.cy}
