"""TFLite: builtin ops alone, and the numbers of the live layer, in the interpreter.

`test_the_whole_table` is every combination; the rest covers it. Quantized files, GPUs and the rules of
`check_tflite` have files of their own.
"""

import itertools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import (
    ATOL,
    ATOL_224,
    COLUMNS,
    COVERING,
    FILLS,
    INTERPOLATIONS,
    SIZES,
    difference,
    inputs,
    inverse_model,
    lite,
    raises,
    small_digits_model,
    strange_inputs,
    survives_a_failed_write,
    warp,
    warp_arguments,
)

import keras_stn
from keras_stn import export, transforms
from keras_stn.export import _accuracy, _readers

# --- The numbers -----------------------------------------------------------------------------------


def check(exported, family, interpolation, fill, size, batch=None, align_corners=False, **more):
    arguments = warp_arguments(family, interpolation, fill, size, batch, align_corners, **more)
    path, report = exported("tflite", warp, arguments)
    assert export.check_tflite(path, "cpu") == []  # no Flex, no custom op
    model, run = warp(**arguments), lite(path)
    for n in (1, 3, 8, 32) if batch is None else (batch,):
        if max(size) < 100 or n <= 3:
            atol = ATOL if max(size) <= 64 else ATOL_224
            assert difference(model, run, inputs(model, n)) <= atol, (family, size, n)
    return report


@pytest.mark.parametrize(COLUMNS, COVERING)
def test_builtin_ops_alone_match_keras(
    exported, family, interpolation, fill, size, batch, align_corners
):
    check(exported, family, interpolation, fill, size, batch, align_corners)


@pytest.mark.parametrize(
    ("interpolation", "fill", "batch"),
    [("bilinear", "constant", None), ("nearest", "wrap", 1), ("bicubic", "mirror", 1)],
)
def test_photograph_sizes_match_keras(exported, interpolation, fill, batch):
    check(exported, "affine", interpolation, fill, (224, 160), batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 1])
def test_sides_of_seven_pixels_convert(exported, batch):
    """An integer clip to 0..6 becomes a RELU6 that no kernel has."""
    for index, (size, fill) in enumerate(itertools.product([(7, 7), (5, 7)], FILLS)):
        if index % 4 == 2 * (batch is None):
            check(exported, "rotation", "bilinear", fill, size, batch)


@pytest.mark.long
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("family", transforms.FAMILIES)
def test_the_whole_table(exported, family, interpolation, fill):
    """Every family x interpolation x fill; of the 49 pairs of sides, 14 with one kind of batch each."""
    for index, height in enumerate(SIZES):
        batches = (None, 3) if index % 2 else (3, None)
        for width, batch in zip((height, SIZES[index - 3]), batches, strict=True):
            check(exported, family, interpolation, fill, (height, width), batch)


@pytest.mark.slow
def test_identity_shows_the_image(tmp_path):
    for interpolation, batch in (("nearest", None), ("bilinear", 2), ("bicubic", None)):
        family = "affine" if batch is None else "attention"
        model = warp(family, (7, 28), "mirror", batch, None, interpolation=interpolation)
        export.export_tflite(model, tmp_path / "warp.tflite")
        feed = inputs(model, 2, within=0.0)
        actual = lite(tmp_path / "warp.tflite")(feed)
        np.testing.assert_allclose(actual, feed["images"], atol=ATOL, rtol=0)


@pytest.mark.slow
def test_unknown_sizes_match_keras(tmp_path):
    for fill, interpolation in (("constant", "bilinear"), ("wrap", "bicubic")):
        model = warp("similarity", (None, None), fill, interpolation=interpolation)
        export.export_tflite(model, tmp_path / "warp.tflite")
        for size in ((7, 5), (1, 6), (28, 28)):
            feed = inputs(warp("similarity", size), 2)
            assert difference(model, lite(tmp_path / "warp.tflite"), feed) <= ATOL, (fill, size)


@pytest.mark.parametrize("accelerator", ["interpreter", "compiled model on CPU"])
def test_runtimes_match_keras(tmp_path, accelerator):
    """The same samples in each; `test_tflite_gpu.py` has the GPU's."""
    model = warp(size=(28, 20), fill="fill_values", interpolation="bicubic")
    export.export_tflite(model, tmp_path / "warp.tflite", batch_size=3)
    run = lite(tmp_path / "warp.tflite") if accelerator == "interpreter" else compiled
    feed = inputs(model, 3)
    if run is compiled:
        run = compiled(tmp_path / "warp.tflite", (3, 5, 9, 2))
    assert difference(model, run, feed) <= ATOL


