"""The layers: `Warp`, and `SpatialTransformer`, which is `Localization` and `Warp` in a row."""

import copy

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, _saving, grids, sampler, transforms
from keras_stn.localization import Localization
from keras_stn.localization.layer import check_network

__all__ = ["SpatialTransformer", "Warp"]


@keras.saving.register_keras_serializable(package="keras_stn")
class Warp(keras.layers.Layer):
    """Warps images by the parameters of a transform: `[images, params]` -> warped images.

    The grid generator and the sampler of a spatial transformer. Use it where the parameters are at
    hand or a Functional model needs them for something else; `keras_stn.SpatialTransformer` predicts
    them itself.

    Convention:
        A transform maps target to source, in normalised coordinates: the output pixel at p shows the
        input at transform(p). -1 and 1 are the outer edges of the corner pixels, or their centres with
        `align_corners=True`. Params that are NaN or infinite put all points outside the image: the
        output is finite wherever the images are, and other images of the batch do not change. The
        derivative by a coordinate is, at the centre of a pixel, the one from the right.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        output_size: (height, width) of the output; the size of the images by default.
        interpolation: `"nearest"` (ties to even; gives no gradient to the params), `"bilinear"` or
            `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `keras_stn.ops.grid_sample`.
        fill_value: A number, or one for each channel, for `fill_mode="constant"`.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        images (batch, H, W, channels), or (batch, channels, H, W) for channels_first: floating point, or
        whole numbers with `interpolation="nearest"`, as labels are; params (batch, num_params), one row
        for each image. Any size from 1 up, static or not. A batch of 1 goes with any other, and no
        image is copied: one image at many poses, one map for many images. In a model's input it must be
        known to be 1, by `keras.Input(..., batch_size=1)`.

    Output shape:
        (batch, h, w, channels) with (h, w) = output_size, in the layer's compute dtype; whole numbers
        keep their dtype, and so labels their values under every policy, where labels in floats are
        rounded to half precision. channels_first as the input. Coordinates and weights are float32 at
        least, whatever the dtype policy.

    Raises:
        ValueError: if an argument is none of the above, or a shape or dtype does not fit.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)
        >>> shift = np.array([[0.5, 0.0]], "float32")  # one pixel of four: half of -1 to 1 is two
        >>> keras_stn.Warp("translation", fill_mode="wrap")([image, shift]).numpy().ravel().tolist()
        [1.0, 2.0, 3.0, 0.0]

    Reference:
        Sections 3.2 and 3.3 of Jaderberg et al., "Spatial Transformer Networks" (2015,
        arXiv:1506.02025).
    """

    def __init__(
        self,
        transform="affine",
        output_size=None,
        *,
        interpolation="bilinear",
        fill_mode="constant",
        fill_value=0.0,
        align_corners=False,
        data_format=None,
        **kwargs,
    ):
        # Keras would cast the params to the compute dtype, and so coordinates to half precision.
        super().__init__(**{"autocast": False, **kwargs})
        self.transform = transforms.get(transform)
        self.output_size = None if output_size is None else _checks.size("output_size", output_size)
        self.interpolation = _checks.interpolation(interpolation)
        self.fill_mode = _checks.fill_mode(fill_mode)
        self.fill_value = _checks.fill_value(fill_value)
        self.align_corners = _checks.boolean("align_corners", align_corners)
        self.data_format = _layout.data_format(data_format)
        params = keras.layers.InputSpec(ndim=2, axes={-1: self.transform.num_params})
        self.input_spec = [keras.layers.InputSpec(ndim=4), params]

    def call(self, inputs):
        images, params = inputs
        self._check(images, params)
        images = tf.cast(images, self._dtype_of(images))
        params = tf.cast(params, grids.coordinate_dtype(images.dtype))
        images = _layout.to_channels_last(images, self.data_format)  # (batch, H, W, channels)
        sampling = sampler.Sampling(self.interpolation, self.fill_mode, self.fill_value)
        source_size = grids.image_size(images)
        sizes = source_size, self.output_size or source_size
        batch = params.shape[0] if images.shape[0] == 1 else images.shape[0]
        with sampler.compiled(images, (batch, *sizes[1], images.shape[-1])):
            points = self.transform.points(params, *sizes, self.align_corners)
            warped = sampler.read(images, points, sampling)  # (batch, h, w, channels)
        return _layout.from_channels_last(warped, self.data_format)

    def _check(self, images, params):
        _checks.interpolated(images.dtype, self.interpolation)
        num_params = self.transform.num_params
        _checks.real("params", params.dtype)
        of_params = f"(batch of images, {num_params})"
        _checks.shape("params", params, (None, num_params), of_params)
        _checks.batch("params", params, of_params, "images", images)
        *_, channels = _layout.shape_to_channels_last(images.shape, self.data_format)
        dtype = keras.backend.standardize_dtype(images.dtype)
        _checks.fill_value_fits(self.fill_value, channels, dtype)

    def _dtype_of(self, images):
        """Of the output: labels are never cast, for half precision has no label of 257."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        return self.compute_dtype if "float" in dtype else dtype

    def compute_output_shape(self, input_shape):
        images_shape, (params_batch, _) = input_shape
        batch, *size, channels = _layout.shape_to_channels_last(images_shape, self.data_format)
        batch = params_batch if batch in (1, None) and params_batch != 1 else batch
        shape = (batch, *(self.output_size or size), channels)
        return _layout.shape_from_channels_last(shape, self.data_format)

    def compute_output_spec(self, inputs):
        images, params = inputs
        self._check(images, params)
        shape = self.compute_output_shape([images.shape, params.shape])
        return keras.KerasTensor(shape, dtype=self._dtype_of(images))

    def get_config(self):
        return {
            **super().get_config(),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "output_size": self.output_size,
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "align_corners": self.align_corners,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="keras_stn")
class SpatialTransformer(keras.layers.Layer):
    """A spatial transformer: looks at its input, and moves, turns or scales it for the layers after it.

    Put it at the front of a model, or between two layers. It learns what to do from the loss of the
    model alone: a localization network predicts the parameters of a transform, and the input is sampled
    there. A fresh layer returns its input.

    Convention:
        As in `keras_stn.Warp`: transforms map target to source, in normalised coordinates.

    Args:
        localization: The localization network: `None` for a small default that suits any image size, a
            name from `keras_stn.localization.BUILDERS`, any Keras model or layer that turns
            channels_last images into features (batch, n), or a `keras_stn.Localization`. One object
            belongs to one transformer; to share params, call a `Localization` and use `keras_stn.Warp`.
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        output_size: (height, width) of the output; the size of the images by default.
        interpolation: `"nearest"` (no gradient reaches the localization network, which then does not
            learn), `"bilinear"` or `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `keras_stn.ops.grid_sample`.
        fill_value: A number, or one for each channel, for `fill_mode="constant"`: give the value of the
            background.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        localization: The `keras_stn.Localization` inside: `layer.localization(images)` are the params.
        warp: The `keras_stn.Warp` inside.

    Input shape:
        (batch, H, W, channels), floating point; (batch, channels, H, W) for channels_first.

    Output shape:
        (batch, h, w, channels) with (h, w) = output_size, in the layer's compute dtype; channels_first
        as the input.

    Raises:
        ValueError: if an argument is none of the above, or a shape or dtype does not fit.

    Example:
        >>> import keras, keras_stn
        >>> model = keras.Sequential([
        ...     keras.Input((40, 40, 1)),
        ...     keras_stn.SpatialTransformer(output_size=(28, 28)),
        ...     keras.layers.Conv2D(32, 5, activation="relu"),
        ...     keras.layers.GlobalMaxPooling2D(),
        ...     keras.layers.Dense(10),
        ... ])
        >>> model.layers[0].output.shape
        (None, 28, 28, 1)

    Reference:
        Jaderberg, Simonyan, Zisserman and Kavukcuoglu, "Spatial Transformer Networks" (2015,
        arXiv:1506.02025).
    """

    def __init__(
        self,
        localization=None,
        transform="affine",
        output_size=None,
        *,
        interpolation="bilinear",
        fill_mode="constant",
        fill_value=0.0,
        align_corners=False,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.warp = Warp(
            transform,
            output_size,
            interpolation=interpolation,
            fill_mode=fill_mode,
            fill_value=fill_value,
            align_corners=align_corners,
            data_format=data_format,
            dtype=self.dtype_policy,
            name="warp",
        )
        if not isinstance(localization, Localization):
            check_network("localization", localization)
            localization = Localization(
                localization,
                self.warp.transform,
                data_format=self.warp.data_format,
                dtype=self.dtype_policy,
                name="localization",
            )
        self.localization = localization
        self._check_parts_agree()
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _check_parts_agree(self):
        for argument in ("transform", "data_format"):
            ours, theirs = getattr(self.warp, argument), getattr(self.localization, argument)
            if ours == theirs:
                continue
            ours, theirs = (
                f"{type(value).__name__}({value.get_config()})" if argument == "transform" else value
                for value in (ours, theirs)
            )
            if ours != theirs:
                raise _checks.error(
                    f"{argument} must be the same for the SpatialTransformer and its Localization. "
                    f"Received: {argument}={ours} and localization.{argument}={theirs}."
                )

    def build(self, input_shape):
        if not self.localization.built:
            self.localization.build(input_shape)
        self.warp.build([input_shape, self.localization.compute_output_shape(input_shape)])
        if not self.trainable:  # as an argument, it has not reached the parts
            self.localization.trainable = False

    def call(self, images, training=None):  # Keras hands training on to the parts
        params = self.localization(images)  # (batch, num_params)
        return self.warp([images, params])  # (batch, h, w, channels)

    def compute_output_shape(self, input_shape):
        params_shape = self.localization.compute_output_shape(input_shape)
        return self.warp.compute_output_shape([input_shape, params_shape])

    def compute_output_spec(self, images, training=None):
        return self.warp.compute_output_spec([images, self.localization.compute_output_spec(images)])

    def get_config(self):
        warp = self.warp.get_config()
        arguments = (
            "transform",
            "output_size",
            "interpolation",
            "fill_mode",
            "fill_value",
            "align_corners",
            "data_format",
        )
        _saving.refuse_what_does_not_load(self)
        localization = _saving.serialized(self.localization)
        localization.pop("build_config", None)  # for images of one size; a copy may be for another
        return {
            **super().get_config(),
            "localization": localization,
            **{argument: warp[argument] for argument in arguments},
        }

    def get_build_config(self):
        config = super().get_build_config()
        return config and {**config, "localization": self.localization.get_build_config()}

    def build_from_config(self, config):
        if config.get("localization") and not self.localization.built:  # it may be another's as well
            self.localization.build_from_config(config["localization"])
        super().build_from_config(config)

    @classmethod
    def from_config(cls, config):
        config = copy.deepcopy(config)
        config["localization"] = _saving.part(
            "the localization of a SpatialTransformer", config.get("localization"), Localization
        )
        return cls(**config)
