"""The demonstration behind `keras-stn demo`: one small classifier, with a transformer and without.

Digits are turned, scaled and moved about a larger canvas, in a new pose each epoch. One network is a
classifier behind a `SpatialTransformer` that looks twice; the other is the same classifier, made wider
until it has as many parameters. The poses are made here, and so the transformer can be told them.
"""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from keras_stn import metrics, visualize
from keras_stn.demo import poses
from keras_stn.demo.digits import Digits, load_digits
from keras_stn.demo.networks import UNITS, build_model, opened, units_for
from keras_stn.demo.poses import distort
from keras_stn.demo.training import EPOCHS, Bar, progress_bar, train

__all__ = [
    "EPOCHS",
    "Digits",
    "Result",
    "build_model",
    "distort",
    "load_digits",
    "opened",
    "run",
    "train",
]

_BATCH = 500  # of predictions


class Result(NamedTuple):
    """The result of one network."""

    name: str
    parameters: int
    error: float  # share of the test digits, 0 to 1
    seconds: float  # of training


class Turn(NamedTuple):
    """How far digits are turned back: 1 and 1 for a transformer that sets all of them upright."""

    undone: float  # by given: the slope of the line through both
    correlation: float


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
    given = poses.draw(len(digits.x_test), np.random.default_rng((seed, 2)))
    images = poses.placed(digits.x_test, given)
    results = []
    with progress_bar(console) as progress:
        units = units_for(build_model().count_params())
        for name, width, transformer in (("plain", units, False), ("SpatialTransformer", UNITS, True)):
            keras.utils.set_random_seed(seed)
            model = build_model(width, transformer)
            seconds = train(model, digits, epochs, seed, Bar(progress, name))
            scores = model.predict(images, _BATCH, verbose=0)
            error = np.mean(scores.argmax(axis=1) != digits.y_test)
            results.append(Result(name, model.count_params(), float(error), seconds))
    console.print(_table(results))
    turn = turned_back(opened(model).predict(images, _BATCH, verbose=0)["params"], given)
    console.print(
        f"Of a turn of up to 60 degrees it undoes {turn.undone:.2f}, correlation {turn.correlation:.2f}",
        highlight=False,
    )

    _draw(model, images, digits.y_test, out / "digits.png")
    _save(model, images[:64], out)
    console.print(_farewell(out), highlight=False, soft_wrap=True)
    return results


def turned_back(params: np.ndarray, given: np.ndarray) -> Turn:
    """How far affine `params` (n, 6) undo the turns of the poses `given`."""
    undone, given = metrics.turn("affine", params), given[:, 1]
    return Turn(float(np.polyfit(given, undone, 1)[0]), float(np.corrcoef(given, undone)[0, 1]))


def _table(results: list[Result]) -> Table:
    table = Table(caption="Plain is made wider; the transformer is told the poses.")
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
    # Called and not predicted: of many functions to predict TensorFlow warns.
    expected = np.asarray(model(images))
    reloaded = np.asarray(keras.saving.load_model(out / "model.keras")(images))
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
