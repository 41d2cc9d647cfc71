"""An export from the first check to the report: the steps of every format, in one place.

What differs from one format to the next is a `Format`, one file each: `onnx`, `saved_model`, `tflite`.
"""

import collections
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_stn import _checks
from keras_stn.export import _accuracy, _files, _samples, _trace
from keras_stn.export._accuracy import Run
from keras_stn.export._trace import Signature, Trace
from keras_stn.export.report import Finding, Report


class Contents(NamedTuple):
    """The contents of a file: the kind of each op, its findings, the oldest runtime that reads it."""

    ops: Iterable[str]
    findings: Sequence[Finding] = ()
    min_runtime: str | None = None


class Format:
    """What one format does differently from the others; an object holds what an export was asked for.

    Attributes:
        name: As the report has it: "TFLite int8".
        runtime: What runs the file, to compare it with Keras: "LiteRT".
        packages: What must be installed, beside TensorFlow.
        reader: What stands for each sampler in the graph; None: the form of TensorFlow's own graphs.
        is_folder: Whether it is a folder that is written, and not a file.
        default_batch: The batch where neither caller nor model give one; None: any.
        exact: Whether the file must give the numbers of the traced graph to the bit.
    """

    name: str
    runtime: str
    packages: tuple[str, ...] = ()
    reader: Callable | None = None
    is_folder = False
    default_batch: int | None = None
    exact = False

    # What every format has.

    def convert(self, trace: Trace, path: Path) -> Any:
        """Write the graph to `path`, from where it is moved; returns what the others need of it."""
        raise NotImplementedError

    def load(self, file: Any) -> Run:
        """The file in its runtime, as a function from arrays to arrays by the names of the model."""
        raise NotImplementedError

    def describe(self, file: Any, run: Run, trace: Trace) -> Contents:
        """What stands in the file, which `run` has run."""
        raise NotImplementedError

    # What some have.

    def accept(self, signature: Signature) -> None:
        """Raise a ValueError for a model that this format cannot hold, before any work."""

    def default_samples(self, signature: Signature) -> list[np.ndarray]:
        return _samples.read(None, signature.specs)

    def trace(self, signature: Signature) -> Trace:
        return _trace.traced(signature, self.reader)

    def check(self, file: Any) -> None:
        """Raise a ValueError for what the runtimes that were asked for would refuse."""

    def latency_ms(self, run: Run, inputs: dict[str, np.ndarray]) -> float | None:
        return median_ms(lambda: run(inputs))


def export(
    form: Format,
    model: keras.Model,
    path: _files.PathLike,
    *,
    batch_size: int | None = None,
    samples: _samples.Samples | None = None,
    max_error: float | None = None,
    min_psnr: float | None = None,
    measure_latency: bool = True,
) -> Report:
    """Write `model` to `path`, compared with Keras first: whole, or not at all."""
    _files.require(*form.packages)
    max_error = None if max_error is None else _checks.positive("max_error", max_error)
    min_psnr = None if min_psnr is None else _checks.positive("min_psnr", min_psnr)
    path = _files.folder(path) if form.is_folder else _files.target(path)
    signature = _trace.signature(model, batch_size, form.default_batch)
    form.accept(signature)
    if samples is None:
        arrays = form.default_samples(signature)
    else:
        arrays = _samples.read(samples, signature.specs)
    trace = form.trace(signature)
    with _files.partial(path) as beside:
        new = beside / f"new{path.suffix}"
        file = form.convert(trace, new)
        form.check(file)
        run = form.load(file)
        accuracy, findings = _accuracy.compare(
            run, form.runtime, trace, arrays, max_error, min_psnr, form.exact
        )
        first = signature.named(next(signature.batches(arrays)))
        latency = form.latency_ms(run, first) if measure_latency else None
        names, more, min_runtime = form.describe(file, run, trace)
        size = _files.size(new)
        _files.move(new, path)
    ops = dict(collections.Counter(names).most_common())
    return Report(str(path), form.name, size, ops, [*findings, *more], accuracy, latency, min_runtime)


def median_ms(run: Callable[[], object], seconds: float = 0.3) -> float:
    """The median time of one run, over as many as fit into `seconds`, at least five."""
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
