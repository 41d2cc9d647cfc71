"""Bounds on params: what arguments ask for, by name, and the smooth map into them."""

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, grids
from keras_stn.transforms.base import FAMILIES, Transform

Tensor = Any
Ranges = dict[str, tuple[float, float]]


# --- What arguments ask for ------------------------------------------------------------------------


def names_of(family: Transform) -> tuple[str, ...]:
    """A name for each param; p0, p1, ... where a family gives none."""
    numbered = tuple(f"p{number}" for number in range(family.num_params))
    return family.param_names if len(family.param_names) == family.num_params else numbered


def fixed_values(family: Transform, fixed: Any) -> dict[str, float]:
    """The argument `fixed`, checked: {name: value}."""
    values = {} if fixed is None else fixed
    if not isinstance(values, Mapping) or not all(map(_finite, values.values())):
        raise _checks.error(
            "fixed must be a dictionary of params and finite numbers, such as {'x': 0.0}. "
            f"Received: fixed={fixed!r}."
        )
    values = {_known("fixed", name, family): float(value) for name, value in values.items()}
    if len(values) == family.num_params:
        raise _checks.error(f"fixed must leave a param free. Received: fixed={fixed!r}.")
    return values


def named_ranges(family: Transform, ranges: Any, given: Sequence[str]) -> Ranges:
    """The argument `ranges`, checked: {name: (low, high)}. A pair holds for all that is not `given`."""
    if ranges is None:
        return {}
    if not isinstance(ranges, Mapping):
        free = [name for name in names_of(family) if name not in given]
        ranges = dict.fromkeys(free, _pair("ranges", ranges))
    return {
        _known("ranges", name, family): _pair(f"ranges[{name!r}]", pair) for name, pair in ranges.items()
    }


def rotation_ranges(family: Transform, max_rotation: Any) -> Ranges:
    """The argument `max_rotation` as ranges."""
    if max_rotation is None:
        return {}
    limit = _checks.positive("max_rotation", max_rotation)
    names = _those("max_rotation", family, lambda name: name.startswith("angle"))
    return dict.fromkeys(names, (-limit, limit))


def scale_ranges(family: Transform, scale_range: Any) -> Ranges:
    """The argument `scale_range` as ranges."""
    if scale_range is None:
        return {}
    pair = _pair("scale_range", scale_range)
    return dict.fromkeys(_those("scale_range", family, lambda name: name == "scale"), pair)


def translation_ranges(family: Transform, max_translation: Any) -> Ranges:
    """The argument `max_translation` as ranges."""
    if max_translation is None:
        return {}
    axes = ("x", "y", "z")[: family.ndim]
    each = isinstance(max_translation, (list, tuple)) and len(max_translation) == len(axes)
    limits = [
        _checks.positive("max_translation", limit)
        for limit in (max_translation if each else [max_translation] * len(axes))
    ]
    names = _those("max_translation", family, lambda name: name in axes)
    pairs = zip(axes, limits, strict=True)
    return {axis: (-limit, limit) for axis, limit in pairs if axis in names}


def all_ranges(
    family: Transform,
    fixed: Mapping[str, float],
    max_rotation: Any,
    scale_range: Any,
    max_translation: Any,
    ranges: Any,
) -> Ranges:
    """All arguments that bound as one; raises where they disagree, or an identity lies outside.

    What is fixed needs no range: `max_translation` is then that of the other axes.
    """
    groups = {
        "max_rotation": rotation_ranges(family, max_rotation),
        "scale_range": scale_ranges(family, scale_range),
        "max_translation": translation_ranges(family, max_translation),
    }
    together: Ranges = {}
    for argument, group in groups.items():
        free = {name: pair for name, pair in group.items() if name not in fixed}
        _check(argument, family, free or group, fixed)
        together.update(free)
    named = named_ranges(family, ranges, (*fixed, *together))
    _check("ranges", family, named, (*fixed, *together))
    together.update(named)
    return {name: together[name] for name in names_of(family) if name in together}


def _check(argument: str, family: Transform, ranges: Ranges, given: Collection[str]) -> None:
    """Raise for ranges of what is given already, and for an identity outside."""
    for name, (low, high) in ranges.items():
        if name in given:
            raise _checks.error(
                f"{argument} must leave out what is fixed or bounded by another argument. "
                f"Received: {name!r} in both."
            )
        identity = family.identity_params[names_of(family).index(name)]
        if not np.float32(low) < np.float32(identity) < np.float32(high):
            raise _checks.error(
                f"{argument} must hold the identity of {name!r} between its ends: "
                f"low < {identity} < high. Received: ({low}, {high})."
            )


def _finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _pair(argument: str, value: Any) -> tuple[float, float]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_finite, value)):
        return float(value[0]), float(value[1])
    raise _checks.error(
        f"{argument} must be two finite numbers, (low, high). Received: {argument}={value!r}."
    )


