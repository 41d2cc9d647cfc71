"""Families whose params are a vector, and where their maps put points, in float64."""

import functools
import itertools

import numpy as np
from scipy.linalg import expm
from scipy.spatial.transform import Rotation
from users_family import Bulge

from keras_stn import transforms

VECTORS = {
    **{name: make for name, make in transforms.FAMILIES.items() if make().params_ndim == 2},
    "rotation of oblongs": functools.partial(transforms.Rotation, aspect_ratio=5 / 7),
    "bounded": functools.partial(transforms.Bounded, "similarity", fixed={"x": 0.1}, max_rotation=1.0),
    "bulge": functools.partial(Bulge, power=3),
    **{
        f"{name} of volumes": functools.partial(transforms.FAMILIES[name], ndim=3)
        for name in ("translation", "attention", "rotation", "similarity", "affine")
    },
    "diffeomorphic affine of volumes": functools.partial(transforms.DiffeomorphicAffine, ndim=3),
}


def params_of(family, *lead, seed=0, within=0.3, dtype="float32"):
    """Random params around the identity, (*lead, num_params)."""
    random = np.random.default_rng(seed)
    noise = random.uniform(-within, within, (*lead, family.num_params))
    return (np.array(family.identity_params) + noise).astype(dtype)


def turned(angles):
    """The matrix of one angle, or of a rotation vector."""
    if len(angles) == 3:
        return Rotation.from_rotvec(angles).as_matrix()
    (angle,) = angles
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def exponential(row, ndim):
    """That of a generator with a last row of zeros."""
    whole = np.zeros((ndim + 1, ndim + 1))
    whole[:ndim] = row.reshape(ndim, ndim + 1)
    return expm(whole)[:ndim]


# (linear part, shift) of a row of params, written down a second time.
MATRICES = {
    transforms.Translation: lambda row, n: (np.eye(n), row),
    transforms.Attention: lambda row, n: (np.diag(np.broadcast_to(row[:-n], n)), row[-n:]),
    transforms.Rotation: lambda row, n: (turned(row), np.zeros(n)),
    transforms.Similarity: lambda row, n: (row[0] * turned(row[1:-n]), row[-n:]),
    transforms.Affine: lambda row, n: (row.reshape(n, n + 1)[:, :n], row.reshape(n, n + 1)[:, n]),
    transforms.DiffeomorphicAffine: lambda row, n: (
        exponential(row, n)[:, :n],
        exponential(row, n)[:, n],
    ),
}


def is_matrix(family):
    return type(family) in MATRICES and getattr(family, "aspect_ratio", 1.0) in (1.0, (1.0, 1.0))


def matrix(family, row):
    return MATRICES[type(family)](np.asarray(row, "float64"), family.ndim)


def moved(family, row, points):
    """Where a map puts points: by matrices of this file, or for other families by their own method."""
    row, points = np.asarray(row, "float64"), np.asarray(points, "float64")
    if is_matrix(family):
        linear, shift = matrix(family, row)
        return np.array([linear @ point + shift for point in points])
    if isinstance(family, transforms.Projective):
        x, y, w = np.append(row, 1).reshape(3, 3) @ np.array([*points.T, np.ones(len(points))])
        return np.array([x / w, y / w]).T
    return family.transform_points(row[np.newaxis], points[np.newaxis]).numpy()[0]


def corners(ndim):
    return list(itertools.product((-1.0, 1.0), repeat=ndim))


def pixels(count, ndim):
    """The normalised centres of the pixels of an output with `count` on each axis."""
    along = [(2 * number + 1) / count - 1 for number in range(count)]
    return list(itertools.product(along, repeat=ndim))
