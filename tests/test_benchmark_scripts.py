"""The benchmark's scripts: StableHLO files that stand alone, numbers that PyTorch has too."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # each script imports TensorFlow

FOLDER = pathlib.Path(__file__).parents[1] / "keras_stn" / "benchmark"
SHAPE = "2x24x20x3"
ARGUMENTS = {"forward": 2, "step": 3, "params_step": 3}
RESULTS = {"forward": 1, "step": 3, "params_step": 2}

steps = pytest.mark.parametrize("step", ARGUMENTS)


def run(script, *arguments):
    # On the CPU, wherever this runs: JAX and PyTorch need not see the same GPU.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, FOLDER / script, *arguments]
    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stablehlo")
    printed = run("write_stablehlo.py", "--smoke", "--out", folder)
    paths = {step: folder / f"{step}_{SHAPE}.stablehlo.txt" for step in ARGUMENTS}
    assert printed.splitlines() == [f"wrote {path}" for path in paths.values()]
    assert set(folder.iterdir()) == set(paths.values())
    return paths


@steps
def test_file_is_a_module_of_its_step(files, step):
    text = files[step].read_text()
    assert text.startswith("module @")
    signature = re.search(r"func\.func @main\((.*)\) -> (.*) \{", text)
    images, params = f"tensor<{SHAPE}xf32>", "tensor<2x6xf32>"
    arguments = [images, params, images][: ARGUMENTS[step]]
    results = [images, params, images][: RESULTS[step]]
    assert re.findall(r"tensor<\w+>", signature[1]) == arguments
    assert re.findall(r"tensor<\w+>", signature[2]) == results


@steps
def test_file_runs_in_any_xla(files, step):
    assert "custom_call" not in files[step].read_text()


@steps
def test_file_holds_no_images_and_no_paths(files, step):
    text = files[step].read_text()
    assert len(text) < 200_000
    assert str(FOLDER.parent) not in text
    assert ".py" not in text


def test_xla_and_pytorch_compute_the_same(files, tmp_path):
    pytest.importorskip("jax", reason="for machines with a GPU; neither the package nor CI needs it")
    pytest.importorskip("torch", reason="PyTorch is a peer only; CI installs it")
    results = tmp_path / "results.json"
    folder = files["forward"].parent
    run("run_stablehlo.py", folder, "--out", results, "--repeats", "1")
    rows = json.loads(results.read_text())["rows"]
    assert {row["step"]: len(row["errors"]) for row in rows} == RESULTS
    assert {row["shape"] for row in rows} == {SHAPE}
    # Coordinates up to 24 have last bits of 2e-6 pixels, and a few roundings. 3e-6 is the error seen, in
    # all three results; another convention, such as aligned corners, makes one of 0.1 and more.
    assert max(error for row in rows for error in row["errors"].values()) < 2e-5
    for row in rows:
        assert min(row["ms"].values()) > 0
        alone = min(row["ms"][f"grid_sample, {layout}"] for layout in ("contiguous", "channels_last"))
        assert row["times_as_fast_as_grid_sample"] == alone / row["ms"]["ours"]


SLOW = """
import time, tensorflow as tf
class Warp:
    def __call__(self, inputs):
        tf.py_function(lambda: time.sleep(0.05), [], [])
        return inputs[0] + tf.reduce_sum(inputs[1])
"""


def test_a_slower_checkout_with_other_numbers_is_told(tmp_path):
    """The second checkout is a stand-in: what is timed is what each folder holds."""
    (tmp_path / "keras_stn").mkdir()
    (tmp_path / "keras_stn" / "__init__.py").write_text(SLOW)
    options = [
        *("--shapes", "2x9x14x3", "--ways", "function"),
        *("--tasks", "forward", "both", "--turns", "3"),
    ]
    *_, forward, both = run("compare_checkouts.py", FOLDER.parents[1], tmp_path, *options).splitlines()
    for line, task in ((forward, "forward"), (both, "both")):
        shape, name, way, before, after, least, ratio, *_, bits = line.split()
        assert (shape, name, way, bits) == ("2x9x14x3", task, "function", "differ")
        assert float(before) < 50 <= float(after)
        assert min(float(least), float(ratio)) > 1


def test_what_antialias_gains_and_costs_is_a_table_of_its_cases():
    header, _, plain, smaller = run("antialias.py", "--smoke").splitlines()
    assert header.startswith("| pixels for one | output | PSNR, plain | antialias |")
    *_, before, after, _, _, _ = plain.strip("| ").split(" | ")
    assert before == after  # nothing shrinks
    *_, before, after, _, _, _ = smaller.strip("| ").split(" | ")
    assert float(after) > float(before) + 10


def test_families_are_timed_beside_the_same_maps_in_pytorch(tmp_path):
    pytest.importorskip("torch", reason="it is what families are timed beside")
    path = tmp_path / "families.json"
    names = "projective", "thin_plate_spline", "displacement"
    run("families.py", "--smoke", "--repeats", "2", "--families", *names, "--out", path)
    rows = json.loads(path.read_text())
    assert {(row["family"], row["task"]) for row in rows} == {
        (name, task) for name in names for task in ("forward", "params_step", "step")
    }
    # Noise changes by up to 1 a pixel, and a coordinate near 7 is rounded to 5e-7 in either.
    assert max(error for row in rows for error in row["errors"].values()) <= 5e-6


def test_files_of_families_are_a_table_of_errors_and_sizes(tmp_path):
    path = tmp_path / "files.md"
    names = "translation", "translation, volumes"
    run("family_files.py", "--smoke", "--families", *names, "--out", path)
    head, _, pictures, volumes, _, refusal = path.read_text().strip().splitlines()
    assert head == "| family | SavedModel | TFLite | TFLite for GPUs | ONNX |"
    errors = [float(cell.split(",")[0]) for cell in pictures.strip("| ").split(" | ")[1:]]
    assert max(errors) <= 5e-6
    assert volumes.split(" | ")[3] == "-"
    assert "must read no volumes" in refusal
