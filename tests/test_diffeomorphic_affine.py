"""`DiffeomorphicAffine` beside SciPy's matrix exponential."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.linalg import expm

from keras_stn import transforms

ranks = pytest.mark.parametrize("ndim", [2, 3])


def logarithms(ndim, norm, count=200):
    """Params of (1-)norms up to `norm`."""
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(count, ndim, ndim + 1))
    norms = np.abs(matrices).sum(axis=1).max(axis=1).reshape(-1, 1, 1)
    return (matrices / norms * rng.uniform(0, norm, (count, 1, 1))).reshape(count, -1)


def scipy_exponential(params, ndim):
    matrices = np.asarray(params, "float64").reshape(-1, ndim, ndim + 1)
    return expm(np.pad(matrices, ((0, 0), (0, 1), (0, 0))))[:, :ndim]


@ranks
@pytest.mark.parametrize(
    ("dtype", "norm", "rtol"),
    # float32: some dozen roundings. Of the series: 16 (3 / 16)^8 / 8! = 6e-10, and at 10 more.
    [("float32", 3, 1e-6), ("float64", 3, 1e-9), ("float64", 10, 1e-6)],
)
def test_theta_is_the_matrix_exponential(ndim, dtype, norm, rtol):
    params = logarithms(ndim, norm).astype(dtype)
    have = transforms.DiffeomorphicAffine(ndim).theta(params)
    want = scipy_exponential(params, ndim)
    largest = np.abs(want).max(axis=(1, 2))
    assert np.max(np.abs(have - want).max(axis=(1, 2)) / largest) <= rtol


@ranks
def test_small_maps_keep_their_digits(ndim):
    params = 1e-4 * logarithms(ndim, 1)
    moved = transforms.DiffeomorphicAffine(ndim).theta(params.astype("float32")) - np.eye(ndim, ndim + 1)
    want = scipy_exponential(params, ndim) - np.eye(ndim, ndim + 1)
    assert np.max(np.abs(moved - want)) <= 1.3e-7  # a rounding of 1, where the diagonal is stored


@ranks
def test_the_inverse_is_exact(ndim):
    family = transforms.DiffeomorphicAffine(ndim)
    params = logarithms(ndim, 2)
    np.testing.assert_array_equal(family.inverse(params), -params)
    outer, inner = (
        np.pad(family.theta(p), ((0, 0), (0, 1), (0, 0))) for p in (params, family.inverse(params))
    )
    outer[:, ndim, ndim] = inner[:, ndim, ndim] = 1
    assert np.max(np.abs(outer @ inner - np.eye(ndim + 1))) <= 1e-10


@ranks
def test_the_gradient_is_that_of_finite_differences(ndim):
    family = transforms.DiffeomorphicAffine(ndim)
    params = logarithms(ndim, 3, count=5)
    tensor = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        theta = family.theta(tensor)
    have = tape.batch_jacobian(theta, tensor)
    for number in range(family.num_params):
        step = np.zeros(family.num_params)
        step[number] = 1e-6
        want = (scipy_exponential(params + step, ndim) - scipy_exponential(params - step, ndim)) / 2e-6
        assert np.max(np.abs(have[..., number] - want)) <= 1e-7  # rounding of values up to 20: 4e-9


def test_compose_says_what_does():
    family = transforms.DiffeomorphicAffine()
    for call in family.from_theta, lambda p: family.compose(np.zeros((1, 6)), np.zeros((1, 6))):
        with pytest.raises(NotImplementedError, match=r"keras_stn\.transforms\.Affine has both"):
            call(np.zeros((1, 2, 3)))
