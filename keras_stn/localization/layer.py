"""The layer `Localization`: a network, and a head that starts at the identity."""

import copy
from typing import Any

import keras

from keras_stn import _checks, _layout, transforms
from keras_stn.localization.networks import BUILDERS

_DEFAULT_BUILDS = keras.layers.Layer.build, keras.Model.build


@keras.saving.register_keras_serializable(package="keras_stn")
class Identity(keras.initializers.Initializer):
    """Initializer of the head's bias: the parameters of the identity.

    Args:
        transform: The transform family: a name or a `keras_stn.transforms.Transform`.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.Identity("attention")((3,)).numpy().tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, transform: Any = "affine"):
        self.transform = transforms.get(transform)

    def __call__(self, shape, dtype=None):
        return keras.ops.reshape(
            keras.ops.convert_to_tensor(self.transform.identity_params, dtype=dtype), shape
        )

    def get_config(self):
        return {"transform": keras.saving.serialize_keras_object(self.transform)}


@keras.saving.register_keras_serializable(package="keras_stn")
class Head(keras.layers.Dense):
    """The dense layer that makes the params, which `model.quantize` passes over.

    On 8 bits params have 256 places in the whole image.

    Args:
        *args: As in `keras.layers.Dense`.
        **kwargs: As in `keras.layers.Dense`.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.layer.Head(6).units
        6
    """

    def quantize(self, mode, *args, **kwargs):
        # `keras.Model.quantize` makes a warning of this, as of layers that have no such method.
        raise NotImplementedError(f"{self.name!r} stays in {self.dtype}, for it makes coordinates.")


@keras.saving.register_keras_serializable(package="keras_stn")
class Localization(keras.layers.Layer):
    """Predicts the parameters of a transform from images.

    A network, and a dense head whose kernel starts at zero and whose bias starts at the identity: so
    training starts from a transformer that returns its input. `keras_stn.SpatialTransformer` holds one;
    use it directly where a Functional model needs the parameters themselves.

    Args:
        network: What comes before the head:

            - `None`: `keras_stn.localization.resized_conv`, small, for images of any size;
            - a name from `keras_stn.localization.BUILDERS`: `"resized_conv"`, `"conv"`, `"dense"`,
              `"strided_conv"`;
            - any Keras model or layer that turns channels_last images into features (batch, n).
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default. The network
            sees channels_last images in either case.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        network: The Keras model or layer before the head; None before it is built, for a name.
        head: The dense layer that makes the params; None before it is built.

    Input shape:
        (batch, H, W, channels), floating point; (batch, channels, H, W) for channels_first.

    Output shape:
        (batch, num_params), float32 whatever the dtype policy (float64 for float64): half precision
        would misplace the image by parts of a pixel, and bfloat16 by a whole one.

    Raises:
        ValueError: if `network` or `transform` is none of the above, or the network returns anything but
            features (batch, n) with a static n.

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

    def __init__(self, network=None, transform="affine", *, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.transform = transforms.get(transform)
        self.data_format = _layout.data_format(data_format)
        check_network("network", network)
        named = network is None or isinstance(network, str)
        self._builder = (network or "resized_conv") if named else None
        self.network: Any = None if named else network
        self.head: Any = None
        self.params_dtype = "float64" if self.compute_dtype == "float64" else "float32"
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        shape = _layout.shape_to_channels_last(input_shape, self.data_format)
        if self._builder and self.network is None:
            # Only the default looks at the size, and its weights do not depend on it.
            size = {"image_size": shape[1:3]} if self._builder == "resized_conv" else {}
            self.network = BUILDERS[self._builder](**size, dtype=self.dtype_policy)
        features = self._build_network(shape)
        if self.head is None:
            self.head = Head(
                self.transform.num_params,
                kernel_initializer="zeros",
                bias_initializer=Identity(self.transform),
                dtype=self.params_dtype,
                name="params",
            )
        if not self.head.built:
            self.head.build(features)
        if not self.trainable:  # Keras tells the parts there are when it is set, and these are new
            self.network.trainable = self.head.trainable = False

    def _build_network(self, shape):
        """The static shape of what the network returns; raises if a dense head cannot take it."""
        received = None
        try:
            # Keras warns of a `build` that nobody has written; the network is then built by its call.
            if not self.network.built and type(self.network).build not in _DEFAULT_BUILDS:
                self.network.build(shape)
            spec = self.network.compute_output_spec(keras.KerasTensor(shape, self.compute_dtype))
            received = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), spec)
            cause = None
        except ValueError as error:  # such as a Dense layer on features of unknown size
            cause = error
        if not (isinstance(received, tuple) and len(received) == 2 and isinstance(received[1], int)):
            raise ValueError(
                "The localization network must return features of shape (batch, n) with a static n, "
                "from which a dense head makes the params. End it with Flatten, on images of a static "
                "size, or with GlobalAveragePooling2D. "
                f"Received: network={self.network.name!r} with output shape {received} "
                f"for images of shape {tuple(shape)}."
            ) from cause
        return received

    def call(self, images, training=None):  # Keras hands training on to the network
        _checks.floating("images", images.dtype)
        images = _layout.to_channels_last(images, self.data_format)  # (batch, H, W, channels)
        features = self.network(images)  # (batch, n)
        return self.head(features)  # (batch, num_params)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.transform.num_params)

    def compute_output_spec(self, images, training=None):
        _checks.floating("images", images.dtype)
        shape = self.compute_output_shape(images.shape)
        return keras.KerasTensor(shape, dtype=self.params_dtype)

    def get_config(self):
        network = self._builder or keras.saving.serialize_keras_object(self.network)
        return {
            **super().get_config(),
            "network": network,
            "transform": keras.saving.serialize_keras_object(self.transform),
            "data_format": self.data_format,
        }

    def get_build_config(self):
        """What a saved model needs beside the arguments: the parts, some of them frozen or quantized."""
        config = super().get_build_config()
        if config is None or self.head is None:
            return config
        if self._builder:
            config["network"] = keras.saving.serialize_keras_object(self.network)
        return {**config, "head": keras.saving.serialize_keras_object(self.head)}

    def build_from_config(self, config):
        for part in ("network", "head"):
            if part in config:
                setattr(self, part, keras.saving.deserialize_keras_object(copy.deepcopy(config[part])))
        super().build_from_config(config)

    @classmethod
    def from_config(cls, config):
        config = copy.deepcopy(config)  # Keras empties the config of a Functional network
        if isinstance(config.get("network"), dict):
            config["network"] = keras.saving.deserialize_keras_object(config["network"])
        return cls(**config)


def check_network(argument: str, network: Any) -> None:
    """Raise unless `network` can be that of a `Localization`."""
    if isinstance(network, str):
        _checks.one_of(argument, network, BUILDERS)
    elif network is not None and not isinstance(network, keras.layers.Layer):
        raise ValueError(
            f"{argument} must be None, one of {tuple(BUILDERS)}, or a Keras model or layer. "
            f"Received: {argument}={network!r}."
        )
