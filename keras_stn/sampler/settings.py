"""How a sampler is set: what its arguments may be, in the wording of `_checks`."""

import math
import numbers
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_stn import _checks

# What PyTorch, ONNX, NumPy, SciPy and OpenCV call the same things. NumPy's pad mode "reflect" is
# Keras' "mirror"; it cannot be caught here, because the word is also Keras' own.
INTERPOLATION_SYNONYMS = {
    "linear": "bilinear",
    "trilinear": "bilinear",
    "cubic": "bicubic",
    "neighbor": "nearest",
    "neighbour": "nearest",
}
FILL_MODE_SYNONYMS = {
    "zeros": "constant",
    "zero": "constant",
    "border": "nearest",
    "edge": "nearest",
    "replicate": "nearest",
    "clamp": "nearest",
    "reflection": "reflect",
    "symmetric": "reflect",
    "circular": "wrap",
    "periodic": "wrap",
    "repeat": "wrap",
    "grid-constant": "constant",
    "grid-mirror": "reflect",
    "grid-wrap": "wrap",
}


def interpolation(value: Any, allowed: Iterable[str]) -> str:
    """The name of a kernel."""
    return _checks.one_of("interpolation", value, allowed, INTERPOLATION_SYNONYMS)


def fill_mode(value: Any, allowed: Iterable[str]) -> str | tuple[str, ...]:
    """A word, or one for each axis, ([of depth,] of rows, of columns); one where all are equal."""
    allowed = tuple(allowed)
    if not isinstance(value, (list, tuple)):
        return _checks.one_of("fill_mode", value, allowed, FILL_MODE_SYNONYMS)
    if len(value) not in _AXES:
        raise _checks.error(
            f"fill_mode must be one of {allowed}, or one of them for each axis of images. "
            f"Received: fill_mode={reprlib.repr(value)}."
        )
    words = tuple(
        _checks.one_of(f"fill_mode[{number}]", word, allowed, FILL_MODE_SYNONYMS)
        for number, word in enumerate(value)
    )
    return words[0] if len(set(words)) == 1 else words


# How the words of a fill_mode stand, by how many axes images have.
_AXES = {2: "(of rows, of columns)", 3: "(of depth, of rows, of columns)"}


def fill_mode_fits(value: str | tuple[str, ...], ndim: int) -> None:
    """Raise unless images of so many axes can have the fill mode."""
    if isinstance(value, tuple) and len(value) != ndim:
        raise _checks.error(
            f"fill_mode must be one word, or one for each axis of these images, {_AXES[ndim]}. "
            f"Received: fill_mode={value!r}."
        )


def antialias(value: Any, interpolation: str) -> None:
    """Raise unless it is a boolean, and the interpolation has something to average."""
    if _checks.boolean("antialias", value) and interpolation != "bilinear":
        raise _checks.error(
            'antialias must be False unless interpolation="bilinear": labels have no mean, and other '
            "kernels overshoot the one of a pixel's area. "
            f"Received: antialias={value} with interpolation={interpolation!r}."
        )


def antialias_fits(value: bool, ndim: int) -> None:
    """Raise unless images of so many axes can be averaged."""
    if value and ndim != 2:
        raise _checks.missing("antialias=True is for images, not for volumes: use antialias=False.")


def fill_value(value: Any) -> float | list[float]:
    """A finite number, or one finite number per channel; returned in a form that JSON can hold."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    per_channel = isinstance(value, (list, tuple)) and len(value) > 0
    numbers_ = value if per_channel else [value]
    if not all(isinstance(v, numbers.Real) and math.isfinite(v) for v in numbers_):
        raise _checks.error(
            "fill_value must be a finite number, or a sequence with one finite number per channel. "
            f"Received: fill_value={value!r}."
        )
    return [float(v) for v in value] if per_channel else float(value)


def fill_value_fits(value: float | list[float], channels: int | None, dtype: Any = "float32") -> None:
    """Raise unless images of so many channels, and of `dtype`, can hold `value`."""
    if isinstance(value, list) and channels is not None and len(value) != channels:
        raise _checks.error(
            f"fill_value must be a number, or one number for each of the {channels} channels of "
            f"images. Received: fill_value={value!r}."
        )
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    if info and not all(v.is_integer() and info.min <= v <= info.max for v in np.ravel(value).tolist()):
        raise _checks.error(
            f"fill_value must be what images of {info.dtype} can hold, {info.min} to {info.max}. "
            f"Received: fill_value={value!r}."
        )
