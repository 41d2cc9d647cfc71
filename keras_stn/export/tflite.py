"""TFLite, which is LiteRT's format: `export_tflite`."""

import collections
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.export import (
    _accuracy,
    _files,
    _finish,
    _flatbuffer,
    _litert,
    _quantize,
    _refusals,
    _samplers,
    _trace,
    _versions,
)
from keras_stn.export.check import check
from keras_stn.export.report import Report
from keras_stn.export.saved_model import write

__all__ = ["QUANTIZATIONS", "TARGETS", "export_tflite"]

QUANTIZATIONS = ("float16", "dynamic", "int8")
TARGETS = ("cpu", "gpu")

# The smallest PSNR of an output in dB. A file whose sampler was quantized with the rest has 13.
_MIN_PSNR = {"float16": 50.0, "dynamic": 25.0, "int8": 25.0}


def export_tflite(
    model: keras.Model,
    path: Any,
    *,
    quantization: str | None = None,
    representative_dataset: Any = None,
    batch_size: int | None = None,
    target: str = "cpu",
    samples: Any = None,
    max_error: float | None = None,
    min_psnr: float | None = None,
) -> Report:
    """Write a model as a TFLite file, of builtin ops alone, run and compared with Keras first.

    The file is run by the LiteRT interpreter on `samples` before it is written. Params that are NaN,
    infinite or huge do on the device what they do in Keras: they raise nothing and give finite pixels.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The file to write, in a folder that exists.
        quantization: `None`: float32. `"float16"`: weights of half the size. `"dynamic"`: weights of 8
            bits, activations in float. `"int8"`: convolutions on 8-bit integers, dense layers as in
            "dynamic". Samplers, and the params they follow, stay in float32 in each: in 8 bits a
            coordinate would have 256 places in the whole image.
        representative_dataset: Images as the model will see them, a hundred or so, from which
            `quantization="int8"` learns the range of each activation: in the form of `samples`, a
            tf.data.Dataset of such, or a function that returns an iterable of them, as TensorFlow has
            it.
        batch_size: The batch of the file. `None`: any, unless the model fixes it; but 1 for
            `target="gpu"`, which takes no open sizes.
        target: `"cpu"`: fastest in the interpreter. `"gpu"`: also accepted whole by the LiteRT GPU
            accelerator, and right where that computes in float16; needs images of known size.
        samples: What to compare on: an array, or a list or dictionary of arrays for several inputs. By
            default the representative dataset, or else random images; 32 stands for unknown sizes.
        max_error: The largest difference to Keras that is allowed; for `quantization=None` alone. By
            default 1e-5 where no side of an image exceeds 64 pixels, 6e-5 at 224, more in
            proportion above, times the largest output where that exceeds 1; and
            four times what one step of its weights and inputs moves Keras itself. For
            interpolation="nearest", 0.1 % of the values may differ by more: points halfway between two
            pixels.
        min_psnr: The smallest peak signal-to-noise ratio that is allowed, in dB, on each output; where
            it is quantized alone. By default 50 for "float16", 25 for "dynamic" and "int8".

    Returns:
        A `keras_stn.export.Report`. Its findings name what other runtimes would refuse.

    Raises:
        ValueError: if the model cannot be written with builtin ops, the file would differ from Keras by
            more than is allowed, or an argument is none of the above. No file is written then.
        ImportError: if ai-edge-litert (or, for "float16" and "int8", ai-edge-quantizer) is missing,
            which the extra `export` brings.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((8, 12, 1), name="images")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
        >>> report = keras_stn.export_tflite(model, "transformer.tflite", quantization="float16")
        >>> report.format, report.psnr > 60
        ('TFLite float16', True)
    """
    if quantization is not None:
        _checks.one_of("quantization", quantization, QUANTIZATIONS)
    quantizer = ["ai_edge_quantizer"] if quantization in ("float16", "int8") else []
    _files.require("ai_edge_litert", *quantizer)
    _checks.one_of("target", target, TARGETS)
    max_error = None if max_error is None else _checks.positive("max_error", max_error)
    min_psnr = None if min_psnr is None else _checks.positive("min_psnr", min_psnr)
    if quantization is None and min_psnr is not None:
        raise ValueError(
            f"min_psnr must be None without quantization; give max_error. Received: {min_psnr=}."
        )
    if quantization is not None and max_error is not None:
        raise ValueError(
            f"max_error must be None with quantization; give min_psnr. Received: {max_error=}."
        )
    path = _files.target(path)
    signature = _trace.signature(model, batch_size, 1 if target == "gpu" else None)
    if target == "gpu":
        _check_static(signature)
    calibration = _calibration(quantization, representative_dataset, signature)
    if samples is None and calibration is not None:
        samples = [array[:32] for array in calibration]
    arrays = _trace.sample_inputs(samples, signature.specs)

    content, uses = _convert(model, signature, target, quantization)
    if quantization == "float16":
        content = _quantize.float16(content)
    elif quantization == "int8" and calibration is not None:
        batches = _trace.batches(calibration, signature.specs, 1)
        examples = [_trace.named(batch, signature.specs) for batch in batches]
        content = _quantize.int8(content, examples)
    content = _finish.finished(content, model.name, signature)
    _refuse(check(content, ("cpu", "gpu") if target == "gpu" else ("cpu",)))

    runner = _litert.Runner(content)
    floor = None if quantization is None else min_psnr or _MIN_PSNR[quantization]
    accuracy, findings = _accuracy.compare(runner, "LiteRT", signature, arrays, uses, max_error, floor)
    open_batch = any(spec.shape[0] is None for spec in signature.specs)
    if runner.unsteady or (open_batch and _mixed(uses)):
        findings.append(_UNSTEADY)
    one = next(_trace.batches(arrays, signature.specs, 1))
    latency = runner.latency_ms(_trace.named(one, signature.specs))
    _files.write_whole(path, content)
    operators = _flatbuffer.operators(content)
    ops = dict(collections.Counter(operator.name for operator in operators).most_common())
    return Report(
        str(path),
        "TFLite" + (f" {quantization}" if quantization else "") + (" gpu" if target == "gpu" else ""),
        len(content),
        ops,
        findings + _summary(check(content)),
        accuracy,
        latency,
        _versions.min_runtime(operators),
    )


