"""What the tests of all exporters share: one table of cases, and the models and samples that it needs.

The truth is the Keras layer itself, run eagerly on the same float32 inputs: its own tests hold it to
outside oracles.
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from graph_file import export_graph

import keras_stn
from keras_stn import export, transforms

EXPORTERS = {
    "saved_model": export.export_saved_model,
    "tflite": export.export_tflite,
    "onnx": export.export_onnx,
    "graph": export_graph,
}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
# name: (fill_mode, fill_value); images have two channels
FILLS = {
    "constant": ("constant", 0.0),
    "fill_value": ("constant", 0.7),
    "fill_values": ("constant", [0.5, -0.8]),
    "nearest": ("nearest", 0.0),
    "reflect": ("reflect", 0.0),
    "mirror": ("mirror", 0.0),
    "wrap": ("wrap", 0.0),
}
SIZES = (1, 2, 6, 7, 8, 28, 224)

# A float32 coordinate near pixel 64 is rounded to 4e-6, in Keras as in a file, and noise changes by up
# to 1 a pixel. A half-pixel error would be 0.5.
ATOL = 5e-6
ATOL_224 = 3e-5

# Each family, size and kind of batch with each interpolation and fill mode, but not with each other.
_axes = zip(
    itertools.cycle(transforms.FAMILIES),
    itertools.product(INTERPOLATIONS, FILLS),
    itertools.cycle([(6, 7), (28, 8), (1, 6), (8, 8), (7, 1), (2, 28), (1, 1), (7, 2)]),
    itertools.cycle([None, 3, None]),
    itertools.cycle([False, True]),
    strict=False,
)
COLUMNS = "family", "interpolation", "fill", "size", "batch", "align_corners"
COVERING = [(f, i, fill, size, batch, ac) for f, (i, fill), size, batch, ac in _axes]

# What no params should be, and the column where they are, of the six of an affine map.
STRANGE_PARAMS = list(itertools.product((np.nan, np.inf, -np.inf, 1e30, -1e30), (0, 2, 5)))


def warp(
    family="affine",
    size=(6, 7),
    fill="constant",
    batch=None,
    output_size=(5, 9),
    channels=2,
    **arguments,
):
    """A model of one Warp: images and params in, warped images out."""
    fill_mode, fill_value = FILLS[fill]
    images = keras.Input((*size, channels), batch_size=batch, name="images")
    family = transforms.get(family)
    shape = *(4, 3)[: family.params_ndim - 2], family.num_params  # fields are of 4 x 3 points
    params = keras.Input(shape, batch_size=batch, name="params")
    layer = keras_stn.Warp(
        family, output_size, fill_mode=fill_mode, fill_value=fill_value, name="warped", **arguments
    )
    return keras.Model([images, params], layer([images, params]))


def warp_arguments(family, interpolation, fill, size, batch=None, align_corners=False, **more):
    """Those of `warp` for a row of COVERING."""
    row = family, interpolation, fill, size, batch, align_corners
    return {**dict(zip(COLUMNS, row, strict=True)), **more}


def inputs(model, batch, within=0.6):
    """Noise, and maps that leave the image on all sides."""
    rng = np.random.default_rng(batch)
    images, params = model.inputs
    family = model.get_layer("warped").transform
    return {
        "images": rng.random((batch, *images.shape[1:])).astype("float32"),
        "params": (
            np.array(family.identity_params) + rng.uniform(-within, within, (batch, *params.shape[1:]))
        ).astype("float32"),
    }


def strange_inputs(model, batch=None):
    """Batches of `batch`, or one, with STRANGE_PARAMS in all rows but the first, which must not mind."""
    rows = batch or 1 + len(STRANGE_PARAMS)
    for start in range(0, len(STRANGE_PARAMS), rows - 1):
        feed = inputs(model, rows)
        for row, (value, column) in enumerate(STRANGE_PARAMS[start : start + rows - 1], 1):
            numbers = feed["params"][row].reshape(-1)  # of a field, those of its first points
            numbers[column % numbers.size] = value
        yield feed


def difference(model, run, feed, ties=1e-3):
    """The largest one, but for the share of `ties` with nearest: points between two pixels.

    `run` takes the inputs by their names and returns what a file makes of them.
    """
    expected = model(list(feed.values()), training=False).numpy()
    actual = run(feed)
    assert actual.shape == expected.shape
    assert np.isfinite(actual).all()
    errors = np.sort(np.abs(actual - expected).ravel())
    if model.get_layer("warped").interpolation == "nearest":
        errors = errors[: errors.size - int(ties * errors.size)]
    return errors.max(initial=0.0)


def lite(path, every=False):
    """A TFLite file as a function of its inputs by their names: to its output, or to `every` one."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path)).get_signature_runner()
    if every:
        return lambda feed: run(**feed)
    return lambda feed: next(iter(run(**feed).values()))


def small_digits_model():
    images = keras.Input((40, 40, 1), name="images")
    x = keras_stn.SpatialTransformer()(images)
    x = keras.layers.Conv2D(8, 5, strides=2, activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, activation="relu")(x)
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dense(10)(keras.layers.Dense(16, activation="relu")(x))
    return keras.Model(images, x)


def inverse_model():
    """An op that neither ONNX nor TFLite has."""
    matrices = keras.Input((3, 3), name="matrices")
    return keras.Model(matrices, Inverse()(matrices))


@keras.saving.register_keras_serializable(package="test_export")
class Inverse(keras.layers.Layer):
    def call(self, matrices):
        return tf.linalg.inv(matrices)

    def compute_output_shape(self, shape):
        return shape


def raises(*words):
    return pytest.raises(ValueError, match="(?s)" + ".*".join(words))


def survives_a_failed_write(export, path, monkeypatch):
    path.write_bytes(b"before")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export(warp(), path)
    assert path.read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]
