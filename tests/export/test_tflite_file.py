"""What stands in a TFLite file beside its ops: constants, versions, inputs and outputs, names.

The files are read with the schema alone, not with the package.
"""

import math
import pathlib
import re

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from common import raises, warp

import keras_stn
from keras_stn import export
from keras_stn.export import _flatbuffer, _samples, _trace
from keras_stn.export.inspect import inspect_tflite

MODEL = pathlib.Path(__file__).parents[2] / "saved_models" / "digits.keras"
OPS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}


def export_and_parse(model, path, **arguments):
    """The report and the file, whose constants are where old readers look for them."""
    if arguments.get("quantization") == "int8":
        arguments["representative_dataset"] = _samples.random_inputs(_trace.signature(model).specs, 4)
    report = export.export_tflite(model, path, **arguments)
    return report, parsed(path)


def upright():
    model = warp()
    return keras.Model(model.inputs, model.outputs, name="upright")


def parsed(path):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(pathlib.Path(path).read_bytes(), 0))


def op_names(file):
    return [OPS[code.builtinCode] for code in file.operatorCodes]


# --- Large constants ------------------------------------------------------------------------------

FORMS = [
    {},
    {"quantization": "float16"},
    {"quantization": "dynamic"},
    {"quantization": "int8"},
    {"target": "gpu"},
    {"target": "gpu", "quantization": "float16"},
    {"quantization": "int8", "batch_size": 1},
]


# Of 256 KB and more, ai-edge-quantizer puts constants behind the flatbuffer: 131,072 weights in float16.
@pytest.mark.parametrize("arguments", FORMS, ids=str)
@pytest.mark.parametrize("weights", [100_000, 140_000, 270_000, 1_000_000])
def test_models_of_every_size_class_export(tmp_path, weights, arguments):
    keras.utils.set_random_seed(weights)
    images = keras.Input((20, 25, 1), name="images")
    x = keras_stn.SpatialTransformer("dense", name="upright")(images)
    x = keras.layers.Dense(weights // 500, "relu", name="wide")(keras.layers.Flatten()(x))
    model = keras.Model(images, keras.layers.Dense(10, name="scores")(x))
    report, file = export_and_parse(model, tmp_path / "m.tflite", **arguments)
    assert not any(buffer.offset > 1 for buffer in file.buffers)
    constants = sum(len(buffer.data) for buffer in file.buffers if buffer.data is not None)
    bytes_each = {None: 4, "float16": 2}.get(arguments.get("quantization"), 1)
    assert bytes_each * weights <= constants <= report.size
    # Scales and zero points of 2,000 channels are 24 KB.
    assert report.size <= bytes_each * model.count_params() + 60_000
    assert _flatbuffer.parse((tmp_path / "m.tflite").read_bytes()).constant_bytes == constants


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["float16", "int8"])
def test_the_strided_network_exports_by_default(tmp_path, quantization):
    images = keras.Input((28, 20, 1), name="images")
    model = keras.Model(images, keras_stn.SpatialTransformer("strided_conv")(images))
    assert model.count_params() > 130_000
    report, _ = export_and_parse(model, tmp_path / "m.tflite", quantization=quantization)
    assert report.psnr >= {"float16": 50, "int8": 25}[quantization]


@pytest.mark.long
@pytest.mark.parametrize("quantization", [None, "float16", "dynamic", "int8"])
@pytest.mark.parametrize("network", ["MobileNetV2", "MobileNetV3Small"])
def test_published_networks_export(tmp_path, network, quantization):
    keras.utils.set_random_seed(0)
    images = keras.Input((96, 96, 3), name="images")
    backbone = getattr(keras.applications, network)(
        input_shape=(96, 96, 3), include_top=False, weights=None, pooling="avg"
    )
    model = keras.Model(images, keras_stn.SpatialTransformer(backbone)(images))
    _, file = export_and_parse(model, tmp_path / "m.tflite", quantization=quantization)
    assert not any(buffer.offset > 1 for buffer in file.buffers)


