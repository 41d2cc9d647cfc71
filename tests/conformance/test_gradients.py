"""Gradients to images, grid, theta and params, in float64, against finite differences."""

import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import ops, sampler
from keras_stn.sampler import BORDERS as FILL_MODES
from keras_stn.sampler import KERNELS as INTERPOLATIONS

# Central differences with step 1e-6 in float64: rounding 1e-16 / 1e-6 = 1e-10, times values and slopes
# up to some tens; the largest difference measured is 3e-8. A wrong tap or sign is off by > 1e-2.
STEP = 1e-6
ATOL = 1e-6

SIZE = HEIGHT, WIDTH = 4, 7
SMOOTH = ("bilinear", "bicubic")
modes = pytest.mark.parametrize("fill_mode", FILL_MODES)
smooth = pytest.mark.parametrize("interpolation", SMOOTH)


def images():
    return np.random.default_rng(3).random((2, *SIZE, 2))


def off_lattice_grid(align_corners=False):
    """Points in and around the image, each at least a fifth of a pixel from every pixel centre."""
    rng = np.random.default_rng(4)
    spans = np.array([WIDTH, HEIGHT]) - align_corners
    pixels = rng.integers(-5, [WIDTH + 5, HEIGHT + 5], (2, 3, 5, 2)) + rng.uniform(
        0.2, 0.8, (2, 3, 5, 2)
    )
    return (2 * pixels - [WIDTH - 1, HEIGHT - 1]) / spans


def cotangent(shape):
    return np.random.default_rng(5).normal(size=shape)


def gradient(function, value):
    value = tf.constant(value)
    with tf.GradientTape() as tape:
        tape.watch(value)
        output = function(value)
        loss = tf.reduce_sum(output * cotangent(output.shape))
    return tape.gradient(loss, value)


def central_differences(function, value):
    function = tf.function(function)  # called some hundred times
    result = np.zeros_like(value)
    for index in np.ndindex(*value.shape):
        losses = []
        for step in (STEP, -STEP):
            moved = value.copy()
            moved[index] += step
            output = function(tf.constant(moved)).numpy()
            losses.append(np.sum(output * cotangent(output.shape)))
        result[index] = (losses[0] - losses[1]) / (2 * STEP)
    return result


def assert_gradient(function, value):
    expected = central_differences(function, value)
    error = np.max(np.abs(gradient(function, value) - expected))
    assert error <= ATOL, error
    assert np.max(np.abs(expected)) > 0.1  # there was something to find


@modes
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_gradient_to_images(interpolation, fill_mode):
    grid = off_lattice_grid()
    assert_gradient(lambda x: ops.grid_sample(x, grid, interpolation, fill_mode, 0.3), images())


@modes
@smooth
@pytest.mark.parametrize("align_corners", [False, True])
def test_gradient_to_grid(align_corners, interpolation, fill_mode):
    arguments = interpolation, fill_mode, 0.3, align_corners
    assert_gradient(
        lambda grid: ops.grid_sample(images(), grid, *arguments), off_lattice_grid(align_corners)
    )


# A turn, a scale and a shift that take some points outside and none near the lattice.
THETA = np.array([[[1.1, -0.43, 0.31], [0.37, 0.9, -0.17]], [[0.53, 0.29, -0.61], [-0.41, 1.23, 0.11]]])


@modes
@smooth
@pytest.mark.parametrize("align_corners", [False, True])
def test_gradient_to_theta(align_corners, interpolation, fill_mode):
    def sample(theta):
        grid = ops.affine_grid(theta, (3, 5), align_corners)
        return ops.grid_sample(images(), grid, interpolation, fill_mode, 0.3, align_corners)

    assert_gradient(sample, THETA)


