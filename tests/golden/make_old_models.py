"""Writes the old_*.* files beside this script: models saved when the bias of the head held the identity.

    python tests/golden/make_old_models.py

was run on the last commit before the head had an offset, with Keras 3.15.1 and TensorFlow 2.21.0. Later
versions must load its files, to the same outputs; run again, it would write files of today.
"""

import pathlib

import keras
import numpy as np

import keras_stn

HERE = pathlib.Path(__file__).parent
IMAGES = np.random.default_rng(0).random((2, 6, 5, 1)).astype("float32")


def build(frozen=False):
    """Two transformers, of a named network and of a user's."""
    users = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, activation="tanh")])
    layers = [
        keras_stn.SpatialTransformer("dense", "attention", name="named"),
        keras_stn.SpatialTransformer(users, name="users"),
    ]
    model = keras.Sequential([keras.Input((6, 5, 1)), *layers])
    if frozen:
        model.layers[0].localization.head.trainable = False
        model.layers[0].localization.network.trainable = False
    return model


def main():
    random = np.random.default_rng(1)
    outputs = {}
    for frozen in (False, True):
        model = build(frozen)
        for weight in model.weights:
            weight.assign(weight + random.uniform(-0.1, 0.1, weight.shape))
        name = "old_frozen" if frozen else "old"
        outputs[name] = model(IMAGES).numpy()
        model.save(HERE / f"{name}.keras")
        if not frozen:  # which .h5 files of that time do not hold
            model.save(HERE / "old.h5")
            model.save_weights(HERE / "old.weights.h5")
    np.savez(HERE / "old_outputs.npz", **outputs)


if __name__ == "__main__":
    main()
