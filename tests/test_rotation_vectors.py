"""Turns of volumes, `Rotation(ndim=3)` and `Similarity(ndim=3)`, beside SciPy's."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.transform import Rotation as SciPyRotation

from keras_stn import transforms

ROTATION = transforms.Rotation(ndim=3)


def vectors(dtype):
    """Of every length up to three turns, most of all near none, where series take over, and near pi."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.concatenate(
        [
            rng.uniform(0, 6 * np.pi, 1000),
            rng.uniform(0, 0.1, 800),
            np.pi + rng.uniform(-0.01, 0.01, 800),
            2.0**-5 + rng.uniform(-1e-5, 1e-5, 398),
            [0.0, 1e-30],
        ]
    )
    return (directions * lengths[:, np.newaxis]).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "atol"),
    # Five roundings of numbers up to 2, and in float32 a sine that is off by up to 1.2e-7.
    [("float32", 2e-6), ("float64", 1e-14)],
)
def test_the_matrix_is_that_of_scipy(dtype, atol):
    want = SciPyRotation.from_rotvec(vectors(dtype).astype("float64")).as_matrix()
    theta = ROTATION.theta(vectors(dtype)).numpy()
    assert np.max(np.abs(theta[:, :, :3] - want)) <= atol
    assert np.all(theta[:, :, 3] == 0)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 4e-6), ("float64", 1e-14)])
def test_the_logarithm_gives_back_the_turn_and_a_vector_not_longer_than_pi(dtype, atol):
    theta = ROTATION.theta(vectors(dtype))
    back = ROTATION.from_theta(theta)
    assert np.max(np.linalg.norm(back, axis=1)) <= np.pi + 1e-6  # pi itself, in float32
    assert np.max(np.abs(ROTATION.theta(back) - theta)) <= atol
    want = SciPyRotation.from_rotvec(vectors("float64")).as_rotvec()
    one_way = np.linalg.norm(want, axis=1) < 3  # at pi there are two vectors of one turn
    assert np.max(np.abs(back - want)[one_way]) <= 4 * atol  # 6 pi has three bits less than its rest


@pytest.mark.parametrize("axis", np.eye(3).tolist() + [[1.0, 1.0, 0.0], [-1.0, 0.5, 2.0]])
def test_the_logarithm_of_half_a_turn_is_one_of_the_two(axis):
    axis = np.array(axis) / np.linalg.norm(axis)
    half = 2 * np.outer(axis, axis) - np.eye(3)
    back = ROTATION.from_theta(np.pad(half, ((0, 0), (0, 1)))[np.newaxis])[0]
    assert min(np.max(np.abs(back - sign * np.pi * axis)) for sign in (1, -1)) <= 1e-12


@pytest.mark.parametrize(
    "vector", [[0, 0, 0], [1e-3, 0, 2e-3], [0.0, 0.0, 0.03125], [0.3, -0.2, 0.1], [2.0, -1.5, 0.7]]
)
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-6), ("float64", 1e-9)])
def test_the_gradient_is_smooth_at_no_turn_and_everywhere(vector, dtype, atol):
    tensor = tf.constant([vector], dtype)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        theta = ROTATION.theta(tensor)
    have = tape.jacobian(theta, tensor)[0, :, :3, 0]
    for number, step in enumerate(1e-6 * np.eye(3)):  # central differences in float64: 1e-10
        up, down = (SciPyRotation.from_rotvec(vector + s).as_matrix() for s in (step, -step))
        assert np.max(np.abs(have[:, :, number] - (up - down) / 2e-6)) <= atol


def test_the_gradient_of_the_logarithm_undoes_that_of_the_turn():
    tensor = tf.constant([[0, 0, 0], [1e-3, 0, 2e-3], [0.3, -0.2, 0.1], [2.0, -1.5, 0.7]], "float64")
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        back = ROTATION.from_theta(ROTATION.theta(tensor))
    jacobians = tape.batch_jacobian(back, tensor)
    assert np.max(np.abs(jacobians - np.eye(3))) <= 1e-12


def test_a_turn_about_z_is_that_of_each_slice():
    angles = np.linspace(-4, 4, 9).reshape(-1, 1)
    turned = ROTATION.theta(np.pad(angles, ((0, 0), (2, 0))))
    want = transforms.Rotation().theta(angles)
    assert np.max(np.abs(turned[:, :2, :2] - want[:, :, :2])) <= 1e-15


def test_a_turn_is_rigid_in_voxels():
    depth, height, width = 20, 30, 48
    family = transforms.Similarity(aspect_ratio=(width / height, depth / height), ndim=3)
    params = np.array([[1.0, 0.3, -0.5, 1.1, 0.1, 0.2, -0.3]])
    matrix = family.pixel_matrix(params, (depth, height, width))[0, :, :3].numpy()
    assert np.max(np.abs(matrix @ matrix.T - np.eye(3))) <= 1e-12
    assert abs(np.linalg.det(matrix) - 1) <= 1e-12


def test_a_scale_below_zero_comes_back():
    family = transforms.Similarity(ndim=3)
    params = np.array([[-0.7, 0.3, -0.5, 1.1, 0.1, 0.2, -0.3]])
    assert np.max(np.abs(family.from_theta(family.theta(params)) - params)) <= 1e-12
    assert np.all(family.from_theta(np.zeros((1, 3, 4))) == 0)
