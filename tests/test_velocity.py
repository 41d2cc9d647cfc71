"""Velocity fields: flows beside an ODE solver, that fold nothing, and that lead back."""

import numpy as np
import pytest
import tensorflow as tf
from fields import basis, smooth
from scipy.integrate import solve_ivp

import keras_stn
from keras_stn import ops, transforms

SIZE = (37, 52)


def velocity(interpolation, pixels):
    """A smooth field, and by how much it changes from a pixel to the next at most."""
    if interpolation == "linear":
        field = smooth((1, *SIZE, 2), SIZE, pixels)
        return field, max(np.abs(np.diff(field, axis=axis)).max() for axis in (1, 2))
    return np.random.default_rng(4).uniform(-1, 1, (1, 7, 9, 2)) * pixels, None


def places(count=300):
    """(count, 2) pixels (x, y), from which no flow here leaves the picture."""
    height, width = SIZE
    return np.random.default_rng(5).uniform(7, [width - 8, height - 8], (count, 2))


def to_points(pixels):
    return (2 * pixels + 1) / SIZE[::-1] - 1


def to_pixels(points):
    return ((points + 1) * SIZE[::-1] - 1) / 2


def moved(family, field, pixels):
    points = family.transform_points(field, to_points(pixels)[np.newaxis], SIZE)
    return to_pixels(points.numpy()[0])


def flowed(field, interpolation, pixels):
    """The ODE, integrated in float64."""

    def of(_, pixels):
        x, y = pixels.reshape(-1, 2).T
        weights = [
            basis((place + 0.5) * own / of - 0.5, own, interpolation)
            for place, own, of in zip((y, x), field.shape[1:3], SIZE, strict=True)
        ]
        return np.einsum("ni,nj,ijc->nc", *weights, field[0]).ravel()

    return solve_ivp(of, (0, 1), pixels.ravel(), rtol=1e-7, atol=1e-7).y[:, -1].reshape(-1, 2)


# What is left is that the map is read by lines between its points, at each squaring: a hundredth of a
# pixel for 2 pixels of velocity, and with the square of it.
@pytest.mark.parametrize(
    ("interpolation", "pixels", "atol"),
    [("linear", 2.0, 0.02), ("linear", 5.0, 0.05), ("bspline", 1.0, 0.03), ("bspline", 2.0, 0.08)],
)
def test_points_go_where_the_ode_leads(interpolation, pixels, atol):
    field, _ = velocity(interpolation, pixels)
    have = moved(transforms.Velocity(interpolation=interpolation), field, places())
    want = flowed(field, interpolation, places())
    assert np.max(np.abs(want - places())) > 0.5 * pixels
    assert np.max(np.abs(have - want)) <= atol


@pytest.mark.parametrize(
    ("interpolation", "pixels"), [("linear", 2.0), ("linear", 4.5), ("bspline", 1.5)]
)
def test_the_inverse_leads_back_within_a_fiftieth_of_a_pixel(interpolation, pixels):
    family = transforms.Velocity(interpolation=interpolation)
    field, step = velocity(interpolation, pixels)
    assert step is None or step < 0.7
    assert np.array_equal(family.inverse(field), -field)
    there = moved(family, field, places())
    back = moved(family, family.inverse(field), there)
    assert np.max(np.abs(there - places())) > 0.5 * pixels
    assert np.max(np.abs(back - places())) <= 0.02


@pytest.mark.parametrize(
    ("interpolation", "pixels"), [("linear", 5.0), ("linear", 10.0), ("bspline", 5.0)]
)
def test_no_pixel_is_folded(interpolation, pixels):
    field, _ = velocity(interpolation, pixels)
    family = transforms.Velocity(interpolation=interpolation)
    x, y = (axis.numpy()[0] for axis in family.points(tf.constant(field), SIZE, SIZE).axes)
    by_x = [np.diff(axis, axis=1)[:-1] for axis in (x, y)]
    by_y = [np.diff(axis, axis=0)[:, :-1] for axis in (x, y)]
    determinant = by_x[0] * by_y[1] - by_x[1] * by_y[0]
    assert determinant.min() > 0
    if interpolation == "linear" and pixels == 10.0:  # where the velocities themselves would fold
        x, y = (np.arange(n) for n in SIZE[::-1])
        as_it_is = np.stack(np.meshgrid(x, y), -1) + field[0]
        by_x, by_y = np.diff(as_it_is, axis=1)[:-1], np.diff(as_it_is, axis=0)[:, :-1]
        assert (by_x[..., 0] * by_y[..., 1] - by_x[..., 1] * by_y[..., 0]).min() < 0


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_points_agree_with_where_the_pixels_went(interpolation, align_corners):
    field, _ = velocity(interpolation, 3.0)
    family = transforms.Velocity(interpolation=interpolation)
    axes = family.points(tf.constant(field), SIZE, SIZE, align_corners).axes
    spans = [n - align_corners for n in SIZE[::-1]]
    centres = [(2 * np.arange(n) - (n - 1)) / span for n, span in zip(SIZE[::-1], spans, strict=True)]
    points = np.stack(np.meshgrid(*centres), axis=-1).reshape(1, -1, 2)
    have = family.transform_points(field, points, SIZE, align_corners).numpy()[0]
    pixels = (have * spans + [n - 1 for n in SIZE[::-1]]) / 2
    want = np.stack([np.ravel(axis[0]) for axis in axes], axis=-1)
    assert np.max(np.abs(pixels - want)) <= 1e-12


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_velocities_of_zero_return_the_very_pixels(interpolation):
    image = np.random.default_rng(6).random((1, *SIZE, 2), "float32")
    for field_size in (SIZE, (5, 4)):
        have = ops.warp(
            image, np.zeros((1, *field_size, 2), "float32"), transforms.Velocity(4, interpolation)
        )
        assert np.array_equal(have, image)


