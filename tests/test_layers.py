"""`Warp` and `SpatialTransformer`: what they add to the sampler."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import Localization, SpatialTransformer, Warp, ops
from keras_stn.sampler import BORDERS as FILL_MODES
from keras_stn.sampler import KERNELS as INTERPOLATIONS

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


# --- Labels -----------------------------------------------------------------------------------------

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "int32", "uint32", "int64")


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_keep_their_dtype_and_their_values(dtype, policy):
    """In floats of the layer's dtype 72 labels of 400 were others at the identity under bfloat16."""
    highest = min(np.iinfo(dtype).max, 400) if dtype != "bool" else 1
    labels = np.random.default_rng(0).integers(0, highest + 1, (2, 7, 5, 1)).astype(dtype)
    flip = np.array([[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]], "float32")
    layer = Warp("affine", interpolation="nearest", fill_value=1.0, dtype=policy)
    symbols = keras.Input((7, 5, 1), dtype=dtype), keras.Input((6,))
    model = keras.Model(list(symbols), layer(list(symbols)))
    assert model.output.dtype == dtype
    compiled = tf.function(lambda *inputs: layer(list(inputs)), jit_compile=True)
    for warped in (layer([labels, flip]), model([labels, flip]), compiled(labels, flip)):
        assert warped.dtype == dtype
        np.testing.assert_array_equal(warped[0], labels[0])
        np.testing.assert_array_equal(warped[1], labels[1, ::-1, ::-1])


def test_labels_that_a_layer_cannot_take_are_told_how_to_be_warped():
    labels, params = np.zeros((2, 7, 5, 1), "int32"), np.zeros((2, 6), "float32")
    with pytest.raises(ValueError, match=r'read labels by interpolation="nearest"; cast and scale pic'):
        Warp("affine")([labels, params])
    for layer in (SpatialTransformer(), Localization()):
        with pytest.raises(ValueError, match=r'interpolation="nearest"\)\(labels, params\)'):
            layer(labels)
    with pytest.raises(ValueError, match="fill_value must be what images of uint8 can hold, 0 to 255"):
        Warp("affine", interpolation="nearest", fill_value=300)([labels.astype("uint8"), params])


# --- Errors -----------------------------------------------------------------------------------------


def test_errors_of_arguments_are_plain_text_in_every_way_to_call():
    """Keras wrote colours of a terminal and all arguments around them."""
    images, params = np.zeros((2, 7, 5, 1), "float32"), np.zeros((2, 6), "float32")
    layer = SpatialTransformer(keras.Sequential([keras.layers.Flatten()]))
    wrong = [
        (lambda: Warp()([images.astype(int), params]), "images must be floating point"),
        (lambda: Warp()([images, np.zeros((3, 6))]), "params must have"),
        (lambda: layer(images.astype("uint8")), "images must be floating point"),
        (lambda: layer(keras.Input((7, 5, 1), dtype="uint8")), "images must be floating point"),
        (
            lambda: Warp("affine", fill_value=[1.0, 2.0])([images, np.zeros((2, 6))]),
            "fill_value must be",
        ),
    ]
    for function, message in wrong:
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            function()
        assert "\x1b" not in str(caught.value)


# --- Two ways to call a Warp -------------------------------------------------------------------------


def _pair(layer, images, params):
    return layer([images, params])


def _two(layer, images, params):
    return layer(images, params)


FORMS = pytest.mark.parametrize("form", [_pair, _two], ids=["list", "two_arguments"])


@FORMS
def test_either_form_of_a_call_trains_saves_and_exports(form, tmp_path):
    images, params = keras.Input((5, 8, 3), name="images"), keras.Input((6,), name="params")
    bent = keras.layers.Dense(6, kernel_initializer="identity")(params)
    model = keras.Model([images, params], form(Warp(output_size=(6, 4)), images, bent))
    expected = Warp(output_size=(6, 4))([IMAGES, PARAMS])
    np.testing.assert_array_equal(model([IMAGES, PARAMS]), expected)
    model.save(tmp_path / "m.keras")
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "m.keras")([IMAGES, PARAMS]), expected
    )
    assert keras_stn.export_saved_model(model, tmp_path / "m").max_error == 0
    before = model.layers[1].get_weights() + model.layers[2].get_weights()
    model.compile("sgd", "mse")
    model.fit([IMAGES, PARAMS], np.zeros((2, 6, 4, 3), "float32"), verbose=0)
    after = model.layers[1].get_weights() + model.layers[2].get_weights()
    assert any(np.any(ours != theirs) for ours, theirs in zip(before, after, strict=True))


