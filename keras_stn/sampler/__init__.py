"""The sampler: reads channels_last images at points, by gathers, in plain TF ops.

One idea carries all fill modes. `fill_mode` extends the image to the whole plane, and the sampler
interpolates that extension. So each axis has a handful of taps, whole pixels around the coordinate
with a weight each (two for bilinear), and fill_mode only decides which pixel stands at a tap:

    output = sum over taps i of y, j of x:   weight_i * weight_j * image[pixel_i, pixel_j]

which is eq. (3) of Jaderberg et al. (2015, arXiv:1506.02025) with a kernel of finite support, and its
gradient eq. (6) and (7), with the derivative from the right at a pixel centre.

`kernels` has the weights and `borders` the pixels; `taps` puts them together along one axis. A *reader*
multiplies axes: `xla`, for training and serving in TensorFlow, with a gradient of its own, in the form
that `plan` chooses for the shapes; `interpreter`, for files that run on phones; and what exporters bring
along. They give the same numbers.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_stn.grids import shape_of
from keras_stn.points import Points, repeated
from keras_stn.sampler import antialias, interpreter, plan, xla
from keras_stn.sampler.borders import BORDERS
from keras_stn.sampler.kernels import KERNELS
from keras_stn.sampler.plan import for_gpu
from keras_stn.sampler.sampling import Sampling
from keras_stn.sampler.taps import check_size

__all__ = [
    "BORDERS",
    "KERNELS",
    "Points",
    "Reader",
    "Sampling",
    "compiled",
    "for_gpu",
    "interpreter",
    "plan",
    "read",
    "splat",
    "using",
]

Tensor = Any
Reader = Callable[[Tensor, Points, Sampling], Tensor]

_reader: contextvars.ContextVar[Reader] = contextvars.ContextVar("reader", default=plan.read)


@contextlib.contextmanager
def using(reader: Reader) -> Iterator[None]:
    """Within this context images are read by `reader`.

    For exports: a file format may have a better form of the same numbers, such as one GridSample in
    ONNX. What is traced in here, and only that, has that form.
    """
    token = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(token)


def compiled(images: Tensor, output_shape: Any) -> contextlib.AbstractContextManager:
    """A context in which points are made for `read`: compiled together with it, where that pays.

    Args:
        images: (batch, [D,] H, W, channels).
        output_shape: (batch, [d,] h, w, channels), None where it is not static.
    """
    if _reader.get() is not plan.read:  # files are traced without it
        return contextlib.nullcontext()
    static = (size if isinstance(size, int) else None for size in output_shape)
    return plan.compiled(images.shape, tuple(static))


def read(images: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """The values of `images` at `points`.

    Args:
        images: (batch, [D,] H, W, channels).
        points: Where to read. A batch that is known to be 1, of images or of points, goes with any
            other, and no image is copied.
        sampling: How.

    Returns:
        (batch, [d,] h, w, channels), in the dtype of `images`.
    """
    check_size("images", images.shape, sampling)
    if images.dtype == tf.bool:  # which has no products
        return tf.cast(read(tf.cast(images, tf.uint8), points, sampling), tf.bool)
    if images.shape[-1] is None and len(sampling.fill) > 1:  # other images would be broadcast to so many
        images = tf.ensure_shape(images, (*[None] * (images.shape.rank - 1), len(sampling.fill)))
    batch = points.shape[0]
    points = _of_one_batch(points)
    if sampling.antialias:
        compiles = _reader.get() is plan.read and points.whole is None
        # Not in eager calls: TensorFlow finds no second derivative of a compiled function with choices.
        choose = compiles and not tf.executing_eagerly()
        averaging = functools.partial(antialias.read, plain=read, choose=choose)
        if compiles:
            return plan.in_one(averaging, images, points, sampling)
        return averaging(images, points, sampling)
    if batch != images.shape[0]:
        if images.shape[0] == 1:
            return _of_one_image(images, points, sampling)
        if batch == 1:
            points = points.tiled(shape_of(images)[0])
    return _reader.get()(images, points, sampling)


def splat(values: Tensor, points: Points, size: tuple[int, ...], sampling: Sampling) -> Tensor:
    """The adjoint of `read`: images of `size` to which `values` are given at `points`.

    Args:
        values: (batch, [d,] h, w, channels), floating point.
        points: Where they go, of as many or, known, for all.
        size: ([D,] H, W), static.
        sampling: How images would be read. A fill value takes what goes outside, and is left out.

    Returns:
        (batch, [D,] H, W, channels), in the dtype of `values`.
    """
    check_size("output", (values.shape[0], *size, None), sampling)
    points = _of_one_batch(points)
    if points.shape[0] == 1 and values.shape[0] != 1:
        points = points.tiled(shape_of(values)[0])
    if _reader.get() is plan.read:
        return plan.splat(values, points, size, sampling)
    return xla.splat(values, points.axes, size, sampling)  # in one piece, for files


def _of_one_batch(points: Points) -> Points:
    """All axes with the batch of the points: a family may leave one as it is, for every map."""
    if len({batch == 1 for batch in points.batches}) == 1:
        return points
    batch = next(shape_of(axis)[0] for axis in points.axes if axis.shape[0] != 1)
    return points.each(lambda axis: repeated(axis, batch) if axis.shape[0] == 1 else axis)


def _of_one_image(image: Tensor, points: Points, sampling: Sampling) -> Tensor:
    """One image at many poses."""
    values = _reader.get()(image, points.below(points.batch, batch=1), sampling)
    return tf.reshape(values, (points.batch, *points.output_size, shape_of(image)[-1]))
