"""Volumes go into every format, all but files for GPUs."""

import keras
import numpy as np
import pytest
from common import EXPORTERS, difference, inputs, lite, strange_inputs, warp

import keras_stn
from keras_stn import export, ops, transforms

FAMILIES = {
    name: family(ndim=3)
    for name, family in transforms.FAMILIES.items()
    if issubclass(family, transforms.MatrixTransform)
}
FORMATS = [name for name in EXPORTERS if name != "graph"]
SETTINGS = [
    ("bilinear", "fill_value"),
    ("bilinear", "mirror"),
    ("nearest", "wrap"),
    ("bicubic", "nearest"),
]

# Coordinates below 16 are rounded to 1e-6, in Keras as in a file, and noise changes by up to 1 a voxel;
# a cubic by up to 3. A half-voxel error would be 0.5.
ATOL = 1e-5


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("format", FORMATS)
def test_families_of_volumes_give_the_same_numbers_in_every_format(format, name, tmp_path):
    model = warp(FAMILIES[name], (3, 6, 7), output_size=(4, 5, 9))
    report = EXPORTERS[format](model, tmp_path / "model", samples=inputs(model, 3))
    assert report.max_error <= ATOL


@pytest.mark.parametrize(("interpolation", "fill"), SETTINGS)
def test_every_kernel_goes_into_a_file(interpolation, fill, tmp_path):
    model = warp(FAMILIES["affine"], (3, 6, 7), fill, output_size=(4, 5, 9), interpolation=interpolation)
    export.export_tflite(model, tmp_path / "m.tflite", samples=inputs(model, 3), measure_latency=False)
    run = lite(tmp_path / "m.tflite")
    for batch in 1, 3, 2:
        assert difference(model, run, inputs(model, batch)) <= ATOL


@pytest.mark.parametrize("fill", ["constant", "fill_value", "nearest", "reflect", "mirror", "wrap"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("size", [(3, 6, 7), (6, 6, 6)])
def test_from_opset_20_on_a_volume_is_one_grid_sample(interpolation, fill, size, tmp_path):
    import onnxruntime

    arguments = {"output_size": (4, 5, 9), "interpolation": interpolation}
    model, path = warp(FAMILIES["affine"], size, fill, **arguments), tmp_path / "m.onnx"
    report = export.export_onnx(model, path, opset=20, samples=inputs(model, 3), measure_latency=False)
    assert report.ops["GridSample"] == 1
    assert ("Gather" in report.ops) == (
        interpolation == "bilinear" and fill == "wrap"
    )  # which continues
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for feed in [inputs(model, 2), *(strange_inputs(model) if interpolation == "bilinear" else ())]:
        assert difference(model, lambda feed: session.run(None, feed)[0], feed) <= ATOL


def test_pictures_are_as_they_were_in_opset_20(tmp_path):
    for interpolation in ("nearest", "bilinear", "bicubic"):
        model = warp("affine", (13, 18), "reflect", interpolation=interpolation)
        report = export.export_onnx(model, tmp_path / "m.onnx", opset=20, measure_latency=False)
        assert report.ops["GridSample"] == 1


def test_strange_params_of_a_volume_are_outside_in_a_file(tmp_path):
    model = warp(FAMILIES["affine"], (3, 6, 7), "fill_value", output_size=(4, 5, 9))
    export.export_tflite(model, tmp_path / "m.tflite", measure_latency=False)
    run = lite(tmp_path / "m.tflite")
    assert max(difference(model, run, feed) for feed in strange_inputs(model)) <= ATOL


@pytest.mark.parametrize("format", FORMATS)
def test_a_spatial_transformer_of_volumes_goes_into_every_format(format, tmp_path):
    volumes = keras.Input((8, 12, 10, 1))
    layer = keras_stn.SpatialTransformer(transform=transforms.Similarity(ndim=3))
    model = keras.Model(volumes, layer(volumes))
    for weight in model.weights:
        weight.assign_add(np.random.default_rng(0).uniform(0, 0.03, weight.shape))
    report = EXPORTERS[format](model, tmp_path / "model")
    assert report.max_error <= ATOL


def test_grids_and_samples_of_volumes_go_into_a_file(tmp_path):
    volumes, theta = keras.Input((3, 6, 7, 2)), keras.Input((3, 4))
    model = keras.Model([volumes, theta], ops.grid_sample(volumes, ops.affine_grid(theta, (4, 5, 9))))
    for format in ("tflite", "onnx"):
        assert EXPORTERS[format](model, tmp_path / f"m.{format}").max_error <= ATOL


def test_files_grow_with_the_sides_and_not_the_volume(tmp_path):
    sizes = []
    for side in 8, 32, 64:
        model = warp(FAMILIES["affine"], (side,) * 3, output_size=None, batch=1, channels=1)
        path = tmp_path / "m.tflite"
        sizes.append(export.export_tflite(model, path, measure_latency=False).size)
    # Three axes of float32 of each side; 64 more bytes for what is aligned.
    growth = np.diff(sizes)
    assert np.all(growth <= 3 * 4 * np.array([24, 32]) + 64), sizes


def test_gpus_are_refused_volumes_before_conversion(tmp_path):
    model = warp(FAMILIES["affine"], (3, 6, 7), output_size=(4, 5, 9), batch=1)
    with pytest.raises(ValueError, match=r"^model must read no volumes for target=\"gpu\".* Received: "):
        export.export_tflite(model, tmp_path / "m.tflite", target="gpu")
    assert not (tmp_path / "m.tflite").exists()
