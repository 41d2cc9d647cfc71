"""The tasks: digits in poses that are known, some among pieces of other digits."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from keras_stn.demo import Digits, poses
from keras_stn.demo.digits import SIDE

CHUNK = 1000  # images that are warped in one call: 10,000 at 96x96 would take 1 GB


@dataclasses.dataclass(frozen=True)
class Task:
    """Where digits lie on a canvas, and what lies beside them.

    `shift` counts pixels along each axis from the middle; None is anywhere, as long as the square of the
    digit, before it is turned, stays on the canvas.
    """

    size: int
    turn: float = 0.0  # degrees, either way
    scale: tuple[float, float] = (1.0, 1.0)
    shift: float | None = 0.0
    pieces: int = 0  # of other digits
    side: int = 0  # of a piece, pixels


TASKS = {
    "upright": Task(28),
    "turned_60": Task(40, turn=60, scale=(0.9, 1.2), shift=7),  # as the demo's
    "turned_180": Task(40, turn=180, shift=3),
    "rts": Task(42, turn=45, scale=(0.7, 1.2), shift=None),
    "cluttered_40": Task(40, shift=7, pieces=8, side=7),
    "cluttered_60": Task(60, shift=None, pieces=6, side=6),
    "scaled": Task(96, turn=180, scale=(1.0, 2.4), shift=None, pieces=8, side=8),  # like SIM2MNIST
}


class Posed(NamedTuple):
    """Images (n, size, size, 1), 0 to 1, and what is known of each.

    Labels (n,); how far each is turned (n,), in radians; params (n, 6) of the affine maps that show its
    digit upright, 28 pixels high, in the middle of an output as large as the image.
    """

    images: np.ndarray
    labels: np.ndarray
    turns: np.ndarray
    upright: np.ndarray


def make(task: Task, digits: Digits, seed: int) -> tuple[Posed, Posed]:
    """The training set and the test set; the same ones for the same digits and seed."""
    parts = (digits.x_train, digits.y_train), (digits.x_test, digits.y_test)
    return tuple(posed(task, *part, (seed, number)) for number, part in enumerate(parts))


def posed(task: Task, digits: np.ndarray, labels: np.ndarray, seed: tuple[int, ...]) -> Posed:
    """Digits (n, 28, 28), uint8, on the canvas of `task`; poses and clutter have separate seeds."""
    rng, count = np.random.default_rng((*seed, 0)), len(digits)
    turns = rng.uniform(-1, 1, count) * math.radians(task.turn)
    scales = rng.uniform(*task.scale, count)
    room = (task.size - scales * SIDE) / 2 if task.shift is None else task.shift
    x, y = rng.uniform(-1, 1, (2, count)) * room
    placement = np.stack([scales, turns, 2 * x / task.size, 2 * y / task.size], axis=1)
    images = placed(digits, placement.astype("float32"), task.size)
    if task.pieces:
        clutter(images, digits, task, np.random.default_rng((*seed, 1)))
    return Posed(images, labels, turns, poses.upright(placement.astype("float32")))


def placed(digits, placement, size):
    """Digits by similarities (n, 4) on canvases: (n, size, size, 1), 0 to 1."""
    parts = [slice(start, start + CHUNK) for start in range(0, len(digits), CHUNK)]
    return np.concatenate([poses.placed(digits[part], placement[part], size) for part in parts])


def clutter(images, digits, task, rng):
    """Lay square pieces of other digits over each image, in place; the brighter pixel shows."""
    count, one = len(images), np.arange(len(images))
    windows = np.lib.stride_tricks.sliding_window_view(digits, (task.side, task.side), axis=(1, 2))
    across = np.arange(task.side)
    for _ in range(task.pieces):
        other = (one + rng.integers(1, count, count)) % count
        pieces = windows[(other, *rng.integers(0, windows.shape[1], (2, count)))] / np.float32(255)
        rows, columns = rng.integers(0, task.size - task.side + 1, (2, count))
        rows = (rows[:, np.newaxis] + across)[:, :, np.newaxis]  # (n, side, 1)
        columns = (columns[:, np.newaxis] + across)[:, np.newaxis]  # (n, 1, side)
        place = one[:, np.newaxis, np.newaxis], rows, columns, 0
        images[place] = np.maximum(images[place], pieces)
