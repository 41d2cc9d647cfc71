"""`ops.grid_sample` and `ops.affine_grid` against oracles that share no code with them."""

import pathlib

import keras
import numpy as np
import pytest

import oracles
from golden import make_torch
from keras_stn import ops
from keras_stn._checks import FILL_MODES, INTERPOLATIONS

# float32: coordinates of a few pixels carry ~5e-7 px of rounding, times slopes of up to 3 per pixel
# between the image and a fill value, and the overshoot of the cubic; the largest error measured is 5e-6
# (bilinear: 6e-7). Half a pixel off is > 0.1. float64: in units of 1e-16; the largest measured is 9e-15.
ATOL = {"float32": 1e-5, "float64": 1e-12}
DTYPES = tuple(ATOL)
COLOUR = [0.3, -1.1, 2.0]  # 0.3 and 1.1 are other numbers in float32 than in float64


def images_and_grid(dtype, reach=2.5):
    """Asymmetric images, and points scattered over and around them (reach 1 is the border)."""
    rng = np.random.default_rng(1)
    images = rng.random((2, 5, 8, 3)).astype(dtype)
    return images, rng.uniform(-reach, reach, (2, 7, 4, 2)).astype(dtype)


def max_error(actual, expected):
    return np.max(np.abs(np.asarray(actual, "float64") - expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_matches_eq_5_of_the_paper(align_corners, dtype):
    images, grid = images_and_grid(dtype)
    sampled = ops.grid_sample(images, grid, align_corners=align_corners)
    assert max_error(sampled, oracles.tent_sample(images, grid, align_corners)) <= ATOL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("fill_value", [0.0, 0.1, COLOUR], ids=["zero", "scalar", "per_channel"])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_mode_interpolates_the_image_that_numpy_pad_extends(
    interpolation, fill_mode, fill_value, align_corners, dtype
):
    images, grid = images_and_grid(dtype)
    arguments = interpolation, fill_mode, fill_value, align_corners
    expected = oracles.extended_sample(images, grid, *arguments)
    assert max_error(ops.grid_sample(images, grid, *arguments), expected) <= ATOL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_matches_scipy_map_coordinates(interpolation, fill_mode, align_corners, dtype):
    images, grid = images_and_grid(dtype, reach=4)
    arguments = interpolation, fill_mode, COLOUR, align_corners
    expected = oracles.scipy_sample(images, grid, *arguments)
    assert max_error(ops.grid_sample(images, grid, *arguments), expected) <= ATOL[dtype]


GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "torch.npz")


def assert_matches_torch(vectors, dtype):
    images, scattered, theta = make_torch.inputs(dtype)
    checked = 0
    for align_corners in (False, True):
        affine = vectors[f"affine_grid-{align_corners}-{dtype}"]
        ours = ops.affine_grid(theta, make_torch.OUTPUT_SIZE, align_corners)
        assert max_error(ours, affine) <= ATOL[dtype]
        checked += 1
        for interpolation, fill_mode, corners in oracles.torch_combinations():
            if corners != align_corners:
                continue
            for name, grid in (("scattered", scattered), ("affine", affine)):
                key = f"{name}-{interpolation}-{fill_mode}-{align_corners}-{dtype}"
                ours = ops.grid_sample(images, grid, interpolation, fill_mode, 0.0, align_corners)
                assert max_error(ours, vectors[key]) <= ATOL[dtype], key
                checked += 1
    assert checked == sum(key.endswith(dtype) for key in vectors)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_golden_vectors_of_torch(dtype):
    assert_matches_torch(GOLDEN, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_torch_live(dtype):
    pytest.importorskip("torch", reason="PyTorch is an oracle only; CI installs it")
    assert_matches_torch(make_torch.vectors(dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("output_size", [(5, 8), (1, 3), (4, 1), (1, 1)])
def test_affine_grid_matches_eq_1_of_the_paper(output_size, align_corners, dtype):
    theta = np.array([[[0.7, -0.4, 0.3], [0.5, 0.9, -0.2]], [[-1, 0, 0], [2, 3, 1]]], dtype)
    grid = ops.affine_grid(theta, output_size, align_corners)
    expected = oracles.affine_points(theta, output_size, align_corners)
    assert max_error(grid, expected) <= ATOL[dtype]


def test_nearest_breaks_ties_to_even():
    row = np.arange(6, dtype="float32").reshape(1, 1, 6, 1)
    halves = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    grid = np.stack([(2 * halves + 1) / 6 - 1, np.zeros(5)], axis=-1).reshape(1, 1, 5, 2)
    sampled = ops.grid_sample(row.astype("float64"), grid, "nearest")
    assert sampled.numpy().ravel().tolist() == [0, 2, 2, 4, 4]


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_nearest_takes_label_maps_and_keeps_every_label(fill_mode, dtype):
    labels = np.random.default_rng(2).integers(0, 255, (1, 5, 8, 1)).astype(dtype)
    _, grid = images_and_grid("float32")
    arguments = "nearest", fill_mode, 7.0
    sampled = ops.grid_sample(labels, grid[:1], *arguments)
    assert sampled.dtype == dtype
    expected = oracles.extended_sample(labels, grid[:1], *arguments, False)
    assert np.array_equal(sampled, expected)


def test_a_constant_border_blends_with_fill_value_tap_by_tap():
    row = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
    edges = np.array([[-1.0, 0.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)  # half a pixel beyond the centres
    sampled = ops.grid_sample(row, edges, fill_value=10.0).numpy().ravel()
    assert sampled.tolist() == [(1 + 10) / 2, (4 + 10) / 2]


def test_an_empty_batch_and_an_empty_grid_give_empty_images():
    images, grid = images_and_grid("float32")
    assert ops.grid_sample(images[:0], grid[:0]).shape == (0, 7, 4, 3)
    assert ops.grid_sample(images, grid[:, :0]).shape == (2, 0, 4, 3)
    assert ops.affine_grid(np.zeros((0, 2, 3), "float32"), (4, 5)).shape == (0, 4, 5, 2)


def test_more_pixels_than_float32_counts_are_indexed_exactly():
    images = np.zeros((2, 4096, 4096, 1), "uint8")  # 2^25: float32 tells every second pixel apart
    images[1, 4095, 4094:, 0] = 1, 2
    x = np.array([4094, 4095])
    grid = np.stack([(2 * x + 1) / 4096 - 1, np.full(2, 1 - 1 / 4096)], axis=-1).reshape(1, 1, 2, 2)
    sampled = ops.grid_sample(images, np.tile(grid, (2, 1, 1, 1)), "nearest")
    assert sampled.numpy()[1].ravel().tolist() == [1, 2]


def test_functional_models_hold_and_save_the_ops(tmp_path):
    images, theta = keras.Input((5, 8, 3)), keras.Input((2, 3))
    grid = ops.affine_grid(theta, (6, 4), align_corners=True)
    sampled = ops.grid_sample(images, grid, "bicubic", "constant", np.array(COLOUR), True)
    assert grid.shape == (None, 6, 4, 2)
    assert sampled.shape == (None, 6, 4, 3)
    model = keras.Model([images, theta], sampled)
    model.save(tmp_path / "m.keras")
    values = images_and_grid("float32")[0], make_torch.inputs("float32")[2]
    direct = ops.grid_sample(
        values[0], ops.affine_grid(values[1], (6, 4), True), "bicubic", "constant", COLOUR, True
    )
    assert np.array_equal(model(values), direct)
    assert np.array_equal(keras.models.load_model(tmp_path / "m.keras")(values), direct)
