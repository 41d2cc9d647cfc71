"""SavedModel: `export_saved_model`."""

import collections
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import sampler
from keras_stn.export import _accuracy, _files, _samplers, _trace
from keras_stn.export.report import Report

__all__ = ["export_saved_model"]

# Ops that run Python, and so only in the process that wrote them.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def export_saved_model(model: keras.Model, path: Any, *, samples: Any = None) -> Report:
    """Write a model as a SavedModel of stock TensorFlow ops, for servers without keras_stn.

    The folder holds the signature `serving_default`, whose inputs and outputs have the names of the
    model's, and the function `serve` of the same, which a GradientTape can differentiate. The batch is
    open unless the model fixes it. The samplers stand there as gathers. The model is loaded again and
    compared with the live one, traced in the same form, before the folder appears.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The folder to write; a SavedModel that is there is replaced.
        samples: What to compare on: an array, or a list or dictionary of arrays for several inputs. By
            default random images; 32 stands for unknown sizes.

    Returns:
        A `keras_stn.export.Report`.

    Raises:
        ValueError: if the model cannot be written, holds ops that run Python or that only XLA can run,
            does not load to the very numbers of the live one, or an argument is none of the above.

    Example:
        >>> import keras, keras_stn, tensorflow as tf
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense", name="upright")(images))
        >>> report = keras_stn.export_saved_model(model, "upright")
        >>> served = tf.saved_model.load("upright").signatures["serving_default"]
        >>> served(images=tf.zeros((5, 8, 12, 1)))["upright"].shape.as_list()
        [5, 8, 12, 1]
    """
    path = _files.folder(path)
    signature = _trace.signature(model)
    _check_names([spec.name for spec in signature.specs])
    arrays = _trace.sample_inputs(samples, signature.specs)
    with _files.partial(path) as partial:
        folder = partial / "saved_model"
        with _samplers.in_form(sampler.gather_taps):
            write(model, _trace.traced(signature), folder)
        ops = _ops(folder)
        accuracy = _compare(folder, signature, arrays)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        _files.move_whole(folder, path)
    return Report(str(path), "SavedModel", size, ops, [], accuracy)


def write(model: keras.Model, function: Any, folder: Path) -> None:
    """Write `function`, a traced tf.function of the model, as `serve` of a SavedModel."""
    served = tf.Module()
    served.serve = function
    served.weights = [variable.value for variable in model.variables]
    # The trace itself: given the function, TensorFlow would trace it anew.
    signatures = {"serving_default": function.get_concrete_function()}
    try:
        with _files.disk(folder):
            tf.saved_model.save(served, str(folder), signatures)
    except (TypeError, ValueError) as error:
        if "argument" in str(error):
            _check_names([spec.name for spec in function.input_signature])
        raise
    except AssertionError:
        # A layer with a lookup table. Keras' archive finds those, but writes all weights twice.
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", function)
        with _files.disk(folder):
            archive.write_out(str(folder), verbose=False)


def _check_names(names: list[str]) -> None:
    """Raise unless they can be those of arguments, which TensorFlow would otherwise change or refuse."""
    plain = all(re.fullmatch(r"[a-zA-Z]\w*", name, re.ASCII) and name != "self" for name in names)
    if not plain or len({name.lower() for name in names}) < len(names):
        raise ValueError(
            "model must have inputs whose names are letters, digits and underscores, a letter first, "
            f"with no two alike but for case, and none of them 'self'. Received: {names}."
        )


def _ops(folder: Path) -> dict[str, int]:
    """How often each op stands in the graph of `serve`, none of which needs Python or XLA."""
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    graph = served.graph.as_graph_def()
    for function in graph.library.function:
        if function.attr["_XlaMustCompile"].b:
            raise ValueError(
                "model must not hold functions that only XLA can run: layers with jit_compile=True, or "
                "grouped convolutions, which Keras compiles (use one Conv2D for each group). "
                f"Received: {function.signature.name!r}."
            )
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    ops = collections.Counter(node.op for node in nodes)
    if _PYTHON_OPS & set(ops):
        raise ValueError(
            "model must consist of TensorFlow ops alone; it calls Python through "
            f"tf.py_function or tf.numpy_function. Received: {sorted(_PYTHON_OPS & set(ops))}."
        )
    return dict(ops.most_common())


def _compare(
    folder: Path, signature: _trace.Signature, arrays: list[np.ndarray]
) -> dict[str, _accuracy.Accuracy]:
    """The accuracy of each output: the loaded graph beside the same graph of the live model."""
    with _samplers.in_form(sampler.gather_taps):  # not compiled, for compilers round differently
        live = _trace.traced(signature)
    loaded = tf.saved_model.load(str(folder))  # its variables live as long as it does
    pairs: dict[str, list] = {name: [] for name in signature.outputs}
    for batch in _accuracy.batches_of_many_sizes(arrays, signature.specs):
        tensors = [tf.convert_to_tensor(array) for array in batch]
        with _accuracy.running("TensorFlow"):
            expected, served = live(*tensors), loaded.serve(*tensors)
        for name, pair in pairs.items():
            pair.append([np.ravel(expected[name]), np.ravel(served[name])])
    accuracy = {
        name: _accuracy.measure(*map(np.concatenate, zip(*pair, strict=True)))
        for name, pair in pairs.items()
    }
    for name, (error, _) in accuracy.items():
        if error != 0:
            raise ValueError(
                "model must load to the numbers it was saved with; nothing was written. "
                f"Received: an error of {error:.2g} in {name!r}."
            )
    return accuracy
