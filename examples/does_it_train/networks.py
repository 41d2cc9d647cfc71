"""The networks: classifiers, and the transformers that stand before them."""

import keras
import numpy as np
import polar

from keras_stn import SpatialTransformer
from keras_stn.benchmark.contenders import textbook
from keras_stn.localization import BUILDERS

layers = keras.layers
UNITS = 64  # of the dense layer behind a transformer


class Textbook(SpatialTransformer):
    """The transformer that is copied from page to page: grid by a matmul, four `tf.gather_nd`."""

    def call(self, images, training=None):
        return textbook(images, self.localize(images, training), self.warp.output_size)


class Centred(SpatialTransformer):
    """A read about what is found: its params, a place, start as the mean of the centroids of `heatmap`.

    A head that starts at zero lets no gradient through to the heat maps before it has learned something
    itself. Maps that start flat have their centroids in the middle, where the digit is rarely: the
    classifier gets nothing to learn from. After three epochs of `scaled` it misreads 87.6 % behind them,
    and 37.5 % behind maps whose scores start five times as large. As the origin of a polar read: Esteves
    et al., "Polar Transformer Networks" (2017).
    """

    def build(self, input_shape):
        super().build(input_shape)
        kernel = self.localization.head.kernel  # (2 * maps, 2): x and y of each map in turn
        centroids = self.localization.network.layers[-1]
        kernel.assign(np.tile(np.eye(2) / (centroids.maps * centroids.scale), (centroids.maps, 1)))
        centroids.scores.kernel.assign(5 * centroids.scores.kernel)


def pytorch_tutorial() -> keras.Sequential:
    """The localization network of PyTorch's tutorial on spatial transformers; its head is affine."""
    return keras.Sequential(
        [
            layers.Conv2D(8, 7, data_format="channels_last"),
            layers.MaxPooling2D(data_format="channels_last"),
            layers.ReLU(),
            layers.Conv2D(10, 5, data_format="channels_last"),
            layers.MaxPooling2D(data_format="channels_last"),
            layers.ReLU(),
            layers.Flatten(data_format="channels_last"),
            layers.Dense(32, activation="relu"),
        ],
        name="pytorch_tutorial",
    )


# What a config names beside what the package knows itself.
LAYERS = {"SpatialTransformer": SpatialTransformer, "textbook": Textbook, "centred": Centred}
NETWORKS = {"pytorch_tutorial": pytorch_tutorial}


def transformer(arguments: dict, output_size: tuple[int, int]) -> SpatialTransformer:
    """The layer of a config: arguments of `SpatialTransformer`, and "layer" where it is another."""
    arguments = {"output_size": output_size, "data_format": "channels_last", **arguments}
    arguments = {name: value for name, value in arguments.items() if name not in ("classifier", "told")}
    for name, value in arguments.items():
        # Such as a family with arguments, as Keras serializes it.
        if isinstance(value, dict) and "class_name" in value:
            arguments[name] = keras.saving.deserialize_keras_object(value)
    network = arguments.get("localization")
    if isinstance(network, str) and network in NETWORKS:
        arguments["localization"] = NETWORKS[network]()
    elif isinstance(network, dict) and "name" in network:  # of the package's own, with its arguments
        arguments["localization"] = BUILDERS[network["name"]](
            **{argument: value for argument, value in network.items() if argument != "name"}
        )
    return LAYERS[arguments.pop("layer", "SpatialTransformer")](**arguments)


def small(units: int, active=lambda: [layers.ReLU()]) -> list[keras.layers.Layer]:
    """Images to logits (n, 10). `active` makes the activation of each hidden layer."""
    return [
        layers.Conv2D(16, 5, data_format="channels_last"),
        *active(),
        layers.MaxPooling2D(data_format="channels_last"),
        layers.Conv2D(32, 3, data_format="channels_last"),
        *active(),
        layers.MaxPooling2D(data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(units),
        *active(),
        layers.Dense(10),
    ]


def normalized(units: int) -> list[keras.layers.Layer]:
    """The small one with batch normalization: it lives at rates at which the units of that one die.

    An epoch may have 60 steps. With Keras' momentum of 0.99 the averages are still so far behind after
    six of them that 88 % are misread.
    """
    return small(units, lambda: [layers.BatchNormalization(momentum=0.9), layers.ReLU()])


CLASSIFIERS = {"small": small, "normalized": normalized, "polar": polar.classifier}


def behind(
    arguments: dict, kind: str, size: int, output_size: tuple[int, int], poses: dict | None = None
):
    """A model of a transformer and a classifier, and the transformer alone.

    The classifier is that of `arguments`, as a config has them, or else one of `kind`.
    """
    front = transformer(arguments, output_size)
    return model(size, [front, *CLASSIFIERS[arguments.get("classifier", kind)](UNITS)], poses), front


def plain(kind: str, size: int, units: int, poses: dict | None = None) -> keras.Model:
    return model(size, CLASSIFIERS[kind](units), poses)


def model(size: int, stack: list[keras.layers.Layer], poses: dict | None = None) -> keras.Model:
    """Images (n, size, size, 1) through `stack`, in training in random poses where there are `poses`."""
    posed = [] if poses is None else [polar.Posed(**poses)]
    return keras.Sequential([keras.Input((size, size, 1)), *posed, *stack])


def units_for(kind: str, size: int, weights: int) -> int:
    """The width of the plain classifier's dense layer that brings it closest to `weights`."""
    one, two = (plain(kind, size, units).count_params() for units in (1, 2))
    return max(1, 1 + round((weights - one) / (two - one)))