def _known(argument: str, name: Any, family: Transform) -> str:
    names = names_of(family)
    if name in names:
        return name
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise _checks.error(
        f"{argument} must name params of {type(family).__name__}: {names}. Received: {name!r}.{hint}"
    )


def _those(argument: str, family: Transform, fits: Callable[[str], bool]) -> list[str]:
    """The names that fit; raises where there is none, and says which families have one."""
    names = [name for name in names_of(family) if fits(name)]
    if names:
        return names
    others = [cls.__name__ for cls in FAMILIES.values() if any(map(fits, cls().param_names))]
    raise _checks.error(
        f"{argument} must be left out for {type(family).__name__}, whose params are {names_of(family)}: "
        f"fixed and ranges take these. {argument} is for {', '.join(others)}."
    )


# --- The smooth map --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Squash:
    """Real numbers to params inside of ranges: identity + reach s(r / reach), s(z) = z / sqrt(1 + z^2).

    `reach` is how far the range goes on the side of r. The map has slope 1 and curvature 0 at 0, so both
    sides join smoothly. Far away its slope falls as 1 / z^3; that of tanh falls as exp(-2 z), and is 0
    in float32 from 9 on, where nothing is learned any more.
    """

    identity: tuple[float, ...]
    ranges: tuple[tuple[float, float] | None, ...]  # None: free, identity + r

    def __call__(self, raw: Tensor) -> Tensor:
        identity, low, high = self._constants(raw.dtype)
        below, above, limit = self._reaches(raw.dtype)
        reach = tf.where(raw > 0, above, below)
        distance = raw / reach
        near = tf.abs(distance) < limit  # beyond, s is 1; NaN is not near, and passes through
        distance = tf.where(near, distance, tf.zeros_like(raw))
        # TensorFlow's graph optimiser makes a product of a division by a root, with other bits. The
        # maximum in `rounded` stands in the way.
        squashed = reach * (distance / grids.rounded(tf.sqrt(1 + distance * distance)))
        # NaN is no smaller and no larger than a bound, and runtimes then take the second.
        return tf.minimum(high, tf.maximum(low, identity + tf.where(near, squashed, raw)))

    def inverse(self, params: Tensor) -> Tensor:
        """Params to real numbers; of what is outside of its range, those of its end."""
        identity, *_ = self._constants(params.dtype)
        below, above, limit = self._reaches(params.dtype)
        step = params - identity
        reach = tf.where(step > 0, above, below)
        bounded = tf.broadcast_to(limit > 0, tf.shape(step))
        end = 1 - np.finfo(params.dtype.as_numpy_dtype).eps
        part = tf.where(bounded, step / reach, tf.zeros_like(step))
        part = tf.minimum(end, tf.maximum(-end, part))
        root = grids.rounded(tf.sqrt((1 - part) * (1 + part)))
        return tf.where(bounded, reach * (part / root), step)

    def start(self, raw: np.ndarray) -> np.ndarray:
        """Where training can start from: three reaches away at most, where the slope is still 0.03.

        The inverse of a range's end is so far away that nothing is learned from there.
        """
        below, above, limit = self._reaches(tf.as_dtype(raw.dtype))
        return np.where(limit > 0, np.clip(raw, -3 * below, 3 * above), raw)

    def _constants(self, dtype: tf.DType) -> list[np.ndarray]:
        """The identity, and the ends of the ranges, rounded inwards."""
        numpy = dtype.as_numpy_dtype
        pairs = [(-np.inf, np.inf) if pair is None else pair for pair in self.ranges]
        low = [_rounded(low, numpy, np.inf) for low, _ in pairs]
        high = [_rounded(high, numpy, -np.inf) for _, high in pairs]
        return [np.array(values, numpy) for values in (self.identity, low, high)]

    def _reaches(self, dtype: tf.DType) -> list[np.ndarray]:
        """How far the ranges go, below and above, and the distance in these from where s is 1."""
        identity, low, high = self._constants(dtype)
        free = np.array([pair is None for pair in self.ranges])
        one = np.ones_like(identity)
        limit = np.where(free, 0 * one, one / np.sqrt(np.finfo(identity.dtype).eps))
        below, above = (np.where(free, one, np.abs(end - identity)) for end in (low, high))
        return [array.astype(identity.dtype) for array in (below, above, limit)]


def _rounded(number: float, dtype: Any, towards: float) -> Any:
    """`number` in `dtype`, on the side of it that `towards` lies."""
    value = dtype(number)
    outside = float(value) < number if towards > 0 else float(value) > number
    return np.nextafter(value, dtype(towards)) if outside else value


def filled(free: Tensor, values: Sequence[float | None]) -> Tensor:
    """Params (..., n) of the free ones: where `values` has a number, that column holds it."""
    parts = tf.split(free, sum(value is None for value in values), axis=-1)
    zero, rest = tf.zeros_like(parts[0]), iter(parts)
    return tf.concat([next(rest) if value is None else zero + value for value in values], axis=-1)
