"""ONNX: `export_onnx`. onnx, onnxruntime and tf2onnx are imported where they are needed."""

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, sampler
from keras_stn.export import (
    _accuracy,
    _grid_sample,
    _onnx_graph,
    _pipeline,
    _refusals,
    _samples,
    _scatter_nd,
    _trace,
)
from keras_stn.export._files import PathLike, write
from keras_stn.export.report import Finding, Report

__all__ = ["export_onnx"]

MODES = ("grid_sample", "grid_sample_border", "gather")
_NEWEST = 18  # that tf2onnx writes
OPSETS = (*range(16, _NEWEST + 1), _grid_sample.VOLUMES)  # from the first with GridSample on


def export_onnx(
    model: keras.Model,
    path: PathLike,
    *,
    mode: str = "grid_sample",
    batch_size: int | None = None,
    opset: int = 18,
    samples: _samples.Samples | None = None,
    max_error: float | None = None,
    measure_latency: bool = True,
) -> Report:
    """Write a model as an ONNX file, with the sampler as ONNX' own GridSample.

    `onnx.checker` checks the graph, ONNX Runtime runs it on `samples`, one by one and in batches, and
    the outputs are compared with Keras. Then the file is written, whole or not at all. Inputs and
    outputs stand in the model's order and have its names.

    Every interpolation and fill mode of the package is one GridSample for each sampler. Images in
    float64 and integer images keep the gathers, as do fill modes that differ by axis, and samplers
    inside a `tf.function` that the model holds. Params that are NaN, infinite or huge do what they do in
    Keras: they raise nothing and give finite pixels. What ONNX or its runtime cannot do raises:
    bfloat16, ops without an operator in ONNX, grouped convolutions, and models without known inputs.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The file to write, in a folder that exists.
        mode: `"grid_sample"`, or `"gather"` for the portable form: the same numbers in plain ops, for
            runtimes without GridSample, and for MNN. Its index is computed in int32, but its coordinates
            are floats: give OpenVINO `INFERENCE_PRECISION_HINT: "f32"`, or it takes bfloat16 where the
            processor has it, which places no pixel. In ONNX Runtime on a CPU it is also the faster form
            for interpolation="nearest", and for "bicubic" on many channels: there GridSample computes
            the coordinates again for each channel. `"grid_sample_border"` is for vendors' kernels of
            optical flow: reads with interpolation="bilinear" and fill_mode="nearest" are written as
            padding_mode="border" with align_corners=1, and not as "zeros" with 0. The numbers are the
            same, but ONNX Runtime takes ten times as long.
        batch_size: The batch of the file. `None`: any, unless the model fixes it.
        opset: The version of ONNX' operators, 16 to 18, or 20, in which volumes are GridSamples too, and
            not gathers. ONNX Runtime has it from 1.17 on.
        samples: What to compare on: an array, a list or dictionary of arrays for several inputs, an .npz
            file or a tf.data.Dataset of such. By default random images in [0, 1), smooth over a few
            pixels as pictures are; 32 stands for unknown sizes.
        max_error: The largest difference to Keras that is allowed. By default 1e-5 where no side of an
            image exceeds 64 pixels, 6e-5 at 224, more in proportion above, times the largest output
            where that exceeds 1, and what the rounding of predicted params adds to it. For
            interpolation="nearest", 0.1 % of the values may differ by more: points halfway between two
            pixels.
        measure_latency: Whether to time the file for the report, which takes 0.3 s.

    Returns:
        A `keras_stn.export.Report`.

    Raises:
        ValueError: if the model cannot be written as ONNX, the file would differ from Keras by more than
            `max_error`, or an argument is none of the above.
        ImportError: if onnx, onnxruntime or tf2onnx is missing. The extra `export` brings them.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
        >>> report = keras_stn.export_onnx(model, "transformer.onnx")
        >>> report.ops["GridSample"]
        1
    """
    _checks.one_of("mode", mode, MODES)
    if opset not in OPSETS:
        raise ValueError(f"opset must be one of {OPSETS}. Received: opset={opset!r}.")
    return _pipeline.export(
        _ONNX(mode, opset),
        model,
        path,
        batch_size=batch_size,
        samples=samples,
        max_error=max_error,
        measure_latency=measure_latency,
    )


# An index in int32: runtimes may compute floats with 8 bits, as OpenVINO does in bfloat16.
_gather = functools.partial(sampler.interpreter.read, index_dtype=tf.int32)


