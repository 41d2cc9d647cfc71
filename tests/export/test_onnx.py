"""ONNX: one GridSample for each sampler, and the numbers of the live layer.

`test_the_whole_table` is every combination; the rest covers it.
"""

import collections

import keras
import numpy as np
import onnx
import onnxruntime
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
    raises,
    small_digits_model,
    strange_inputs,
    survives_a_failed_write,
    warp,
    warp_arguments,
)

import keras_stn
from keras_stn import export, transforms


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def runner(path):
    """The file as a function of its inputs by their names."""
    running = session(path)
    return lambda feed: running.run(None, feed)[0]


# --- The numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("mode", "padding", "corners"), [("grid_sample", b"zeros", 0), ("grid_sample_border", b"border", 1)]
)
def test_a_flow_is_written_in_both_forms_that_vendors_have_kernels_for(
    tmp_path, mode, padding, corners, align_corners
):
    """Flow that leads beyond the image, on both sides of it, and to nowhere."""
    images, flow = keras.Input((24, 36, 3)), keras.Input((24, 36, 2))
    layer = keras_stn.Warp("displacement", fill_mode="nearest", align_corners=align_corners)
    model = keras.Model([images, flow], layer([images, flow]))
    path = tmp_path / "flow.onnx"
    export.export_onnx(model, path, mode=mode, measure_latency=False)
    (node,) = [node for node in onnx.load(path).graph.node if node.op_type == "GridSample"]
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    assert (attributes["padding_mode"], attributes["align_corners"]) == (padding, corners)

    rng = np.random.default_rng(0)
    feed = [
        rng.random((2, 24, 36, 3), "float32"),
        rng.uniform(-30, 30, (2, 24, 36, 2)).astype("float32"),
    ]
    feed[1][0, 5, 7] = np.nan, 1
    names = [one.name for one in session(path).get_inputs()]
    found = runner(path)(dict(zip(names, feed, strict=True)))
    np.testing.assert_allclose(found, model(feed), atol=ATOL)


def check(exported, family, interpolation, fill, size, batch=None, align_corners=False):
    arguments = warp_arguments(family, interpolation, fill, size, batch, align_corners)
    path, report = exported("onnx", warp, arguments)
    assert report.ops["GridSample"] == 1
    # The squarings of a flow read the field by gathers, and the file says so.
    assert [finding.rule for finding in report.findings] == ["gathers"] * (family == "velocity")
    model, running = warp(**arguments), runner(path)
    for n in (1, 3, 8, 32) if batch is None else (batch,):
        if max(size) < 100 or n <= 3:
            atol = ATOL if max(size) <= 64 else ATOL_224
            assert difference(model, running, inputs(model, n)) <= atol, (family, size, n)


@pytest.mark.parametrize(COLUMNS, COVERING)
def test_one_grid_sample_matches_keras(
    exported, family, interpolation, fill, size, batch, align_corners
):
    check(exported, family, interpolation, fill, size, batch, align_corners)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("fill", ["constant", "mirror"])
def test_photograph_sizes_match_keras(exported, interpolation, fill):
    check(exported, "affine", interpolation, fill, (224, 160))


@pytest.mark.slow
@pytest.mark.parametrize("fill", FILLS)
def test_cubics_of_noise_match_keras_up_to_64_pixels(tmp_path, fill):
    # Where one bit of a coordinate is 4e-6, and noise changes by 2 a pixel. "wrap" reads the first pixel
    # of an image behind its last, and beyond the 64th a bit is twice as large: up to 5.4e-6 was seen.
    size = (63, 62) if fill == "wrap" else (64, 48)
    model = warp("affine", size, fill, interpolation="bicubic", output_size=size)
    export.export_onnx(model, tmp_path / "warp.onnx")
    assert difference(model, runner(tmp_path / "warp.onnx"), inputs(model, 33)) <= ATOL


