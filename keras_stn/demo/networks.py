"""The networks of the demonstration: a classifier, and the same one behind a spatial transformer."""

import keras

from keras_stn.demo.poses import CANVAS
from keras_stn.layers import SpatialTransformer
from keras_stn.localization import heatmap

UNITS = 32


def build_model(units: int = UNITS, transformer: bool = True) -> keras.Sequential:
    """Images (batch, 40, 40, 1) to scores of ten classes; the transformer is its first layer."""
    layers = keras.layers
    front = []
    if transformer:
        # A network that is told what to say needs no brakes: with a scale of 1 turns correlate better by
        # 0.01, and without batch normalization a step takes 33 ms instead of 45.
        network = heatmap((CANVAS, CANVAS), scale=1.0, batch_norm=False)
        # What a first look leaves of a turn, a second one undoes.
        front = [SpatialTransformer(network, recurrences=2, jitter=0.07, data_format="channels_last")]
    classifier = [
        layers.Conv2D(8, 5, strides=2, activation="relu", data_format="channels_last"),
        layers.Conv2D(16, 3, activation="relu", data_format="channels_last"),
        layers.MaxPooling2D(data_format="channels_last"),
        layers.Flatten(data_format="channels_last"),
        layers.Dense(units, activation="relu"),
        layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((CANVAS, CANVAS, 1)), *front, *classifier])


def units_for(parameters: int) -> int:
    """The width of the plain network's dense layer that brings it closest to `parameters`."""
    one, two = (build_model(units, transformer=False).count_params() for units in (1, 2))
    return 1 + round((parameters - one) / (two - one))


def opened(model: keras.Sequential) -> keras.Model:
    """`model`, of the same layers, to the params of its map, the digit as it is warped, and scores."""
    image = keras.Input((CANVAS, CANVAS, 1), name="image")
    transformer, *classifier = model.layers
    params = transformer.localize(image)
    scores = warped = transformer.warp(image, params)
    for layer in classifier:
        scores = layer(scores)
    return keras.Model(image, {"params": params, "warped": warped, "scores": scores}, name="digits")
