"""`target="gpu"`: taken whole by LiteRT's GPU accelerator, with the numbers of Keras.

The accelerator runs on the Vulkan driver that Chromium has for machines without a GPU: SwiftShader. It
is looked for in the folders below, and in the environment variable KERAS_STN_SWIFTSHADER.
"""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from common import ATOL, FILLS, INTERPOLATIONS, inputs, small_digits_model, warp

from keras_stn import export, transforms

_FOLDERS = os.environ.get("KERAS_STN_SWIFTSHADER"), "/usr/lib/chromium", "/usr/lib/chromium-browser"
DRIVER = next(
    (f for f in map(pathlib.Path, filter(None, _FOLDERS)) if (f / "vk_swiftshader_icd.json").is_file()),
    None,
)
needs_driver = pytest.mark.skipif(
    DRIVER is None,
    reason="no Vulkan driver: install chromium, or set KERAS_STN_SWIFTSHADER to the folder of "
    "vk_swiftshader_icd.json",
)

# Compiles and runs each of the files it is given, in a process of its own: the driver is chosen by the
# environment that a process starts with. Inputs lie beside a file as .npz, by name; so will outputs.
_SCRIPT = """
import sys
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator

for path in sys.argv[1:]:
    model = CompiledModel.from_file(path, HardwareAccelerator.GPU)
    assert model.is_fully_accelerated(), path
    (signature,) = model.get_signature_list().values()
    arguments, results = model.create_input_buffers(0), model.create_output_buffers(0)
    feed = np.load(path + ".npz")
    for name, buffer in zip(signature["inputs"], arguments):
        buffer.write(feed[name])
    model.run_by_index(0, arguments, results)
    outputs = {
        name: buffer.read(int(feed["size of " + name]), np.float32)
        for name, buffer in zip(signature["outputs"], results)
    }
    np.savez(path + ".out.npz", **outputs)
"""


def export_for_gpu(model, path, batch=1):
    report = export.export_tflite(model, path, target="gpu", batch_size=batch)
    assert report.format == "TFLite gpu"
    assert export.check_tflite(path, "gpu") == []


def run_on_gpu(feeds, expected):
    """Run files {path: inputs}; yields (path, outputs by name), in the shapes of {path: outputs}."""
    for path, feed in feeds.items():
        sizes = {f"size of {name}": output.size for name, output in expected[path].items()}
        np.savez(f"{path}.npz", **feed, **sizes)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(DRIVER),
        "VK_ICD_FILENAMES": str(DRIVER / "vk_swiftshader_icd.json"),
    }
    command = [sys.executable, "-c", _SCRIPT, *map(str, feeds)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    for path in feeds:
        with np.load(f"{path}.out.npz") as outputs:
            yield path, {name: outputs[name].reshape(expected[path][name].shape) for name in outputs}


def check(cases, tmp_path, atol=ATOL):
    """Export (name, model, feed), run all in one process, and compare with Keras; a model is exported
    once for each batch."""
    feeds, expected, nearest, files = {}, {}, {}, {}
    for name, model, feed in cases:
        path, batch = tmp_path / f"{name}.tflite", len(next(iter(feed.values())))
        if (model, batch) in files:
            shutil.copy(files[model, batch], path)
        else:
            export_for_gpu(model, path, batch)
        files[model, batch] = path
        outputs = model(list(feed.values()) if len(feed) > 1 else feed["images"], training=False)
        feeds[path], nearest[path] = feed, "nearest-" in name
        expected[path] = {model.output_names[0]: outputs.numpy()}
    errors = {}
    for path, outputs in run_on_gpu(feeds, expected):
        for name, truth in expected[path].items():
            error = np.sort(np.abs(outputs[name] - truth).ravel())
            # Of points halfway between two pixels nearest may take either.
            errors[path.stem] = error[: error.size - int(1e-3 * error.size * nearest[path])].max()
    assert max(errors.values()) <= atol, errors
    return errors


@pytest.mark.slow
@needs_driver
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_affine_matches_keras_on_the_gpu(tmp_path, interpolation):
    def cases():
        for fill, batch in zip(FILLS, itertools.cycle([1, 3]), strict=False):
            model = warp(fill=fill, size=(28, 20), interpolation=interpolation)
            yield f"{interpolation}-{fill}", model, inputs(model, batch)

    assert len(check(cases(), tmp_path)) == len(FILLS)


@pytest.mark.slow
@needs_driver
@pytest.mark.parametrize("size", [(20, 28), (64, 60)])
def test_families_match_keras_on_the_gpu(tmp_path, size):
    def cases():
        for family, batch in zip(transforms.FAMILIES, itertools.cycle([3, 1]), strict=False):
            model = warp(family, size, output_size=size)
            if family != "thin_plate_spline":
                yield f"{family}-{batch}", model, inputs(model, batch)

    check(cases(), tmp_path)


@pytest.mark.slow
@needs_driver
@pytest.mark.parametrize("batch", [1, 3])
def test_a_spline_matches_keras_on_the_gpu(tmp_path, batch):
    """Sixteen logarithms, each off by a rounding of a GPU's own, are added up: 4e-5 at 64 pixels, where
    params of 0.6 move neighbours several pixels apart. A half-pixel error would be 0.5."""

    def cases():
        for size in [(20, 28), (64, 60)]:
            model = warp("thin_plate_spline", size, output_size=size)
            yield f"{size[0]}", model, inputs(model, batch)

    check(cases(), tmp_path, atol=4e-5)


@pytest.mark.slow
@needs_driver
@pytest.mark.parametrize("family", ["projective", "lens_distortion", "log_polar"])
def test_params_that_are_no_numbers_read_the_same_pixels_on_the_gpu(tmp_path, family):
    def cases():
        for fill in ("constant", "nearest", "wrap"):
            model = warp(family, (20, 28), fill, output_size=(20, 28))
            feed = inputs(model, 3)
            feed["params"][1:, -1] = np.nan, np.inf
            yield f"{fill}", model, feed

    check(cases(), tmp_path)


@pytest.mark.slow
@needs_driver
def test_whole_model_matches_keras_on_the_gpu(tmp_path):
    keras.utils.set_random_seed(0)  # how far roundings add up depends on the weights
    model = small_digits_model()
    for weight in model.layers[1].localization.weights:
        weight.assign_add(np.random.default_rng(0).normal(0, 0.005, weight.shape))
    images = inputs(warp(size=(40, 40), channels=1), 1)["images"]
    check([("digits", model, {"images": images})], tmp_path)


@pytest.mark.slow
@needs_driver
def test_params_that_are_no_numbers_or_huge_are_finite_on_the_gpu(tmp_path):
    model = warp(fill="nearest")

    def cases():
        for value in (np.nan, np.inf, -np.inf, 1e30):
            feed = inputs(model, 3)
            feed["params"][1, 2] = value
            yield f"{value}", model, feed

    check(cases(), tmp_path)


@pytest.mark.parametrize("family", transforms.FAMILIES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_files_for_gpus_pass_the_check_and_match_keras_on_the_cpu(tmp_path, family, interpolation):
    fills = list(FILLS)
    number = list(transforms.FAMILIES).index(family) + 3 * INTERPOLATIONS.index(interpolation)
    model = warp(family, (7, 12), fills[number % len(fills)], interpolation=interpolation)
    export_for_gpu(model, tmp_path / "warp.tflite", batch=(1, 3)[number % 2])
