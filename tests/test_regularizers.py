"""Regularizers: penalties by loops in float64, and no NaN whatever the params are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from maps import VECTORS, corners, moved, params_of, pixels

import keras_stn
from keras_stn import transforms
from keras_stn.regularizers import NearIdentity, Outside

families = pytest.mark.parametrize("name", VECTORS)
both = pytest.mark.parametrize("regularizer", [Outside, NearIdentity])

# Distances of order 1 in float32, where one ulp is 1.2e-7 and a map adds a dozen products.
ATOL = 5e-6


def outside(family, row):
    """What an 8x8 output pays for its points beyond -1 and 1."""
    points = moved(family, row, pixels(8, family.ndim))
    return np.mean([np.maximum(np.abs(point) - 1, 0).sum() for point in points])


def from_identity(family, row):
    """The mean squared way of the corners from where the first params put them."""
    start = family.identity_params
    ways = moved(family, row, corners(family.ndim)) - moved(family, start, corners(family.ndim))
    return np.mean([np.sum(way**2) for way in ways])


def value_and_gradient(regularizer, params):
    params = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(params)
        value = regularizer(params)
    return float(value), np.array(tape.gradient(value, params))


@families
def test_outside_is_the_hinge_beyond_the_border(name):
    family = VECTORS[name]()
    params = params_of(family, 3)
    expected = 0.7 * np.mean([outside(family, row) for row in params])
    assert float(Outside(family, 0.7)(params)) == pytest.approx(expected, abs=ATOL)
    assert expected > 1e-4


@families
def test_near_identity_is_the_squared_way_of_the_corners(name):
    family = VECTORS[name]()
    params = params_of(family, 3)
    expected = 0.7 * np.mean([from_identity(family, row) for row in params])
    assert float(NearIdentity(family, 0.7)(params)) == pytest.approx(expected, rel=1e-5, abs=ATOL)
    assert expected > 1e-4


@pytest.mark.parametrize(
    ("regularizer", "name"),
    [
        *((NearIdentity, name) for name in VECTORS),  # polar coordinates reach beyond the image
        *((Outside, name) for name, make in VECTORS.items() if make().has_identity),
    ],
)
def test_identity_pays_nothing(regularizer, name):
    family = VECTORS[name]()
    value, _ = value_and_gradient(
        regularizer(family, 1.0), np.array([family.identity_params], "float32")
    )
    assert value <= 1e-12  # roundings, squared


@families
@both
def test_gradient_is_that_of_finite_differences(regularizer, name):
    family = VECTORS[name]()
    params = params_of(family, 2, within=0.4, dtype="float64")
    penalty = regularizer(family, 1.0)
    _, gradient = value_and_gradient(penalty, params)
    for place in list(np.ndindex(params.shape))[:: max(params.size // 8, 1)]:
        step = np.zeros_like(params)
        step[place] = 1e-6
        slope = (float(penalty(params + step)) - float(penalty(params - step))) / 2e-6
        # 1e-16 / 1e-6 of rounding; a point may cross the border within the step: 1 of 64, or of 512.
        assert gradient[place] == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert np.abs(gradient).max() > 1e-3


LOST = [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e5, -1e5, -3.0, 0.0]


@families
@both
def test_lost_map_makes_no_nan_and_moves_no_other(regularizer, name):
    family = VECTORS[name]()
    penalty, params = regularizer(family, 1.0), params_of(family, 2)
    _, alone = value_and_gradient(penalty, params)
    for number in LOST:
        for which in (family.num_params // 2, slice(None)):
            bad = np.array(params)
            bad[0, which] = number
            value, gradient = value_and_gradient(penalty, bad)
            assert np.isfinite(value), (number, which)
            assert np.isfinite(gradient).all(), (number, which)
            np.testing.assert_array_equal(gradient[1], alone[1])
            if not np.isfinite(number):
                np.testing.assert_array_equal(gradient[0], np.zeros(family.num_params))


@both
def test_nan_params_pay_nothing(regularizer):
    params = params_of(transforms.get("affine"), 2, within=0.6)
    whole, half = regularizer("affine", 1.0)(params[1:]), np.array(params)
    half[0, 3] = np.nan
    assert float(regularizer("affine", 1.0)(half)) == pytest.approx(float(whole) / 2, rel=1e-6)


@both
def test_several_maps_of_an_image_count_as_many(regularizer):
    params = params_of(transforms.get("affine"), 6)
    penalty = regularizer("affine", 0.3)
    several = float(penalty(params.reshape(2, 3, 6)))
    assert several == pytest.approx(float(penalty(params)), rel=1e-6)


@both
@pytest.mark.parametrize("name", ["displacement", "velocity"])
def test_fields_are_refused_with_what_to_use(regularizer, name):
    with pytest.raises(ValueError, match="transform must be a family.*keras.regularizers.L2"):
        regularizer(name, 1.0)


@both
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("afine", 1.0), "transform must be one of .* Did you mean 'affine'?"),
        (("affine", -1.0), "strength must be a number of 0 or above. Received: strength=-1.0"),
        (("affine", np.nan), "strength must be a number of 0 or above"),
    ],
)
def test_invalid_argument(regularizer, arguments, message):
    with pytest.raises(ValueError, match=message):
        regularizer(*arguments)


@both
def test_regularizer_is_the_same_after_serialization(regularizer):
    penalty = regularizer(transforms.Similarity(aspect_ratio=0.5), 0.3)
    again = keras.regularizers.deserialize(keras.regularizers.serialize(penalty))
    params = params_of(penalty.transform, 3)
    assert type(again) is regularizer
    assert again.get_config() == penalty.get_config()
    assert float(again(params)) == float(penalty(params))


class _Ones(keras.regularizers.Regularizer):
    def __call__(self, x):
        return tf.constant(1.0)


@both
def test_localization_takes_it_as_activity_regularizer_and_is_saved_with_it(regularizer, tmp_path):
    images = np.random.default_rng(0).random((4, 7, 5, 1), "float32")
    inputs = keras.Input((7, 5, 1))
    penalty = regularizer("affine", 0.5)
    layer = keras_stn.Localization("dense", activity_regularizer=penalty)
    model = keras.Model(inputs, layer(inputs))
    layer.head.kernel.assign(keras.random.normal(layer.head.kernel.shape, stddev=0.3))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    # Versions of Keras differ in whether they divide by the batch size, for any regularizer.
    plain = keras.layers.Dense(1, activity_regularizer=_Ones())
    plain(np.ones((4, 1), "float32"))
    for each in (model, again):
        (loss,) = (each(images), each.losses)[1]
        expected = float(penalty(each(images))) * float(plain.losses[0])
        assert float(loss) == pytest.approx(expected, rel=1e-6)
        assert expected > 1e-4


def test_outside_brings_back_what_looks_away():
    params = tf.Variable([[1.6, 0.9, -0.7], [0.5, -1.5, 0.0]])  # an attention
    optimizer = keras.optimizers.SGD(0.5)
    penalty = Outside("attention", 1.0)
    before = keras_stn.metrics.share_outside("attention", params)
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = penalty(params)
        optimizer.apply([tape.gradient(loss, params)], [params])
    assert before.min() > 0.5
    # It does not see the outermost of 16 points an axis, which are further out than those of 8.
    assert keras_stn.metrics.share_outside("attention", params).max() < 0.15
