"""SavedModel: stock TensorFlow ops, the numbers of Keras to the bit, no package needed to serve it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import inputs, raises, small_digits_model, warp

import keras_stn
from keras_stn import export
from keras_stn.export import _accuracy


def serve(path, **feed):
    loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    served = loaded.signatures["serving_default"](**{n: tf.constant(x) for n, x in feed.items()})
    return {name: tensor.numpy() for name, tensor in served.items()}


# --- The numbers -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "fill", "interpolation"),
    [("affine", "fill_values", "bicubic"), ("attention", "mirror", "bilinear")],
)
def test_any_batch_gives_the_very_numbers_of_keras(tmp_path, family, fill, interpolation):
    model = warp(family, (7, 12), fill, interpolation=interpolation)
    report = export.export_saved_model(model, tmp_path / "warp")
    assert report.max_error == 0
    # A graph of open batch, as what is served: another graph may add in another order.
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in model.inputs]
    live = tf.function(lambda *tensors: model(list(tensors)), input_signature=specs)
    for batch in (1, 3, 8, 32):
        feed = inputs(model, batch)
        assert np.array_equal(serve(tmp_path / "warp", **feed)["warped"], live(*feed.values()))


@pytest.mark.slow
def test_whole_model_with_weights_gives_the_very_numbers_of_keras(tmp_path):
    model = small_digits_model()
    samples = np.random.default_rng(0).random((5, 40, 40, 1), "float32")
    report = export.export_saved_model(model, tmp_path / "digits", samples=samples)
    assert report.max_error == 0
    assert report.psnr == float("inf")
    (answer,) = serve(tmp_path / "digits", images=samples).values()
    assert np.array_equal(answer, tf.function(model)(samples))


@pytest.mark.slow
def test_names_are_those_of_the_model(tmp_path):
    left, right = keras.Input((6, 7, 1), name="left"), keras.Input((6, 7, 1), name="right")
    moved = keras_stn.SpatialTransformer("dense", "translation", name="move")(left)
    twice = keras_stn.SpatialTransformer("dense", "rotation", name="turn")(moved)
    model = keras.Model({"right": right, "left": left}, {"sum": moved + right, "turned": twice})
    export.export_saved_model(model, tmp_path / "model")
    rng = np.random.default_rng(0)
    feed = {name: rng.random((2, 6, 7, 1)).astype("float32") for name in ("left", "right")}
    answer, expected = serve(tmp_path / "model", **feed), tf.function(model)(feed)
    assert set(answer) == {"sum", "turned"}
    for name, array in answer.items():
        assert np.array_equal(array, expected[name])


def test_channels_first_and_fixed_batch(tmp_path):
    images, params = keras.Input((3, 12, 10), batch_size=2, name="i"), keras.Input((6,), 2, name="p")
    layer = keras_stn.Warp(data_format="channels_first", name="warped")
    model = keras.Model([images, params], layer([images, params]))
    assert export.export_saved_model(model, tmp_path / "warp").max_error == 0
    feed = {"i": np.ones((2, 3, 12, 10), "float32"), "p": np.zeros((2, 6), "float32")}
    assert serve(tmp_path / "warp", **feed)["warped"].shape == (2, 3, 12, 10)


# --- Without the package ---------------------------------------------------------------------------

_SCRIPT = """
import sys
sys.modules["keras_stn"] = sys.modules["keras"] = sys.modules["tf_keras"] = None
import numpy as np
import tensorflow as tf

for name in ("keras", "keras_stn"):
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(name + " can be imported")

file, *folders = sys.argv[1:]
arrays = dict(np.load(file))
images, params = tf.constant(arrays["images"]), tf.constant(arrays["params"])
for folder in folders:
    loaded = tf.saved_model.load(folder)
    served = loaded.signatures["serving_default"](images=images, params=params)["warped"]
    with tf.GradientTape() as tape:
        tape.watch([images, params])
        value = tf.reduce_sum(loaded.serve(images, params)["warped"] ** 2)
    to_images, to_params = tape.gradient(value, [images, params])
    np.savez(folder + ".npz", served=served, to_images=to_images, to_params=to_params)