def test_constants_behind_the_flatbuffer_are_seen(tmp_path):
    from test_check_tflite import large_dense

    path = tmp_path / "m.tflite"
    path.write_bytes(large_dense("dynamic"))
    assert any(buffer.offset > 1 for buffer in parsed(path).buffers)
    assert _flatbuffer.parse(path.read_bytes()).constant_bytes >= 300_000
    assert re.search("30[0-9],[0-9]{3} of them constants", str(inspect_tflite(path).renderables[0]))
    weights = _flatbuffer.parse(path.read_bytes()).operators[0].inputs[1]
    assert weights.constant
    assert weights.external
    path.write_bytes(path.read_bytes()[:-100_000])
    with raises("path must be a whole TFLite file"):
        export.check_tflite(path)


@pytest.mark.slow
def test_constants_are_aligned_to_16_bytes(exported):
    """Unaligned floats are a fault on some processors; Python's flatbuffers would not align them."""
    for arguments in ({}, {"quantization": "float16"}):
        path, _ = exported("tflite", upright, **arguments)
        content = path.read_bytes()
        file = schema.Model.GetRootAs(content, 0)
        found = 0
        for index in range(file.BuffersLength()):
            table = file.Buffers(index)._tab
            if offset := table.Offset(4):
                found += 1
                assert table.Vector(offset) % 16 == 0, index
        assert found > 5


def test_a_file_that_would_pass_two_gigabytes_is_refused_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(_flatbuffer, "MAX_BYTES", 1000)
    images = keras.Input((8, 12, 1), name="images")
    model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
    with raises("model must have weights of less than 2 GiB", "Received: "):
        export.export_tflite(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []


# --- What older runtimes read ----------------------------------------------------------------------


def layers():
    """A model with each kind of layer that has weights, with and without a bias, 1,024 or more each."""
    images = keras.Input((24, 20, 3), name="images")
    x = keras_stn.SpatialTransformer("dense", name="upright")(images)
    x = keras.layers.Conv2D(48, 3, activation="relu", bias_initializer="random_normal")(x)
    x = keras.layers.SeparableConv2D(48, 5, use_bias=False)(x)
    x = keras.layers.DepthwiseConv2D(5, bias_initializer="random_normal")(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Conv2DTranspose(16, 3, bias_initializer="random_normal")(x)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 3, use_bias=False)(x))
    x = keras.layers.Dense(40, use_bias=False)(keras.layers.Flatten()(x))
    return keras.Model(images, keras.layers.Dense(30, bias_initializer="random_normal", name="y")(x))


def ranges(quantization):
    """What a file of int8 learns from, as a function: `exported` tells files by their arguments."""
    return {"representative_dataset": images_of_layers} if quantization == "int8" else {}


def images_of_layers():
    return [np.random.default_rng(0).random((1, 24, 20, 3)) for _ in range(4)]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_biases_follow_the_weights_into_float16(exported, target):
    """LiteRT 1.2 and 1.3 otherwise read one as the other: wrong numbers, and no error."""
    more = {"target": "gpu"} if target == "gpu" else {}
    path, report = exported("tflite", layers, quantization="float16", **more)
    file = parsed(path)
    assert report.psnr >= 60
    ops, (graph,) = op_names(file), file.subgraphs
    made = {int(op.outputs[0]): op for op in graph.operators}
    slots = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
    seen = set()
    for op in graph.operators:
        name = ops[op.opcodeIndex]
        if name in slots and len(op.inputs) > slots[name] and op.inputs[slots[name]] >= 0:
            if math.prod(graph.tensors[op.inputs[1]].shape) < 1024:  # the head: it stays in float32
                assert not {op.inputs[1], op.inputs[slots[name]]} & set(made)
                continue
            cast = made[op.inputs[slots[name]]]
            assert ops[cast.opcodeIndex] == "DEQUANTIZE"
            assert graph.tensors[cast.inputs[0]].type == schema.TensorType.FLOAT16
            seen.add(name)
    assert seen == set(slots)
    for op in graph.operators:  # and nothing else does: coordinates stay in float32
        if ops[op.opcodeIndex] not in slots:
            assert not [i for i in op.inputs if i in made and ops[made[i].opcodeIndex] == "DEQUANTIZE"]


