"""The transformers of a model, and what each of them makes of some images."""

import contextlib
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, _layout, _poses, _saving
from keras_stn.layers import SpatialTransformer

Tensor = Any


def layers_in(*roots: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Layers and all in them, at any depth, each once: those that hold others before these."""
    seen: set[int] = set()
    found: list[keras.layers.Layer] = []

    def visit(layer):
        if id(layer) not in seen:
            seen.add(id(layer))
            for inner in reversed(list(_saving.layers_in(vars(layer)))):
                visit(inner)
            found.append(layer)

    # From the last to the first, and a layer after what it holds: turned about, all stand in order.
    for root in reversed(roots):
        visit(root)
    return found[::-1]


def transformers_of(model: keras.Model, callback: Any, names: Any = None) -> list[SpatialTransformer]:
    """The transformers of a model, or those of them that `names` says, layers or their names."""
    found = [layer for layer in layers_in(model) if isinstance(layer, SpatialTransformer)]
    if not found:
        raise _checks.error(
            f"model must hold a keras_stn.SpatialTransformer for {type(callback).__name__}. "
            f"Received: model={model.name!r}, with none in it."
        )
    if names is None:
        return found
    if isinstance(names, (str, keras.layers.Layer)):
        names = [names]
    by_name = {layer.name: layer for layer in found}
    chosen = []
    for name in names:
        layer = by_name[_checks.one_of("layers", getattr(name, "name", name), by_name)]
        if not isinstance(name, str) and name is not layer:
            raise _checks.error(
                f"layers must be of the model {model.name!r}. "
                f"Received: another layer of the name {name.name!r}."
            )
        chosen.append(layer)
    return chosen


def inputs_of(
    model: keras.Model, layers: Sequence[SpatialTransformer], images: Any
) -> list[list[Tensor]]:
    """What each of `layers` is called on, once or more, as the model looks at `images` in inference."""
    inputs: list[list[Tensor]] = [[] for _ in layers]
    with contextlib.ExitStack() as stack:
        for layer, its in zip(layers, inputs, strict=True):
            setattr(layer, "call", _noting(layer.call, its))  # noqa: B010 - types know no such thing
            stack.callback(delattr, layer, "call")  # and that of its class is there again
        model(images, training=False)
    for layer, its in zip(layers, inputs, strict=True):
        if not its:
            raise _checks.error(
                "model must call each of its transformers, and that outside of a tf.function. Received: "
                f"model={model.name!r}, which does not call {layer.name!r} so, on "
                f"images={reprlib.repr(images)}."
            )
    return inputs


def _noting(call: Callable, inputs: list) -> Callable:
    def noting(images, *args, **kwargs):
        if not tf.is_symbolic_tensor(images):  # which is nothing any more when the model is through
            inputs.append(images)
        return call(images, *args, **kwargs)

    return noting


MEASURES = {
    measure.__name__: measure
    for measure in (_poses.share_outside, _poses.zoom, _poses.turn, _poses.determinant)
}


def measures(layer: SpatialTransformer, params: Tensor, images: Tensor) -> dict[str, np.ndarray]:
    """Each of `MEASURES` of each map of a transformer that looks at `images`: (maps,)."""
    sizes = {"source_size": _size(images, layer), "align_corners": layer.warp.align_corners}
    exact = tf.cast(params, tf.float64)
    return {
        name: np.asarray(measure(layer.warp.transform, exact, **sizes))
        for name, measure in MEASURES.items()
    }


def measured(layer: SpatialTransformer, inputs: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """`measures` of what a transformer predicts, and under "params" the maps themselves: (maps, n)."""
    results = []
    for images in inputs:
        params = layer.localize(images, training=False)
        maps = np.asarray(_poses.in_a_row(layer.warp.transform, params))
        flat = maps.reshape(len(maps), -1)
        results.append({**measures(layer, params, images), "params": flat})
    return {name: np.concatenate([each[name] for each in results]) for name in results[0]}


def _size(images: Tensor, layer: SpatialTransformer) -> tuple[int | None, ...]:
    ndim = layer.warp.transform.ndim
    shape = _layout.shape_to_channels_last(images.shape, layer.warp.data_format, ndim)
    return shape[-1 - ndim : -1]


class Watching(keras.callbacks.Callback):
    """Base of the callbacks: finds the transformers of the model as training begins."""

    def __init__(self, layers: Any = None):
        super().__init__()
        self._names = layers
        self.transformers: list[SpatialTransformer] = []

    def on_train_begin(self, logs=None):
        self.transformers = transformers_of(self.model, self, self._names)

    def label(self, layer: SpatialTransformer) -> str:
        """What stands before a word about a layer: nothing where there is one only."""
        return f"{layer.name}_" if len(self.transformers) > 1 else ""
