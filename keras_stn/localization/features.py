"""What a localization network makes of images: its features, or what is wrong with it."""

from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks

_DEFAULT_BUILDS = keras.layers.Layer.build, keras.Model.build


def features_shape(
    network: Any, shape: tuple[int | None, ...], dtype: str, maps: bool = False
) -> tuple[int | None, ...]:
    """The static shape of what `network` returns for images of `shape`; builds it if need be.

    It is (batch, n); of `maps`, from which a field of params is made, (batch, [d,] h, w, n). Raises a
    ValueError that says what is wrong where a dense head cannot take it.
    """
    _check_inputs(network, shape)
    received, cause = None, None
    try:
        # Keras warns of a `build` that nobody has written; the network is then built by its call.
        if not network.built and type(network).build not in _DEFAULT_BUILDS:
            network.build(shape)
        spec = network.compute_output_spec(keras.KerasTensor(shape, dtype))
        received = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), spec)
    except (AttributeError, LookupError, TypeError, ValueError, tf.errors.OpError) as error:
        cause = error
    rank = len(shape) if maps else 2
    if isinstance(received, tuple) and len(received) == rank and isinstance(received[-1], int):
        return received
    if cause is None:
        came = f"output shape {received}"
    else:  # such as a Dense layer on features of unknown size
        came = f"{type(cause).__name__} ({_first_lines(cause)})"
    demand = (
        "features of shape (batch, n) with a static n, from which a dense head makes the params. End it "
        f"with Flatten, on images of a static size, or with GlobalAveragePooling{len(shape) - 2}D."
    )
    if maps:
        between = ", ".join(("d", "h", "w")[-(len(shape) - 2) :])
        demand = (
            f"feature maps of shape (batch, {between}, n) with a static n, from which a head makes the "
            "params of each point. Leave the dense layers at its end away."
        )
    raise _checks.error(
        f"The localization network must return {demand} Received: network={network.name!r} with {came} "
        f"for images of shape {tuple(shape)}."
    ) from cause


def _check_inputs(network: Any, shape: tuple[int | None, ...]) -> None:
    """Raise unless a network that knows its inputs has one, and one that takes images of `shape`."""
    shapes = _input_shapes(network)
    if not shapes:
        return
    if len(shapes) > 1:
        raise _checks.error(
            "The localization network must have one input, the images. "
            f"Received: network={network.name!r} with {len(shapes)} inputs, of shapes {shapes}."
        )
    (made_for,) = shapes
    fits = len(made_for) == len(shape) and all(
        have is None or want is None or have == want for have, want in zip(made_for, shape, strict=True)
    )
    if not fits:
        raise _checks.error(
            f"The localization network must be made for images of shape {tuple(shape)}, channels last, "
            f"as they come. Received: network={network.name!r}, made for {made_for}."
        )


def takes_rank(network: Any, rank: int) -> bool:
    """Whether a network is a Keras model that was made for images of so many axes."""
    return [len(shape) for shape in _input_shapes(network)] == [rank]


def _input_shapes(network: Any) -> list[tuple[int | None, ...]]:
    """Those of a Keras model, where it knows them."""
    try:
        inputs = network.inputs if isinstance(network, keras.Model) else None
    except (AttributeError, ValueError):  # of a model that has not been called
        inputs = None
    return [tuple(tensor.shape) for tensor in inputs or ()]


def _first_lines(error: BaseException) -> str:
    """What an error says, without Keras' account of the arguments and its colours."""
    text = str(error).partition("\n\nArguments received by")[0]
    lines = [line for line in text.splitlines() if line.strip()]
    text = " ".join(lines).replace("\x1b[1m", "").replace("\x1b[0m", "")
    return text if len(text) <= 400 else f"{text[:400]} ..."
