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
from collections.abc import Callable, Iterable, Mapping
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


def boolean(argument: str, value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise error(f"{argument} must be True or False. Received: {argument}={value!r}.")


def finite(argument: str, value: Any) -> float:
    return _number(argument, value, "a finite number", lambda number: True)


def positive(argument: str, value: Any) -> float:
    return _number(argument, value, "a positive number", lambda number: number > 0)


def not_negative(argument: str, value: Any) -> float:
    return _number(argument, value, "a number of 0 or above", lambda number: number >= 0)


def _number(argument: str, value: Any, what: str, holds: Callable[[Any], bool]) -> float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and math.isfinite(value) and holds(value):
        return float(value)
    raise error(f"{argument} must be {what}. Received: {argument}={value!r}.")


def aspect_ratios(argument: str, value: Any) -> tuple[float, float]:
    """Those of a volume: two positive numbers, or 1 for both."""
    value = _listed(value)
    pair = (1.0, 1.0) if value == 1 else value
    if isinstance(pair, (list, tuple)) and len(pair) == 2:
        width, depth = pair
        return positive(argument, width), positive(argument, depth)
    raise error(
        f"{argument} of a volume must be a pair of positive numbers, (width / height, depth / height), "
        f"or 1 for both. Received: {argument}={value!r}."
    )


def _is_count(value: Any) -> bool:
    """Whether `value` is a positive integer that TensorFlow can hold."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and 0 < int(value) < 2**31


def count(argument: str, value: Any) -> int:
    if _is_count(value):
        return int(value)
    raise error(f"{argument} must be a positive integer. Received: {argument}={value!r}.")


def counts(argument: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """So many positive integers, or more."""
    if isinstance(value, (list, tuple)) and all(map(_is_count, value)) and len(value) >= least:
        return tuple(map(int, value))
    some = f", at least {least}" if least else ""
    raise error(
        f"{argument} must be a list or tuple of positive integers{some}. "
        f"Received: {argument}={reprlib.repr(value)}."
    )


def lattice(argument: str, value: Any) -> tuple[int, int]:
    """(rows, columns) of a lattice with corners."""
    pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_count, value))
    if pair and min(value) >= 2:
        return int(value[0]), int(value[1])
    raise error(
        f"{argument} must be two integers from 2 up, (rows, columns). Received: {argument}={value!r}."
    )


# The sizes of an image, by how many there are.
_SIZES = {
    2: "two positive integers, (height, width)",
    3: "three positive integers, (depth, height, width)",
}


def size(argument: str, value: Any, *ndims: int) -> tuple[int, ...]:
    """([depth,] height, width), positive: a list, a tuple, an array, or part of a static shape.

    Two integers, or as many as one of `ndims` says.
    """
    sizes, ndims = _listed(value), ndims or (2,)
    if not isinstance(sizes, (list, tuple)) or len(sizes) not in ndims or not all(map(_is_count, sizes)):
        expected = ", or ".join(_SIZES[ndim] for ndim in ndims)
        raise error(f"{argument} must be {expected}. Received: {argument}={value!r}.")
    return tuple(map(int, sizes))


def ndim(argument: str, value: Any) -> int:
    """How many axes an image has: 2, or 3 of a volume."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value in _SIZES:
        return int(value)
    raise error(f"{argument} must be 2, or 3 for volumes. Received: {argument}={value!r}.")


def size_or_unknown(argument: str, value: Any, ndim: int = 2) -> tuple[int | None, ...]:
    """`size`, or None for what is not known."""
    sizes = _listed(value)
    if isinstance(sizes, (list, tuple)) and len(sizes) == ndim and None in sizes:
        known = [1 if size is None else size for size in sizes]
        if all(map(_is_count, known)):
            return tuple(sizes)
    return size(argument, value, ndim)


def _listed(value: Any) -> Any:
    """An array, or a TensorShape, as a list."""
    if hasattr(value, "as_list"):
        return value.as_list() if value.rank else ()
    return value.tolist() if isinstance(value, np.ndarray) else value


def regularizer(argument: str, value: Any) -> Any:
    """What Keras takes for a regularizer: None, a name, a config, or a `Regularizer`."""
    import keras

    try:
        found = keras.regularizers.get(value)
        known = found is None or isinstance(found, keras.regularizers.Regularizer)
    except (TypeError, ValueError):
        known = False
    if known:
        return found
    raise error(
        f"{argument} must be None, the name of a Keras regularizer, or a regularizer such as "
        "keras_stn.regularizers.Outside(transform, 0.1). "
        f"Received: {argument}={reprlib.repr(value)}."
    )


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


def rank_of(tensor: Any) -> int | None:
    """How many axes a tensor has, where that is known."""
    return None if _rank_is_unknown(tensor) else len(tensor.shape)


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


def frames(argument: str, tensor: Any, videos: Any) -> int | None:
    """The number of frames, where there is a map for each: (batch, frames, ...) of both."""
    ours, theirs = tensor.shape[1], videos.shape[1]
    if None not in (ours, theirs) and ours != theirs:
        raise error(
            f"{argument} must be one for each video, or one for each of its {theirs} frames. "
            f"Received: {argument}.shape={tuple(tensor.shape)}."
        )
    return theirs if ours is None else ours


def pixel_matrix(argument: str, tensor: Any, ndim: int = 2) -> None:
    """Raise unless `tensor` may be one affine matrix or a batch of them, the last row written or not."""
    shapes = f"{ndim, ndim + 1} or {ndim + 1, ndim + 1}"
    known_rank(argument, tensor, f"{shapes}, or a batch of these")
    received = tuple(tensor.shape)
    rows, columns = received[-2:] if len(received) in (2, 3) else (0, 0)
    if rows not in (None, ndim, ndim + 1) or columns not in (None, ndim + 1):
        raise error(
            f"{argument} must have shape {shapes}, or be a batch of these. "
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
