"""The methods of a family as operations, which a Functional model holds, saves and exports."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks
from keras_stn.points import repeated

Tensor = Any

# The tensors that each method takes, before all other arguments.
TENSORS = {
    "theta": ("params",),
    "from_theta": ("theta",),
    "transform_points": ("params", "points"),
    "compose": ("outer", "inner"),
    "inverse": ("params",),
    "grid": ("params",),
    "pixel_matrix": ("params",),
    "from_pixel_matrix": ("matrix",),
}

# The shapes of those that go with others.
_EXPECTED = {"points": "(batch of params, n, 2)", "inner": "(batch of outer, num_params)"}


def output_size(value: Any) -> tuple[Any, Any]:
    """`value` if it is (height, width): integers, or scalar tensors inside of graphs."""
    if isinstance(value, (list, tuple)) and len(value) == 2 and any(map(tf.is_tensor, value)):
        return value[0], value[1]
    return _checks.size("output_size", value)


# How the other arguments are checked, by name; those that only a user's method has are not.
_CHECKS: dict[str, Callable] = {
    "output_size": output_size,
    "source_size": functools.partial(_checks.size, "source_size"),
    "align_corners": functools.partial(_checks.boolean, "align_corners"),
    "target_to_source": functools.partial(_checks.boolean, "target_to_source"),
}


def as_operations(cls: type) -> type:
    """Let the methods that a class defines check their arguments, and take symbolic tensors as well.

    Of symbolic tensors each makes one operation of the Functional model, whatever the method is made
    of. Left alone are methods that only say what is missing.
    """
    for name in TENSORS:
        method = vars(cls).get(name)
        if inspect.isfunction(method) and not getattr(method, "__isabstractmethod__", False):
            setattr(cls, name, _operation(method, _signature(cls, name)))
    return cls


def _signature(cls: type, name: str) -> inspect.Signature:
    """The one of the method that spells its arguments out: an override may take *args and **kwargs."""
    signatures = (inspect.signature(vars(base)[name]) for base in cls.__mro__ if name in vars(base))
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return next(
        signature
        for signature in signatures
        if not any(parameter.kind in variable for parameter in signature.parameters.values())
    )


def _operation(method: Callable, signature: inspect.Signature) -> Callable:
    name, names = method.__name__, TENSORS[method.__name__]
    defaults = {key: parameter.default for key, parameter in signature.parameters.items()}

    @functools.wraps(method)
    def checked(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *given = bound.arguments.items()
        tensors = _tensors(self, names, [value for _, value in given[: len(names)]])
        others = {
            key: value if value is defaults[key] else _CHECKS.get(key, _as_it_is)(value)
            for key, value in given[len(names) :]
        }
        if any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
            return TransformMethod(self, name, others).symbolic_call(*tensors)
        return method(self, *tensors, **others)

    return checked


def _as_it_is(value: Any) -> Any:
    return value


def _tensors(family: Any, names: tuple[str, ...], values: list[Any]) -> list[Tensor]:
    """The arguments as checked tensors of one dtype; the params of one map, beside many, as of many."""
    tensors = [_tensor(family, *argument) for argument in zip(names, values, strict=True)]
    if len(tensors) == 1:
        return tensors
    first, second = tensors
    _checks.batch(names[1], second, _EXPECTED[names[1]], names[0], first)
    if any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return tensors
    if tf.as_dtype(second.dtype) != tf.as_dtype(first.dtype):
        second = tf.cast(second, first.dtype)
    if names[1] != "points":  # which are many, and whose batch of 1 every family takes
        second = _repeated(second, like=first)
    return [_repeated(first, like=second), second]


def _repeated(params: Tensor, like: Tensor) -> Tensor:
    """`params` with one row for each of the batch of `like`, where they are one row for all."""
    if params.shape[0] != 1 or like.shape[0] == 1:
        return params
    return repeated(params, tf.shape(like)[0])


def _tensor(family: Any, name: str, value: Any) -> Tensor:
    tensor = _checks.tensor(name, value)
    if name == "points":
        _checks.shape(name, tensor, (None, None, family.ndim), f"(batch, n, {family.ndim})")
        _checks.real(name, tensor.dtype)
        return tensor
    if name == "theta":
        _checks.shape(name, tensor, (None, 2, 3), "(batch, 2, 3)")
    elif name == "matrix":
        _checks.pixel_matrix(name, tensor)
    else:
        sizes, names = params_of_one(family)
        _checks.shape(name, tensor, (None, *sizes), f"(batch, {names})")
    _checks.floating(name, tensor.dtype)
    return tensor


def params_of_one(family: Any) -> tuple[tuple[int | None, ...], str]:
    """The sizes of the params of one map, and their axes in words."""
    field = ("d", "h", "w")[-family.ndim :] if family.params_ndim > 2 else ()
    return (*[None] * len(field), family.num_params), ", ".join((*field, str(family.num_params)))


@keras.saving.register_keras_serializable(package="keras_stn")
class TransformMethod(keras.Operation):
    """A method of a transform family on symbolic tensors."""

    def __init__(self, transform, method, arguments=None, *, name=None):
        super().__init__(name=name)
        self.transform = transform
        self.method = _checks.one_of("method", method, TENSORS)
        self.arguments = dict(arguments or {})

    def call(self, *tensors):
        return getattr(self.transform, self.method)(*tensors, **self.arguments)

    def compute_output_spec(self, *tensors):
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
        traced = tf.function(self.call, autograph=False).get_concrete_function(*specs)
        return keras.KerasTensor(traced.output_shapes, traced.output_dtypes.name)

    def get_config(self):
        return {
            **super().get_config(),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "method": self.method,
            "arguments": self.arguments,
        }

    @classmethod
    def from_config(cls, config):
        transform = keras.saving.deserialize_keras_object(config["transform"])
        return cls(**{**config, "transform": transform})
