"""Models that share parts: each loads to its very numbers and number of weights, or saving refuses.

A graph shares the layer's params, a network, a head or a backbone between two places of one model; most
are what README and docstrings suggest. Equality is exact: the same operations run on the same machine.
"""

import keras
import numpy as np
import pytest
from cases import scramble

from keras_stn import Localization, SpatialTransformer, Warp

layers = keras.layers
SIZE = (7, 5, 2)
IMAGES = np.random.default_rng(0).random((2, *SIZE)).astype("float32")


@keras.saving.register_keras_serializable(package="shared_parts")
class MadeInBuild(layers.Layer):
    """A network whose layers are made when it is built."""

    def build(self, input_shape):
        self.convolution = layers.Conv2D(3, 3, activation="tanh")
        self.convolution.build(input_shape)
        self.pool = layers.GlobalAveragePooling2D()

    def call(self, images):
        return self.pool(self.convolution(images))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3)


@keras.saving.register_keras_serializable(package="shared_parts")
class NestedLists(layers.Layer):
    """A network that keeps its layers in lists of lists."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [[layers.Conv2D(3, 3), layers.ReLU()], [layers.GlobalMaxPooling2D()]]

    def build(self, shape):
        for block in self.blocks:
            for layer in block:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)

    def call(self, x):
        for block in self.blocks:
            for layer in block:
                x = layer(x)
        return x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3)


@keras.saving.register_keras_serializable(package="shared_parts")
class WithoutItsName(NestedLists):
    """A network whose config has no name, and which keeps its layers in dictionaries as well."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.last = {"dense": [keras.layers.Dense(units)]}

    def build(self, shape):
        super().build(shape)
        self.last["dense"][0].build((None, 3))

    def call(self, x):
        return self.last["dense"][0](super().call(x))

    def get_config(self):
        return {"units": 3, "trainable": self.trainable}


@keras.saving.register_keras_serializable(package="shared_parts")
class Around(layers.Layer):
    """A user's network around a backbone."""

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        self.backbone, self.dense = backbone, layers.Dense(3)

    def build(self, shape):
        if not self.backbone.built:
            self.backbone.build(shape)
        self.dense.build(self.backbone.compute_output_shape(shape))

    def call(self, images):
        return self.dense(self.backbone(images))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3)

    def get_config(self):
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {**super().get_config(), "backbone": backbone}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


def _input():
    return keras.Input(SIZE)


def _sequential():
    return keras.Sequential([layers.Conv2D(3, 3, activation="tanh"), layers.GlobalMaxPooling2D()])


def _functional():
    images = _input()
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(images))
    return keras.Model(images, layers.Dense(3)(x))


NETWORKS = {
    "default": lambda: None,
    "conv": lambda: "conv",
    "dense": lambda: "dense",
    "sequential": _sequential,
    "functional": _functional,
    "made_in_build": MadeInBuild,
    "nested_lists": NestedLists,
    "without_its_name": WithoutItsName,
    "around_another": lambda: Around(_sequential()),
    "models_in_a_model": lambda: keras.Sequential([_sequential(), keras.Sequential([layers.Dense(3)])]),
}
USERS = list(NETWORKS)[3:]  # objects, which can stand elsewhere as well


def _params_as_output(network, layer_first):
    images, layer = _input(), SpatialTransformer(network, "similarity")
    if layer_first:
        warped, params = layer(images), layer.localization(images)
    else:
        params, warped = layer.localization(images), layer(images)
    return images, [warped, params]


def _mask(network, layer_first):
    images, (warped, params) = _params_as_output(network, layer_first)
    mask = layers.Conv2D(1, 1)(images)
    return images, [warped, Warp("similarity", interpolation="nearest")([mask, params])]


def _own_warp(network, layer_first):
    images, layer = _input(), SpatialTransformer(network, "similarity")
    warped = layer(images)
    return images, [warped, layer.warp([images, layer.localization(images)])]


def _network_and_head(network, layer_first):
    images, layer = _input(), SpatialTransformer(network, "similarity")
    warped = layer(images)
    features = layer.localization.network(images)
    return images, [warped, features, layer.localization.head(features)]


def _one_localization_in_two(network, layer_first):
    images, localization = _input(), Localization(network, "similarity")
    return images, [
        SpatialTransformer(localization, "similarity", fill_mode=mode)(images)
        for mode in ("constant", "wrap")
    ]


