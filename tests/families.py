"""What a family can do, which the tests of all families ask."""

import numpy as np

from keras_stn import transforms


def has(family, method):
    """Whether a family, or the one of that name, defines a method."""
    defined = getattr(transforms.get(family), method, None)
    return defined is not None and not getattr(defined, "__isabstractmethod__", False)


WITH_IDENTITY = [name for name, family in transforms.FAMILIES.items() if family.has_identity]


def that_have(method):
    """The names of the families of the package that define a method."""
    return [name for name in transforms.FAMILIES if has(name, method)]


def as_params(family, rows, field_size=(4, 3)):
    """Rows of `num_params` numbers as params, one map each: of fields, alike at all points."""
    if transforms.get(family).params_ndim == 2:
        return rows
    size = (len(rows), *field_size, rows.shape[-1])
    return np.array(np.broadcast_to(rows[:, np.newaxis, np.newaxis], size))