class _ONNX(_pipeline.Format):
    name = "ONNX"
    runtime = "ONNX Runtime"
    packages = "onnx", "onnxruntime", "tf2onnx"

    def __init__(self, mode: str, opset: int):
        self._opset = opset
        self._obstacles: list[str] = []  # why samplers kept their gathers
        self._border = mode == "grid_sample_border"
        self.reader = _gather if mode == "gather" else self._read

    def _read(self, images, points, sampling):
        if obstacle := _grid_sample.obstacle(images, sampling, self._opset):
            self._obstacles.append(obstacle)
            return _gather(images, points, sampling)
        return _grid_sample.read(images, points, sampling, self._border)

    def accept(self, signature: _trace.Signature) -> None:
        _refusals.check_float8(signature.model)

    def convert(self, trace: _trace.Trace, path: Path) -> Any:
        import onnx
        import tf2onnx

        signature = trace.signature
        handlers: dict[str, tuple[Callable, list]] = {
            _grid_sample.OP: (_grid_sample.to_onnx, []),
            "SelectV2": (_grid_sample.where_to_onnx, []),
            _scatter_nd.OP: (_scatter_nd.to_onnx, []),
        }
        _check_dtypes(trace.function.get_concrete_function().graph)
        function = _without_captures(trace)
        with _quiet("tf2onnx"):
            proto, _ = tf2onnx.convert.from_function(
                function,
                input_signature=signature.specs,
                opset=min(self._opset, _NEWEST),
                custom_op_handlers=handlers,
            )
        _check_ops(proto)
        if self._opset > _NEWEST:
            _onnx_graph.raise_opset(proto, self._opset, _grid_sample.RENAMED)
        proto = _onnx_graph.simplify(proto)
        # The order of the model, where tf2onnx has that of the alphabet: some runtimes go by place.
        proto.graph.output.sort(key=lambda output: signature.outputs.index(output.name))
        onnx.checker.check_model(proto, full_check=True)
        if signature.any_batch:
            names = [*(spec.name for spec in signature.specs), *signature.outputs]
            _onnx_graph.name_batch(proto, names)
        content = proto.SerializeToString()
        write(path, content)
        return proto, content

    def load(self, file: Any) -> _accuracy.Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        proto, content = file
        names = [output.name for output in proto.graph.output]
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))

    def describe(self, file: Any, run: Any, trace: _trace.Trace) -> _pipeline.Contents:
        findings = []
        if self._obstacles:
            counts = f"{len(self._obstacles)} of {len(trace.samplers)}"
            why = ", ".join(sorted(set(self._obstacles)))
            message = f"{counts} samplers kept their gathers: {why}"
            findings.append(Finding("gathers", "", "", (self.runtime,), message))
        return _pipeline.Contents((node.op_type for node in file[0].graph.node), findings)


def _without_captures(trace: _trace.Trace) -> Any:
    """The function, with the tensors that it captures as constants: tf2onnx takes them for inputs."""
    from tf2onnx import tf_loader

    signature, function, _ = trace
    concrete = function.get_concrete_function()
    captured = concrete.captured_inputs
    variables = {id(variable.handle) for variable in concrete.graph.variables}
    tables = any(tensor.dtype == tf.resource and id(tensor) not in variables for tensor in captured)
    if tables or all(tensor.dtype == tf.resource for tensor in captured):
        return function  # tables have no operator in ONNX, and tf2onnx says so
    frozen = tf_loader.convert_variables_to_constants_v2(
        concrete, lower_control_flow=False, aggressive_inlining=True
    )
    outputs = sorted(signature.outputs)  # a dictionary is flattened in this order

    def call(*tensors):
        return dict(zip(outputs, frozen(*tensors), strict=True))

    return _trace.traced(dataclasses.replace(signature, call=call)).function


def _check_dtypes(graph: tf.Graph) -> None:
    for operation in graph.get_operations():
        if any(tensor.dtype == tf.bfloat16 for tensor in operation.outputs):
            raise ValueError(
                "model must not compute in bfloat16, for which ONNX Runtime has no convolution; build "
                f'it with the dtype policy "float32". Received: bfloat16 in {operation.name!r}.'
            )


_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


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
        compiled = (
            ": a function compiled for XLA, as Keras' grouped convolutions are (use one Conv2D for each "
            "group)"
        )
        raise ValueError(
            "model must consist of what ONNX has operators for. "
            f"Received: {sorted(foreign)} in its graph{compiled if foreign & _CALLS else ''}."
        )
