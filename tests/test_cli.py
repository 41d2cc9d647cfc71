"""The command: its arguments, its exit codes, and one small demonstration from end to end."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import benchmark, cli, demo


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "digits.npz"
    np.savez(
        path,
        x_train=rng.integers(0, 256, (70, 28, 28)).astype("uint8"),
        y_train=rng.integers(0, 10, 70),
        x_test=rng.integers(0, 256, (30, 28, 28)).astype("uint8"),
        y_test=np.arange(30) % 10,
    )
    return str(path)


@pytest.mark.slow
def test_demo_writes_model_saved_model_and_picture_and_prints_the_table(npz, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert cli.main(["demo", "--data", npz, "--epochs", "1", "--out", str(out), "--seed", "3"]) == 0
    assert {path.name for path in out.iterdir()} == {"model.keras", "saved_model", "digits.png"}
    assert (out / "digits.png").read_bytes().startswith(b"\x89PNG")

    images = np.random.default_rng(1).random((5, 40, 40, 1)).astype("float32")
    model = keras.saving.load_model(out / "model.keras")
    saved_model = tf.saved_model.load(str(out / "saved_model"))
    # float32, the same operations in another order at most; another weight or grid is off by whole ones
    np.testing.assert_allclose(saved_model.serve(images), model(images), rtol=1e-4, atol=1e-4)
    assert isinstance(model.layers[0], keras_stn.SpatialTransformer)

    printed = capsys.readouterr()
    assert printed.err == ""
    assert len(printed.out.splitlines()) < 25
    assert f"{model.count_params():,}" in printed.out
    assert "70 digits to train, 30 to test" in printed.out
    assert len(re.findall(r"│ +\d+\.\d % │", printed.out)) == 2
    for name in ("model.keras", "saved_model", "digits.png"):
        assert str(out / name) in printed.out.replace("\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dmeo"],
        ["demo", "--epochs", "0"],
        ["demo", "--epochs", "-1"],
        ["demo", "--epochs", "many"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", str(2**32)],
    ],
)
def test_invalid_arguments_exit_with_2_and_name_what_is_wrong(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert (arguments[-1] if arguments else "COMMAND") in capsys.readouterr().err


def test_invalid_data_is_one_line_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", None)
    missing = str(tmp_path / "nothing.npz")
    assert cli.main(["demo", "--data", missing, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("keras-stn demo: error: data must be an .npz file")
    assert "nothing.npz" in line


def test_out_that_is_a_file_is_one_line_before_any_training(npz, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", None)
    assert cli.main(["demo", "--data", npz, "--out", npz]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "digits.npz" in line


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs a folder that refuses root")
@pytest.mark.parametrize("command", ["demo", "benchmark"])
def test_out_that_refuses_files_is_one_line_before_any_work(command, npz, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", None)
    monkeypatch.setattr(benchmark, "measure", None)
    data = ["--data", npz] if command == "demo" else []
    assert cli.main([command, *data, "--out", "/proc"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"keras-stn {command}: error:")
    assert "/proc" in line


def test_export_over_the_model_itself_is_refused(tmp_path, capsys):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((8, 12, 1)), keras_stn.SpatialTransformer("dense")]).save(path)
    before = path.read_bytes()
    assert cli.main(["export", str(path), "--to", "tflite", "-o", str(path)]) == 2
    assert "--output must be another file than the model" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_missing_matplotlib_is_told_before_any_training(npz, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "matplotlib" else find_spec(name)
    )
    assert cli.main(["demo", "--data", npz, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'matplotlib: pip install matplotlib, or "keras-stn[demo]" for all' in line


@pytest.mark.slow
def test_the_command_prints_its_version_and_nothing_else_without_the_demo_extra():
    """As the console script does it, in a fresh process, where TensorFlow has much to say."""
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["mlxtend"] = None  # as if not installed
sys.argv = ["keras-stn", "--version"]
from keras_stn.cli import main
main()
"""
    environ = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert result.stdout == f"keras-stn {keras_stn.__version__}\n"
    assert result.stderr == ""


