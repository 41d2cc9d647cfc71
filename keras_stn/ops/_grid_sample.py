"""`grid_sample`, and its operation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.ops._reading import ReadImages, Reading, apply

Tensor = Any


def grid_sample(
    images: Tensor,
    grid: Tensor,
    interpolation: str = "bilinear",
    fill_mode: str | Sequence[str] = "constant",
    fill_value: float | Sequence[float] = 0.0,
    align_corners: bool = False,
    data_format: str | None = None,
    antialias: bool = False,
) -> Tensor:
    """Read images, or volumes, at the points of a sampling grid.

    The sampler of a spatial transformer, as a function: differentiable with respect to the images and,
    except for `interpolation="nearest"`, to the grid. It runs eagerly, in `tf.function` and under XLA,
    on CPU and GPU. `keras_stn.ops.warp` reads images by the params of a transform, without the roundings
    of a grid: the identity of 224x320 pixels is off by 4e-6 here, and exact there.

    Convention:
        A grid point is (x, y), or (x, y, z) of a volume, in normalised coordinates: -1 and 1 are the
        outer edges of the corner pixels, or their centres with `align_corners=True`. A point that is NaN
        or infinite lies outside the image; its gradient is zero, and no other point changes. At the
        centre of a pixel the gradient with respect to the grid is the derivative from the right.

    Args:
        images: The images, in any range of values.
        grid: The sampling points, floating point. They may lie outside the image.
        interpolation: `"nearest"` (ties to even; no gradient to the grid), `"bilinear"` (of volumes
            trilinear), or `"bicubic"` (cubic convolution with a = -0.75).
        fill_mode: What stands outside the image `a b c d`:

            - `"constant"`: `fill_value`, and the pixels beside it blend with it. With zero it is the
              `zeros` of PyTorch and ONNX.
            - `"nearest"`: `a a a a | a b c d | d d d d`; `border` there.
            - `"reflect"`: `d c b a | a b c d | d c b a`; `reflection` there, align_corners=False.
            - `"mirror"`: `d c b | a b c d | c b a`; `reflection` there, align_corners=True.
            - `"wrap"`: `a b c d | a b c d | a b c d`
            - one of these for each axis, ([of depth,] of rows, of columns): `("nearest", "wrap")` for a
              panorama, which goes on from its right edge to its left one and has an end above and below.
        fill_value: A number, or one for each channel, that `images` can hold. Only used by
            `fill_mode="constant"`, be it of one axis.
        align_corners: Which points of the corner pixels -1 and 1 are; the same value as the grid was
            made with.
        data_format: Of `images` and of the output, `"channels_last"` or `"channels_first"`; Keras'
            setting by default. A grid has (x, y[, z]) last in either.
        antialias: Whether to average where the grid shrinks the image. An output pixel is then the mean
            over its area, as the differences to its neighbours say, or exactly the plain read where they
            are up to a pixel apart. For `interpolation="bilinear"` alone. Against 256 reads for each
            pixel of photographs it has more than 40 dB, where one has 24 to 30: at up to 8 times
            smaller, and right up to 30 times. It costs four reads and smaller copies of the images. For
            images, not for volumes, and not for `export_tflite(target="gpu")`.

    Input shape:
        `images` (batch, H, W, channels), or (batch, channels, H, W) for channels_first; `grid`
        (batch, h, w, 2); any size from 1 up, static or not. A batch of 1 goes with any other, and no
        image is copied: one image at many poses, one grid for many images. In a graph it must be known
        to be 1. Many grids of each image are (batch, grids, h, w, 2), and videos (batch, frames, H, W,
        channels) take one grid for all frames or one for each, as in `warp`. Volumes (batch, D, H, W,
        channels) take grids (batch, d, h, w, 3).

    Output shape:
        (batch, [d,] h, w, channels), or (batch, channels, [d,] h, w), in the dtype of `images`. Weights
        and sums are float32 for images in half precision. Integer images, such as label maps, need
        `interpolation="nearest"`.

    Raises:
        ValueError: if an argument is none of the above, a shape does not fit, or integer images are to
            be interpolated.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
        >>> between = np.array([[[[-1 / 3, 0.0], [1 / 3, 0.0]]]], "float32")  # halfway, in x and y
        >>> keras_stn.ops.grid_sample(image, between).numpy().ravel().round(4).tolist()
        [2.0, 3.0]

    Reference:
        Eq. (3) and (5) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025). The
        same function as PyTorch's `grid_sample` and ONNX' GridSample, on channels_last images.
    """
    reading = GridReading(interpolation, fill_mode, fill_value, align_corners, data_format, antialias)
    return apply(reading, GridSample, images=images, grid=grid)


@dataclasses.dataclass(frozen=True)
class GridReading(Reading):
    """A reading whose maps are grids."""

    maps = "grid"

    def _ndim(self, images, grid):
        may_be_volumes = [_checks.rank_of(tensor) in (5, 6) for tensor in (images, grid)]  # or videos
        if all(may_be_volumes) and grid.shape[-1] is None:
            raise _checks.error(
                "grid must be known to hold (x, y) or (x, y, z) on its last axis: grid.set_shape tells "
                f"it. Received: grid.shape={tuple(grid.shape)}."
            )
        return 3 if all(may_be_volumes) and grid.shape[-1] == 3 else 2

    def _of_one(self, ndim):
        axes = ("d", "h", "w")[-ndim:]
        return (*[None] * ndim, ndim), f"{', '.join(axes)}, {ndim}"

    def _check_dtype(self, grid):
        _checks.floating("grid", grid.dtype)

    def _output_size(self, grid, source_size):
        return tuple(grid.shape[-1 - len(source_size) : -1])

    def _points(self, grid, source_size):
        axes = [tf.squeeze(axis, -1) for axis in tf.split(grid, len(source_size), axis=-1)]
        return grids.to_pixels(axes, source_size, self.align_corners)


@keras.saving.register_keras_serializable(package="keras_stn")
class GridSample(ReadImages):
    """The operation of `grid_sample`."""

    # Defaults are for models that were saved when there was nothing else.
    def __init__(self, *, data_format="channels_last", antialias=False, name=None, **settings):
        super().__init__(GridReading(data_format=data_format, antialias=antialias, **settings), name)
