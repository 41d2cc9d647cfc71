"""What is measured: this package, and what one would use in its place.

A contender does its work once, waits for it, and returns arrays: the output and, of a training step,
the gradients to the params and to the images. It is held to `textbook` in float64.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn.benchmark.run_stablehlo import LAYOUTS, pytorch, random_inputs
from keras_stn.layers import Warp

OURS, TORCH, TEXTBOOK = "keras_stn", "PyTorch", "textbook TF"

# A forward pass; what one more adds to a call that does others too, as a model's; and training steps:
# the output with the gradient to the params, and with that to the images as well.
TASKS = FORWARD, IN_MODEL, PARAMS, BOTH = "forward", "forward, in a model", "params_step", "step"
_SHIFT = 1e-3  # of all params, from one pass to the next: a compiler would do the same work once

Tensor = Any


def textbook(images: Tensor, params: Tensor, output_size: tuple[int, ...] | None = None) -> Tensor:
    """The spatial transformer that is copied from page to page, with the half pixel put right.

    A sampling grid by a matmul, four `tf.gather_nd` with a batch index, masks, and automatic
    differentiation.
    """
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    h, w = output_size or (height, width)
    x, y = np.meshgrid((2 * np.arange(w) + 1) / w - 1, (2 * np.arange(h) + 1) / h - 1)
    grid = tf.constant(np.stack([x.ravel(), y.ravel(), np.ones(x.size)]), params.dtype)
    points = tf.reshape(tf.matmul(tf.reshape(params, (-1, 2, 3)), grid), (batch, 2, h, w))
    x = ((points[:, 0] + 1) * width - 1) / 2
    y = ((points[:, 1] + 1) * height - 1) / 2
    x0, y0 = tf.floor(x), tf.floor(y)
    index = tf.broadcast_to(tf.reshape(tf.range(batch), (-1, 1, 1)), (batch, h, w))
    output = tf.zeros((batch, h, w, images.shape[-1]), params.dtype)
    for column, right in ((x0, x - x0), (x0 + 1, x0 + 1 - x)):
        for row, below in ((y0, y - y0), (y0 + 1, y0 + 1 - y)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            rows = tf.cast(tf.clip_by_value(row, 0, height - 1), tf.int32)
            columns = tf.cast(tf.clip_by_value(column, 0, width - 1), tf.int32)
            pixels = tf.gather_nd(images, tf.stack([index, rows, columns], axis=-1))
            weight = (1 - tf.abs(right)) * (1 - tf.abs(below)) * tf.cast(inside, params.dtype)
            output += tf.expand_dims(weight, -1) * pixels
    return output


def work(warp: Callable, task: str) -> Callable[..., list[Tensor]]:
    """A TensorFlow function that does `task`, of images, params and the gradient from the loss."""

    def run(images, params, upstream, passes=1):
        if task in (FORWARD, IN_MODEL):
            return [warp(images, params + _SHIFT * turn if turn else params) for turn in range(passes)]
        sources = [params] if task == PARAMS else [params, images]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            output = warp(images, params)
        return [output, *tape.gradient(output, sources, output_gradients=upstream)]

    return run


def compiled(function: Callable) -> Any:
    return tf.function(function, jit_compile=True, autograph=False)


def truth(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The output and the gradient to the params, in float64."""
    tensors = [tf.constant(array, "float64") for array in random_inputs(shape)]
    return [result.numpy() for result in compiled(work(textbook, PARAMS))(*tensors)]


def contenders(shape: tuple[int, ...], task: str) -> dict[str, Callable[..., list[np.ndarray]]]:
    """All of them by name; those of TensorFlow take the number of forward passes."""
    arrays = random_inputs(shape)
    tensors = [tf.constant(array) for array in arrays]  # as arguments: XLA would fold others
    layer = Warp()  # affine, bilinear, zeros outside
    found: dict[str, Callable] = {}
    for who, warp in (OURS, lambda images, params: layer([images, params])), (TEXTBOOK, textbook):
        function = work(warp, task)
        found[f"{who}, compiled"] = functools.partial(compiled(function), *tensors)
        graph = tf.function(function, autograph=False)
        found[f"{who}, tf.function"] = functools.partial(graph, *tensors)
        if who == OURS:
            found[f"{who}, eager"] = functools.partial(function, *tensors)
    if importlib.util.find_spec("torch") is not None:
        for layout in LAYOUTS:
            whole, _ = pytorch(task, arrays, layout, "cpu")
            found[f"{TORCH}, {layout}"] = whole
    return {name: _waiting(function) for name, function in found.items()}


def _waiting(function: Callable) -> Callable[..., list[np.ndarray]]:
    return lambda *passes: [np.asarray(result) for result in function(*passes)]
