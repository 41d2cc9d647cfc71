"""What the README says of params that are no numbers, of bits, and of what a user tries first."""

import itertools
import sys

import keras
import numpy as np
import pytest
import runtime_files
import tensorflow as tf

import keras_stn
from keras_stn import transforms

common = sys.modules["common"]

pytestmark = [pytest.mark.runtimes, pytest.mark.long]

WARPS = list(itertools.product(transforms.FAMILIES, common.INTERPOLATIONS, common.FILLS))


def interpreter(path, xnnpack=True):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    kind = OpResolverType.AUTO if xnnpack else plain
    run = Interpreter(str(path), experimental_op_resolver_type=kind).get_signature_runner()
    return lambda feed: next(iter(run(**feed).values()))


def psnr(actual, expected):
    return 20 * np.log10(np.ptp(expected) / max(1e-12, np.sqrt(np.mean((actual - expected) ** 2))))


def bits(tmp_path):
    """How many warps have the bits of Keras, and the largest difference of the rest."""
    same, worst = 0, 0.0
    for family, interpolation, fill in WARPS:
        model = common.warp(family, (9, 12), fill, interpolation=interpolation)
        keras_stn.export_tflite(model, tmp_path / "warp.tflite")
        feed = common.inputs(model, 4)
        difference = common.difference(model, interpreter(tmp_path / "warp.tflite"), feed)
        same += difference == 0
        worst = max(worst, difference)
    return same, worst


def strange(tmp_path, target, xnnpack=True):
    """Of the params that are NaN, infinite or huge: the share of pixels that are not those of Keras, in
    the worst file, and how many files have any."""
    worst, files = 0.0, 0
    for interpolation, fill in itertools.product(common.INTERPOLATIONS, common.FILLS):
        batch = 4 if target == "gpu" else None
        model = common.warp("affine", (9, 12), fill, batch, interpolation=interpolation)
        keras_stn.export_tflite(model, tmp_path / "warp.tflite", target=target, batch_size=batch)
        run = interpreter(tmp_path / "warp.tflite", xnnpack)
        differs = []
        for feed in common.strange_inputs(model, batch):
            actual = run(feed)
            assert np.isfinite(actual).all()
            expected = model(list(feed.values()), training=False).numpy()
            differs.append(np.abs(actual - expected)[1:] > 1e-4)
        share = np.mean(np.concatenate(differs))
        worst, files = max(worst, share), files + (share > 0)
    return worst, files


def transformer():
    """A transformer whose params follow the image, images, and what Keras makes of them."""
    keras.utils.set_random_seed(0)
    images = keras.Input((28, 28, 1), name="images")
    warped = keras_stn.SpatialTransformer("conv", name="warped")(images)
    model = keras.Model(images, warped)
    runtime_files.randomize(model)
    digits = pictures(32)
    return model, digits, model(digits, training=False).numpy()


def pictures(count):
    """Smooth pictures in [0, 1]."""
    noise = np.random.default_rng(0).random((count, 7, 7, 1)).astype("float32")
    return tf.image.resize(noise, (28, 28), "bilinear").numpy()


def stock(tmp_path, quantized):
    """What tf.lite.TFLiteConverter.from_keras_model gives: its largest error and PSNR in dB."""
    model, images, expected = transformer()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
    (tmp_path / "stock.tflite").write_bytes(converter.convert())
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(tmp_path / "stock.tflite"))
    (given,), (got,) = run.get_input_details(), run.get_output_details()
    run.allocate_tensors()
    actual = []
    for image in images:
        run.set_tensor(given["index"], image[None])
        run.invoke()
        actual.append(run.get_tensor(got["index"]))
    actual = np.concatenate(actual)
    return np.abs(actual - expected).max(), psnr(actual, expected)


def keras_export(tmp_path, name):
    """The largest error of what Keras' own model.export(format=name) writes."""
    model, images, expected = transformer()
    path = str(tmp_path / {"tf_saved_model": "folder", "onnx": "m.onnx", "litert": "m.tflite"}[name])
    model.export(path, format=name, verbose=False)
    if name == "tf_saved_model":
        served = tf.saved_model.load(path)  # its variables live as long as it does
        actual = served.serve(images).numpy()
    elif name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        actual = session.run(None, {session.get_inputs()[0].name: images})[0]
    else:
        from ai_edge_litert.interpreter import Interpreter

        run = Interpreter(path).get_signature_runner()
        feed = dict.fromkeys(run.get_input_details(), images)
        actual = next(iter(run(**feed).values()))
    return np.abs(actual - expected).max()


def test_most_warps_have_the_bits_of_keras_and_the_rest_differ_by_rounding(tmp_path):
    same, worst = bits(tmp_path)
    print(f"{same} of {len(WARPS)} warps have the bits of Keras, the rest within {worst:.2g}")
    assert same >= len(WARPS) // 2
    assert worst <= 1e-6


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_strange_params_raise_nothing_and_few_pixels_differ(target, xnnpack, tmp_path):
    """None with XNNPACK, and 1.5 % of the pixels of such params without: another place of the image."""
    worst, files = strange(tmp_path, target, xnnpack)
    print(
        f"{target}, XNNPACK {xnnpack}: up to {100 * worst:.3f} % of the pixels, in {files} of 21 files"
    )
    assert worst <= (0 if xnnpack else 0.02)


def test_the_stock_converter_is_right_in_float_and_no_use_with_a_representative_dataset(tmp_path):
    error, _ = stock(tmp_path, quantized=False)
    _, decibels = stock(tmp_path, quantized=True)
    print(
        f"stock converter: error {error:.2g} in float, {decibels:.0f} dB with a representative dataset"
    )
    assert error <= 1e-5
    assert decibels <= 25


@pytest.mark.parametrize("name", ["tf_saved_model", "onnx", "litert"])
def test_what_keras_itself_exports_is_right(name, tmp_path):
    error = keras_export(tmp_path, name)
    print(f"model.export(format={name!r}): error {error:.2g}")
    assert error <= 1e-5
