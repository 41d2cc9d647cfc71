"""The sampler as GridSample: what stands in for the gathers while an ONNX graph is traced.

TensorFlow has no such op, so `sample` writes a marker, a PyFunc that never runs and that no optimiser of
TensorFlow's touches, and `to_onnx` turns it into the node. Everything around it is TF ops:

- Coordinates are settled first (`sampler.settle`). ONNX Runtime reads the middle of the image for those
  that are NaN or infinite, and its own reflection, on normalised float32 coordinates, is off by 1e-4
  pixels five images away.
- What GridSample has no mode for stands around the image, one pixel wide or two: a `fill_value` other
  than zero, the other side for "wrap", and what the outer taps of a cubic find in "reflect" and
  "mirror". The node itself needs only "zeros" and "border".
"""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids, sampler

Tensor = Any

OP = "PyFunc"  # the marker's type in TensorFlow's graph

_PADDINGS = ("zeros", "border")


def suits(dtype: tf.DType) -> bool:
    """Whether GridSample can take the place of the gathers for images of this dtype.

    Its coordinates have the dtype of the images, and ONNX Runtime's kernel below opset 20 is for float32
    alone. Half precision goes through it, as the sampler sums in float32; float64 and integers would
    lose digits.
    """
    return tf.as_dtype(dtype) in (tf.float32, tf.float16, tf.bfloat16)


def sample(images, coordinates, interpolation, fill_mode, fill_value):
    """`sampler.sample` with one GridSample, or by gathers for a dtype that does not suit."""
    if not suits(images.dtype):
        return sampler.gather_taps(images, coordinates, interpolation, fill_mode, fill_value)
    height, width = grids.image_size(images)
    margin = _margin(interpolation, fill_mode, fill_value)

    def place(coordinate, size):
        """Where to read along an axis of `size` pixels: (numerator, divisor) for `_marker`."""
        coordinate = sampler.settle(coordinate, size, interpolation, fill_mode)
        offset, divisor = grids.normalising(size + 2 * margin, coordinate.dtype)
        return coordinate + (margin + offset), divisor

    if isinstance(coordinates, tuple):  # a row and a column
        (x, x_divisor), (y, y_divisor) = (
            place(axis, size) for axis, size in zip(coordinates, (width, height), strict=True)
        )
        axes = [(x + tf.zeros_like(y), x_divisor), (y + tf.zeros_like(x), y_divisor)]
    elif isinstance(width, int) and width == height:  # both in one go: half as many nodes
        axes = [place(tf.transpose(coordinates, (1, 2, 3, 0)), width)]  # (batch, h, w, 2)
    else:  # one by one: broadcasting two sizes over the last axis takes 15 times as long
        x, y = tf.unstack(coordinates)
        axes = [place(x, width), place(y, height)]  # (batch, h, w) each

    source = tf.cast(images, tf.float32)
    if margin and fill_mode == "constant":
        source = sampler.frame(source, fill_value)
    elif margin:
        source = _continued(source, (height, width), margin, fill_mode)
    # Where coordinates are inside, the two paddings are one. ONNX Runtime has a fast kernel for bilinear
    # with "zeros": 0.36 ms at 56x56x64, against 3.6.
    padding = (
        "zeros" if interpolation == "bilinear" or (fill_mode == "constant" and not margin) else "border"
    )

    planes = tf.transpose(source, (0, 3, 1, 2))  # (batch, channels, H, W)
    sampled = _marker(planes, axes, interpolation, padding)  # (batch, channels, h, w)
    sampled = tf.ensure_shape(sampled, (*planes.shape[:2], *axes[0][0].shape[1:3]))
    return tf.cast(tf.transpose(sampled, (0, 2, 3, 1)), images.dtype)


def _margin(interpolation, fill_mode, fill_value) -> int:
    """How many pixels have to stand around the image, for "border" to show the right ones."""
    if fill_mode == "constant":
        return 1 if np.any(fill_value) else 0
    if interpolation == "bicubic":
        return 0 if fill_mode == "nearest" else 2
    return 1 if interpolation == "bilinear" and fill_mode == "wrap" else 0


def _continued(images, size, margin, fill_mode):
    """`images` with `margin` more pixels on each side, as `fill_mode` continues them."""
    for axis, length in enumerate(size, start=1):
        positions = tf.cast(tf.range(-margin, length + margin), tf.float32)
        pixels = tf.cast(sampler.pixel_at(positions, length, fill_mode), tf.int32)
        images = tf.gather(images, pixels, axis=axis)
    return images


def _marker(planes, axes, interpolation, padding):
    # The attributes travel as a constant input, the one thing that survives inlining and freezing. The
    # division stays behind the marker, because TensorFlow's optimiser would make it a product.
    attributes = tf.constant([_checks.INTERPOLATIONS.index(interpolation), _PADDINGS.index(padding)])
    inputs = [attributes, planes, *(tensor for axis in axes for tensor in axis)]
    return tf.numpy_function(_never_run, inputs, tf.float32)


def _never_run(*_):
    raise RuntimeError("a marker for the ONNX export was run; it is only there to be converted.")


def to_onnx(context, node, name, arguments):
    """Turns the marker into GridSample: a handler for `custom_op_handlers` of tf2onnx."""
    if len(node.input) not in (4, 6):
        return  # somebody else's PyFunc, which has no operator in ONNX
    _, planes, *places = node.input
    interpolation, padding = node.inputs[0].get_tensor_value()
    attributes = {
        "mode": _checks.INTERPOLATIONS[interpolation],
        "padding_mode": _PADDINGS[padding],
        "align_corners": 0,
    }
    outputs, shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    context.remove_node(name)
    one = context.make_const(f"{name}_one", np.float32(1)).output[0]
    axes = []
    for numerator, divisor in zip(places[::2], places[1::2], strict=True):
        quotient = context.make_node("Div", [numerator, divisor]).output[0]
        axes.append(context.make_node("Sub", [quotient, one]).output[0])
    if len(axes) == 2:
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
