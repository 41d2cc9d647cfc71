"""Timing: the contenders of a case taking turns."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import numpy as np

from keras_stn.benchmark import contenders
from keras_stn.benchmark.contenders import FORWARD, IN_MODEL, TORCH

Shape = tuple[int, int, int, int]

SHAPES: tuple[Shape, ...] = (
    (128, 40, 40, 1),
    (8, 224, 224, 3),
    (16, 56, 56, 64),
    (2, 512, 512, 3),
    (1, 224, 224, 3),
)

_PAUSE = 0.005  # before each: the threads of the one before spin for milliseconds before they sleep
_PASSES = 5  # of a call that stands for a model


@dataclasses.dataclass(frozen=True)
class Row:
    """What one contender needed for one case.

    Attributes:
        shape: (batch, height, width, channels) of the images and of the output.
        task: "forward"; "forward, in a model", what one more pass adds to a call: a call of five less a
            call of one, by four, but PyTorch's call, which compiles no model; or a training step, with
            the gradient to the params ("params_step") and with that to the images too ("step").
        contender: Who.
        milliseconds: The median of the repeats.
        quartiles: Half of the repeats lie between these two, in milliseconds.
        ratio: `milliseconds` by those of PyTorch, of its better layout; None without PyTorch.
        error: The largest error of the output against float64; images are from 0 to 1.
        gradient_error: Of the gradient to the params, by its largest entry; None without one.

    Example:
        >>> from keras_stn import benchmark
        >>> rows = benchmark.measure((1, 8, 12, 3), seconds=0.1)
        >>> rows[0].contender, rows[0].error < 5e-6
        ('keras_stn, compiled', True)
    """

    shape: Shape
    task: str
    contender: str
    milliseconds: float
    quartiles: tuple[float, float]
    ratio: float | None
    error: float
    gradient_error: float | None


def measure(shape: Shape, task: str = FORWARD, seconds: float = 2.0) -> list[Row]:
    """Time all contenders of a task for `seconds` together, and for seven turns at least."""
    runs = contenders.contenders(shape, task)
    results = {name: run() for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    end, turns = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or turns < 7:
        turns += 1
        for name, run in runs.items():
            took = _milliseconds(run)
            if task == IN_MODEL and not name.startswith(TORCH):
                took = (_milliseconds(run, _PASSES) - took) / (_PASSES - 1)
            times[name].append(took)
    best = min((statistics.median(times[name]) for name in runs if name.startswith(TORCH)), default=None)
    output, gradient = contenders.truth(shape)
    rows = []
    for name, (warped, *gradients) in results.items():
        low, median, high = statistics.quantiles(times[name], n=4)
        error, of_gradient = float(np.abs(warped - output).max()), None
        if gradients:
            of_gradient = float(np.abs(gradients[0] - gradient).max() / np.abs(gradient).max())
        ratio = median / best if best else None
        rows.append(Row(shape, task, name, median, (low, high), ratio, error, of_gradient))
    return rows


def _milliseconds(run: Callable, *passes: int) -> float:
    """Of one run, after a pause and an untimed run, which fills the caches again."""
    time.sleep(_PAUSE)
    run(*passes)
    start = time.perf_counter()
    run(*passes)
    return 1e3 * (time.perf_counter() - start)