def test_a_high_step_at_the_border_matches_keras_up_to_64_pixels(tmp_path):
    # From noise in [0, 1] down to -0.8 and back.
    images, params = keras.Input((64, 48, 1), name="images"), keras.Input((6,), name="params")
    warped = keras_stn.Warp(fill_value=-0.8, name="warped")([images, params])
    model = keras.Model([images, params], warped)
    export.export_onnx(model, tmp_path / "warp.onnx")
    assert difference(model, runner(tmp_path / "warp.onnx"), inputs(model, 33)) <= ATOL


def test_large_fill_value_takes_no_digits_of_the_image(tmp_path):
    images, params = keras.Input((7, 6, 2), name="images"), keras.Input((6,), name="params")
    for interpolation in INTERPOLATIONS:
        layer = keras_stn.Warp(fill_value=-1e9, interpolation=interpolation, name="warped")
        model = keras.Model([images, params], layer([images, params]))
        feed = inputs(model, 2, within=0.0)
        feed["params"] /= 2  # the middle of the image
        export.export_onnx(model, tmp_path / "warp.onnx", samples=feed)
        assert difference(model, runner(tmp_path / "warp.onnx"), feed) <= ATOL, interpolation


def test_fill_value_costs_nothing_where_nothing_is_filled(tmp_path):
    images, params = keras.Input((7, 6, 2)), keras.Input((6,))
    ops = []
    for fill_value in (0.0, 0.7):
        layer = keras_stn.Warp(fill_mode="nearest", fill_value=fill_value)
        model = keras.Model([images, params], layer([images, params]))
        ops.append(export.export_onnx(model, tmp_path / "warp.onnx").ops)
    assert ops[0] == ops[1]


def test_covering_table_covers():
    columns = list(zip(*COVERING, strict=True))
    assert set(columns[0]) == set(transforms.FAMILIES)
    assert {size for pair in columns[3] for size in pair} == set(SIZES) - {224}
    assert len(set(zip(columns[1], columns[2], strict=True))) == len(INTERPOLATIONS) * len(FILLS)


@pytest.mark.long
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("family", transforms.FAMILIES)
def test_the_whole_table(exported, family, interpolation, fill):
    for index, height in enumerate(SIZES):
        batches = (None, 3) if index % 2 else (3, None)
        for width, batch in zip((height, SIZES[index - 3]), batches, strict=True):
            check(exported, family, interpolation, fill, (height, width), batch)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_identity_shows_the_image(tmp_path, interpolation, fill):
    model = warp("affine", (7, 28), fill, output_size=None, interpolation=interpolation)
    export.export_onnx(model, tmp_path / "warp.onnx")
    feed = inputs(model, 2, within=0.0)
    (actual,) = session(tmp_path / "warp.onnx").run(None, feed)
    np.testing.assert_allclose(actual, feed["images"], atol=ATOL, rtol=0)


@pytest.mark.slow
def test_unknown_sizes_match_keras(tmp_path):
    for fill, interpolation in (("constant", "bilinear"), ("wrap", "bicubic"), ("mirror", "bicubic")):
        model = warp("similarity", (None, None), fill, interpolation=interpolation)
        export.export_onnx(model, tmp_path / "warp.onnx")
        for size in ((7, 5), (1, 6), (28, 28)):
            feed = inputs(warp("similarity", size), 2)
            assert difference(model, runner(tmp_path / "warp.onnx"), feed) <= ATOL, (fill, size)


def test_gather_mode_is_portable_and_matches_keras(tmp_path):
    model = warp(fill="reflect", interpolation="bicubic")
    report = export.export_onnx(model, tmp_path / "warp.onnx", mode="gather")
    assert "GridSample" not in report.ops
    feed = inputs(model, 3)
    assert difference(model, runner(tmp_path / "warp.onnx"), feed) <= 1e-6  # the same ops


