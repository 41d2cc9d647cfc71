"""Images that are made as they are read: none is seen twice in training.

A batch is a function of a seed and its number alone: a training that goes on in the middle sees what it
would have seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Tensor = Any
Make = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # such as a `Distortion`
CHUNK = 100  # test images that are made in one call


class Batch(NamedTuple):
    """Images (batch, [depth,] height, width, channels); labels (batch,); params of what made them."""

    images: Tensor
    labels: Tensor
    params: Tensor


def chosen(count: int, size: int, seed: int, number: Tensor) -> Tensor:
    """Which `size` of `count` are in batch `number`: all are used once before one is used again."""
    places = tf.cast(number, tf.int64) * size + tf.range(size, dtype=tf.int64)
    epochs = places // count
    # One order an epoch, and each number finds its place in it alone. (The function of TensorFlow's
    # that has the name of this op takes one epoch a call.)
    keys = tf.stack([tf.fill([size], tf.constant(seed, tf.int64)), epochs, 0 * epochs], axis=1)
    last = tf.constant(count - 1, tf.int64)
    return tf.raw_ops.RandomIndexShuffle(index=places % count, seed=keys, max_index=last)


def draws(seed: int, number: Tensor) -> Tensor:
    """The seed (2,) of the draws of one batch, which add small numbers to it."""
    return tf.stack([tf.constant(seed, tf.int64), 16 * tf.cast(number, tf.int64)])


def batch(images, labels, make: Make, size: int, seed: int, number: Tensor) -> Batch:
    """Training batch `number`, of images that `make` takes with a seed."""
    those = chosen(len(images), size, seed, number)
    made, params = make(tf.gather(images, those), draws(seed, number))
    return Batch(made, tf.gather(labels, those), params)


def stream(make: Callable[[Tensor], Any], start: int = 0) -> tf.data.Dataset:
    """What `make` makes of each number, from `start` on, without an end."""
    numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
    return numbers.map(make, num_parallel_calls=2).prefetch(2)


def training(images, labels, make: Make, size: int, seed: int, start: int = 0) -> tf.data.Dataset:
    """A dataset of `Batch` without an end, from batch `start` on."""
    images, labels = tf.constant(images), tf.constant(labels, tf.int32)
    return stream(lambda number: batch(images, labels, make, size, seed, number), start)


def fixed(images, make: Make, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What is made of images in their order, and params: the same for a seed, not those of training."""
    made = [
        make(images[start : start + CHUNK], draws(-1 - seed, start))
        for start in range(0, len(images), CHUNK)
    ]
    pictures, params = zip(*made, strict=True)
    return np.concatenate(pictures), np.concatenate(params)
