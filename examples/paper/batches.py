"""Distorted digits, made as they are read: no image is seen twice in training.

A batch is a function of a seed and its number alone: a training that goes on in the middle sees what it
would have seen.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from distortions import Distortion, distorted

Tensor = Any
CHUNK = 500  # test images that are made in one call


class Batch(NamedTuple):
    """Images (batch, size, size, 1), 0 to 1; labels (batch,); params of the distortion."""

    images: Tensor
    labels: Tensor
    params: Tensor


def batch(digits, labels, distortion: Distortion, size: int, seed: int, number: Tensor) -> Batch:
    """Training batch `number`: every digit is used once before any of them is used again."""
    count = len(digits)
    places = tf.cast(number, tf.int64) * size + tf.range(size, dtype=tf.int64)
    epochs = places // count
    # One order an epoch, and each number finds its place in it alone. (The function of TensorFlow's
    # that has the name of this op takes one epoch a call.)
    keys = tf.stack([tf.fill([size], tf.constant(seed, tf.int64)), epochs, 0 * epochs], axis=1)
    last = tf.constant(count - 1, tf.int64)
    chosen = tf.raw_ops.RandomIndexShuffle(index=places % count, seed=keys, max_index=last)
    images, params = distorted(tf.gather(digits, chosen), distortion, _seed(seed, number))
    return Batch(images, tf.gather(labels, chosen), params)


def _seed(seed: int, number: Tensor) -> Tensor:
    """For the draws of one batch, which add small numbers to it."""
    return tf.stack([tf.constant(seed, tf.int64), 16 * tf.cast(number, tf.int64)])


def training(digits, labels, distortion: Distortion, size: int, seed: int, start: int = 0):
    """A dataset of `Batch` without an end, from batch `start` on."""
    digits, labels = tf.constant(digits), tf.constant(labels, tf.int32)
    numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)

    def make(number):
        return batch(digits, labels, distortion, size, seed, number)

    return numbers.map(make, num_parallel_calls=2).prefetch(2)


def fixed(digits, distortion: Distortion, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and params of digits in their order: the same for a seed, and not those of training."""
    made = [
        distorted(digits[start : start + CHUNK], distortion, _seed(-1 - seed, start))
        for start in range(0, len(digits), CHUNK)
    ]
    images, params = zip(*made, strict=True)
    return np.concatenate(images), np.concatenate(params)