def compiled(path, shape):
    """A file of one output of `shape`, run by LiteRT's newer interface."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    model = CompiledModel.from_file(str(path), HardwareAccelerator.CPU)
    (signature,) = model.get_signature_list().values()
    arguments, results = model.create_input_buffers(0), model.create_output_buffers(0)

    def run(feed):
        for name, buffer in zip(signature["inputs"], arguments, strict=True):
            buffer.write(feed[name])
        model.run_by_index(0, arguments, results)
        return results[0].read(int(np.prod(shape)), np.float32).reshape(shape)

    return run


# --- Axis-aligned maps: two matmuls ----------------------------------------------------------------


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_axis_aligned_maps_need_no_gather_and_match_keras(exported, interpolation, fill):
    """Non-square, to another size, by turns in all but interpolation and fill mode."""
    number = INTERPOLATIONS.index(interpolation) + list(FILLS).index(fill)
    family = ("translation", "attention")[number % 2]
    channels = 2 if fill == "fill_values" else 1 + number % 3
    batch = (1, 3)[number // 2 % 2]
    size = (11, 7) if number % 3 else (6, 13)
    report = check(
        exported, family, interpolation, fill, size, batch, bool(number % 2), channels=channels
    )
    assert "GATHER" not in report.ops


@pytest.mark.parametrize("family", ["translation", "attention"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_axis_aligned_maps_of_64_pixels_need_no_gather(exported, family, interpolation):
    report = check(
        exported, family, interpolation, "constant", (64, 64), 1, channels=1, output_size=None
    )
    assert not [op for op in report.ops if "GATHER" in op]
    assert report.ops["BATCH_MATMUL"] == 2


@pytest.mark.parametrize(
    ("size", "channels", "batch"), [((160, 224), 3, 1), ((20, 28), 16, 2), ((20, 28), 1, None)]
)
def test_axis_aligned_maps_gather_where_that_is_faster(exported, size, channels, batch):
    report = check(exported, "attention", "bilinear", "reflect", size, batch, channels=channels)
    assert report.ops["GATHER"] == 4


# --- Robust ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(COLUMNS, COVERING)
def test_params_that_are_no_numbers_or_huge_do_what_they_do_in_keras(
    exported, family, interpolation, fill, size, batch, align_corners
):
    """In the files of `test_builtin_ops_alone_match_keras`."""
    arguments = warp_arguments(family, interpolation, fill, size, batch, align_corners)
    path, _ = exported("tflite", warp, arguments)
    model, run = warp(**arguments), lite(path)
    for feed in strange_inputs(model, batch):
        assert difference(model, run, feed) <= ATOL, feed["params"]


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("affine", {"batch_size": 3}),
        ("affine", {"batch_size": 3, "target": "gpu"}),
        ("affine", {"quantization": "float16"}),
        ("translation", {"batch_size": 3}),
        ("attention", {"batch_size": 3, "target": "gpu"}),
    ],
)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_params_that_are_no_numbers_or_huge_do_so_in_other_forms(
    tmp_path, interpolation, family, arguments
):
    number = INTERPOLATIONS.index(interpolation) + len(arguments)
    for fill in ("nearest", ["fill_value", "reflect", "mirror", "wrap"][number % 4]):
        model = warp(family, (7, 6), fill, interpolation=interpolation)
        export.export_tflite(model, tmp_path / "warp.tflite", **arguments)
        run = lite(tmp_path / "warp.tflite")
        for feed in strange_inputs(model, arguments.get("batch_size")):
            assert difference(model, run, feed) <= ATOL, (fill, feed["params"])


# --- The file --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Bytes of files of one affine warp of three channels, by side and kind of batch."""
    path = tmp_path_factory.mktemp("sizes") / "warp.tflite"
    result = {}
    for side, batch in ((224, 1), (224, None), (1024, 1)):
        # Random images of 1024 pixels would take longer to compare than to convert.
        images, params = keras.Input((side, side, 3), name="images"), keras.Input((6,), name="params")
        # By a name: Keras counts layers, and "warp_1234" stands in each tensor's.
        model = keras.Model([images, params], keras_stn.Warp(name="warp")([images, params]))
        samples = [np.zeros((1, side, side, 3)), [transforms.Affine().identity_params]]
        result[side, batch] = export.export_tflite(
            model, path, samples=samples, batch_size=batch, measure_latency=False
        ).size
        assert result[side, batch] == path.stat().st_size
    return result


