"""Bring your own localization network, train it, and look at what it learned.

    python examples/own_localization.py                     about a minute on two cores
    python examples/own_localization.py --smoke --out /tmp  a few seconds

The task: find the bright patch in a noisy picture and crop it. Nobody says where the patch is; the
network is only asked for what the patch looks like, and the transformer has to go and get it.
"""

import argparse
import pathlib

import keras
import numpy as np

import keras_stn

layers = keras.layers
SIZE, PATCH = 48, 16


def pictures(count, seed):
    """Noisy pictures (count, 48, 48, 1) with a textured patch of 16x16 in each, and the patches."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.1, (count, SIZE, SIZE, 1)).astype("float32")
    stripes = np.kron(rng.integers(0, 2, (count, 4, 4, 1)), np.ones((1, 4, 4, 1))).astype("float32")
    patches = 0.5 + 0.5 * stripes
    corners = rng.integers(0, SIZE - PATCH + 1, (count, 2))
    for image, patch, (y, x) in zip(images, patches, corners, strict=True):
        image[y : y + PATCH, x : x + PATCH] += patch
    return images, patches


def heat_map_network():
    """A network of one's own: any Keras model that ends in features (batch, n).

    The last map has few channels and keeps its 12x12 positions: where, not what, is the question.
    """
    return keras.Sequential(
        [
            layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(16, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(2, 1),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
        ],
        name="heat_map",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the results"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)

    # The head starts at the identity, a crop of the whole picture; attention (scale, x, y) learns from
    # there both where the patch is and how large.
    transformer = keras_stn.SpatialTransformer(
        heat_map_network(), "attention", output_size=(PATCH, PATCH), jitter=0.0, name="find_patch"
    )
    model = keras.Sequential([keras.Input((SIZE, SIZE, 1)), transformer])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    images, patches = pictures(200 if arguments.smoke else 4000, seed=0)
    model.fit(images, patches, epochs=1 if arguments.smoke else 15, validation_split=0.2)

    images, _ = pictures(6, seed=1)
    params = transformer.localization(images)
    print("scale, x, y of the crops (a patch is a third of the picture):")
    print(np.round(params, 2))

    model.save(arguments.out / "own_localization.keras")
    figure = keras_stn.visualize.plot_warps(images, transformer)
    figure.savefig(arguments.out / "own_localization.png", dpi=120)
    print(
        f"wrote {arguments.out / 'own_localization.keras'} and {arguments.out / 'own_localization.png'}"
    )


if __name__ == "__main__":
    main()