# --- Robust ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(COLUMNS, COVERING)
def test_params_that_are_no_numbers_or_huge_do_what_they_do_in_keras(
    exported, family, interpolation, fill, size, batch, align_corners
):
    """In the files of `test_one_grid_sample_matches_keras`."""
    arguments = warp_arguments(family, interpolation, fill, size, batch, align_corners)
    path, _ = exported("onnx", warp, arguments)
    strange(warp(**arguments), path, batch)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_params_that_are_no_numbers_or_huge_do_so_by_gathers(exported, interpolation, fill):
    arguments = {"fill": fill, "size": (7, 6), "interpolation": interpolation}
    path, _ = exported("onnx", warp, arguments, mode="gather")
    strange(warp(**arguments), path)


def strange(model, path, batch=None):
    running = runner(path)
    for feed in strange_inputs(model, batch):
        assert difference(model, running, feed) <= ATOL, feed["params"]


# --- The graph -------------------------------------------------------------------------------------


def test_small_digits_model_has_at_most_45_nodes(tmp_path):
    model = small_digits_model()
    report = export.export_onnx(model, tmp_path / "digits.onnx")
    assert sum(report.ops.values()) <= 45
    assert report.ops["GridSample"] == 1
    assert report.ops.get("Gather", 0) == 0
    # Predicted params differ in the last bit, scores are sums of a thousand products of about 1.
    assert report.max_error <= 1e-5
    gathers = export.export_onnx(model, tmp_path / "gather.onnx", mode="gather")
    assert sum(gathers.ops.values()) > 2 * sum(report.ops.values())


def test_file_passes_the_full_check_and_names_its_batch(exported):
    path, report = exported("onnx", warp)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert report.size == path.stat().st_size
    assert dict(collections.Counter(node.op_type for node in proto.graph.node)) == report.ops
    assert [value.name for value in proto.graph.input] == ["images", "params"]
    (output,) = proto.graph.output
    sizes = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert sizes == ["batch", 5, 9, 2]


def test_batch_size_fixes_the_batch(tmp_path):
    export.export_onnx(warp(), tmp_path / "warp.onnx", batch_size=4)
    proto = onnx.load(tmp_path / "warp.onnx")
    assert proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 4


@pytest.mark.parametrize("opset", [16, 17, 18, 20])
def test_opset_is_the_one_asked_for(tmp_path, opset):
    export.export_onnx(warp(fill="fill_value"), tmp_path / "warp.onnx", opset=opset)
    assert onnx.load(tmp_path / "warp.onnx").opset_import[0].version == opset


def test_names_are_those_of_the_model(tmp_path):
    left, right = keras.Input((6, 7, 1), name="left"), keras.Input((6, 7, 1), name="right")
    moved = keras_stn.SpatialTransformer("dense", "translation")(left)
    outputs = {"sum": moved + right, "moved": moved, "difference": moved - right}
    model = keras.Model({"right": right, "left": left}, outputs)
    report = export.export_onnx(model, tmp_path / "model.onnx")
    running = session(tmp_path / "model.onnx")
    assert {value.name for value in running.get_inputs()} == {"left", "right"}
    rng = np.random.default_rng(0)
    feed = {name: rng.random((2, 6, 7, 1)).astype("float32") for name in ("left", "right")}
    expected = model(feed)
    for name, actual in zip(expected, running.run(list(expected), feed), strict=True):
        np.testing.assert_allclose(actual, expected[name], atol=ATOL, rtol=0)
    assert report.max_error <= ATOL


def test_outputs_that_have_the_name_of_an_input_or_of_each_other_get_a_number(tmp_path):
    images = keras.Input((6, 7, 1), name="images")
    moved = keras_stn.SpatialTransformer("dense", name="moved")(images)
    export.export_onnx(keras.Model(images, [images, moved, moved]), tmp_path / "model.onnx")
    running = session(tmp_path / "model.onnx")
    assert [value.name for value in running.get_outputs()] == ["images_1", "moved", "moved_1"]