@pytest.mark.slow
def test_one_warp_is_a_small_file(sizes):
    assert sizes[224, 1] <= 13_000
    assert sizes[224, None] <= 17_000
    assert sizes[1024, 1] <= 20_000


@pytest.mark.slow
def test_files_grow_with_the_sides_and_not_with_the_area(sizes):
    more_steps = 2 * (1024 - 224)  # a float32 each; a grid would take 16 MB
    assert sizes[1024, 1] - sizes[224, 1] <= 4 * more_steps + 200


def test_size_does_not_depend_on_the_name_of_the_model(tmp_path, exported):
    """Keras counts models: "functional_125" stood in the name of every tensor."""
    model = warp()
    named = keras.Model(model.inputs, model.outputs, name="a_name_of_some_more_letters_than_that")
    _, report = exported("tflite", warp)
    assert export.export_tflite(named, tmp_path / "warp.tflite").size == report.size
    findings = export.check_tflite(tmp_path / "warp.tflite", "gpu")
    assert {finding.where.split("/")[0].rstrip("_123456789") for finding in findings} >= {"warped"}


def test_names_are_those_of_the_model(tmp_path):
    left, right = keras.Input((6, 7, 1), name="left"), keras.Input((6, 7, 1), name="right")
    moved = keras_stn.SpatialTransformer("dense", "translation")(left)
    outputs = {"sum": moved + right, "moved": moved, "difference": moved - right}
    model = keras.Model({"right": right, "left": left}, outputs)
    report = export.export_tflite(model, tmp_path / "model.tflite")
    rng = np.random.default_rng(0)
    feed = {name: rng.random((2, 6, 7, 1)).astype("float32") for name in ("left", "right")}
    expected, actual = model(feed), lite(tmp_path / "model.tflite", every=True)(feed)
    assert set(actual) == set(expected) == set(report.accuracy)
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], atol=ATOL, rtol=0)
    assert report.max_error <= ATOL


def test_an_input_whose_name_no_function_can_have_is_named(tmp_path):
    images = keras.Input((8, 12, 1), name="self")
    model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
    with raises("none of them 'self'", r"Received: \['self'\]"):
        export.export_tflite(model, tmp_path / "m.tflite")


@pytest.mark.slow
def test_recurrent_layers_need_a_batch_size(tmp_path):
    images = keras.Input((8, 12, 1))
    rows = keras.layers.Reshape((8, 12))(keras_stn.SpatialTransformer("dense")(images))
    model = keras.Model(images, keras.layers.GRU(3)(rows))
    with raises("batch_size must be given for a model with recurrent layers", "batch_size=None"):
        export.export_tflite(model, tmp_path / "m.tflite")
    assert export.export_tflite(model, tmp_path / "m.tflite", batch_size=2).max_error <= 5e-6


def test_a_truth_value_is_an_output_for_the_gpu_as_well(tmp_path):
    images = keras.Input((8, 12, 1))
    bright = keras.ops.mean(keras_stn.SpatialTransformer("dense")(images), axis=(1, 2, 3)) > 0.5
    report = export.export_tflite(keras.Model(images, bright), tmp_path / "m.tflite", target="gpu")
    assert report.max_error == 0


@pytest.mark.slow
def test_transformers_in_a_row_and_channels_first_export(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 12, 3)),
            keras_stn.SpatialTransformer("dense", "rotation", interpolation="bicubic"),
            keras.layers.Conv2D(4, 3),
            keras_stn.SpatialTransformer("dense", fill_mode="wrap"),
        ]
    )
    assert export.export_tflite(model, tmp_path / "model.tflite").ops["GATHER"] == 16 + 4
    images, params = keras.Input((3, 12, 10)), keras.Input((6,))
    layer = keras_stn.Warp(data_format="channels_first")
    model = keras.Model([images, params], layer([images, params]))
    assert export.export_tflite(model, tmp_path / "model.tflite").max_error <= ATOL


