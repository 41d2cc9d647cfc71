"""Timing: the contenders of a case taking turns, over the shapes and tasks of the benchmark."""

import dataclasses
import statistics
import time
from collections.abc import Iterable, Iterator

import numpy as np

from keras_stn.benchmark import contenders
from keras_stn.benchmark.contenders import (
    BOTH,
    FORWARD,
    NO_WARP,
    ONE_MORE,
    OURS,
    PARAMS,
    TEXTBOOK,
    TORCH,
    Case,
    case,
)

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
        contender: Who. "one more, ..." is what a forward pass adds to a call that does others as well,
            as in a compiled model: a call of five less a call of one, by four.
        milliseconds: The median of the repeats.
        quartiles: Half of the repeats lie between these two, in milliseconds.
        ratio: `milliseconds` by those of PyTorch, of its better layout; None without PyTorch. One more
            is compared with PyTorch's least, be it one more or the only one.
        error: The largest error against float64: of the output, whose images are from 0 to 1. None for
            those that compute something else.
        gradient_error: Of the gradient to the params, by its largest entry; None without one.

    Example:
        >>> from keras_stn import benchmark
        >>> from keras_stn.benchmark.contenders import case
        >>> rows = benchmark.measure(case((1, 8, 12, 3)), seconds=0.1)
        >>> rows[0].contender, rows[0].error < 5e-6
        ('keras_stn, compiled', True)
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
    found = {
        name: contender
        for name, contender in contenders.contenders(case).items()
        if not prefixes or name.startswith(prefixes)
    }
    results = {name: contender.run() for name, contender in found.items()}
    times: dict[str, list[float]] = {name: [] for name in found}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 7:
        for name, contender in found.items():
            time.sleep(_PAUSE)
            contender.run()
            start = time.perf_counter()
            contender.run()
            times[name].append(1e3 * (time.perf_counter() - start))
    for name, contender in found.items():
        if contender.less is not None:
            pairs = zip(times[name], times[contender.less], strict=True)
            times[name] = [(own - less) / contender.by for own, less in pairs]
    truth = contenders.truth(case)
    return [_row(case, name, times, results[name], truth) for name in found]


def _row(case, name, times, results, truth) -> Row:
    prefix = f"{ONE_MORE}, " if name.startswith(ONE_MORE) else ""
    who = name.removeprefix(prefix)
    # One more of PyTorch's can take longer than its only one: it fills five outputs.
    starts = (TORCH, prefix + TORCH)
    peers = [statistics.median(times[peer]) for peer in times if peer.startswith(starts)]
    low, median, high = statistics.quantiles(times[name], n=4)
    output, gradient = truth
    error, of_gradient = None, None
    if who not in NO_WARP:
        error = float(np.abs(results[0] - output).max())
    if case.task != FORWARD and case.family == "affine":
        difference = np.abs(results[1].reshape(gradient.shape) - gradient).max()
        of_gradient = float(difference / np.abs(gradient).max())
    ratio = median / min(peers) if peers else None
    return Row(case.shape, case.family, case.task, name, median, (low, high), ratio, error, of_gradient)


def rows(shapes: Iterable[tuple[int, int, int, int]] = SHAPES, seconds: float = 2.0) -> Iterator[Row]:
    """All tasks at all shapes, and the other families forward."""
    for shape in shapes:
        for task in (FORWARD, PARAMS, BOTH):
            yield from measure(case(shape, "affine", task), seconds)
        for family in ("attention", "translation"):
            ours_and_torch = [start + who for start in ("", f"{ONE_MORE}, ") for who in (OURS, TORCH)]
            yield from measure(case(shape, family), seconds, ours_and_torch)


def sweep(seconds: float = 1.0) -> Iterator[Row]:
    """How time grows: with the pixels, from 28x28 to 1024x1024, and with the batch, from 1 to 256.

    Both begin with one pixel, whose time is that of a call.
    """
    sides = [(1, side, side, 3) for side in (1, 28, 56, 112, 224, 448, 1024)]
    batches = [(1, 1, 1, 1), *((batch, 40, 40, 1) for batch in (1, 4, 16, 64, 256))]
    for shape in sides + batches:
        yield from measure(case(shape), seconds, [f"{OURS}, compiled", TORCH, f"{TEXTBOOK}, compiled"])


def fastest(rows: Iterable[Row]) -> dict[str, float]:
    """The least milliseconds of each of `OURS`, `TORCH` and `TEXTBOOK` that is there, in any way."""
    found: dict[str, float] = {}
    for row in rows:
        who = row.contender.split(",")[0]
        if who in (OURS, TORCH, TEXTBOOK):
            found[who] = min(row.milliseconds, found.get(who, float("inf")))
    return found