@pytest.mark.slow
def test_names_with_numbers_are_not_given_twice(tmp_path):
    """Keras' own are the names of layers: one called twice, and another with the number in its name."""
    left, right = keras.Input((6, 7, 1), name="left"), keras.Input((6, 7, 1), name="right")
    twice, other = (
        keras_stn.SpatialTransformer("dense", name=name, output_size=size)
        for name, size in (("st", None), ("st_1", (3, 4)))
    )
    model = keras.Model([left, right], [twice(left), twice(right), other(left)])
    report = export.export_onnx(model, tmp_path / "model.onnx")
    assert list(report.accuracy) == ["st", "st_2", "st_1"]
    outputs = session(tmp_path / "model.onnx").get_outputs()
    sizes = {value.name: value.shape[1:3] for value in outputs}
    assert sizes == {"st": [6, 7], "st_2": [6, 7], "st_1": [3, 4]}


def test_constants_of_the_model_are_no_inputs_of_the_file(tmp_path):
    """tf2onnx makes inputs of all tensors that a function captures: here a mean, a variance, a grid."""
    images = keras.Input((6, 7, 2), name="images")
    x = keras.layers.Normalization(mean=[0.4, 0.6], variance=[0.1, 0.2])(images)
    x = keras_stn.SpatialTransformer("dense")(x) + tf.reshape(tf.range(84.0) / 84, (1, 6, 7, 2))
    report = export.export_onnx(keras.Model(images, x), tmp_path / "model.onnx")
    assert [value.name for value in session(tmp_path / "model.onnx").get_inputs()] == ["images"]
    assert report.ops["GridSample"] == 1


def test_a_table_is_named_beside_constants(tmp_path):
    images = keras.Input((6, 7, 1), name="images")
    words = keras.Input((), dtype="string", name="words")
    found = keras.layers.StringLookup(vocabulary=["a", "b"])(words)
    model = keras.Model([images, words], [keras_stn.SpatialTransformer("dense")(images), found])
    samples = [np.zeros((1, 6, 7, 1)), np.array(["a"])]
    with raises("what ONNX has operators for", "LookupTable"):
        export.export_onnx(model, tmp_path / "model.onnx", samples=samples)


class Framed(keras.layers.Layer):
    """A transformer inside a tf.function, which keeps what it has traced."""

    def __init__(self):
        super().__init__()
        self.transformer = keras_stn.SpatialTransformer("dense")

    def build(self, shape):
        self.transformer.build(shape)

    @tf.function
    def call(self, images):
        return self.transformer(images)

    def compute_output_shape(self, shape):
        return shape


def test_a_function_of_the_model_runs_on_after_the_export(tmp_path):
    model = keras.Sequential([keras.Input((6, 7, 1)), Framed()])
    report = export.export_onnx(model, tmp_path / "model.onnx")
    (finding,) = report.findings
    assert finding.message == "1 of 1 samplers kept their gathers: inside a tf.function"
    images = np.random.default_rng(0).random((3, 6, 7, 1), "float32")
    assert np.array_equal(model(images), images)
    model.compile("sgd", "mse")
    assert model.fit(images, images, verbose=0).history["loss"] == [0]


@pytest.mark.slow
def test_each_transformer_is_one_grid_sample(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8, 12, 3)),
            keras_stn.SpatialTransformer("dense", "rotation", interpolation="bicubic"),
            keras.layers.Conv2D(4, 3),
            keras_stn.SpatialTransformer("dense", fill_mode="wrap"),
        ]
    )
    assert export.export_onnx(model, tmp_path / "model.onnx").ops["GridSample"] == 2


def test_channels_first_moves_no_image(tmp_path):
    images, params = keras.Input((3, 12, 10)), keras.Input((6,))
    layer = keras_stn.Warp(data_format="channels_first")
    model = keras.Model([images, params], layer([images, params]))
    report = export.export_onnx(model, tmp_path / "warp.onnx")
    assert report.ops.get("Transpose", 0) <= 1  # of theta, six numbers
    assert report.max_error <= ATOL


