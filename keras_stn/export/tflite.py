"""TFLite, which is LiteRT's format: `export_tflite`."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.export import (
    _finish,
    _flatbuffer,
    _litert,
    _pipeline,
    _quantize,
    _readers,
    _refusals,
    _samples,
    _trace,
    _versions,
)
from keras_stn.export._files import PathLike, write
from keras_stn.export.check import check
from keras_stn.export.report import Finding, Report
from keras_stn.export.saved_model import save

__all__ = ["QUANTIZATIONS", "TARGETS", "export_tflite"]

QUANTIZATIONS = ("float16", "dynamic", "int8")
TARGETS = ("cpu", "gpu")

# The smallest PSNR of an output in dB. A file whose sampler was quantized with the rest has 13.
_MIN_PSNR = {"float16": 50.0, "dynamic": 25.0, "int8": 25.0}


def export_tflite(
    model: keras.Model,
    path: PathLike,
    *,
    quantization: str | None = None,
    representative_dataset: _samples.Samples | None = None,
    batch_size: int | None = None,
    target: str = "cpu",
    samples: _samples.Samples | None = None,
    max_error: float | None = None,
    min_psnr: float | None = None,
    measure_latency: bool = True,
) -> Report:
    """Write a model as a TFLite file of builtin ops alone, compared with Keras first.

    The LiteRT interpreter runs the file on `samples` before it is written. Inputs and outputs stand in
    the model's order and have its names. Params that are NaN, infinite or huge raise nothing on the
    device and give finite pixels: those of Keras with XNNPACK; without it, and for `target="gpu"`, up to
    1.5 % of such an image may come from another place.

    Label maps of any whole dtype are exact with `interpolation="nearest"`, beside their images. There
    fix `batch_size`, or make a new interpreter for each batch: LiteRT 1.0 to 2.3 are at times wrong in
    one whose batch has changed, and the report says so.

    Translation and attention on small images of few channels become two small matmuls, without a GATHER.

    Args:
        model: A Functional model, or a Sequential one with its input.
        path: The file to write, in a folder that exists.
        quantization: `None`: float32. `"float16"`: convolutions and dense layers with weights
            of half the size, where they have 1,024 or more. `"dynamic"`: the same with weights of 8
            bits, activations in float. `"int8"`: convolutions on 8-bit integers, dense layers as in
            "dynamic". Samplers, and the params they follow, stay in float32 in each, and in the latter
            two so do the scores of which `Centroids` make places: in 8 bits a coordinate would have 256
            places in the whole image.
        representative_dataset: Images as the model will see them, a hundred or so, from which
            `quantization="int8"` learns the range of each activation: an array, a list or dictionary of
            arrays for several inputs, an .npz file of such, a tf.data.Dataset, or a function that
            returns an iterable of them, as TensorFlow has it.
        batch_size: The batch of the file. A fixed one gives the smallest and fastest file, and in
            float32 the only one for microcontrollers. `None`: any, unless the model fixes it; but 1 for
            `target="gpu"`, which takes no open sizes.
        target: `"cpu"`: fastest in the interpreter. `"gpu"`: the LiteRT GPU accelerator takes all of it,
            and it is right where that computes in float16, in which a coordinate of 400 has steps of a
            quarter of a pixel. So coordinates come in two parts: a photograph of 512x512 keeps 73 dB
            instead of 39. Needs images of known size, and takes no tensors of five axes: no volumes,
            videos or many maps of an image, and neither `antialias=True` nor `ops.grid_splat`.
        samples: What to compare on, in the forms of the representative dataset, which is the default.
            Without one, random images; 32 stands for unknown sizes.
        max_error: The largest difference to Keras that is allowed; for `quantization=None` alone. By
            default 1e-5 where no side of an image exceeds 64 pixels, 6e-5 at 224, more in proportion
            above, times the largest output where that exceeds 1, and what the rounding of predicted
            params adds to it. For interpolation="nearest", 0.1 % of the values may differ by more:
            points halfway between two pixels.
        min_psnr: The smallest peak signal-to-noise ratio that is allowed, in dB, on each output; where
            it is quantized alone. By default 50 for "float16", 25 for "dynamic" and "int8".
        measure_latency: Whether to time the file for the report, which takes 0.3 s.

    Returns:
        A `keras_stn.export.Report`. Its findings name what other runtimes would refuse.

    Raises:
        ValueError: if the model cannot be written with builtin ops (such as a model of half precision, a
            recurrent layer with any batch size or, for `target="gpu"`, groups of channels not in fours),
            the file would differ from Keras by more than is allowed, or an argument is none of these. No
            file is written then.
        ImportError: if ai-edge-litert (or, with `quantization`, ai-edge-quantizer) is missing. The extra
            `export` brings both.

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
    _checks.one_of("target", target, TARGETS)
    if quantization is None and min_psnr is not None:
        raise ValueError(
            f"min_psnr must be None without quantization; give max_error. Received: {min_psnr=}."
        )
    if quantization is not None and max_error is not None:
        raise ValueError(
            f"max_error must be None with quantization; give min_psnr. Received: {max_error=}."
        )
    if quantization is not None and min_psnr is None:
        min_psnr = _MIN_PSNR[quantization]
    return _pipeline.export(
        _TFLite(quantization, representative_dataset, target),
        model,
        path,
        batch_size=batch_size,
        samples=samples,
        max_error=max_error,
        min_psnr=min_psnr,
        measure_latency=measure_latency,
    )


