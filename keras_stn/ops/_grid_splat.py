"""`grid_splat`, and its operation."""

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, grids, sampler
from keras_stn.ops._reading import ReadImages, apply
from keras_stn.sampler import settings
from keras_stn.sampler.taps import accumulator

Tensor = Any


def grid_splat(
    values: Tensor,
    grid: Tensor,
    output_size: tuple[int, ...],
    interpolation: str = "bilinear",
    fill_mode: str | Sequence[str] = "constant",
    normalize: bool = False,
    align_corners: bool = False,
    data_format: str | None = None,
) -> Tensor:
    """Give values to an image at the points of a grid: the adjoint of `grid_sample`.

    `grid_sample` gathers: an output pixel shows the image at its point. `grid_splat` scatters: a value
    is added to the pixels around its point, by the weights with which they would be read. So for every
    image x and all values y, sum(grid_sample(x, grid) * y) = sum(x * grid_splat(y, grid, size)). Use it
    to warp forwards, by a flow from source to target; to undo a read; for gradients of a registration
    energy. The splat of ones says how often each pixel was hit, and 0 where there is a hole. It is
    differentiable with respect to the values and, except for `interpolation="nearest"`, to the grid, and
    runs eagerly, in `tf.function` and under XLA, on CPU and GPU, in SavedModels, in ONNX, and in TFLite
    on CPUs; the GPUs of phones have no scatter.

    Convention:
        A grid point is (x, y) in normalised coordinates of the output: -1 and 1 are the outer edges of
        its corner pixels, or their centres with `align_corners=True`. In a volume it is (x, y, z). What
        goes to a point that is NaN or infinite is lost; its gradients are zero.

    Args:
        values: What to give, floating point.
        grid: Where each of the values goes, floating point.
        output_size: (height, width) of the output, or (depth, height, width) of a volume.
        interpolation: How a value is shared out among the pixels around its point: `"nearest"` (to one;
            no gradient to the grid), `"bilinear"` (to four, or eight of a volume) or `"bicubic"` (to 16
            or 64, to some of them less than nothing).
        fill_mode: Where values outside the output go: with `"constant"` they are lost; with `"nearest"`,
            `"reflect"`, `"mirror"` and `"wrap"` to the pixels that stand there in `grid_sample`. One
            word, or one for each axis, ([of depth,] of rows, of columns).
        normalize: Whether to divide each pixel by the splat of ones: it is then the mean of the values
            that came, by weight, and 0 where none came. Best with the weights of `"bilinear"` and
            `"nearest"`: those of a cubic may add up to almost nothing.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: Of `values` and of the output, `"channels_last"` or `"channels_first"`; Keras'
            setting by default. A grid has (x, y[, z]) last in either.

    Input shape:
        `values` (batch, h, w, channels), or (batch, channels, h, w) for channels_first; `grid`
        (batch, h, w, 2); or `values` (batch, d, h, w, channels) and `grid` (batch, d, h, w, 3) for a
        volume; any size, static or not. A batch of 1 goes with any other. In a graph it must be known
        to be 1.

    Output shape:
        (batch, *output_size, channels), or (batch, channels, *output_size), in the dtype of `values`.
        Weights and sums are float32 for values in half precision.

    Raises:
        ValueError: if an argument is none of the above, or a shape or dtype does not fit.

    Example:
        >>> import numpy as np, keras_stn
        >>> row = np.array([1.0, 2.0, 4.0], "float32").reshape(1, 1, 3, 1)
        >>> to_the_right = np.array([[-1 / 3, 0], [1 / 3, 0], [1, 0]], "float32").reshape(1, 1, 3, 2)
        >>> warped = keras_stn.ops.grid_splat(row, to_the_right, (1, 3))  # by half a pixel
        >>> warped.numpy().ravel().round(4).tolist()
        [0.5, 1.5, 3.0]

    Reference:
        Eq. (6) of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025), with values
        for gradients. Summation splatting and, with `normalize=True`, average splatting of Niklaus and
        Liu, "Softmax Splatting for Video Frame Interpolation" (2020, arXiv:2003.05534).
    """
    splatting = Splatting(output_size, interpolation, fill_mode, normalize, align_corners, data_format)
    return apply(splatting, GridSplat, values=values, grid=grid)


