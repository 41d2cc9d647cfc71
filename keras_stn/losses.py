"""Losses of poses that are known, and of images that should look alike.

For a photometric loss take Keras' own: `keras.losses.MeanSquaredError`, `MeanAbsoluteError`.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, _poses, transforms

__all__ = ["CornerDistance", "NormalizedCrossCorrelation"]

Tensor = Any

# Added to each variance: what the rounding to 8 bits alone makes of pixels in [0, 1], (1 / 255)^2 / 12.
_FLAT = 1.3e-6


@keras.saving.register_keras_serializable(package="keras_stn")
class CornerDistance(keras.losses.Loss):
    """How far apart two maps put the corners of the picture, squared.

    For a localization network that is shown the right pose: of data that is distorted on purpose, or
    labelled. Errors of all params count in one unit, that of the picture. A mean squared error of params
    would add radians to scales and shifts.

    Convention:
        Normalised coordinates: the picture is 2 wide and 2 high, so a shift by a tenth of the width,
        0.2, counts 0.04.

    Args:
        transform: The transform family of both params: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform` whose params are no field.
        **kwargs: Arguments of `keras.losses.Loss`: `name`, `reduction`, `dtype`.

    Input shape:
        y_true and y_pred: (batch, num_params) both, or (batch, maps, num_params) both.

    Output shape:
        (batch,) before the reduction: the mean over the corners (4 of a picture, 8 of a volume) of the
        squared distance. A corner that one of the maps puts behind the camera counts 0; params that are
        NaN or infinite count NaN or infinity.

    Raises:
        ValueError: if `transform` is none of the above, or the shapes do not fit.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization(transform="similarity", name="params")(images)
        >>> model = keras.Model(images, {"params": params})
        >>> model.compile("adam", loss={"params": keras_stn.losses.CornerDistance("similarity")})

    Reference:
        DeTone, Malisiewicz and Rabinovich, "Deep Image Homography Estimation" (2016, arXiv:1606.03798):
        homographies by their corners.
    """

    def __init__(self, transform: str | transforms.Transform, **kwargs: Any):
        super().__init__(**{"name": "corner_distance", **kwargs})
        instead = "compare fields by keras.losses.MeanSquaredError()"
        self.transform = _poses.no_field(type(self).__name__, transforms.get(transform), instead)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        y_true = _poses.checked("y_true", self.transform, y_true)
        y_pred = _poses.checked("y_pred", self.transform, y_pred)
        _checks.shape("y_true", y_true, y_pred.shape, f"{tuple(y_pred.shape)}, that of y_pred")
        corners = _poses.corners(self.transform.ndim)
        theirs, ours = (_poses.moved(self.transform, params, corners) for params in (y_true, y_pred))
        apart = ours - theirs
        known = tf.reduce_all(tf.math.is_finite(y_true + y_pred), axis=-1)
        known = tf.reshape(known, (-1, 1, 1))  # of each map
        behind = known & ~tf.math.is_finite(apart)  # the camera: NaN, though the params are numbers
        apart = tf.where(behind, tf.zeros_like(apart), apart)
        squared = tf.reduce_sum(tf.square(apart), axis=-1)  # (maps, corners)
        return _poses.of_images(self.transform, y_pred, tf.reduce_mean(squared, axis=-1))

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.transform)
        return {**super().get_config(), "transform": transform}


@keras.saving.register_keras_serializable(package="keras_stn")
class NormalizedCrossCorrelation(keras.losses.Loss):
    """How little two images are correlated: 1 where nothing is alike, 0 where one is the other.

    For images of other brightness or contrast, where the mean squared error misleads. Each channel is
    compared by itself. A flat image is like none, and its gradient is finite.

    Args:
        window: `None` compares the whole images: 1 - NCC, so that an inverted image counts 2. A number
            of pixels compares windows of so many on each axis, around each pixel, cut at the border:
            1 - the mean of NCC^2, as in VoxelMorph, where contrast may change from place to place. An
            inverted image is alike then.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: Arguments of `keras.losses.Loss`: `name`, `reduction`, `dtype`.

    Input shape:
        y_true and y_pred: (batch, H, W, channels) both, or volumes (batch, D, H, W, channels); in [0, 1]
        or a wider range. At a contrast of one part in 255 a perfect match counts half, below it less.

    Output shape:
        (batch,) before the reduction.

    Raises:
        ValueError: if an argument is none of the above, or the shapes do not fit.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.random.rand(1, 9, 12, 1)
        >>> loss = keras_stn.losses.NormalizedCrossCorrelation()
        >>> [round(float(loss(image, other)), 2) for other in (image, 0.3 * image + 0.5, -image)]
        [0.0, 0.0, 2.0]

    Reference:
        Balakrishnan, Zhao, Sabuncu, Guttag and Dalca, "VoxelMorph: A Learning Framework for Deformable
        Medical Image Registration" (2019, arXiv:1809.05231), eq. (6).
    """

    def __init__(self, window: int | None = None, data_format: str | None = None, **kwargs: Any):
        super().__init__(**{"name": "normalized_cross_correlation", **kwargs})
        self.window = None if window is None else _checks.count("window", window)
        self.data_format = _layout.data_format(data_format)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        one, two = (self._centred(*named) for named in (("y_true", y_true), ("y_pred", y_pred)))
        _checks.shape("y_true", one, two.shape, f"{tuple(two.shape)}, that of y_pred")
        mean_of_one, mean_of_two = self._mean(one), self._mean(two)
        both = self._mean(one * two) - mean_of_one * mean_of_two
        # As centred images rounding could make a window's variance less than 0 by 1e-8 alone.
        variance_of_one = tf.nn.relu(self._mean(one * one) - tf.square(mean_of_one)) + _FLAT
        variance_of_two = tf.nn.relu(self._mean(two * two) - tf.square(mean_of_two)) + _FLAT
        if self.window is None:
            ncc = both * tf.math.rsqrt(variance_of_one) * tf.math.rsqrt(variance_of_two)
        else:
            ncc = tf.square(both) / (variance_of_one * variance_of_two)
        return 1 - tf.reduce_mean(ncc, axis=list(range(1, ncc.shape.rank)))

    def _centred(self, argument, images):
        images = _checks.tensor(argument, images)
        rank = 5 if images.shape.rank == 5 else 4
        ndim = rank - 2
        _checks.shape(argument, images, (None,) * rank, _layout.axes(self.data_format, ndim))
        images = _layout.to_channels_last(images, self.data_format, ndim)
        return images - tf.reduce_mean(images, axis=list(range(1, rank - 1)), keepdims=True)

    def _mean(self, images):
        """Over the image, or around each pixel: padding is not counted."""
        if self.window is None:
            axes = list(range(1, images.shape.rank - 1))
            return tf.reduce_mean(images, axis=axes, keepdims=True)
        return keras.ops.average_pool(
            images, self.window, strides=1, padding="same", data_format="channels_last"
        )

    def get_config(self):
        return {**super().get_config(), "window": self.window, "data_format": self.data_format}
