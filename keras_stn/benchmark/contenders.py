"""What is measured: this package, and what one would use in its place.

A contender does its work once and waits for it. Where it gives an image, or the gradient to the params,
it returns that as a NumPy array, and is held to `textbook` in float64.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_stn import transforms
from keras_stn.layers import Warp

OURS = "keras_stn"
TORCH = "PyTorch"
TEXTBOOK = "textbook TF"

# What a training step computes, beside the output: the gradients to these.
FORWARD, PARAMS, BOTH = "forward", "step, params", "step, params and images"

# Who writes as many pixels, and warps none.
NO_WARP = RESIZE, COPY = "tf.image.resize", "copy"

# Before the name of who does a forward pass once more in one call that does several.
ONE_MORE = "one more"
_MORE = 4
_SHIFT = 1e-3  # of all params, from one to the next, or a compiler would do the work once

Tensor = Any


class Contender(NamedTuple):
    """A function of no arguments, and what to subtract: its time is (`run` - that of `less`) / `by`."""

    run: Callable[[], list[np.ndarray]]
    less: str | None = None
    by: int = 1


class Case(NamedTuple):
    """One thing to measure: arrays, the same for all contenders."""

    shape: tuple[int, int, int, int]  # (batch, height, width, channels), of images and output
    family: str
    task: str  # FORWARD, PARAMS or BOTH
    images: np.ndarray
    params: np.ndarray
    upstream: np.ndarray  # the gradient that comes from the loss


def case(shape: tuple[int, int, int, int], family: str = "affine", task: str = FORWARD) -> Case:
    """White noise, and maps near the identity that leave the image on all sides."""
    rng = np.random.default_rng(0)
    identity = np.array(transforms.get(family).identity_params)
    params = identity + rng.uniform(-0.2, 0.2, (shape[0], identity.size))
    images, upstream = (rng.random(shape, dtype="float32") for _ in range(2))
    return Case(shape, family, task, images, params.astype("float32"), upstream)


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


def truth(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The output and the gradient to theta, in float64."""
    step, tensors = _tensorflow(textbook, _theta(case), case._replace(task=PARAMS), "float64")
    output, gradient = _compiled(step)(*tensors)
    return output.numpy(), gradient.numpy()


def contenders(case: Case) -> dict[str, Contender]:
    """All that can do what `case` asks for, by name."""
    theta = _theta(case)
    layer = Warp(case.family)
    found: dict[str, Callable] = {}
    for who, warp, params in (
        (OURS, lambda images, params: layer([images, params]), case.params),
        (TEXTBOOK, textbook, theta),
    ):
        function, tensors = _tensorflow(warp, params, case)
        # As arguments: XLA would fold tensors from around a function into it.
        found[f"{who}, compiled"] = functools.partial(_compiled(function), *tensors)
        found[f"{who}, tf.function"] = functools.partial(
            tf.function(function, autograph=False), *tensors
        )
        if who == OURS and case.task == FORWARD:
            found[f"{who}, eager"] = functools.partial(function, *tensors)
    if importlib.util.find_spec("torch") is not None:
        for layout in ("NCHW", "NHWC"):
            found[f"{TORCH}, {layout}"] = _torch(theta, case, layout)
    made = {name: Contender(_waiting(function)) for name, function in found.items()}
    if case.task != FORWARD:
        return made
    for name, function in found.items():
        if name.startswith(TORCH) or name.endswith("compiled"):
            several = functools.partial(function, turns=range(1 + _MORE))
            made[f"{ONE_MORE}, {name}"] = Contender(_waiting(several), name, _MORE)
    return made | {
        name: Contender(_waiting(function)) for name, function in _forward_only(theta, case).items()
    }


def _compiled(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)


def _waiting(function: Callable) -> Callable[[], list[np.ndarray]]:
    def run():
        return [np.asarray(result) for result in tf.nest.flatten(function())]

    return run


def _theta(case: Case) -> np.ndarray:
    family = transforms.get(case.family)
    if not isinstance(family, transforms.MatrixTransform):
        raise ValueError(f"family must be one of affine maps. Received: family={case.family!r}.")
    return family.theta(tf.constant(case.params)).numpy()


def _tensorflow(
    warp: Callable, params: np.ndarray, case: Case, dtype: str = "float32"
) -> tuple[Callable[..., list[Tensor]], list[Tensor]]:
    """A function that does what `case` asks for, and its arguments."""

    def forward(images, params, upstream, turns=range(1)):
        return [warp(images, params + _SHIFT * turn) for turn in turns]

    def step(images, params, upstream):
        sources = [params] if case.task == PARAMS else [params, images]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            output = warp(images, params)
        return [output, *tape.gradient(output, sources, output_gradients=upstream)]

    tensors = [tf.constant(array, dtype) for array in (case.images, params, case.upstream)]
    return forward if case.task == FORWARD else step, tensors


def _torch(theta: np.ndarray, case: Case, layout: str) -> Callable[[], Any]:
    import torch
    from torch.nn import functional

    batch, height, width, channels = case.shape
    memory = torch.channels_last if layout == "NHWC" else torch.contiguous_format
    images, upstream = (
        torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=memory)
        for array in (case.images, case.upstream)
    )
    steering = torch.from_numpy(theta)

    def warp(images, theta):
        grid = functional.affine_grid(theta, [batch, channels, height, width], align_corners=False)
        return functional.grid_sample(images, grid, align_corners=False)

    def forward(turns=range(1)):
        with torch.no_grad():
            return [warp(images, steering + _SHIFT * turn).permute(0, 2, 3, 1) for turn in turns]

    def step():
        source, params = images.detach(), steering.clone().requires_grad_()
        if case.task == BOTH:
            source.requires_grad_()
        output = warp(source, params)
        output.backward(upstream)
        return [output.detach().permute(0, 2, 3, 1), params.grad]

    return forward if case.task == FORWARD else step


def _forward_only(theta: np.ndarray, case: Case) -> dict[str, Callable]:
    """What Keras and TensorFlow have: no gradient to the map, other borders; and what touching costs."""
    images = tf.constant(case.images)
    pixels = tf.constant(_in_pixels(theta, case.shape))
    size = case.shape[1:3]

    def raw():
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=pixels,
            output_shape=size,
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )

    return {
        "keras affine_transform": lambda: keras.ops.image.affine_transform(
            images, pixels, data_format="channels_last"
        ),
        "ImageProjectiveTransformV3": tf.function(raw, autograph=False),
        RESIZE: lambda: tf.image.resize(images, (size[0] + 1, size[1] + 1)),
        COPY: lambda: case.images.copy(),
    }


def _in_pixels(theta: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """theta as the eight numbers of TensorFlow's projective transform: output pixel to input pixel."""
    height, width = shape[1:3]
    to_normalised = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    rows = np.concatenate([theta, np.tile([[[0, 0, 1]]], (len(theta), 1, 1))], axis=1)
    matrices = np.linalg.inv(to_normalised) @ rows @ to_normalised
    return matrices.reshape(-1, 9)[:, :8].astype("float32")
