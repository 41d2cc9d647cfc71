"""Regularizers of params: what a transformer pays for looking away, and for leaving the identity.

Each gives one number, the mean over the maps of a batch. A map that is lost, of NaN params or with all
points half a million images away, pays nothing and has no gradient.

Give one to `keras_stn.SpatialTransformer(params_regularizer=...)`. As `activity_regularizer` of a
`keras_stn.Localization` it is weaker in some versions of Keras (in 3.15, not in 3.8), which divide what
any activity regularizer gives by the size of the batch.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, _poses, transforms

__all__ = ["NearIdentity", "Outside"]

Tensor = Any


# A map that puts every point further away than this, or to NaN, is lost: there is no way back that a
# gradient could show, and that of some families is NaN there.
_FAR = 1e6


class _OfMaps(keras.regularizers.Regularizer):
    """A penalty on where maps put points. A map that is lost pays nothing, and has no gradient."""

    def points(self) -> np.ndarray:
        """The target points, (1, n, ndim)."""
        raise NotImplementedError

    def penalties(self, points: Tensor) -> Tensor:
        """Of source points (maps, n, ndim), each: (maps, n)."""
        raise NotImplementedError

    def __init__(self, transform: str | transforms.Transform, strength: float):
        name = type(self).__name__
        instead = "use keras.regularizers.L2, for the identity of a field is 0"
        self.transform = _poses.no_field(name, transforms.get(transform), instead)
        self.strength = _checks.not_negative("strength", strength)

    def __call__(self, params: Tensor) -> Tensor:
        params = _poses.in_a_row(self.transform, _poses.checked("params", self.transform, params))
        points = _poses.moved(self.transform, params, self.points())
        near = tf.reduce_any(tf.reduce_all(tf.abs(points) < _FAR, axis=-1), axis=-1, keepdims=True)
        known = tf.reduce_all(tf.math.is_finite(params), axis=-1, keepdims=True)
        lost = ~(near & known)  # (maps, 1)
        params = tf.where(lost, _poses.identity(self.transform, params.dtype), params)
        penalties = self.penalties(_poses.moved(self.transform, params, self.points()))
        # Points behind the camera are NaN.
        kept = ~lost & tf.math.is_finite(penalties)
        penalties = tf.where(kept, penalties, tf.zeros_like(penalties))
        return self.strength * tf.reduce_mean(penalties)

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.transform)
        return {"transform": transform, "strength": self.strength}


@keras.saving.register_keras_serializable(package="keras_stn")
class Outside(_OfMaps):
    """A penalty on looking beyond the image, where a sampler finds no gradient.

    The cure, beside a lower learning rate, of a transformer that ends in a black output. It costs
    nothing inside, and grows with the distance outside.

    Convention:
        Normalised coordinates of the source: inside is from -1 to 1.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform` whose params are no field.
        strength: What a point pays that is 1, half the image, outside on one axis. Of an output the mean
            over 8 points on each axis is taken, and of a batch the mean over its maps.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> outside = keras_stn.regularizers.Outside("translation", strength=0.1)
        >>> [round(float(outside([[x, 0.0]])), 4) for x in (0.1, 1.0)]  # half of them, by 0.5
        [0.0, 0.025]
    """

    def points(self):
        return _poses.lattice(self.transform.ndim, 8)

    def penalties(self, points):
        return tf.reduce_sum(tf.nn.relu(tf.abs(points) - 1), axis=-1)


@keras.saving.register_keras_serializable(package="keras_stn")
class NearIdentity(_OfMaps):
    """A penalty on moving the corners of the picture from where they are.

    For tasks that ask for small corrections: it pulls all params alike, in the unit of the picture. A
    family that has no identity, such as polar coordinates, is pulled to its `identity_params`.

    Convention:
        Normalised coordinates: the picture is 2 wide and 2 high.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform` whose params are no field.
        strength: What a corner pays that is moved by 1, half the image: as much times the square of the
            distance. The mean over the corners is taken, and that over the maps of a batch.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> near = keras_stn.regularizers.NearIdentity("translation", strength=0.1)
        >>> [round(float(near([[x, 0.0]])), 4) for x in (0.0, 0.1, 1.0)]
        [0.0, 0.001, 0.1]
    """

    def points(self):
        return _poses.corners(self.transform.ndim)

    def penalties(self, points):
        identity = _poses.identity(self.transform, points.dtype)
        places = _poses.moved(self.transform, identity, self.points())
        return tf.reduce_sum(tf.square(points - places), axis=-1)
