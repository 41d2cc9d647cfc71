"""`ops.grid_sample`, `ops.affine_grid` and `ops.warp` against oracles that share no code with them."""

import itertools
import pathlib

import keras
import numpy as np
import pytest

import keras_stn
import oracles
from golden import make_torch
from keras_stn import ops
from keras_stn.sampler import BORDERS as FILL_MODES
from keras_stn.sampler import KERNELS as INTERPOLATIONS

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


# --- warp -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_warp_reads_the_extended_image_at_the_points_of_eq_1(
    interpolation, fill_mode, align_corners, dtype
):
    images, _ = images_and_grid(dtype)
    # No point is nearer than 0.02 pixels to halfway between two, where rounding decides for nearest.
    params = np.array([[1.16, -0.35, 0.36, 0.31, 0.95, -0.24], [0.5, 0.3, -0.62, -0.39, 1.2, 0.03]])
    params = params.astype(dtype)
    grid = oracles.affine_points(params.reshape(2, 2, 3), (6, 4), align_corners)
    arguments = interpolation, fill_mode, COLOUR, align_corners
    expected = oracles.extended_sample(images, grid, *arguments)
    warped = ops.warp(images, params, "affine", (6, 4), *arguments)
    assert max_error(warped, expected) <= ATOL[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_warp_matches_golden_vectors_of_torch(dtype):
    images, _, theta = make_torch.inputs(dtype)
    for interpolation, fill_mode, align_corners in oracles.torch_combinations():
        arguments = interpolation, fill_mode, 0.0, align_corners
        warped = ops.warp(images, theta.reshape(-1, 6), "affine", make_torch.OUTPUT_SIZE, *arguments)
        expected = GOLDEN[f"affine-{interpolation}-{fill_mode}-{align_corners}-{dtype}"]
        errors = np.abs(np.asarray(warped, "float64") - expected)
        if interpolation == "nearest":
            # PyTorch's grid is rounded, and of a point halfway between two pixels that decides.
            points = oracles.affine_points(theta, make_torch.OUTPUT_SIZE, align_corners)
            errors = errors[~halfway(points, images.shape[1:3], align_corners)]
        assert errors.max() <= ATOL[dtype], arguments


def halfway(points, image_size, align_corners):
    """Which points (B, h, w, 2) are halfway between two pixels, in x or in y."""
    size = np.array(image_size[::-1])
    pixels = (points * (size - 1 if align_corners else size) + size - 1) / 2
    return np.any(np.abs(pixels - np.floor(pixels) - 0.5) < 1e-6, axis=-1)


@pytest.mark.parametrize("name", ["translation", "rotation", "affine"])
def test_warp_is_the_layer_bit_for_bit(name):
    images, _ = images_and_grid("float32")
    identity = np.float32(keras_stn.transforms.get(name).identity_params)
    params = np.float32([identity + 0.17, identity - 0.11])
    arguments = {"output_size": (6, 4), "fill_mode": "mirror", "align_corners": True}
    expected = keras_stn.Warp(name, **arguments)([images, params])
    assert np.array_equal(ops.warp(images, params, name, **arguments), expected)
    assert np.array_equal(
        ops.warp(images, params, keras_stn.transforms.get(name), **arguments), expected
    )


def test_a_functional_model_holds_saves_and_exports_a_warp(tmp_path):
    images, params = keras.Input((5, 8, 3), name="images"), keras.Input((4,), name="params")
    family = keras_stn.transforms.Similarity(aspect_ratio=8 / 5)
    warped = ops.warp(images, params, family, (6, 4), "bicubic", "constant", np.array(COLOUR), True)
    assert warped.shape == (None, 6, 4, 3)
    model = keras.Model([images, params], warped)
    model.save(tmp_path / "m.keras")
    values = images_and_grid("float32")[0], np.float32([[0.9, 0.2, 0.1, -0.1], [1.1, -0.3, 0, 0.2]])
    direct = ops.warp(*values, family, (6, 4), "bicubic", "constant", COLOUR, True)
    assert np.array_equal(model(values), direct)
    assert np.array_equal(keras.models.load_model(tmp_path / "m.keras")(values), direct)
    report = keras_stn.export_saved_model(model, tmp_path / "m")
    assert report.max_error == 0


# --- Sizes ------------------------------------------------------------------------------------------

# A float32 coordinate in pixels is known to half of 2^-23 of itself. A grid's is rounded three times, in
# the grid, in the product with the size and in the sum, and so are those of a warp by other params than
# the exact ones: 1.5 * 2^-23 = 1.8e-7 of the longer side. Of noise in [0, 1] that is a value's error
# along one axis, and seldom that of both at once. Measured at 33x33, 224x320 and 1024x1024: bilinear
# 2.3e-6, 3.4e-5, 1.3e-4, bicubic 3.1e-6, 3.9e-5, 1.5e-4 (PyTorch in float32: 2.8e-6, 4.3e-5, 1.6e-4).
OF_THE_LONGER_SIDE = 2e-7
SIZES = pytest.mark.parametrize("size", [(33, 33), (224, 320), (1024, 1024)])


def noise(size):
    return np.random.default_rng(3).random((1, *size, 1), "float32")


@SIZES
@pytest.mark.parametrize("align_corners", [False, True])
def test_the_identity_and_flips_of_warp_are_exact_where_a_grid_has_rounded(align_corners, size):
    images = noise(size)
    for x, y in itertools.product((1, -1), repeat=2):
        theta = np.float32([[[x, 0, 0], [0, y, 0]]])
        expected = images[:, ::y, ::x]
        warped = ops.warp(images, theta.reshape(1, 6), align_corners=align_corners)
        assert np.array_equal(warped, expected)
        grid = ops.affine_grid(theta, size, align_corners)
        # Measured: 0 at 33 and 1024, 7.4e-6 at 224x320, which are 2.3e-8 of the longer side.
        sampled = ops.grid_sample(images, grid, align_corners=align_corners)
        assert max_error(sampled, expected) <= 5e-8 * max(size)


@SIZES
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("fill_mode", ["constant", "wrap"])
def test_noise_is_read_as_scipy_reads_it_at_every_size(fill_mode, align_corners, size):
    images = noise(size)
    grid = np.random.default_rng(4).uniform(-1.3, 1.3, (1, *size, 2)).astype("float32")
    arguments = "bilinear", fill_mode, 0.5, align_corners
    expected = oracles.scipy_sample(images, grid, *arguments)
    assert max_error(ops.grid_sample(images, grid, *arguments), expected) <= OF_THE_LONGER_SIDE * max(
        size
    )


@SIZES
def test_noise_is_read_as_torch_reads_it_in_float64_at_every_size(size):
    pytest.importorskip("torch", reason="PyTorch is an oracle only; CI installs it")
    images = noise(size)
    rng = np.random.default_rng(4)
    grid = rng.uniform(-1.3, 1.3, (1, *size, 2)).astype("float32")
    theta = (np.eye(2, 3) + rng.uniform(-0.3, 0.3, (1, 2, 3))).astype("float32")
    bound = OF_THE_LONGER_SIDE * max(size)
    for interpolation, fill_mode, align_corners in oracles.torch_combinations():
        if interpolation == "nearest":
            continue  # at a tie, which of two pixels is read hangs on the last bit
        torch = [
            images.astype("float64"),
            grid.astype("float64"),
            interpolation,
            fill_mode,
            align_corners,
        ]
        arguments = interpolation, fill_mode, 0.0, align_corners
        expected = oracles.torch_sample(*torch)
        assert max_error(ops.grid_sample(images, grid, *arguments), expected) <= bound
        torch[1] = oracles.torch_affine_grid(theta.astype("float64"), size, align_corners)
        expected = oracles.torch_sample(*torch)
        warped = ops.warp(images, theta.reshape(1, 6), "affine", None, *arguments)
        assert max_error(warped, expected) <= bound


# --- Data formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_setting", [True, False])
def test_functions_read_channels_first_as_channels_last_transposed(by_setting, tmp_path):
    images, grid = images_and_grid("float32")
    params = np.float32([[0.9, 0.2, 0.1], [1.1, -0.3, 0]])
    calls = [
        lambda x, **kwargs: ops.grid_sample(x, grid, fill_value=COLOUR, **kwargs),
        lambda x, **kwargs: ops.warp(x, params, "attention", (6, 4), fill_value=COLOUR, **kwargs),
    ]
    expected = [call(images).numpy().transpose(0, 3, 1, 2) for call in calls]
    first = images.transpose(0, 3, 1, 2)
    if by_setting:
        keras.config.set_image_data_format("channels_first")
    kwargs = {} if by_setting else {"data_format": "channels_first"}
    for call, want in zip(calls, expected, strict=True):
        assert np.array_equal(call(first, **kwargs), want)
        symbol = keras.Input(batch_shape=first.shape)
        model = keras.Model(symbol, call(symbol, **kwargs))
        assert model.output.shape == want.shape
        model.save(tmp_path / "m.keras")
        keras.config.set_image_data_format("channels_last")  # a model keeps the format it was made with
        assert np.array_equal(keras.models.load_model(tmp_path / "m.keras")(first), want)
        if by_setting:
            keras.config.set_image_data_format("channels_first")


def test_channels_last_is_read_under_a_setting_of_channels_first_where_it_is_named():
    images, grid = images_and_grid("float32")
    expected = ops.grid_sample(images, grid)
    keras.config.set_image_data_format("channels_first")
    assert np.array_equal(ops.grid_sample(images, grid, data_format="channels_last"), expected)
