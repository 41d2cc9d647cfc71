"""`Warp` and `SpatialTransformer`: what they add to the sampler."""

import keras
import numpy as np
import pytest

import keras_stn
from keras_stn import Localization, SpatialTransformer, Warp, ops
from keras_stn._checks import FILL_MODES, INTERPOLATIONS

RNG = np.random.default_rng(0)
IMAGES = RNG.random((2, 5, 8, 3), "float32")
# Odd numbers, so that no point falls halfway between two pixels, where rounding decides for nearest.
PARAMS = np.float32([[1.13, -0.41, 0.33, 0.37, 0.91, -0.17], [0.53, 0.29, -0.61, -0.43, 1.21, 0.11]])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_warp_is_grid_sample_on_the_affine_grid(interpolation, fill_mode, align_corners):
    arguments = {"interpolation": interpolation, "fill_mode": fill_mode, "fill_value": [0.2, 0.4, 0.6]}
    arguments |= {"align_corners": align_corners}
    warped = Warp(output_size=(6, 4), **arguments)([IMAGES, PARAMS])
    grid = ops.affine_grid(PARAMS.reshape(2, 2, 3).astype("float64"), (6, 4), align_corners)
    expected = ops.grid_sample(IMAGES.astype("float64"), grid, **arguments)
    error = np.max(np.abs(warped.numpy() - expected.numpy()))
    assert error <= 1e-5  # float32 coordinates of up to 10 pixels


def test_a_transformer_is_localization_and_warp_in_a_row():
    layer = SpatialTransformer("dense", "similarity", (6, 4), fill_mode="reflect")
    layer.build(IMAGES.shape)
    layer.localization.head.kernel.assign(RNG.normal(size=(32, 4)))
    params = layer.localization(IMAGES)
    in_a_row = Warp("similarity", (6, 4), fill_mode="reflect")([IMAGES, params])
    assert np.array_equal(layer(IMAGES), in_a_row)


def test_params_of_a_functional_model_are_at_hand():
    images = keras.Input((5, 8, 3))
    params = Localization("dense", "attention")(images)
    model = keras.Model(images, [Warp("attention")([images, params]), params])
    warped, params = model.predict(IMAGES, verbose=0)
    assert np.array_equal(warped, IMAGES)
    assert params.tolist() == [[1, 0, 0]] * 2


@pytest.mark.parametrize("output_size", [None, (6, 4)])
def test_channels_first_is_channels_last_transposed(output_size):
    first = Warp(output_size=output_size, fill_value=(1, 2, 3), data_format="channels_first")
    last = Warp(output_size=output_size, fill_value=(1, 2, 3))
    warped = first([IMAGES.transpose(0, 3, 1, 2), PARAMS])
    assert np.array_equal(warped, last([IMAGES, PARAMS]).numpy().transpose(0, 3, 1, 2))


def test_data_format_follows_keras_setting():
    keras.config.set_image_data_format("channels_first")
    layer = SpatialTransformer("dense", output_size=(6, 4))
    assert layer(IMAGES.transpose(0, 3, 1, 2)).shape == (2, 3, 6, 4)


def test_the_model_of_the_readme_trains():
    digits = RNG.random((16, 40, 40, 1), "float32")
    labels = RNG.integers(0, 10, 16)
    model = keras.Sequential(
        [
            keras.Input((40, 40, 1)),
            keras_stn.SpatialTransformer(),
            keras.layers.Conv2D(4, 5, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    history = model.fit(digits, labels, epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert np.max(np.abs(model.layers[0].localization.head.kernel)) > 0
