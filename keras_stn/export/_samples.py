"""Examples for the inputs of a model: random ones, and those that callers give in many forms."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_stn import _checks
from keras_stn.export._files import PathLike

# An array, one for each input, or one by the name of each.
Arrays = npt.ArrayLike | Mapping[str, npt.ArrayLike]
# The same as an .npz file, or in steps: a dataset, an iterator or a function that returns an iterable.
Samples = Arrays | PathLike | Iterable[Arrays] | Callable[[], Iterable[Arrays]]


def random_inputs(specs: tuple[tf.TensorSpec, ...], batch: int = 3) -> list[np.ndarray]:
    """One batch for `specs`, in [0, 1), always the same; 32 stands for unknown sizes.

    Images of whole numbers are in [0, 255] or as far as their dtype goes, other whole numbers are 0,
    which every embedding and table has. Images are smooth over eight pixels, as pictures are: on noise,
    the last bit of a predicted coordinate makes a difference of 7e-6 at 40 pixels, to any two ways of
    adding floats.
    """
    rng = np.random.default_rng(0)
    arrays = []
    for spec in specs:
        array = rng.random([spec.shape[0] or batch, *(size or 32 for size in spec.shape[1:])])
        if array.ndim >= 4:
            for axis in range(1, array.ndim - 1):
                shifts = range(min(8, array.shape[axis]))
                array = np.mean([np.roll(array, shift, axis) for shift in shifts], axis=0)
            array = (array - array.min()) / (np.ptp(array) + 1e-3)
            if spec.dtype.is_integer:
                array *= min(256, spec.dtype.max + 1)
        arrays.append(
            (array > 0.5) if spec.dtype == tf.bool else array.astype(spec.dtype.as_numpy_dtype)
        )
    return arrays


def read(
    samples: Samples | None, specs: tuple[tf.TensorSpec, ...], argument: str = "samples"
) -> list[np.ndarray]:
    """`samples` in the order and dtypes of `specs`: any number of examples, whatever their batch.

    Args:
        samples: None: random ones. An .npz file has one array, or one by the name of each input; others
            in it are left alone.
        specs: Those of the inputs.
        argument: What errors call the samples.
    """
    if samples is None:
        if any(spec.dtype == tf.string for spec in specs):
            raise ValueError(
                "samples must be given where an input is of strings. Received: samples=None."
            )
        return random_inputs(specs)
    if isinstance(samples, (str, os.PathLike)):
        samples = _of_npz(samples, [spec.name for spec in specs], argument)
    if callable(samples) or isinstance(samples, (tf.data.Dataset, Iterator)):
        steps: Any = samples() if callable(samples) else samples
        examples = [read(step, specs, argument) for step in steps]
        if not examples:
            raise ValueError(f"{argument} must hold examples. Received: none.")
        return [np.concatenate(arrays) for arrays in zip(*examples, strict=True)]
    specs = tuple(tf.TensorSpec((None, *spec.shape[1:]), spec.dtype, spec.name) for spec in specs)
    given: Any = samples
    if isinstance(samples, Mapping):
        names = [spec.name for spec in specs]
        if set(samples) != set(names):
            raise ValueError(
                f"{argument} must have the names of the inputs, {names}. Received: {sorted(samples)}."
            )
        given = [samples[name] for name in names]
    elif not isinstance(samples, (list, tuple)):
        given = [samples]
    arrays = [np.asarray(array) for array in given]
    counts = {len(array) for array in arrays if array.ndim}
    fits = (
        len(arrays) == len(specs)
        and len(counts) == 1
        and 0 not in counts
        and all(
            spec.shape.is_compatible_with(array.shape) for spec, array in zip(specs, arrays, strict=True)
        )
    )
    if not fits:
        expected = {spec.name: tuple(spec.shape) for spec in specs}
        raise ValueError(
            f"{argument} must be one array for each input, of shapes {expected}. "
            f"Received: shapes {[array.shape for array in arrays]}."
        )
    return [array.astype(spec.dtype.as_numpy_dtype) for spec, array in zip(specs, arrays, strict=True)]


def _of_npz(path: PathLike, names: list[str], argument: str) -> Any:
    try:
        with np.load(path) as file:
            if set(names) <= set(file.files):
                return {name: file[name] for name in names}
            if len(file.files) == 1:
                return file[file.files[0]]
            raise KeyError(f"it holds {file.files}")
    except _checks.NO_NPZ as error:
        raise ValueError(
            f"{argument} must be an .npz file of one array, or of one for each of the inputs {names}. "
            f"Received: {argument}={str(path)!r} ({error})."
        ) from error
