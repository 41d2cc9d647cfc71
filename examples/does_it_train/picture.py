"""The picture: error by the learning rate, one panel a task, and how far away alignment begins."""

import config as configs
import matplotlib.pyplot as plt
from align import SHIFTS
from rows import groups, median


def draw(found: list[dict], shares: list[dict]):
    """A figure of rows, and of what `report.aligned` makes of them.

    Lines are medians over seeds, points are runs, and crosses are runs that have collapsed.
    """
    trained = groups([row for row in found if row["task"] != configs.ALIGN], "task")
    count = len(trained) + bool(shares)
    figure, ((*panels,),) = plt.subplots(
        1, count, figsize=(4 * count, 3.6), squeeze=False, layout="constrained"
    )
    names = [name for (name,) in groups(found, "transformer")]
    colors = {name: f"C{number}" for number, name in enumerate(names)}
    if shares:
        draw_shares(panels.pop(), shares, colors)
    for panel, ((task,), runs) in zip(panels, trained.items(), strict=True):
        draw_task(panel, task, runs, colors)
    return figure


def draw_task(panel, task, runs, colors):
    trained = [row for row in runs if row["error"] is not None]
    for (name,), alike in groups(trained, "transformer").items():
        by_rate = sorted((rate, median(same, "error")) for (rate,), same in groups(alike, "lr").items())
        panel.plot(*zip(*by_rate, strict=True), color=colors[name], label=name)
        for collapsed, marker in (False, "."), (True, "x"):
            marked = [row for row in alike if row.get("collapsed", False) == collapsed]
            rates, errors = ([row[axis] for row in marked] for axis in ("lr", "error"))
            panel.plot(rates, errors, marker, color=colors[name])
    panel.set(title=task, xscale="log", yscale="log", xlabel="learning rate", ylabel="test error, %")
    panel.legend(fontsize="small")


def draw_shares(panel, shares, colors):
    for line in shares:
        label = f"{line['transformer']}, {line['lr']:g}"
        style = "-" if line["lr"] == max(other["lr"] for other in shares) else ":"
        panel.plot(SHIFTS, line["within"], style, color=colors[line["transformer"]], label=label)
    panel.set(title="align", xlabel="shift, pixels of 40", ylabel="share within 1 pixel")
    panel.legend(fontsize="small")