def _inside_another_model(network, layer_first):
    images, inside, layer = _input(), _input(), SpatialTransformer(network, "similarity")
    inner = keras.Model(inside, layers.Conv2D(2, 1)(layer(inside)))
    params = layer.localization(images)
    return images, [inner(images), params]


def _backbone(network, layer_first):
    images, localization = _input(), Localization(network, "similarity")
    first = [] if layer_first else [network(images)]
    params = localization(images)
    warped = Warp("similarity")([images, params])
    return images, [layers.Dense(3)(network(warped)), params, *first]


def _network_of_two(network, layer_first):
    images = _input()
    warped = SpatialTransformer(network, "similarity")(images)
    return images, [warped, SpatialTransformer(network, "attention")(warped)]


def _network_in_a_network(network, layer_first):
    images, longer = _input(), keras.Sequential([network, layers.Dense(3)])
    both = SpatialTransformer(network, "similarity"), SpatialTransformer(longer)
    outputs = [layer(images) for layer in (both if layer_first else both[::-1])]
    return images, outputs


def _backbone_of_a_users_layer(network, layer_first):
    images, localization = _input(), Localization(Around(network), "similarity")
    if layer_first:
        params, features = localization(images), network(images)
    else:
        features, params = network(images), localization(images)
    return images, [Warp("similarity")([images, params]), features]


def _network_of_a_users_layer(network, layer_first):
    images, around = _input(), SpatialTransformer(Around(network), "similarity")
    both = around, SpatialTransformer(network)
    return images, [layer(images) for layer in (both if layer_first else both[::-1])]


def _layer_of_two_models(network, layer_first):
    images, localization = _input(), Localization(keras.Sequential([network, layers.Dense(3)]))
    return images, [network(images), localization(images)]


def _unshared(network, layer_first):
    images = _input()
    warped = SpatialTransformer(network, "similarity")(images)
    return images, layers.Dense(2)(layers.Flatten()(warped))


def _called_twice(network, layer_first):
    images, layer = _input(), SpatialTransformer(network, "similarity")
    return images, [layer(images), layer(layers.ReLU()(images))]


def _probe_aside(network, layer_first):
    """A model of the params beside the one that is saved, as one makes to look at them."""
    images, layer = _input(), SpatialTransformer(network, "similarity")
    warped = layer(images)
    keras.Model(images, layer.localization(images))
    return images, warped


SHARING = {
    "params_as_output": _params_as_output,
    "mask": _mask,
    "own_warp": _own_warp,
    "network_and_head": _network_and_head,
    "one_localization_in_two": _one_localization_in_two,
    "inside_another_model": _inside_another_model,
}
OF_A_USERS_NETWORK = {
    "backbone": _backbone,
    "network_of_two": _network_of_two,
    "network_in_a_network": _network_in_a_network,
    "backbone_of_a_users_layer": _backbone_of_a_users_layer,
    "network_of_a_users_layer": _network_of_a_users_layer,
}
NOT_SHARING = {"unshared": _unshared, "called_twice": _called_twice, "probe_aside": _probe_aside}

GRAPHS = [
    *((graph, network, True) for graph in (SHARING | NOT_SHARING).values() for network in NETWORKS),
    *((graph, network, False) for graph in (_params_as_output, _mask) for network in NETWORKS),
    *((g, network, first) for g in OF_A_USERS_NETWORK.values() for network in USERS for first in (1, 0)),
]
# Each graph and each network once in a while; the whole table takes five times as long.
SOME = GRAPHS[::5]
# A user's network around one that stands elsewhere too: 8 weights of 6, or a file that did not load.
SOME += [
    (graph, network, True)
    for graph in (_backbone_of_a_users_layer, _network_of_a_users_layer)
    for network in ("sequential", "nested_lists", "without_its_name")
    if (graph, network, True) not in SOME
]


def _model(graph, network, layer_first):
    images, outputs = graph(NETWORKS[network](), layer_first)
    return scramble(keras.Model(images, outputs))


def _outputs(model, images=IMAGES):
    return [np.asarray(output) for output in keras.tree.flatten(model(images))]


