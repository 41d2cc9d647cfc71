"""What is measured: this package, and what one would use in its place.

A contender does its work, waits for it, and returns NumPy arrays: the output and, of a training step,
the gradients to the params and to the images. It is held to `textbook` in float64.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import transforms
from keras_stn.layers import Warp

OURS, TORCH, TEXTBOOK = "keras_stn", "PyTorch", "textbook TF"

# A forward pass; what one more adds to a call that does others too, as a model's; and training steps:
# the output, and the gradients to these.
TASKS = FORWARD, IN_MODEL, PARAMS, BOTH = (
    *("forward", "forward, in a model"),
    *("step, params", "step, params and images"),
)
_SHIFT = 1e-3  # of all params, from one pass to the next: a compiler would do the same work once

Tensor = Any


class Case(NamedTuple):
    """One thing to measure: arrays, the same for all contenders."""

    shape: tuple[int, int, int, int]  # (batch, height, width, channels), of images and output
    family: str
    task: str  # one of TASKS
    images: np.ndarray
    params: np.ndarray
    theta: np.ndarray  # what `params` stand for
    upstream: np.ndarray  # the gradient that comes from the loss


def case(shape: tuple[int, int, int, int], family: str = "affine", task: str = FORWARD) -> Case:
    """White noise, and maps near the identity that leave the image on all sides."""
    rng = np.random.default_rng(0)
    transform = transforms.get(family)
    if not isinstance(transform, transforms.MatrixTransform):
        raise ValueError(f"family must be one of affine maps. Received: family={family!r}.")
    identity = np.array(transform.identity_params)
    params = (identity + rng.uniform(-0.2, 0.2, (shape[0], identity.size))).astype("float32")
    images, upstream = (rng.random(shape, dtype="float32") for _ in range(2))
    return Case(
        shape, family, task, images, params, transform.theta(tf.constant(params)).numpy(), upstream
    )


def textbook(images: Tensor, theta: Tensor) -> Tensor:
    """The spatial transformer that is copied from page to page, with the half pixel put right.

    A sampling grid by a matmul, four `tf.gather_nd` with a batch index, masks, and automatic
    differentiation.
    """
    batch, height, width, _ = images.shape
    x, y = np.meshgrid((2 * np.arange(width) + 1) / width - 1, (2 * np.arange(height) + 1) / height - 1)
    grid = tf.constant(np.stack([x.ravel(), y.ravel(), np.ones(x.size)]), theta.dtype)
    points = tf.reshape(tf.matmul(theta, grid), (batch, 2, height, width))
    x = ((points[:, 0] + 1) * width - 1) / 2
    y = ((points[:, 1] + 1) * height - 1) / 2
    x0, y0 = tf.floor(x), tf.floor(y)
    index = tf.broadcast_to(tf.reshape(tf.range(batch), (-1, 1, 1)), (batch, height, width))
    output = tf.zeros_like(images)
    for column, right in ((x0, x - x0), (x0 + 1, x0 + 1 - x)):
        for row, below in ((y0, y - y0), (y0 + 1, y0 + 1 - y)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            rows = tf.cast(tf.clip_by_value(row, 0, height - 1), tf.int32)
            columns = tf.cast(tf.clip_by_value(column, 0, width - 1), tf.int32)
            pixels = tf.gather_nd(images, tf.stack([index, rows, columns], axis=-1))
            weight = (1 - tf.abs(right)) * (1 - tf.abs(below)) * tf.cast(inside, theta.dtype)
            output += tf.expand_dims(weight, -1) * pixels
    return output


def work(warp: Callable, task: str) -> Callable[..., list[Tensor]]:
    """A TensorFlow function that does `task`, of images, params and the gradient from the loss."""

    def run(images, params, upstream, passes=1):
        if task in (FORWARD, IN_MODEL):
            return [warp(images, params + _SHIFT * turn) for turn in range(passes)]
        sources = [params] if task == PARAMS else [params, images]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            output = warp(images, params)
        return [output, *tape.gradient(output, sources, output_gradients=upstream)]

    return run


def truth(case: Case) -> list[np.ndarray]:
    """The output and the gradient to theta, in float64."""
    arrays = (tf.constant(array, "float64") for array in (case.images, case.theta, case.upstream))
    return [result.numpy() for result in _compiled(work(textbook, PARAMS))(*arrays)]


def contenders(case: Case) -> dict[str, Callable[..., list[np.ndarray]]]:
    """All of them by name; those of TensorFlow take the number of forward passes."""
    layer = Warp(case.family)
    found: dict[str, Callable] = {}
    for who, warp, params in (
        (OURS, lambda images, params: layer([images, params]), case.params),
        (TEXTBOOK, textbook, case.theta),
    ):
        function = work(warp, case.task)
        # As arguments: XLA would fold tensors from around a function into it.
        tensors = [tf.constant(array) for array in (case.images, params, case.upstream)]
        found[f"{who}, compiled"] = functools.partial(_compiled(function), *tensors)
        found[f"{who}, tf.function"] = functools.partial(
            tf.function(function, autograph=False), *tensors
        )
        if who == OURS:
            found[f"{who}, eager"] = functools.partial(function, *tensors)
    if importlib.util.find_spec("torch") is not None:
        found |= {f"{TORCH}, {layout}": _torch(case, layout) for layout in ("NCHW", "NHWC")}
    return {name: _waiting(function) for name, function in found.items()}


def _compiled(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)


def _waiting(function: Callable) -> Callable[..., list[np.ndarray]]:
    return lambda *passes: [np.asarray(result) for result in function(*passes)]


def _torch(case: Case, layout: str) -> Callable[[], list[Tensor]]:
    import torch
    from torch.nn import functional

    batch, height, width, channels = case.shape
    memory = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    images, upstream = (
        torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=memory)
        for array in (case.images, case.upstream)
    )
    theta = torch.from_numpy(case.theta)
    sources = {PARAMS: [theta], BOTH: [theta, images]}.get(case.task, [])
    for source in sources:
        source.requires_grad_()

    def run():
        grid = functional.affine_grid(theta, [batch, channels, height, width], align_corners=False)
        output = functional.grid_sample(images, grid, align_corners=False)
        gradients = torch.autograd.grad(output, sources, upstream) if sources else ()
        return [output.detach().permute(0, 2, 3, 1), *gradients]

    return run
