"""The head of a `Localization`: a dense layer that starts at the identity."""

from typing import Any

import keras
import numpy as np

from keras_stn import transforms

_OFFSET = "offset"  # among the saved weights of a head, by their numbers


@keras.saving.register_keras_serializable(package="keras_stn", name="Identity")
class IdentityParams(keras.initializers.Initializer):
    """Initializer of the bias of a dense layer that makes params: those of the identity.

    Give it to a head that you write, with a kernel of zeros. The head of `keras_stn.Localization` does
    not need it: it keeps the identity out of its weights, and so out of the reach of weight decay. Files
    know the class as `Identity`; in Keras that is the initializer of identity matrices.

    Args:
        transform: The transform family: a name or a `keras_stn.transforms.Transform`.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.IdentityParams("attention")((3,)).numpy().tolist()
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
    """The dense layer that makes the params: `features @ kernel + (bias + offset)`.

    The offset is the identity, and no weight. Weights that decay, as all do in AdamW, lead back to the
    identity and not to a map of zeros. `model.quantize` passes the layer over: in 8 bits params have 256
    places in the whole image.

    Args:
        *args: As in `keras.layers.Dense`.
        offset: A number for each unit; `None` where the bias holds the identity, as it does in models
            that were saved before there was an offset.
        **kwargs: As in `keras.layers.Dense`.

    Example:
        >>> import keras_stn, numpy as np
        >>> head = keras_stn.localization.head.Head(2, kernel_initializer="zeros", offset=(1.0, 0.5))
        >>> head(np.ones((1, 3))).numpy().tolist(), head.bias.numpy().tolist()
        ([[1.0, 0.5]], [0.0, 0.0])
    """

    def __init__(self, *args, offset=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.offset = None if offset is None else tuple(map(float, offset))

    def call(self, inputs, training=None):
        if self.offset is None:
            return super().call(inputs, training=training)
        # The two constants first: in a file they are one.
        constant = self.bias + keras.ops.convert_to_tensor(self.offset, self.compute_dtype)
        return keras.ops.matmul(inputs, self.kernel) + constant

    def quantize(self, mode, *args, **kwargs):
        # `keras.Model.quantize` makes a warning of this, as of layers that have no such method.
        raise NotImplementedError(f"{self.name!r} stays in {self.dtype}, for it makes coordinates.")

    def get_config(self):
        config = super().get_config()
        return config if self.offset is None else {**config, "offset": self.offset}

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.offset is not None:
            store[_OFFSET] = np.array(self.offset)

    def load_own_variables(self, store):
        stored = {name: store[name] for name in store.keys()}  # noqa: SIM118 - it may be no dictionary
        theirs = np.array(stored.pop(_OFFSET, 0.0))
        super().load_own_variables(stored)
        ours = 0.0 if self.offset is None else np.array(self.offset)
        if self.built and np.any(theirs != ours):  # of a head whose bias holds the identity, or for one
            self.bias.assign(keras.ops.convert_to_numpy(self.bias) + (theirs - ours))


def head_of_old_models(transform: transforms.Transform, dtype: str) -> dict:
    """The config of the head of models that were saved when no config told of it.

    Its bias is, or is loaded with, the identity.
    """
    head = Head(
        transform.num_params,
        kernel_initializer="zeros",
        bias_initializer=IdentityParams(transform),
        dtype=dtype,
        name="params",
    )
    return keras.saving.serialize_keras_object(head)
