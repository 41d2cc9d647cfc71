"""Which form the sampler takes where, and when XLA is asked to compile it."""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

# Values of the output from which compiling pays. At this size it takes 0.1 s and saves 7 ms of 8 of an
# eager call, and takes half a second and saves 2.3 ms of 3.1 of a training step in a graph.
_WORTH_COMPILING = 2**14
_TYPICAL_BATCH = 64

# Shapes for which eager calls are compiled: of one layer, or of all calls of an op in the same modes.
# Each takes 0.2 s and 4 MB that TensorFlow does not give back, which photographs of all sizes are not
# worth: 25 ms each, as they are.
_MOST_SHAPES = 32

# Points of an output from which coordinates are added late, and the gradients of a batch are made in a
# loop, for the memory: at 8x192x192x3 a step takes as
# long with it as without, at 8x512x512x3 a third longer. For two images it saves nothing.
_LARGE = 2**15

stand_in: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("stand_in", default=None)
_for_gpu: contextvars.ContextVar[bool] = contextvars.ContextVar("for_gpu", default=False)


@contextlib.contextmanager
def replaced_by(function: Callable) -> Iterator[None]:
    """Within this context `keras_stn.sampler.sample` calls `function` with its arguments.

    For exports: a file format may have a better form of the same numbers, such as one GridSample in
    ONNX. What is traced in here, and only that, has that form.
    """
    token = stand_in.set(function)
    try:
        yield
    finally:
        stand_in.reset(token)


@contextlib.contextmanager
def for_gpu() -> Iterator[None]:
    """Within this context functions are traced for a GPU, on machines that have none."""
    token = _for_gpu.set(True)
    try:
        yield
    finally:
        _for_gpu.reset(token)


def on_gpu() -> bool:
    """Whether what is traced will run on a GPU: one launch for a batch, and not one for each image."""
    return _for_gpu.get() or bool(tf.config.get_visible_devices("GPU"))


def hint(images: tf.Tensor, shape: Sequence[int | None]) -> contextlib.AbstractContextManager:
    """A context whose ops TensorFlow compiles by XLA, for an output of `shape`, where that pays.

    No more than a hint: runtimes without XLA pass over it, as do compiled functions around it. Files are
    traced without it.
    """
    if tf.executing_eagerly() or stand_in.get() is not None or not _worth_compiling(images, shape):
        return contextlib.nullcontext()
    return tf.xla.experimental.jit_scope()


def _worth_compiling(images: tf.Tensor, shape: Sequence[int | None]) -> bool:
    if None in images.shape[1:]:  # XLA would compile again for each size that comes
        return False
    batch, *sizes = shape
    return (batch or _TYPICAL_BATCH) * math.prod(size or 0 for size in sizes) >= _WORTH_COMPILING


def image_by_image(images: tf.Tensor, shape: Sequence[int | None]) -> bool:
    """Whether gradients, of an output of `shape`, are made of one of `images` after the other.

    For many large ones, compiled, and not on a GPU, which a single image does not fill.
    """
    batch, *_ = shape
    return (batch is None or batch > 2) and _large(images, shape)


def added_late(images: tf.Tensor, shape: Sequence[int | None]) -> bool:
    """Whether a coordinate is added up where it is used, from what column and row give to it.

    The coordinates are then never there for the batch, and a forward pass is faster: 5.3 ms for 5.8 at
    2x512x512x3. A step takes longer with one image (1.3 ms for 1.0 at 1x224x224x3, but 1.9 for 1.8 with
    two) and with one channel (4.7 for 2.5 at 2x300x300x1).
    """
    batch, *_, channels = shape
    return batch != 1 and channels != 1 and _large(images, shape)


def _large(images: tf.Tensor, shape: Sequence[int | None]) -> bool:
    _, height, width, _ = shape
    large = (height or 0) * (width or 0) >= _LARGE
    return large and _worth_compiling(images, shape) and not on_gpu()


class Compiled:
    """A function of tensors that XLA compiles for large outputs: where called eagerly, and by a hint.

    A plain object, because TensorFlow saves compiled functions among the attributes of a layer.
    """

    def __init__(self, function: Callable):
        self._plain = function
        # One for each shape: TensorFlow warns of a function that it traces for several. None where a
        # transform family of the user's own does what cannot be compiled, such as a look at a number.
        self._compiled: dict[tuple, Callable | None] = {}

    def __reduce__(self):  # a copy of a layer compiles the copy's method
        return Compiled, (self._plain,)

    def _compiled_for(self, signature: tuple) -> Callable | None:
        """The compiled function, or None where it is one shape too many or cannot be compiled."""
        if signature not in self._compiled and len(self._compiled) < _MOST_SHAPES:
            self._compiled[signature] = self._compile(signature)
        return self._compiled.get(signature)

    def _compile(self, signature: tuple) -> Callable | None:
        function = tf.function(self._plain, jit_compile=True, autograph=False)
        # Concrete, which saves TensorFlow to look at the arguments again: 0.30 ms for 0.38 of a call.
        try:
            return function.get_concrete_function(*(tf.TensorSpec(*spec) for spec in signature))
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            # What TensorFlow raises for a look at a number or a branch on one. If there is more to it
            # than the compiling, the plain function raises it again.
            return None

    def __call__(self, shape: Sequence[int | None], *tensors: Any) -> Any:
        """The function of `tensors`, the first of them images, whose output has `shape`."""
        images, *_ = tensors
        if tf.executing_eagerly() and stand_in.get() is None and _worth_compiling(images, shape):
            signature = tuple((tuple(t.shape), t.dtype) for t in tensors)
            compiled = self._compiled_for(signature)
            if compiled:
                try:
                    return compiled(*tensors)
                except tf.errors.InvalidArgumentError:  # an op that XLA has not, such as a py_function
                    self._compiled[signature] = None
        # Not in a function of its own, although the gradient would then have the hint as well: XLA takes
        # what such a function hands to its gradient for constants, and all its arguments with them.
        with hint(images, shape):
            return self._plain(*tensors)
