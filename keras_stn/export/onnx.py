"""ONNX: `export_onnx`. onnx, onnxruntime and tf2onnx are imported where they are needed."""

import collections
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, sampler
from keras_stn.export import _files, _grid_sample, _onnx_graph, _trace
from keras_stn.export.report import Report

__all__ = ["export_onnx"]

MODES = ("grid_sample", "gather")
OPSETS = range(16, 19)  # the first with GridSample, and the last that tf2onnx writes

# Of interpolation="nearest": how many values may come from the pixel beside the right one, because a
# rounding moved the point across the middle between the two.
_TIES = 1e-3


def export_onnx(
    model: keras.Model,
    path: Any,
    *,
    mode: str = "grid_sample",
    batch_size: int | None = None,
    opset: int = 18,
    samples: Any = None,
    max_error: float | None = None,
) -> Report:
    """Write a model as an ONNX file, with the sampler as ONNX' own GridSample.

    The graph is checked by `onnx.checker`, run in ONNX Runtime on `samples`, the whole batch and its
    first element alone, and compared with Keras. After that the file is written, whole or not at all.

    Every interpolation and fill mode is one GridSample for each sampler. Images in float64 and integer
    images keep the gathers. Params that are NaN, infinite or huge do what they do in Keras: they raise
    nothing and give finite pixels. What ONNX or its runtime cannot do raises: bfloat16, ops without an
    operator in ONNX, and models without known inputs.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The file to write, in a folder that exists.
        mode: `"grid_sample"`, or `"gather"` for the portable form: the same numbers in plain ops, for
            runtimes without GridSample. It is also the faster one in ONNX Runtime on a CPU for
            interpolation="nearest", and for "bicubic" on many channels: there GridSample
            computes the coordinates again for each channel.
        batch_size: The batch of the file. `None`: any, unless the model fixes it.
        opset: The version of ONNX' operators, 16 to 18.
        samples: What to compare on: an array, or a list or dictionary of arrays for several inputs. By
            default random images in [0, 1), smooth over a few pixels as pictures are; 32 stands for
            unknown sizes.
        max_error: The largest difference to Keras that is allowed. By default 1e-5 where no side of an
            image exceeds 64 pixels, 6e-5 up to 224 and more in proportion above, times the largest
            output where that exceeds 1: twice what the sampler was measured at, for params that are
            predicted add their own rounding. For interpolation="nearest", 0.1 % of the values may
            differ by more: points halfway between two pixels.

    Returns:
        A `keras_stn.export.Report`.

    Raises:
        ValueError: if the model cannot be written as ONNX, the file would differ from Keras by more than
            `max_error`, or an argument is none of the above.
        ImportError: if onnx, onnxruntime or tf2onnx is missing: `pip install "keras-stn[export]"`.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
        >>> report = keras_stn.export_onnx(model, "transformer.onnx")
        >>> report.ops["GridSample"]
        1
    """
    _files.require("onnx", "onnxruntime", "tf2onnx")
    if mode not in MODES:
        _checks.one_of("mode", mode, MODES)
    if opset not in OPSETS:
        raise ValueError(f"opset must be one of {tuple(OPSETS)}. Received: opset={opset!r}.")
    if max_error is not None:
        max_error = _checks.positive("max_error", max_error)
    path = _files.target(path)
    signature = _trace.signature(model, batch_size)
    arrays = _trace.sample_inputs(samples, signature.specs)

    proto, samplers = _convert(signature, mode, opset)
    content = proto.SerializeToString()
    error, findings = _compare(content, signature, arrays, max_error, samplers)
    _files.write_whole(path, content)
    gathered = [use for use in samplers if mode == "grid_sample" and not use.native]
    if gathered:
        findings.append(
            f"{len(gathered)} of {len(samplers)} samplers kept their gathers: "
            f"{', '.join(sorted({use.dtype for use in gathered}))} images."
        )
    ops = dict(collections.Counter(node.op_type for node in proto.graph.node).most_common())
    return Report(str(path), "onnx", len(content), ops, findings, error)


class Use(NamedTuple):
    """A sampler that was met while the model was traced."""

    interpolation: str
    dtype: str
    size: int  # the longest side of its images, 0 if unknown
    native: bool  # as GridSample


