"""What families that turn the picture share: an aspect ratio, and a sine of the same bits everywhere."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.matrices import matrix
from keras_stn.transforms.matrix_transform import MatrixTransform

Tensor = Any


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

    The sines of runtimes differ: in the last bits on CPUs, which moves a point of a 64 pixel image by
    8e-6 pixels, and by 2^-11 on GPUs (Vulkan asks no more), which is 0.03 pixels. Products and sums are
    the same everywhere. Within 1.2e-7 up to 1e3 radians and 2.5e-5 up to 1e5;
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