def test_a_bias_that_something_else_reads_stays_there_in_float32(tmp_path):
    """The quantizer sees one constant where the converter found two alike."""
    shared = np.linspace(-1, 1, 30).astype("float32")
    features = keras.Input((40,), name="features")
    dense = keras.layers.Dense(30, bias_initializer=keras.initializers.Constant(shared))
    model = keras.Model(features, [dense(features), keras.ops.sin(features[:, :30] + shared)])
    dense.bias.assign(shared)
    report, _ = export_and_parse(model, tmp_path / "m.tflite", quantization="float16")
    assert list(report.accuracy.values())[1].max_error <= 1e-6


@pytest.mark.parametrize("quantization", [None, "float16", "dynamic", "int8"])
def test_op_codes_and_versions_are_true(exported, quantization):
    path, report = exported("tflite", layers, quantization=quantization, **ranges(quantization))
    file = parsed(path)
    codes = {OPS[code.builtinCode]: code for code in file.operatorCodes}
    for code in codes.values():  # OpenVINO reads the old field, where 0 is ADD
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
    versions = {
        None: {"CONV_2D": 1, "FULLY_CONNECTED": 1},
        "float16": {"CONV_2D": 1, "DEQUANTIZE": 3},
        "dynamic": {"FULLY_CONNECTED": 12},
        "int8": {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "MAX_POOL_2D": 2, "QUANTIZE": 1, "DEQUANTIZE": 2},
    }
    found = {name: codes[name].version for name in versions[quantization]}
    assert found == versions[quantization]
    (entry,) = file.metadata
    assert entry.name == b"min_runtime_version"
    assert bytes(file.buffers[entry.buffer].data).rstrip(b"\0").decode() == report.min_runtime
    assert export.min_runtime(path) == report.min_runtime
    assert report.min_runtime in str(report)
    assert report.min_runtime in str(inspect_tflite(path).renderables[0])
    # TensorFlow Lite 2.17 is the first that has dense layers with one scale a channel.
    assert (report.min_runtime == "2.17.0") == (quantization == "dynamic")


@pytest.mark.slow
def test_dense_weights_of_int8_files_have_one_scale(exported):
    """With one a channel, tflite-runtime 2.14 gives wrong numbers, and no error."""
    path, _ = exported("tflite", layers, quantization="int8", **ranges("int8"))
    file = parsed(path)
    ops, (graph,) = op_names(file), file.subgraphs
    weights = [graph.tensors[op.inputs[1]] for op in graph.operators if "FULLY" in ops[op.opcodeIndex]]
    large = [tensor for tensor in weights if np.prod(tensor.shape) >= 1024]
    assert large
    for tensor in large:
        assert tensor.type == schema.TensorType.INT8
        assert len(tensor.quantization.scale) == 1
    assert all(t.type == schema.TensorType.FLOAT32 for t in weights if np.prod(t.shape) < 1024)


# --- Order, names, description ---------------------------------------------------------------------


def _ends():
    zeta, alpha = keras.Input((6, 7, 1), name="zeta"), keras.Input((6, 7, 1), name="Alpha")
    unused = keras.Input((3,), name="unused")
    moved = keras_stn.SpatialTransformer("dense", "translation", name="moved")(zeta)
    twice = keras.layers.Rescaling(2.0, name="twice")(alpha)
    return zeta, alpha, unused, moved, twice


def _lists():
    zeta, alpha, unused, moved, twice = _ends()
    return keras.Model([zeta, unused, alpha], [twice, moved])


def _dictionaries():
    zeta, alpha, _, moved, twice = _ends()
    return keras.Model(
        {"zeta": zeta, "Alpha": alpha}, {"w": moved, "moved/warp": moved + 1, "a ü:0": twice}
    )


