"""The kernels: which pixels around a point are read, and with which weights.

Growth is an entry in `KERNELS`; its name is then an `interpolation` of every function and layer.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of finite support along one axis: one weight for each of its taps.

    Attributes:
        offsets: The taps, counted from the whole pixel at or before the point.
        weights: Of the fraction t in [0, 1) that is left, the weight of each tap. They add up to 1. None
            for a kernel of one tap at the nearest pixel, ties to even, which has neither weight nor
            slope.
        slopes: Their derivatives by t.

    Example:
        >>> from keras_stn.sampler.kernels import KERNELS
        >>> KERNELS["bilinear"].offsets, KERNELS["bilinear"].weights(0.25)
        ((0, 1), (0.75, 0.25))
    """

    offsets: tuple[int, ...]
    weights: Callable[[Tensor], Sequence[Tensor]] | None = None
    slopes: Callable[[Tensor], Sequence[Tensor]] | None = None

    @property
    def reach(self) -> int:
        """Pixels beside those next to the point that are read as well, with one to spare."""
        return max(len(self.offsets) - 2, 0)


def _bilinear(t: Tensor) -> Sequence[Tensor]:
    """Eq. (5) of Jaderberg et al. (2015): the tent."""
    return 1 - t, t


def _bilinear_slopes(t: Tensor) -> Sequence[Tensor]:
    return -tf.ones_like(t), tf.ones_like(t)


_A = -0.75  # the cubic's slope parameter, as in PyTorch and ONNX GridSample


def _bicubic(t: Tensor) -> Sequence[Tensor]:
    """Keys' cubic convolution (1981), eq. (4) with a = -0.75, in Horner form."""

    def inner(d):  # at distance d in [0, 1]
        return ((_A + 2) * d - (_A + 3)) * d * d + 1

    def outer(d):  # at distance d in [1, 2]
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A

    before, here, after = outer(t + 1), inner(t), inner(1 - t)
    rest = 1 - here - after - before  # outer(2 - t), but for roundings: an even area stays even
    return before, here, after, rest


def _bicubic_slopes(t: Tensor) -> Sequence[Tensor]:
    def inner(d):
        return (3 * (_A + 2) * d - 2 * (_A + 3)) * d

    def outer(d):
        return (3 * _A * d - 10 * _A) * d + 8 * _A

    before, here, after = outer(t + 1), inner(t), -inner(1 - t)
    return before, here, after, -(before + here + after)


KERNELS: dict[str, Kernel] = {
    # No weight of one: XNNPACK of LiteRT 2.3 gets the product of labels with ones wrong, beside float
    # images and after some changes of the batch; and TFLite has no product of bytes.
    "nearest": Kernel((0,)),
    "bilinear": Kernel((0, 1), _bilinear, _bilinear_slopes),
    "bicubic": Kernel((-1, 0, 1, 2), _bicubic, _bicubic_slopes),
}
