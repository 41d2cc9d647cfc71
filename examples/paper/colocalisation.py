"""Appendix A.2: where is what the images have in common? Nobody tells the network where.

A crop of one image shall look more like a crop of another one than like a random crop: that is all that
is learned from.
"""

from typing import Any

import batches
import keras
import models
import numpy as np
import tensorflow as tf
from cells import Cell, Error
from distortions import DISTORTIONS
from triplets import Box, RandomCrop, Triplets

import keras_stn
from keras_stn.demo import Digits
from keras_stn.demo.digits import SIDE

layers, ops = keras.layers, keras.ops
DISTORTION = DISTORTIONS["TC84"]
SIZE = DISTORTION.size
EPOCHS = 2  # of the encoder


_encoders: dict[str, keras.Model] = {}  # by source: one serves all digits and seeds of a session


def _encoder(data: Digits) -> keras.Model:
    """Crops to features (batch, 64) of length 1: those by which a classifier tells digits apart."""
    if data.source in _encoders:
        return _encoders[data.source]
    keras.utils.set_random_seed(0)
    body = [*models.residual(24), layers.Dense(64), layers.UnitNormalization()]
    encoder = keras.Sequential([keras.Input((SIDE, SIDE, 1)), *body], name="encoder")
    classifier = keras.Sequential([encoder, layers.Rescaling(10.0), layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
    images = data.x_train[..., np.newaxis].astype("float32") / 255
    classifier.fit(images, data.y_train, batch_size=128, epochs=EPOCHS, verbose=0)
    encoder.trainable = False
    _encoders[data.source] = encoder
    return encoder


def found(job: dict[str, Any], data: Digits) -> Cell:
    """The task is a digit, and all images have one of these."""
    chosen = [labels == int(job["task"]) for labels in (data.y_train, data.y_test)]
    shown, tested = (x[one] for x, one in zip((data.x_train, data.x_test), chosen, strict=True))

    def build() -> keras.Model:
        encoder = _encoder(data)
        keras.utils.set_random_seed(job["seed"])
        images = keras.Input((SIZE, SIZE, 1))
        look = keras_stn.SpatialTransformer(None, Box(), output_size=(SIDE, SIDE), name="transformer")
        pair = [encoder(crop) for crop in (look(images), RandomCrop()(images))]
        return keras.Model(images, ops.stack(pair, axis=1))

    def among(everything):  # pieces are of all digits
        everything = tf.constant(everything)

        def make(digits, seed):
            those = tf.random.stateless_uniform((len(digits),), seed + 5, 0, len(everything), tf.int32)
            return DISTORTION(digits, seed, tf.gather(everything, those))

        return make

    fixed, params = batches.fixed(tested, among(data.x_test))

    def training(start: int) -> tf.data.Dataset:
        none = np.zeros(len(shown), "uint8")
        given = shown, none, among(data.x_train), job["batch"], job["seed"], start
        return batches.training(*given).map(lambda batch: (batch.images, batch.labels))

    labels = np.full(len(tested), int(job["task"]))
    return Cell(build, training, fixed, labels, _missed(fixed, boxes(params)), Triplets())


def boxes(params: np.ndarray) -> np.ndarray:
    """Params (n, 4) of the distortion to (n, 3), (scale, x, y): the square that holds the digit."""
    scale, _, x, y = np.asarray(keras_stn.transforms.Similarity().inverse(params)).T
    return np.stack([scale, x, y], axis=1)


def overlap(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union (n,) of squares (n, 3), (half a side, x, y)."""
    (a, *centres), (b, *places) = ones.T, others.T
    a, b = np.abs(a), np.abs(b)  # one that is mirrored covers the same
    shared = np.prod(
        [
            np.maximum(0, np.minimum(c + a, p + b) - np.maximum(c - a, p - b))
            for c, p in zip(centres, places, strict=True)
        ],
        axis=0,
    )
    return shared / (4 * a**2 + 4 * b**2 - shared)


def _missed(images: np.ndarray, truth: np.ndarray) -> Error:
    """Which share of the squares does not overlap by more than a half?"""

    def error(model: keras.Model, count: int | None = None) -> float:
        some = images[:count]
        looks = model.get_layer("transformer").localize
        params = np.concatenate([looks(part) for part in np.array_split(some, -(-len(some) // 500))])
        return float(100 * np.mean(overlap(params, truth[: len(some)]) <= 0.5))

    return error
