"""Smaller numbers for the layers with weights, and for nothing else: samplers stay in float32.

All of a model in 8 bits, as TensorFlow's converter has it, leaves coordinates 256 places in the whole
image: a classifier of digits falls from 98 % to 18 % right, its warped digits to a PSNR of 13 dB. Its
float16 rounds the constants of coordinates as well, which is 0.05 pixels at 224.
"""

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_stn.export import _flatbuffer

# Dense layers of fewer stay in float32, as those that make params of matrices are; in "float16" and
# "dynamic" all layers do. In float16 the warped digits of saved_models are right to 85 dB instead of 72,
# which takes 2 KB of 153; in "int8" those of an older model to 47.0 dB instead of 44.6.
_FEW_WEIGHTS = 1024


def float16(content: bytes) -> bytes:
    """A float file whose layers of many weights have these in float16."""
    from ai_edge_quantizer import algorithm_manager, recipe_manager

    cast = algorithm_manager.AlgorithmName.FLOAT_CASTING
    recipe = recipe_manager.RecipeManager()
    for name, kind in _of_many_weights(_flatbuffer.parse(content).operators):
        recipe.add_weight_only_config(_alone(name), kind, 16, algorithm_key=cast)
    return _quantized(content, recipe)


def dynamic(content: bytes) -> bytes:
    """A float file whose layers of many weights have these in 8 bits, and quantize their input.

    All but the scores of centroids: see `_scores`. TensorFlow's converter would take those as well,
    which leaves the warped digits of a transformer that looks twice at 47 dB instead of 52.
    """
    from ai_edge_quantizer import recipe_manager

    operators, recipe = _flatbuffer.parse(content).operators, recipe_manager.RecipeManager()
    scores = _scores(operators)
    for name, kind in _of_many_weights(operators):
        if name not in scores:
            recipe.add_dynamic_config(_alone(name), kind, num_bits=8)
    return _quantized(content, recipe)


def int8(content: bytes, examples: list[dict[str, np.ndarray]]) -> bytes:
    """A float file with convolutions on 8-bit integers and large dense layers on 8-bit weights.

    Convolutions that make scores for a softmax stay in float32: see `_scores`.

    Dense layers quantize their input as it comes ("dynamic"): in ranges fixed beforehand, the last one
    of a localization network would again give params in 256 steps.

    Args:
        content: The float32 file.
        examples: Its inputs by their names, each in the batch of the file.
    """
    from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    op = qtyping.TFLOperationName
    recipe = recipe_manager.RecipeManager()
    # Not the average pools: in 8 bits the runtime takes a third longer for the whole digits model.
    static = op.CONV_2D, op.DEPTHWISE_CONV_2D, op.MAX_POOL_2D
    operators = _flatbuffer.parse(content).operators
    many = _of_many_weights(operators)
    dense = [name for name, kind in many if kind == op.FULLY_CONNECTED]
    if not dense and not {operator.name for operator in operators} & set(static):
        return content  # a sampler alone, for which the quantizer raises
    scores = "|".join(map(re.escape, _scores(operators)))
    others = f"^(?!({scores})(;|$))" if scores else ".*"
    for name in static:
        recipe.add_static_config(others, name, activation_num_bits=8, weight_num_bits=8)
    # One scale for all weights: with one a channel, runtimes before TensorFlow Lite 2.17 give wrong
    # numbers, and no error.
    tensorwise = qtyping.QuantGranularity.TENSORWISE
    for name in dense:
        recipe.add_dynamic_config(_alone(name), op.FULLY_CONNECTED, num_bits=8, granularity=tensorwise)

    with _quietly():
        # The widest range that was seen; a moving average of ranges, the default, cuts the ink of a
        # digit off, which costs 5 dB.
        observer = calibrator.Calibrator(
            content, num_threads=1, qsv_update_func=qsv_utils.min_max_update
        )
        observer.calibrate({"serving_default": examples}, recipe)
        tool = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe())
        result = tool.quantize(observer.get_model_qsvs(), enable_progress_report=False)
    return bytes(result.quantized_model)


def _of_many_weights(operators: list[_flatbuffer.Operator]) -> Iterator[tuple[str, Any]]:
    """The convolutions and dense layers of many weights: what they make, and the quantizer's word."""
    from ai_edge_quantizer import qtyping

    op = qtyping.TFLOperationName
    kinds = {
        "CONV_2D": op.CONV_2D,
        "DEPTHWISE_CONV_2D": op.DEPTHWISE_CONV_2D,
        "TRANSPOSE_CONV": op.CONV_2D_TRANSPOSE,
        "FULLY_CONNECTED": op.FULLY_CONNECTED,
    }
    for operator in operators:
        if operator.name in kinds and operator.outputs and _weights(operator) >= _FEW_WEIGHTS:
            yield operator.outputs[0].name, kinds[operator.name]


def _quantized(content: bytes, recipe: Any) -> bytes:
    from ai_edge_quantizer import quantizer

    if not (rules := recipe.get_quantization_recipe()):
        return content  # for which the quantizer raises
    with _quietly():
        tool = quantizer.Quantizer(bytearray(content), rules)
        return bytes(tool.quantize(enable_progress_report=False).quantized_model)


def _weights(operator: _flatbuffer.Operator) -> int:
    """How many weights a layer has: those of its second input."""
    return math.prod(operator.inputs[1].shape)


def _alone(name: str) -> str:
    """A pattern of the op that makes the tensor of this name."""
    return f"^{re.escape(name)}(;|$)"


def _scores(operators: list[_flatbuffer.Operator]) -> list[str]:
    """The outputs of convolutions of which a softmax is taken, as `Centroids` do, by their names.

    Of scores in 256 steps the shares of places are a tenth off: the warped digits of saved_models fall
    from 47.7 dB to 41.8. Their weights in 8 bits alone would save 27 KB of 126, but runtimes before
    TensorFlow Lite 2.7 refuse them.
    """
    made: dict[str, str] = {}  # a tensor, and the output of a convolution that it is
    found = []
    for operator in operators:
        if not operator.inputs or not operator.outputs:  # as of variables
            continue
        before, name = operator.inputs[0].name, operator.outputs[0].name
        if operator.name == "CONV_2D":
            made[name] = name
        elif operator.name in ("RESHAPE", "TRANSPOSE") and before in made:
            made[name] = made[before]
        elif operator.name == "SOFTMAX" and before in made:
            found.append(made[before])
    return found


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The quantizer draws progress bars and warns of what it does itself."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
