"""Appendix A.3: digits that are extruded and turned in space, read from one side.

Without a transformer the network sees the volume as it lies; with one, the side that it turns to it.
"""

from typing import Any

import batches
import keras
import models
import numpy as np
import tensorflow as tf
from cells import Cell, misread

from keras_stn import SpatialTransformer, ops, transforms
from keras_stn.demo import Digits
from keras_stn.demo.digits import SIDE

layers = keras.layers
SIZE = 60  # voxels, the side of a volume
LAYERS = 10  # of a digit: as many voxels deep
DEPTH = LAYERS / SIZE
TURN = np.radians(60)
TESTED = 1000  # volumes: they take 0.9 GB, and twice that while they are made
POSE, AFFINE = transforms.Similarity(ndim=3), transforms.Affine(ndim=3)
NETWORKS = {"CNN": None, "ST-CNN Aff": AFFINE, "ST-CNN Sim": POSE}


def _volumes(digits, seed):
    """Digits (batch, 28, 28), uint8, to volumes (batch, SIZE, SIZE, SIZE, 1)."""
    count = len(digits)
    solid = tf.cast(digits, tf.float32)[:, tf.newaxis, :, :, tf.newaxis] / 255
    solid = tf.pad(tf.tile(solid, (1, LAYERS, 1, 1, 1)), ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    axis = tf.random.stateless_normal((count, 3), seed)
    angle = tf.random.stateless_uniform((count, 1), seed + 1, 0, TURN)
    turn = angle * axis / tf.norm(axis, axis=1, keepdims=True)  # a rotation vector
    place = tf.random.stateless_uniform((count, 3), seed + 2, -1, 1) * (1 - SIDE / SIZE)
    pose = tf.concat([tf.ones((count, 1)), turn, place], axis=1)
    theta = POSE.theta(POSE.inverse(pose))  # from the volume to where the digit is upright
    # And to the digit itself, which lies between two empty layers.
    zoom = tf.constant([[SIZE / SIDE], [SIZE / SIDE], [LAYERS / (LAYERS + 2) / DEPTH]])
    params = tf.reshape(theta * zoom, (count, 12))
    return ops.warp(solid, params, AFFINE, (SIZE,) * 3, data_format="channels_last"), params


@keras.saving.register_keras_serializable("paper")
class Projected(layers.Layer):
    """Volumes (batch, d, h, w, c) to pictures (batch, h, w, c): how much lies behind each other."""

    def call(self, volumes):
        return keras.ops.sum(volumes, axis=1) / (DEPTH * volumes.shape[1])


def network(family: transforms.Transform | None, width: int) -> keras.Model:
    volumes = keras.Input((SIZE, SIZE, SIZE, 1))
    seen = volumes
    if family is not None:
        small = SIDE, SIDE, SIDE
        seen = SpatialTransformer(None, family, output_size=small, name="transformer")(volumes)
    features = Projected()(seen)
    for layer in models.residual(width):
        features = layer(features)
    return keras.Model(volumes, layers.Dense(10, name="logits")(features))


def classified(job: dict[str, Any], data: Digits) -> Cell:
    """Which digit is it?"""
    family = NETWORKS[job["network"]]
    count = min(len(data.x_test), TESTED)
    images, _ = batches.fixed(data.x_test[:count], _volumes)
    labels = data.y_test[:count]

    def build() -> keras.Model:
        keras.utils.set_random_seed(job["seed"])
        return models.fitted(lambda width: network(family, width), job["at_most"])

    def training(start: int) -> tf.data.Dataset:
        given = data.x_train, data.y_train, _volumes, job["batch"], job["seed"], start
        return batches.training(*given).map(lambda batch: (batch.images, batch.labels))

    return Cell(build, training, images, labels, misread(images, labels))
