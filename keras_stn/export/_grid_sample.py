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
    return dtype in (tf.float32, tf.float16, tf.bfloat16)


def sample(images, x, y, interpolation, fill_mode, fill_value):
    """`sampler.sample` with one GridSample, or by gathers for a dtype that does not suit."""
    if not suits(images.dtype):
        return sampler.gather_taps(images, x, y, interpolation, fill_mode, fill_value)
    size = height, width = grids.image_size(images)
    x, y = x + tf.zeros_like(y), y + tf.zeros_like(x)  # axis-aligned families give a row and a column
    pixels = tf.stack([x, y], axis=-1)  # (batch, h, w, 2)
    pixels = sampler.settle(pixels, tf.stack([width, height]), interpolation, fill_mode)

    source = tf.cast(images, tf.float32)
    margin = _margin(interpolation, fill_mode, fill_value)
    if margin:
        source = (
            _framed(source, fill_value)
            if fill_mode == "constant"
            else _continued(source, size, margin, fill_mode)
        )
        size = (height + 2 * margin, width + 2 * margin)
    padding = "zeros" if fill_mode == "constant" and not margin else "border"

    offset, divisors = grids.normalising(size, pixels.dtype)
    pixels += margin + offset
    planes = tf.transpose(source, (0, 3, 1, 2))  # (batch, channels, H, W)
    sampled = _marker(planes, pixels, divisors, interpolation, padding)  # (batch, channels, h, w)
    return tf.cast(tf.transpose(sampled, (0, 2, 3, 1)), images.dtype)


def _margin(interpolation, fill_mode, fill_value) -> int:
    """How many pixels have to stand around the image, for "border" to show the right ones."""
    if fill_mode == "constant":
        return 1 if np.any(fill_value) else 0
    if interpolation == "bicubic":
        return 0 if fill_mode == "nearest" else 2
    return 1 if interpolation == "bilinear" and fill_mode == "wrap" else 0


def _framed(images, fill_value):
    """`images` in a frame of `fill_value`, exactly; to subtract it and add it again would round."""
    values = np.float32(fill_value)
    if values.ndim == 0 or np.ptp(values) == 0:
        paddings = [[0, 0], [1, 1], [1, 1], [0, 0]]
        return tf.pad(images, paddings, constant_values=values.flat[0])
    for axis in (1, 2):
        side = tf.zeros_like(tf.gather(images, [0], axis=axis)) + values
        images = tf.concat([side, images, side], axis)
    return images


def _continued(images, size, margin, fill_mode):
    """`images` with `margin` more pixels on each side, as `fill_mode` continues them."""
    for axis, length in enumerate(size, start=1):
        positions = tf.cast(tf.range(-margin, length + margin), tf.float32)
        pixels = tf.cast(sampler.pixel_at(positions, length, fill_mode), tf.int32)
        images = tf.gather(images, pixels, axis=axis)
    return images


def _marker(planes, pixels, divisors, interpolation, padding):
    # The attributes travel as a constant input, the one thing that survives inlining and freezing. The
    # division stays behind the marker, because TensorFlow's optimiser would make it a product.
    attributes = tf.constant([_checks.INTERPOLATIONS.index(interpolation), _PADDINGS.index(padding)])
    marked = tf.numpy_function(_never_run, [planes, pixels, divisors, attributes], tf.float32)
    return tf.ensure_shape(marked, (*planes.shape[:2], *pixels.shape[1:3]))


def _never_run(*_):
    raise RuntimeError("a marker for the ONNX export was run; it is only there to be converted.")


def to_onnx(context, node, name, arguments):
    """Turns the marker into GridSample: a handler for `custom_op_handlers` of tf2onnx."""
    if len(node.input) != 4:
        return  # somebody else's PyFunc, which has no operator in ONNX
    planes, pixels, divisors, _ = node.input
    interpolation, padding = node.inputs[3].get_tensor_value()
    attributes = {
        "mode": _checks.INTERPOLATIONS[interpolation],
        "padding_mode": _PADDINGS[padding],
        "align_corners": 0,
    }
    outputs, shapes, dtypes = node.output, node.output_shapes, node.output_dtypes
    context.remove_node(name)
    one = context.make_const(f"{name}_one", np.float32(1))
    scaled = context.make_node("Div", [pixels, divisors])
    grid = context.make_node("Sub", [scaled.output[0], one.output[0]])
    context.make_node(
        "GridSample",
        [planes, grid.output[0]],
        attr=attributes,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
        name=name,
    )


def where_to_onnx(context, node, name, arguments):
    """tf.where as Where. tf2onnx makes it a sum of products with 0 and 1, which lets NaN through."""
    node.type = "Where"
