"""`check_tflite`: for each rule a file that breaks it, and files that break none."""

import contextlib
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import inverse_model, raises, warp

from keras_stn import export
from keras_stn.export import _flatbuffer
from keras_stn.export.check import RULES, RUNTIMES
from keras_stn.export.inspect import inspect_tflite


def convert(function, *shapes, flex=False, custom=False, weights=None):
    """A function of float tensors as a TFLite file; `weights`: their dtype."""
    specs = [tf.TensorSpec(shape) for shape in shapes]
    traced = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    more = [tf.lite.OpsSet.SELECT_TF_OPS] if flex else []
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, *more]
    converter.allow_custom_ops = custom
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if weights else []
    converter.target_spec.supported_types = [tf.float16] if weights == "float16" else []
    return converter.convert()


def pixels(x):
    """An index that no optimiser can fold."""
    return tf.cast(x, tf.int32)


def quantized(function, *shapes, bits=8):
    """All of a function on integers, as TensorFlow's converter has it."""
    traced = tf.function(function).get_concrete_function(*map(tf.TensorSpec, shapes))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if bits == 16:
        ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [ops]
    rng = np.random.default_rng(0)
    converter.representative_dataset = lambda: (
        [rng.random(shape, "float32") for shape in shapes] for _ in range(5)
    )
    return converter.convert()


def gathers(images, params):
    index = tf.cast(tf.round(tf.reshape(params, (-1,)) * 3 + 1), tf.int32)
    return tf.gather(tf.reshape(images, (-1, 2)), tf.clip_by_value(index, 0, 11))


def tents(images, params):
    """A sampler of one axis as a matmul: the weights of the taps are 1 - |distance|."""
    distance = tf.reshape(params, (1, 5, 1)) * 3 - tf.reshape(tf.range(4.0), (1, 1, 4))
    return tf.matmul(tf.nn.relu(1 - tf.abs(distance)), images)


def attention(queries, keys):
    scores = tf.matmul(queries, keys, transpose_b=True)
    return tf.matmul(tf.nn.softmax(scores), keys)


