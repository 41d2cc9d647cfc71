"""The picture of a benchmark: ratios as bars, growth as curves."""

import itertools
from collections.abc import Sequence

from matplotlib.figure import Figure

from keras_stn.benchmark.contenders import BOTH, FORWARD, ONE_MORE, OURS, PARAMS, TEXTBOOK, TORCH
from keras_stn.benchmark.measure import Row, fastest
from keras_stn.benchmark.network import TRANSFORMED, Cost

# Readable on white and to colour-blind eyes.
_COLOURS = {OURS: "#d55e00", TORCH: "#0072b2", TEXTBOOK: "#999999"}


def figure(rows: Sequence[Row], growth: Sequence[Row], costs: Sequence[Cost]) -> Figure:
    """The picture of what was measured."""
    second_row = bool(growth or costs)
    made = Figure(figsize=(12, 7.5 if second_row else 4), layout="constrained")
    panels = made.subplots(1 + second_row, 3, squeeze=False)
    for panel, task in zip(panels[0], (FORWARD, PARAMS, BOTH), strict=True):
        _bars(panel, [row for row in rows if row.task == task and row.family == "affine"], task)
    if second_row:
        sides = [row for row in growth if row.shape[3] == 3 and row.shape[1] > 1]
        batches = [row for row in growth if row.shape[3] == 1 and row.shape[1] > 1]
        _curves(panels[1][0], sides, lambda shape: shape[1] * shape[2], "pixels, batch of 1, 3 channels")
        _curves(panels[1][1], batches, lambda shape: shape[0], "batch of 40x40x1")
        _networks(panels[1][2], costs)
    return made


def _bars(panel, rows, task):
    shapes = list(dict.fromkeys(row.shape for row in rows))
    bars = {
        f"{ONE_MORE}, {OURS}, compiled": ("in a compiled model", "#f0a868"),
        f"{OURS}, compiled": (f"{OURS}, compiled", _COLOURS[OURS]),
        f"{TEXTBOOK}, compiled": (f"{TEXTBOOK}, compiled", _COLOURS[TEXTBOOK]),
    }
    shown = [name for name in bars if any(row.contender == name for row in rows)]
    width = 0.8 / len(shown)
    for offset, name in enumerate(shown):
        ratios = {row.shape: row.ratio for row in rows if row.contender == name}
        places = [index + width * (offset - (len(shown) - 1) / 2) for index in range(len(shapes))]
        label, colour = bars[name]
        drawn = panel.bar(
            places, [ratios.get(shape) or 0 for shape in shapes], 0.95 * width, color=colour, label=label
        )
        panel.bar_label(drawn, fmt="%.2f", fontsize=6)
    panel.axhline(1, color=_COLOURS[TORCH], linewidth=1.5)
    panel.margins(y=0.35)  # for the legend
    panel.set_title(f"{task} (PyTorch = 1)", fontsize=10)
    panel.set_xticks(range(len(shapes)), ["x".join(map(str, shape)) for shape in shapes], fontsize=7)
    panel.tick_params(axis="x", rotation=20)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=7, frameon=False)


def _networks(panel, costs):
    if not costs:
        panel.axis("off")
        return
    names = [f"{cost.network}\n{cost.variant}".replace(", ", ",\n") for cost in costs]
    colours = [_COLOURS[OURS if cost.variant == TRANSFORMED else TEXTBOOK] for cost in costs]
    drawn = panel.bar(names, [cost.ratio for cost in costs], 0.7, color=colours)
    panel.bar_label(drawn, fmt="%.2f", fontsize=7)
    panel.set_title("training step of a network (CNN = 1)", fontsize=10)
    panel.tick_params(axis="x", labelsize=6)
    panel.spines[["top", "right"]].set_visible(False)


def _curves(panel, rows, size, label):
    if not rows:
        panel.axis("off")
        return
    best: dict[str, dict[int, float]] = {}
    for shape, group in itertools.groupby(rows, lambda row: row.shape):
        for who, time in fastest(group).items():
            best.setdefault(who, {})[size(shape)] = time
    for who, times in best.items():
        panel.loglog(
            list(times), list(times.values()), "o-", color=_COLOURS[who], label=who, markersize=4
        )
    panel.legend(fontsize=7, frameon=False)
    panel.set_xlabel(label)
    panel.set_ylabel("forward, ms")
    panel.grid(alpha=0.3, which="both")
    panel.spines[["top", "right"]].set_visible(False)