def test_half_precision_is_summed_in_float32(tmp_path):
    images, params = keras.Input((8, 12, 3)), keras.Input((6,))
    layer = keras_stn.Warp(dtype="mixed_float16", fill_mode="mirror")
    model = keras.Model([images, params], layer([images, params]))
    report = export.export_onnx(model, tmp_path / "warp.onnx", max_error=5e-4)  # half an ulp near 1
    assert report.ops["GridSample"] == 1


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_images_without_a_kernel_keep_their_gathers_and_say_so(tmp_path, dtype):
    images, grid = keras.Input((8, 6, 1), dtype=dtype), keras.Input((4, 5, 2))
    model = keras.Model([images, grid], keras_stn.ops.grid_sample(images, grid, "nearest"))
    samples = [np.arange(48).reshape(1, 8, 6, 1), np.full((1, 4, 5, 2), 0.4)]
    report = export.export_onnx(model, tmp_path / "labels.onnx", samples=samples)
    assert report.max_error == 0
    assert "GridSample" not in report.ops
    (finding,) = report.findings
    assert str(finding) == f"1 of 1 samplers kept their gathers: {dtype} images (ONNX Runtime)"


# --- What goes wrong -------------------------------------------------------------------------------


def test_error_above_the_bound_raises_and_leaves_no_file(tmp_path):
    with raises("within 1e-30", "Give max_error", "Received: an error of"):
        export.export_onnx(warp(), tmp_path / "warp.onnx", max_error=1e-30)
    assert list(tmp_path.iterdir()) == []


def test_default_bound_would_catch_a_thousandth_of_a_pixel(tmp_path, monkeypatch):
    true = keras_stn.grids.normalising

    def shifted(size, align_corners, dtype):
        offset, divisor = true(size, align_corners, dtype)
        return offset + 1e-3, divisor

    monkeypatch.setattr(keras_stn.grids, "normalising", shifted)
    with raises("model must give the same numbers"):
        export.export_onnx(warp(), tmp_path / "warp.onnx")


def test_a_file_that_is_there_survives_a_failed_write(tmp_path, monkeypatch):
    survives_a_failed_write(export.export_onnx, tmp_path / "warp.onnx", monkeypatch)


def test_what_onnx_has_no_operator_for_raises(tmp_path):
    with raises("what ONNX has operators for", "MatrixInverse"):
        export.export_onnx(inverse_model(), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_raises_before_the_conversion(tmp_path):
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, keras_stn.SpatialTransformer("dense", dtype="mixed_bfloat16")(images))
    with raises("must not compute in bfloat16", "Received: bfloat16 in"):
        export.export_onnx(model, tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "gathers"}, ("mode must be one of", "Did you mean 'gather'")),
        ({"opset": 19}, ("opset must be one of", "Received: opset=19")),
        ({"batch_size": 0}, ("batch_size must be a positive integer", "Received: batch_size=0")),
        ({"max_error": -1}, ("max_error must be a positive number", "Received: max_error=-1")),
        ({"samples": np.zeros((2, 3))}, ("samples must be one array for each input", r"\(2, 3\)")),
        ({"samples": {"image": 0}}, ("samples must have the names of the inputs", "'image'")),
    ],
)
def test_invalid_argument(tmp_path, arguments, words):
    with raises(*words):
        export.export_onnx(warp(), tmp_path / "warp.onnx", **arguments)


def test_invalid_model_and_path(tmp_path):
    with raises("model must be a Keras model with known inputs", "Received: model="):
        export.export_onnx(keras_stn.SpatialTransformer(), tmp_path / "model.onnx")
    for path in (tmp_path / "nowhere" / "model.onnx", tmp_path):
        with raises("path must be a file in a folder that exists", "Received: path="):
            export.export_onnx(warp(), path)


def test_missing_extra_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tf2onnx" else True)
    with pytest.raises(
        ImportError, match=r'needs tf2onnx: pip install tf2onnx, or "keras-stn\[export\]"'
    ):
        export.export_onnx(warp(), tmp_path / "warp.onnx")
