"""Table 1 of the paper: distorted digits, one a picture; and appendix A.1, the sum of two digits."""

from typing import Any

import batches
import keras
import models
import numpy as np
import tensorflow as tf
from cells import Cell, misread
from distortions import DISTORTIONS

from keras_stn.demo import Digits

# What classifies, and the family of the transformer before it.
NETWORKS = {
    "FCN": ("FCN", None),
    "CNN": ("CNN", None),
    "ST-FCN Aff": ("FCN", "affine"),
    "ST-FCN Proj": ("FCN", "projective"),
    "ST-FCN TPS": ("FCN", "thin_plate_spline"),
    "ST-CNN Aff": ("CNN", "affine"),
    "ST-CNN Proj": ("CNN", "projective"),
    "ST-CNN TPS": ("CNN", "thin_plate_spline"),
}
OURS = {"P": "projective", "E": "thin_plate_spline"}  # on the other tasks affine


def classified(job: dict[str, Any], data: Digits) -> Cell:
    """Which digit is it?"""
    distortion = DISTORTIONS[job["task"]]
    body, family = NETWORKS.get(job["network"], ("ours", OURS.get(job["task"], "affine")))
    shape = distortion.size, distortion.size, 1
    images, _ = batches.fixed(data.x_test, distortion)

    def build() -> keras.Model:
        keras.utils.set_random_seed(job["seed"])
        return models.fitted(
            lambda width: models.network(body, [family], shape, width, 10), job["at_most"]
        )

    def training(start: int) -> tf.data.Dataset:
        given = data.x_train, data.y_train, distortion, job["batch"], job["seed"], start
        return batches.training(*given).map(lambda batch: (batch.images, batch.labels))

    return Cell(build, training, images, data.y_test, misread(images, data.y_test))


def added(job: dict[str, Any], data: Digits) -> Cell:
    """What is the sum of the digits in two channels, each distorted by itself? One of 19 classes."""
    distortion = DISTORTIONS["RTS"]
    count, network = (2, job["network"][2:]) if job["network"].startswith("2x") else (1, job["network"])
    body, family = NETWORKS[network]
    shape = distortion.size, distortion.size, 2
    one, other = (batches.fixed(data.x_test, distortion, seed)[0] for seed in (0, 1))
    order = np.random.default_rng(0).permutation(len(one))  # of the second digits
    images = np.concatenate([one, other[order]], axis=-1)
    labels = data.y_test.astype("int32") + data.y_test[order]

    def build() -> keras.Model:
        keras.utils.set_random_seed(job["seed"])
        return models.fitted(
            lambda width: models.network(body, [family] * count, shape, width, 19), job["at_most"]
        )

    def training(start: int) -> tf.data.Dataset:
        parts = [
            batches.training(
                data.x_train, data.y_train, distortion, job["batch"], 2 * job["seed"] + channel, start
            )
            for channel in (0, 1)
        ]
        return tf.data.Dataset.zip(*parts).map(
            lambda a, b: (tf.concat([a.images, b.images], axis=-1), a.labels + b.labels)
        )

    return Cell(build, training, images, labels, misread(images, labels))
