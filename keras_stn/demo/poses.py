"""Digits in random poses on a larger canvas, and the params that set each upright."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_stn import transforms
from keras_stn.demo.digits import SIDE, Digits
from keras_stn.layers import Warp

CANVAS = 40  # pixels
BATCH = 64
PER_EPOCH = 4000  # digits, at most: so an epoch takes the same time from every source

_MAX_TURN = math.radians(60)
_SCALES = 0.9, 1.2
_MAX_SHIFT = 7  # pixels: 99 of 100 digits keep 99 % of their ink on the canvas
_FAMILY = transforms.Similarity()


def distort(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Digits in random poses on a larger canvas: (n, 28, 28), uint8 -> (n, 40, 40, 1), 0 to 1.

    Each is turned by up to 60 degrees, scaled by 0.9 to 1.2, and moved by up to 7 pixels along x and y.
    """
    return placed(digits, draw(len(digits), rng))


def draw(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4): similarities that move a digit about its canvas."""
    scale = rng.uniform(*_SCALES, count)
    x, y = rng.uniform(-1, 1, (2, count)) * _MAX_SHIFT / (CANVAS / 2)
    turn = rng.uniform(-_MAX_TURN, _MAX_TURN, count)
    return np.stack([scale, turn, x, y], axis=1).astype("float32")


def placed(digits: np.ndarray, poses: np.ndarray, canvas: int = CANVAS) -> np.ndarray:
    """Digits (n, 28, 28), uint8, in similarities (n, 4): (n, canvas, canvas, 1), 0 to 1."""
    to_canvas = poses * np.array([SIDE / canvas, 1, 1, 1], "float32")
    images = digits[..., np.newaxis].astype("float32") / 255
    warp = Warp(_FAMILY, (canvas, canvas), data_format="channels_last")
    # A pose takes the digit to the canvas; a warp asks where on the digit a canvas pixel lies.
    return np.asarray(warp([images, _FAMILY.inverse(to_canvas)]))


def upright(poses: np.ndarray) -> np.ndarray:
    """The params (n, 6) of the affine maps that undo poses, and so show the digits as they were."""
    # A warp asks where on the canvas the upright digit's pixels lie: where the pose has put them.
    return np.asarray(_FAMILY.theta(poses)).reshape(-1, 6)


class Poses(keras.utils.PyDataset):
    """Training digits, in a new order and in new poses each epoch; the same ones for the same seed.

    Batches are (images, {name: target}) with the targets that are asked for: "scores", the labels, and
    "pose", the params that set the digit upright.
    """

    def __init__(self, digits: Digits, targets: Sequence[str], seed: int):
        super().__init__()
        self._digits, self._targets = digits, targets
        self._rng = np.random.default_rng((seed, 1))
        self.on_epoch_end()

    def on_epoch_end(self):
        chosen = self._rng.permutation(len(self._digits.x_train))[:PER_EPOCH]
        poses = draw(len(chosen), self._rng)
        self._images = placed(self._digits.x_train[chosen], poses)
        self._all: dict[str, Any] = {"scores": self._digits.y_train[chosen], "pose": upright(poses)}

    def __len__(self):
        return math.ceil(len(self._images) / BATCH)

    def __getitem__(self, index):
        batch = slice(index * BATCH, (index + 1) * BATCH)
        return self._images[batch], {name: self._all[name][batch] for name in self._targets}