PARAMS = {
    "translation": [[0.31, -0.17], [-0.61, 0.93]],
    "attention": [[1.13, 0.31, -0.17], [0.57, -0.61, 0.93]],
    "rotation": [[0.37], [-1.21]],
    "similarity": [[1.13, 0.37, 0.31, -0.17], [0.57, -1.21, -0.61, 0.93]],
    "affine": THETA.reshape(2, 6).tolist(),
    **{
        name: np.random.default_rng(8).uniform(-0.9, 0.9, (2, 3, 2, 2)).tolist()
        for name in ("displacement", "velocity")
    },
    "diffeomorphic_affine": (THETA - np.eye(2, 3)).reshape(2, 6).tolist(),
    "thin_plate_spline": np.random.default_rng(7).uniform(-0.3, 0.3, (2, 32)).tolist(),
    # Its first map has the left of the image behind the camera, from w = -0.2 on.
    "projective": [
        [0.93, 0.11, 0.17, -0.13, 1.07, -0.09, 1.77, 0.07],
        [0.57, 0.31, -0.61, -0.41, 1.21, 0.13, -0.23, 0.31],
    ],
    "lens_distortion": [[-0.31, 0.17, 0.07, -0.05, 0.03], [0.23, -0.11, -0.03, 0.07, 0.05]],
    "polar": [[0.31, -0.17], [-0.61, 0.93]],
    "log_polar": [[0.31, -0.17], [-0.61, 0.93]],
}


@modes
@smooth
@pytest.mark.parametrize("family", keras_stn.transforms.FAMILIES)
def test_gradient_to_params(family, interpolation, fill_mode):
    layer = keras_stn.Warp(
        family, (3, 5), interpolation=interpolation, fill_mode=fill_mode, fill_value=0.3, dtype="float64"
    )
    assert_gradient(lambda params: layer([images(), params]), np.array(PARAMS[family]))


@modes
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_image_gradient_is_the_adjoint_of_sampling(interpolation, fill_mode):
    grid = np.random.default_rng(6).uniform(-2.5, 2.5, (2, 3, 5, 2))
    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        ax = ops.grid_sample(x, grid, interpolation, fill_mode)
        y = cotangent(ax.shape)
        loss = tf.reduce_sum(ax * y)
    aty = tape.gradient(loss, x).numpy()
    left, right = np.sum(ax.numpy() * y), np.sum(x.numpy() * aty)
    assert abs(left - right) <= 1e-12  # the same sum of ~100 products of order 1, in another order


@modes
def test_at_a_pixel_centre_the_gradient_is_the_derivative_from_the_right(fill_mode):
    row = np.array([1.0, 4.0, 2.0, 9.0]).reshape(1, 1, 4, 1)
    x = (2 * np.arange(-3, 7) + 1) / 4 - 1
    grid = np.stack([x, np.zeros_like(x)], axis=-1).reshape(1, 1, -1, 2)
    right = grid + [1e-6, 0.0]
    tensor = tf.constant(grid)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        here = ops.grid_sample(row, tensor, fill_mode=fill_mode, fill_value=5.0)
    have = tape.gradient(here, tensor)[0, 0, :, 0]
    there = ops.grid_sample(row, right, fill_mode=fill_mode, fill_value=5.0)
    want = (there - here)[0, 0, :, 0] / 1e-6
    assert np.max(np.abs(have - want)) <= 1e-7  # forward differences of a linear piece: rounding alone


@pytest.mark.parametrize("align_corners", [False, True])
@modes
def test_theta_has_a_gradient_at_the_identity(fill_mode, align_corners):
    layer = keras_stn.Warp(fill_mode=fill_mode, align_corners=align_corners, dtype="float64")
    identity = np.array([[1.0, 0, 0, 0, 1, 0]] * 2)
    assert np.min(np.abs(gradient(lambda params: layer([images(), params]), identity))) > 1e-3


def test_nearest_gives_no_gradient_to_the_grid():
    grid = tf.constant(off_lattice_grid())
    with tf.GradientTape() as tape:
        tape.watch(grid)
        output = ops.grid_sample(images(), grid, "nearest")
    assert tape.gradient(output, grid) is None


@modes
def test_second_derivatives_of_the_cubic(fill_mode):
    def slope(grid):
        grid = tf.convert_to_tensor(grid)
        with tf.GradientTape() as tape:
            tape.watch(grid)
            output = tf.reduce_sum(ops.grid_sample(images(), grid, "bicubic", fill_mode) ** 2)
        return tape.gradient(output, grid)

    grid = off_lattice_grid()[:, :2, :2]
    expected = central_differences(slope, grid)
    # Slopes here reach 1e2 and their derivatives 1e3, so rounding does too: relative to the largest.
    assert np.max(np.abs(gradient(slope, grid) - expected)) <= 1e-7 * np.max(np.abs(expected))


# Images from 2**15 points on give their gradient one after the other where that is compiled.
LARGE = 190, 180


