"""What a converter refuses is said in a few lines, which name layers and what to do."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import inverse_model, warp

import keras_stn
from keras_stn import export


def message(model, path, form="tflite", **arguments):
    """The error of an export, which must be one sentence or two, and leave no file."""
    with pytest.raises(ValueError, match="Received: ") as raised:
        getattr(export, f"export_{form}")(model, path / "model", **arguments)
    text = str(raised.value)
    assert len(text) <= 700, text
    assert text.count("\n") <= 3
    assert "loc(" not in text
    assert list(path.iterdir()) == []
    return text


def quantized(mode):
    """A model after `model.quantize`, which leaves the layers that make params as they are."""
    keras.utils.set_random_seed(0)
    images = keras.Input((12, 14, 1), name="images")
    x = keras.layers.Flatten()(keras_stn.SpatialTransformer("dense", name="upright")(images))
    model = keras.Model(images, keras.layers.Dense(8, name="scores")(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize(mode)
    return model


@pytest.mark.parametrize(
    ("mode", "form"), [("int8", "tflite"), ("float8", "tflite"), ("float8", "onnx")]
)
def test_a_model_that_keras_quantized_is_named(tmp_path, mode, form):
    text = message(quantized(mode), tmp_path, form)
    assert text.startswith("model must not be quantized by Keras: export the model as it was before")
    assert 'quantization="int8"' in text
    assert f"Received: {mode} in 'scores'" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "form"),
    [("int4", "tflite"), ("int8", "onnx"), ("int4", "onnx"), ("int8", "saved_model")],
)
def test_a_model_that_keras_quantized_exports_where_it_can(tmp_path, mode, form):
    report = getattr(export, f"export_{form}")(quantized(mode), tmp_path / "model")
    assert report.max_error <= 1e-6


def whole_numbers(images):
    """A matmul of bytes, as a layer of int8 has it."""
    bytes_ = tf.cast(tf.reshape(images, (-1, 96)) * 9, tf.int8)
    return tf.cast(tf.linalg.matmul(bytes_, tf.ones((96, 5), tf.int8), output_type=tf.int32), tf.float32)


FOREIGN = {
    "a matmul of bytes": (whole_numbers, "tfl.fully_connected"),
    "complex numbers": (lambda x: tf.math.real(tf.signal.ifft(tf.cast(x, tf.complex64))), "IFFT"),
    "an op of TensorFlow": (lambda x: tf.math.betainc(x + 1, x + 1, x), "Betainc"),
    "text": (lambda x: tf.strings.to_number(tf.strings.as_string(x)), "AsString"),
    "a decomposition": (lambda x: tf.linalg.svd(x, compute_uv=False), "Svd"),
    "random numbers": (lambda x: x + tf.random.stateless_normal(tf.shape(x), (1, 2)), "Stateless"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_tflite_lacks_is_named_in_a_few_lines(tmp_path, name):
    function, word = FOREIGN[name]
    images = keras.Input((8, 12, 1), name="images")
    output = Foreign(function, name="foreign")(keras_stn.SpatialTransformer("dense")(images))
    assert word in message(keras.Model(images, output), tmp_path)


def test_many_places_are_counted(tmp_path):
    images = keras.Input((8, 12, 1), name="images")
    outputs = [Foreign(whole_numbers, name=f"foreign{i}")(images + i) for i in range(7)]
    text = message(keras.Model(images, outputs), tmp_path)
    assert " more" in text


def test_ops_without_a_kernel_are_named_for_each_target(tmp_path):
    for target in ("cpu", "gpu"):
        assert "MatrixInverse" in message(inverse_model(), tmp_path, target=target)


@keras.saving.register_keras_serializable(package="test_refusals")
class Foreign(keras.layers.Layer):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, images):
        return self.function(images)

    def compute_output_spec(self, images):
        traced = tf.function(self.function).get_concrete_function(
            tf.TensorSpec([1, *images.shape[1:]], images.dtype)
        )
        shape = np.array(traced.structured_outputs.shape)
        return keras.KerasTensor((None, *shape[1:]), traced.structured_outputs.dtype.name)


def test_a_setting_that_writes_checks_into_graphs_is_named(tmp_path):
    tf.debugging.enable_check_numerics()
    try:
        with pytest.raises(ValueError, match=r"enable_check_numerics must be off.*Received: CheckNum"):
            export.export_tflite(warp(), tmp_path / "warp.tflite")
    finally:
        tf.debugging.disable_check_numerics()
    assert list(tmp_path.iterdir()) == []
