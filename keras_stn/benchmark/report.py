"""What the benchmark shows and keeps: tables, JSON and a picture."""

import dataclasses
import itertools
import json
import math
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich import box
from rich.table import Table

from keras_stn.benchmark.contenders import OURS
from keras_stn.benchmark.measure import Row, fastest
from keras_stn.benchmark.memory import Memory
from keras_stn.benchmark.network import Cost


def table(measured: Iterable[Row], title: str) -> Table:
    """The rows as a table for `rich.print`, 80 columns wide.

    "ms" are medians, "±" half of what the middle half of the repeats spans, "ratio" that to PyTorch, and
    the errors those of `Row`.
    """
    measured = list(measured)
    of_gradient = any(row.gradient_error is not None for row in measured)
    made = _table(title, "ms", "±", "ratio", "error", *["gradient's"] * of_gradient)
    for row in measured:
        low, high = row.quartiles
        made.add_row(
            row.contender,
            f"{row.milliseconds:.2f}",
            f"{(high - low) / 2:.2f}",
            *(_or_nothing(row.ratio, ".2f"), _or_nothing(row.error, ".1e")),
            *[_or_nothing(row.gradient_error, ".1e")] * of_gradient,
            style="bold" if OURS in row.contender else None,
        )
    return made


def growth_table(growth: Iterable[Row]) -> Table:
    """`sweep` as a table for `rich.print`: what a call costs, and what each pixel costs beyond it."""
    groups = [(shape, fastest(rows)) for shape, rows in itertools.groupby(growth, lambda row: row.shape)]
    names = list(groups[0][1])
    made = _table("forward: ms of a call, and ns of each pixel beyond the first", *names)
    first: dict[str, float] = {}
    for shape, times in groups:
        pixels = math.prod(shape[:3])
        first = times if pixels == 1 else first
        each = {
            who: "" if pixels == 1 else f"{1e6 * (times[who] - first[who]) / pixels:.1f}"
            for who in names
        }
        made.add_row("x".join(map(str, shape)), *(f"{times[who]:.2f} {each[who]:>6}" for who in names))
    return made


def network_table(costs: Iterable[Cost]) -> Table:
    """`keras_stn.benchmark.network.costs` as a table for `rich.print`."""
    made = _table("a training step of a network, localization left out", "ms", "CNN = 1")
    for cost in costs:
        made.add_row(f"{cost.network}, {cost.variant}", f"{cost.milliseconds:.0f}", f"{cost.ratio:.2f}")
    return made


def memory_table(memory: Iterable[Memory]) -> Table:
    """`keras_stn.benchmark.memory.memory` as a table for `rich.print`: beside the arguments."""
    memory = list(memory)
    ours = {row.task: row.megabytes for row in memory if row.contender.startswith(OURS)}
    title = f"memory of a training step at {'x'.join(map(str, memory[0].shape))}"
    made = _table(title, "MB", f"{OURS} = 1")
    for row in memory:
        ratio = row.megabytes / ours[row.task]
        made.add_row(f"{row.contender}: {row.task}", f"{row.megabytes:.1f}", f"{ratio:.1f}")
    return made


def _table(title: str, *headings: str) -> Table:
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    made.add_column("", no_wrap=True)
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def _or_nothing(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def save(
    measured: list[Row], growth: list[Row], costs: list[Cost], memory: list[Memory], folder: Path
) -> list[Path]:
    """Write benchmark.json and, where matplotlib is there, benchmark.png; returns their paths."""
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
        "networks": [dataclasses.asdict(cost) for cost in costs],
        "memory": [dataclasses.asdict(row) for row in memory],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    try:
        from keras_stn.benchmark import plot
    except ImportError:  # no matplotlib
        return [path]
    picture = folder / "benchmark.png"
    plot.figure(measured, growth, costs).savefig(picture, dpi=110)
    return [path, picture]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
