"""The table and the picture of rows: results.json, results.md and results.png.

    python examples/does_it_train/report.py results

makes them again, of all rows of that folder.
"""

import argparse
import json
import pathlib
import statistics

import config as configs
import picture
import rows
import verdict

HEAD = {
    "transformer": "transformer",
    "family": "family",
    "weights": "weights",
    "runs": "runs",
    "collapsed": "collapsed",
    "lr": "best rate",
    "error": "error, %",
    "spread": "spread",
    "relative": "by plain's",
    "worst": "at worst",
    "outside": "outside",
    "determinant": "det",
    "slope": "undone / given",
    "correlation": "correlation",
    "seconds": "seconds",
}
MEDIANS = "error", "relative", "outside", "determinant", "slope", "correlation", "seconds"
SHOWN = 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20  # shifts, in the table


def summaries(found: list[dict]) -> list[dict]:
    """One for each task and transformer: medians over the seeds at its best rate, and the worst of all.

    The spread is the standard deviation of errors over the seeds.
    """
    made = []
    trained = [row for row in found if row["task"] != configs.ALIGN]
    for (task, transformer), runs in rows.groups(trained, "task", "transformer").items():
        rates = {rate: rows.median(alike, "error") for (rate,), alike in rows.groups(runs, "lr").items()}
        known = {rate: error for rate, error in rates.items() if error is not None}
        best = min(known, key=known.get) if known else None
        at_best = [row for row in runs if row["lr"] == best]
        relative = [row["relative"] for row in runs if row.get("relative") is not None]
        summary = {"task": task, "transformer": transformer, "family": runs[0]["family"]}
        summary |= {"weights": runs[0]["weights"], "runs": len(runs)}
        summary["collapsed"] = sum(row.get("collapsed", False) for row in runs)
        summary |= {"lr": best, "worst": max(relative, default=None)}
        errors = [row["error"] for row in at_best if row["error"] is not None]
        summary["spread"] = statistics.stdev(errors) if len(errors) > 1 else None
        made.append({**summary, **{name: rows.median(at_best, name) for name in MEDIANS}})
    return made


def aligned(found: list[dict]) -> list[dict]:
    """For each transformer and rate of the task "align": the share that converged, by the shift."""
    runs = [row for row in found if row["task"] == configs.ALIGN]
    return [
        {
            "transformer": transformer,
            "lr": rate,
            "within": [
                statistics.mean(shares) for shares in zip(*(row["within"] for row in alike), strict=True)
            ],
        }
        for (transformer, rate), alike in rows.groups(runs, "transformer", "lr").items()
    ]


def fallen(found: list[dict]) -> tuple[list, list[list]]:
    """Head and lines of a table: how many runs have collapsed, over all tasks, by the rate."""
    judged = [row for row in found if "collapsed" in row]
    rates = sorted({row["lr"] for row in judged})
    lines = []
    for (name,), runs in rows.groups(judged, "transformer").items():
        parts = [runs, *([row for row in runs if row["lr"] == rate] for rate in rates)]
        lines.append([name, *(f"{sum(r['collapsed'] for r in part)} of {len(part)}" for part in parts)])
    return ["transformer", "all", *(f"{rate:g}" for rate in rates)], lines


def cell(value) -> str:
    if isinstance(value, float):
        value = 0.0 if abs(value) < 1e-9 else value  # rounding, of a turn that is none
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else value


def table(head, lines) -> str:
    return "\n".join(
        f"| {' | '.join(map(cell, line))} |" for line in [head, ["---"] * len(head), *lines]
    )


def markdown(found: list[dict], summed: list[dict], shares: list[dict]) -> str:
    parts = ["# Does it train?"]
    if summed:
        parts += ["## Collapsed runs, by the learning rate", table(*fallen(found))]
    for (task,), lines in rows.groups(summed, "task").items():
        parts += [
            f"## {task}",
            table([*HEAD.values()], [[line[name] for name in HEAD] for line in lines]),
        ]
    if shares:
        head = "transformer", "rate", *map(str, SHOWN)
        lines = [[s["transformer"], s["lr"], *(s["within"][shift] for shift in SHOWN)] for s in shares]
        parts += ["## align: share within 1 px, by the shift in pixels", table(head, lines)]
    return "\n\n".join(parts) + "\n"


def write(found: list[dict], out: pathlib.Path) -> list[pathlib.Path]:
    """Write the three files into the folder `out`; returns their paths."""
    if not found:
        return []
    paths = [out / f"results.{ending}" for ending in ("json", "md", "png")]
    summed, shares = summaries(found), aligned(found)
    paths[0].write_text(json.dumps({"classified": summed, "aligned": shares}, indent=1) + "\n")
    paths[1].write_text(markdown(found, summed, shares))
    picture.draw(found, shares).savefig(paths[2], dpi=100)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="of rows.jsonl and the report")
    folder = parser.parse_args().folder
    print("wrote", *write(verdict.judged(rows.read(folder / "rows.jsonl")), folder))
