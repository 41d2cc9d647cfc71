"""Maps in pixels, as OpenCV counts them, to theta and back: affine ones and homographies."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import grids

Tensor = Any


def theta_of_pixels(
    matrix: Tensor, source_size: tuple[int, ...], output_size: tuple[int, ...], align_corners: bool
) -> Tensor:
    """theta (batch, n, n + 1) of a matrix of this shape that maps target pixels to source pixels."""
    source, target, last_source, last_target = _spans(
        source_size, output_size, align_corners, matrix.dtype
    )
    linear, offset = tf.split(matrix, [len(source_size), 1], axis=2)  # (batch, n, n), (batch, n, 1)
    of_target = tf.reduce_sum(linear * (last_target / source), axis=2, keepdims=True)
    offset = offset * (2 / source) + of_target - last_source / source
    return tf.concat([linear * (target / source), offset], axis=2)


def pixels_of_theta(
    theta: Tensor, source_size: tuple[int, ...], output_size: tuple[int, ...], align_corners: bool
) -> Tensor:
    """`theta_of_pixels` undone."""
    source, target, last_source, last_target = _spans(
        source_size, output_size, align_corners, theta.dtype
    )
    linear, offset = tf.split(theta, [len(source_size), 1], axis=2)
    to_pixels = source / target
    of_target = tf.reduce_sum(linear * (to_pixels * last_target / 2), axis=2, keepdims=True)
    offset = offset * (source / 2) - of_target + last_source / 2
    return tf.concat([linear * to_pixels, offset], axis=2)


def theta_of_homography(
    matrix: Tensor, source_size: tuple[int, int], output_size: tuple[int, int], align_corners: bool
) -> Tensor:
    """theta (batch, 3, 3) of a homography (batch, 3, 3) that maps target pixels to source pixels."""
    source, target, last_source, last_target = _spans(
        source_size, output_size, align_corners, matrix.dtype
    )
    linear, offset = tf.split(matrix, [2, 1], axis=2)
    of_target = tf.reduce_sum(linear * (last_target / 2), axis=2, keepdims=True)
    rows, last = tf.split(tf.concat([linear * (target / 2), offset + of_target], axis=2), [2, 1], axis=1)
    return tf.concat([rows * (2 / source) - last * (last_source / source), last], axis=1)


def pixels_of_homography(
    theta: Tensor, source_size: tuple[int, int], output_size: tuple[int, int], align_corners: bool
) -> Tensor:
    """`theta_of_homography` undone."""
    source, target, last_source, last_target = _spans(
        source_size, output_size, align_corners, theta.dtype
    )
    rows, last = tf.split(theta, [2, 1], axis=1)
    rows = rows * (source / 2) + last * (last_source / 2)
    linear, offset = tf.split(tf.concat([rows, last], axis=1), [2, 1], axis=2)
    of_target = tf.reduce_sum(linear * (last_target / target), axis=2, keepdims=True)
    return tf.concat([linear * (2 / target), offset - of_target], axis=2)


def _spans(source_size, output_size, align_corners, dtype):
    """The span of source (n, 1) and target (n,), and `size - 1` of both: x first.

    Of integers as numbers, NumPy: tensors then meet each constant once. Graphs would put two of them
    together, and divide by none (see `_half_ratio`).
    """
    known = not any(map(tf.is_tensor, (*source_size, *output_size)))
    dtype = tf.float64 if known else dtype
    vectors = []
    for of in (lambda size: grids.divisor(size, align_corners, dtype), lambda size: size - 1):
        for sizes in (source_size, output_size):
            numbers = [of(size) for size in reversed(sizes)]
            vectors.append(
                np.array(numbers, "float64")
                if known
                else tf.stack([tf.cast(number, dtype) for number in numbers])
            )
    source, target, last_source, last_target = vectors
    return source[:, np.newaxis], target, last_source[:, np.newaxis], last_target
