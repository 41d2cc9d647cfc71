"""A network for photographs, with transformers at any of its depths."""

import math
from collections.abc import Sequence

import keras

from keras_stn import SpatialTransformer

layers = keras.layers
STAGES = ((5,), (3, 3), (3, 3))  # sides of kernels
PLACES = {"CNN": (), "one": (0,), "three": (0, 1, 2)}  # of transformers, in the rows of tables


def network(
    shape: tuple[int, int, int], width: int, places: Sequence[int], heads: Sequence[int]
) -> keras.Model:
    """Images (batch, *shape) to logits (batch, *heads), the last of them being of the classes.

    Three stages of convolutions, each twice as wide as the one before and at half of its size. A
    transformer stands before each stage that `places` names, 0 to 2: that of stage 0 reads the image.
    """
    images = keras.Input(shape)
    features = images
    for depth, kernels in enumerate(STAGES):
        if depth in places:
            features = SpatialTransformer(name=f"transformer_{depth}")(features)
        for side in kernels:
            convolution = layers.Conv2D(width << depth, side, padding="same", use_bias=False)
            features = convolution(features)
            features = layers.BatchNormalization(momentum=0.9)(features)
            features = layers.ReLU()(features)
        features = layers.MaxPooling2D()(features)
    features = layers.Dropout(0.3)(layers.Flatten()(features))
    logits = layers.Dense(math.prod(heads), name="logits")(features)
    return keras.Model(images, layers.Reshape(tuple(heads))(logits))
