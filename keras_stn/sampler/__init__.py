"""The sampler: reads channels_last images at pixel coordinates, by gathers, in plain TF ops.

One idea carries all fill modes. `fill_mode` extends the image to the whole plane, and the sampler
interpolates that extension. So each axis has a handful of taps, whole pixels around the coordinate
with a weight each (two for bilinear), and fill_mode only decides which pixel stands at a tap:

    output = sum over taps i of y, j of x:   weight_i * weight_j * image[pixel_i, pixel_j]

which is eq. (3) of Jaderberg et al. (2015, arXiv:1506.02025) with a kernel of finite support, and its
gradient eq. (6) and (7), with the derivative from the right at a pixel centre.

`taps` has the pixels and weights. Two ways to read them make the same numbers: `fused`, for training and
serving in TensorFlow, takes them axis by axis (`axis_taps`) and is written for compilers, with a
gradient of its own, whose way back to the images is `scatters`, for large batches in a `loop`; `gathers`
is written for the interpreters that run files on phones, where each op costs a dispatch. `forms` says
which is taken where, and when XLA is asked to compile it. `batches` has one image at many poses, and one
map for many images.
"""

from typing import Any

import tensorflow as tf

from keras_stn import grids
from keras_stn.sampler.batches import batch_of, of_one_image, repeated
from keras_stn.sampler.forms import Compiled, for_gpu, replaced_by, stand_in
from keras_stn.sampler.fused import read_fused
from keras_stn.sampler.gathers import frame, gather_taps, readable
from keras_stn.sampler.taps import check_size, pixel_at, settle, shape_of, taps_along

__all__ = [
    "Compiled",
    "for_gpu",
    "frame",
    "gather_taps",
    "pixel_at",
    "read_fused",
    "readable",
    "replaced_by",
    "sample",
    "settle",
    "taps_along",
]

Tensor = Any


def sample(
    images: Tensor,
    coordinates: Tensor,
    interpolation: str,
    fill_mode: str,
    fill_value: float | list[float],
) -> Tensor:
    """Sample `images` (batch, H, W, channels) at pixel coordinates.

    `coordinates` are x and y: a tensor (2, batch, h, w), the `grids.Sum` of one, or, where x depends on
    the column alone and y on the row, the tuple of x (batch, 1, w) and y (batch, h, 1). A batch that is
    known to be 1, of images or of coordinates, goes with any other.

    Returns (batch, h, w, channels) in the dtype of `images`. Arguments are taken as checked, but for the
    size of the images.
    """
    check_size(images, fill_mode)
    if images.dtype == tf.bool:  # which has no products
        bits = sample(tf.cast(images, tf.uint8), coordinates, interpolation, fill_mode, fill_value)
        return tf.cast(bits, tf.bool)
    if images.shape[3] is None and fill_mode == "constant" and isinstance(fill_value, list):
        # Other images would be broadcast to so many channels.
        images = tf.ensure_shape(images, (None, None, None, len(fill_value)))
    how = interpolation, fill_mode, fill_value
    if batch_of(coordinates) != images.shape[0]:
        if images.shape[0] == 1:
            return of_one_image(_read, images, coordinates, *how)
        if batch_of(coordinates) == 1:
            coordinates = repeated(coordinates, shape_of(images)[0])
    return _read(images, coordinates, *how)


def _read(images, coordinates, *how):
    function = stand_in.get()
    if function is None:
        return read_fused(images, coordinates, *how)
    if isinstance(coordinates, grids.Sum):
        coordinates = coordinates.added()
    return function(images, coordinates, *how)
