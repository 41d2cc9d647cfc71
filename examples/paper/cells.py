"""What a cell of a table is: a network, its data and its test."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

CLASSIFICATION = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
Error = Callable[[keras.Model, int | None], float]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One network on one task.

    Attributes:
        build: Makes the model, not compiled: images to what `loss` takes.
        training: Batches (images, targets) without an end, from the batch of that number on.
        images: To test with.
        labels: What to sort them by in pictures.
        error: The share of the first `count` of them, or of all, that a model gets wrong, in percent.
        loss: A Keras loss.
    """

    build: Callable[[], keras.Model]
    training: Callable[[int], tf.data.Dataset]
    images: np.ndarray
    labels: np.ndarray
    error: Error
    loss: keras.losses.Loss = CLASSIFICATION


def misread(images: np.ndarray, labels: np.ndarray) -> Error:
    """An `error` of class labels (n,), or (n, places), of which all must be right."""

    def error(model: keras.Model, count: int | None = None) -> float:
        logits = model.predict(images[:count], batch_size=250, verbose=0)
        wrong = (logits.argmax(axis=-1) != labels[:count]).reshape(len(logits), -1)
        return float(100 * np.mean(wrong.any(axis=1)))

    return error
