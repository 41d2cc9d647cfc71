"""What transformers add to the training step of a network: the CNNs of the paper's appendix.

Without localization networks: the params are a second input, through a dense layer that asks for their
gradient. A transformer before the first convolution also asks that one for the gradient to its input,
which a plain CNN does without: "CNN, input trained" pays for it too, with a weight on the input in the
place of the transformer.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from keras_stn.layers import Warp
from keras_stn.transforms import Affine

VARIANTS = PLAIN, TRAINED, TRANSFORMED = "CNN", "CNN, input trained", "ST-CNN"


class Network(NamedTuple):
    """A CNN: convolutions of (filters, side of the kernel), None for a pooling, then dense layers."""

    name: str
    image: tuple[int, int, int]
    batch: int
    convolutions: tuple[tuple[int, int] | None, ...]
    padding: str
    dense: tuple[int, ...]
    transformers: int  # how many of the first convolutions have one before them, in its ST-CNN


NETWORKS = (
    Network("MNIST", (42, 42, 1), 256, ((32, 9), None, (32, 7), None), "valid", (), 1),
    Network(
        "SVHN",
        (64, 64, 3),
        32,
        (
            *((48, 5), None, (64, 5), (128, 5), None, (160, 5), (192, 5), None),
            *((192, 5), (192, 5), None, (192, 5)),
        ),
        "same",
        (3072, 3072, 3072),
        4,
    ),
)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one training step of a network takes.

    Attributes:
        network: Its name.
        variant: One of `VARIANTS`.
        milliseconds: The median.
        ratio: To the plain CNN: the median over the rounds, as all three run in each.
    """

    network: str
    variant: str
    milliseconds: float
    ratio: float


class _Weighted(layers.Layer):
    """Its input times a weight."""

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.weight


def model(network: Network, variant: str) -> keras.Model:
    """A compiled model of (images, params)."""
    images = keras.Input(network.image)
    params = keras.Input((Affine.num_params,))
    features = _Weighted()(images) if variant == TRAINED else images
    count = 0
    for convolution in network.convolutions:
        if convolution is None:
            features = layers.MaxPooling2D()(features)
            continue
        if variant == TRANSFORMED and count < network.transformers:
            steering = layers.Dense(Affine.num_params, kernel_initializer="identity")(params)
            features = Warp()([features, steering])
        filters, side = convolution
        features = layers.Conv2D(filters, side, padding=network.padding, activation="relu")(features)
        count += 1
    features = layers.Flatten()(features)
    for units in network.dense:
        features = layers.Dense(units, activation="relu")(features)
    made = keras.Model([images, params], layers.Dense(10)(features))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(1e-3), loss)
    return made


def costs(network: Network, rounds: int = 11) -> Iterator[Cost]:
    """Time `train_on_batch` of each variant, the variants taking turns in each of `rounds`."""
    rng = np.random.default_rng(0)
    images = rng.random((network.batch, *network.image), dtype="float32")
    shifts = rng.uniform(-0.2, 0.2, (network.batch, Affine.num_params))
    params = (Affine.identity_params + shifts).astype("float32")
    labels = rng.integers(0, 10, network.batch)
    steps: dict[str, Callable] = {
        variant: model(network, variant).train_on_batch for variant in VARIANTS
    }
    times: dict[str, list[float]] = {variant: [] for variant in steps}
    for turn in range(rounds + 1):
        for variant, step in steps.items():
            start = time.perf_counter()
            step([images, params], labels)
            if turn:  # the first one traces
                times[variant].append(1e3 * (time.perf_counter() - start))
    for variant, taken in times.items():
        ratios = [own / plain for own, plain in zip(taken, times[PLAIN], strict=True)]
        yield Cost(network.name, variant, statistics.median(taken), statistics.median(ratios))
