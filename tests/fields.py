"""What tests of fields share: smooth fields, and how scipy's splines see them."""

import numpy as np
from scipy.interpolate import BSpline


def positions(count, of, align_corners=False):
    """Where `count` pixels lie on an axis of `of` points that covers the same picture."""
    if align_corners:
        return np.arange(count) * (of - 1) / max(count - 1, 1) if count > 1 else np.full(1, (of - 1) / 2)
    return (np.arange(count) + 0.5) * of / count - 0.5


def basis(places, of, interpolation):
    """(places, of): the weight of each point of an axis, those beyond the ends counted to the last."""
    degree = {"linear": 1, "bspline": 3}[interpolation]
    reach = (degree + 1) / 2
    bump = BSpline.basis_element(np.arange(degree + 2) - reach, extrapolate=False)
    weights = np.zeros((len(places), of))
    for number in range(-4, of + 4):
        weights[:, np.clip(number, 0, of - 1)] += np.nan_to_num(bump(places - number))
    return weights


def upsampled(field, size, interpolation, align_corners=False):
    """A field (batch, [d,] h, w, n) at the pixels of an output, in float64."""
    for axis, count in enumerate(size, start=1):
        of = field.shape[axis]
        weights = basis(positions(count, of, align_corners), of, interpolation)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return field


def smooth(shape, size, pixels, seed=3):
    """A smooth field (batch, [d,] h, w, n): splines through 3 points an axis, up to `pixels` long."""
    rng = np.random.default_rng(seed)
    batch, *sizes, count = shape
    coarse = rng.uniform(-1, 1, (batch, *[4] * len(sizes), count))
    field = upsampled(coarse, sizes, "bspline")
    return field / np.abs(field).max() * pixels
