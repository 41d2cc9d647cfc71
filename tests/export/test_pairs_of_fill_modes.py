"""A `fill_mode` for rows and another for columns, in files."""

import keras
import numpy as np
import pytest
from common import lite

import keras_stn
from keras_stn import export, transforms

CASES = [  # affine maps are read by gathers, and in TFLite attention by matmuls
    (("constant", "wrap"), "bilinear", "affine"),
    (("mirror", "constant"), "bilinear", "attention"),
    (("constant", "reflect"), "bicubic", "attention"),
    (("wrap", "constant"), "bicubic", "affine"),
    (("reflect", "nearest"), "nearest", "affine"),
    (("nearest", "wrap"), "nearest", "attention"),
]


@pytest.mark.parametrize(("pair", "interpolation", "transform"), CASES)
def test_tflite_and_onnx_give_the_numbers_of_keras(tmp_path, pair, interpolation, transform):
    import onnxruntime

    family, random = transforms.get(transform), np.random.default_rng(5)
    images = keras.Input((6, 9, 2), name="images")
    params = keras.Input((family.num_params,), name="params")
    layer = keras_stn.Warp(
        transform, (5, 8), interpolation=interpolation, fill_mode=pair, fill_value=0.4
    )
    model = keras.Model([images, params], layer([images, params]))
    shift = random.uniform(-1, 1, (3, family.num_params))
    feed = {
        "images": random.random((3, 6, 9, 2)).astype("float32"),
        "params": (np.array(family.identity_params) + shift).astype("float32"),
    }
    expected = model(list(feed.values()))

    export.export_tflite(model, tmp_path / "model.tflite", measure_latency=False)
    # Coordinates of up to 20 pixels in float32, times the slopes of noise
    np.testing.assert_allclose(lite(tmp_path / "model.tflite")(feed), expected, rtol=0, atol=5e-6)
    report = export.export_onnx(model, tmp_path / "model.onnx", measure_latency=False)
    assert "GridSample" not in report.ops  # it has one padding for both axes
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    np.testing.assert_allclose(session.run(None, feed)[0], expected, rtol=0, atol=5e-6)
