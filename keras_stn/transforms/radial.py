"""Sums of radial bumps U(r) = r^2 log r, of which thin-plate splines are made."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import grids
from keras_stn.grids import shape_of

Tensor = Any


def solution(points: np.ndarray, regularization: float) -> np.ndarray:
    """The matrix that makes (w_1, ..., w_n, A, a) of displacements of `points` (2, n): (n, n + 3)."""
    count = points.shape[1]
    squares = np.sum((points[:, :, np.newaxis] - points[:, np.newaxis]) ** 2, axis=0)
    spring = _bump(squares, np.where, np.log) + regularization * np.eye(count)
    affine = np.stack([*points, np.ones(count)])
    system = np.block([[spring, affine.T], [affine, np.zeros((3, 3))]])
    return np.linalg.inv(system)[:, :count].T


def bumps(axes: Sequence[Tensor], places: Sequence[np.ndarray]) -> Tensor:
    """U of the distance to each place, along a new axis 1."""
    x, y = (
        tf.square(tf.expand_dims(axis, 1) - tf.constant(place, axis.dtype))
        for axis, place in zip(axes, places, strict=True)
    )
    return _bump(x + y)


def _bump(square: Any, where: Any = tf.where, log: Any = tf.math.log) -> Any:
    """r^2 log(r / 2) of r^2; at 0 it is 0, its slope too, also where float16 makes a 0 of small numbers.

    r^2 log 2 is no part of what is bent: the sum of all weights is 0, and so is their first moment. With
    it the terms are up to four times as large, and in float32 the sum is off by 4e-6 instead of 1e-6.
    """
    return 0.5 * square * log(where(square > 0, 0.25 * square, 1.0))


def summed(terms: Tensor) -> Tensor:
    """The sum over axis 1, half and half.

    Not by a matmul, which GPUs do on reduced-precision units, nor by `tf.reduce_sum`: each runtime adds
    in another order, and a file would be off by 1e-5 at 64 pixels instead of 5e-6.
    """
    count = terms.shape[1]
    if count == 1:
        return tf.squeeze(terms, 1)
    half = count // 2
    # Not by tf.split: of halves of halves GPU delegates make other sums, and say nothing.
    total = summed(terms[:, :half] + terms[:, half : 2 * half])
    return total + tf.squeeze(terms[:, 2 * half :], 1) if count % 2 else total


def combined(weights: Tensor, terms: Tensor, compiled: bool) -> Tensor:
    """The sum of weights (batch, n, 1[, 1]) * terms (batch or 1, n, [h,] w).

    Args:
        weights, terms: Floating point, of one dtype.
        compiled: Inside of what XLA compiles, where no file is made.
    """

    @tf.custom_gradient
    def total(weights, terms):
        one_by_one = compiled and terms.shape[1] <= _FEW
        products = _one_by_one(weights, terms) if one_by_one else summed(grids.rounded(weights * terms))
        return products, functools.partial(_gradient, weights, terms)

    return total(weights, terms)


# Terms that XLA makes one loop of. With 36 of them a step to params and images takes 26 ms, not 40, at
# 8x224x224x3, but with 64 of them 91 instead of 51.
_FEW = 36


def _one_by_one(weights: Tensor, terms: Tensor) -> Tensor:
    """`summed` products, for XLA, which else writes halves of them to memory.

    A step to params takes 3.4 ms instead of 8.3 at 128x40x40x1.
    """
    parts = [grids.rounded(weights[:, n] * terms[:, n]) for n in range(terms.shape[1])]
    while len(parts) > 1:
        half = len(parts) // 2
        sums = [parts[n] + parts[half + n] for n in range(half)]
        parts = sums + parts[2 * half :]
    return parts[0]


def _gradient(weights: Tensor, terms: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """Two matmuls, for no gradient is a coordinate: a step to params takes 30 ms instead of 134."""
    by_terms = tf.expand_dims(upstream, 1) * weights
    batch, count, *_ = shape_of(terms)
    if terms.shape[0] == 1:  # one matmul of all images
        upstream = tf.expand_dims(upstream, 0)
        by_terms = tf.reduce_sum(by_terms, axis=0, keepdims=True)
    rows = tf.reshape(upstream, (batch, -1, tf.size(terms) // (batch * count)))
    by_weights = tf.matmul(rows, tf.reshape(terms, (batch, count, -1)), transpose_b=True)
    return tf.reshape(by_weights, tf.shape(weights)), by_terms
