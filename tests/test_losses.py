"""Losses: corners by loops in float64, and correlations by NumPy's own and by a loop over windows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from maps import VECTORS, corners, moved, params_of

import keras_stn
from keras_stn import transforms
from keras_stn.losses import CornerDistance, NormalizedCrossCorrelation

families = pytest.mark.parametrize("name", VECTORS)

# Of distances of order 1 in float32, where one ulp is 1.2e-7 and a map adds a dozen products.
ATOL = 5e-6


def distances(family, one, two):
    """(batch,): the mean over corners of the squared distance."""
    return [
        np.mean([np.sum((p - q) ** 2) for p, q in zip(*places, strict=True)])
        for places in (
            [moved(family, row, corners(family.ndim)) for row in pair]
            for pair in zip(one, two, strict=True)
        )
    ]


@families
def test_corner_distance_is_the_mean_squared_distance_of_the_corners(name):
    family = VECTORS[name]()
    one, two = params_of(family, 3, seed=1), params_of(family, 3, seed=2)
    loss = CornerDistance(family, reduction=None)
    np.testing.assert_allclose(loss(one, two), distances(family, one, two), rtol=1e-5, atol=ATOL)
    assert abs(np.array(loss(one, two))).max() > 1e-4
    np.testing.assert_array_equal(loss(one, one), np.zeros(3))


def test_corner_distance_counts_in_normalised_units():
    # A shift by a tenth of the width moves each corner by 0.2; a scale of 1.5 by (0.5, 0.5).
    loss = CornerDistance("attention", reduction=None)
    value = loss([[1.0, 0.0, 0.0]] * 2, [[1.0, 0.2, 0.0], [1.5, 0.0, 0.0]])
    np.testing.assert_allclose(value, [0.04, 0.5], atol=1e-6)


def test_corner_behind_the_camera_counts_nothing_and_leaves_the_others_their_gradient():
    """At the corner (1, 1) the divisor is 1 + g + h: of the second map below 0."""
    params = tf.constant([[1, 0, 0, 0, 1, 0, 0.1, 0.1], [1, 0, 0, 0, 1, 0, -0.7, -0.6]])
    wanted = np.tile(np.float32([1, 0, 0, 0, 1, 0, 0, 0]), (2, 1))
    with tf.GradientTape() as tape:
        tape.watch(params)
        values = CornerDistance("projective", reduction=None)(wanted, params)
    expected = []
    for g, h in ((0.1, 0.1), (-0.7, -0.6)):
        seen = [(x, y) for x in (-1, 1) for y in (-1, 1) if 1 + g * x + h * y > 0]
        expected.append(sum(2 * (1 / (1 + g * x + h * y) - 1) ** 2 for x, y in seen) / 4)
    np.testing.assert_allclose(values, expected, rtol=1e-5)  # float32 quotients of about 1
    gradient = tape.gradient(values, params)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max(axis=1).min() > 0.1


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_params_that_are_no_numbers_are_no_good_poses(wrong, side):
    """A loss of 0 would be the best there is, and callbacks would keep a model that is lost."""
    params = np.tile(np.float32([1, 0, 0, 0, 1, 0, 0, 0]), (2, 2, 1))
    params[side, 1, 2] = wrong
    values = np.asarray(CornerDistance("projective", reduction=None)(*params))
    assert values[0] == 0
    assert not np.isfinite(values[1])


def test_corner_distance_of_several_maps_is_their_mean():
    family = transforms.get("similarity")
    one, two = params_of(family, 3, 2, seed=1), params_of(family, 3, 2, seed=2)
    expected = np.reshape(distances(family, one.reshape(6, -1), two.reshape(6, -1)), (3, 2)).mean(axis=1)
    loss = CornerDistance("similarity", reduction=None)
    np.testing.assert_allclose(loss(one, two), expected, rtol=1e-5, atol=ATOL)


@pytest.mark.parametrize("name", ["displacement", "velocity"])
def test_corner_distance_refuses_fields_and_says_what_to_use(name):
    with pytest.raises(ValueError, match="transform must be a family.*MeanSquaredError.*Received: tr"):
        CornerDistance(name)


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ((2, 3), (2, 4), r"y_true must have shape \(batch, \[maps,\] 4\)"),
        ((2, 4), (2, 4, 1), r"y_pred must have shape \(batch, \[maps,\] 4\)"),
        ((2, 3, 4), (2, 4), r"y_true must have shape \(2, 4\), that of y_pred"),
    ],
)
def test_corner_distance_refuses_params_of_another_shape(one, two, message):
    with pytest.raises(ValueError, match=message):
        CornerDistance("similarity")(np.ones(one), np.ones(two))


def test_corner_distance_trains_a_localization_towards_a_known_pose():
    images = np.random.default_rng(0).random((64, 8, 12, 1), "float32")
    pose = np.stack([images[:, :4].mean((1, 2, 3)), images[:, 4:].mean((1, 2, 3))], axis=1) - 0.5
    inputs = keras.Input((8, 12, 1))
    params = keras_stn.Localization("dense", "translation", name="params")(inputs)
    model = keras.Model(inputs, {"params": params})
    model.compile(keras.optimizers.Adam(0.01), loss={"params": CornerDistance("translation")})
    before = model.evaluate(images, {"params": pose}, verbose=0)
    model.fit(images, {"params": pose}, epochs=40, verbose=0)
    assert model.evaluate(images, {"params": pose}, verbose=0) < before / 4


# --- Normalised cross-correlation ---------------------------------------------------------------------

FLAT = 1.3e-6  # of the package: what is added to each variance


def pair(*shape, seed=0):
    random = np.random.default_rng(seed)
    one = random.random(shape)
    return one.astype("float32"), (0.5 * one + 0.5 * random.random(shape)).astype("float32")


@pytest.mark.parametrize("shape", [(3, 7, 11, 2), (2, 5, 4, 6, 2)], ids=["images", "volumes"])
def test_ncc_of_whole_images_is_numpys_correlation(shape):
    one, two = pair(*shape)
    expected = [
        1 - np.mean([np.corrcoef(a[..., c].ravel(), b[..., c].ravel())[0, 1] for c in range(2)])
        for a, b in zip(one, two, strict=True)
    ]
    value = NormalizedCrossCorrelation(reduction=None)(one, two)
    # FLAT is 2e-5 of a variance of 1 / 12, and 5e-5 of that of the mean of two.
    np.testing.assert_allclose(value, expected, rtol=0, atol=5e-5)
    assert np.ptp(expected) > 1e-3


def of_windows(one, two, window):
    """1 - the mean of NCC^2 around each pixel, eq. (6) of VoxelMorph; windows end at the border."""
    before = (window - 1) // 2
    values = []
    for pixel in np.ndindex(one.shape):
        cut = tuple(slice(max(at - before, 0), at - before + window) for at in pixel)
        a, b = one[cut] - one[cut].mean(), two[cut] - two[cut].mean()
        values.append((a * b).mean() ** 2 / (((a * a).mean() + FLAT) * ((b * b).mean() + FLAT)))
    return 1 - np.mean(values)


@pytest.mark.parametrize("window", [2, 3, 5, 30])
@pytest.mark.parametrize("shape", [(7, 9), (4, 3, 5)], ids=["images", "volumes"])
def test_ncc_of_windows_is_that_of_each_window(window, shape):
    one, two = pair(2, *shape, 2, seed=3)
    expected = [
        np.mean(
            [of_windows(*(i[n, ..., c].astype("float64") for i in (one, two)), window) for c in (0, 1)]
        )
        for n in range(2)
    ]
    value = NormalizedCrossCorrelation(window, reduction=None)(one, two)
    # Variances of windows are differences of means of squares, each exact to 1e-8.
    np.testing.assert_allclose(value, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("window", [None, 3])
def test_ncc_does_not_see_contrast_and_brightness(window):
    one, two = pair(2, 9, 6, 1)
    loss = NormalizedCrossCorrelation(window)
    assert float(loss(one, 3 * two + 5)) == pytest.approx(float(loss(one, two)), abs=2e-4)
    assert float(loss(one, one)) == pytest.approx(0, abs=2e-3)  # FLAT, in windows of little contrast
    assert float(loss(one, -one)) == pytest.approx(2 if window is None else 0, abs=2e-3)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("value", [0.0, 0.7, 255.0])
@pytest.mark.parametrize("both", [True, False])
def test_ncc_of_flat_images_is_1_with_finite_gradients(window, value, both):
    flat = np.full((2, 9, 6, 1), value, "float32")
    other = flat if both else pair(2, 9, 6, 1)[0]
    one = tf.constant(flat)
    with tf.GradientTape() as tape:
        tape.watch(one)
        loss = NormalizedCrossCorrelation(window)(other, one)
    assert float(loss) == pytest.approx(1, abs=1e-3)
    assert np.isfinite(tape.gradient(loss, one)).all()


def test_ncc_gradient_is_that_of_finite_differences():
    one, two = (image.astype("float64") for image in pair(1, 4, 5, 1))
    for window in (None, 3):
        loss = NormalizedCrossCorrelation(window, dtype="float64")
        tensor = tf.constant(two)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = loss(one, tensor)
        gradient = tape.gradient(value, tensor).numpy()
        for pixel in np.ndindex(4, 5):
            step = np.zeros_like(two)
            step[(0, *pixel, 0)] = 1e-5
            slope = (float(loss(one, two + step)) - float(loss(one, two - step))) / 2e-5
            assert gradient[(0, *pixel, 0)] == pytest.approx(slope, abs=1e-8)  # rounding, 1e-16 / 1e-5


def test_ncc_takes_channels_first():
    one, two = pair(2, 7, 5, 3)
    value = NormalizedCrossCorrelation(3)(one, two)
    first = (np.moveaxis(image, -1, 1) for image in (one, two))
    again = NormalizedCrossCorrelation(3, data_format="channels_first")(*first)
    assert float(again) == pytest.approx(float(value), abs=1e-6)


def test_ncc_refuses_what_is_no_window_and_no_pair():
    with pytest.raises(ValueError, match="window must be a positive integer. Received: window=0"):
        NormalizedCrossCorrelation(0)
    with pytest.raises(ValueError, match=r"y_true must have shape \(2, 4, 6, 1\), that of"):
        NormalizedCrossCorrelation()(np.ones((2, 4, 5, 1)), np.ones((2, 4, 6, 1)))


# --- Both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (CornerDistance(transforms.Similarity(aspect_ratio=0.5), name="pose", reduction="sum"), (3, 4)),
        (NormalizedCrossCorrelation(3, name="alike", reduction="sum"), (2, 7, 5, 1)),
    ],
    ids=["CornerDistance", "NormalizedCrossCorrelation"],
)
def test_loss_is_the_same_after_serialization(loss, shape):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    one, two = pair(*shape)
    assert again.get_config() == loss.get_config()
    assert float(again(one, two)) == float(loss(one, two))
    assert (again.name, again.reduction) == (loss.name, "sum")


def test_compiled_model_with_losses_is_saved_and_loaded(tmp_path):
    images = keras.Input((7, 5, 1))
    look = keras_stn.SpatialTransformer(transform="similarity", name="warped")
    params = keras_stn.Localization(transform="similarity", name="params")(images)
    model = keras.Model(images, {"params": params, "warped": look(images)})
    losses = {"params": CornerDistance("similarity"), "warped": NormalizedCrossCorrelation()}
    model.compile("adam", loss=losses)
    x = pair(4, 7, 5, 1)[0]
    y = {"params": params_of(transforms.get("similarity"), 4), "warped": pair(4, 7, 5, 1)[1]}
    model.fit(x, y, verbose=0)
    expected = model.evaluate(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").evaluate(x, y, verbose=0)
    np.testing.assert_allclose(again, expected, rtol=1e-6)
