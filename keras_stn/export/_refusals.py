"""What a converter refused, in one sentence that names the layers and says what to do."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import keras

from keras_stn import _saving
from keras_stn.export import _trace

# As the converter spells them.
_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}


def refused(error: Exception, signature: _trace.Signature) -> ValueError | None:
    """The error to raise in place of a converter's own, which is a page of text; None: it is no such."""
    text, model = str(error), signature.model
    ops = sorted(set(re.findall(r"(?:TF Select|Custom) ops: ([\w, ]+)", text)))
    if not ops and type(error).__name__ != "ConverterError":
        return None
    return (
        _of_quantization(model)
        or _of_batch(text, signature)
        or _of_dtypes(text)
        or _of_settings(ops)
        or ValueError(
            "model must consist of what TFLite has builtin ops for. "
            f"Received: {', '.join(ops) or _brief(text, model.name)}."
        )
    )


def check_float8(model: keras.Model) -> None:
    """Raise where Keras quantized the model to float8, which ONNX Runtime has no kernels for."""
    refused = _of_quantization(model)
    if refused and "float8" in _modes(model):
        raise refused


def _of_quantization(model: keras.Model) -> ValueError | None:
    modes = _modes(model)
    if not modes:
        return None
    mode, names = next(iter(modes.items()))
    return ValueError(
        "model must not be quantized by Keras: export the model as it was before model.quantize, with "
        f'quantization="int8" for a smaller file. Received: {mode} in {_few(names)}.'
    )


def _modes(model: keras.Model) -> dict[str, list[str]]:
    """The names of the layers that `model.quantize` changed, by its mode."""
    result: dict[str, list[str]] = {}
    for layer in _layers(model):
        if mode := getattr(layer, "quantization_mode", None):
            result.setdefault(mode, []).append(layer.name)
    return result


def _layers(layer: Any) -> Iterator[Any]:
    """The layer and all that it holds."""
    seen, open_ = set(), [layer]
    while open_:
        layer = open_.pop(0)
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            # Not keras.tree: it sorts keys, and a fitted model has a dictionary whose keys are layers.
            open_ += _saving.layers_in(vars(layer))


def _of_batch(error: str, signature: _trace.Signature) -> ValueError | None:
    """It is the open batch that TFLite has no kernel for: of the states of a GRU, say."""
    if "TensorListReserve" not in error or all(spec.shape[0] for spec in signature.specs):
        return None
    return ValueError(
        "batch_size must be given for a model with recurrent layers: in TFLite their states are of "
        "known size. Received: batch_size=None."
    )


def _of_dtypes(error: str) -> ValueError | None:
    """It is the dtype that TFLite has no kernel for, by what the converter says of each op."""
    for op, operands in re.findall(r"^\s*tf\.(\w+)\((.*)", error.partition("Details:")[2], re.MULTILINE):
        if found := re.search(r"[x<](f16|bf16|f64)>", operands):
            return ValueError(
                'model must compute in float32 for TFLite: build it with the policy "float32", and give '
                "it the weights of this one (set_weights(model.get_weights())). "
                f"Received: {op} in {_DTYPES[found.group(1)]}."
            )
    return None


def _of_settings(ops: list[str]) -> ValueError | None:
    """It is a setting for debugging that writes ops into every graph."""
    if not any("CheckNumerics" in op for op in ops):
        return None
    return ValueError(
        "tf.debugging.enable_check_numerics must be off while a model is exported: call "
        f"tf.debugging.disable_check_numerics() first. Received: {', '.join(ops)} in the graph."
    )


def _brief(error: str, scope: str) -> str:
    """The errors in a page of MLIR, each with the place where it arose."""
    found = []
    for line in error.splitlines():
        _, said, message = line.partition("error: ")
        if not said:
            continue
        if at := re.search(r'"([^"@]+)@[^"]*"', line):
            name = re.sub(rf"^{re.escape(scope)}(_\d+)?/", "", at.group(1))
            message = f"{message.rpartition('): ')[2]} at {name!r}"
        found.append(message[:300].strip().rstrip("."))
    return _few(list(dict.fromkeys(found)), quote=False) or " ".join(error.split())[:300]


def _few(names: list[str], quote: bool = True) -> str:
    """At most three of the names."""
    shown = [repr(name) if quote else name for name in itertools.islice(names, 3)]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
