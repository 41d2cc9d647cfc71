"""What the benchmark shows and keeps: tables, benchmark.json and a picture."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich import box
from rich.table import Table

from keras_stn.benchmark.contenders import OURS, TASKS, TEXTBOOK
from keras_stn.benchmark.measure import Row
from keras_stn.benchmark.memory import SHAPE, Memory

_COLOURS = {OURS: "#d55e00", TEXTBOOK: "#999999"}  # readable on white and to colour-blind eyes


def table(rows: Sequence[Row]) -> Table:
    """The rows of one case for `rich.print`, 80 columns wide.

    "ms" are medians, "±" half of what the middle half of the repeats spans, "ratio" that to PyTorch, and
    the errors those of `Row`.
    """
    title = f"{'x'.join(map(str, rows[0].shape))}, {rows[0].task}"
    made = _table(title, "ms", "±", "ratio", "error", "gradient's")
    for row in rows:
        low, high = row.quartiles
        made.add_row(
            row.contender,
            *(f"{row.milliseconds:.2f}", f"{(high - low) / 2:.2f}"),
            *("" if row.ratio is None else f"{row.ratio:.2f}", f"{row.error:.1e}"),
            "" if row.gradient_error is None else f"{row.gradient_error:.1e}",
            style="bold" if row.contender.startswith(OURS) else None,
        )
    return made


def memory_table(memory: Sequence[Memory]) -> Table:
    """`keras_stn.benchmark.memory` as a table for `rich.print`."""
    made = _table(f"memory at {'x'.join(map(str, SHAPE))}", "MB")
    for row in memory:
        made.add_row(f"{row.contender}: {row.task}", f"{row.megabytes:.1f}")
    return made


def _table(title: str, *headings: str) -> Table:
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    made.add_column("", no_wrap=True)
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def load(folder: Path) -> list[Row]:
    """The rows of benchmark.json in `folder`, if this machine and these versions measured them."""
    path = folder / "benchmark.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    if content.get("measured on") != _measured_on():
        return []
    return [
        Row(**row | {key: tuple(row[key]) for key in ("shape", "quartiles")}) for row in content["rows"]
    ]


def save(rows: Sequence[Row], memory: Sequence[Memory], folder: Path) -> list[Path]:
    """Write benchmark.json and, where matplotlib is there, benchmark.png; returns their paths."""
    content = {
        "measured on": _measured_on(),
        "rows": [dataclasses.asdict(row) for row in rows],
        "memory": [row._asdict() for row in memory],
    }
    path, picture = folder / "benchmark.json", folder / "benchmark.png"
    path.write_text(json.dumps(content, indent=1) + "\n")
    try:
        figure(rows).savefig(picture, dpi=110)
    except ImportError:  # no matplotlib
        return [path]
    return [path, picture]


def _measured_on() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def figure(rows: Sequence[Row]):
    """The ratios to PyTorch of the compiled contenders, one panel a task."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(12, 7), layout="constrained")
    for panel, task in zip(made.subplots(2, 2).flat, TASKS, strict=True):
        shown = [row for row in rows if row.task == task]
        shapes = dict.fromkeys("x".join(map(str, row.shape)) for row in shown)
        for offset, (who, colour) in zip((-0.2, 0.2), _COLOURS.items(), strict=True):
            ratios = [row.ratio or 0 for row in shown if row.contender == f"{who}, compiled"]
            places = [index + offset for index in range(len(ratios))]
            bars = panel.bar(places, ratios, 0.38, color=colour, label=f"{who}, compiled")
            panel.bar_label(bars, fmt="%.2f", fontsize=8)
        panel.set_xticks(range(len(shapes)), shapes, fontsize=8)
        panel.axhline(1, color="#0072b2")
        panel.margins(y=0.3)  # for the legend
        panel.set_title(f"{task} (PyTorch = 1)", fontsize=11)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    return made
