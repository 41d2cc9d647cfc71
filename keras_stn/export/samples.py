"""Samples from a file: `load`."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_stn import _checks
from keras_stn.export import _trace
from keras_stn.export._files import PathLike

__all__ = ["load"]


def load(path: PathLike, model: keras.Model) -> list[np.ndarray]:
    """The samples of an .npz file for the inputs of a model.

    Args:
        path: A file of one array, or of one by the name of each input; others in it are left alone.
        model: A Keras model with known inputs.

    Returns:
        An array for each input, for `samples` and `representative_dataset` of the exporters.

    Raises:
        ValueError: if it is no such file.

    Example:
        >>> import keras, keras_stn, numpy as np
        >>> np.savez("digits.npz", image=np.zeros((5, 8, 12, 1)), label=np.zeros(5))
        >>> images = keras.Input((8, 12, 1), name="image")
        >>> model = keras.Model(images, keras_stn.SpatialTransformer("dense")(images))
        >>> [array.shape for array in keras_stn.export.samples.load("digits.npz", model)]
        [(5, 8, 12, 1)]
    """
    specs = _trace.signature(model).specs
    names = [spec.name for spec in specs]
    try:
        with np.load(Path(path)) as file:
            if set(names) <= set(file.files):
                arrays: Any = {name: file[name] for name in names}
            elif len(file.files) == 1:
                arrays = file[file.files[0]]
            else:
                raise KeyError(f"it holds {file.files}")
    except _checks.NO_NPZ as error:
        raise ValueError(
            f"path must be an .npz file of one array, or of one for each of the inputs {names}. "
            f"Received: path={str(path)!r} ({error})."
        ) from error
    return _trace.sample_inputs(arrays, specs)
