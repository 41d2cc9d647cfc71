"""The picture of a benchmark: ratios as bars, growth as curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from keras_stn.benchmark.contenders import BOTH, FORWARD, OURS, PARAMS, TEXTBOOK, TORCH

# Readable on white and to colour-blind eyes.
_COLOURS = {OURS: "#d55e00", TORCH: "#0072b2", TEXTBOOK: "#999999"}


def draw(rows: Sequence[Any], growth: Sequence[Any], path: Path) -> Path:
    """Write the picture of `Row`s to `path`."""
    figure = Figure(figsize=(12, 7.5 if growth else 4), layout="constrained")
    panels = figure.subplots(2 if growth else 1, 3, squeeze=False)
    for panel, task in zip(panels[0], (FORWARD, PARAMS, BOTH), strict=True):
        _bars(panel, [row for row in rows if row.task == task and row.family == "affine"], task)
    if growth:
        sides = [row for row in growth if row.shape[0] == 1 and row.shape[3] == 3]
        batches = [row for row in growth if row.shape[3] == 1]
        _curves(panels[1][0], sides, lambda shape: shape[1] * shape[2], "pixels, batch of 1, 3 channels")
        _curves(panels[1][1], batches, lambda shape: shape[0], "batch of 40x40x1")
        panels[1][2].axis("off")
        handles, labels = panels[1][0].get_legend_handles_labels()
        panels[1][2].legend(handles, labels, loc="center", frameon=False)
    figure.savefig(path, dpi=110)
    return path


def _bars(panel, rows, task):
    shapes = list(dict.fromkeys(row.shape for row in rows))
    names = [f"{OURS}, compiled", f"{TEXTBOOK}, compiled"]
    for offset, name in enumerate(names):
        ratios = {row.shape: row.ratio for row in rows if row.contender == name}
        places = [index + 0.4 * offset - 0.2 for index in range(len(shapes))]
        heights = [ratios.get(shape) or 0 for shape in shapes]
        bars = panel.bar(places, heights, 0.38, color=_COLOURS[name.split(",")[0]], label=name)
        panel.bar_label(bars, fmt="%.2f", fontsize=7)
    panel.axhline(1, color=_COLOURS[TORCH], linewidth=1.5)
    panel.set_title(f"{task} (PyTorch = 1)", fontsize=10)
    panel.set_xticks(range(len(shapes)), ["x".join(map(str, shape)) for shape in shapes], fontsize=7)
    panel.tick_params(axis="x", rotation=20)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=7, frameon=False)


def _curves(panel, rows, size, label):
    best: dict[str, dict[int, float]] = {}
    for row in rows:
        who = row.contender.split(",")[0]
        times = best.setdefault(who, {})
        times[size(row.shape)] = min(row.milliseconds, times.get(size(row.shape), float("inf")))
    for who, times in best.items():
        xs = sorted(times)
        panel.loglog(xs, [times[x] for x in xs], "o-", color=_COLOURS[who], label=who, markersize=4)
    panel.set_xlabel(label)
    panel.set_ylabel("forward, ms")
    panel.grid(alpha=0.3, which="both")
    panel.spines[["top", "right"]].set_visible(False)
