"""The networks of the paper's appendix, at any budget of weights, and ours.

Each is a function of a width; `fitted` finds the one that fits the budget.
"""

from collections.abc import Callable, Sequence

import keras

from keras_stn import SpatialTransformer
from keras_stn.transforms import Transform

layers = keras.layers
Layers = list[keras.layers.Layer]


def dense(width: int) -> Layers:
    """FCN: two dense layers."""
    return [layers.Flatten(), layers.Dense(width, "relu"), layers.Dense(width, "relu")]


def convolutional(width: int) -> Layers:
    """CNN: 9x9 and 7x7 convolutions, each with a pooling behind it."""
    return [
        layers.Conv2D(width, 9, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(width, 7, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
    ]


def dense_localization() -> keras.Model:
    """That of an FCN: three dense layers of 32."""
    return keras.Sequential([layers.Flatten(), *(layers.Dense(32, "relu") for _ in range(3))])


def convolutional_localization() -> keras.Model:
    """That of a CNN: two 5x5 convolutions of 20, on images of half the size, and a dense layer of 20."""
    return keras.Sequential(
        [
            layers.AveragePooling2D(2),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(20, 5, activation="relu"),
            layers.Flatten(),
            layers.Dense(20, "relu"),
        ]
    )


def residual(width: int) -> Layers:
    """The classifier of ours: 3x3 convolutions with batch normalization, most of them at 7x7."""
    stack: Layers = []
    for filters, strides in (
        (-(-width // 2), 1),
        (width, 2),
        (width, 1),
        (width, 2),
        (width, 1),
        (width, 1),
    ):
        stack += [
            layers.Conv2D(filters, 3, strides, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]
    return [*stack, layers.GlobalAveragePooling2D()]


BODIES: dict[str, Callable[[int], Layers]] = {
    "FCN": dense,
    "CNN": convolutional,
    "ours": residual,
}
LOCALIZATIONS = {"FCN": dense_localization, "CNN": convolutional_localization}


def transformer(body: str, family: str | Transform, number: int) -> SpatialTransformer:
    """The layer in front of `body`. That of ours is the default, which looks twice where it can."""
    name = f"transformer_{number}"
    if body in LOCALIZATIONS:  # the paper's output is as large as its input, and does not jitter
        return SpatialTransformer(LOCALIZATIONS[body](), family, jitter=0.0, name=name)
    composes = family != "thin_plate_spline"
    looks = 2 if composes else 1
    return SpatialTransformer(None, family, output_size=(28, 28), recurrences=looks, name=name)


Families = Sequence[str | Transform | None]


def network(
    body: str, families: Families, shape: tuple[int, int, int], width: int, classes: int
) -> keras.Model:
    """Images (batch, *shape) to logits (batch, classes).

    A transformer for each of the families, where it is one, looks at the images; what they make of them
    stands in the channels, side by side.
    """
    images = keras.Input(shape)
    seen = [
        images if family is None else transformer(body, family, number)(images)
        for number, family in enumerate(families)
    ]
    features = seen[0] if len(seen) == 1 else layers.Concatenate()(seen)
    for layer in BODIES[body](width):
        features = layer(features)
    return keras.Model(images, layers.Dense(classes, name="logits")(features))


def fitted(build: Callable[[int], keras.Model], at_most: int) -> keras.Model:
    """The widest network of at most so many weights; `build` makes one of a width."""

    def fits(width):
        return build(width).count_params() <= at_most

    if not fits(1):
        raise ValueError(f"at_most must leave room for the transformers' weights. Received: {at_most}.")
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return build(low)
