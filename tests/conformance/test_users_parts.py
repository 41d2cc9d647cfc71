"""Growth: a family and a kernel of a user's, in a few lines, that the whole table of cases takes."""

import inspect
import itertools

import numpy as np
import pytest
import users_kernel
from cases import ALL, FILL_MODES, Bulge

from keras_stn import Warp, ops, transforms


@pytest.mark.parametrize("part", [Bulge, users_kernel])
def test_a_part_takes_at_most_25_lines(part):
    assert len(inspect.getsource(part).splitlines()) <= 25


def test_the_table_has_them_in_layers_and_functions():
    ids = [case.id for case in ALL]
    for front, part in itertools.product(
        ("SpatialTransformer-", "Warp-", "warp-"), ("family", "kernel")
    ):
        name = "points" if part == "family" and front != "warp-" else part
        assert any(id.startswith(f"{front}users-{name}") for id in ids), (front, part)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_kernel_enlarges_as_another_library_does(scale):
    """PyTorch's antialiased bicubic is this kernel, where it enlarges; it leaves taps outside out."""
    torch = pytest.importorskip("torch", reason="PyTorch is an oracle only; CI installs it")

    images = np.random.default_rng(0).random((2, 9, 7, 3))
    size = 9 * scale, 7 * scale
    ours = ops.warp(images, [[1, 0, 0, 0, 1, 0]] * 2, output_size=size, interpolation=users_kernel.NAME)
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2))
    theirs = torch.nn.functional.interpolate(channels_first, size, mode="bicubic", antialias=True)
    inner = slice(2 * scale, -2 * scale)
    difference = np.asarray(ours) - theirs.numpy().transpose(0, 2, 3, 1)
    assert np.max(np.abs(difference[:, inner, inner])) <= 1e-12  # float64


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_a_kernel_that_interpolates_is_exact_at_the_identity(fill_mode):
    images = np.random.default_rng(1).random((2, 9, 7, 3), "float32")
    layer = Warp(interpolation=users_kernel.NAME, fill_mode=fill_mode)
    np.testing.assert_array_equal(layer(images, np.array([layer.transform.identity_params] * 2)), images)


@pytest.mark.parametrize("fill_mode", FILL_MODES)
def test_slopes_of_a_kernel_are_those_of_its_weights(fill_mode):
    """Central differences in float64: off by the square of the step, and by eps divided by it."""
    import tensorflow as tf

    images = tf.constant(np.random.default_rng(2).random((1, 9, 7, 2)))
    family = transforms.get("affine")
    params = np.array(family.identity_params) + np.random.default_rng(3).uniform(-0.2, 0.2, (1, 6))

    def total(params):
        warped = ops.warp(images, params, interpolation=users_kernel.NAME, fill_mode=fill_mode)
        return tf.reduce_sum(warped * warped)

    with tf.GradientTape() as tape:
        theta = tf.constant(params)
        tape.watch(theta)
        loss = total(theta)
    gradient = tape.gradient(loss, theta)
    for entry, step in enumerate(1e-6 * np.eye(6)):
        slope = (total(params + step) - total(params - step)) / 2e-6
        assert abs(float(gradient[0, entry] - slope)) <= 1e-6 * 9 * 7
