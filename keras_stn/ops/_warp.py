"""`warp`, and its operation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_stn import _checks, transforms
from keras_stn.ops._reading import ReadImages, Reading, apply
from keras_stn.transforms.operations import params_of_one

Tensor = Any


def warp(
    images: Tensor,
    params: Tensor,
    transform: str | transforms.Transform = "affine",
    output_size: tuple[int, ...] | None = None,
    interpolation: str = "bilinear",
    fill_mode: str | Sequence[str] = "constant",
    fill_value: float | Sequence[float] = 0.0,
    align_corners: bool = False,
    data_format: str | None = None,
    inverse: bool = False,
) -> Tensor:
    """Warp images by the params of a transform.

    The layer `keras_stn.Warp` as a function: for data pipelines, and for layers of your own. The
    coordinates are computed in pixels, and never as a normalised grid. So the identity, flips and
    quarter turns return the very pixels at every size, and `grid_sample(images, affine_grid(theta,
    size))` does not.

    Convention:
        A transform maps target to source, in normalised coordinates: the output pixel at p shows the
        input at transform(p). -1 and 1 are the outer edges of the corner pixels, or their centres with
        `align_corners=True`. Params that are NaN or infinite put all points outside the image.

    Args:
        images: The images, in any range of values.
        params: The params, one row for each image.
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        output_size: (height, width) of the output, or (depth, height, width) under a transform of
            volumes; the size of the images by default.
        interpolation: `"nearest"` (ties to even; no gradient to the params), `"bilinear"` or
            `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `grid_sample`; or one for each axis, ([of depth,] of rows, of
            columns).
        fill_value: A number, or one for each channel, for `fill_mode="constant"`.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: Of `images` and of the output, `"channels_last"` or `"channels_first"`; Keras'
            setting by default.
        inverse: Whether to read by the inverses of the maps: that puts what they have warped back where
            it was, with the size of the images for output_size. The family must define `inverse`.

    Input shape:
        `images` (batch, H, W, channels), or (batch, channels, H, W) for channels_first; `params` (batch,
        num_params). Any size from 1 up, static or not. A batch of 1 goes with any other, and no image is
        copied. In a graph it must be known to be 1. Volumes (batch, D, H, W, channels) take a transform
        of volumes, such as `transforms.Affine(ndim=3)`.

        Many maps of each image: `params` (batch, maps, num_params), and no image is copied. Videos:
        `images` (batch, frames, H, W, channels), with `params` (batch, num_params), one map for all
        frames, or (batch, frames, num_params), one for each.

    Output shape:
        (batch, h, w, channels), or (batch, channels, h, w), with (h, w) = output_size, in the dtype of
        `images`; maps or frames are the second axis. Integer images, such as label maps, need
        `interpolation="nearest"`. Coordinates and weights are float32 at least.

    Raises:
        ValueError: if an argument is none of the above, a shape does not fit, or integer images are to
            be interpolated.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
        >>> half_turn = np.array([[-1, 0, 0, 0, -1, 0]], "float32")
        >>> keras_stn.ops.warp(image, half_turn).numpy().ravel().tolist()
        [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]

    Reference:
        Sections 3.2 and 3.3 of Jaderberg et al., "Spatial Transformer Networks" (2015,
        arXiv:1506.02025).
    """
    warping = Warping(
        interpolation,
        fill_mode,
        fill_value,
        align_corners,
        data_format,
        transform,
        output_size,
        inverse,
    )
    return apply(warping, WarpImages, images=images, params=params)


@dataclasses.dataclass(frozen=True)
class Warping(Reading):
    """A reading whose maps are the params of a transform."""

    transform: Any
    output_size: Any
    inverse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        size, transform = self.output_size, transforms.get(self.transform)
        self._set(
            transform=transform,
            output_size=None if size is None else _checks.size("output_size", size, transform.ndim),
            inverse=_checks.boolean("inverse", self.inverse),
        )
        if self.inverse:
            self.transform.check_inverse()

    maps = "params"

    def _ndim(self, images, params):
        return self.transform.ndim

    def _of_one(self, ndim):
        return params_of_one(self.transform)

    def _hint(self, images):
        volumes = (
            self.transform.ndim == 2 and _checks.rank_of(images) == 5 and "ndim" in vars(self.transform)
        )
        return f"; for volumes: transforms.{type(self.transform).__name__}(ndim=3)" * volumes

    def _check_dtype(self, params):
        _checks.real("params", params.dtype)

    def _output_size(self, params, source_size):
        return self.output_size or source_size

    def _points(self, params, source_size):
        output_size, transform = self.output_size or source_size, self.transform
        if self.inverse:
            sizes = output_size, source_size  # what was read is now made
            transform, params = transform.inverted(params, *sizes, self.align_corners)
        return transform.points(params, source_size, output_size, self.align_corners)


@keras.saving.register_keras_serializable(package="keras_stn")
class WarpImages(ReadImages):
    """The operation of `warp`."""

    reading_type = Warping

    def __init__(self, *, name=None, **settings):
        super().__init__(self.reading_type(**settings), name)

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.reading.transform)
        return {**super().get_config(), "transform": transform}