def _convert(signature: _trace.Signature, mode: str, opset: int) -> tuple[Any, list[Use]]:
    """The ONNX model, and the samplers that were met on the way."""
    import tf2onnx

    samplers: list[Use] = []

    def stand_in(images, x, y, interpolation, fill_mode, fill_value):
        native = mode == "grid_sample" and _grid_sample.suits(images.dtype)
        size = max((side for side in images.shape[1:3] if side is not None), default=0)
        samplers.append(Use(interpolation, images.dtype.name, size, native))
        function = _grid_sample.sample if native else sampler.gather_taps
        return function(images, x, y, interpolation, fill_mode, fill_value)

    handlers: dict[str, tuple[Callable, list]] = {
        _grid_sample.OP: (_grid_sample.to_onnx, []),
        "SelectV2": (_grid_sample.where_to_onnx, []),
    }
    function = tf.function(signature.call, autograph=False)
    with sampler.replaced_by(stand_in):
        traced = function.get_concrete_function(*signature.specs)
    _check_dtypes(traced.graph)
    with _quiet("tf2onnx"):
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=signature.specs, opset=opset, custom_op_handlers=handlers
        )
    _check_ops(proto)
    proto = _onnx_graph.simplify(proto)
    if all(spec.shape[0] is None for spec in signature.specs):
        _onnx_graph.name_batch(proto, [*(spec.name for spec in signature.specs), *signature.outputs])
    return proto, samplers


def _check_dtypes(graph: tf.Graph) -> None:
    for operation in graph.get_operations():
        if any(tensor.dtype == tf.bfloat16 for tensor in operation.outputs):
            raise ValueError(
                "model must not compute in bfloat16, for which ONNX Runtime has no convolution; build "
                f'it with the dtype policy "float32". Received: bfloat16 in {operation.name!r}.'
            )


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_ops(proto: Any) -> None:
    """Raise unless tf2onnx, which only logs it, has found an operator for everything."""
    import onnx

    foreign = {n.op_type for n in proto.graph.node if n.domain or not onnx.defs.has(n.op_type)}
    if foreign:
        raise ValueError(
            "model must consist of what ONNX has operators for. "
            f"Received: {sorted(foreign)} in its graph."
        )


def _compare(
    content: bytes,
    signature: _trace.Signature,
    arrays: list[np.ndarray],
    max_error: float | None,
    samplers: list[Use],
) -> tuple[float, list[str]]:
    """The largest error in ONNX Runtime, if it is allowed, and what there is to say about it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest, findings = 0.0, []
    batches = [arrays]
    if all(spec.shape[0] is None for spec in signature.specs):
        batches.append([array[:1] for array in arrays])
    for batch in batches:
        expected = signature.call(*map(tf.convert_to_tensor, batch))
        feed = {spec.name: array for spec, array in zip(signature.specs, batch, strict=True)}
        for name, actual in zip(signature.outputs, session.run(signature.outputs, feed), strict=True):
            truth = tf.cast(expected[name], tf.float64).numpy()
            errors = np.abs(actual.astype("float64") - truth).ravel()
            allowed = _allowed(truth, samplers) if max_error is None else max_error
            if any(use.interpolation == "nearest" for use in samplers):
                errors, ties = _without_ties(errors, allowed)
                if ties:
                    findings.append(
                        f"{ties} values of {name!r} come from the pixel beside the right one."
                    )
            error = float(errors.max(initial=0.0))
            if not error <= allowed:
                raise ValueError(
                    f"model must give the same numbers in ONNX Runtime, within {allowed:.2g}; nothing "
                    "was written. Give max_error if more is near enough. "
                    f"Received: an error of {error:.2g} in {name!r}."
                )
            largest = max(largest, error)
    return largest, findings


def _allowed(truth: np.ndarray, samplers: list[Use]) -> float:
    size = max((use.size for use in samplers), default=0)
    error = 1e-5 if size <= 64 else 6e-5 * max(1.0, size / 224)
    return error * max(1.0, float(np.abs(truth).max(initial=0.0)))


def _without_ties(errors: np.ndarray, allowed: float) -> tuple[np.ndarray, int]:
    beyond = ~(errors <= allowed)
    ties = int(beyond.sum())
    return (errors[~beyond], ties) if ties <= _TIES * errors.size else (errors, 0)
