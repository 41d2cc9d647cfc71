"""What saving asks of a layer that holds layers: shared parts stay shared, or saving refuses."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras

# Serialized to learn how Keras serializes just now. They live on, for Keras knows objects by their id.
_PROBE = keras.initializers.Zeros()
_PROBE_MODEL = keras.Sequential([keras.layers.Flatten(name="probe")], name="probe")


def to_legacy_h5() -> bool:
    """Whether what is serialized now goes to (or comes from) an `.h5` file, which holds less."""
    return "module" not in _PROBE_MODEL.get_config()["layers"][-1]


def serialized(part: Any) -> dict:
    """The config of a part, under the key by which Keras finds one object again in one file.

    Keras adds it when it meets an object once more, but to a dictionary that it may have copied before.
    """
    keras.saving.serialize_keras_object(_PROBE)
    knows_key = "shared_object_id" in keras.saving.serialize_keras_object(_PROBE)
    config = keras.saving.serialize_keras_object(part)
    if knows_key:
        _mark(part, config)
    return config


def _mark(part: Any, config: Any) -> None:
    """Add the key to the config of `part`, and to those of the layers in it, at any depth."""
    config["shared_object_id"] = id(part)
    layers = {id(layer): layer for layer in layers_in(vars(part))}.values()
    for inner in _configs_in(config.get("config")):
        name = inner.get("name") or inner["config"].get("name")  # which a user's config may lack
        alike = [
            layer
            for layer in layers
            if type(layer).__name__ == inner["class_name"] and name in (None, layer.name)
        ]
        if len(alike) == 1:
            _mark(alike[0], inner)


def layers_in(value: Any) -> Iterator[keras.layers.Layer]:
    """The layers among attributes, and in lists and dictionaries of them."""
    if isinstance(value, keras.layers.Layer):
        yield value
    elif isinstance(value, dict):
        yield from layers_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from layers_in(item)


def _configs_in(value: Any) -> Iterator[dict]:
    """The outermost configs of objects in a config."""
    if isinstance(value, dict):
        if "class_name" in value and isinstance(value.get("config"), dict):
            yield value
        else:
            yield from _configs_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _configs_in(item)


def deserialized(argument: str, config: Any, kind: type) -> Any:
    """The object of a serialized part; raises where the config is damaged."""
    if not isinstance(config, dict):
        return config
    try:
        result = keras.saving.deserialize_keras_object(config)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        if "Could not locate" in str(error):
            raise  # a class of the user's that is not registered, as Keras says
        raise _damaged(argument, config, f"{type(error).__name__}: {error}") from error
    if not isinstance(result, kind):
        raise _damaged(argument, config, f"it makes a {type(result).__name__}")
    return result


def _damaged(argument: str, config: dict, why: str) -> ValueError:
    name = config.get("class_name", "no class_name")
    return ValueError(
        f"The config of {argument} must be what keras.saving.serialize_keras_object makes. "
        f"Received: {name}, with the keys {sorted(map(str, config))} ({why[:300]})."
    )


def refuse_what_does_not_load(layer: keras.layers.Layer) -> None:
    """Raise where a model with `layer` is saved, shares parts, and would not load as it was.

    Keras itself loads few models that share layers between the models in them, and the `.h5` format
    holds no sharing at all: it has the weights layer by layer, and comes back with more of them.
    """
    model = _model_being_saved()
    if model is None:
        return
    containers = {id(found): found for found in _models_in(model)}.values()
    if to_legacy_h5():
        _refuse_shared_weights(layer, containers)
        return
    homes: dict[int, list[keras.Model]] = {}
    for container in containers:
        for inner in container.layers:
            if not isinstance(inner, keras.layers.InputLayer):
                homes.setdefault(id(inner), []).append(container)
                if len(homes[id(inner)]) > 1:
                    names = [home.name for home in homes[id(inner)]]
                    raise ValueError(
                        "model must hold each layer in one model, for Keras does not load a layer that "
                        "is part of two: call the inner model as a whole where its layer is needed, or "
                        "call its layers one by one in the outer model. "
                        f"Received: layer {inner.name!r} in the models {names}."
                    )


def _refuse_shared_weights(layer: keras.layers.Layer, containers: Iterable[keras.Model]) -> None:
    ours = {id(weight) for weight in layer.weights}
    for container in containers:
        holders: dict[int, str] = {}
        for sibling in container.layers:
            for weight in {id(weight) for weight in sibling.weights} & ours:
                if weight in holders:
                    raise ValueError(
                        "model must be saved as .keras, for .h5 does not hold layers that share "
                        'weights: model.save("model.keras"). Received: '
                        f"layers {holders[weight]!r} and {sibling.name!r}, which share those of "
                        f"{layer.name!r}."
                    )
                holders[weight] = sibling.name


def _model_being_saved() -> keras.Model | None:
    """The outermost model whose `get_config` is running: Keras hands nothing of it to its layers."""
    frame, model = inspect.currentframe(), None
    while frame is not None:
        this = frame.f_locals.get("self")
        if frame.f_code.co_name == "get_config" and isinstance(this, keras.Model):
            model = this
        frame = frame.f_back
    return model


def _models_in(layer: Any) -> Iterable[keras.Model]:
    """The Sequential and Functional models in a layer, itself included, localization networks too."""
    if isinstance(layer, keras.Sequential) or hasattr(layer, "operations"):
        yield layer
        for inner in layer.layers:
            yield from _models_in(inner)
    for part in (getattr(layer, name, None) for name in ("localization", "network")):
        if isinstance(part, keras.layers.Layer):
            yield from _models_in(part)
