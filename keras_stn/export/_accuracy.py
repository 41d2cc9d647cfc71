"""How far a file may be from Keras, and how far it is."""

from typing import Any, NamedTuple

import numpy as np

from keras_stn.export._samplers import Use

# Of interpolation="nearest": how many values may come from the pixel beside the right one, because a
# rounding moved the point across the middle between the two.
_TIES = 1e-3


class Accuracy(NamedTuple):
    """The difference of one output to that of Keras."""

    max_error: float
    psnr: float  # dB: the peak is the largest value that Keras gives; inf where the two are equal


def measure(expected: Any, actual: Any) -> Accuracy:
    expected, actual = (np.asarray(array, "float64") for array in (expected, actual))
    error = np.abs(actual - expected)
    peak, mean_square = np.abs(expected).max(initial=0.0), np.mean(error**2) if error.size else 0.0
    if not np.isfinite(mean_square):
        return Accuracy(float("inf"), float("-inf"))
    psnr = float("inf") if mean_square == 0 else 10 * np.log10(max(peak, 1e-30) ** 2 / mean_square)
    return Accuracy(float(error.max(initial=0.0)), float(psnr))


def allowed(expected: Any, uses: list[Use]) -> float:
    """The largest error of float32 that is nothing but rounding.

    1e-5 where no side of an image exceeds 64 pixels, 6e-5 up to 224 and more in proportion above, times
    the largest value where that exceeds 1. Twice what the sampler itself was measured at, for params
    that are predicted add their own rounding.
    """
    size = max((use.size for use in uses), default=0)
    error = 1e-5 if size <= 64 else 6e-5 * max(1.0, size / 224)
    return error * max(1.0, float(np.abs(expected).max(initial=0.0)))


def without_ties(expected: Any, actual: Any, bound: float, uses: list[Use]) -> tuple[Any, int]:
    """`actual`, with the few values beyond the bound that interpolation="nearest" may have put right."""
    if not any(use.interpolation == "nearest" for use in uses):
        return actual, 0
    beyond = ~(np.abs(np.asarray(actual, "float64") - expected) <= bound)
    ties = int(beyond.sum())
    if ties > _TIES * beyond.size:
        return actual, 0
    return np.where(beyond, expected, actual), ties
