"""What is saved comes back: the same bits out of it, in this process and in a fresh one.

Equality is exact throughout: the same operations run on the same machine.
"""

import copy
import functools
import json
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import (
    IMAGES,
    LAYERS,
    LOCALIZATIONS,
    MODELS,
    SOME,
    SPATIAL_TRANSFORMERS,
    Bulge,
    Features,
    Scroll,
    call,
    functional,
    one_or_list,
    scramble,
    sequential,
)

from golden import make_old_models
from keras_stn import Localization, SpatialTransformer, Warp, ops, transforms


def assert_same_output(model, reloaded, inputs=(IMAGES,)):
    expected, actual = call(model, inputs), call(reloaded, inputs)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


def assert_own_weights(model, copied):
    """Equal weights in variables of its own."""
    assert [w.name for w in copied.weights] == [w.name for w in model.weights]
    for theirs, ours in zip(copied.weights, model.weights, strict=True):
        assert theirs is not ours
        np.testing.assert_array_equal(theirs, ours)


# --- Every case ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", MODELS, ids=str)
def test_keras_file_gives_the_same_output(case, tmp_path):
    model = case.model()
    model.save(tmp_path / "model.keras")
    assert_same_output(model, keras.models.load_model(tmp_path / "model.keras"), case.inputs)


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_config_is_json_and_makes_the_same_layer(case):
    layer = case.built()
    config = json.loads(json.dumps(layer.get_config()))
    before = copy.deepcopy(config)
    again = type(layer).from_config(config)
    call(again, case.inputs)
    again.set_weights(layer.get_weights())
    assert_same_output(layer, again, case.inputs)
    assert json.loads(json.dumps(again.get_config())) == before
    assert config == before, "from_config changed its argument"


# --- Every way, on a few cases ---------------------------------------------------------------------

_FEW = {
    "SpatialTransformer-users-points",
    "SpatialTransformer-users-functional",
    "SpatialTransformer-strided_conv",
    "SpatialTransformer-channels_first",
    "grid_sample-bicubic-reflect",
}
FEW = [case for case in SOME if case.id in _FEW]


def _weights_file(model, path):
    model.save_weights(path / "model.weights.h5")
    again = keras.models.clone_model(model)
    again.load_weights(path / "model.weights.h5")
    return again


def _json(model, path):
    again = keras.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    return again


def _clone(model, path):
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    return again


