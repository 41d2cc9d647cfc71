"""SavedModel: `export_saved_model`."""

import re
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, sampler
from keras_stn.export import _accuracy, _files, _pipeline, _samples, _trace
from keras_stn.export.report import Report

__all__ = ["MODES", "export_saved_model"]

MODES = ("gather", "xla")

# Ops that run Python, and so only in the process that wrote them.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def export_saved_model(
    model: keras.Model,
    path: _files.PathLike,
    *,
    mode: str = "gather",
    samples: _samples.Samples | None = None,
) -> Report:
    """Write a model as a SavedModel of stock TensorFlow ops, for servers without keras_stn.

    The folder holds the signature `serving_default`, whose inputs and outputs have the names of the
    model's, and the function `serve` of the same, which a GradientTape can differentiate. It takes any
    batch unless the model fixes one. The model is loaded again and compared with the live one, traced in
    the same form, before the folder appears.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The folder to write; a SavedModel that is there is replaced.
        mode: The form of the samplers. `"gather"`: plain gathers, which run wherever TensorFlow does.
            `"xla"`: the form of training, with a hint to compile it: 6 ms instead of 32 for a call of
            the loaded model at 8x224x224x3 (two CPU cores), after up to 0.2 s at a new batch size.
            TensorFlow passes over the hint where it was built without XLA; TensorFlow Serving must be
            started with `--xla_cpu_compilation_enabled=true` to compile on a CPU, and else refuses the
            first call.
        samples: What to compare on: an array, a list or dictionary of arrays for several inputs, an .npz
            file or a tf.data.Dataset of such. By default random images; 32 stands for unknown sizes.

    Returns:
        A `keras_stn.export.Report`.

    Raises:
        ValueError: if the model cannot be written, holds ops that run Python or that only XLA can run
            (as Keras' grouped convolutions), does not load to the very numbers of the live one, or an
            argument is none of the above.

    Example:
        >>> import keras, keras_stn, tensorflow as tf
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense", name="upright")(images))
        >>> report = keras_stn.export_saved_model(model, "upright")
        >>> served = tf.saved_model.load("upright").signatures["serving_default"]
        >>> served(images=tf.zeros((5, 8, 12, 1)))["upright"].shape.as_list()
        [5, 8, 12, 1]
    """
    _checks.one_of("mode", mode, MODES)
    return _pipeline.export(_SavedModel(mode), model, path, samples=samples, measure_latency=False)


class _SavedModel(_pipeline.Format):
    runtime = "TensorFlow"
    is_folder = exact = True

    def __init__(self, mode: str):
        self.name = "SavedModel" + (" xla" if mode == "xla" else "")
        self.reader = sampler.interpreter.read if mode == "gather" else None

    def accept(self, signature: _trace.Signature) -> None:
        _check_names(signature)

    def convert(self, trace: _trace.Trace, path: Path) -> Any:
        with _trace.as_graphs(), _trace.read_by(self.reader):  # TensorFlow traces `serve` once more
            save(trace, path, serve=True)
        return tf.saved_model.load(str(path))

    def check(self, file: Any) -> None:
        for function in _graph(file).library.function:
            if function.attr["_XlaMustCompile"].b:
                raise ValueError(
                    "model must not hold functions that only XLA can run: layers with jit_compile=True, "
                    "or grouped convolutions, which Keras compiles (use one Conv2D for each group). "
                    f"Received: {function.signature.name!r}."
                )
        if found := _PYTHON_OPS.intersection(_ops(file)):
            raise ValueError(
                "model must consist of TensorFlow ops alone; it calls Python through "
                f"tf.py_function or tf.numpy_function. Received: {sorted(found)}."
            )

    def load(self, file: Any) -> _accuracy.Run:
        return lambda inputs: file.serve(*map(tf.convert_to_tensor, inputs.values()))

    def describe(self, file: Any, run: Any, trace: _trace.Trace) -> _pipeline.Contents:
        return _pipeline.Contents(_ops(file))


def _graph(loaded: Any) -> Any:
    return loaded.signatures["serving_default"].graph.as_graph_def()


def _ops(loaded: Any) -> list[str]:
    """The kind of each op in the graph of `serve`."""
    graph = _graph(loaded)
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return [node.op for node in nodes]


def save(trace: _trace.Trace, folder: Path, serve: bool = False) -> None:
    """Write the function of `trace` as a SavedModel: its signature, and if asked for as `serve`."""
    model, function = trace.signature.model, trace.function
    served = tf.Module()
    if serve:  # takes a second, for TensorFlow traces its gradient as well
        served.serve = function
    served.weights = [variable.value for variable in model.variables]
    # The trace itself: given the function, TensorFlow would trace it anew.
    signatures = {"serving_default": function.get_concrete_function()}
    try:
        with _files.disk(folder):
            tf.saved_model.save(served, str(folder), signatures)
    except (TypeError, ValueError) as error:
        if "argument" in str(error):
            _check_names(trace.signature)
        raise
    except AssertionError:
        # A layer with a lookup table. Keras' archive finds those, but writes all weights twice.
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", function)
        with _files.disk(folder):
            archive.write_out(str(folder), verbose=False)


def _check_names(signature: _trace.Signature) -> None:
    """Raise unless inputs have names of arguments: TensorFlow would change or refuse others."""
    names = [spec.name for spec in signature.specs]
    plain = all(re.fullmatch(r"[a-zA-Z]\w*", name, re.ASCII) and name != "self" for name in names)
    if not plain or len({name.lower() for name in names}) < len(names):
        raise ValueError(
            "model must have inputs whose names are letters, digits and underscores, a letter first, "
            f"with no two alike but for case, and none of them 'self'. Received: {names}."
        )
