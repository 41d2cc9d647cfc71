"""Which form the sampler takes for which shapes: thresholds, compilation, loop and caches. No formulas.

A `Plan` is data, made once for static shapes, so that any plan can be run on small images.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from keras_stn.grids import shape_of
from keras_stn.points import Points
from keras_stn.sampler import xla
from keras_stn.sampler.sampling import Sampling

Tensor = Any
Shape = Sequence[int | None]


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Where one form beats another: on two cores, in ms, without and with it.

    Attributes:
        compiled: Values of an output from which XLA pays. At this size it takes 0.1 s and saves 7 ms of
            8 of an eager call, and takes half a second and saves 2.3 ms of 3.1 of a training step.
        looped: Points of an output from which the gradients of more than two images are made one image
            after the other. What a step needs in between is there for one: at 8x224x224x3 a step to
            params and images takes 15.5 MB instead of 56, and 11.6 ms instead of 10.1.
        blocks: Channels up to which, on a CPU, one scatter of 2x2 taps side by side beats a scatter of
            each. On an H100 a scatter of each is always faster: a step to params and images takes
            0.61 ms instead of 0.85 at 64x224x224x3, and 2.3 instead of 2.8 at 8x1024x1024x3.
        chunks: Parts of a batch whose scatters run side by side, on two cores: in a step to params and
            images 13.4 ms instead of 14.9 at 16x56x56x64, and 6 instead of 9 in batches of unknown size
            at 128x40x40x1.
        shapes: Shapes for which eager calls of a `Sampling` are compiled. Each takes 0.2 s and 4 MB
            that TensorFlow does not give back, which photographs of all sizes are not worth: 25 ms each,
            as they are.
        typical_batch: Stands for a batch that is not known.
    """

    compiled: int = 2**14
    looped: int = 2**15
    blocks: int = 16
    chunks: int = 8
    shapes: int = 32
    typical_batch: int = 64


THRESHOLDS = Thresholds()


@dataclasses.dataclass(frozen=True)
class Plan:
    """How images are read and gradients are made.

    Attributes:
        compiled: Whether XLA compiles it: eager calls as functions, graphs by a hint.
        looped: Whether the gradients are made one image after the other.
        blocks: Whether the gradient to the images is one scatter of all taps side by side.
        chunks: In how many parts of the batch it is scattered.
    """

    compiled: bool = False
    looped: bool = False
    blocks: bool = False
    chunks: int = 1


def plan_for(
    images: Shape, output: Shape, sampling: Sampling, gpu: bool = False, loops: bool = True
) -> Plan:
    """The plan for images and an output of these shapes, (batch, [D,] H, W, channels)."""
    batch, *sizes, channels = output
    compiled = _pays(images, output)
    # Not on a GPU, which a single image does not fill.
    large = (batch or math.inf) > 2 and _points(sizes) >= THRESHOLDS.looped
    looped = loops and compiled and not gpu and large
    # Where the image repeats, two taps that are neighbours may be far apart.
    adjacent = sampling.kernel.offsets == (0, 1) and not any(
        border.repeat for border in sampling.borders
    )
    few = channels is not None and channels <= THRESHOLDS.blocks
    return Plan(
        compiled=compiled,
        looped=looped,
        blocks=adjacent and few and not gpu,
        chunks=1 if gpu or looped else THRESHOLDS.chunks,
    )


def _pays(images: Shape, output: Shape) -> bool:
    """Whether compiling does."""
    if None in images[1:]:  # XLA would compile again for each size that comes
        return False
    batch, *sizes = output
    return (batch or THRESHOLDS.typical_batch) * _points(sizes) >= THRESHOLDS.compiled


def _points(sizes: Shape) -> int:
    return math.prod(size or 0 for size in sizes)


# --- Where it runs -------------------------------------------------------------------------------------

_for_gpu: contextvars.ContextVar[bool] = contextvars.ContextVar("for_gpu", default=False)


@contextlib.contextmanager
def for_gpu() -> Iterator[None]:
    """Within this context functions are traced for a GPU, on machines that have none."""
    token = _for_gpu.set(True)
    try:
        yield
    finally:
        _for_gpu.reset(token)


def _on_gpu() -> bool:
    return _for_gpu.get() or bool(tf.config.get_visible_devices("GPU"))