def test_a_constant_velocity_is_a_shift():
    image = np.random.default_rng(7).random((1, *SIZE, 2), "float32")
    field = np.broadcast_to(np.float32([3, -2]), (1, 5, 4, 2))
    have = ops.warp(image, field, "velocity", fill_mode="wrap")
    # A factor of 4 / 52 and back again is rounded.
    assert np.max(np.abs(have - np.roll(image, (2, -3), axis=(1, 2)))) <= 1e-5


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_to_the_velocity_are_those_of_finite_differences(interpolation, compiled):
    family = transforms.Velocity(5, interpolation)
    rng = np.random.default_rng(8)
    image, upstream = rng.random((1, 9, 7, 2)), rng.normal(size=(1, 6, 8, 2))
    field = rng.normal(size=(1, 3, 4, 2))

    @tf.function(jit_compile=compiled)
    def loss(params):
        return tf.reduce_sum(ops.warp(image, params, family, (6, 8)) * upstream)

    @tf.function(jit_compile=compiled)
    def slope(params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            total = loss(params)
        return tape.gradient(total, params)

    have = slope(tf.constant(field)).numpy()
    for number in np.ndindex(*field.shape):
        step = np.zeros_like(field)
        step[number] = 1e-6
        want = (loss(tf.constant(field + step)) - loss(tf.constant(field - step))) / 2e-6
        assert abs(have[number] - want) <= 1e-6, number


def test_flows_of_volumes_go_where_those_of_their_planes_do():
    plane, _ = velocity("linear", 2.0)
    volume = np.zeros((1, 3, *SIZE, 3))
    volume[..., :2] = plane[:, np.newaxis]
    axes = transforms.Velocity(ndim=3).points(tf.constant(volume), (3, *SIZE), (3, *SIZE)).axes
    want = transforms.Velocity().points(tf.constant(plane), SIZE, SIZE).axes
    for axis, coordinate in zip(axes, (*want, None), strict=True):
        coordinate = np.zeros((1, *SIZE)) if coordinate is None else coordinate
        if axis is axes[-1]:
            assert np.max(np.abs(axis - np.arange(3).reshape(1, 3, 1, 1))) <= 1e-13
        else:
            assert np.max(np.abs(axis - np.expand_dims(coordinate, 1))) <= 1e-12


def test_what_it_cannot_do_is_said_and_its_arguments_are_saved():
    family = transforms.Velocity(5, "bspline")
    assert type(family).from_config(family.get_config()) == family
    with pytest.raises(NotImplementedError, match="Velocity.compose .*transform_points"):
        family.compose(np.zeros((1, 2, 2, 2)), np.zeros((1, 2, 2, 2)))
    with pytest.raises(ValueError, match="steps must be a positive integer"):
        transforms.Velocity(0)
    with pytest.raises(ValueError, match="source_size must be the size of the images"):
        family.transform_points(np.zeros((1, 2, 2, 2)), np.zeros((1, 1, 2)))
    assert keras_stn.transforms.get("velocity").params_ndim == 4


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("field_size", [(1, 1), (1, 4), (3, 1)], ids=str)
def test_points_in_a_field_of_one_velocity_move_by_it(field_size, align_corners):
    """Also where a field has one point along an axis, whose ends are then the same place."""
    images = np.random.default_rng(6).normal(size=(1, *SIZE, 2))
    field = np.broadcast_to([1.5, -2.25], (1, *field_size, 2))
    have, want = (
        ops.warp(images, field, family, align_corners=align_corners)
        for family in (transforms.Velocity(), transforms.Displacement())
    )
    # The sum of 2^7 parts, each rounded in float64.
    np.testing.assert_allclose(have, want, rtol=0, atol=1e-12)