"""


def compiled(path):
    """Whether the signature and `serve` ask TensorFlow to compile a part of them by XLA."""
    loaded = tf.saved_model.load(str(path))
    asked = []
    for function in (loaded.signatures["serving_default"], *loaded.serve.concrete_functions):
        graph = function.graph.as_graph_def()
        inside = (node for function in graph.library.function for node in function.node_def)
        asked.append(any(node.attr["_XlaCompile"].b for node in (*graph.node, *inside)))
    return asked


FORMATS = {"gather": "SavedModel", "xla": "SavedModel xla"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model, inputs of it, {mode: its export}: all served by one process that has TensorFlow alone."""
    folder = tmp_path_factory.mktemp("served")
    model = warp(size=(7, 12), fill="reflect", output_size=(12, 18))  # large enough to be compiled
    reports = {mode: export.export_saved_model(model, folder / mode, mode=mode) for mode in FORMATS}
    feed = inputs(model, 3)
    np.savez(folder / "arrays.npz", **feed)
    paths = [str(folder / name) for name in ("arrays.npz", *FORMATS)]
    command = [sys.executable, "-c", _SCRIPT, *paths]
    run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return model, feed, reports


@pytest.mark.slow
@pytest.mark.parametrize("mode", FORMATS)
def test_serves_and_differentiates_without_keras_and_keras_stn(served, mode):
    model, feed, reports = served
    report, path = reports[mode], reports[mode].path
    assert report.max_error == 0
    assert report.format == FORMATS[mode]
    assert compiled(path) == [mode == "xla", mode == "xla"]
    images, params = map(tf.constant, feed.values())
    with tf.GradientTape() as tape:
        tape.watch([images, params])
        warped = model([images, params])
        value = tf.reduce_sum(warped**2)
    to_images, to_params = tape.gradient(value, [images, params])
    answer = np.load(f"{path}.npz")
    np.testing.assert_allclose(answer["served"], warped, atol=1e-6, rtol=0)
    # Sums of some hundred products: float32, in another order.
    np.testing.assert_allclose(answer["to_images"], to_images, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(answer["to_params"], to_params, atol=1e-3, rtol=1e-3)
    assert np.abs(answer["to_params"]).min() > 0


def test_strings_are_compared_as_they_are(tmp_path):
    words = keras.Input((), dtype="string", name="words")
    images = keras.Input((6, 7, 1), name="images")
    total = keras.ops.sum(keras_stn.SpatialTransformer("dense")(images), (1, 2, 3))
    found = keras.layers.StringLookup(vocabulary=["a", "b"])(words)
    again = keras.layers.StringLookup(vocabulary=["a", "b"], invert=True)(found)
    model = keras.Model([images, words], [total, again])
    with raises("samples must be given where an input is of strings"):
        export.export_saved_model(model, tmp_path / "model")
    samples = [np.ones((2, 6, 7, 1)), np.array(["b", "c"])]
    assert export.export_saved_model(model, tmp_path / "model", samples=samples).max_error == 0
    other = [np.array([word], object) for word in (b"a", b"b")]
    assert _accuracy.measure(*other).max_error == np.inf


# --- The graph -------------------------------------------------------------------------------------


def test_report_says_what_was_done(exported):
    path, report = exported("saved_model", warp)
    files = [file for file in path.rglob("*") if file.is_file()]
    assert report.format == "SavedModel"
    assert report.size == sum(file.stat().st_size for file in files)
    assert report.ops["GatherV2"] == 4
    assert report.latency_ms is None
    text = str(report)
    assert "exact" in text
    assert f"{report.size:,} bytes" in text
    assert "latency" not in text


def test_model_compiled_for_xla_exports(tmp_path):
    model = small_digits_model()
    model.compile("sgd", "mse", jit_compile=True)
    assert export.export_saved_model(model, tmp_path / "digits").max_error == 0


@keras.saving.register_keras_serializable(package="test_saved_model")
class Calling(keras.layers.Layer):
    """A layer that calls `function`."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, inputs):
        return tf.ensure_shape(self.function(inputs), inputs.shape)

    def compute_output_shape(self, shape):
        return shape


def calling(function):
    images = keras.Input((6, 7, 1), name="images")
    return keras.Model(images, Calling(function)(images))


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: tf.numpy_function(np.tanh, [x], tf.float32), "PyFunc"),
        (lambda x: tf.py_function(tf.tanh, [x], tf.float32), "EagerPyFunc"),
    ],
)
def test_ops_that_run_python_raise(tmp_path, function, op):
    with raises("must consist of TensorFlow ops alone", op):
        export.export_saved_model(calling(function), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_functions_that_only_xla_can_run_raise(tmp_path):
    with raises("must not hold functions that only XLA can run", "Received: '"):
        export.export_saved_model(calling(tf.function(tf.tanh, jit_compile=True)), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_grouped_convolution_is_named(tmp_path):
    images = keras.Input((6, 7, 4))
    grouped = keras.Model(images, keras.layers.Conv2D(8, 3, groups=2)(images))
    with raises("grouped convolutions, which Keras compiles", "Received: "):
        export.export_saved_model(grouped, tmp_path / "model")
    with raises("what ONNX has operators for", "grouped convolutions"):
        export.export_onnx(grouped, tmp_path / "model")
    export.export_tflite(grouped, tmp_path / "model")  # here it is a builtin op


# --- Whole or not at all ---------------------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_that_is_there_is_replaced_whole(tmp_path):
    folder = tmp_path / "model"
    export.export_saved_model(small_digits_model(), folder)
    (folder / "assets" / "left_over").write_text("of before")
    export.export_saved_model(warp(), folder)
    assert not (folder / "assets" / "left_over").exists()
    assert serve(folder, **inputs(warp(), 2))["warped"].shape == (2, 5, 9, 2)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_what_was_there(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("all of it")
    with raises("must consist of TensorFlow ops alone"):
        export.export_saved_model(calling(lambda x: tf.numpy_function(np.tanh, [x], tf.float32)), folder)
    assert (folder / "saved_model.pb").read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_move_leaves_what_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("all of it")
    true = os.replace

    def fail(source, target):
        if source.name == "new":
            raise OSError("disk full")
        true(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            export.export_saved_model(warp(), folder)
    assert (folder / "saved_model.pb").read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [folder]


def test_another_number_than_that_of_keras_raises(tmp_path, monkeypatch):
    measure = _accuracy.measure
    monkeypatch.setattr(_accuracy, "measure", lambda truth, answer: measure(truth, answer + 1e-3))
    with raises("must load to the numbers it was saved with", "Received: an error of 0.001"):
        export.export_saved_model(warp(), tmp_path / "warp")
    assert list(tmp_path.iterdir()) == []


def test_invalid_arguments(tmp_path):
    with raises("mode must be one of", "Received: mode='gathers'", "Did you mean 'gather'"):
        export.export_saved_model(warp(), tmp_path / "model", mode="gathers")
    with raises("model must be a Keras model with known inputs", "Received: model="):
        export.export_saved_model(keras_stn.SpatialTransformer(), tmp_path / "model")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "nowhere" / "model"):
        with raises("path must be a folder, in one that exists", "Received: path="):
            export.export_saved_model(warp(), path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter").write_text("dear")
    with raises("path must be a new folder, an empty one, or a SavedModel", "holds something else"):
        export.export_saved_model(warp(), tmp_path / "full")
    for name in ("my input", "_images", "画像", "a.b", "1a", "self"):
        images = keras.Input((6, 7, 1), name=name)
        with raises("inputs whose names are letters, digits and underscores", name):
            export.export_saved_model(keras.Model(images, 2 * images), tmp_path / "model")
    with raises("samples must be one array for each input", r"\(2, 3\)"):
        export.export_saved_model(warp(), tmp_path / "warp", samples=np.zeros((2, 3)))
