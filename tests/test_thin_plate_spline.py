"""Thin-plate splines: beside SciPy and a second library, on lattices that are not square."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import RBFInterpolator

import keras_stn
from keras_stn import ops, transforms

lattices = pytest.mark.parametrize("grid_size", [(3, 5), (4, 4), (2, 2), (5, 2)])

# Sums of up to 16 products of order 10 in float64.
ATOL = 1e-12
# The same in float32, of displacements up to 1: 6e-7 was the largest error at 3 x 5.
ATOL32 = 3e-6


def control_points(grid_size):
    """In the words of the docstring: row by row, over [-1, 1], corners included."""
    rows, columns = grid_size
    return np.array([(x, y) for y in np.linspace(-1, 1, rows) for x in np.linspace(-1, 1, columns)])


def displacements(grid_size, batch=2, within=0.4):
    rng = np.random.default_rng(5)
    return rng.uniform(-within, within, (batch, 2 * grid_size[0] * grid_size[1]))


def somewhere(count=150, batch=2):
    return np.random.default_rng(6).uniform(-1.5, 1.5, (batch, count, 2))


def scipy_spline(grid_size, params, points, smoothing=0.0):
    spline = RBFInterpolator(
        control_points(grid_size),
        params.reshape(-1, 2),
        kernel="thin_plate_spline",
        degree=1,
        smoothing=smoothing,
    )
    return points + spline(points)


@lattices
@pytest.mark.parametrize("smoothing", [0.0, 0.02, 3.0])
def test_it_is_the_thin_plate_spline_of_scipy(grid_size, smoothing):
    family = transforms.ThinPlateSpline(grid_size, smoothing)
    params, points = displacements(grid_size), somewhere()
    want = [scipy_spline(grid_size, *one, smoothing) for one in zip(params, points, strict=True)]
    assert np.max(np.abs(family.transform_points(params, points) - np.array(want))) <= ATOL
    have = family.transform_points(params.astype("float32"), points)
    assert np.max(np.abs(have - np.array(want))) <= ATOL32


@lattices
@pytest.mark.filterwarnings("ignore:`row_stack` alias:DeprecationWarning")  # morphops calls it
def test_it_is_the_thin_plate_spline_of_morphops(grid_size):
    morphops = pytest.importorskip("morphops", reason="a second public implementation")
    params, points = displacements(grid_size), somewhere()
    target = control_points(grid_size)
    want = [
        morphops.tps_warp(target, target + one.reshape(-1, 2), where)
        for one, where in zip(params, points, strict=True)
    ]
    have = transforms.ThinPlateSpline(grid_size).transform_points(params, points)
    assert np.max(np.abs(have - np.array(want))) <= ATOL


@lattices
def test_control_points_go_where_the_params_say(grid_size):
    params, points = displacements(grid_size), control_points(grid_size)
    have = transforms.ThinPlateSpline(grid_size).transform_points(params, points[np.newaxis])
    assert np.max(np.abs(have - (points + params.reshape(2, -1, 2)))) <= ATOL


@lattices
def test_affine_displacements_make_the_affine_map_everywhere(grid_size):
    theta = np.array([[0.2, -0.3, 0.1], [0.15, -0.1, -0.25]])
    points = control_points(grid_size)
    params = (points @ theta[:, :2].T + theta[:, 2]).reshape(1, -1)
    for regularization in (0.0, 0.5):  # which an affine map, without a bend, does not pay
        family = transforms.ThinPlateSpline(grid_size, regularization)
        there = somewhere(batch=1)
        want = there + there @ theta[:, :2].T + theta[:, 2]
        assert np.max(np.abs(family.transform_points(params, there) - want)) <= ATOL


def test_a_large_regularization_leaves_the_affine_map_of_least_squares():
    grid_size = (3, 5)
    params, points = displacements(grid_size, batch=1), control_points(grid_size)
    design = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    fit, *_ = np.linalg.lstsq(design, params.reshape(-1, 2))
    there = somewhere(batch=1)
    want = there + np.concatenate([there, np.ones((1, there.shape[1], 1))], axis=-1) @ fit
    # What is left of the bend falls as 1 / regularization.
    have = transforms.ThinPlateSpline(grid_size, 1e8).transform_points(params, there)
    assert np.max(np.abs(have - want)) <= 1e-6


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_images_are_read_where_scipy_says(align_corners, compiled):
    from oracles import scipy_sample

    grid_size, size, output_size = (3, 5), (23, 17), (13, 29)
    images = np.random.default_rng(1).random((2, *size, 3))
    params = displacements(grid_size, within=0.2)
    steps = [np.arange(n) * 2.0 - (n - 1) for n in output_size]
    spans = [n - align_corners for n in output_size]
    y, x = np.meshgrid(*(s / n for s, n in zip(steps, spans, strict=True)), indexing="ij")
    targets = np.stack([x.ravel(), y.ravel()], axis=-1)
    grid = np.array([scipy_spline(grid_size, one, targets).reshape(*output_size, 2) for one in params])
    settings = "bilinear", "constant", 0.3, align_corners
    want = scipy_sample(images, grid, *settings)

    def warp(images, params):
        family = transforms.ThinPlateSpline(grid_size)
        return ops.warp(images, params, family, output_size, *settings)

    warp = tf.function(warp, jit_compile=True) if compiled else warp
    assert np.max(np.abs(warp(images, params) - want)) <= 1e-11  # float64; coordinates up to 29
    have = warp(images.astype("float32"), params.astype("float32"))
    assert np.max(np.abs(have - want)) <= 2e-5  # 1e-6 of coordinates, times half of 29 pixels


def test_a_shift_by_whole_pixels_tears_no_picture_where_it_is_compiled():
    """Were a coordinate rounded in two ways, a floor and a weight would be a pixel apart."""
    images = np.random.default_rng(2).random((2, 40, 56, 1), "float32")
    family = transforms.ThinPlateSpline((3, 5))
    params = np.tile(np.float32([2 * 3 / 56, -2 * 2 / 40]), (2, 15))
    warp = tf.function(lambda i, p: ops.warp(i, p, family, fill_mode="wrap"), jit_compile=True)
    want = np.roll(images, (2, -3), axis=(1, 2))
    assert np.max(np.abs(warp(images, params) - want)) <= 2e-5  # 1e-6 of 28 pixels


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_slopes_and_values_are_numbers_at_control_points(dtype):
    family = transforms.ThinPlateSpline((3, 5))
    params = tf.cast(displacements((3, 5)), dtype)
    points = tf.cast(control_points((3, 5))[np.newaxis], dtype)
    with tf.GradientTape() as tape:
        tape.watch([params, points])
        mapped = family.transform_points(params, points)
    for tensor in (mapped, *tape.gradient(mapped, [params, points])):
        assert np.isfinite(tf.cast(tensor, "float64")).all()


def test_distances_that_a_half_cannot_hold_are_none():
    """In float16 the square of 1e-4 is 0: the bump there is 0, and no NaN."""
    family = transforms.ThinPlateSpline((2, 2))
    params = tf.cast(displacements((2, 2)), "float16")
    near = tf.constant([[[-1.0, -1.0], [-1.0, -0.9995]]], "float16")
    mapped = family.transform_points(params, near).numpy()
    assert np.max(np.abs(mapped[:, 0] - mapped[:, 1])) <= 2e-3  # two steps of float16 at 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"grid_size": (1, 4)}, r"grid_size must be two integers from 2 up, \(rows, columns\)"),
        ({"grid_size": 4}, "grid_size must be two integers from 2 up"),
        ({"grid_size": (4, 4, 4)}, "grid_size must be two integers from 2 up"),
        ({"regularization": -1}, "regularization must be a number of 0 or above"),
        ({"regularization": float("nan")}, "regularization must be a number of 0 or above"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        transforms.ThinPlateSpline(**arguments)


def test_what_has_no_closed_form_says_what_does():
    family = transforms.ThinPlateSpline((2, 2))
    params = np.zeros((1, 8))
    with pytest.raises(NotImplementedError, match="ThinPlateSpline.inverse .*Velocity"):
        family.inverse(params)
    with pytest.raises(NotImplementedError, match="ThinPlateSpline.compose .*transform_points"):
        family.compose(params, params)


def test_it_is_saved_with_its_arguments():
    family = transforms.ThinPlateSpline((3, 5), 0.25)
    copy = type(family).from_config(family.get_config())
    assert copy == family
    assert repr(copy) == "ThinPlateSpline(grid_size=(3, 5), regularization=0.25)"
    assert keras_stn.transforms.get("thin_plate_spline").num_params == 32


def test_a_regularization_that_is_changed_holds_from_the_next_call_and_for_its_equals():
    """At a size that is compiled: what is compiled is found again by the family's arguments."""
    images, params = np.random.default_rng(9).normal(size=(1, 130, 140, 1)), np.zeros((1, 18))
    params[0, 8:10] = 0.25, -0.5
    family, fresh = transforms.ThinPlateSpline((3, 3)), transforms.ThinPlateSpline((3, 3), 0.25)
    before = ops.warp(images, params, family).numpy()
    family.regularization = 0.25
    grid = transforms.ThinPlateSpline((3, 3), 0.25).grid(params, (130, 140))
    want = ops.grid_sample(images, grid).numpy()
    assert np.abs(before - want).max() > 0.1
    for have in (family, fresh):
        # Roundings of coordinates of 100 pixels: 1e-14 of each, by slopes of 5.
        np.testing.assert_allclose(ops.warp(images, params, have), want, rtol=0, atol=1e-11)
