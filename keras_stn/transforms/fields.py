"""Fields: params for points all over the picture, and what stands between these points."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_stn import _checks, grids, sampler
from keras_stn.grids import shape_of
from keras_stn.sampler import Sampling
from keras_stn.sampler.kernels import KERNELS, Kernel
from keras_stn.sampler.taps import taps_along
from keras_stn.transforms.base import Transform
from keras_stn.transforms.of_any_rank import axis_names

Tensor = Any


def _bspline(t: Tensor) -> Sequence[Tensor]:
    """The cubic B-spline, eq. (1) of Rueckert et al. (1999)."""
    u = 1 - t
    return u * u * u / 6, (4 + 3 * t * t * (t - 2)) / 6, (4 + 3 * u * u * (u - 2)) / 6, t * t * t / 6


def _bspline_slopes(t: Tensor) -> Sequence[Tensor]:
    u = 1 - t
    return -u * u / 2, t * (3 * t - 4) / 2, -u * (3 * u - 4) / 2, t * t / 2


# They are none of the kernels of images: a spline goes past its control points. And no GridSample takes
# their place in ONNX: it rounds coordinates, so that one huge number would reach all points around it.
_KERNELS = {
    "linear": KERNELS["bilinear"],
    "bspline": Kernel((-1, 0, 1, 2), _bspline, _bspline_slopes),
}


class _Between(Sampling):
    """How a field is read; beyond its outermost points their values go on."""

    def __init__(self, interpolation: str):
        vars(self).update(interpolation=interpolation, fill_mode="nearest", fill_value=(0.0,))

    @property
    def kernel(self) -> Kernel:
        return _KERNELS[self.interpolation]


INTERPOLATIONS = {name: _Between(name) for name in _KERNELS}
LINEAR, BSPLINE = INTERPOLATIONS.values()


class Field(Transform):
    """Base of the families whose params are a field (batch, [d,] h, w, ndim) in pixels of the source.

    A subclass writes `displacements`; between the points of what it returns, `between` reads.
    """

    def __init__(self, interpolation: str, ndim: int):
        self.interpolation = _checks.one_of("interpolation", interpolation, INTERPOLATIONS)
        self.ndim = _checks.ndim("ndim", ndim)
        self.params_ndim = self.ndim + 2
        self.num_params, self.identity_params = self.ndim, (0.0,) * self.ndim
        self.param_names = axis_names(ndim)

    @property
    def between(self) -> Sampling:
        """How `displacements` are read between their points."""
        return INTERPOLATIONS[self.interpolation]

    def displacements(
        self, params: Tensor, source_size: Sequence[Any], align_corners: bool, compiled: bool = False
    ) -> Tensor:
        """The field of displacements, of any size, that a field of params stands for.

        `compiled`: inside of what XLA compiles.
        """
        raise NotImplementedError

    def map(self, params, *axes):
        name = type(self).__name__
        raise _checks.missing(
            f"{name} has no map of normalised points alone, for its params are in pixels. Use "
            f"{name}.transform_points(params, points, source_size)."
        )

    def inverted(self, params, source_size, output_size, align_corners=False):
        """In pixels of the output, which is now the source."""
        scales = [
            grids.divisor(output, align_corners, params.dtype)
            / grids.divisor(source, align_corners, params.dtype)
            for output, source in zip(reversed(output_size), reversed(source_size), strict=True)
        ]
        return self, self.inverse(params) * grids.vector(scales, params.dtype)

    def get_config(self):
        return {"interpolation": self.interpolation, "ndim": self.ndim}

    def _pixels(self, params, source_size, output_size, align_corners, *, compiled):
        field = self.displacements(params, source_size, align_corners, compiled)
        # A known size and an unknown one are compared by no operator: that would be a tensor.
        alike = all(map(_alike, field.shape[1:-1], output_size))
        if self.between is not LINEAR or not alike:
            field = resized(field, output_size, align_corners, self.between)
        return grids.shifted_points(components(field), source_size, output_size, align_corners)

    def _places(self, params, axes, source_size, align_corners):
        if source_size is None:
            raise _checks.error(
                f"source_size must be the size of the images, whose pixels the params of "
                f"{type(self).__name__} count. Received: source_size=None."
            )
        field = self.displacements(params, source_size, align_corners)
        points = grids.to_pixels(axes, shape_of(field)[1:-1], align_corners)
        shifts = components(sampler.read(field, points, self.between))
        pixels = [2 / grids.divisor(size, align_corners, params.dtype) for size in reversed(source_size)]
        return [
            axis + grids.rounded(shift * pixel)
            for axis, shift, pixel in zip(axes, shifts, pixels, strict=True)
        ]


def _alike(have: int | None, want: Any) -> bool:
    return isinstance(want, int) and have == want


def components(field: Tensor) -> list[Tensor]:
    """The numbers of each point, x first: (batch, [d,] h, w) each."""
    return [tf.squeeze(part, -1) for part in tf.split(field, field.shape[-1], axis=-1)]


def resized(field: Tensor, size: Sequence[Any], align_corners: bool, sampling: Sampling) -> Tensor:
    """A field with as many points as an output of `size`, axis by axis.

    By gathers: as a matmul, GPUs would do it on reduced-precision units.
    """
    for axis, (have, want) in enumerate(zip(shape_of(field)[1:-1], size, strict=True), start=1):
        total: Tensor = None
        for tap in taps_along(grids.places(have, want, align_corners, field.dtype), have, sampling):
            weight = tf.reshape(tap.weight, (-1, *[1] * (field.shape.rank - 1 - axis)))
            term = grids.rounded(tf.gather(field, tf.cast(tap.pixel, tf.int32), axis=axis) * weight)
            total = term if total is None else total + term
        field = total
    return field