class _TFLite(_pipeline.Format):
    runtime = "LiteRT"

    def __init__(self, quantization: str | None, dataset: _samples.Samples | None, target: str):
        self._quantization, self._dataset = quantization, dataset
        self._for_gpu = target == "gpu"
        self.name = " ".join(filter(None, ("TFLite", quantization, "gpu" if self._for_gpu else "")))
        quantizer = ("ai_edge_quantizer",) if quantization else ()
        self.packages = "ai_edge_litert", *quantizer
        self.reader = _readers.for_gpu if self._for_gpu else _readers.for_cpu
        self.default_batch = 1 if self._for_gpu else None
        self._calibration: list[np.ndarray] = []  # what int8 learns ranges from

    def accept(self, signature: _trace.Signature) -> None:
        for spec in signature.specs:
            if self._for_gpu and None in spec.shape:
                raise ValueError(
                    'model must have inputs of known size for target="gpu". '
                    f"Received: {spec.name!r} of shape {tuple(spec.shape)}."
                )
        if self._quantization == "int8" and self._dataset is None:
            raise ValueError(
                'representative_dataset must be given for quantization="int8": a hundred images or so, '
                "as the model will see them. Received: representative_dataset=None."
            )
        if self._dataset is not None:
            self._calibration = _samples.read(self._dataset, signature.specs, "representative_dataset")

    def default_samples(self, signature: _trace.Signature) -> list[np.ndarray]:
        return [array[:32] for array in self._calibration] or super().default_samples(signature)

    def trace(self, signature: _trace.Signature) -> _trace.Trace:
        if not self._for_gpu:
            return super().trace(signature)
        with grids.for_float16():
            return super().trace(_with_own_outputs(signature))

    def convert(self, trace: _trace.Trace, path: Path) -> _flatbuffer.File:
        content, signature = self._converted(trace), trace.signature
        if self._quantization == "float16":
            content = _quantize.float16(content)
        elif self._quantization == "dynamic":
            content = _quantize.dynamic(content)
        elif self._quantization == "int8":
            examples = map(signature.named, signature.batches(self._calibration))
            content = _quantize.int8(content, list(examples))
        file = _finish.finished(content, signature)
        write(path, file.content)
        return file

    def _converted(self, trace: _trace.Trace) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            save(trace, Path(folder))
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            # Not Keras' model.export(format="litert"), which lets TensorFlow ops in without a word.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            try:
                return converter.convert()
            except Exception as error:  # of a class of TensorFlow's own, with a page of text
                if refused := _refusals.refused(error, trace.signature):
                    raise refused from error
                raise

    def check(self, file: _flatbuffer.File) -> None:
        if findings := check(file, ("cpu", "gpu") if self._for_gpu else ("cpu",)):
            lines = "\n".join(f"- {finding}" for finding in findings)
            raise ValueError(
                f"model must consist of what the target runs; nothing was written. Received:\n{lines}"
            )

    def load(self, file: _flatbuffer.File) -> _litert.Runner:
        return _litert.Runner(file.content)

    def latency_ms(self, run: Any, inputs: dict[str, np.ndarray]) -> float:
        return run.latency_ms(inputs)

    def describe(self, file: _flatbuffer.File, run: Any, trace: _trace.Trace) -> _pipeline.Contents:
        findings = check(file)
        if run.unsteady or (trace.signature.any_batch and _mixed(trace.samplers)):
            findings.insert(0, _UNSTEADY)
        names = (operator.name for operator in file.operators)
        return _pipeline.Contents(names, findings, _versions.min_runtime(file.operators))


# Measured with an image and its labels, warped by the same params: after one change of the batch in ten
# to a hundred the numbers were wrong, of both alike, in each LiteRT from 1.0 to 2.3.
_UNSTEADY = Finding(
    "resized-batch",
    "",
    "",
    ("cpu",),
    "XNNPACK may be wrong after the batch of an interpreter has changed: give batch_size, or make a new "
    "interpreter for each batch",
)


def _mixed(samplers: list[_trace.TracedSampler]) -> bool:
    """Whether samplers by "nearest" stand beside others, where that was seen."""
    return len({traced.interpolation == "nearest" for traced in samplers}) > 1


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