# Measured with an image and its labels, warped by the same params: after one change of the batch in ten
# to a hundred the numbers were wrong, of both alike, in each LiteRT from 1.0 to 2.3.
_UNSTEADY = (
    "LiteRT's XNNPACK may be wrong after the batch of an interpreter has changed: give batch_size, or "
    "make a new interpreter for each batch."
)


def _mixed(uses: list[_samplers.Use]) -> bool:
    """Whether samplers by "nearest" stand beside others, where that was seen."""
    return len({use.interpolation == "nearest" for use in uses}) > 1


def _check_static(signature: _trace.Signature) -> None:
    for spec in signature.specs:
        if None in spec.shape:
            raise ValueError(
                'model must have inputs of known size for target="gpu". '
                f"Received: {spec.name!r} of shape {tuple(spec.shape)}."
            )


def _calibration(
    quantization: str | None, dataset: Any, signature: _trace.Signature
) -> list[np.ndarray] | None:
    if dataset is None:
        if quantization == "int8":
            raise ValueError(
                'representative_dataset must be given for quantization="int8": a hundred images or so, '
                "as the model will see them. Received: representative_dataset=None."
            )
        return None
    name = "representative_dataset"
    if not callable(dataset) and not isinstance(dataset, tf.data.Dataset):
        return _trace.sample_inputs(dataset, signature.specs, name)
    steps = dataset() if callable(dataset) else dataset
    steps = [_trace.sample_inputs(step, signature.specs, name) for step in steps]
    if not steps:
        raise ValueError(f"{name} must hold examples. Received: none.")
    return [np.concatenate(arrays) for arrays in zip(*steps, strict=True)]


def _convert(
    model: keras.Model, signature: _trace.Signature, target: str, quantization: str | None
) -> tuple[bytes, list[_samplers.Use]]:
    """The file, and the samplers that were met on the way."""
    with tempfile.TemporaryDirectory() as folder:
        form = _samplers.for_gpu if target == "gpu" else _samplers.for_cpu
        with _samplers.in_form(form) as uses:
            if target == "gpu":
                with grids.split_pixels():
                    function = _trace.traced(_with_own_outputs(signature))
            else:
                function = _trace.traced(signature)
        write(model, function, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        # Not Keras' model.export(format="litert"), which lets TensorFlow ops in without a word.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization == "dynamic":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return converter.convert(), uses
        except Exception as error:  # of a class of TensorFlow's own, with a page of text
            if refused := _refusals.refused(error, model, signature):
                raise refused from error
            raise


def _with_own_outputs(signature: _trace.Signature) -> _trace.Signature:
    """`signature`, with an op of its own behind each output.

    Where an output also goes on into the model, as params do, the GPU accelerator of LiteRT 2.3 may use
    its memory for something else before it is read.
    """

    def call(*tensors):
        outputs = signature.call(*tensors)
        return {
            # Labels of bytes come from a cast, which is an op of their own.
            name: tf.minimum(value, value.dtype.max) if _has_minimum(value.dtype) else value
            for name, value in outputs.items()
        }

    return dataclasses.replace(signature, call=call)


def _has_minimum(dtype: tf.DType) -> bool:
    """Whether TFLite has that op for it."""
    return dtype in (tf.float32, tf.int32, tf.int64)


def _refuse(findings: list[Any]) -> None:
    if findings:
        lines = "\n".join(f"- {finding}" for finding in findings)
        raise ValueError(
            f"model must consist of what the target runs; nothing was written. Received:\n{lines}"
        )


def _summary(findings: list[Any]) -> list[str]:
    """One line for each rule and op, however often it is broken."""
    counts = collections.Counter((f.op, f.message, f.runtimes) for f in findings)
    return [
        f"{', '.join(runtimes)}: {op} {message}" + (f" ({count} times)" if count > 1 else "")
        for (op, message, runtimes), count in counts.items()
    ]
