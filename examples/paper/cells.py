"""What a cell of a table is: a network, its data and its test."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

CLASSIFICATION = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One network on one task.

    Attributes:
        model: Not compiled; images to what `loss` takes.
        training: Batches (images, targets) without an end, from the batch of that number on.
        images: To test with.
        labels: Their classes.
        loss: A Keras loss.
    """

    model: keras.Model
    training: Callable[[int], tf.data.Dataset]
    images: np.ndarray
    labels: np.ndarray
    loss: keras.losses.Loss = CLASSIFICATION

    def error(self, model: keras.Model, count: int | None = None) -> float:
        """How many of the first `count` test images, or of all, are taken for another class, percent."""
        logits = model.predict(self.images[:count], batch_size=500, verbose=0)
        return float(100 * np.mean(logits.argmax(axis=1) != self.labels[:count]))
