"""The mask of where a warp shows the image, against the points themselves in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from users_family import Bulge

import keras_stn
from keras_stn import ops, transforms
from oracles import affine_points, to_pixel

INTERPOLATIONS = ["nearest", "bilinear", "bicubic"]
SIZE, OUTPUT = (7, 9), (11, 6)
IMAGES = np.random.default_rng(0).random((3, *SIZE, 2), "float32")
# A shift by whole pixels, whose points lie on the edges of both rules; a zoom out; a turn.
THETA = np.array(
    [
        [[1, 0, 2 * 2 / 9], [0, 1, -2 / 7]],
        [[1.7, 0, 0.1], [0, 1.4, -0.2]],
        [[0.9, -0.4, 0.2], [0.5, 1.1, 0.1]],
    ]
)


def points(theta, output_size, align_corners):
    grid = affine_points(theta, output_size, align_corners)
    return [to_pixel(grid[..., axis], SIZE[1 - axis], align_corners) for axis in range(2)]


def inside_by_hand(x, size, rule, interpolation):
    """One coordinate: every pixel that is read, in the words of the docstring."""
    if rule == "center":
        return -0.5 <= x < size - 0.5
    if interpolation == "nearest":
        return 0 <= round(x) <= size - 1  # Python's round: ties to even
    reach = {"bilinear": 1, "bicubic": 2}[interpolation]
    if x == np.floor(x):
        return 0 <= x <= size - 1
    return np.floor(x) - (reach - 1) >= 0 and np.floor(x) + reach <= size - 1


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("rule", ["center", "taps"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_mask_is_the_rule_of_the_docstring_at_every_point(interpolation, rule, align_corners):
    params = THETA.reshape(3, 6)
    have = ops.valid_mask(
        IMAGES.astype("float64"),
        params,
        output_size=OUTPUT,
        interpolation=interpolation,
        align_corners=align_corners,
        rule=rule,
    ).numpy()
    assert have.shape == (3, *OUTPUT, 1)
    x, y = points(THETA, OUTPUT, align_corners)
    for index in np.ndindex(*have.shape[:3]):
        at = x[index], y[index]
        if min(abs(axis * 2 - round(axis * 2)) for axis in at) < 1e-9:
            continue  # on the very edge the oracle rounds: the next test is exact there
        want = all(
            inside_by_hand(axis, size, rule, interpolation)
            for axis, size in zip(at, SIZE[::-1], strict=True)
        )
        assert have[index] == want, (index, at)
    assert 0.2 < have.mean() < 0.9


@pytest.mark.parametrize("rule", ["center", "taps"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_whole_pixels_are_valid_up_to_the_very_edge(interpolation, rule):
    """Taps without a weight do not count: neither do those beside a pixel that is met exactly."""
    identity = np.array([[1, 0, 0, 0, 1, 0]], "float32")
    settings = {"interpolation": interpolation, "rule": rule}
    assert np.all(ops.valid_mask(IMAGES, identity, **settings) == 1)
    flip = np.array([[-1, 0, 0, 0, 1, 0]], "float32")
    assert np.all(ops.valid_mask(IMAGES, flip, **settings) == 1)
    quarter = np.array([[0, -1, 0, 1, 0, 0]], "float32")
    square = ops.valid_mask(IMAGES[:, :, :7], quarter, **settings)
    assert np.all(square == 1)
    shift = np.array([[1, 0, 4 / 9, 0, 1, 0]])  # by two columns
    have = ops.valid_mask(IMAGES.astype("float64"), shift, **settings).numpy()
    np.testing.assert_array_equal(have[..., :-2, 0], 1)
    np.testing.assert_array_equal(have[..., -2:, 0], 0)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_valid_by_taps_is_what_no_fill_value_reaches(interpolation):
    params = THETA.reshape(3, 6).astype("float32")
    settings = {"output_size": OUTPUT, "interpolation": interpolation}
    valid = ops.valid_mask(IMAGES, params, rule="taps", **settings).numpy().astype(bool)
    one, other = (
        ops.warp(IMAGES, params, fill_value=value, **settings).numpy() for value in (-1e4, 1e4)
    )
    reached = np.any(one != other, axis=-1, keepdims=True)
    np.testing.assert_array_equal(valid, ~reached)


def test_what_is_no_number_is_not_valid():
    params = np.array([[np.nan, 0, 0], [1, np.inf, 0], [1, 0, 0]], "float32")
    for rule in ("center", "taps"):
        have = ops.valid_mask(IMAGES, params, "attention", rule=rule).numpy()
        assert np.all(have[:2] == 0)
        assert np.all(have[2] == 1)


def test_the_dtype_of_images_does_not_matter_nor_their_values():
    params = THETA.reshape(3, 6).astype("float32")
    want = ops.valid_mask(IMAGES, params)
    for images in (IMAGES.astype("uint8"), np.full_like(IMAGES, np.nan), IMAGES.astype("float16")):
        have = ops.valid_mask(images, params)
        assert have.dtype == (images.dtype if images.dtype == "float16" else "float32")
        np.testing.assert_array_equal(have, want)


def test_one_map_serves_many_images_and_many_maps_one_image():
    params = THETA.reshape(3, 6).astype("float32")
    one = ops.valid_mask(IMAGES, params[2:])
    assert one.shape == (3, *SIZE, 1)
    np.testing.assert_array_equal(one, ops.valid_mask(IMAGES, params[[2, 2, 2]]))
    np.testing.assert_array_equal(ops.valid_mask(IMAGES[:1], params), ops.valid_mask(IMAGES, params))
    many = ops.valid_mask(IMAGES[:1], params[None], output_size=OUTPUT)
    assert many.shape == (1, 3, *OUTPUT, 1)
    np.testing.assert_array_equal(many[0], ops.valid_mask(IMAGES, params, output_size=OUTPUT))


def test_the_mask_of_an_inverse_warp_is_the_window_in_the_picture():
    """A crop of columns 2 to 5 and rows 1 to 4 covers these and no others."""
    params = transforms.Affine().from_boxes(np.array([[2, 1, 6, 5]]), "xyxy", (7, 9))
    crop = np.zeros((1, 8, 8, 1), "float32")
    have = ops.valid_mask(crop, params, output_size=(7, 9), inverse=True).numpy()[0, :, :, 0]
    want = np.zeros((7, 9))
    want[1:5, 2:6] = 1
    np.testing.assert_array_equal(have, want)


def test_channels_first_gives_channels_first():
    params = THETA.reshape(3, 6).astype("float32")
    first = ops.valid_mask(IMAGES.transpose(0, 3, 1, 2), params, data_format="channels_first")
    assert first.shape == (3, 1, *SIZE)
    np.testing.assert_array_equal(first[:, 0], ops.valid_mask(IMAGES, params)[..., 0])


@pytest.mark.parametrize("transform", ["similarity", Bulge()], ids=["similarity", "bulge"])
def test_a_model_holds_the_mask_and_is_saved(transform, tmp_path):
    family = transforms.get(transform)
    images, maps = keras.Input((None, None, 2)), keras.Input((family.num_params,))
    mask = ops.valid_mask(images, maps, transform, OUTPUT, rule="taps")
    assert mask.shape == (None, *OUTPUT, 1)
    model = keras.Model([images, maps], mask)
    model.save(tmp_path / "m.keras")
    params = np.random.default_rng(1).uniform(-0.3, 0.3, (3, family.num_params)).astype("float32")
    params += np.array(family.identity_params, "float32")
    want = ops.valid_mask(IMAGES, params, transform, OUTPUT, rule="taps")
    for each in (model, keras.models.load_model(tmp_path / "m.keras")):
        np.testing.assert_array_equal(each([IMAGES, params]), want)
    jitted = tf.function(lambda x, p: ops.valid_mask(x, p, transform, OUTPUT), jit_compile=True)
    np.testing.assert_array_equal(
        jitted(IMAGES, params), ops.valid_mask(IMAGES, params, transform, OUTPUT)
    )


@pytest.mark.slow
def test_a_model_with_a_mask_is_exported(tmp_path):
    images, maps = keras.Input((*SIZE, 2)), keras.Input((4,))
    mask = ops.valid_mask(images, maps, "similarity", OUTPUT)
    masked = keras_stn.Warp("similarity", OUTPUT)([images, maps]) * mask
    model = keras.Model([images, maps], [masked, mask])
    samples = [IMAGES, np.array([[0.9, 0.4, 0.1, -0.2]] * 3, "float32")]
    keras_stn.export_saved_model(model, tmp_path / "m", samples=samples)
    keras_stn.export_tflite(model, tmp_path / "m.tflite", samples=samples)
    keras_stn.export_onnx(model, tmp_path / "m.onnx", samples=samples)


def test_wrong_arguments_are_named():
    params = THETA.reshape(3, 6)
    with pytest.raises(ValueError, match="^rule must be one of .*Did you mean 'center'"):
        ops.valid_mask(IMAGES, params, rule="centre")
    with pytest.raises(ValueError, match=r"^params must have shape \(batch of images, 6\)"):
        ops.valid_mask(IMAGES, params[:, :5])
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        ops.valid_mask(IMAGES, params[:, :1], Bulge(), inverse=True)