def test_batch_size_fixes_the_batch(tmp_path):
    export.export_tflite(warp(), tmp_path / "warp.tflite", batch_size=4)
    assert lite(tmp_path / "warp.tflite")(inputs(warp(), 4)).shape == (4, 5, 9, 2)
    assert export.check_tflite(tmp_path / "warp.tflite", "micro") == []


def test_timed_report_says_what_was_done(tmp_path):
    path = tmp_path / "digits.tflite"
    report = export.export_tflite(small_digits_model(), path)
    assert report.format == "TFLite"
    assert report.size == path.stat().st_size
    assert report.latency_ms > 0
    assert report.max_error == max(error for error, _ in report.accuracy.values())
    assert report.psnr == min(psnr for _, psnr in report.accuracy.values())
    # Scores are sums of a thousand products of about 1, on params that differ in the last bit.
    assert report.max_error <= 1e-5
    words = " ".join(str(report).split())
    for word in (f"{report.size:,} bytes", "GATHER 4", "latency", *report.accuracy, "dB"):
        assert word in words
    assert path.name in "".join(str(report).split())  # a long path goes over several lines
    assert report.findings == export.check_tflite(path)
    assert {("gpu", "micro")} < {finding.runtimes for finding in report.findings}  # the batch is open


# --- What goes wrong -------------------------------------------------------------------------------


def test_error_above_the_bound_raises_and_leaves_no_file(tmp_path):
    images = keras.Input((6, 7, 1), name="images")
    model = keras.Model(images, keras.layers.Conv2D(3, 3, activation="tanh")(images))
    with raises("within 1e-30", "Give max_error", "Received: an error of"):
        export.export_tflite(model, tmp_path / "model.tflite", max_error=1e-30)
    with raises("keep a PSNR of 500 dB", "Give min_psnr", "Received: "):
        export.export_tflite(model, tmp_path / "model.tflite", quantization="float16", min_psnr=500)
    assert list(tmp_path.iterdir()) == []


