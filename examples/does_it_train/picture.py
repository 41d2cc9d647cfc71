"""The picture: error by the learning rate, one panel a task, and from how far away pictures align."""

import config as configs
import matplotlib.pyplot as plt
from align import SHIFTS
from rows import groups, median

STYLES = "-", ":", "--", "-."  # of rates, in the panel of alignment


def draw(found: list[dict], shares: list[dict]):
    """A figure of rows, and of what `report.aligned` makes of them.

    Lines are medians over seeds, points are runs, and crosses are runs that have collapsed.
    """
    trained = groups([row for row in found if row["task"] != configs.ALIGN], "task")
    count = len(trained) + bool(shares)
    size = (3.6 * count + 2, 3.6)
    figure, axes = plt.subplots(1, count, figsize=size, squeeze=False, layout="constrained")
    panels = list(axes[0])
    names = [name for (name,) in groups(found, "transformer")]
    colors = {name: f"C{number}" for number, name in enumerate(names)}
    if shares:
        draw_shares(panels.pop(), shares, colors)
    for panel, ((task,), runs) in zip(panels, trained.items(), strict=True):
        draw_task(panel, runs, colors)
        panel.set_title(task)
    handles = [plt.Line2D([], [], color=color) for color in colors.values()]
    figure.legend(handles, names, loc="outside right upper", fontsize="small")
    return figure


def draw_task(panel, runs, colors):
    trained = groups([row for row in runs if row["error"] is not None], "transformer")
    rates = {row["lr"] for row in runs}
    for place, ((name,), alike) in enumerate(trained.items()):
        # One rate alone is no axis: transformers stand side by side then.
        across = {rate: rate if len(rates) > 1 else place for rate in rates}
        lines = sorted(
            (across[rate], median(same, "error")) for (rate,), same in groups(alike, "lr").items()
        )
        marker = "" if len(rates) > 1 else "_"
        panel.plot(*zip(*lines, strict=True), marker=marker, markersize=20, color=colors[name])
        for collapsed, marker in (False, "."), (True, "x"):
            marked = [row for row in alike if row.get("collapsed", False) == collapsed]
            points = [across[row["lr"]] for row in marked], [row["error"] for row in marked]
            panel.plot(*points, marker, color=colors[name])
    panel.set_ylabel("test error, %")
    if len(rates) > 1:
        panel.set(xscale="log", yscale="log", xlabel="learning rate")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
    else:
        panel.set(xticks=[], xlabel=f"learning rate {min(rates):g}")
        panel.set_ylim(bottom=0)


def draw_shares(panel, shares, colors):
    rates = sorted({line["lr"] for line in shares}, reverse=True)
    styles = {rate: STYLES[number % len(STYLES)] for number, rate in enumerate(rates)}
    for line in shares:
        panel.plot(SHIFTS, line["within"], styles[line["lr"]], color=colors[line["transformer"]])
    panel.set(title="align", xlabel="shift, pixels of 40", ylabel="share within 1 pixel")
    handles = [plt.Line2D([], [], color="black", linestyle=style) for style in styles.values()]
    panel.legend(handles, [f"rate {rate:g}" for rate in styles], fontsize="small")
