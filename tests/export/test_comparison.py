"""What every exporter compares its file on, and how far off the file may be."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import EXPORTERS, raises, warp

import keras_stn
from keras_stn import export, sampler
from keras_stn.export import _accuracy, _readers, _samples

every = pytest.mark.parametrize("exporter", EXPORTERS.values(), ids=EXPORTERS)
to_a_bound = pytest.mark.parametrize("exporter", [*EXPORTERS.values()][1:], ids=[*EXPORTERS][1:])


# --- The samples -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 255), ("int8", 127), ("int32", 255), ("bool", 1)])
def test_images_of_whole_numbers_fill_their_range(dtype, top):
    (images,) = _samples.random_inputs((tf.TensorSpec((None, 24, 17, 3), dtype),))
    assert images.dtype == dtype
    assert 0 == images.min() <= images.max() <= top
    assert images.max() >= 0.98 * top  # else there is next to nothing to compare


def test_whole_numbers_that_are_no_images_are_in_every_table():
    (tokens,) = _samples.random_inputs((tf.TensorSpec((None, 9), "int32"),))
    assert np.all(tokens == 0)


@to_a_bound
def test_images_in_bytes_are_compared(exporter, tmp_path):
    images = keras.Input((24, 17, 1), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(images)
    model = keras.Model(images, keras_stn.SpatialTransformer("dense")(scaled))
    report = exporter(model, tmp_path / "model")
    assert 100 < report.psnr < np.inf or report.max_error == 0


@to_a_bound
def test_outputs_without_a_finite_number_prove_nothing(exporter, tmp_path):
    images = keras.Input((8, 12, 1))
    broken = keras.layers.Rescaling(float("nan"), name="broken")(images)
    with raises("samples must be such that Keras gives finite numbers", "Received: none in 'broken'"):
        exporter(keras.Model(images, broken), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@every
def test_samples_that_a_model_cannot_run_on_are_named(exporter, tmp_path):
    tokens = keras.Input((3,), dtype="int32")
    model = keras.Model(tokens, keras.layers.Embedding(5, 2)(tokens))
    with raises("samples must be what the model runs on", "Received: .*99 is not in"):
        exporter(model, tmp_path / "model", samples=np.full((2, 3), 99))
    assert list(tmp_path.iterdir()) == []


@every
def test_an_output_without_a_batch_is_compared(exporter, tmp_path):
    images = keras.Input((8, 12, 1))
    model = keras.Model(images, keras.ops.mean(keras_stn.SpatialTransformer("dense")(images)))
    assert exporter(model, tmp_path / "model").max_error <= 1e-6  # of a mean of 0.5


@every
def test_a_fixed_batch_takes_any_number_of_samples(exporter, tmp_path):
    model = warp("similarity", (6, 7), batch=4)
    rng = np.random.default_rng(0)
    samples = [rng.random((6, *tensor.shape[1:]), "float32") for tensor in model.inputs]
    assert exporter(model, tmp_path / "model", samples=samples).max_error <= 5e-6


def test_samples_may_be_arrays_a_file_a_dataset_or_a_function(tmp_path):
    specs = tf.TensorSpec((None, 3, 2), "float32", "one"), tf.TensorSpec((None,), "int32", "two")
    arrays = [np.random.default_rng(0).random((5, 3, 2)), np.arange(5)]
    by_name = dict(zip(("one", "two"), arrays, strict=True))
    np.savez(tmp_path / "both.npz", label=np.zeros(7), **by_name)  # what is no input is left alone
    forms = {
        "list": arrays,
        "by name": by_name,
        "file": tmp_path / "both.npz",
        "its name": str(tmp_path / "both.npz"),
        "dataset": tf.data.Dataset.from_tensor_slices(by_name).batch(2),
        "iterator": iter([by_name]),
        "function": lambda: ([array[i : i + 1] for array in arrays] for i in range(5)),
    }
    for name, form in forms.items():
        one, two = _samples.read(form, specs)
        assert (one.dtype, two.dtype) == ("float32", "int32"), name
        assert np.array_equal(one, arrays[0].astype("float32")), name
        assert np.array_equal(two, arrays[1]), name
    np.savez(tmp_path / "one.npz", digits=arrays[0])
    (one,) = _samples.read(tmp_path / "one.npz", specs[:1])
    assert np.array_equal(one, arrays[0].astype("float32"))
    with raises("samples must be an .npz file of one array, or of one for each", "it holds"):
        _samples.read(tmp_path / "both.npz", (tf.TensorSpec((None, 3), name="three"),))


# --- The bound -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_images_of_unknown_size_have_the_bound_of_the_samples(tmp_path):
    """6e-5 at 220 pixels; up to 64 it is 1e-5, which this file does not keep."""
    images, params = keras.Input((None, None, 1)), keras.Input((6,))
    model = keras.Model([images, params], keras_stn.Warp()([images, params]))
    rng = np.random.default_rng(0)
    params = [[1, 0, 0, 0, 1, 0]] + rng.uniform(-0.3, 0.3, (2, 6))
    samples = [rng.random((2, 220, 180, 1)), params]
    report = export.export_onnx(model, tmp_path / "warp.onnx", samples=samples)
    assert 1e-5 < report.max_error <= 3e-5  # measured at 1.5e-5


def test_half_precision_has_the_bound_of_its_own_steps(tmp_path):
    """A last digit of a half is 1e-3: no file would be within 1e-5, whatever its outputs come in."""
    images = keras.Input((28, 20, 1))
    layer = keras_stn.SpatialTransformer("dense", dtype="mixed_float16")
    scores = keras.layers.Dense(10, activation="softmax", dtype="float32")
    model = keras.Model(images, scores(keras.layers.Flatten()(layer(images))))
    rng = np.random.default_rng(0)
    layer.set_weights([weight + 0.05 * rng.normal(size=weight.shape) for weight in layer.get_weights()])
    report = export.export_onnx(model, tmp_path / "half.onnx")
    assert 1e-5 < report.max_error <= 2e-3  # two steps; measured at 1.6e-4


def _predicting(seed=0):
    """A transformer of 64 pixels whose random params carry the rounding of two convolutions."""
    keras.utils.set_random_seed(seed)
    images = keras.Input((64, 64, 3), name="images")
    layer = keras_stn.SpatialTransformer()
    model = keras.Model(images, layer(images))
    rng, noise = np.random.default_rng(seed), {1: 0.3, 2: 0.06, 4: 0.15}
    layer.set_weights([w + noise[w.ndim] * rng.normal(size=w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.slow
def test_predicted_params_may_carry_the_rounding_of_their_network(tmp_path):
    report = export.export_tflite(_predicting(), tmp_path / "model.tflite")
    assert 1e-5 < report.max_error <= 3e-5  # measured at 1.7e-5, for which it was refused


@pytest.mark.parametrize(
    "fault",
    [
        lambda x, y: (x + 0.5, y),
        lambda x, y: (x, y + 0.1),
        lambda x, y: (x * (63 / 64), y * (63 / 64)),
        lambda x, y: (y, x),
        lambda x, y: [tf.cast(tf.cast(axis, tf.float16), tf.float32) for axis in (x, y)],
    ],
    ids=["half a pixel", "a tenth", "corners", "x for y", "float16"],
)
def test_faults_are_refused_where_params_are_predicted(tmp_path, monkeypatch, fault):
    def faulty(images, points, sampling):
        return sampler.interpreter.read(images, sampler.Points(tuple(fault(*points.axes))), sampling)

    monkeypatch.setattr(_readers, "for_cpu", faulty)
    with raises("model must give the same numbers in LiteRT"):
        export.export_tflite(_predicting(), tmp_path / "model.tflite")


def test_the_bound_has_no_jump():
    bounds = [_accuracy.allowed(size, 0.0) for size in range(1, 400)]
    assert max(np.diff(bounds)) < 4e-7


@every
def test_functions_left_to_run_eagerly_are_exported_as_graphs(exporter, tmp_path):
    tf.config.run_functions_eagerly(True)
    try:
        exporter(warp(), tmp_path / "model")
        assert tf.config.functions_run_eagerly()
    finally:
        tf.config.run_functions_eagerly(False)