@dataclasses.dataclass(frozen=True)
class Splatting:
    """The settings of one way to give values to an image, checked once, and the giving itself."""

    output_size: Any
    interpolation: str
    fill_mode: Any
    normalize: bool
    align_corners: bool
    data_format: Any

    def __post_init__(self) -> None:
        checked = {
            "output_size": _checks.size("output_size", self.output_size, 2, 3),
            "fill_mode": self._sampling().fill_mode,
            "normalize": _checks.boolean("normalize", self.normalize),
            "align_corners": _checks.boolean("align_corners", self.align_corners),
            "data_format": _layout.data_format(self.data_format),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # which no one else may: the dataclass is frozen

    def _sampling(self) -> sampler.Sampling:
        return sampler.Sampling(self.interpolation, self.fill_mode)

    @property
    def _ndim(self) -> int:
        """How many axes an image has."""
        return len(self.output_size)

    def output_shape(self, values: Tensor, grid: Tensor) -> _layout.Shape:
        """The static shape of the output; raises where the tensors do not fit."""
        ndim = self._ndim
        sizes = ", ".join(("d", "h", "w")[-ndim:])
        first = self.data_format == "channels_first"
        axes = f"(batch, channels, {sizes})" if first else f"(batch, {sizes}, channels)"
        _checks.known_rank("values", values, axes)
        _checks.shape("values", values, (None,) * (ndim + 2), axes)
        _checks.floating("values", values.dtype)
        shape = _layout.shape_to_channels_last(values.shape, self.data_format, ndim)
        of_grid = f"(batch of values, {sizes}, {ndim}), with ({sizes}) of values"
        _checks.known_rank("grid", grid, of_grid)
        _checks.shape("grid", grid, (None, *shape[1:-1], ndim), of_grid)
        _checks.floating("grid", grid.dtype)
        settings.fill_mode_fits(self.fill_mode, ndim)
        shape = (
            _checks.batch("grid", grid, of_grid, "values", values),
            *self.output_size,
            shape[-1],
        )
        return _layout.shape_from_channels_last(shape, self.data_format, ndim)

    def output_dtype(self, values: Tensor) -> str:
        return keras.backend.standardize_dtype(values.dtype)

    def __call__(self, values: Tensor, grid: Tensor) -> Tensor:
        ndim, shape = self._ndim, self.output_shape(values, grid)
        shape = _layout.shape_to_channels_last(shape, self.data_format, ndim)
        values = _layout.to_channels_last(values, self.data_format, ndim)
        dtype, grid = values.dtype, tf.cast(grid, grids.coordinate_dtype(values.dtype))
        with sampler.compiled(tf.TensorSpec(shape, dtype), values.shape):
            axes = [tf.squeeze(axis, -1) for axis in tf.split(grid, ndim, axis=-1)]
            if self.normalize:  # ones beside the values: one splat for both
                values = tf.cast(values, accumulator(dtype))
                first, *_ = tf.split(values, [1, -1], axis=-1)
                values = tf.concat([values, tf.ones_like(first)], axis=-1)
            values = _where_finite(axes, values)
            points = grids.to_pixels(axes, self.output_size, self.align_corners)
            output = sampler.splat(values, points, self.output_size, self._sampling())
            if self.normalize:
                output = tf.cast(_mean(output), dtype)
        return _layout.from_channels_last(output, self.data_format, ndim)


def _where_finite(axes: Sequence[Tensor], values: Tensor) -> Tensor:
    """The values, and zero where a coordinate is NaN or infinite: also for those that are NaN there."""
    finite = functools.reduce(operator.and_, (tf.abs(axis) <= axis.dtype.max for axis in axes))
    return tf.where(tf.expand_dims(finite, -1), values, tf.zeros((), values.dtype))


def _mean(sums: Tensor) -> Tensor:
    """Sums over hits, the last channel; 0 where there is none, and in the gradient as well."""
    sums, hits = tf.split(sums, [-1, 1], axis=-1)
    hit = hits != 0
    zero = tf.zeros((), sums.dtype)
    return tf.where(hit, sums / tf.where(hit, hits, tf.ones((), hits.dtype)), zero)


@keras.saving.register_keras_serializable(package="keras_stn")
class GridSplat(ReadImages):
    """The operation of `grid_splat`."""

    def __init__(self, *, name=None, **settings):
        super().__init__(Splatting(**settings), name)