def test_default_bound_would_catch_a_thousandth_of_a_pixel(tmp_path, monkeypatch):
    true = _readers.for_cpu

    def shifted(images, points, sampling):
        return true(images, points.each(lambda axis: axis + 1e-3), sampling)

    monkeypatch.setattr(_readers, "for_cpu", shifted)
    with raises("model must give the same numbers in LiteRT"):
        export.export_tflite(warp(), tmp_path / "warp.tflite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_survives_a_failed_write(tmp_path, monkeypatch):
    survives_a_failed_write(export.export_tflite, tmp_path / "warp.tflite", monkeypatch)


def test_an_op_that_tflite_lacks_raises_and_is_named(tmp_path):
    with raises(r"what TFLite has builtin ops for\. Received: MatrixInverse\.$"):  # not a page of text
        export.export_tflite(inverse_model(), tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_named_and_not_the_ops(tmp_path):
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, keras_stn.SpatialTransformer("dense", dtype="mixed_float16")(images))
    with raises("model must compute in float32 for TFLite", "Received: [A-Za-z0-9]+ in float16"):
        export.export_tflite(model, tmp_path / "model.tflite")
    words = keras.layers.StringLookup(vocabulary=["a"], invert=True)
    numbers = keras.Input((1,), dtype="int32", name="numbers")
    model = keras.Model([images, numbers], [2 * images, words(numbers)])
    samples = [np.zeros((1, 8, 8, 1)), np.zeros((1, 1))]
    with raises("Received: "):
        export.export_tflite(model, tmp_path / "model.tflite", samples=samples)


def test_an_op_that_tflite_lacks_is_named_also_beside_another_dtype(tmp_path):
    images = keras.Input((8, 8, 1))
    twice = keras.ops.cast(keras.ops.cast(images, "float64"), "float32")
    model = keras.Model(images, Lacking()(twice))
    with raises("what TFLite has builtin ops for. Received: Betainc"):
        export.export_tflite(model, tmp_path / "model.tflite")


@keras.saving.register_keras_serializable(package="test_tflite")
class Lacking(keras.layers.Layer):
    def call(self, images):
        return tf.math.betainc(images + 1, images + 1, images)

    def compute_output_shape(self, shape):
        return shape


def test_infinities_that_keras_gives_are_no_difference(tmp_path):
    images = keras.Input((8, 12, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras_stn.SpatialTransformer("dense")(images))
    log = keras.ops.log(keras.ops.concatenate([0 * x, x, -1 - x], axis=-1))  # -inf, a number, NaN
    report = export.export_tflite(keras.Model(images, log), tmp_path / "model.tflite")
    assert report.max_error <= 1e-5
    wrong = _accuracy.measure([[-np.inf, 1.0]], [[np.inf, 1.0]])
    assert wrong.max_error == np.inf


def test_brackets_in_a_path_are_no_markup(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a short path, so that the report cuts nothing off
    pathlib.Path("warp[").mkdir()
    report = export.export_tflite(warp(), "warp[/final].tflite")
    assert "warp[/final].tflite" in "".join(str(report).split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"quantization": "float"}, ("quantization must be one of", "Did you mean 'float16'")),
        ({"quantization": "int8"}, ("representative_dataset must be given", "Received: ")),
        ({"target": "npu"}, ("target must be one of", "Received: target='npu'")),
        ({"batch_size": 0}, ("batch_size must be a positive integer", "Received: batch_size=0")),
        ({"max_error": -1}, ("max_error must be a positive number", "Received: max_error=-1")),
        (
            {"max_error": 1.0, "quantization": "dynamic"},
            ("max_error must be None with quantization; give min_psnr", "Received: max_error=1"),
        ),
        ({"min_psnr": 60}, ("min_psnr must be None without quantization", "Received: min_psnr=60")),
        (
            {"min_psnr": "high", "quantization": "float16"},
            ("min_psnr must be a positive number", "Received: min_psnr='high'"),
        ),
        ({"samples": np.zeros((2, 3))}, ("samples must be one array for each input", r"\(2, 3\)")),
        ({"samples": {"image": 0}}, ("samples must have the names of the inputs", "'image'")),
    ],
)
def test_invalid_argument(tmp_path, arguments, words):
    with raises(*words):
        export.export_tflite(warp(), tmp_path / "warp.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_invalid_model_and_path(tmp_path):
    with raises("model must be a Keras model with known inputs", "Received: model="):
        export.export_tflite(keras_stn.SpatialTransformer(), tmp_path / "model.tflite")
    for path in (tmp_path / "nowhere" / "model.tflite", tmp_path):
        with raises("path must be a file in a folder that exists", "Received: path="):
            export.export_tflite(warp(), path)
    with raises("batch_size must be None or 3, the batch that the model fixes", "batch_size=1"):
        export.export_tflite(warp(batch=3), tmp_path / "warp.tflite", batch_size=1)
    with raises("known size for target=", "'images' of shape"):
        export.export_tflite(warp(size=(None, 7)), tmp_path / "warp.tflite", target="gpu")


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("ai_edge_litert", {})]
    + [("ai_edge_quantizer", {"quantization": q}) for q in ("float16", "dynamic", "int8")],
)
def test_missing_extra_names_the_command(tmp_path, monkeypatch, missing, arguments):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else True)
    with pytest.raises(
        ImportError, match=rf'{missing}: pip install {missing}, or "keras-stn\[export\]"'
    ):
        export.export_tflite(warp(), tmp_path / "warp.tflite", **arguments)
    if missing == "ai_edge_litert":
        with pytest.raises(ImportError, match=r"keras-stn\[export\]"):
            export.check_tflite(tmp_path / "warp.tflite")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_products_of_axis_aligned_maps_are_those_that_old_kernels_get_right(tmp_path, channels):
    """tflite-runtime 2.14 and LiteRT 1.0 are off by 0.9 where BATCH_MATMUL has adj_x and broadcasts."""
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "warp.tflite"
    export.export_tflite(warp("attention", (28, 20), batch=1, channels=channels), path)
    interpreter = Interpreter(str(path))
    tensors = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    products = [op for op in interpreter._get_ops_details() if op["op_name"] == "BATCH_MATMUL"]
    assert len(products) == 2
    for op in products:
        left, right = (tensors[index] for index in op["inputs"])
        assert list(left[:-2]) == list(right[:-2])
        assert left[-1] == right[-2]  # neither is transposed
