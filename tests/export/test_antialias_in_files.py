"""Antialiased reads in files. Exporters compare with Keras as they write; here other maps come."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import EXPORTERS, lite

from keras_stn import Warp, export_tflite

SIZE, OUTPUT = (23, 31), (9, 12)
IMAGES = np.random.default_rng(5).uniform(size=(2, *SIZE, 3)).astype("float32")
# Both shrink, by other factors across and down; one is turned.
PARAMS = np.array([[0.9, 0.3, 0.1, -0.2, 0.9, 0.1], [3, 0, 0.2, 0, 1.1, -0.1]], "float32")


def model(size, fill_mode):
    images, params = keras.Input((*size, 3), name="images"), keras.Input((6,), name="params")
    warp = Warp("affine", OUTPUT, fill_mode=fill_mode, fill_value=0.5, antialias=True)
    return keras.Model([images, params], warp(images, params))


def run(path, kind):
    feed = {"images": IMAGES, "params": PARAMS}
    if kind == "saved_model":
        (output,) = tf.saved_model.load(str(path)).serve(IMAGES, PARAMS).values()
        return output.numpy()
    if kind == "tflite":
        return lite(path)(feed)
    runtime = pytest.importorskip("onnxruntime", reason="ONNX files are run by it")
    return runtime.InferenceSession(str(path)).run(None, feed)[0]


@pytest.mark.parametrize("kind", ["saved_model", "tflite", "onnx"])
@pytest.mark.parametrize("fill_mode", ["constant", "reflect", ("nearest", "wrap")], ids=str)
@pytest.mark.parametrize("size", [SIZE, (None, None)], ids=["known", "unknown"])
def test_a_file_of_any_size_gives_the_numbers_of_keras(tmp_path, kind, fill_mode, size):
    path = tmp_path / {"saved_model": "model", "tflite": "m.tflite", "onnx": "m.onnx"}[kind]
    made = model(size, fill_mode)
    EXPORTERS[kind](made, path)
    # Coordinates of up to 70 pixels, those of the picture of all levels, are rounded to 8e-6.
    np.testing.assert_allclose(run(path, kind), made([IMAGES, PARAMS]), atol=2e-5)


def test_a_tflite_file_grows_with_the_sides_of_the_image(tmp_path):
    sizes = []
    for side in (64, 640):
        images = keras.Input((side, side, 3), batch_size=1)
        params = keras.Input((6,), batch_size=1)
        made = keras.Model([images, params], Warp(antialias=True)(images, params))
        path = tmp_path / f"{side}.tflite"
        export_tflite(made, path)
        sizes.append(path.stat().st_size)
    # One float for each row and column of output and image is 5 KB more; a grid would be 3 MB more.
    assert sizes[1] - sizes[0] < 20_000


def test_for_phones_gpus_it_is_refused(tmp_path):
    images, params = keras.Input((*SIZE, 3), batch_size=1), keras.Input((6,), batch_size=1)
    made = keras.Model([images, params], Warp(antialias=True)(images, params))
    with pytest.raises(NotImplementedError, match='antialias=True is not for target="gpu"'):
        export_tflite(made, tmp_path / "m.tflite", target="gpu")