WAYS = {
    "weights_file": _weights_file,
    "json": _json,
    "clone_model": _clone,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, path: copy.deepcopy(model),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_model_is_copied_with_its_output(case, way, tmp_path):
    model = case.model()
    assert_same_output(model, WAYS[way](model, tmp_path), case.inputs)


LAYER_WAYS = {
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("way", LAYER_WAYS)
@pytest.mark.parametrize("case", [case for case in FEW if case in LAYERS], ids=str)
def test_built_layer_is_copied_with_its_output(case, way):
    layer = case.built()
    copied = LAYER_WAYS[way](layer)
    assert_same_output(layer, copied, case.inputs)
    assert_own_weights(layer, copied)


@pytest.mark.parametrize("way", LAYER_WAYS)
@pytest.mark.parametrize("transform", [Bulge(3), transforms.Rotation(0.7), transforms.Affine()])
def test_transform_is_copied_with_its_arguments(transform, way):
    copied = LAYER_WAYS[way](transform)
    assert type(copied) is type(transform)
    assert copied.get_config() == transform.get_config()


# --- Models of every shape -------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="conformance")
class Subclassed(keras.Model):
    """A model as a class, its layers made in `__init__`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.transformer = SpatialTransformer(sequential(), "similarity", (4, 6))
        self.classify = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])

    def call(self, images):
        return self.classify(self.transformer(images))


def _input():
    return keras.Input(IMAGES.shape[1:])


def _sequential():
    layers = [SpatialTransformer(sequential()), keras.layers.Flatten(), keras.layers.Dense(2)]
    return keras.Sequential([_input(), *layers])


def _built_by_its_first_call():
    return keras.Sequential([SpatialTransformer(), SpatialTransformer(sequential(), "attention")])


def _two_branches():
    images = _input()
    one = SpatialTransformer(functional(), "attention", (4, 5))(images)
    two = SpatialTransformer(transform="rotation", output_size=(4, 5))(images)
    return keras.Model(images, keras.layers.add([one, two]))


def _model_in_model():
    images = _input()
    inner = keras.Sequential([_input(), SpatialTransformer(sequential()), SpatialTransformer()])
    outer = keras.Sequential([_input(), inner, keras.layers.Flatten()])
    return keras.Model(images, outer(images))


def _transformer_in_a_localization_network():
    network = keras.Sequential([SpatialTransformer(sequential(), "translation"), sequential()])
    return keras.Sequential([_input(), SpatialTransformer(network)])


def _layer_shared_by_branches():
    images = _input()
    shared = SpatialTransformer(sequential())
    return keras.Model(images, keras.layers.concatenate([shared(images), shared(2 * images)]))


def _localization_shared_by_warps():
    images = _input()
    shared, warp = Localization(sequential(), "similarity"), Warp("similarity", fill_mode="wrap")
    warped = [warp([x, shared(x)]) for x in (images, 2 * images)]
    return keras.Model(images, keras.layers.concatenate(warped))


def _params_as_an_output():
    images = _input()
    params = Localization(sequential(), "similarity")(images)
    warped = Warp("similarity")([images, params])
    grid = ops.affine_grid(keras.ops.reshape(keras.layers.Dense(6)(params), (-1, 2, 3)), (3, 4))
    sampled = ops.grid_sample(warped, grid, "bicubic", "reflect")
    return keras.Model(images, keras.ops.concatenate([keras.ops.reshape(sampled, (-1, 36)), params], -1))


STRUCTURES = {
    "sequential": _sequential,
    "built_by_its_first_call": _built_by_its_first_call,
    "subclassed": Subclassed,
    "two_branches": _two_branches,
    "model_in_model": _model_in_model,
    "transformer_in_a_localization_network": _transformer_in_a_localization_network,
    "layer_shared_by_branches": _layer_shared_by_branches,
    "localization_shared_by_warps": _localization_shared_by_warps,
    "params_as_an_output": _params_as_an_output,
}


def _structure(name):
    model = STRUCTURES[name]()
    model(IMAGES)
    return scramble(model)


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_survives_a_keras_file(name, tmp_path):
    model = _structure(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_output(model, loaded)
    assert loaded.count_params() == model.count_params()


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_survives_a_weights_file(name, tmp_path):
    model = _structure(name)
    model.save_weights(tmp_path / "model.weights.h5")
    again = STRUCTURES[name]()
    again(IMAGES)
    again.load_weights(tmp_path / "model.weights.h5")
    assert_same_output(model, again)


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_survives_pickle(name):
    model = _structure(name)
    assert_same_output(model, pickle.loads(pickle.dumps(model)))


def test_layer_shared_by_branches_is_still_one_layer_after_loading(tmp_path):
    _structure("layer_shared_by_branches").save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert sum(isinstance(layer, SpatialTransformer) for layer in loaded.layers) == 1


# --- What users bring ------------------------------------------------------------------------------


def test_users_transform_comes_back_with_its_class_and_arguments(tmp_path):
    model = keras.Sequential([_input(), SpatialTransformer(sequential(), Bulge(power=5))])
    model.save(tmp_path / "model.keras")
    transform = keras.models.load_model(tmp_path / "model.keras").layers[0].warp.transform
    assert type(transform) is Bulge
    assert transform.power == 5


def test_unregistered_transform_and_network_load_through_custom_objects(tmp_path):
    class Unregistered(Scroll):
        pass

    class Network(Features):
        pass

    model = keras.Sequential([_input(), SpatialTransformer(Network(units=3), Unregistered())])
    scramble(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(
        tmp_path / "model.keras", custom_objects={"Unregistered": Unregistered, "Network": Network}
    )
    assert type(loaded.layers[0].warp.transform) is Unregistered
    assert_same_output(model, loaded)


def test_users_trained_network_keeps_its_weights_when_wrapped_and_saved(tmp_path):
    network = scramble(functional())
    features = network(IMAGES).numpy()
    model = keras.Sequential([_input(), SpatialTransformer(network)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].localization.network
    np.testing.assert_array_equal(loaded(IMAGES), features)


@pytest.mark.slow
def test_compiled_model_comes_back_compiled_with_its_optimizer(tmp_path):
    model = _structure("sequential")
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(IMAGES, np.ones((2, 2)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.iterations == 1
    assert loaded.evaluate(IMAGES, np.ones((2, 2)), verbose=0) == model.evaluate(
        IMAGES, np.ones((2, 2)), verbose=0
    )


def test_data_format_is_saved_and_not_read_from_the_setting_at_load(tmp_path):
    keras.config.set_image_data_format("channels_first")
    model = keras.Sequential([keras.Input((3, 7, 5)), SpatialTransformer("dense")])
    scramble(model)
    images = IMAGES.transpose(0, 3, 1, 2)
    model.save(tmp_path / "model.keras")
    expected = model(images)
    keras.config.set_image_data_format("channels_last")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), expected)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policy_is_saved_and_not_read_from_the_setting_at_load(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([_input(), SpatialTransformer(sequential()), SpatialTransformer()])
    scramble(model)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].dtype_policy.name == policy
    assert_same_output(model, loaded)


# --- A fresh process -------------------------------------------------------------------------------

FRESH_PROCESS = """
import sys, pathlib
import keras, numpy, keras_stn

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    data = numpy.load(path.with_suffix(".npz"))
    inputs = [data[f"input_{i}"] for i in range(len(data.files) - 1)]
    model = keras.models.load_model(path)
    actual = model(inputs if len(inputs) > 1 else inputs[0])
    numpy.testing.assert_array_equal(actual, data["expected"], err_msg=path.name, strict=True)
    print(path.stem)
"""


@pytest.mark.slow
def test_fresh_process_loads_every_model_with_no_custom_objects(tmp_path):
    """One process for all: most of the time is the import of TensorFlow."""
    cases = [case for case in MODELS if case in SPATIAL_TRANSFORMERS + LOCALIZATIONS + SOME]
    models = {case.id: (case.model(), case.inputs) for case in cases if not case.users_code}
    models |= {name: (_structure(name), (IMAGES,)) for name in STRUCTURES if name != "subclassed"}
    for name, (model, inputs) in models.items():
        model.save(tmp_path / f"{name}.keras")
        arrays = {f"input_{i}": x for i, x in enumerate(inputs)}
        np.savez(tmp_path / f"{name}.npz", expected=model(one_or_list(inputs)), **arrays)
    result = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, tmp_path], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert set(result.stdout.split()) == set(models)


# --- What is no argument ---------------------------------------------------------------------------


def _digits_model(network):
    layer = SpatialTransformer(network, "similarity", name="stn")
    features = [layer, keras.layers.Flatten(), keras.layers.Dense(3)]
    return scramble(keras.Sequential([keras.Input((16, 20, 1)), *features]))


def _frozen(model):
    return [(weight.name, weight.shape) for weight in model.non_trainable_weights]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["network", "head"])
@pytest.mark.parametrize("network", [None, "dense"])
def test_a_part_that_is_frozen_comes_back_frozen_with_the_state_of_its_optimizer(
    network, part, tmp_path, recwarn
):
    """It came back trainable, and Keras then leaves the optimizer's state out."""
    model = _digits_model(network)
    getattr(model.layers[0].localization, part).trainable = False
    model.compile("adam", "mse")
    images = np.random.default_rng(0).random((4, 16, 20, 1), "float32")
    model.fit(images, np.zeros((4, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert _frozen(again) == _frozen(model) != []
    for theirs, ours in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours)
    assert_same_output(model, again, (images,))
    assert not [warning for warning in recwarn if "optimizer" in str(warning.message)]


@pytest.mark.filterwarnings("ignore:'params' stays in float32")
def test_a_quantized_model_comes_back_and_its_params_stay_in_float32(tmp_path):
    """Keras' own int8, of dense layers: the file did not load, and params had steps of 1/127."""
    model = _digits_model("dense")
    model.quantize("int8")
    localization = model.layers[0].localization
    assert {layer.dtype_policy.name for layer in localization.network.layers if layer.weights} == {
        "int8_from_float32"
    }
    assert localization.head.kernel.dtype == "float32"
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).random((4, 16, 20, 1), "float32")
    assert_same_output(model, keras.models.load_model(tmp_path / "model.keras"), (images,))


@pytest.mark.parametrize("network", ["dense", "conv"])
def test_a_copy_by_its_config_takes_images_of_another_size(network):
    layer = SpatialTransformer(network)
    layer(np.zeros((1, 16, 20, 1), "float32"))
    again = SpatialTransformer.from_config(layer.get_config())
    assert again(np.zeros((1, 24, 18, 1), "float32")).shape == (1, 24, 18, 1)


# --- Damaged files ----------------------------------------------------------------------------------


def _damage(config):
    """Every config with one key left out, or one value of another kind."""
    for key in config:
        yield f"without {key}", {name: value for name, value in config.items() if name != key}
        if isinstance(config[key], dict):
            for what, damaged in _damage(config[key]):
                yield f"{key}: {what}", {**config, key: damaged}
        elif key not in ("name", "trainable"):  # Keras takes these as they come
            yield f"{key}=object", {**config, key: ["damaged"]}


def _use(layer, config, build_config, images):
    again = type(layer).from_config(config)
    if build_config is not None:
        again.build_from_config(build_config)
    else:
        again(images)


def _is_refused(function, what):
    try:
        function()
    except (TypeError, ValueError) as error:
        return "Tracked" not in str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return False


@pytest.mark.slow
def test_a_damaged_config_is_a_value_error_or_still_a_layer():
    """It ended in an AttributeError of a TrackedDict."""
    model = _digits_model("dense")
    layer = model.layers[0]
    images = np.zeros((1, 16, 20, 1), "float32")
    configs = [("config", layer.get_config()), ("build_config", layer.get_build_config())]
    refused = 0
    for which, config in configs:
        for what, damaged in _damage(
            json.loads(json.dumps(keras.saving.serialize_keras_object(config)))
        ):
            if which == "config":
                damage = functools.partial(_use, layer, damaged, None, images)
            else:
                damage = functools.partial(_use, layer, layer.get_config(), damaged, images)
            refused += _is_refused(damage, f"{which}, {what}")
    assert refused > 50


def test_a_network_without_its_class_name_is_named():
    layer = _digits_model("dense").layers[0]
    config = keras.saving.serialize_keras_object(layer.get_build_config())
    del config["localization"]["network"]["class_name"]
    fresh = SpatialTransformer.from_config(layer.get_config())
    with pytest.raises(ValueError, match="config of the network of a Localization must be what"):
        fresh.build_from_config(config)


# --- Models that were saved when the bias of the head held the identity -----------------------------

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


def _old(name="old"):
    return np.load(GOLDEN / "old_outputs.npz")[name]


@pytest.mark.parametrize("file", ["old.keras", "old.h5", "old_frozen.keras"])
def test_an_old_model_loads_to_its_very_outputs_and_is_saved_again(file, tmp_path):
    model = keras.models.load_model(GOLDEN / file)
    expected = _old(file.split(".")[0])
    # The same operations; on another processor, in another order of adding.
    np.testing.assert_allclose(model(make_old_models.IMAGES), expected, rtol=0, atol=1e-6)
    frozen = {layer.localization.head.trainable for layer in model.layers}
    assert frozen == ({True} if file != "old_frozen.keras" else {True, False})
    for suffix in ("keras", "h5"):
        model.save(tmp_path / f"model.{suffix}")
        again = keras.models.load_model(tmp_path / f"model.{suffix}")
        assert_same_output(model, again, (make_old_models.IMAGES,))


def test_old_weights_load_into_a_model_of_today_and_the_other_way():
    model = make_old_models.build()
    model.load_weights(GOLDEN / "old.weights.h5")
    # A bias of 1.07 and one of 1 + 0.07 differ in the last bit.
    np.testing.assert_allclose(model(make_old_models.IMAGES), _old(), rtol=0, atol=1e-6)


def test_todays_weights_load_into_an_old_model(tmp_path):
    model = scramble(make_old_models.build())
    model.save_weights(tmp_path / "model.weights.h5")
    old = keras.models.load_model(GOLDEN / "old.h5")
    old.load_weights(tmp_path / "model.weights.h5")
    expected, actual = model(make_old_models.IMAGES), old(make_old_models.IMAGES)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
