"""Alignment: how far from its place a picture may start, and gradients still bring it home.

There is no classifier and no localization network. A digit lies on a canvas at two places, d pixels
apart. Adam moves the params of each pair by the mean squared error between the one picture and the warp
of the other. Such gradients see one pixel far; blurred reads see further.
"""

import math
import time

import keras
import networks
import numpy as np
import tasks
import tensorflow as tf

SIZE = 40
SHIFTS = tuple(range(21))  # pixels
NEAR = 1.0  # pixels: a pair that ends this close has converged


@keras.saving.register_keras_serializable(package="does_it_train")
class OneEach(keras.layers.Layer):
    """Features that do not look: a unit vector for each image, so that each has its own params."""

    def call(self, images):
        return keras.ops.eye(images.shape[0])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[0])


def pairs(digits: np.ndarray, count: int, seed: int):
    """`count` pairs for each shift: pictures, their copies, and where the two lie, in pixels (n, 2).

    Each lies half the shift from the middle, on opposite sides of it: so 20 pixels leave both on the
    canvas.
    """
    rng = np.random.default_rng((seed, 2))
    shifts = np.repeat(SHIFTS, count)
    angles = rng.uniform(0, 2 * np.pi, len(shifts))
    chosen = digits[rng.integers(0, len(digits), len(shifts))]
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1) * shifts[:, np.newaxis] / 2
    placements = np.tile(np.float32([1, 0, 0, 0]), (2, len(shifts), 1))
    placements[..., 2:] = np.stack([places, -places]) * 2 / SIZE
    first, second = (tasks.placed(chosen, placement, SIZE) for placement in placements)
    return first, second, places, -places


def converged(
    arguments: dict,
    digits: np.ndarray,
    rate: float,
    seed: int,
    steps: int,
    count: int,
    end: float = math.inf,
) -> list[float] | None:
    """The share of pairs that end within a pixel, for each of `SHIFTS`.

    None where `time.monotonic()` passes `end` before the steps are done.
    """
    fixed, moving, place, other = pairs(digits, count, seed)
    layer = networks.transformer({**arguments, "localization": OneEach()}, (SIZE, SIZE))
    layer(moving)
    # The bias would move all of them together.
    variables = [v for v in layer.trainable_variables if v.path.endswith("kernel")]
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(variables)

    @tf.function(jit_compile=False)
    def step():
        with tf.GradientTape() as tape:
            # Sums over pairs: what one of them does must not hang on how many there are.
            difference = layer(moving, training=True) - fixed
            loss = tf.reduce_sum(tf.reduce_mean(tf.square(difference), axis=(1, 2, 3)))
            loss += len(fixed) * tf.add_n(layer.losses) if layer.losses else 0.0  # a mean over all
        optimizer.apply(tape.gradient(loss, variables), variables)

    for _ in range(steps):
        if time.monotonic() > end:
            return None
        step()
    half = SIZE / 2
    middle = (place / half)[:, np.newaxis].astype("float32")
    found = np.asarray(layer.warp.transform.transform_points(layer.localize(moving), middle))[:, 0]
    near = np.linalg.norm(found * half - other, axis=1) <= NEAR
    return near.reshape(len(SHIFTS), count).mean(axis=1).tolist()
