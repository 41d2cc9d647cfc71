"""`keras-stn benchmark`: this package beside what one would use in its place, in one process."""

import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich import box
from rich.table import Table

from keras_stn.benchmark import contenders
from keras_stn.benchmark.contenders import BOTH, FORWARD, OURS, PARAMS, TEXTBOOK, TORCH, Case, case

__all__ = ["SHAPES", "Row", "measure", "rows", "save", "sweep", "table"]

SHAPES = ((128, 40, 40, 1), (8, 224, 224, 3), (16, 56, 56, 64), (2, 512, 512, 3), (1, 224, 224, 3))

# A pause before each: the threads of the one before spin for milliseconds before they sleep.
_PAUSE = 0.005


@dataclasses.dataclass(frozen=True)
class Row:
    """What one contender needed for one case.

    Attributes:
        shape: (batch, height, width, channels) of the images and of the output.
        family: The transform family.
        task: "forward", or a training step: forward and the gradients.
        contender: Who.
        milliseconds: The median of the repeats.
        quartiles: Half of the repeats lie between these two, in milliseconds.
        ratio: `milliseconds` by those of PyTorch, of its better layout; None without PyTorch.
        error: The largest error against float64: of the output, whose images are from 0 to 1. None for
            those that compute something else.
        gradient_error: Of the gradient to the params, by its largest entry; None without one.

    Example:
        >>> from keras_stn import benchmark
        >>> from keras_stn.benchmark.contenders import case
        >>> rows = benchmark.measure(case((1, 8, 12, 3)), seconds=0.1)
        >>> all(row.milliseconds > 0 for row in rows)
        True
    """

    shape: tuple[int, ...]
    family: str
    task: str
    contender: str
    milliseconds: float
    quartiles: tuple[float, float]
    ratio: float | None
    error: float | None
    gradient_error: float | None


def measure(case: Case, seconds: float = 2.0, only: Iterable[str] = ()) -> list[Row]:
    """Time all contenders of a case, taking turns.

    Each turn is a pause, one run that is not timed, and one that is: caches are as in a loop of its own.

    Args:
        case: What to do, from `keras_stn.benchmark.contenders.case`.
        seconds: How long to go on, for all contenders together; seven turns at least.
        only: The beginnings of the names of those to time; all by default.

    Returns:
        A `Row` for each.
    """
    prefixes = tuple(only)
    runs = {
        name: run
        for name, run in contenders.contenders(case).items()
        if not prefixes or name.startswith(prefixes)
    }
    output, gradient = contenders.truth(case)
    results = {name: run() for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 7:
        for name, run in runs.items():
            time.sleep(_PAUSE)
            run()
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    peer = min((medians[name] for name in runs if name.startswith(TORCH)), default=None)
    measured = []
    for name, taken in times.items():
        low, _, high = statistics.quantiles(taken, n=4)
        ours_or_theirs = name.startswith((OURS, TORCH, TEXTBOOK)) or "ffine" in name or "Proj" in name
        error = float(np.abs(results[name][0] - output).max()) if ours_or_theirs else None
        of_gradient = None
        if case.task != FORWARD and case.family == "affine":
            difference = np.abs(results[name][1].reshape(gradient.shape) - gradient).max()
            of_gradient = float(difference / np.abs(gradient).max())
        ratio = medians[name] / peer if peer else None
        measured.append(
            Row(
                case.shape,
                case.family,
                case.task,
                name,
                medians[name],
                (low, high),
                ratio,
                error,
                of_gradient,
            )
        )
    return measured


def rows(shapes: Iterable[tuple[int, int, int, int]] = SHAPES, seconds: float = 2.0) -> Iterator[Row]:
    """All tasks at all shapes, and the other families forward."""
    for shape in shapes:
        for task in (FORWARD, PARAMS, BOTH):
            yield from measure(case(shape, "affine", task), seconds)
        for family in ("attention", "translation"):
            yield from measure(case(shape, family), seconds, [OURS, TORCH])


def sweep(seconds: float = 1.0) -> Iterator[Row]:
    """How time grows: with the pixels, from 28x28 to 1024x1024, and with the batch, from 1 to 256."""
    sides = [(1, side, side, 3) for side in (28, 56, 112, 224, 448, 1024)]
    batches = [(batch, 40, 40, 1) for batch in (1, 4, 16, 64, 256)]
    for shape in sides + batches:
        yield from measure(case(shape), seconds, [f"{OURS}, comp", TORCH, f"{TEXTBOOK}, comp"])


def table(measured: Iterable[Row], title: str) -> Table:
    """The rows as a table for `rich.print`."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    made.add_column("", no_wrap=True)
    for heading in ("ms", "quartiles", "PyTorch = 1", "error", "of gradient"):
        made.add_column(heading, justify="right", no_wrap=True)
    for row in measured:
        low, high = row.quartiles
        made.add_row(
            row.contender,
            f"{row.milliseconds:.2f}",
            f"{low:.2f}-{high:.2f}",
            *(_or_nothing(row.ratio, ".2f"), _or_nothing(row.error, ".1e")),
            _or_nothing(row.gradient_error, ".1e"),
            style="bold" if row.contender.startswith(OURS) else None,
        )
    return made


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def save(measured: Iterable[Row], growth: Iterable[Row], folder: Path) -> list[Path]:
    """Write benchmark.json and, where matplotlib is there, benchmark.png; returns their paths."""
    measured, growth = list(measured), list(growth)
    path = folder / "benchmark.json"
    content: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": _processor()},
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
        "rows": [dataclasses.asdict(row) for row in measured],
        "growth": [dataclasses.asdict(row) for row in growth],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    try:
        from keras_stn.benchmark import plot
    except ImportError:  # no matplotlib
        return [path]
    return [path, plot.draw(measured, growth, folder / "benchmark.png")]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
