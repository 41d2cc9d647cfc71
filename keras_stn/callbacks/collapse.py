"""The callback `CollapseWatch`."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_stn import _checks
from keras_stn.callbacks import _watched
from keras_stn.layers import SpatialTransformer
from keras_stn.localization import IdentityParams
from keras_stn.localization.head import Head

ACTIONS = ("warn", "stop", "reset")

# A transformer is well up to here. A family that starts elsewhere than at the identity, as polar
# coordinates do, and tiles of glimpses, are measured by their start.
MOST_OUTSIDE, LEAST_DETERMINANT, MOST_ZOOM = 0.3, 0.05, 4.0
ALIKE = 1e-6

_GENTLER = (
    "Lower the learning rate, take a family of fewer params, hold its ranges by transforms.Bounded, or "
    "give params_regularizer=regularizers.{}(...)"
)
CURES = {
    "outside": _GENTLER.format("Outside") + ', or another fill_mode than "constant"',
    "flat": _GENTLER.format("NearIdentity"),
    "zoomed out": _GENTLER.format("Outside"),
    "NaN": "Lower the learning rate, clip gradients (clipnorm of the optimizer), and look for NaN among "
    "the images. Weights that are NaN stay NaN, and a reset of the head does not help: load those of an "
    "earlier epoch",
    "alike": "Lower the learning rate and start again: units of the localization network may have died, "
    "or it may see nothing that tells the images apart. Else the task asks for no transformer",
    "still": 'With interpolation="nearest" no gradient reaches it. Else see whether a layer behind it '
    "stops gradients, whether the loss has one, and whether the learning rate is 0",
}


class CollapseWarning(UserWarning):
    """A transformer has collapsed, or is about to: what `CollapseWatch` warns by.

    Example:
        >>> import keras_stn, warnings
        >>> warnings.simplefilter("error", keras_stn.callbacks.CollapseWarning)  # raise it
        >>> warnings.simplefilter("default", keras_stn.callbacks.CollapseWarning)
    """


class CollapseWatch(_watched.Watching):
    """Warns in words when a transformer collapses or is about to, and stops training or starts it again.

    A transformer that loses its object finds no gradient back, and the loss alone does not tell: the
    classifier learns what it can from black pictures. What counts, on `images`:

    - more than 30 % of the samples outside the image;
    - a median determinant of less than 0.05: the output shows a line or a point;
    - a median zoom above 4: the output shows the image as a speck;
    - params that are NaN;
    - params that are alike for all images, to 1e-6, though the head has learned.

    Shares outside, determinants and zooms count from those of the start, as tiles of glimpses and polar
    coordinates have them. A head that has not moved since training began, and is not frozen, is reported
    and nothing more, for a classifier learns all the same.

    A warning is given once, and again if what it tells of has ended and comes back.

    Args:
        images: A batch of what the model takes: a few dozen images that differ.
        action: `"warn"` warns. `"stop"` also stops training. `"reset"` also puts the head back to the
            start, weights of 0, and clears nothing else: the network before it and the optimizer go on.
        every: How many steps lie between two looks; at the end of epochs alone by default.
        layers: The transformers, or their names; all of the model by default.

    Raises:
        ValueError: if an argument is none of the above, or, as training begins, if the model has no
            `keras_stn.SpatialTransformer`, or not those of `layers`.

    Example:
        >>> import keras, keras_stn, numpy as np
        >>> images, labels = np.random.rand(8, 12, 16, 1), np.arange(8) % 2
        >>> layers = keras_stn.SpatialTransformer(), keras.layers.Flatten(), keras.layers.Dense(1)
        >>> model = keras.Sequential([keras.Input((12, 16, 1)), *layers])
        >>> model.compile("adam", loss="mse")
        >>> watch = keras_stn.callbacks.CollapseWatch(images, action="stop")
        >>> fitted = model.fit(images, labels, verbose=0, callbacks=[watch])
    """

    def __init__(
        self,
        images: Any,
        action: str = "warn",
        every: int | None = None,
        layers: Sequence[str | SpatialTransformer] | None = None,
    ):
        super().__init__(layers)
        self.images = images
        self.action = _checks.one_of("action", action, ACTIONS)
        self.every = None if every is None else _checks.count("every", every)
        self._weights: list[list[np.ndarray]] = []  # of heads, as training began
        self._told: set[tuple[int, str]] = set()
        self._step = self._first = self._looked = 0

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        _watched.inputs_of(self.model, self.transformers, self.images)  # which builds what is not built
        self._weights = [_weights(layer) for layer in self.transformers]
        self._told = set()
        self._step = self._first = self._looked = 0
        for layer in self.transformers:
            if self.action == "reset" and not isinstance(_head(layer), Head):
                raise _checks.error(
                    'action must be "warn" or "stop" where the localization has no head that starts at '
                    f"the identity. Received: action={self.action!r} and {_head(layer)!r}."
                )

    def on_epoch_begin(self, epoch, logs=None):
        self._first = self._step

    def on_train_batch_end(self, batch, logs=None):
        before, self._step = self._step, self._first + batch + 1  # which may be several at once
        if self.every and self._step // self.every > before // self.every:
            self._look(f"at step {self._step}")

    def on_epoch_end(self, epoch, logs=None):
        if self._looked != self._step:
            self._look(f"at the end of epoch {epoch + 1}")

    def _look(self, when):
        self._looked = self._step
        inputs = _watched.inputs_of(self.model, self.transformers, self.images)
        for number, (layer, its) in enumerate(zip(self.transformers, inputs, strict=True)):
            found = dict(_symptoms(layer, its, _has_moved(layer, self._weights[number])))
            for symptom, words in found.items():
                if (number, symptom) not in self._told:
                    message = f"The transformer {layer.name!r} {words}, {when}. {CURES[symptom]}."
                    warnings.warn(message, CollapseWarning, stacklevel=2)
            self._told = {told for told in self._told if told[0] != number}
            self._told |= {(number, symptom) for symptom in found}
            if set(found) - {"still"}:
                self._act(layer)

    def _act(self, layer):
        if self.action == "stop":
            self.model.stop_training = True
        elif self.action == "reset":
            _reset(layer)


def _symptoms(layer: SpatialTransformer, inputs: Any, moved: bool) -> Iterator[tuple[str, str]]:
    """(name, words) of what is wrong."""
    values = _watched.measured(layer, inputs)
    params = values["params"]
    if not moved and _head(layer).trainable and layer.localization.trainable:
        yield "still", "has not moved at all since training began"
    if not np.isfinite(params).all():
        yield "NaN", "predicts params that are NaN or infinite"
        return
    start = _watched.measures(layer, _start(layer), inputs[0])
    outside = values["share_outside"].mean()
    if outside - start["share_outside"].mean() > MOST_OUTSIDE:
        yield "outside", f"takes {outside:.0%} of its samples from outside the images"
    determinant = np.median(np.abs(values["determinant"]))
    if determinant < LEAST_DETERMINANT * np.median(np.abs(start["determinant"])):
        yield "flat", f"shows lines or points, by maps of a determinant of {determinant:.2g}"
    zoom = np.median(values["zoom"])
    if zoom > MOST_ZOOM * np.median(start["zoom"]):
        yield "zoomed out", f"zooms out by {zoom:.2g}"
    of_images = params.reshape(-1, (layer.localization.glimpses or 1) * params.shape[-1])
    if moved and len(of_images) > 1 and np.ptp(of_images, axis=0).max() <= ALIKE:
        yield "alike", "predicts the same params for all images"


def _head(layer: SpatialTransformer) -> Any:
    """What makes the params at last."""
    return getattr(layer.localization, "head", None) or layer.localization


def _weights(layer: SpatialTransformer) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight).copy() for weight in _head(layer).weights]


def _has_moved(layer: SpatialTransformer, before: list[np.ndarray]) -> bool:
    now = _weights(layer)
    return not all(map(np.array_equal, now, before))


def _start(layer: SpatialTransformer) -> np.ndarray:
    """The params from which the transformer starts, of an image: of a field one point."""
    transform = layer.warp.transform
    offset = getattr(_head(layer), "offset", None) or transform.identity_params
    return np.reshape(offset, (-1, *[1] * (transform.params_ndim - 2), transform.num_params))


def _reset(layer: SpatialTransformer) -> None:
    head, transform = _head(layer), layer.warp.transform
    head.kernel.assign(keras.ops.zeros_like(head.kernel))
    start = IdentityParams(transform) if head.offset is None else keras.initializers.Zeros()
    head.bias.assign(start(head.bias.shape, head.bias.dtype))