def large_inputs(transform, batch=3):
    rng = np.random.default_rng(7)
    near_identity = np.array(transform.identity_params) + rng.normal(
        0, 0.2, (batch, transform.num_params)
    )
    return rng.random((batch, *LARGE, 2)), near_identity, rng.normal(size=(batch, *LARGE, 2))


def step_of(layer):
    def step(images, params, upstream):
        with tf.GradientTape() as tape:
            tape.watch([images, params])
            warped = layer([images, params])
        return tape.gradient(warped, [images, params], upstream, tf.UnconnectedGradients.ZERO)

    return step


def for_any_batch(function, arrays):
    specs = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays]
    return tf.function(function, input_signature=specs)


def by_plain_gathers(function, *tensors):
    with sampler.using(sampler.interpreter.read):
        return function(*tensors)


# Few and many are scattered in two ways; of very many, a multiple of eight is summed in another one.
@pytest.mark.parametrize("channels", [2, 20, 40])
@pytest.mark.parametrize("batch", [1, 5, 12])
def test_parts_of_a_batch_have_the_gradient_of_the_whole(batch, channels):
    rng = np.random.default_rng(8)
    layer = keras_stn.Warp(dtype="float64")
    params = layer.transform.identity_params + rng.normal(0, 0.3, (batch, 6))
    arrays = rng.random((batch, *SIZE, channels)), params, rng.normal(size=(batch, *SIZE, channels))
    step, tensors = step_of(layer), [tf.constant(array) for array in arrays]
    expected = by_plain_gathers(step, *tensors)
    for result in tf.function(step)(*tensors), for_any_batch(step, arrays)(*tensors):
        for ours, theirs in zip(result, expected, strict=True):
            assert np.max(np.abs(ours - theirs)) <= 1e-12  # sums of some dozens of order 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interpolation", "fill_mode", "family"),
    [
        ("bilinear", "constant", "affine"),
        ("bilinear", "constant", "attention"),
        ("bilinear", "wrap", "affine"),
        ("bilinear", "wrap", "attention"),
        ("bicubic", "reflect", "affine"),
        ("nearest", "mirror", "attention"),
    ],
)
def test_large_images_have_the_gradient_of_plain_gathers(interpolation, fill_mode, family):
    layer = keras_stn.Warp(
        family, interpolation=interpolation, fill_mode=fill_mode, fill_value=0.3, dtype="float64"
    )
    step, arrays = step_of(layer), large_inputs(layer.transform)
    tensors = [tf.constant(array) for array in arrays]
    expected = by_plain_gathers(step, *tensors)
    for result in step(*tensors), for_any_batch(step, arrays)(*tensors):
        for ours, theirs in zip(result, expected, strict=True):
            # Sums of up to 1e5 float64 numbers in another order; a lost tap is off by 1e-2.
            assert np.max(np.abs(ours - theirs)) <= 1e-10 * max(1, np.max(np.abs(theirs)))


@pytest.mark.slow
def test_second_derivatives_of_large_images():
    layer = keras_stn.Warp(dtype="float64")
    arrays = large_inputs(layer.transform)
    slopes = tf.reshape(tf.sin(tf.range(LARGE[1], dtype=tf.float64)), (-1, 1))

    def second(images, params, upstream):
        with tf.GradientTape() as tape:
            tape.watch([params, upstream])
            to_images, to_params = step_of(layer)(images, params, upstream)
            loss = tf.reduce_sum(to_images * slopes) + tf.reduce_sum(to_params**2)
        return tape.gradient(loss, [params, upstream])

    tensors = [tf.constant(array) for array in arrays]
    expected = by_plain_gathers(second, *tensors)
    for result in second(*tensors), for_any_batch(second, arrays)(*tensors):
        for ours, theirs in zip(result, expected, strict=True):
            assert np.max(np.abs(ours - theirs)) <= 1e-10 * np.max(np.abs(theirs))


def test_an_empty_batch_of_large_images_has_an_empty_gradient():
    layer = keras_stn.Warp(dtype="float64")
    arrays = large_inputs(layer.transform, batch=0)
    for step in step_of(layer), for_any_batch(step_of(layer), arrays):
        to_images, to_params = step(*map(tf.constant, arrays))
        assert to_images.shape == (0, *LARGE, 2)
        assert to_params.shape == (0, 6)
