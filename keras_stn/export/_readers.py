"""Readers for files: what stands for the sampler while a model is traced."""

import functools
from typing import Any

import tensorflow as tf

from keras_stn import _checks
from keras_stn.points import Points
from keras_stn.sampler import Sampling, interpreter
from keras_stn.sampler.taps import bounded, taps_along

Tensor = Any


def for_cpu(images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """Two small matmuls where the points are separable and they are faster, gathers otherwise."""
    if points.ndim == 2 and points.separable and _matmuls_win(images, *points.axes):
        return matmuls(images, points, sampling)
    return interpreter.read(images, points, sampling)


def for_gpu(images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """Gathers with an index in int32 throughout, image by image.

    GPUs may compute in float16, which holds no index above 2048 (nor coordinates: `grids.for_float16`).
    And ML Drift, the compiler behind the GPU accelerator, fails on the broadcasts of a batch.
    """
    if points.ndim > 2:
        raise _checks.error(
            'model must read no volumes for target="gpu", whose delegates take tensors of up to four '
            f'axes; target="cpu" takes them. Received: images.shape={tuple(images.shape)}.'
        )
    batch, dtype = images.shape[0], images.dtype
    if batch == 1:  # ML Drift aborts on a split into one
        return interpreter.read(images, points, sampling, tf.int32)
    images = interpreter.readable(images)  # before the split, which has no form for bytes
    outputs = []

    def of(number: int, axis: Tensor) -> Tensor:
        return axis if axis.shape[0] == 1 else tf.split(axis, batch)[number]

    for number, image in enumerate(tf.split(images, batch)):
        of_image = points.each(functools.partial(of, number))
        outputs.append(interpreter.read(image, of_image, sampling, tf.int32))
    return tf.cast(tf.concat(outputs, axis=0), dtype)


# Multiplications for each value of the output, up to which two matmuls beat four gathers, by channels
# (medians in ms, one thread, gathers then matmuls): 64x64x1 0.060, 0.017; 384x384x1 2.65, 2.50; 64x64x3
# 0.115, 0.062; 96x96x3 0.26, 0.16; 160x160x3 0.81, 0.68; 224x224x3 1.55, 1.71; 28x28x16 0.030, 0.025;
# 56x56x64 0.33, 0.57.
_MATMUL_COST = {1: 768, 2: 320, 3: 320, 4: 320}


def _matmuls_win(images: Tensor, x: Tensor, y: Tensor) -> bool:
    sizes = [*images.shape, x.shape[2]]
    if None in sizes or images.dtype != tf.float32:
        return False
    _, height, width, channels, out_width = sizes
    return width + height * width / out_width <= _MATMUL_COST.get(channels, 0)


def matmuls(images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """Separable points as rows x image x columns: no gather, so that NPUs without one keep it.

    output[i, j] = sum over m, n of R[i, m] * image[m, n] * C[j, n], where R and C hold the weights of
    the taps: eq. (3) of Jaderberg et al. (2015), whose kernel is a product, on a grid that is one too.
    Unlike with gathers, a pixel that is NaN shows in all of its row and column.
    """
    batch, height, width, channels = images.shape
    x, y = points.axes
    out_height, out_width = y.shape[1], x.shape[2]
    of_x, of_y = sampling.along(2)
    above = left = 0
    if any(sampling.fill):  # no weight adds nothing
        above, left = interpreter.margins(images, sampling)
        images = interpreter.framed(images, sampling)
    across = tf.range(-left, width + left, dtype=x.dtype)
    down = tf.range(-above, height + above, dtype=y.dtype)
    rows = _weights(y, tf.reshape(down, (1, 1, -1)), height, of_y)  # (batch, h, H)
    height, framed_width = height + 2 * above, width + 2 * left
    # (batch, h, W * channels)
    lines = tf.matmul(rows, tf.reshape(images, (batch, height, framed_width * channels)))
    if channels == 1:
        columns = _weights(x, tf.reshape(across, (1, -1, 1)), width, of_x)  # (batch, W, w)
        return tf.expand_dims(tf.matmul(lines, columns), -1)
    # The columns stand first here. Were the channels moved before them, the converter would make a
    # BATCH_MATMUL with adj_x that broadcasts, which is wrong by 0.9 in tflite-runtime 2.14 and LiteRT
    # 1.0. A product for each line takes 0.23 ms instead of 0.074 at 64x64x3.
    x = tf.reshape(x, (x.shape[0], out_width, 1))
    columns = _weights(x, tf.reshape(across, (1, 1, -1)), width, of_x)  # (batch, w, W)
    lines = tf.transpose(tf.reshape(lines, (batch, out_height, framed_width, channels)), (0, 2, 1, 3))
    lines = tf.reshape(lines, (batch, framed_width, out_height * channels))
    sampled = tf.reshape(tf.matmul(columns, lines), (batch, out_width, out_height, channels))
    return tf.transpose(sampled, (0, 2, 1, 3))


def _weights(coordinate: Tensor, pixels: Tensor, size: int, sampling: Sampling) -> Tensor:
    """The weight of each of the `pixels` of an axis at each coordinate, which they broadcast with."""
    if sampling.interpolation == "bilinear" and sampling.fill_mode != "wrap":
        # Eq. (5) of Jaderberg et al.: the tent around the point, for both taps at once.
        return _tent(bounded(coordinate, size, sampling) - pixels)
    total: Tensor = None
    for pixel, weight, _ in taps_along(coordinate, size, sampling):
        here = _tent(pixel - pixels)  # of whole numbers: 1 on the pixel, 0 elsewhere
        if weight is not None:
            here *= weight
        total = here if total is None else total + here
    return total


def _tent(distance: Tensor) -> Tensor:
    return tf.nn.relu(1 - tf.abs(distance))
