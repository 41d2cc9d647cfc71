"""A Keras model as one function of named tensors, which is what every exporter starts from."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_stn import _checks, sampler

Tensor = Any


@dataclass(frozen=True)
class Signature:
    """A model in inference mode, with names for all that goes in and comes out.

    Attributes:
        model: The Keras model.
        specs: A `tf.TensorSpec` for each input, in the order of `model.inputs`.
        outputs: The names of the outputs, in the order of `model.outputs`.
        call: Takes one tensor for each input and returns {name: tensor}.
    """

    model: keras.Model
    specs: tuple[tf.TensorSpec, ...]
    outputs: tuple[str, ...]
    call: Callable[..., dict[str, Tensor]]

    @property
    def any_batch(self) -> bool:
        return not any(spec.shape[0] for spec in self.specs)

    def named(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays by the names of the inputs."""
        return {spec.name: array for spec, array in zip(self.specs, arrays, strict=True)}

    def batches(self, arrays: list[np.ndarray], size: int = 1) -> Iterator[list[np.ndarray]]:
        """The examples in batches of the size of the specs, or of `size` where that is open."""
        fixed = next((spec.shape[0] for spec in self.specs if spec.shape[0]), None)
        step, count = fixed or size, len(arrays[0])
        for start in range(0, count, step):
            # What a fixed batch lacks in the end is taken from the front.
            rows = np.arange(start, start + step if fixed else min(start + step, count)) % count
            yield [array[rows] for array in arrays]


class TracedSampler(NamedTuple):
    """A sampler that was met while a model was traced."""

    interpolation: str
    size: int  # the longest side of its images, 0 if unknown
    dtype: tf.DType


class Trace(NamedTuple):
    """A signature as a traced tf.function, with the samplers that stand in it."""

    signature: Signature
    function: Any
    samplers: list[TracedSampler]


def signature(model: Any, batch_size: int | None = None, default_batch: int | None = None) -> Signature:
    """The `Signature` of `model`.

    Args:
        model: A Functional model, or a Sequential one with its input. Inputs keep the names of their
            `keras.Input`, dictionaries of inputs and outputs their keys; other outputs have the name of
            the layer that they come from. A name that is there already gets a number.
        batch_size: The batch of the specs; `None`: the model's, where it fixes one, or `default_batch`.
        default_batch: A batch, or `None` for any.

    Raises:
        ValueError: if `model` has no known inputs, or fixes another batch.
    """
    inputs = getattr(model, "inputs", None)
    if not isinstance(model, keras.Model) or not inputs:
        raise ValueError(
            "model must be a Keras model with known inputs; give a layer or a class of your own some: "
            "images = keras.Input(...); keras.Model(images, model(images)). "
            f"Received: model={model!r}."
        )
    if batch_size is not None:
        batch_size = _checks.count("batch_size", batch_size)
        fixed = {tensor.shape[0] for tensor in inputs} - {None, batch_size}
        if fixed:
            raise ValueError(
                f"batch_size must be None or {min(fixed)}, the batch that the model fixes. "
                f"Received: batch_size={batch_size}."
            )
    sequential = isinstance(model, keras.Sequential)  # has no `input`, and one tensor each way
    structure = inputs[0] if sequential else model.input
    names = unique(_names(structure, [tensor.name for tensor in inputs]))
    results = [model.layers[-1].name] if sequential else _names(model.output, model.output_names)
    outputs = tuple(unique([*names, *results])[len(names) :])
    specs = tuple(
        tf.TensorSpec(
            (tensor.shape[0] or batch_size or default_batch, *tensor.shape[1:]), tensor.dtype, name
        )
        for name, tensor in zip(names, inputs, strict=True)
    )

    def call(*tensors):
        packed = keras.tree.pack_sequence_as(structure, tensors)
        results = keras.tree.flatten(model(packed, training=False))
        return dict(zip(outputs, results, strict=True))

    return Signature(model, specs, outputs, call)


def traced(signature: Signature, reader: Callable | None = None) -> Trace:
    """`signature` as a graph in which `reader` stands for each sampler.

    What goes on around it later is not in it. None: the form that TensorFlow's own graphs have.
    """
    samplers: list[TracedSampler] = []

    def noted(images, points, sampling):
        size = max((side for side in images.shape[1:-1] if side is not None), default=0)
        samplers.append(TracedSampler(sampling.interpolation, size, images.dtype))
        return reader(images, points, sampling)  # type: ignore[misc]

    function = tf.function(signature.call, input_signature=signature.specs, autograph=False)
    with as_graphs(), read_by(noted if reader else None):
        # A tf.function traces once to see whether it makes variables, and then once more for good.
        function.get_concrete_function()
        function.get_concrete_function()
    return Trace(signature, function, samplers)


def read_by(reader: Callable | None) -> contextlib.AbstractContextManager:
    """Within this context samplers are traced as `reader`."""
    return sampler.using(reader) if reader else contextlib.nullcontext()


@contextlib.contextmanager
def as_graphs() -> Iterator[None]:
    """Within this context a tf.function is a graph, whatever `tf.config.run_functions_eagerly` says.

    Left on from debugging, it would run the live model op by op, which rounds in other places.
    """
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)


def _names(structure: Any, otherwise: list[str]) -> list[str]:
    """The keys of a flat dictionary, in the order of `keras.tree.flatten`, or else `otherwise`."""
    if isinstance(structure, dict) and not any(map(keras.tree.is_nested, structure.values())):
        return list(
            map(str, keras.tree.flatten(keras.tree.pack_sequence_as(structure, sorted(structure))))
        )
    return list(otherwise)


def unique(names: list[str]) -> list[str]:
    """`names`, with a number after those that came before, such that no two are the same."""
    result: list[str] = []
    for name in names:
        numbered = (f"{name}_{count}" for count in itertools.count(1))
        free = (other for other in numbered if other not in names and other not in result)
        result.append(next(free) if name in result else name)
    return result