@FORMS
def test_either_form_keeps_params_in_float32_under_mixed_precision(form):
    warped = form(Warp(dtype="mixed_float16"), IMAGES, PARAMS)
    assert warped.dtype == "float16"
    # Half a step of float16 in [0.5, 1]; params in float16 would be off by 4e-3.
    assert np.max(np.abs(warped.numpy() - Warp()([IMAGES, PARAMS]))) <= 2.0**-11


@FORMS
def test_either_form_takes_arrays_in_functions_and_by_name(form):
    expected = Warp()([IMAGES, PARAMS])
    layer = Warp()
    traced = tf.function(lambda images, params: form(layer, images, params))
    np.testing.assert_allclose(traced(IMAGES, PARAMS), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(layer(images=IMAGES, params=PARAMS), expected)


# --- Settings that change ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(5, 8), (190, 200)], ids=["small", "compiled"])
def test_a_setting_that_is_changed_holds_from_the_next_call(size):
    images = np.zeros((2, *size, 1), "float32")
    outside = np.full((2, 2), 9.0, "float32")
    layer = Warp("translation")
    assert np.all(layer(images, outside) == 0)
    layer.fill_value = 1.0
    assert np.all(layer(images, outside) == 1)
    layer.fill_mode = "nearest"
    assert np.all(layer(images, outside) == 0)
    layer.output_size = (4, 3)
    assert layer(images, outside).shape == (2, 4, 3, 1)
    layer.fill_mode = "border"
    with pytest.raises(ValueError, match="Did you mean 'nearest'"):
        layer(images, outside)


# --- localize ----------------------------------------------------------------------------------------


def _moved(layer):
    """The layer, built, with weights that are not the initial ones."""
    layer.build((None, *IMAGES.shape[1:]))
    for weight in layer.weights:
        weight.assign_add(np.random.default_rng(2).uniform(-0.1, 0.1, weight.shape))
    return layer


def test_localize_gives_the_params_that_a_call_warps_by():
    layer = _moved(SpatialTransformer("dense", "similarity", (6, 4)))
    params = layer.localize(IMAGES)
    assert (params.shape, params.dtype) == ((2, 4), "float32")
    assert np.abs(params - np.float32(layer.warp.transform.identity_params)).max() > 0.01
    np.testing.assert_array_equal(layer(IMAGES), layer.warp(IMAGES, params))


def test_localize_builds_the_layer_as_a_call_does():
    layer, called = (SpatialTransformer("dense", name="stn", trainable=False) for _ in range(2))
    layer.localize(IMAGES)
    called(IMAGES)
    assert layer.built
    head, expected = ([w.path for w in part.localization.head.weights] for part in (layer, called))
    assert head == expected  # the network's layers have Keras' running numbers
    assert layer.trainable_weights == layer.localization.trainable_weights == []


def test_localize_takes_channels_first():
    first, last = (
        _moved(SpatialTransformer("dense", data_format=data_format))
        if data_format == "channels_last"
        else SpatialTransformer("dense", data_format=data_format)
        for data_format in ("channels_first", "channels_last")
    )
    first.build((None, 3, 5, 8))
    first.set_weights(last.get_weights())
    np.testing.assert_array_equal(first.localize(IMAGES.transpose(0, 3, 1, 2)), last.localize(IMAGES))


def test_localize_hands_training_on():
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dropout(0.5)])
    layer = _moved(SpatialTransformer(network))
    still = layer.localize(IMAGES)
    np.testing.assert_array_equal(layer.localize(IMAGES, training=False), still)
    assert np.any(layer.localize(IMAGES, training=True) != still)


def test_rounds_of_two_transformers_stand_in_one_functional_model_and_load(tmp_path):
    """Names in a Functional model are unique, and both localizations were named `localization`."""
    one, two = (_moved(SpatialTransformer("dense", "similarity")) for _ in range(2))
    images = keras.Input(IMAGES.shape[1:])
    params = one.localize(images)
    for _ in range(2):
        again = two.localize(one.warp(images, params))
        params = one.warp.transform.compose(params, again)
    model = keras.Model(images, [params, one.warp(images, params), two(images)])
    in_steps = one.localize(IMAGES)
    for _ in range(2):
        again = two.localize(one.warp(IMAGES, in_steps))
        in_steps = one.warp.transform.compose(in_steps, again)
    expected = [in_steps, one.warp(IMAGES, in_steps), two(IMAGES)]
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert len(loaded.weights) == len(model.weights) == len(one.weights) + len(two.weights)
    for made in (model, loaded):
        for have, want in zip(made(IMAGES), expected, strict=True):
            np.testing.assert_array_equal(have, want)
    again = loaded.get_layer(two.name)
    np.testing.assert_array_equal(again.localize(IMAGES), two.localize(IMAGES))
