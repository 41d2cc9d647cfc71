"""The layers and functions behave as Keras' own: shapes, names, weights, symbolic tensors, arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import GRID, IMAGES, LAYERS, MODELS, SOME, THETA, call, one_or_list, sequential

from keras_stn import Localization, SpatialTransformer, Warp, localization, ops, transforms


def symbols(case):
    return [keras.KerasTensor((None, *x.shape[1:]), x.dtype.name) for x in case.inputs]


# --- Shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_output_shape_is_known_before_the_layer_is_built(case):
    layer = case.make()
    shapes = one_or_list([(None, *x.shape[1:]) for x in case.inputs])
    expected = (None, *call(case.make(), case.inputs).shape[1:])
    assert tuple(layer.compute_output_shape(shapes)) == expected


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_symbolic_call_agrees_with_the_output(case):
    made = case.make()
    symbol, outputs = call(made, symbols(case)), call(made, case.inputs)
    assert isinstance(symbol, keras.KerasTensor)
    assert (symbol.shape, symbol.dtype) == ((None, *outputs.shape[1:]), outputs.dtype.name)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_model_output_is_what_predict_returns(case):
    model = case.model()
    outputs = model.predict(one_or_list(case.inputs), verbose=0)
    # 1e-5: networks are fused and reordered inside predict; warps follow the params.
    np.testing.assert_allclose(outputs, call(model, case.inputs), rtol=1e-5, atol=1e-5)
    assert model.output_shape == (None, *outputs.shape[1:])


# --- What goes in ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SOME, ids=str)
def test_arrays_and_tensors_give_the_same_bits(case):
    model = case.make()
    of_arrays = call(model, case.inputs)
    np.testing.assert_array_equal(call(model, [tf.constant(x) for x in case.inputs]), of_arrays)
    np.testing.assert_array_equal(call(model, [tf.Variable(x) for x in case.inputs]), of_arrays)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_inputs_are_not_changed(case):
    inputs = [x.copy() for x in case.inputs]
    call(case.make(), inputs)
    for x, before in zip(inputs, case.inputs, strict=True):
        np.testing.assert_array_equal(x, before)


def test_float64_arrays_are_taken_by_a_float32_layer():
    """NumPy's arrays are float64 if nobody cares; Keras layers cast them."""
    images, params = IMAGES.astype("float64"), np.array([[0.5, 0.25], [0.0, -0.5]])
    assert SpatialTransformer(sequential())(images).dtype == "float32"
    assert Warp("translation")([images, params]).dtype == "float32"


def test_warp_takes_a_tuple_as_well_as_a_list():
    params = np.array([[0.5, 0.25], [0.0, -0.5]], "float32")
    warp = Warp("translation")
    np.testing.assert_array_equal(warp((IMAGES, params)), warp([IMAGES, params]))


# --- Functions in a Functional model ---------------------------------------------------------------


def _functional():
    images, theta = keras.Input(IMAGES.shape[1:]), keras.Input((2, 3))
    grid = ops.affine_grid(theta, (4, 6), align_corners=True)
    sampled = ops.grid_sample(images, grid, "bicubic", "mirror", align_corners=True)
    return keras.Model([images, theta], sampled)


def test_functions_on_symbolic_tensors_compute_what_they_compute_on_arrays(tmp_path):
    model = _functional()
    grid = ops.affine_grid(THETA, (4, 6), align_corners=True)
    expected = ops.grid_sample(IMAGES, grid, "bicubic", "mirror", align_corners=True)
    np.testing.assert_array_equal(model([IMAGES, THETA]), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded([IMAGES, THETA]), expected)


def test_function_takes_a_symbolic_and_a_concrete_tensor_together(tmp_path):
    """A fixed grid, for instance, beside the images of a model."""
    images = keras.Input(batch_shape=IMAGES.shape)
    model = keras.Model(images, ops.grid_sample(images, GRID))
    model.save(tmp_path / "model.keras")
    expected = ops.grid_sample(IMAGES, GRID)
    np.testing.assert_array_equal(model(IMAGES), expected)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(IMAGES), expected)


def test_functions_on_symbolic_tensors_are_trained_through():
    model = _functional()
    with tf.GradientTape() as tape:
        inputs = [tf.Variable(IMAGES), tf.Variable(THETA)]
        loss = tf.reduce_sum(model(inputs) ** 2)
    assert all(np.abs(gradient).max() > 0 for gradient in tape.gradient(loss, inputs))


