"""`ops.grid_splat` in files: a scatter that adds up, in each format."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from common import lite

from keras_stn import export, ops

# Where several values come to one pixel, and some to none.
CASES = [
    ("bilinear", "constant", False),
    ("bilinear", ("nearest", "wrap"), True),
    ("bicubic", "mirror", False),
    ("nearest", "reflect", True),
]


def model_of(interpolation, fill_mode, normalize, batch=None):
    values = keras.Input((6, 4, 3), batch_size=batch, name="values")
    grid = keras.Input((6, 4, 2), batch_size=batch, name="grid")
    splat = ops.grid_splat(values, grid, (3, 5), interpolation, fill_mode, normalize)
    return keras.Model([values, grid], splat)


def feed_of(batch):
    random = np.random.default_rng(batch)
    return {
        "values": random.normal(size=(batch, 6, 4, 3)).astype("float32"),
        "grid": random.uniform(-1.3, 1.3, (batch, 6, 4, 2)).astype("float32"),
    }


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return lambda feed: session.run(None, feed)[0]


def saved_model(path):
    loaded = tf.saved_model.load(str(path))
    return lambda feed: next(iter(loaded.signatures["serving_default"](**feed).values()))


FORMS = {
    "tflite": (export.export_tflite, lite, "SCATTER_ND"),
    "onnx": (export.export_onnx, onnx, "ScatterND"),
    "saved_model": (export.export_saved_model, saved_model, "ScatterNd"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("interpolation", "fill_mode", "normalize"), CASES)
def test_files_add_up_what_comes_to_a_pixel(tmp_path, form, interpolation, fill_mode, normalize):
    write, load, scatter = FORMS[form]
    model, path = model_of(interpolation, fill_mode, normalize), tmp_path / "splat"
    report = write(model, path)
    assert report.ops[scatter] >= 1
    run = load(path)
    for batch in (1, 3, 2):
        feed = feed_of(batch)
        # Sums of some ten terms of order 1 in float32, in another order
        np.testing.assert_allclose(run(feed), model(list(feed.values())), rtol=0, atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_goes_nowhere_is_lost_in_files_as_well(tmp_path, form):
    write, load, _ = FORMS[form]
    model = model_of("bilinear", "nearest", False)
    write(model, tmp_path / "splat")
    run = load(tmp_path / "splat")
    for bad in (np.nan, np.inf, -np.inf, 1e30):
        feed = feed_of(3)
        feed["grid"][1, 2, 3] = bad
        np.testing.assert_allclose(run(feed), model(list(feed.values())), rtol=0, atol=2e-6)


def test_a_gpu_runtime_has_no_scatter_and_the_export_says_so(tmp_path):
    model = model_of("bilinear", "constant", False, batch=1)
    with pytest.raises(ValueError, match="(?s)nothing was written.*SCATTER_ND.*has no kernel"):
        export.export_tflite(model, tmp_path / "splat", target="gpu")
    assert list(tmp_path.iterdir()) == []
