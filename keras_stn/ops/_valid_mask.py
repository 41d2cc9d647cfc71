"""`valid_mask`, and its operation."""

import dataclasses
import functools
import operator
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids, transforms
from keras_stn.ops._reading import apply
from keras_stn.ops._warp import WarpImages, Warping
from keras_stn.points import repeated
from keras_stn.sampler.kernels import KERNELS

Tensor = Any

RULES = ("center", "taps")


def valid_mask(
    images: Tensor,
    params: Tensor,
    transform: str | transforms.Transform = "affine",
    output_size: tuple[int, ...] | None = None,
    interpolation: str = "bilinear",
    align_corners: bool = False,
    data_format: str | None = None,
    inverse: bool = False,
    rule: str = "center",
) -> Tensor:
    """The mask of where a warp shows the image: 1 there, and 0 where it shows what stands outside.

    Call it as the `warp` that it goes with: to leave out of a loss, or of statistics, what a fill mode
    has made up. It hangs on no value of the images, and has no gradient.

    Convention:
        A transform maps target to source, in normalised coordinates, as for `warp`. Params that are NaN
        or infinite put all points outside.

    Args:
        images: The images, of any dtype: their size alone counts.
        params: The params, one row for each image.
        transform: The transform family, as for `warp`.
        output_size: (height, width) of the output, or (depth, height, width) under a transform of
            volumes; the size of the images by default.
        interpolation: That of the warp, which counts for `rule="taps"`.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: Of `images` and of the output, `"channels_last"` or `"channels_first"`; Keras'
            setting by default.
        inverse: Whether the warp reads by the inverses of the maps.
        rule: Which points are inside. `"center"`: those that lie in a pixel of the image, -0.5 <= x <
            width - 0.5 in pixels from the centre of the first one, and so y. `"taps"`: those of which
            every pixel that is read with a weight other than 0 is in the image; bilinear: 0 <= x <=
            width - 1.

    Input shape:
        As `warp`, many maps of an image, videos and volumes too.

    Output shape:
        That of `warp` with one channel, in the dtype of `images`; float32 for whole numbers.

    Raises:
        ValueError: if an argument is none of the above, or a shape does not fit.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.zeros((1, 1, 4, 3), "float32")
        >>> shift = np.array([[0.6, 0.0]], "float32")  # 1.2 pixels of four: 1.2, 2.2, 3.2, 4.2
        >>> for rule in ("center", "taps"):
        ...     mask = keras_stn.ops.valid_mask(image, shift, "translation", rule=rule)
        ...     print(mask.numpy().ravel().astype(int).tolist())
        [1, 1, 1, 0]
        [1, 1, 0, 0]
    """
    masking = Masking(
        interpolation=interpolation,
        fill_mode="constant",
        fill_value=0.0,
        align_corners=align_corners,
        data_format=data_format,
        antialias=False,
        transform=transform,
        output_size=output_size,
        inverse=inverse,
        rule=rule,
    )
    return apply(masking, ValidMask, images=images, params=params)


@dataclasses.dataclass(frozen=True)
class Masking(Warping):
    """A warp of which only the mask is made."""

    rule: str = "center"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.one_of("rule", self.rule, RULES, {"centre": "center", "centers": "center"})

    def _channels(self, images, channels):
        return 1

    def output_dtype(self, images):
        dtype = super().output_dtype(images)
        return dtype if "float" in dtype else "float32"

    def _sample(self, images, points):
        sizes = reversed(grids.image_size(images))
        axes = points.axes if points.whole is None else map(operator.add, points.axes, points.whole)
        along = [self._inside(axis, size) for axis, size in zip(axes, sizes, strict=True)]
        mask = tf.expand_dims(functools.reduce(operator.mul, along), -1)
        # A batch of 1 of the images goes with any of the maps; one of the maps does not with images.
        if points.shape[0] == 1 and images.shape[0] != 1:
            mask = repeated(mask, tf.shape(images)[0])
        return tf.cast(mask, self.output_dtype(images))

    def _inside(self, axis, size):
        """1 where a coordinate is inside, 0 elsewhere and for what is no number."""
        if self.rule == "center":
            end = float(size) - 0.5 if isinstance(size, int) else tf.cast(size, axis.dtype) - 0.5
            return _one_where(axis >= -0.5) * _one_where(axis < end)
        last = float(size - 1) if isinstance(size, int) else tf.cast(size - 1, axis.dtype)
        kernel = KERNELS[self.interpolation]
        if kernel.weights is None:
            axis = tf.round(axis)  # ties to even
            return _one_where(axis >= 0) * _one_where(axis <= last)
        first = tf.floor(axis)
        taps = zip(kernel.offsets, kernel.weights(axis - first), strict=True)
        inside = [
            tf.where(
                tf.not_equal(weight, 0),
                _one_where(first + offset >= 0) * _one_where(first + offset <= last),
                1.0,
            )
            for offset, weight in taps
        ]
        return functools.reduce(operator.mul, inside)


def _one_where(condition):
    return tf.where(condition, 1.0, 0.0)


@keras.saving.register_keras_serializable(package="keras_stn")
class ValidMask(WarpImages):
    """The operation of `valid_mask`."""

    reading_type = Masking
