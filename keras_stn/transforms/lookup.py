"""The family that a name, an object or a saved form stands for."""

from typing import Any

import keras

from keras_stn import _checks
from keras_stn.transforms.base import FAMILIES, Transform


def get(transform: Any) -> Transform:
    """The transform family that `transform` stands for.

    Args:
        transform: A name from `FAMILIES`, a `Transform`, or the saved form of one (the dictionary that
            `keras.saving.serialize_keras_object` makes).

    Returns:
        A `Transform`.

    Raises:
        ValueError: if it is none of these, or if the `num_params` of a family is no positive integer or
            not the length of its `identity_params`.
        NotImplementedError: if it is a family without a `map`.

    Example:
        >>> import keras_stn
        >>> keras_stn.transforms.get("affine").identity_params
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """
    if isinstance(transform, dict):
        transform = keras.saving.deserialize_keras_object(transform)
    if isinstance(transform, Transform):
        return _checked(transform)
    if isinstance(transform, str):
        return FAMILIES[_checks.one_of("transform", transform, FAMILIES)]()
    raise _checks.error(
        f"transform must be one of {tuple(FAMILIES)} or a keras_stn.transforms.Transform. "
        f"Received: transform={transform!r}."
    )


def _checked(transform: Transform) -> Transform:
    name = type(transform).__name__
    if type(transform).map is Transform.map:
        transform.map(None)  # raises
    num_params = _checks.count(f"{name}.num_params", getattr(transform, "num_params", None))
    identity = getattr(transform, "identity_params", None)
    if identity is None or len(identity) != num_params:
        raise _checks.error(
            f"{name}.identity_params must be num_params = {num_params} numbers. "
            f"Received: identity_params={identity!r}."
        )
    return transform