def _nested():
    zeta, alpha, unused, moved, twice = _ends()
    return keras.Model([zeta, [alpha, (unused,)]], [(twice, unused * 3), {"moved": moved}])


def _named_as_an_input():
    zeta, _, _, moved, _ = _ends()
    return keras.Model(zeta, {"zeta": moved})


@pytest.mark.parametrize("arguments", FORMS[:6], ids=str)
@pytest.mark.parametrize("build", [_lists, _dictionaries, _nested, _named_as_an_input])
def test_ends_are_in_the_order_of_the_model_and_have_its_names(tmp_path, build, arguments):
    model = build()
    export_and_parse(model, tmp_path / "m.tflite", **arguments)
    signature = _trace.signature(model)
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    details, results = interpreter.get_input_details(), interpreter.get_output_details()
    assert [end["name"] for end in details] == [spec.name for spec in signature.specs]
    assert [end["name"] for end in results] == list(signature.outputs)
    (served,) = parsed(tmp_path / "m.tflite").signatureDefs
    assert served.signatureKey == b"serving_default"
    assert [end.name.decode() for end in served.outputs] == list(signature.outputs)
    assert by_index(interpreter, signature) <= (1e-5 if "quantization" not in arguments else 0.05)


@pytest.mark.parametrize("arguments", FORMS[:6], ids=str)
def test_outputs_that_are_inputs_or_one_another_are_at_their_index(tmp_path, arguments):
    zeta, alpha, _, moved, _ = _ends()
    model = keras.Model([zeta, alpha], [alpha, moved, alpha, moved, zeta])
    export_and_parse(model, tmp_path / "m.tflite", **arguments)
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    assert len(interpreter.get_output_details()) == 5
    error = by_index(interpreter, _trace.signature(model))
    assert error <= (1e-5 if "quantization" not in arguments else 0.05)


def by_index(interpreter, signature):
    """The largest error of a run that knows no names."""
    feed = _samples.random_inputs(signature.specs, int(interpreter.get_input_details()[0]["shape"][0]))
    for end, array in zip(interpreter.get_input_details(), feed, strict=True):
        interpreter.resize_tensor_input(end["index"], array.shape)
    interpreter.allocate_tensors()
    for end, array in zip(interpreter.get_input_details(), feed, strict=True):
        interpreter.set_tensor(end["index"], array)
    interpreter.invoke()
    actual = [interpreter.get_tensor(end["index"]) for end in interpreter.get_output_details()]
    expected = signature.call(*feed).values()
    return max(np.abs(a - b).max() for a, b in zip(actual, map(np.asarray, expected), strict=True))


def test_a_file_says_what_it_is_and_nothing_of_converters(exported):
    for arguments in ({}, {"quantization": "float16"}):
        path, _ = exported("tflite", upright, **arguments)
        file, content = parsed(path), path.read_bytes()
        assert file.description.decode().rstrip() == f"keras_stn {keras_stn.__version__}: upright"
        assert [entry.name for entry in file.metadata] == [b"min_runtime_version"]
        for noise in (b"MLIR", b"CONVERSION", b"serving_default_", b"StatefulPartitionedCall"):
            assert noise not in content


@pytest.mark.slow
@pytest.mark.parametrize("arguments", FORMS[:4], ids=str)
def test_one_model_gives_the_same_bytes_each_time(tmp_path, arguments):
    """Also after Keras has counted other models."""
    model = keras.saving.load_model(MODEL)
    with np.load(MODEL.parent / "golden.npz") as golden:
        # Of noise, a model that was trained on digits gives scores 45 dB apart in float16.
        how = {"batch_size": 1, "samples": golden["image"], **arguments}
    contents = []
    for _ in range(2):
        export_and_parse(model, tmp_path / "m.tflite", **how)
        contents.append((tmp_path / "m.tflite").read_bytes())
        export_and_parse(warp(), tmp_path / "other.tflite")
    assert contents[0] == contents[1]
