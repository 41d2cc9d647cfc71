"""The layer `SpatialTransformer`."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import keras

from keras_stn import _checks, _layout, _saving, transforms
from keras_stn.layers import _rounds
from keras_stn.layers.warp import Warp
from keras_stn.localization import Localization
from keras_stn.localization.layer import check_network
from keras_stn.ops._reading import apply
from keras_stn.ops._warp import WarpImages

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_stn")
class SpatialTransformer(keras.layers.Layer):
    """A spatial transformer: looks at its input, and moves, turns or scales it for the layers after it.

    Put it at the front of a model, or between two layers. It learns what to do from the loss of the
    model alone: a localization network predicts the params of a transform, and the sampler reads the
    input there. A fresh layer returns its input; in training it also jitters (`jitter`).

    A `.keras` file holds what a model shares: one `Localization` in two transformers, or a backbone that
    also classifies, is one again after loading. An `.h5` file holds no sharing, and saving one says so.
    Save to a new path: Keras empties the file that is there before it asks the layers.

    Convention:
        As in `keras_stn.Warp`: transforms map target to source, in normalised coordinates.

    Args:
        localization: The localization network: `None` for a small default that suits any image size, a
            name from `keras_stn.localization.BUILDERS`, any Keras model or layer that turns
            channels_last images into features (batch, n), or a `keras_stn.Localization`. One object
            belongs to one transformer; to share params, call a `Localization` and use `keras_stn.Warp`.
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        output_size: (height, width) of the output, or (depth, height, width) under a transform of
            volumes; the size of the images by default.
        glimpses: How many maps each image is read at, and so how many outputs it has; one, without an
            axis of glimpses, by default. They start as tiles of the picture, where the family can scale.
            No image is copied.
        interpolation: `"nearest"` (no gradient reaches the localization network, which then does not
            learn), `"bilinear"` or `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `keras_stn.ops.grid_sample`; or one for each axis, ([of depth,] of rows, of
            columns).
        fill_value: A number, or one for each channel, for `fill_mode="constant"`: give the value of the
            background.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        antialias: Whether to average where the map shrinks the image, as in
            `keras_stn.ops.grid_sample`: for an attention that looks at a large part of its input.
        recurrences: How often it looks: after the first time at what it has warped, with the same
            localization network. The params are composed, and the image itself is sampled each time, so
            nothing blurs. Each look undoes a part of what is left. The family must define `compose`.
            There are no weights more, and so it can be raised on a trained layer; compile the model
            again then. The default localization of pictures, as it is made, moves its params by so much
            less: see `keras_stn.Localization`.
        jitter: In training, the standard deviation of random maps of the output, in units of its half
            width and half height: the layers behind see their crops moved, turned and scaled a little,
            as dropout hides features. By default 0.07 where the family defines `compose` and has an
            identity: cluttered digits, of which 4,000 are learned, err 7.2 % with it, and 27.1 %
            without. Each frame of a video and each glimpse moves by itself. Use 0 where the output
            itself is compared with a picture, or labels move with it.
        reach: How far the gradient to the params sees in training, in pixels, as in `keras_stn.Warp`:
            for losses that compare pictures.
        params_regularizer: A regularizer of the params, such as those of `keras_stn.regularizers`.
            Keras' own L1 and L2 pull params to 0, which suits fields and `transforms.Bounded`, whose
            identity is 0; they sum over the batch and all points of a field, so divide their strength.
        **kwargs: Arguments of `keras.layers.Layer`.

    Attributes:
        localization: The `keras_stn.Localization` inside.
        warp: The `keras_stn.Warp` inside: `layer.warp(images, params)`. It holds the settings of
            sampling: `layer.warp.reach = 4`.
        recurrences: As above; may be set.
        jitter: As above; may be set.

    Input shape:
        (batch, H, W, channels), floating point; (batch, channels, H, W) for channels_first. Videos:
        (batch, frames, H, W, channels), or (batch, frames, channels, H, W). Each frame has a map, but a
        `localization` model made for videos makes one for all frames. Volumes (batch, D, H, W, channels)
        take a transform of volumes: `transforms.Affine(ndim=3)`.

    Output shape:
        (batch, [d,] h, w, channels) with (h, w) = output_size, in the layer's compute dtype;
        channels_first as the input. With glimpses it is (batch, glimpses, h, w, channels), and of videos
        (batch, frames, h, w, channels).

    Raises:
        ValueError: if an argument is none of the above, or a shape or dtype does not fit.
        NotImplementedError: if `recurrences` or `jitter` ask for `compose`, and the family has none; or
            `jitter` for an identity.

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
        arXiv:1506.02025). Recurrences: Lin and Lucey, "Inverse Compositional Spatial Transformer
        Networks" (2016, arXiv:1612.03897).
    """

    def __init__(
        self,
        localization: str | keras.layers.Layer | None = None,
        transform: str | transforms.Transform = "affine",
        output_size: tuple[int, ...] | None = None,
        *,
        glimpses: int | None = None,
        interpolation: str = "bilinear",
        fill_mode: str | Sequence[str] = "constant",
        fill_value: float | Sequence[float] = 0.0,
        align_corners: bool = False,
        data_format: str | None = None,
        antialias: bool = False,
        recurrences: int = 1,
        jitter: float | None = None,
        reach: float = 0.0,
        params_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        # Named after the layer, because both can stand in a Functional model, where names are unique.
        self.warp = Warp(
            transform,
            output_size,
            interpolation=interpolation,
            fill_mode=fill_mode,
            fill_value=fill_value,
            align_corners=align_corners,
            data_format=data_format,
            antialias=antialias,
            reach=reach,
            dtype=self.dtype_policy,
            name=f"{self.name}_warp",
        )
        family = self.warp.transform
        self._recurrences = 1
        if jitter is None:
            jitter = _rounds.JITTER if _rounds.jitters(family) else 0.0
        self.jitter = _checks.not_negative("jitter", jitter)
        if self.jitter:
            family.check_nudged()
        self.params_regularizer = _checks.regularizer("params_regularizer", params_regularizer)
        self._seed = keras.random.SeedGenerator()
        if not isinstance(localization, Localization):
            check_network("localization", localization)
            localization = Localization(
                localization,
                self.warp.transform,
                glimpses=glimpses,
                recurrences=recurrences,
                data_format=self.warp.data_format,
                dtype=self.dtype_policy,
                name=f"{self.name}_localization",
            )
        elif glimpses is not None:
            raise _checks.error(
                "glimpses must be given to the Localization, where there is one: "
                f"keras_stn.Localization(..., glimpses={glimpses!r}). Received: glimpses={glimpses!r}."
            )
        self.localization = localization
        self.recurrences = recurrences
        self._check_parts_agree()
        self.input_spec = copy.copy(localization.input_spec)

    @property
    def recurrences(self) -> int:
        return self._recurrences

    @recurrences.setter
    def recurrences(self, value: int) -> None:
        value = _checks.count("recurrences", value)
        if value > 1:
            self.warp.transform.check_compose()
            if self.localization.glimpses is not None:
                raise _checks.error(
                    "recurrences must be 1 with glimpses, of which each would have to look for itself. "
                    f"Received: recurrences={value} and glimpses={self.localization.glimpses}."
                )
        self._recurrences = value

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

    def localize(self, images: Tensor, training: bool | None = None) -> Tensor:
        """The params of `images`: the first half of what the layer does.

        Use it where one localization serves more than one warp: several glimpses of an image, labels
        that move with their images. Then warp the images by `layer.warp(images, params)` too. Only a
        call of the layer itself adds jitter and the loss of `params_regularizer`. On the symbolic
        tensors of a Functional model it makes `localization` a layer of the model, with the weights of
        this layer.

        Args:
            images: As the layer takes them.
            training: As in a call of the layer.

        Returns:
            (batch, num_params), of videos (batch, frames, num_params), with glimpses (batch, glimpses,
            num_params); fields have their height and width before num_params. float32 at least.

        Raises:
            ValueError: if the shape or dtype of `images` does not fit.

        Example:
            >>> import keras, keras_stn
            >>> images = keras.Input((40, 40, 1))
            >>> labels = keras.Input((40, 40, 1), dtype="uint8")
            >>> layer = keras_stn.SpatialTransformer(transform="similarity", recurrences=2)
            >>> params = layer.localize(images)
            >>> moved = keras_stn.Warp("similarity", interpolation="nearest")(labels, params)
            >>> model = keras.Model([images, labels], [layer.warp(images, params), moved])
        """
        images = _checks.tensor("images", images)
        ndim = self.warp.transform.ndim
        axes = _layout.axes(self.warp.data_format, ndim)
        _checks.known_rank("images", images, axes)
        video = len(images.shape) == ndim + 3
        _checks.shape("images", images, (None,) * (ndim + 2 + video), axes)
        if not self.built:
            self.build(tuple(images.shape))
        params = self.localization(images, training=training)
        look = dataclasses.replace(self.warp.warping(), output_size=None)  # what is made for the images
        for _ in range(self.recurrences - 1):
            # No gradient goes through what is seen: it goes through the composition.
            seen = apply(look, WarpImages, images=images, params=keras.ops.stop_gradient(params))
            again = self.localization(keras.ops.stop_gradient(seen), training=training)
            params = _rounds.composed(self.warp.transform, params, again)
        return params

    def call(self, images: Tensor, training: bool | None = None) -> Tensor:
        params = self.localize(images, training)  # (batch, num_params)
        if self.params_regularizer is not None:
            self.add_loss(self.params_regularizer(params))
        if training and self.jitter:
            params = _rounds.jittered(self.warp.transform, params, self.jitter, self._seed)
        return self.warp(images, params, training=training)  # (batch, h, w, channels)

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
            "antialias",
            "reach",
        )
        _saving.refuse_what_does_not_load(self)
        localization = _saving.serialized(self.localization)
        localization.pop("build_config", None)  # for images of one size; a copy may be for another
        return {
            **super().get_config(),
            "localization": localization,
            **{argument: warp[argument] for argument in arguments},
            "recurrences": self.recurrences,
            "jitter": self.jitter,
            "params_regularizer": keras.regularizers.serialize(self.params_regularizer),
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
        config.setdefault("jitter", 0.0)  # of models that were saved when there was none
        config["localization"] = _saving.deserialized(
            "the localization of a SpatialTransformer", config.get("localization"), Localization
        )
        return cls(**config)