# --- Names, weights, policies ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (SpatialTransformer, "spatial_transformer"),
        (Localization, "localization"),
        (Warp, "warp"),
    ],
)
def test_layers_are_named_as_keras_names_layers(layer, name):
    keras.backend.clear_session()
    assert [layer().name, layer().name, layer(name="mine").name] == [name, f"{name}_1", "mine"]


def test_two_transformers_stand_in_one_model_without_names():
    model = keras.Sequential([keras.Input((7, 5, 3)), SpatialTransformer(), SpatialTransformer()])
    assert len({weight.path for weight in model.weights}) == len(model.weights)


NETWORK_WEIGHTS = {
    "heatmap": 3 * 5 + 2,
    "resized_conv": 8,
    "conv": 6,
    "dense": 6,
    "strided_conv": 4 * 6 + 2 + 6,
    "field_conv": 8,
    "volume_conv": 8,
}


def shape_for(network):
    """Of images that a network of that name takes."""
    return (2, 9, 33, 34, 3) if network == "volume_conv" else (2, 33, 34, 3)


@pytest.mark.parametrize("name", localization.BUILDERS)
def test_weights_are_the_networks_and_a_kernel_and_bias_of_the_head(name):
    _, *shape = shape_for(name)
    family = transforms.Similarity(ndim=len(shape) - 1)
    family = transforms.Displacement() if name == "field_conv" else family
    layer = SpatialTransformer(name, family, name="stn")
    layer.build((None, *shape))
    *network, kernel, bias = layer.weights
    assert len(network) == NETWORK_WEIGHTS[name]
    assert network == layer.localization.network.weights
    assert (kernel.path, bias.path) == (
        "stn/stn_localization/params/kernel",
        "stn/stn_localization/params/bias",
    )
    features = layer.localization.network.output_shape[-1]
    assert (kernel.shape, bias.shape) == ((features, family.num_params), (family.num_params,))
    assert all(weight.path.startswith("stn/stn_localization/") for weight in layer.weights)


def test_warp_has_no_weights():
    warp = Warp()
    call(warp, (IMAGES, np.zeros((2, 6), "float32")))
    assert warp.weights == []


@pytest.mark.parametrize("case", [case for case in SOME if case in LAYERS], ids=str)
def test_calling_again_makes_no_new_weights(case):
    layer = case.make()
    call(layer, case.inputs)
    weights = list(layer.weights)
    call(layer, case.inputs)
    call(layer, symbols(case))
    assert len(layer.weights) == len(weights)
    assert all(ours is theirs for ours, theirs in zip(layer.weights, weights, strict=True))


@pytest.mark.parametrize("case", [case for case in SOME if case in LAYERS], ids=str)
def test_build_makes_the_weights_that_a_call_makes(case):
    built, called = case.make(), case.make()
    built.build(one_or_list([(None, *x.shape[1:]) for x in case.inputs]))
    call(called, case.inputs)
    assert [w.shape for w in built.weights] == [w.shape for w in called.weights]
    assert built.built


@pytest.mark.parametrize("make", [SpatialTransformer, Localization, Warp])
def test_dtype_policy_is_in_the_config(make):
    config = make(dtype="mixed_bfloat16").get_config()
    assert config["dtype"]["config"] == {"name": "mixed_bfloat16"}
    assert make.from_config(config).dtype_policy.name == "mixed_bfloat16"


@pytest.mark.parametrize("make", [SpatialTransformer, Localization, Warp])
def test_common_layer_arguments_are_kept(make):
    config = make(name="mine", trainable=False).get_config()
    again = make.from_config(config)
    assert (again.name, again.trainable) == ("mine", False)


@pytest.mark.parametrize("name", localization.BUILDERS)
def test_global_data_format_changes_no_network(name):
    """A network sees channels_last images, whatever Keras' setting was when it was made."""
    images = np.random.default_rng(0).normal(size=shape_for(name)).astype("float32")
    network = localization.BUILDERS[name]()
    network.build(images.shape)
    keras.config.set_image_data_format("channels_first")
    other = localization.BUILDERS[name]()
    other.build(images.shape)
    other.set_weights(network.get_weights())
    np.testing.assert_array_equal(other(images), network(images))


def test_summary_shows_the_output_shape(capsys):
    model = keras.Sequential([keras.Input((7, 5, 3)), SpatialTransformer(output_size=(4, 9))])
    model.summary()
    assert "(None, 4, 9, 3)" in capsys.readouterr().out