def compiled(images: Shape, output: Shape) -> contextlib.AbstractContextManager:
    """A context whose ops TensorFlow compiles by XLA when it runs the graph, where that pays.

    For what makes the points: inside of what is compiled, they are never written to memory.
    """
    return _in_graphs(_pays(images, output))


def _in_graphs(pays: bool) -> contextlib.AbstractContextManager:
    """No more than a hint: runtimes without XLA pass over it, as do compiled functions around it."""
    graph = pays and not tf.executing_eagerly()
    return tf.xla.experimental.jit_scope() if graph else contextlib.nullcontext()


# --- Reading by a plan ---------------------------------------------------------------------------------


def read(images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """`keras_stn.sampler.read` in the form that suits the shapes."""
    _check_batch(images, points)
    output = (*points.shape, images.shape[-1])
    return read_by(plan_for(images.shape, output, sampling, _on_gpu()), images, points, sampling)


def _check_batch(images: Tensor, points: Points) -> None:
    """Raise where there are not as many maps as images, in graphs when they run.

    Forward they would be broadcast, and the gradient would be that of something else. Where all of it is
    compiled, XLA leaves the check out.
    """
    message = (
        "there must be as many maps (rows of params, grids) as images in a batch; a batch of 1 that "
        "is to go with all must be known to be 1: keras.Input(..., batch_size=1), tensor[:1]"
    )
    if points.shape[0] is None or points.shape[0] != images.shape[0]:
        tf.debugging.assert_equal(points.batch, shape_of(images)[0], message)


def read_by(plan: Plan, images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """`read` by a plan that is given."""
    if points.whole is not None:
        points = Points(tuple(map(tf.add, points.whole, points.axes)))
    make, tensors = points.recipe
    return _run(_reader, (sampling, plan, make), images, *tensors)


def splat(values: Tensor, points: Points, size: tuple[int, ...], sampling: Sampling) -> Tensor:
    """`keras_stn.sampler.splat` in the form that suits the shapes: as for the gradient to images."""
    _check_batch(values, points)
    images = (values.shape[0], *size, values.shape[-1])
    plan = plan_for(images, values.shape, sampling, _on_gpu(), loops=False)
    make, tensors = points.recipe
    return _run(_splatter, (sampling, plan, make, size), values, *tensors)


def _run(maker: Callable, settings: tuple, *tensors: Tensor) -> Tensor:
    """The function that `maker` makes of settings, (sampling, plan, ...), of tensors."""
    _, plan, *_ = settings
    signature = _signature(tensors)
    if not tf.executing_eagerly():
        function = _traced(signature, maker, settings)
    else:
        compiled = _compiled(signature, maker, settings) if plan.compiled else None
        function = compiled or maker(*settings)
    return function(*tensors)


def _signature(tensors: Sequence[Tensor]) -> tuple:
    """What tells apart the tensors for which a function is traced."""
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)


@functools.lru_cache(maxsize=256)
def _traced(signature: tuple, maker: Callable, settings: tuple) -> Callable:
    """What `maker` makes as a function, which graphs call and optimisers inline.

    TensorFlow never forgets a custom gradient made in a graph, nor the graph. So each is made once, in a
    small graph, and not once for each model.
    """
    return tf.function(maker(*settings), autograph=False)


# What eager calls have compiled.
COMPILED: dict[Sampling, dict[tuple, Callable]] = {}


def _compiled(signature: tuple, maker: Callable, settings: tuple) -> Callable | None:
    """What `maker` makes, compiled, or None where it is one shape too many."""
    sampling, *rest = settings
    functions = COMPILED.setdefault(sampling, {})
    key = signature, maker, *rest
    if key not in functions and len(functions) < THRESHOLDS.shapes:
        function = tf.function(maker(*settings), jit_compile=True, autograph=False)
        # Concrete, which saves TensorFlow to look at the arguments again: 0.30 ms instead of 0.38 of a
        # call.
        specs = (tf.TensorSpec(*spec) for spec in signature)
        functions[key] = function.get_concrete_function(*specs)
    return functions.get(key)


def in_one(read: Callable, images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """`read`, of many ops and of plain reads: eager calls of it are compiled in one, where that pays.

    55 ms instead of 2 at 8x224x224x3 and an output of 56x40.
    """
    make, tensors = points.recipe
    key = _signature((images, *tensors)), make, points.even, points.maps
    functions = COMPILED.setdefault(sampling, {})
    pays = (
        tf.executing_eagerly()
        and isinstance(points.maps, int)
        and _pays(images.shape, (*points.shape, images.shape[-1]))
    )
    if not pays or (key not in functions and len(functions) >= THRESHOLDS.shapes):
        return read(images, points, sampling)
    if key not in functions:
        even, maps = points.even, points.maps

        def of_tensors(images, *tensors):
            return read(images, Points(tuple(make(*tensors)), even=even, maps=maps), sampling)

        function = tf.function(of_tensors, jit_compile=True, autograph=False)
        functions[key] = function.get_concrete_function(*(tf.TensorSpec(*spec) for spec in key[0]))
    return functions[key](images, *tensors)


@functools.lru_cache(maxsize=256)
def _reader(sampling: Sampling, plan: Plan, make: Callable) -> Callable:
    """The function of images and what the points are made of, with its gradient."""

    def read(images, *tensors):
        with _in_graphs(plan.compiled):
            return xla.output(images, make(*tensors), sampling)

    @tf.custom_gradient
    def read_with_gradient(images, *tensors):
        def gradient(upstream):
            with _in_graphs(plan.compiled):
                found = _gradients(images, upstream, *tensors, sampling=sampling, plan=plan, make=make)
            return (*found, *[None] * (1 + len(tensors) - len(found)))

        return read(images, *tensors), gradient

    return lambda images, *tensors: (read_with_gradient if images.dtype.is_floating else read)(
        images, *tensors
    )


@functools.lru_cache(maxsize=256)
def _splatter(sampling: Sampling, plan: Plan, make: Callable, size: tuple[int, ...]) -> Callable:
    """The function of values and what the points are made of, with its gradient."""

    @tf.custom_gradient
    def splat(values, *tensors):
        def gradient(upstream):
            with _in_graphs(plan.compiled):
                found = xla.splat_gradients(values, upstream, *tensors, make=make, sampling=sampling)
            return (*found, *[None] * (1 + len(tensors) - len(found)))

        with _in_graphs(plan.compiled):
            total = xla.splat(values, make(*tensors), size, sampling, plan.blocks, plan.chunks)
        return total, gradient

    return splat


def _gradients(images, upstream, *tensors, sampling, plan, make):
    settings = {"make": make, "sampling": sampling, "blocks": plan.blocks, "chunks": plan.chunks}
    if not plan.looped:
        return xla.gradients(images, upstream, *tensors, **settings)
    # The gradients have the shapes of the images and, but for the nearest kernel, of the tensors.
    like = (0, *range(2, 2 + len(tensors))) if sampling.kernel.slopes else (0,)
    tensors = images, upstream, *tensors
    return _loop(_signature(tensors), like, *settings.items())(*tensors)


@functools.lru_cache(maxsize=256)
def _loop(signature: tuple, like: tuple[int, ...], *settings: tuple[str, Any]) -> Callable:
    """`xla.gradients`, for one image of the batch after the other."""
    function = functools.partial(xla.gradients, **dict(settings))

    @tf.custom_gradient
    def loop(*tensors):
        batch, *_ = shape_of(tensors[0])

        def add(index, *totals):
            # The loop is compiled for an empty batch, too.
            number = index + tf.range(tf.minimum(batch, 1))
            found = function(*(tf.gather(tensor, number) for tensor in tensors))
            put = functools.partial(tf.tensor_scatter_nd_update, indices=tf.expand_dims(number, 1))
            return index + 1, *(
                put(total, updates=one) for total, one in zip(totals, found, strict=True)
            )

        def gradient(*upstreams):  # of a loop it would be a list, which XLA and TensorFlow cannot share
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                results = function(*tensors)
            return tape.gradient(results, tensors, list(upstreams))

        start = 0, *(tf.zeros_like(tensors[number]) for number in like)
        _, *totals = tf.while_loop(lambda index, *_: index < batch, add, start, maximum_iterations=batch)
        return totals, gradient

    # Inlined, TensorFlow would take the loop apart before XLA could compile it: 38 ms instead of 10.5.
    return tf.function(loop, autograph=False, experimental_attributes={"_noinline": True})


# What is traced and kept for the life of the process, once for each shape.
CACHES = _traced, _reader, _splatter, _loop