def _weights(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


def large_dense(kind):
    """A dense layer of 300 KB as ai-edge-quantizer leaves it, which `export_tflite` mends."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    weights, bias = _weights(500, 600), _weights(600)
    content = convert(lambda x: tf.nn.bias_add(tf.matmul(x, weights), bias), (1, 500))
    recipe, op = recipe_manager.RecipeManager(), qtyping.TFLOperationName.FULLY_CONNECTED
    if kind == "float16":
        recipe.add_weight_only_config(".*", op, 16, algorithm_key="float_casting")
    else:
        recipe.add_dynamic_config(".*", op, num_bits=8)
    tool = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe())
    return bytes(tool.quantize(enable_progress_report=False).quantized_model)


# rule: (op, runtimes, file)
BROKEN = {
    "flex": (
        "FlexMatrixInverse",
        RUNTIMES,
        lambda: convert(tf.linalg.inv, (3, 3), flex=True),
    ),
    "custom": ("MatrixInverse", RUNTIMES, lambda: convert(tf.linalg.inv, (3, 3), custom=True)),
    "no-kernel gpu": (
        "GATHER_ND",
        ("gpu",),
        lambda: convert(lambda x, i: tf.gather_nd(x, pixels(i)), (3, 4), (5, 2)),
    ),
    "no-kernel micro": ("GELU", ("micro",), lambda: convert(tf.nn.gelu, (2, 3))),
    "dtype": (
        "FLOOR_DIV",
        ("micro",),
        lambda: convert(lambda x: tf.cast(pixels(x) // 3, tf.float32), (2, 3)),
    ),
    "slice-rank": (
        "STRIDED_SLICE",
        ("micro",),
        lambda: convert(lambda x: x[:, :, :, :, ::2], (1, 2, 3, 4, 5)),
    ),
    "gather-batch-dims": (
        "GATHER",
        ("gpu",),
        lambda: convert(lambda x, i: tf.gather(x, pixels(i), batch_dims=1), (2, 4, 3), (2, 5)),
    ),
    "gather-index": (
        "GATHER",
        ("gpu",),
        lambda: convert(lambda x, i: tf.gather(x, pixels(i)), (4, 3), (2, 5)),
    ),
    "shrink-axis": ("STRIDED_SLICE", ("gpu",), lambda: convert(lambda x: x[:, 0], (2, 3))),
    "split-one": ("SPLIT", ("gpu",), lambda: convert(lambda x: tf.split(x, 1), (2, 3))),
    "split-sum": (
        "SPLIT",
        ("gpu",),
        lambda: convert(lambda x: tf.add(*tf.split(tf.add(*tf.split(x, 2)), 2)), (4, 3)),
    ),
    "rank": ("ADD", ("gpu",), lambda: convert(lambda x: x + 1, (1, 2, 3, 4, 5))),
    "dynamic-shape": ("MUL", ("gpu", "micro"), lambda: convert(lambda x: 2 * x, (None, 3))),
    "matmul-broadcast": ("BATCH_MATMUL", ("gpu",), lambda: convert(tf.matmul, (3, 2, 4), (1, 4, 5))),
    "conv-groups": (
        "CONV_2D",
        ("gpu",),
        lambda: convert(lambda x: tf.nn.conv2d(x, _weights(3, 3, 4, 6), 1, "SAME"), (1, 6, 7, 8)),
    ),
    "same-input-twice": ("POW", ("gpu",), lambda: convert(lambda x: tf.pow(x, x), (2, 3))),
    "hybrid": (
        "FULLY_CONNECTED",
        ("micro",),
        lambda: convert(lambda x: tf.matmul(x, _weights(64, 96)), (1, 64), weights="int8"),
    ),
    "float16-weights": (
        "DEQUANTIZE",
        ("micro",),
        lambda: convert(lambda x: tf.matmul(x, _weights(64, 96)), (1, 64), weights="float16"),
    ),
    "external-constants": ("FULLY_CONNECTED", ("micro",), lambda: large_dense("dynamic")),
    "float16-bias": ("FULLY_CONNECTED", ("cpu",), lambda: large_dense("float16")),
    "dense-channels": ("FULLY_CONNECTED", ("cpu",), lambda: large_dense("dynamic")),
    "int8-sampler": ("GATHER", RUNTIMES, lambda: quantized(gathers, (1, 3, 4, 2), (1, 5))),
    "int8-sampler of matmuls": (
        "BATCH_MATMUL",
        RUNTIMES,
        lambda: quantized(tents, (1, 4, 3), (1, 5)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_breaks_a_rule_is_found(tmp_path, name):
    rule = name.split()[0]
    op, runtimes, content = BROKEN[name]
    path = tmp_path / "model.tflite"
    path.write_bytes(content())
    found = [f for f in export.check_tflite(path) if f.rule == rule and set(f.runtimes) <= set(runtimes)]
    assert {(f.op, f.runtimes) for f in found} == {(op, runtimes)}
    finding = found[0]
    assert finding.where
    assert finding.where in tensors(path)
    assert str(finding).startswith(f"{op} at {finding.where!r}: {finding.message} (")
    for runtime in RUNTIMES:
        rules = [f.rule for f in export.check_tflite(path, runtime)]
        assert (rule in rules) == (runtime in runtimes), runtime


def tensors(path):
    from ai_edge_litert.interpreter import Interpreter

    return {tensor["name"] for tensor in Interpreter(str(path)).get_tensor_details()}


def test_every_rule_has_a_file_that_breaks_it():
    assert {name.split()[0] for name in BROKEN} == {rule for rule, _, _ in RULES}


def test_every_rule_is_in_the_docstring():
    for rule, _, _ in RULES:
        assert f"`{rule}`" in export.check_tflite.__doc__


def test_a_file_that_runs_everywhere_has_no_finding(tmp_path):
    export.export_tflite(warp(fill="constant"), tmp_path / "warp.tflite", target="gpu")
    assert export.check_tflite(tmp_path / "warp.tflite") == []
    (tmp_path / "tanh.tflite").write_bytes(convert(tf.tanh, (2, 3)))
    assert export.check_tflite(tmp_path / "tanh.tflite") == []


@pytest.mark.slow
def test_what_is_no_fault_is_not_found(tmp_path):
    """Batches that are equal, and weights in 8 bits."""
    path = tmp_path / "model.tflite"
    for one, two in (((3, 2, 4), (3, 4, 5)), ((1, 2, 4), (1, 4, 5))):
        path.write_bytes(convert(tf.matmul, one, two))
        assert "matmul-broadcast" not in [f.rule for f in export.check_tflite(path)], (one, two)
    for filters, channels in (((3, 3, 4, 8), 8), ((3, 3, 8, 6), 8), ((3, 3, 3, 6), 3)):
        grouped = convert(
            lambda x, filters=filters: tf.nn.conv2d(x, _weights(*filters), 1, "SAME"),
            (1, 6, 7, channels),
        )
        path.write_bytes(grouped)
        assert export.check_tflite(path) == [], filters
    for function in (tf.add, tf.multiply, lambda *xs: tf.concat(xs, 1), lambda *xs: tf.stack(xs)):
        path.write_bytes(convert(lambda x, function=function: function(x, x), (2, 3)))
        assert export.check_tflite(path) == []
    images = keras.Input((8, 8, 1), name="images")
    model = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    export.export_tflite(model, path, quantization="dynamic")
    assert export.check_tflite(path, "cpu") == []


@pytest.mark.parametrize(
    "content",
    [
        lambda: quantized(attention, (1, 5, 8), (1, 6, 8)),
        lambda: quantized(tents, (1, 4, 3), (1, 5), bits=16),  # 65,536 places
    ],
)
def test_integers_without_coarse_coordinates_are_no_sampler_in_8_bits(tmp_path, content):
    path = tmp_path / "model.tflite"
    path.write_bytes(content())
    assert "BATCH_MATMUL" in {
        operator.name for operator in _flatbuffer.parse(path.read_bytes()).operators
    }
    assert "int8-sampler" not in [finding.rule for finding in export.check_tflite(path)]


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("digits", set()),
        ("digits_float16", {"float16-weights"}),
        ("digits_int8", {"hybrid"}),
        ("digits_gpu", {"float16-weights"}),
    ],
)
def test_microcontrollers_take_the_float32_form(name, rules):
    path = pathlib.Path(__file__).parents[2] / "saved_models" / f"{name}.tflite"
    assert {finding.rule for finding in export.check_tflite(path, "micro")} == rules


def test_findings_come_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(convert(lambda x: tf.tanh(x) * 2, (None, 3)))
    assert [f.op for f in export.check_tflite(path)] == ["TANH", "MUL"]
    assert export.check_tflite(path, "cpu") == []
    assert len(export.check_tflite(str(path), ["gpu", "cpu"])) == 2


def test_an_export_for_gpus_refuses_what_gpus_refuse(tmp_path):
    images = keras.Input((6, 7, 1), name="images")
    model = keras.Model(images, keras.ops.cumsum(keras.ops.expand_dims(images, 1), 1))
    with raises("must consist of what the target runs", "rank 5"):
        export.export_tflite(model, tmp_path / "model.tflite", target="gpu")
    with raises("what TFLite has builtin ops for", "MatrixInverse"):
        export.export_tflite(inverse_model(), tmp_path / "model.tflite", target="gpu")
    assert list(tmp_path.iterdir()) == []


def test_invalid_arguments(tmp_path):
    path = tmp_path / "model.tflite"
    with raises("path must be a TFLite file", "No such file"):
        export.check_tflite(path)
    for content in (b"", b"TFL3", b"PK\x03\x04 something else"):
        path.write_bytes(content)
        with raises("path must be a TFLite file", "something else"):
            export.check_tflite(path)
    content = convert(tf.tanh, (2, 3))
    for size in (8, 40, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:size])
        with raises("path must be a whole TFLite file", "a part is missing"):
            export.check_tflite(path)
    rng = np.random.default_rng(0)
    for _ in range(300):  # whatever is wrong with a file, nothing else is raised
        damaged = bytearray(content)
        damaged[rng.integers(8, len(content))] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        for read in (export.check_tflite, inspect_tflite):
            with contextlib.suppress(ValueError):
                read(path)
    path.write_bytes(content)
    with raises("runtimes must be some of", r"Received: runtimes=\(\)"):
        export.check_tflite(path, ())
    for runtimes in ("npu", ("gpu", "npu")):
        with raises("runtimes must be one of", "Received: runtimes='npu'"):
            export.check_tflite(path, runtimes)