# --- export, inspect ---------------------------------------------------------------------------------

DIGITS = str(pathlib.Path(__file__).parents[1] / "saved_models" / "digits.keras")
GOLDEN = str(pathlib.Path(__file__).parents[1] / "saved_models" / "golden.npz")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "more", "report"),
    [
        ("tflite", ["--quantize", "int8", "--batch-size", "1"], "TFLite int8"),
        ("tflite", ["--target", "gpu"], "TFLite gpu"),
        ("onnx", ["--no-latency"], "ONNX"),
        ("saved_model", ["--mode", "xla"], "SavedModel xla"),
    ],
)
def test_export_writes_the_file_and_prints_the_timed_report(to, more, report, tmp_path, capfd):
    out = tmp_path / "digits"
    assert cli.main(["export", DIGITS, "--to", to, "--data", GOLDEN, *more, "-o", str(out)]) == 0
    assert list(tmp_path.iterdir()) == [out]
    printed = capfd.readouterr()
    assert printed.err == ""
    assert report in printed.out
    for word in ("size", "ops", "largest error", "PSNR", "params", "warped", "scores"):
        assert word in printed.out
    assert ("latency" in printed.out) == (to == "tflite")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere.keras", "--to", "onnx"], "File not found"),
        (["export", DIGITS, "--to", "onnx", "--quantize", "int8"], "must come without --quantize"),
        (["export", DIGITS, "--to", "saved_model", "--batch-size", "2"], "without --batch-size"),
        (["export", DIGITS, "--to", "saved_model", "--no-latency"], "without --no-latency"),
        (["export", DIGITS, "--to", "saved_model", "--mode", "grid_sample"], "mode must be one of"),
        (["export", DIGITS, "--to", "tflite", "--quantize", "int8"], "representative_dataset must be"),
        (["export", DIGITS, "--to", "tflite", "--data", DIGITS], "samples must be an .npz file"),
    ],
)
def test_export_says_what_is_wrong_and_writes_nothing(arguments, message, tmp_path, capsys):
    assert cli.main([*arguments, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_zip_without_a_model_is_one_line(tmp_path, capsys):
    path = tmp_path / "samples.keras"
    with open(path, "wb") as file:
        np.savez(file, images=np.zeros(3))
    assert cli.main(["export", str(path), "--to", "tflite", "-o", str(tmp_path / "out")]) == 2
    assert "model must be a file that Keras has saved" in capsys.readouterr().err


# --- What others have made ---------------------------------------------------------------------------

_FAMILY = """
import keras, keras_stn

{register}
class Scroll(keras_stn.transforms.Translation):
    pass
"""


REGISTERED = "@keras.saving.register_keras_serializable(__name__)"
# module: (how its family is registered, the kind of file)
FOREIGN = {
    "family_one": (REGISTERED, "keras"),
    "family_two": ("", "keras"),
    "family_three": (REGISTERED, "h5"),
    "family_four": ("", "keras"),
}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Models whose transform families stand in modules of a folder: all made in one other process."""
    folder = tmp_path_factory.mktemp("foreign")
    for name, (register, _) in FOREIGN.items():
        (folder / f"{name}.py").write_text(_FAMILY.format(register=register))
    files = {name: folder / f"{name}_model.{form}" for name, (_, form) in FOREIGN.items()}
    code = f"""
import importlib, keras, keras_stn
for name, file in { ({name: str(file) for name, file in files.items()})!r}.items():
    layer = keras_stn.SpatialTransformer("dense", importlib.import_module(name).Scroll())
    keras.Sequential([keras.Input((8, 12, 1)), layer]).save(file)
"""
    paths = os.pathsep.join([str(pathlib.Path(__file__).parents[1]), str(folder)])
    environ = {**os.environ, "PYTHONPATH": paths}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, check=True)
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["family_one", "family_two", "family_three"])
def test_import_brings_the_classes_of_a_model(name, foreign, tmp_path, monkeypatch, capsys):
    model, out = str(foreign[name]), tmp_path / "out.tflite"
    monkeypatch.chdir(foreign[name].parent)  # a module of the current folder
    assert cli.main(["export", model, "--to", "tflite", "-o", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'Scroll'" in line
    assert "without --import" in line
    if foreign[name].suffix == ".keras":  # .h5 files do not tell the module
        assert f"of the module {name!r}" in line
    assert cli.main(["export", model, "--to", "tflite", "-o", str(out), "--import", name]) == 0
    assert out.is_file()


def test_a_module_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_family.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    for module, cause in (("nowhere", "No module named"), ("broken_family", "division by zero")):
        command = ["export", DIGITS, "--to", "onnx", "-o", "out", "--import", module]
        assert cli.main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"Received: --import {module} (" in line
        assert cause in line


@pytest.mark.slow
def test_no_error_is_longer_than_a_few_lines(foreign, tmp_path, capsys):
    """Of a family that is not known Keras tells in 19,000 characters, of a Lambda layer in 400."""
    models = {"family": str(foreign["family_four"])}
    images = keras.Input((8, 12, 1))
    long = {
        "lambda": keras.layers.Lambda(lambda x: x + 1)(images),
        "sorted": keras.ops.sort(images),  # neither TFLite nor ONNX have it
    }
    for name, outputs in long.items():
        models[name] = str(tmp_path / f"{name}.keras")
        keras.Model(images, outputs).save(models[name])
    for name, model in models.items():
        for to in ("tflite", "onnx"):
            code = cli.main(["export", model, "--to", to, "-o", str(tmp_path / "out")])
            text = capsys.readouterr().err
            assert (code, bool(text)) in ((2, True), (0, False)), (name, to)
            assert len(text) < 700, (name, to, text)
            assert len(text.splitlines()) <= 6, (name, to, text)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("first\n\nsecond " + "word " * 1000, "first\nsecond word( word)* ...\n"),
        ("short.", r"short\.\n"),
    ],
)
def test_an_error_is_cut_between_words_and_says_so(said, shown, monkeypatch, capsys):
    def fail(_):
        raise ValueError(said)

    monkeypatch.setattr(cli, "inspect_tflite", fail)
    assert cli.main(["inspect", "a.tflite"]) == 2
    assert re.fullmatch(f"keras-stn inspect: error: {shown}", capsys.readouterr().err)


@pytest.mark.slow
def test_the_package_is_the_command(tmp_path):
    command = [sys.executable, "-m", "keras_stn", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"keras-stn {keras_stn.__version__}\n"


def test_inspect_prints_ends_ops_and_verdicts(capsys):
    assert cli.main(["inspect", DIGITS.replace(".keras", "_int8.tflite")]) == 0
    printed = capsys.readouterr().out
    for word in (
        "image",
        "1 x 40 x 40 x 1",
        "scores",
        "CONV_2D",
        "GATHER",
        "int8",
        "cpu",
        "gpu",
        "micro",
    ):
        assert word in printed


def test_inspect_names_what_a_runtime_refuses(tmp_path, capsys):
    images, params = keras.Input((6, 7, 1), name="images"), keras.Input((6,), name="params")
    model = keras.Model([images, params], keras_stn.Warp()([images, params]))
    keras_stn.export_tflite(model, tmp_path / "warp.tflite")  # of open batch
    assert cli.main(["inspect", str(tmp_path / "warp.tflite")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "any x 6 x 7 x 1" in printed
    assert "RANGE has no kernel" in printed
    assert "makes a tensor of unknown size" in printed


def test_inspect_says_what_is_wrong(tmp_path, capsys):
    for path in (GOLDEN, str(tmp_path / "nowhere.tflite")):
        assert cli.main(["inspect", path]) == 2
        assert "path must be a TFLite file" in capsys.readouterr().err
