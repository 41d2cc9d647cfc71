"""What an export did: `Report`, with an `Accuracy` for each output and `Finding`s."""

import collections
import dataclasses
import io
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

__all__ = ["Accuracy", "Finding", "Report"]


class Accuracy(NamedTuple):
    """How one output differs from that of Keras.

    Attributes:
        max_error: The largest absolute difference.
        psnr: In dB: the peak is the largest value that Keras gives; inf where the two are equal.

    Example:
        >>> import keras_stn
        >>> keras_stn.export.Accuracy(max_error=1e-6, psnr=121.5).psnr
        121.5
    """

    max_error: float
    psnr: float


@dataclasses.dataclass(frozen=True)
class Finding:
    """What to know about a file before it goes to a runtime, such as an op that it refuses.

    Args:
        rule: One of the rules of `check_tflite`; or, of an export, `"ties"` (values of
            interpolation="nearest" that come from the pixel beside the right one), `"resized-batch"`
            (LiteRT may be wrong once the batch has changed) or `"gathers"` (samplers that are no
            GridSample).
        op: The kind of op, such as "GATHER_ND"; "" where it is about no one op.
        where: The name of the tensor that the op makes, or of an output; "" where it is about the file.
        runtimes: Those that it is about: "cpu", "gpu" and "micro" of a TFLite file, or the name of the
            one that ran it.
        message: What is wrong, and what takes its place.

    Example:
        >>> import keras_stn
        >>> print(keras_stn.export.Finding("no-kernel", "RANGE", "steps", ("gpu",), "has no kernel"))
        RANGE at 'steps': has no kernel (gpu)
    """

    rule: str
    op: str
    where: str
    runtimes: tuple[str, ...]
    message: str

    def __str__(self) -> str:
        subject = " at ".join(filter(None, (self.op, self.where and repr(self.where))))
        text = f"{subject}: {self.message}" if subject else self.message
        return f"{text} ({', '.join(self.runtimes)})"


@dataclasses.dataclass(frozen=True)
class Report:
    """What was written, what is in it, and how near it comes to the Keras model.

    Every exporter returns one. Printed, it is a table; `rich.print` shows it in colour.

    Args:
        path: The file, or the folder of a SavedModel.
        format: `"SavedModel"`, `"TFLite"` or `"ONNX"`, with what was asked for: `"TFLite int8"`.
        size: Bytes.
        ops: How often each op stands in it, the most frequent first.
        findings: What other runtimes would refuse, and what else there is to know: a list of `Finding`s.
            Printed, those of one rule and op are one line.
        accuracy: For each output, the largest absolute difference to Keras on the samples (`max_error`)
            and the peak signal-to-noise ratio in dB (`psnr`, whose peak is the largest value of Keras).
        latency_ms: The median time of a batch of one, or of the batch that is fixed, on this machine's
            CPU with one thread; None where it was not measured.
        min_runtime: The oldest TensorFlow Lite that runs it, such as `"2.3.0"`; LiteRT 1.0 is 2.17. None
            for other formats.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense", name="upright")(images))
        >>> report = keras_stn.export_tflite(model, "upright.tflite")
        >>> isinstance(report, keras_stn.export.Report), report.max_error < 1e-5, report.ops["GATHER"]
        (True, True, 4)
    """

    path: str
    format: str
    size: int
    ops: dict[str, int]
    findings: list[Finding]
    accuracy: dict[str, Accuracy]
    latency_ms: float | None = None
    min_runtime: str | None = None

    @property
    def max_error(self) -> float:
        """The largest absolute difference to Keras over all outputs."""
        return max(accuracy.max_error for accuracy in self.accuracy.values())

    @property
    def psnr(self) -> float:
        """The smallest peak signal-to-noise ratio of the outputs, in dB."""
        return min(accuracy.psnr for accuracy in self.accuracy.values())

    def __rich__(self) -> Any:
        facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        facts.add_column(style="dim")
        facts.add_column()
        facts.add_row("file", escape(self.path))
        facts.add_row("format", self.format)
        facts.add_row("size", f"{self.size:,} bytes")
        counts = ", ".join(f"{name} {count}" for name, count in self.ops.items())
        facts.add_row("ops", f"{sum(self.ops.values())}: {counts}")
        if self.latency_ms is not None:
            facts.add_row("latency", f"{self.latency_ms:.3g} ms, one thread")
        if self.min_runtime is not None:
            facts.add_row("runtime", f"TensorFlow Lite {self.min_runtime} or newer")
        outputs = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        outputs.add_column("output")
        outputs.add_column("largest error", justify="right")
        outputs.add_column("PSNR", justify="right")
        for name, (error, psnr) in self.accuracy.items():
            decibels = "exact" if psnr == float("inf") else f"{psnr:.1f} dB"
            outputs.add_row(escape(name), f"{error:.2g}", decibels)
        return Group(facts, outputs, *(f"• {escape(line)}" for line in summary(self.findings)))

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=100, color_system=None).print(self)
        return text.getvalue().rstrip()


def summary(findings: Iterable[Finding]) -> list[str]:
    """One line for each rule and op, however often it is broken."""
    counts = collections.Counter((f.op, f.message, f.runtimes) for f in findings)
    return [
        f"{', '.join(runtimes)}: {f'{op} ' if op else ''}{message}" + (f" ({n} times)" if n > 1 else "")
        for (op, message, runtimes), n in counts.items()
    ]
