"""The methods of a family as operations, which a Functional model holds, saves and exports."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.points import repeated
from keras_stn.transforms import boxes

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
    "constrain": ("params",),
    "unconstrain": ("inner_params",),
    "transform_boxes": ("params", "boxes"),
    "transform_rotated_boxes": ("params", "boxes"),
    "from_boxes": ("boxes",),
    "from_rotated_boxes": ("boxes",),
    "from_points": ("source", "target"),
}

# The shapes of those that go with others.
_EXPECTED = {
    "points": "(batch of params, n, 2)",
    "boxes": "(batch of params, n, 4 or 5)",
    "inner": "(batch of outer, num_params)",
    "target": "(batch of source, 4, 2)",
}

# What may be whole numbers.
_REAL = {"points", "boxes", "target"}


def _size(family: Any, name: str, value: Any) -> tuple[Any, ...]:
    """`value` if it is ([depth,] height, width): integers, or scalar tensors inside of graphs."""
    sizes = isinstance(value, (list, tuple)) and len(value) == family.ndim
    if sizes and any(map(tf.is_tensor, value)):
        return tuple(value)
    return _checks.size(name, value, family.ndim)


def _boolean(family: Any, name: str, value: Any) -> bool:
    return _checks.boolean(name, value)


def _box_format(family: Any, name: str, value: Any) -> str:
    return boxes.checked_format(value)


def _as_it_is(family: Any, name: str, value: Any) -> Any:
    return value


# How the other arguments are checked, by name; those that only a user's method has are not.
_CHECKS: dict[str, Callable] = {
    "output_size": _size,
    "source_size": _size,
    "align_corners": _boolean,
    "target_to_source": _boolean,
    "bounding_box_format": _box_format,
}


def as_operations(cls: type) -> type:
    """Let the methods that a class defines check their arguments, and take symbolic tensors as well.

    Of symbolic tensors each makes one operation of the Functional model, whatever the method is made
    of. Left alone are methods that only say what is missing.
    """
    for name in TENSORS:
        method = vars(cls).get(name)
        if isinstance(method, classmethod):
            operation = _operation(method.__func__, inspect.signature(method.__func__))
            setattr(cls, name, classmethod(operation))
        elif inspect.isfunction(method) and not getattr(method, "__isabstractmethod__", False):
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
            key: value if value is defaults[key] else _CHECKS.get(key, _as_it_is)(self, key, value)
            for key, value in given[len(names) :]
        }
        if any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
            family = self() if isinstance(self, type) else self
            return TransformMethod(family, name, others).symbolic_call(*tensors)
        return method(self, *tensors, **others)

    return checked


def _tensors(family: Any, names: tuple[str, ...], values: list[Any]) -> list[Tensor]:
    """The arguments as checked tensors of one dtype; the params of one map, beside many, as of many."""
    tensors = [_tensor(family, *argument) for argument in zip(names, values, strict=True)]
    if len(tensors) == 1:
        return tensors
    first, second = tensors
    _checks.batch(names[1], second, _EXPECTED[names[1]], names[0], first)
    if any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return tensors
    # Half precision has no pixel of 400.5.
    dtype = grids.coordinate_dtype(first.dtype) if names[1] == "boxes" else first.dtype
    first, second = tf.cast(first, dtype), tf.cast(second, dtype)
    if names[1] != "points":  # which are many, and whose batch of 1 every family takes
        second = _repeated(second, like=first)
    return [_repeated(first, like=second), second]


def _repeated(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` with one row for each of the batch of `like`, where it has one row for all."""
    if tensor.shape[0] != 1 or like.shape[0] == 1:
        return tensor
    return repeated(tensor, tf.shape(like)[0])


def _tensor(family: Any, name: str, value: Any) -> Tensor:
    tensor = _checks.tensor(name, value)
    if name in ("points", "target"):
        count, n = (None, "n") if name == "points" else (4, "4")
        _checks.shape(name, tensor, (None, count, family.ndim), f"(batch, {n}, {family.ndim})")
    elif name == "boxes":
        boxes.check(tensor)
    elif name == "theta":
        rows, columns = family.theta_shape
        _checks.shape(name, tensor, (None, rows, columns), f"(batch, {rows}, {columns})")
    elif name == "source":
        _checks.shape(name, tensor, (None, 4, 2), "(batch, 4, 2)")
    elif name == "matrix":
        _checks.pixel_matrix(name, tensor, family.ndim)
    else:
        sizes, names = params_of_one(family.transform if name == "inner_params" else family)
        _checks.shape(name, tensor, (None, *sizes), f"(batch, {names})")
    (_checks.real if name in _REAL else _checks.floating)(name, tensor.dtype)
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
