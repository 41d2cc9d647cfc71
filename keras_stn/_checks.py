"""Argument checks: one place, one wording.

Every message names the argument, says what was expected, and ends with what came:
`fill_mode must be one of (...). Received: fill_mode='border'. Did you mean 'nearest'?`
"""

import difflib
import importlib.util
import math
import numbers
import reprlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# What `np.load` and its arrays raise for a file that is not there, no .npz (AttributeError: an .npy, up
# to Python 3.10), damaged, of pickles, or without the array.
NO_NPZ = (
    OSError,
    LookupError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)

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


def error(message: str) -> ValueError:
    """A ValueError that arrives in its own words, wherever it is raised."""
    return _in_its_own_words(ValueError(message))


def missing(message: str) -> NotImplementedError:
    """The same for a method that a class must define."""
    return _in_its_own_words(NotImplementedError(message))


def _in_its_own_words(exception: Any) -> Any:
    # Keras puts what the `call` of a layer raises between terminal codes, and all arguments behind it,
    # unless an inner layer has done so already, which this says.
    exception._keras_call_info_injected = True
    return exception


def one_of(
    argument: str, value: Any, allowed: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> str:
    """Return `value` if it is one of `allowed`; otherwise raise and suggest the nearest word."""
    allowed = tuple(allowed)
    if isinstance(value, str):
        if value in allowed:
            return value
        word = value.lower()
        close = difflib.get_close_matches(word, allowed, n=1)
        guess = (synonyms or {}).get(word) or (close[0] if close else None)
    else:
        guess = None
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise error(f"{argument} must be one of {allowed}. Received: {argument}={value!r}.{hint}")


def fill_mode(value: Any, allowed: Iterable[str]) -> str | tuple[str, ...]:
    """A word, or one for each axis, ([of depth,] of rows, of columns); one where all are equal."""
    allowed = tuple(allowed)
    if not isinstance(value, (list, tuple)):
        return one_of("fill_mode", value, allowed, FILL_MODE_SYNONYMS)
    if len(value) not in _AXES:
        raise error(
            f"fill_mode must be one of {allowed}, or one of them for each axis of images. "
            f"Received: fill_mode={reprlib.repr(value)}."
        )
    words = tuple(
        one_of(f"fill_mode[{number}]", word, allowed, FILL_MODE_SYNONYMS)
        for number, word in enumerate(value)
    )
    return words[0] if len(set(words)) == 1 else words


# How the words of a fill_mode stand, by how many axes images have.
_AXES = {2: "(of rows, of columns)", 3: "(of depth, of rows, of columns)"}


def fill_mode_fits(value: str | tuple[str, ...], ndim: int) -> None:
    """Raise unless images of so many axes can have the fill mode."""
    if isinstance(value, tuple) and len(value) != ndim:
        raise error(
            f"fill_mode must be one word, or one for each axis of these images, {_AXES[ndim]}. "
            f"Received: fill_mode={value!r}."
        )


def fill_value(value: Any) -> float | list[float]:
    """A finite number, or one finite number per channel; returned in a form that JSON can hold."""
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        value = value.tolist()
    per_channel = isinstance(value, (list, tuple)) and len(value) > 0
    numbers_ = value if per_channel else [value]
    if not all(isinstance(v, numbers.Real) and math.isfinite(v) for v in numbers_):
        raise error(
            "fill_value must be a finite number, or a sequence with one finite number per channel. "
            f"Received: fill_value={value!r}."
        )
    return [float(v) for v in value] if per_channel else float(value)


def fill_value_fits(value: float | list[float], channels: int | None, dtype: Any = "float32") -> None:
    """Raise unless images of so many channels, and of `dtype`, can hold `value`."""
    if isinstance(value, list) and channels is not None and len(value) != channels:
        raise error(
            f"fill_value must be a number, or one number for each of the {channels} channels of "
            f"images. Received: fill_value={value!r}."
        )
    info = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    if info and not all(v.is_integer() and info.min <= v <= info.max for v in np.ravel(value).tolist()):
        raise error(
            f"fill_value must be what images of {info.dtype} can hold, {info.min} to {info.max}. "
            f"Received: fill_value={value!r}."
        )


def boolean(argument: str, value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise error(f"{argument} must be True or False. Received: {argument}={value!r}.")


def antialias(value: Any, interpolation: str) -> None:
    """Raise unless it is a boolean, and the interpolation has something to average."""
    if boolean("antialias", value) and interpolation != "bilinear":
        raise error(
            'antialias must be False unless interpolation="bilinear": labels have no mean, and other '
            "kernels overshoot the one of a pixel's area. "
            f"Received: antialias={value} with interpolation={interpolation!r}."
        )


def positive(argument: str, value: Any) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and value > 0:
        return float(value)
    raise error(f"{argument} must be a positive number. Received: {argument}={value!r}.")


def _is_count(value: Any) -> bool:
    """Whether `value` is a positive integer that TensorFlow can hold."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and 0 < int(value) < 2**31


def count(argument: str, value: Any) -> int:
    if _is_count(value):
        return int(value)
    raise error(f"{argument} must be a positive integer. Received: {argument}={value!r}.")


def counts(argument: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, (list, tuple)) and all(map(_is_count, value)):
        return tuple(map(int, value))
    raise error(
        f"{argument} must be a list or tuple of positive integers. "
        f"Received: {argument}={reprlib.repr(value)}."
    )


def size(argument: str, value: Any) -> tuple[int, int]:
    """Two positive integers, (height, width): a list, a tuple, an array, or part of a static shape."""
    sizes = _listed(value)
    if not isinstance(sizes, (list, tuple)) or len(sizes) != 2 or not all(map(_is_count, sizes)):
        raise error(
            f"{argument} must be two positive integers, (height, width). Received: {argument}={value!r}."
        )
    return int(sizes[0]), int(sizes[1])


def size_or_unknown(argument: str, value: Any) -> tuple[int | None, int | None]:
    """`size`, or None for what is not known."""
    sizes = _listed(value)
    if isinstance(sizes, (list, tuple)) and len(sizes) == 2 and None in sizes:
        known = [1 if size is None else size for size in sizes]
        if all(map(_is_count, known)):
            return sizes[0], sizes[1]
    return size(argument, value)


def _listed(value: Any) -> Any:
    """An array, or a TensorShape, as a list."""
    if hasattr(value, "as_list"):
        return value.as_list() if value.rank else ()
    return value.tolist() if isinstance(value, np.ndarray) else value


def dtype_policy(argument: str, value: Any) -> Any:
    """Raise unless layers of floating point can have `value`, or None, for their dtype policy."""
    import keras

    try:
        policy = None if value is None else keras.dtype_policies.get(value)
        known = policy is None or policy.compute_dtype.startswith(("float", "bfloat"))
    except (AttributeError, TypeError, ValueError):
        known = False
    if known:
        return value
    raise error(
        f"{argument} must be None or a dtype policy of floating point, such as 'float32' or "
        f"'mixed_bfloat16'. Received: {argument}={reprlib.repr(value)}."
    )


def shape(argument: str, tensor: Any, expected: tuple[int | None, ...], names: str) -> None:
    """Raise unless the static shape of `tensor` fits `expected`, where None fits anything."""
    if _rank_is_unknown(tensor):  # which fits anything as well
        return
    received = tuple(tensor.shape)
    fits = len(received) == len(expected) and all(
        want is None or have is None or want == have
        for want, have in zip(expected, received, strict=True)
    )
    if not fits:
        raise error(f"{argument} must have shape {names}. Received: {argument}.shape={received}.")


def known_rank(argument: str, tensor: Any, names: str) -> None:
    """Raise where not even the rank of `tensor` is known while a graph is made."""
    if _rank_is_unknown(tensor):
        raise error(
            f"{argument} must have shape {names}: sizes may be unknown, but not their number "
            f"(tensor.set_shape tells it). Received: {argument}.shape={tensor.shape}."
        )


def _rank_is_unknown(tensor: Any) -> bool:
    return getattr(tensor.shape, "rank", 0) is None


def tensor(argument: str, value: Any, symbolic: bool = True) -> Any:
    """`value` as a tensor; a symbolic one, where it may be one, stays what it is."""
    # Imported here, because this module is there first, to say which backend Keras needs.
    import keras
    import tensorflow as tf

    if symbolic and isinstance(value, keras.KerasTensor):
        return value
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError) as cause:
        raise error(
            f"{argument} must be a tensor, an array, or numbers that make one. "
            f"Received: {argument}={reprlib.repr(value)}."
        ) from cause


def batch(argument: str, tensor: Any, names: str, other_argument: str, other: Any) -> int | None:
    """The batch of two tensors together: the same, but a batch of 1 goes with any other."""
    ours, theirs = (None if _rank_is_unknown(t) else t.shape[0] for t in (tensor, other))
    if ours == 1 or theirs == 1:
        return ours if theirs == 1 else theirs
    if ours is None or theirs is None or ours == theirs:
        return theirs if ours is None else ours
    raise error(
        f"{argument} must have shape {names}. Received: {argument}.shape={tuple(tensor.shape)}. "
        f"{other_argument} has a batch of {theirs}: give as many, or one for all. To use each of "
        f"{other_argument} several times, repeat it: keras.ops.repeat({other_argument}, times, axis=0)."
    )


def params(argument: str, tensor: Any, num_params: int) -> None:
    """Raise unless `tensor` may be the params of a transform family."""
    shape(argument, tensor, (None, num_params), f"(batch, {num_params})")
    floating(argument, tensor.dtype)


def pixel_matrix(argument: str, tensor: Any) -> None:
    """Raise unless `tensor` may be one affine matrix or a batch of them, the last row written or not."""
    known_rank(argument, tensor, "(2, 3) or (3, 3), or a batch of these")
    received = tuple(tensor.shape)
    rows, columns = received[-2:] if len(received) in (2, 3) else (0, 0)
    if rows not in (None, 2, 3) or columns not in (None, 3):
        raise error(
            f"{argument} must have shape (2, 3) or (3, 3), or be a batch of these. "
            f"Received: {argument}.shape={received}."
        )


# What to do with images of whole numbers, where they are to be interpolated or looked at.
CAST_PICTURES = 'cast and scale pictures first: keras.ops.cast(images, "float32") / 255'


def floating(argument: str, dtype: Any, why: str = "", cure: str = "") -> None:
    """Raise unless `dtype` (a name, or what has one) is a floating-point type."""
    name = str(getattr(dtype, "name", dtype))
    if not name.startswith(("float", "bfloat")):
        cure = cure or f'cast it first: keras.ops.cast({argument}, "float32")'
        raise error(
            f"{argument} must be floating point{why}; {cure}. Received: {argument}.dtype={name}."
        )


def interpolated(images_dtype: Any, interpolation: str) -> None:
    """Raise unless images of this dtype can be read by `interpolation`."""
    if interpolation != "nearest":
        cure = f'read labels by interpolation="nearest"; {CAST_PICTURES}'
        floating("images", images_dtype, f" for interpolation={interpolation!r}", cure)


def real(argument: str, dtype: Any) -> None:
    """Raise unless `dtype` (a name, or what has one) is one of real numbers, whole or not."""
    name = str(getattr(dtype, "name", dtype))
    if not name.startswith(("int", "uint")):
        floating(argument, name)


def require(what: str, extra: str, *packages: str) -> None:
    """Raise an ImportError that says what to install, unless all `packages` are there."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        # The packages by name: that works in a checkout too, which no index knows.
        raise ImportError(
            f"{what} needs {' and '.join(missing)}: pip install {' '.join(missing)}, "
            f'or "keras-stn[{extra}]" for all that the extra brings'
        )


def backend(name: str) -> None:
    if name != "tensorflow":
        raise ImportError(
            "keras_stn needs Keras' TensorFlow backend: set the environment variable "
            'KERAS_BACKEND=tensorflow, or "backend" in ~/.keras/keras.json, before Keras is '
            f"imported. Received: backend={name!r}."
        )
