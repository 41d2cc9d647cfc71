"""What maps do, in numbers that say whether a transformer is well.

Functions give a number for each map, and metrics their mean, for `compile`.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, _poses, transforms

__all__ = [
    "Determinant",
    "ShareOutside",
    "Turn",
    "Zoom",
    "determinant",
    "share_outside",
    "turn",
    "zoom",
]

Tensor = Any


def share_outside(
    transform: Any,
    params: Any,
    source_size: tuple[int, ...] | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """The share of the output that lies outside the image, 0 to 1.

    Convention:
        Normalised coordinates of the source: outside is beyond -1 and 1, and what is NaN.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        params: (batch, num_params), (batch, maps, num_params), or fields of params, floating point.
        source_size: (height, width) of the images, or (depth, height, width). Fields need it.
        align_corners: That of the layer that takes the params; for fields.

    Returns:
        (batch,), or (batch, maps): NumPy, of 16x16 points of the output, or 8x8x8.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> keras_stn.metrics.share_outside("translation", [[0.0, 0.0], [0.5, 0.0], [3.0, 0.0]]).tolist()
        [0.0, 0.25, 1.0]
    """
    return _measured(_poses.share_outside, transform, params, source_size, align_corners)


def determinant(
    transform: Any,
    params: Any,
    source_size: tuple[int, ...] | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """The determinant of the map at the middle of the output: how much of the image stands for its area.

    Near 0 the output shows a line or a point; below 0 it is a mirror image.

    Convention:
        Target to source, normalised coordinates.

    Args:
        transform: As in `share_outside`.
        params: As in `share_outside`.
        source_size: As in `share_outside`.
        align_corners: As in `share_outside`.

    Returns:
        (batch,), or (batch, maps): NumPy.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> keras_stn.metrics.determinant("attention", [[0.5, 0.0, 0.0]]).round(6).tolist()
        [0.25]
    """
    return _measured(_poses.determinant, transform, params, source_size, align_corners)


def zoom(
    transform: Any,
    params: Any,
    source_size: tuple[int, ...] | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """How far the map zooms out at the middle of the output: at 2 things are shown half as large.

    The root of |determinant|, square or of a volume cubic: 1 at the identity; below 1 it magnifies.

    Convention:
        Target to source, as the scale of `keras_stn.transforms.Similarity`.

    Args:
        transform: As in `share_outside`.
        params: As in `share_outside`.
        source_size: As in `share_outside`.
        align_corners: As in `share_outside`.

    Returns:
        (batch,), or (batch, maps): NumPy.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> keras_stn.metrics.zoom("similarity", [[2.0, 0.5, 0.1, 0.0]]).round(6).tolist()
        [2.0]
    """
    return _measured(_poses.zoom, transform, params, source_size, align_corners)


def turn(
    transform: Any,
    params: Any,
    source_size: tuple[int, ...] | None = None,
    align_corners: bool = False,
) -> np.ndarray:
    """The turn of the map at the middle of the output, in radians: that of the nearest rotation.

    Convention:
        Above zero the picture is turned counter-clockwise, as by `keras_stn.transforms.Rotation`. Of a
        volume it is the length of the rotation vector, 0 to pi.

    Args:
        transform: As in `share_outside`.
        params: As in `share_outside`.
        source_size: As in `share_outside`. With it turns are those of pixels; without it they are those
            of normalised coordinates, which are the same on square pictures.
        align_corners: As in `share_outside`; here it counts for pictures that are not square, too.

    Returns:
        (batch,), or (batch, maps): NumPy.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> keras_stn.metrics.turn("similarity", [[2.0, 0.5, 0.1, 0.0]]).round(6).tolist()
        [0.5]
    """
    return _measured(_poses.turn, transform, params, source_size, align_corners)


def _measured(measure, transform, params, source_size, align_corners):
    transform = transforms.get(transform)
    params = _poses.checked("params", transform, params)
    sizes = _sizes(transform, source_size, align_corners)
    values = measure(transform, tf.cast(params, tf.float64), **sizes)
    return np.reshape(values, params.shape[: 1 - transform.params_ndim])


def _sizes(transform, source_size, align_corners):
    if source_size is not None:
        source_size = _checks.size("source_size", source_size, transform.ndim)
    align_corners = _checks.boolean("align_corners", align_corners)
    return {"source_size": source_size, "align_corners": align_corners}


# --- For `compile`


class _OfMaps(keras.metrics.Mean):
    """The mean of a measure over an output of params; labels are not looked at."""

    called: str
    measure: Callable

    def __init__(
        self,
        transform: str | transforms.Transform,
        source_size: tuple[int, ...] | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**{"name": type(self).called, **kwargs})
        self.transform = transforms.get(transform)
        self.sizes = _sizes(self.transform, source_size, align_corners)

    def update_state(self, y_true, y_pred, sample_weight=None):
        params = _poses.checked("y_pred", self.transform, y_pred)
        values = type(self).measure(self.transform, tf.cast(params, tf.float64), **self.sizes)
        values = _poses.of_images(self.transform, params, values)
        super().update_state(tf.cast(values, self.dtype), sample_weight)

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.transform)
        return {**super().get_config(), "transform": transform, **self.sizes}


@keras.saving.register_keras_serializable(package="keras_stn")
class ShareOutside(_OfMaps):
    """The share of the output that lies outside the images, as `keras_stn.metrics.share_outside`.

    `keras_stn.callbacks.CollapseWatch` warns above 0.3. Labels are not looked at.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        source_size: (height, width) of the images, as in `keras_stn.metrics.share_outside`.
        align_corners: That of the layer that takes the params.
        **kwargs: Arguments of `keras.metrics.Mean`: `name`, `dtype`.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization(transform="similarity", name="params")(images)
        >>> model = keras.Model(images, {"params": params})
        >>> metric = keras_stn.metrics.ShareOutside("similarity")
        >>> model.compile("adam", loss={"params": "mse"}, metrics={"params": [metric]})
    """

    called = "share_outside"
    measure = staticmethod(_poses.share_outside)


@keras.saving.register_keras_serializable(package="keras_stn")
class Determinant(_OfMaps):
    """The mean determinant of the maps, as `keras_stn.metrics.determinant`.

    1 at the identity; near 0 the output shows a line or a point. Labels are not looked at.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        source_size: (height, width) of the images, as in `keras_stn.metrics.share_outside`.
        align_corners: That of the layer that takes the params.
        **kwargs: Arguments of `keras.metrics.Mean`: `name`, `dtype`.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization(transform="similarity", name="params")(images)
        >>> model = keras.Model(images, {"params": params})
        >>> metric = keras_stn.metrics.Determinant("similarity")
        >>> model.compile("adam", loss={"params": "mse"}, metrics={"params": [metric]})
    """

    called = "determinant"
    measure = staticmethod(_poses.determinant)


@keras.saving.register_keras_serializable(package="keras_stn")
class Zoom(_OfMaps):
    """The mean zoom of the maps, as `keras_stn.metrics.zoom`.

    2 shows things half as large; a transformer that zooms out, step by step, is about to collapse.
    Labels are not looked at.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        source_size: (height, width) of the images, as in `keras_stn.metrics.share_outside`.
        align_corners: That of the layer that takes the params.
        **kwargs: Arguments of `keras.metrics.Mean`: `name`, `dtype`.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization(transform="similarity", name="params")(images)
        >>> model = keras.Model(images, {"params": params})
        >>> metric = keras_stn.metrics.Zoom("similarity")
        >>> model.compile("adam", loss={"params": "mse"}, metrics={"params": [metric]})
    """

    called = "zoom"
    measure = staticmethod(_poses.zoom)


@keras.saving.register_keras_serializable(package="keras_stn")
class Turn(_OfMaps):
    """The mean size of the turns, as `keras_stn.metrics.turn`, in radians.

    Of either direction: turns to the left and to the right would cancel out. Labels are not looked at.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        source_size: (height, width) of the images, as in `keras_stn.metrics.share_outside`.
        align_corners: That of the layer that takes the params.
        **kwargs: Arguments of `keras.metrics.Mean`: `name`, `dtype`.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization(transform="similarity", name="params")(images)
        >>> model = keras.Model(images, {"params": params})
        >>> metric = keras_stn.metrics.Turn("similarity")
        >>> model.compile("adam", loss={"params": "mse"}, metrics={"params": [metric]})
    """

    called = "turn"
    measure = staticmethod(_poses.size_of_turn)
