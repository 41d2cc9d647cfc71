"""The layer `Localization`: a network, and a head that starts at the identity."""

import copy
import json
from typing import Any

import keras

from keras_stn import _checks, _layout, _saving, grids, transforms
from keras_stn.localization.features import features_shape, takes_rank
from keras_stn.localization.head import Head, head_of_old_models
from keras_stn.localization.heatmap import SCALE
from keras_stn.localization.networks import BUILDERS, DEFAULTS, SIZED

Tensor = Any
_CURE = (
    f"{_checks.CAST_PICTURES}; warp labels by the params of their images: "
    'keras_stn.Warp(transform, interpolation="nearest")(labels, params)'
)


@keras.saving.register_keras_serializable(package="keras_stn")
class Localization(keras.layers.Layer):
    """Predicts the params of a transform from images.

    A network, and a dense head that adds the identity to weights which start at zero. So training starts
    from a transformer that returns its input, and weight decay leads back to it.
    `keras_stn.SpatialTransformer` holds one; use it directly where a Functional model needs the params
    themselves.

    Args:
        network: What comes before the head:

            - `None`: `keras_stn.localization.heatmap`, small, for images of any size; `volume_conv`
              for volumes; `field_conv` for families whose params are a field;
            - a name from `keras_stn.localization.BUILDERS`: `"heatmap"`, `"resized_conv"`, `"conv"`,
              `"dense"`, `"strided_conv"`, `"volume_conv"`, `"field_conv"`;
            - any Keras model or layer that turns channels_last images into features (batch, n); for a
              field into feature maps (batch, [d,] h, w, n), of any size.
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        glimpses: How many maps each image has; one, without an axis of glimpses, by default. They start
            as tiles of the picture, where the family can scale (`transform.tiles`).
        recurrences: How often a `keras_stn.SpatialTransformer` is to look through it, which composes
            the maps: a step of training moves their product so much further. The `scale` of a network
            `"heatmap"`, the default of pictures, is divided by it. At a rate of 1e-2, three looks at
            cluttered digits otherwise left the picture with one of two seeds: 0.995 of the samples lay
            outside, instead of 0.076.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default. The network
            sees channels_last images in either case.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        network: The Keras model or layer before the head; None before it is built, for a name.
        head: The dense layer that makes the params; None before it is built.

    Input shape:
        (batch, H, W, channels), floating point; (batch, channels, H, W) for channels_first. Networks of
        dense layers take an empty batch; TensorFlow's convolutions on a CPU do not. Videos: (batch,
        frames, H, W, channels), or (batch, frames, channels, H, W). The network sees frame by frame, but
        one that is a Keras model made for videos sees all of them, and makes one map for all. Volumes:
        (batch, D, H, W, channels), where the transform is one of volumes.

    Output shape:
        (batch, num_params), of videos (batch, frames, num_params), with glimpses (batch, glimpses,
        num_params): float32 whatever the dtype policy (float64 for float64): at width 224
        float16 would misplace the image by 0.06 pixels, and bfloat16 by a whole one.

    Raises:
        ValueError: if `network` or `transform` is none of the above, or the network returns anything but
            features (batch, n), or maps of them, with a static n.

    Example:
        >>> import keras, keras_stn
        >>> images = keras.Input((40, 40, 1))
        >>> params = keras_stn.Localization("conv", "similarity")(images)
        >>> warped = keras_stn.Warp("similarity")([images, params])
        >>> params.shape, warped.shape
        ((None, 4), (None, 40, 40, 1))

    Reference:
        Section 3.1 of Jaderberg et al., "Spatial Transformer Networks" (2015, arXiv:1506.02025).
    """

    def __init__(
        self,
        network: str | keras.layers.Layer | None = None,
        transform: str | transforms.Transform = "affine",
        *,
        glimpses: int | None = None,
        recurrences: int = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.recurrences = _checks.count("recurrences", recurrences)
        self.glimpses = None if glimpses is None else _checks.count("glimpses", glimpses)
        self.data_format = _layout.data_format(data_format)
        check_network("network", network)
        named = network is None or isinstance(network, str)
        self._of_fields = self.transform.params_ndim > 2
        if self._of_fields and glimpses is not None:
            raise _checks.error(
                f"glimpses must be None for {type(self.transform).__name__}, whose params are a field. "
                f"Received: glimpses={glimpses!r}."
            )
        default = "field_conv" if self._of_fields else DEFAULTS[self.transform.ndim]
        self._builder = (network or default) if named else None
        self.network: Any = None if named else network
        self.head: Any = None
        self._head_config: str | None = None  # JSON, for Keras would track a dictionary
        self.params_dtype = "float64" if self.compute_dtype == "float64" else "float32"
        ndim = self.transform.ndim
        self.input_spec = keras.layers.InputSpec(min_ndim=ndim + 2, max_ndim=ndim + 3)  # or of videos

    def build(self, input_shape):
        shape = self._shape_of_images(input_shape)
        if self._builder and self.network is None:
            self.network = self._new_network(shape)
        features = features_shape(self.network, shape, self.compute_dtype, maps=self._of_fields)
        _freeze_what_is_new(self.network)
        if self.head is None:
            self.head = self._new_head()
        if not self.head.built:
            self.head.build(features)
        if not self.trainable:  # Keras tells the parts there are when it is set, and these are new
            self.network.trainable = self.head.trainable = False

    def _shape_of_images(self, input_shape):
        """What the network sees: channels_last, and frames as images."""
        shape = _layout.shape_to_channels_last(input_shape, self.data_format, self.transform.ndim)
        batch, *rest = shape
        return (batch, *rest[1:]) if self._by_frame(shape) else shape

    def _new_network(self, shape):
        known: dict[str, Any] = {name: {"image_size": shape[1:-1]} for name in SIZED}
        known["heatmap"]["scale"] = SCALE / self.recurrences
        known["field_conv"] = {"ndim": len(shape) - 2}
        builder: Any = self._builder
        return BUILDERS[builder](**known.get(builder, {}), dtype=self.dtype_policy)

    def _new_head(self):
        if self._head_config:
            config = json.loads(self._head_config)
            return _saving.deserialized("the head of a Localization", config, Head)
        starts = [self.transform.identity_params]
        if self.glimpses is not None:
            starts = list(self.transform.tiles(self.glimpses))
        offset = [number for start in starts for number in start]
        return Head(
            len(offset),
            kernel_initializer="zeros",
            offset=offset,
            dtype=self.params_dtype,
            name="params",
        )

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        _checks.floating("images", images.dtype, cure=_CURE)
        images = _layout.to_channels_last(images, self.data_format, self.transform.ndim)
        shape = grids.shape_of(images)
        if by_frame := self._by_frame(shape):
            images = keras.ops.reshape(images, (-1, *shape[2:]))
        # Where nobody says, Keras' Resizing, which old models hold, says training=True to all that
        # comes after it.
        training = False if training is None else training
        features = self.network(
            images, training=training
        )  # (batch, n), or of fields (batch, [d,] h, w, n)
        params = self.head(features)  # (batch, ..., num_params)
        maps = shape[1:2] if by_frame else () if self.glimpses is None else (self.glimpses,)
        if not maps:
            return params
        of_one = grids.shape_of(params)[1:-1]
        return keras.ops.reshape(params, (-1, *maps, *of_one, self.transform.num_params))

    def _by_frame(self, shape):
        """Whether images of this shape are videos whose frames are looked at one by one."""
        video = len(shape) == self.transform.ndim + 3
        if video and self.glimpses is not None:
            raise _checks.error(
                "glimpses must be None for videos, whose frames have a map each. "
                f"Received: glimpses={self.glimpses} and images.shape={tuple(shape)}."
            )
        return video and not takes_rank(self.network, len(shape))

    def compute_output_shape(self, input_shape):
        maps = input_shape[1:2] if self._by_frame(input_shape) else ()
        maps = maps if self.glimpses is None else (self.glimpses,)
        field: Any = ()
        if self._of_fields:
            shape = self._shape_of_images(input_shape)
            network = self.network or self._new_network(shape)
            _, *field, _ = features_shape(network, shape, self.compute_dtype, maps=True)
        return (input_shape[0], *maps, *field, self.transform.num_params)

    def compute_output_spec(self, images, training=None):
        _checks.floating("images", images.dtype, cure=_CURE)
        shape = self.compute_output_shape(images.shape)
        return keras.KerasTensor(shape, dtype=self.params_dtype)

    def get_config(self):
        _saving.refuse_what_does_not_load(self)
        # An .h5 file has no build config, in which the parts of a named network stand otherwise.
        by_name = self._builder and not (self.network is not None and _saving.to_legacy_h5())
        head = json.loads(self._head_config) if self._head_config else None
        if self.head is not None:
            head = _saving.serialized(self.head)
            head.pop("build_config", None)  # for features of one size; a copy may be for another
        return {
            **super().get_config(),
            "network": self._builder if by_name else _saving.serialized(self.network),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "glimpses": self.glimpses,
            "recurrences": self.recurrences,
            "data_format": self.data_format,
            "head": head,
        }

    def get_build_config(self):
        """What a saved model needs beside the arguments: the network, frozen or quantized."""
        config = super().get_build_config()
        if config is None or self.head is None or not self._builder:
            return config
        return {**config, "network": _saving.serialized(self.network)}

    def build_from_config(self, config):
        # "head": of models that were saved when its config stood here.
        for name, kind in (("network", keras.layers.Layer), ("head", Head)):
            if name in config:
                what = f"the {name} of a Localization"
                setattr(self, name, _saving.deserialized(what, copy.deepcopy(config[name]), kind))
        super().build_from_config(config)

    @classmethod
    def from_config(cls, config):
        config = copy.deepcopy(config)  # Keras empties the config of a Functional network
        config["network"] = _saving.deserialized(
            "the network of a Localization", config.get("network"), keras.layers.Layer
        )
        tells_of_head = "head" in config
        head = config.pop("head", None)
        layer = cls(**config)
        if not tells_of_head:
            head = head_of_old_models(layer.transform, layer.params_dtype)
        layer._head_config = json.dumps(head) if head else None
        return layer


def _freeze_what_is_new(network: keras.layers.Layer) -> None:
    """Keras freezes the layers that there are when `trainable` is set, not those that `build` makes."""
    if not network.trainable:
        network.trainable = True  # Keras passes over a value that is there already
        network.trainable = False
    elif isinstance(network, keras.Model):
        for layer in network.layers:
            _freeze_what_is_new(layer)


def check_network(argument: str, network: Any) -> None:
    """Raise unless `network` can be that of a `Localization`."""
    if isinstance(network, str):
        _checks.one_of(argument, network, BUILDERS)
    elif network is not None and not isinstance(network, keras.layers.Layer):
        raise _checks.error(
            f"{argument} must be None, one of {tuple(BUILDERS)}, or a Keras model or layer. "
            f"Received: {argument}={network!r}."
        )
