"""Traffic signs on photographs, with several transformers at depths."""

import math
from typing import Any, NamedTuple

import batches
import depths
import keras
import models
import numpy as np
import tensorflow as tf
from cells import Cell, misread

from keras_stn import ops, transforms

CLASSES = 43
AFFINE, SIMILARITY = transforms.Affine(), transforms.Similarity()
TASKS = {"signs": 0.0, "turned": 45.0}  # degrees, either way, in training and test


class Signs(NamedTuple):
    """Photographs (n, 32, 32, 3), uint8, and labels (n,), 0 to 42."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    source: str


def load(source: str | None) -> Signs:
    """Those of an .npz file with the arrays x_train, y_train, x_test and y_test."""
    if source is None:
        raise ValueError("signs must have --data: an .npz file of the traffic signs. Received: None.")
    with np.load(source) as file:
        arrays = [file[name] for name in Signs._fields[:-1]]
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8 or labels.max() >= CLASSES:
            raise ValueError(
                f"The images of {source} must be (n, 32, 32, 3), uint8, and labels 0 to {CLASSES - 1}. "
                f"Received: {images.shape}, {images.dtype}, and labels up to {labels.max()}."
            )
    return Signs(*arrays, source)


def _posed(images, turn: float, seed):
    """Floats, each turned by up to `turn` degrees either way, and of mean 0 and deviation 1."""
    images, count = tf.cast(images, tf.float32), len(images)
    angle = tf.random.stateless_uniform((count, 1), seed, -1, 1) * math.radians(turn)
    params = tf.concat([tf.ones((count, 1)), angle, tf.zeros((count, 2))], axis=1)
    if turn:
        images = _read(images, params, SIMILARITY)
    return _standard(images), params


def _varied(images, turn: float, seed):
    """As `_posed`, and of another size and place, stretched, sheared, and in another light each time."""
    images, count = tf.cast(images, tf.float32), len(images)
    unit = tf.random.stateless_uniform((8, count), seed, -1, 1)
    angle, zoom = math.radians(turn + 8) * unit[0], tf.exp(0.15 * unit[1])
    stretch, shear = 1 + 0.1 * unit[2], 0.1 * unit[3]
    cosine, sine = zoom * tf.cos(angle), zoom * tf.sin(angle)
    rows = [cosine * stretch, shear - sine, 0.15 * unit[4], sine * stretch, cosine, 0.15 * unit[5]]
    params = tf.stack(rows, axis=1)
    gamma = tf.exp(0.5 * unit[6])[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return _standard(255 * (_read(images, params, AFFINE) / 255) ** gamma), params


def _read(images, params, family):
    """What stands beyond the edge is as the edge."""
    return ops.warp(images, params, family, fill_mode="nearest", data_format="channels_last")


def _standard(images):
    """Signs lie in the shadow and in the sun: each gets the mean 0 and the deviation 1."""
    mean, variance = tf.nn.moments(images, (1, 2, 3), keepdims=True)
    return (images - mean) / tf.sqrt(variance + 1)


def classified(job: dict[str, Any], data: Signs) -> Cell:
    """Which sign is it?"""
    turn, places = TASKS[job["task"]], depths.PLACES[job["network"]]
    images, _ = batches.fixed(data.x_test, lambda some, seed: _posed(some, turn, seed))

    def build() -> keras.Model:
        keras.utils.set_random_seed(job["seed"])
        return models.fitted(
            lambda width: depths.network((32, 32, 3), width, places, (CLASSES,)), job["at_most"]
        )

    def training(start: int) -> tf.data.Dataset:
        def make(some, seed):
            return _varied(some, turn, seed)

        given = data.x_train, data.y_train, make, job["batch"], job["seed"], start
        return batches.training(*given).map(lambda batch: (batch.images, batch.labels))

    return Cell(build, training, images, data.y_test, misread(images, data.y_test))