def _assert_comes_back(model, path):
    model.save(path)
    loaded = keras.models.load_model(path)
    assert len(loaded.weights) == len(model.weights)
    for theirs, ours in zip(_outputs(loaded), _outputs(model), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    return loaded


def _name(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("graph", "network", "layer_first"), SOME, ids=_name)
def test_a_model_that_shares_parts_loads_from_a_keras_file(graph, network, layer_first, tmp_path):
    _assert_comes_back(_model(graph, network, layer_first), tmp_path / "model.keras")


@pytest.mark.long
@pytest.mark.parametrize(("graph", "network", "layer_first"), GRAPHS, ids=_name)
def test_every_model_that_shares_parts_loads_from_a_keras_file(graph, network, layer_first, tmp_path):
    _assert_comes_back(_model(graph, network, layer_first), tmp_path / "model.keras")


def test_shared_parts_are_one_object_again(tmp_path):
    model = _model(_params_as_output, "sequential", True)
    loaded = _assert_comes_back(model, tmp_path / "model.keras")
    (layer,) = (layer for layer in loaded.layers if isinstance(layer, SpatialTransformer))
    assert any(found is layer.localization for found in loaded.layers)


def test_a_loaded_model_can_be_saved_again(tmp_path):
    model = _model(_mask, "default", True)
    loaded = _assert_comes_back(model, tmp_path / "model.keras")
    _assert_comes_back(loaded, tmp_path / "again.keras")


@pytest.mark.slow
def test_a_model_that_shares_parts_is_trained_on_from_where_it_was(tmp_path):
    model = _model(_mask, "functional", False)
    model.compile("adam", "mse")
    targets = [np.zeros(output.shape) for output in _outputs(model)]
    model.fit(IMAGES, targets, verbose=0)
    loaded = _assert_comes_back(model, tmp_path / "model.keras")
    for theirs, ours in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours)


# --- What Keras does not load -----------------------------------------------------------------------


@pytest.mark.parametrize("graph", (SHARING | OF_A_USERS_NETWORK).values(), ids=_name)
def test_h5_refuses_models_that_share_weights(graph, tmp_path):
    """Loaded, they had 8 weights of 6: the format holds no sharing."""
    model = _model(graph, "sequential", True)
    with pytest.raises(
        ValueError, match=r'model must be saved as \.keras.*model\.save\("model\.keras"\)'
    ):
        model.save(tmp_path / "model.h5")


@pytest.mark.parametrize("graph", NOT_SHARING.values(), ids=_name)
@pytest.mark.parametrize("network", NETWORKS)
def test_h5_holds_models_that_share_none(graph, network, tmp_path):
    _assert_comes_back(_model(graph, network, True), tmp_path / "model.h5")


@pytest.mark.parametrize("network", ["sequential", "nested_lists"])
def test_a_layer_in_two_models_of_one_is_refused(network, tmp_path):
    """Plain Keras saves such a model and does not load it."""
    model = _model(_layer_of_two_models, network, True)
    with pytest.raises(ValueError, match="must hold each layer in one model.*call the inner model as a"):
        model.save(tmp_path / "model.keras")
    # The form that works, as the error says.
    images, inner = _input(), keras.Sequential([NETWORKS[network](), layers.Dense(3)])
    model = scramble(keras.Model(images, [inner(images), Localization(inner)(images)]))
    _assert_comes_back(model, tmp_path / "model.keras")


# --- Frozen parts in .h5 ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["network", "head", "localization"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_frozen_part_comes_back_frozen_from_an_h5_file(network, part, tmp_path):
    """Its weights were read in another order, or it came back thawed."""
    model = _model(_unshared, network, True)
    (layer,) = (layer for layer in model.layers if isinstance(layer, SpatialTransformer))
    localization = layer.localization
    frozen = localization if part == "localization" else getattr(localization, part)
    frozen.trainable = False
    loaded = _assert_comes_back(model, tmp_path / "model.h5")
    assert [w.shape for w in loaded.trainable_weights] == [w.shape for w in model.trainable_weights]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_one_frozen_layer_of_a_network_comes_back_frozen(suffix, tmp_path):
    model = _model(_unshared, "conv", True)
    (layer,) = (layer for layer in model.layers if isinstance(layer, SpatialTransformer))
    layer.localization.network.layers[1].trainable = False
    loaded = _assert_comes_back(model, tmp_path / f"model.{suffix}")
    assert [w.shape for w in loaded.trainable_weights] == [w.shape for w in model.trainable_weights]
