"""The distortions of the paper's digits."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import ops, transforms
from keras_stn.demo.digits import SIDE

Tensor = Any
SIMILARITY, PROJECTIVE, SPLINE = (
    transforms.Similarity(),
    transforms.Projective(),
    transforms.ThinPlateSpline((4, 4)),
)
TRIES = 3  # draws of corners for one image
PIECE = 6  # pixels, the side of what is cut from other digits


@dataclasses.dataclass(frozen=True)
class Distortion:
    """What is done to a digit of 28x28 pixels.

    `draw` takes a count and a seed (2,), and gives params of `family`, from the canvas of `size` pixels
    squared to the digit. `pieces` squares of 6x6 pixels, cut from other digits, lie over it.

    Called with digits (batch, 28, 28), uint8, and a seed (2,), it gives images (batch, size, size, 1)
    and the params that have made them. Pieces are cut from `others`, as many, or from the digits.
    """

    size: int
    family: transforms.Transform
    draw: Callable[[int, Tensor], Tensor]
    pieces: int = 0

    def __call__(
        self, digits: Tensor, seed: Tensor, others: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        others = digits if others is None else others
        digits = tf.cast(digits, tf.float32)[..., tf.newaxis] / 255
        params = self.draw(len(digits), seed)
        size = self.size, self.size
        images = ops.warp(digits, params, self.family, size, data_format="channels_last")
        if self.pieces:
            images = _cluttered(images, others, self, seed + 2)
        return images, params


def _posed(turn=0.0, scale=(1.0, 1.0), size=SIDE):
    """Similarities: turned by up to `turn` degrees either way, and anywhere on the canvas."""

    def draw(count, seed):
        unit = tf.random.stateless_uniform((4, count), seed, -1, 1)
        low, high = (bound * SIDE / size for bound in scale)
        scales = (low + high + (high - low) * unit[0]) / 2
        room = 1 - scales  # a square as large as the digit stays on the canvas
        pose = [scales, math.radians(turn) * unit[1], room * unit[2], room * unit[3]]
        return SIMILARITY.inverse(tf.stack(pose, axis=1))

    return draw


def _moved(points, deviation):
    """Points (p, 2) of the output, and what it shows there: scaled by 0.75 to 1, and each one moved.

    `deviation` is that of a normal distribution, along x and along y, in pixels.
    """
    points = np.float32(points)

    def draw(count, seed):
        scales = tf.random.stateless_uniform((count, 1, 1), seed, 0.75, 1)
        more = tf.random.stateless_normal((count, len(points), 2), seed + 1, 0, 2 * deviation / SIDE)
        return points / scales + more

    return draw


@tf.function  # outside of graphs, points that make no view of a plane are an error
def _projective(count, seed):
    """One draw in 1,200 makes no view of a plane, for its corners change sides: then the next counts."""
    corners = _moved([(-1, -1), (1, -1), (1, 1), (-1, 1)], 5.0)
    params = tf.reshape(PROJECTIVE.from_points(corners(TRIES * count, seed)), (TRIES, count, 8))
    known = tf.reduce_all(tf.math.is_finite(params), axis=2)
    first = tf.argmax(tf.cast(known, tf.int32), axis=0, output_type=tf.int32)
    return tf.gather_nd(params, tf.stack([first, tf.range(count)], axis=1))


def _elastic(count, seed):
    lattice = np.stack(np.meshgrid(*[np.linspace(-1, 1, 4)] * 2), axis=-1).reshape(-1, 2)
    moved = _moved(lattice, 1.5)(count, seed)
    return tf.reshape(moved - np.float32(lattice), (count, -1))


# Section 4.1 and appendices A.2 and A.4 of the paper.
DISTORTIONS = {
    "R": Distortion(SIDE, SIMILARITY, _posed(turn=90)),
    "RTS": Distortion(42, SIMILARITY, _posed(turn=45, scale=(0.7, 1.2), size=42)),
    "P": Distortion(SIDE, PROJECTIVE, _projective),
    "E": Distortion(SIDE, SPLINE, _elastic),
    "TC": Distortion(60, SIMILARITY, _posed(size=60), pieces=6),
    "TC84": Distortion(84, SIMILARITY, _posed(size=84), pieces=16),
}


def _cluttered(images, others, distortion, seed):
    """The brighter pixel shows, of an image and of the pieces that lie over it."""
    count, pieces = len(others), distortion.pieces
    unit = tf.random.stateless_uniform((5, count, pieces), seed)

    def draw(number, values):  # 0, 1, ..., values - 1
        return tf.cast(unit[number] * values, tf.int32)[..., tf.newaxis, tf.newaxis]

    one = tf.range(count)[:, tf.newaxis, tf.newaxis, tf.newaxis]
    other = (one + 1 + draw(0, count - 1)) % count
    down, across = tf.range(PIECE)[:, tf.newaxis], tf.range(PIECE)

    def pixels(image, rows, columns):
        parts = image, rows + down, columns + across
        shape = count, pieces, PIECE, PIECE
        return tf.stack([tf.broadcast_to(part, shape) for part in parts], axis=-1)

    others = tf.cast(others, tf.float32) / 255
    cut = tf.gather_nd(others, pixels(other, *(draw(n, SIDE - PIECE + 1) for n in (1, 2))))
    places = pixels(one, *(draw(n, distortion.size - PIECE + 1) for n in (3, 4)))
    return tf.tensor_scatter_nd_max(images[..., 0], places, cut)[..., tf.newaxis]
