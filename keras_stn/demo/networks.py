"""The networks of the demonstration: a classifier, and the same one behind a spatial transformer."""

import keras

from keras_stn.demo.poses import CANVAS
from keras_stn.layers import SpatialTransformer

UNITS = 32


def build_model(units: int = UNITS) -> keras.Model:
    """image (40, 40, 1) -> params of an affine map, the digit as it is warped, scores of ten classes."""
    image = keras.Input((CANVAS, CANVAS, 1), name="image")
    # What a first look leaves of a turn, a second one undoes.
    transformer = SpatialTransformer(recurrences=2, data_format="channels_last", name="transformer")
    params = transformer.localize(image)
    warped = transformer.warp(image, params)
    outputs = {"params": params, "warped": warped, "scores": _classify(warped, units)}
    return keras.Model(image, outputs, name="digits")


def build_plain_model(units: int) -> keras.Model:
    """image (40, 40, 1) -> scores of ten classes."""
    image = keras.Input((CANVAS, CANVAS, 1), name="image")
    return keras.Model(image, {"scores": _classify(image, units)}, name="plain")


def units_for(parameters: int) -> int:
    """The width of the plain network's dense layer that brings it closest to `parameters`."""
    one, two = (build_plain_model(units).count_params() for units in (1, 2))
    return 1 + round((parameters - one) / (two - one))


def _classify(images, units):
    stack = [
        keras.layers.Conv2D(8, 5, strides=2, activation="relu", data_format="channels_last"),
        keras.layers.Conv2D(16, 3, activation="relu", data_format="channels_last"),
        keras.layers.MaxPooling2D(data_format="channels_last"),
        keras.layers.Flatten(data_format="channels_last"),
        keras.layers.Dense(units, activation="relu"),
        keras.layers.Dense(10),
    ]
    return keras.Sequential(stack, name="classifier")(images)
