"""Gradients of large batches, one image after the other: what a step needs in between is there for one.

A step to params and images at 8x224x224x3 takes 14.7 MB beside its arguments, of which 9.6 are results,
for 55 all at once; a step to params alone 5.7 MB for 11.2.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

from keras_stn.sampler.taps import shape_of

Tensor = Any


def signature_of(tensors: Iterable[Tensor]) -> tuple:
    """What tells apart the tensors for which a function is traced."""
    return tuple((tensor.dtype, *tensor.shape) for tensor in tensors)


def one_by_one(
    function: Callable, tensors: tuple[Tensor, ...], *how: Any, like: tuple[int, ...]
) -> list[Tensor]:
    """`function(tensors, *how)`, of tensors (batch, ...), for one image of the batch after the other.

    It returns a list, each of the shape of one of the tensors: of those with the numbers `like`.
    """
    return _loop(function, how, like, signature_of(tensors))(*tensors)


@functools.lru_cache(maxsize=256)
def _loop(function: Callable, how: tuple, like: tuple[int, ...], signature: tuple) -> Callable:
    @tf.custom_gradient
    def loop(*tensors):
        batch, *_ = shape_of(tensors[0])

        def add(index, *totals):
            # The loop is compiled for an empty batch, too.
            places = index + tf.range(tf.minimum(batch, 1))
            shares = function([tf.gather(tensor, places) for tensor in tensors], *how)
            put = functools.partial(tf.tensor_scatter_nd_update, indices=tf.expand_dims(places, 1))
            return index + 1, *(
                put(total, updates=share) for total, share in zip(totals, shares, strict=True)
            )

        def gradient(*upstreams):  # of a loop it would be a list, which XLA and TensorFlow cannot share
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                results = function(tensors, *how)
            return tape.gradient(results, tensors, list(upstreams))

        start = 0, *(tf.zeros_like(tensors[number]) for number in like)
        _, *totals = tf.while_loop(lambda index, *_: index < batch, add, start, maximum_iterations=batch)
        return totals, gradient

    # Inlined, TensorFlow would take the loop apart before XLA could compile it: 38 ms for 10.5.
    return tf.function(loop, autograph=False, experimental_attributes={"_noinline": True})
