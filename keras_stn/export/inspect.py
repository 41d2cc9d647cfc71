"""What is in a TFLite file, as tables: `inspect_tflite`."""

import collections

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from keras_stn.export import _files, _flatbuffer, _versions
from keras_stn.export._files import PathLike
from keras_stn.export.check import RUNTIMES, check
from keras_stn.export.report import Finding

__all__ = ["inspect_tflite"]


def inspect_tflite(path: PathLike) -> Group:
    """Tables of what is in a TFLite file, for `rich.print`.

    Args:
        path: The file.

    Returns:
        Something that rich prints: inputs and outputs, ops, where the bytes are, and for each runtime
        whether it takes the file or what it refuses (`keras_stn.check_tflite`).

    Raises:
        ValueError: if it is no TFLite file.
        ImportError: if ai-edge-litert is missing, which the extra `export` brings.

    Example:
        >>> import keras, keras_stn, rich
        >>> from keras_stn.export.inspect import inspect_tflite
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
        >>> report = keras_stn.export_tflite(model, "transformer.tflite", batch_size=1)
        >>> rich.print(inspect_tflite("transformer.tflite"))  # doctest: +ELLIPSIS
        transformer.tflite...
    """
    _files.require("ai_edge_litert")
    with _flatbuffer.opened(path) as file:
        runtime = f"runs in TensorFlow Lite {_versions.min_runtime(file.operators)} or newer"
        constants = f"{file.constant_bytes:,} of them constants; {len(file.operators)} ops"
        facts = f"{escape(str(path))}: {len(file.content):,} bytes, {constants}; {runtime}"
        tables = _inputs_and_outputs(file), _ops(file.operators), _verdicts(check(file))
    return Group(facts, *(line for table in tables for line in ("", table)))


def _inputs_and_outputs(file: _flatbuffer.File) -> Table:
    table = _table("", "name", "shape", "dtype")
    graph = file.model.subgraphs[0]
    for kind, indices in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in file.named(indices):
            table.add_row(kind, escape(tensor.name), _shape(tensor), tensor.dtype.lower())
    return table


def _shape(tensor: _flatbuffer.Tensor) -> str:
    return " x ".join("any" if size < 0 else str(size) for size in tensor.signature)


def _ops(operators: list[_flatbuffer.Operator]) -> Table:
    table = _table("op", "count", "writes")
    table.columns[1].justify = "right"
    counts = collections.Counter(operator.name for operator in operators)
    dtypes: dict[str, set[str]] = collections.defaultdict(set)
    for operator in operators:
        dtypes[operator.name] |= {tensor.dtype.lower() for tensor in operator.outputs}
    for name, count in counts.most_common():
        table.add_row(escape(name), str(count), ", ".join(sorted(dtypes[name])))
    return table


def _verdicts(findings: list[Finding]) -> Table:
    table = _table("runtime", "", "what it refuses")
    for runtime in RUNTIMES:
        refused = collections.Counter(
            escape(f"{finding.op} {finding.message}")
            for finding in findings
            if runtime in finding.runtimes
        )
        lines = [f"{text} ({count} times)" if count > 1 else text for text, count in refused.items()]
        verdict = "[red]no[/red]" if lines else "[green]yes[/green]"
        table.add_row(runtime, verdict, "\n".join(lines))
    return table


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="dim")
