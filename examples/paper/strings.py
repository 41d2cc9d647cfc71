"""Strings of digits on photographs, in the manner of house numbers, with transformers at depths.

The paper reads house numbers of Street View, a set of 200,000 photographs. This is another one, made of
handwritten digits and of the photographs that scikit-image brings: its figures stand beside the paper's
as a comparison of networks, not of results.
"""

import functools
import math
import pathlib
from typing import Any

import batches
import depths
import keras
import models
import numpy as np
import tensorflow as tf
from cells import Cell, misread

from keras_stn import ops, transforms
from keras_stn.demo import Digits

SIZE = 64  # pixels
LONGEST = 5  # digits
NONE = 10  # the label of a place behind the last digit
ADVANCE = 0.7  # from one digit to the next, by the side of its square
PATCHES = 2000
TESTED, TESTS = 5000, 10  # strings, and in how many batches they are made
AFFINE = transforms.Affine()
# No background of a test was seen in training.
PHOTOGRAPHS = {
    "train": ("astronaut.png", "motorcycle_left.png", "ihc.png", "rocket.jpg"),
    "test": ("coffee.png", "chelsea.png"),
}


@functools.lru_cache(maxsize=2)
def backgrounds(part: str) -> np.ndarray:
    """Patches (PATCHES, SIZE, SIZE, 3), uint8, of photographs: squares of one to four times the size."""
    import skimage.data
    from PIL import Image

    folder = pathlib.Path(skimage.data.__path__[0])
    photographs = [Image.open(folder / name).convert("RGB") for name in PHOTOGRAPHS[part]]
    rng = np.random.default_rng(0)
    patches = []
    for number in range(PATCHES):
        photograph = photographs[number % len(photographs)]
        side = int(rng.integers(SIZE, min(4 * SIZE, *photograph.size)))
        left, top = (int(rng.integers(room - side)) for room in photograph.size)
        box = left, top, left + side, top + side
        patches.append(photograph.resize((SIZE, SIZE), Image.Resampling.BOX, box))
    return np.stack(patches)


def _places(length, unit):
    """Params (count * LONGEST, 6) from the square of each digit to the picture.

    A string is 0.6 to 1 as long as the picture is wide, where that leaves its digits smaller than 0.45
    of the picture; it is turned by up to 20 degrees, and slanted.
    """
    side = tf.minimum(2 / (1 + ADVANCE * (length - 1)), 0.9) * (0.8 + 0.2 * unit[0])
    angle, slant = math.radians(20) * unit[1], 0.3 * unit[2]
    across, down = tf.cos(angle), tf.sin(angle)
    half = ADVANCE * side * (length - 1) / 2
    x = tf.maximum(0.0, 1 - half - side / 2) * unit[3]
    y = tf.maximum(0.0, 1 - half * tf.abs(down) - side / 2) * unit[4]
    steps = tf.range(LONGEST, dtype=tf.float32)[:, tf.newaxis] - (length - 1) / 2  # (LONGEST, count)
    along = ADVANCE * side * steps
    rows = [
        *(side / 2 * across, side / 2 * (slant * across - down), x + along * across),
        *(side / 2 * down, side / 2 * (slant * down + across), y + along * down),
    ]
    place = tf.stack([tf.broadcast_to(row, along.shape) for row in rows], axis=2)
    return tf.reshape(tf.transpose(place, (1, 0, 2)), (-1, 6))


def written(digits, lengths, backdrop, seed):
    """Digits (count * LONGEST, 28, 28) on backdrops (count, SIZE, SIZE, 3), all uint8, to images.

    The first `lengths` (count,) of the digits of each string are written beside each other.
    """
    count = backdrop.shape[0]
    unit = tf.random.stateless_uniform((8, count), seed, -1, 1)
    params = AFFINE.inverse(_places(tf.cast(lengths, tf.float32), unit))
    shown = tf.reshape(tf.sequence_mask(lengths, LONGEST, tf.float32), (-1, 1, 1, 1))
    ink = shown * tf.cast(digits, tf.float32)[..., tf.newaxis] / 255
    ink = ops.warp(ink, params, AFFINE, (SIZE, SIZE), data_format="channels_last")
    ink = tf.reduce_max(tf.reshape(ink, (count, LONGEST, SIZE, SIZE, 1)), axis=1)
    backdrop = tf.cast(backdrop, tf.float32) / 255
    dark = tf.reduce_mean(backdrop, (1, 2, 3)) < 0.5
    tint = 0.2 * (unit[5:] + 1)  # of dark ink, and what light ink lacks to white
    colour = tf.transpose(tf.where(dark, 1 - tint, tint))[:, tf.newaxis, tf.newaxis]
    return backdrop + ink * (colour - backdrop)


def batch(digits, labels, backdrops, size: int, seed: int, number):
    """Images (size, SIZE, SIZE, 3) and labels (size, LONGEST) of batch `number`."""
    draws = batches.draws(seed, number)
    those = batches.chosen(len(digits), LONGEST * size, seed, number)
    behind = tf.gather(backdrops, batches.chosen(len(backdrops), size, seed, number))
    lengths = tf.random.stateless_uniform((size,), draws + 1, 1, LONGEST + 1, tf.int32)
    images = written(tf.gather(digits, those), lengths, behind, draws + 2)
    named = tf.reshape(tf.gather(labels, those), (size, LONGEST))
    return images, tf.where(tf.sequence_mask(lengths, LONGEST), named, NONE)


def read(job: dict[str, Any], data: Digits) -> Cell:
    """What is written? All digits must be right, and their number."""
    places, heads = depths.PLACES[job["network"]], (LONGEST, NONE + 1)

    def build() -> keras.Model:
        keras.utils.set_random_seed(job["seed"])
        return models.fitted(
            lambda width: depths.network((SIZE, SIZE, 3), width, places, heads), job["at_most"]
        )

    def constants(digits, labels, part):
        return tf.constant(digits), tf.constant(labels, tf.int32), tf.constant(backgrounds(part))

    tested = constants(data.x_test, data.y_test, "test")
    count = min(len(data.x_test), TESTED) // TESTS
    made = [batch(*tested, count, -1, number) for number in range(TESTS)]
    images, labels = (np.concatenate(parts) for parts in zip(*made, strict=True))
    trained = constants(data.x_train, data.y_train, "train")

    def training(start: int) -> tf.data.Dataset:
        return batches.stream(lambda number: batch(*trained, job["batch"], job["seed"], number), start)

    lengths = np.sum(labels != NONE, axis=1)
    return Cell(build, training, images, lengths, misread(images, labels))
