"""`warp`, and its operation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_stn import _checks, _layout, transforms
from keras_stn.ops._reading import ReadImages, Reading, apply

Tensor = Any


def warp(
    images: Tensor,
    params: Tensor,
    transform: str | transforms.Transform = "affine",
    output_size: tuple[int, int] | None = None,
    interpolation: str = "bilinear",
    fill_mode: str | Sequence[str] = "constant",
    fill_value: float | Sequence[float] = 0.0,
    align_corners: bool = False,
    data_format: str | None = None,
    antialias: bool = False,
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
        output_size: (height, width) of the output; the size of the images by default.
        interpolation: `"nearest"` (ties to even; no gradient to the params), `"bilinear"` or
            `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `grid_sample`; or one for each axis, (of rows, of columns).
        fill_value: A number, or one for each channel, for `fill_mode="constant"`.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: Of `images` and of the output, `"channels_last"` or `"channels_first"`; Keras'
            setting by default.
        antialias: Whether to average where the map shrinks, as in `grid_sample`.

    Input shape:
        `images` (batch, H, W, channels), or (batch, channels, H, W) for channels_first; `params` (batch,
        num_params). Any size from 1 up, static or not. A batch of 1 goes with any other, and no image is
        copied. In a graph it must be known to be 1.

    Output shape:
        (batch, h, w, channels), or (batch, channels, h, w), with (h, w) = output_size, in the dtype of
        `images`; integer images, such as label maps, need `interpolation="nearest"`.
        Coordinates and weights are float32 at least.

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
        antialias,
        transform,
        output_size,
    )
    return apply(warping, WarpImages, images=images, params=params)


@dataclasses.dataclass(frozen=True)
class Warping(Reading):
    """A reading whose maps are the params of a transform."""

    transform: Any
    output_size: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.output_size
        self._set(
            transform=transforms.get(self.transform),
            output_size=None if size is None else _checks.size("output_size", size),
        )

    def _read_shape(self, images, params):
        of_params = f"(batch of images, {self.transform.num_params})"
        _checks.known_rank("params", params, of_params)
        _checks.shape("params", params, (None, self.transform.num_params), of_params)
        _checks.real("params", params.dtype)
        batch = _checks.batch("params", params, of_params, "images", images)
        _, *size, _ = _layout.shape_to_channels_last(images.shape, self.data_format)
        return batch, *(self.output_size or size)

    def _points(self, params, source_size):
        output_size = self.output_size or source_size
        return self.transform.points(params, source_size, output_size, self.align_corners)


@keras.saving.register_keras_serializable(package="keras_stn")
class WarpImages(ReadImages):
    """The operation of `warp`."""

    # antialias: of models that were saved when there was none.
    def __init__(self, *, antialias=False, name=None, **settings):
        super().__init__(Warping(antialias=antialias, **settings), name)

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.reading.transform)
        return {**super().get_config(), "transform": transform}
