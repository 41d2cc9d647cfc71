"""The sampler as GridSample: what stands in for the gathers while an ONNX graph is traced.

TensorFlow has no such op, so `read` writes a marker, a PyFunc that never runs and that no optimiser of
TensorFlow's touches, and `to_onnx` turns it into the node. Everything around it is TF ops:

- Coordinates are settled first (`taps.bounded`). ONNX Runtime reads the middle of the image for those
  that are NaN or infinite, and its own reflection, on normalised float32 coordinates, is off by 1e-4
  pixels five images away.
- The image lies on a canvas, which continues it where no mode of GridSample does.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import grids
from keras_stn.points import Points
from keras_stn.sampler import Sampling
from keras_stn.sampler.interpreter import framed
from keras_stn.sampler.taps import bounded

Tensor = Any

OP = "PyFunc"  # the marker's type in TensorFlow's graph

# The first opset whose GridSample takes volumes, and has other names for its modes.
VOLUMES = 20
RENAMED = {b"bilinear": b"linear", b"bicubic": b"cubic"}
_MODES = ("nearest", "bilinear", "bicubic")
_FILL_MODES = ("constant", "nearest", "reflect", "mirror", "wrap")
_PADDINGS = ("zeros", "border", "reflection")


def obstacle(images: Tensor, sampling: Sampling, opset: int) -> str | None:
    """Why GridSample cannot take the place of the gathers here, if it cannot.

    It has no kernel and no fill mode that a user adds, one padding for all axes, and below opset 20 no
    volumes, of which it then has no cubics. Its coordinates have the dtype of the images, and ONNX
    Runtime's kernel below opset 20 is for float32 alone. Half precision goes through it, as the sampler
    sums in float32; float64 and integers would lose digits. And a tf.function of the model's own keeps
    what it has traced: the live model would be left with a marker that never runs.
    """
    if images.dtype not in (tf.float32, tf.float16, tf.bfloat16):
        return f"{images.dtype.name} images"
    if sampling.interpolation not in _MODES:
        return f"interpolation={sampling.interpolation!r}"
    if sampling.fill_mode not in _FILL_MODES:
        return f"fill_mode={sampling.fill_mode!r}"
    if images.shape.rank > 4 and opset < VOLUMES:
        return f"volumes, which need opset={VOLUMES}"
    if images.shape.rank > 4 and sampling.interpolation == "bicubic":
        return "cubics of volumes"
    graph, functions = tf.compat.v1.get_default_graph(), 0
    while hasattr(graph, "outer_graph"):
        functions += type(graph).__name__ == "FuncGraph"  # not those of branches and loops
        graph = graph.outer_graph
    return "inside a tf.function" if functions > 1 else None


def read(images: Tensor, points: Points, sampling: Sampling, border: bool = False) -> Tensor:
    """`sampler.read` with one GridSample, where there is no `obstacle`.

    `border`: by "border" with align_corners=1, where that is the same.
    """
    size = grids.image_size(images)
    source = tf.cast(images, tf.float32)
    # Less the fill value, what is outside is zero, as in GridSample. A large one would take digits of
    # the image with it, and "nearest" keeps all of them.
    smooth = sampling.interpolation != "nearest"
    subtracted = smooth and 0 < np.abs(sampling.fill or 0).max() <= 1
    fill_value = np.array(sampling.fill, "float32")
    if subtracted:
        source, sampling = source - fill_value, dataclasses.replace(sampling, fill_value=0.0)
    canvas = _canvas(source, size, sampling, subtracted, border)

    def on_canvas(coordinate, length, canvas_length):
        """Where to read along an axis of `length` pixels: (numerator, divisor) for `_marker`."""
        coordinate = bounded(coordinate, length, sampling)
        if canvas.continued_below is not None:
            once_more = tf.cast(length, coordinate.dtype)
            coordinate += tf.where(coordinate < canvas.continued_below, once_more, 0.0)
        offset, divisor = grids.normalising(canvas_length, canvas.align_corners, coordinate.dtype)
        offset += canvas.before
        return coordinate + offset if offset else coordinate, divisor

    lengths = [*zip(size, grids.image_size(canvas.images), strict=True)][::-1]  # x first
    shapes = {tuple(axis.shape) for axis in points.axes}
    ndim = len(lengths)
    if len(shapes) > 1:  # less to compute before they are broadcast
        axes = [on_canvas(axis, *length) for axis, length in zip(points.axes, lengths, strict=True)]
        whole = functools.reduce(tf.add, (tf.zeros_like(axis) for axis, _ in axes))
        axes = [(axis + whole, divisor) for axis, divisor in axes]
    elif isinstance(size[0], int) and len(set(size)) == 1:  # all in one go: half as many nodes
        together = tf.transpose(points.stacked, (*range(1, ndim + 2), 0))  # (batch, [d,] h, w, ndim)
        axes = [on_canvas(together, *lengths[0])]
    else:  # one by one: broadcasting sizes over the last axis takes 15 times as long
        axes = [on_canvas(axis, *length) for axis, length in zip(points.axes, lengths, strict=True)]

    planes = tf.transpose(canvas.images, (0, ndim + 1, *range(1, ndim + 1)))  # (batch, channels, ...)
    sampled = _marker(planes, axes, sampling, canvas)  # (batch, channels, [d,] h, w)
    sampled = tf.ensure_shape(sampled, (*planes.shape[:2], *axes[0][0].shape[1 : ndim + 1]))
    sampled = tf.transpose(sampled, (0, *range(2, ndim + 2), 1))
    return tf.cast(sampled + fill_value if subtracted else sampled, images.dtype)


class _Canvas(NamedTuple):
    """What GridSample reads, and how.

    GridSample makes a pixel of a coordinate by `(n + 1) * size / 2 - 1 / 2`, or `(n + 1) * (size - 1) /
    2` with align_corners, in float32. The second loses less, most of all past the last pixel, and bits
    count for cubics: noise has slopes of 2 in one, and with the first differs from Keras by 8e-6 at 64
    pixels.
    """

    images: Tensor
    padding: str
    before: int = 0  # pixels on the canvas before the first of the image
    continued_below: float | None = None  # coordinates below are read where the image is continued
    align_corners: bool = False


def _canvas(images, size, sampling, subtracted, border) -> _Canvas:
    interpolation, fill_mode = sampling.interpolation, sampling.fill_mode
    if border and (interpolation, fill_mode) == ("bilinear", "nearest"):
        return _Canvas(images, "border", align_corners=True)
    if any(sampling.fill):
        padding = "zeros" if interpolation == "bilinear" else "border"
        return _Canvas(framed(images, sampling), padding, before=1)
    if interpolation == "nearest":
        return _Canvas(images, "zeros" if fill_mode == "constant" else "border")
    # Less the fill value, the border may be a step of 2, where the last canvas below is off by 4e-6, and
    # this by 7e-6.
    if interpolation == "bilinear" and not subtracted:
        # Coordinates are inside, so that all paddings are one. ONNX Runtime has a fast kernel for
        # "zeros": 0.36 ms instead of 3.6 at 56x56x64.
        if fill_mode == "wrap":
            return _Canvas(
                _continued(images, size, [1] * len(size), sampling), "zeros", continued_below=0.0
            )
        return _Canvas(images, "zeros")
    if fill_mode == "nearest":
        return _Canvas(images, "border", align_corners=True)
    if fill_mode == "reflect":
        return _Canvas(images, "reflection")
    least = 3 if fill_mode == "wrap" else 1
    images = _continued(images, size, [_more(length, least) for length in size], sampling)
    if fill_mode == "wrap":
        return _Canvas(images, "border", continued_below=1.0, align_corners=True)
    return _Canvas(images, "zeros" if fill_mode == "constant" else "reflection", align_corners=True)


def _more(length: Any, least: int) -> Any:
    """How many pixels to add to `length`: `least`, or so many that coordinates are exact.

    They are where the canvas has 2^k + 1 pixels, as they are divided by half of 2^k. Not above 64
    pixels: the bounds are wider there, and the canvas may be twice as wide.
    """
    if not isinstance(length, int) or length > 64:
        return least
    return 2 ** (length + least - 2).bit_length() + 1 - length


def _continued(images, size, more, sampling):
    """`images` with so many more pixels below and to the right, as the fill mode continues them."""
    if sampling.border.filled:
        return tf.pad(images, ((0, 0), *((0, count) for count in more), (0, 0)))
    for axis, (length, count) in enumerate(zip(size, more, strict=True), start=1):
        positions = tf.cast(tf.range(length + count), tf.float32)
        pixels = sampling.border.repeat(positions, tf.cast(length, tf.float32))
        images = tf.gather(images, tf.cast(pixels, tf.int32), axis=axis)
    return images


def _marker(planes, axes, sampling, canvas):
    # The attributes travel as a constant input, the one thing that survives inlining and freezing. The
    # division stays behind the marker, because TensorFlow's optimiser would make it a product.
    mode, padding = _MODES.index(sampling.interpolation), _PADDINGS.index(canvas.padding)
    attributes = tf.constant([mode, padding, int(canvas.align_corners)])
    inputs = [attributes, planes, *(tensor for axis in axes for tensor in axis)]
    return tf.numpy_function(_never_run, inputs, tf.float32)


def _never_run(*_):
    raise RuntimeError("a marker for the ONNX export was run; it is only there to be converted.")


def to_onnx(context, node, name, arguments):
    """Turns the marker into GridSample: a handler for `custom_op_handlers` of tf2onnx."""
    if len(node.input) not in (4, 6, 8):
        return  # somebody else's PyFunc, which has no operator in ONNX
    _, planes, *places = node.input
    interpolation, padding, align_corners = node.inputs[0].get_tensor_value()
    attributes = {
        "mode": _MODES[interpolation],
        "padding_mode": _PADDINGS[padding],
        "align_corners": align_corners,
    }
    outputs, shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    context.remove_node(name)
    one = context.make_const(f"{name}_one", np.float32(1)).output[0]
    axes = []
    for numerator, divisor in zip(places[::2], places[1::2], strict=True):
        quotient = context.make_node("Div", [numerator, divisor]).output[0]
        axes.append(context.make_node("Sub", [quotient, one]).output[0])
    if len(axes) > 1:
        last = context.make_const(f"{name}_last", np.array([-1], np.int64)).output[0]
        axes = [context.make_node("Unsqueeze", [axis, last]).output[0] for axis in axes]
        axes = context.make_node("Concat", axes, attr={"axis": -1}).output
    context.make_node(
        "GridSample",
        [planes, axes[0]],
        attr=attributes,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
        name=name,
    )


def where_to_onnx(context, node, name, arguments):
    """tf.where as Where. tf2onnx makes it a sum of products with 0 and 1, which lets NaN through."""
    node.type = "Where"
