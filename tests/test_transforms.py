"""The transform families: their matrices, and the algebra of maps."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import ops, transforms
from keras_stn.transforms.turns import cos_sin

MATRIX_FAMILIES = [  # but for the one whose params are a logarithm
    name
    for name, family in transforms.FAMILIES.items()
    if issubclass(family, transforms.MatrixTransform) and family is not transforms.DiffeomorphicAffine
]
families = pytest.mark.parametrize("name", MATRIX_FAMILIES)

# Typical params of each family, two maps each, and the matrices that its docstring promises.
PARAMS = {
    "translation": [[0.3, -0.2], [-0.6, 0.9]],
    "attention": [[1.1, 0.3, -0.2], [0.5, -0.6, 0.9]],
    "rotation": [[0.4], [-1.2]],
    "similarity": [[1.1, 0.4, 0.3, -0.2], [0.5, -1.2, -0.6, 0.9]],
    "affine": [[1.1, -0.4, 0.3, 0.4, 0.9, -0.2], [0.5, 0.3, -0.6, -0.4, 1.2, 0.1]],
}
MATRIX = {
    "translation": lambda x, y: [[1, 0, x], [0, 1, y]],
    "attention": lambda s, x, y: [[s, 0, x], [0, s, y]],
    "rotation": lambda t, a=1: [[np.cos(t), -np.sin(t) / a, 0], [a * np.sin(t), np.cos(t), 0]],
    "similarity": lambda s, t, x, y, a=1: [
        [s * np.cos(t), -s * np.sin(t) / a, x],
        [a * s * np.sin(t), s * np.cos(t), y],
    ],
    "affine": lambda *p: [p[:3], p[3:]],
}
ATOL = 1e-14  # float64, a handful of products of order 1


def close(have, want):
    return np.max(np.abs(np.asarray(have) - want)) <= ATOL


def homogeneous(name, params):
    theta = np.array([MATRIX[name](*p) for p in params])
    return np.concatenate([theta, [[[0, 0, 1]]] * len(theta)], axis=1)


def test_the_registry_and_the_tables_here_hold_the_same_families_of_matrices():
    assert set(PARAMS) == set(MATRIX) == set(MATRIX_FAMILIES)


@families
def test_theta_is_the_matrix_of_the_docstring(name):
    family = transforms.get(name)
    assert len(PARAMS[name][0]) == family.num_params == len(family.identity_params)
    assert close(family.theta(np.array(PARAMS[name])), homogeneous(name, PARAMS[name])[:, :2])


@pytest.mark.parametrize("name", ["rotation", "similarity"])
def test_theta_on_pictures_that_are_not_square_is_the_matrix_of_the_docstring(name):
    family = type(transforms.get(name))(aspect_ratio=1.6)
    for have, params in zip(family.theta(np.array(PARAMS[name])), PARAMS[name], strict=True):
        assert close(have, MATRIX[name](*params, a=1.6))


@families
def test_identity_params_are_the_identity(name):
    family = transforms.get(name)
    assert close(family.theta(np.array([family.identity_params])), [[[1, 0, 0], [0, 1, 0]]])


@families
def test_from_theta_returns_the_params(name):
    family = transforms.get(name)
    params = np.array(PARAMS[name])
    assert close(family.from_theta(family.theta(params)), params)


@families
def test_compose_is_the_product_of_matrices_inner_first(name):
    family = transforms.get(name)
    outer, inner = np.array(PARAMS[name]), np.array(PARAMS[name][::-1])
    want = homogeneous(name, outer) @ homogeneous(name, inner)
    assert close(family.theta(family.compose(outer, inner)), want[:, :2])


@families
def test_inverse_undoes_the_map(name):
    family = transforms.get(name)
    params = np.array(PARAMS[name])
    assert close(family.theta(family.inverse(params)), np.linalg.inv(homogeneous(name, params))[:, :2])
    assert close(family.compose(params, family.inverse(params)), [family.identity_params] * 2)


@families
def test_transform_points_is_the_matrix_times_the_point(name):
    family = transforms.get(name)
    points = np.random.default_rng(0).uniform(-2, 2, (2, 5, 2))
    column = np.concatenate([points, np.ones((2, 5, 1))], axis=-1)[..., None]
    want = (homogeneous(name, PARAMS[name])[:, None] @ column)[..., :2, 0]
    assert close(family.transform_points(np.array(PARAMS[name]), points), want)


@pytest.mark.parametrize("align_corners", [False, True])
@families
def test_grid_is_transform_points_of_the_target_pixels(name, align_corners):
    family = transforms.get(name)
    params = np.array(PARAMS[name])
    by_points = transforms.Transform.grid(family, params, (3, 5), align_corners)
    assert close(family.grid(params, (3, 5), align_corners), by_points)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_grid_of_params_in_half_precision_is_that_of_their_values_in_float32(dtype):
    """In bfloat16 it was off by 0.7 pixels of 200."""
    params = tf.cast([[1, 0.25, 0.125, -0.5, 0.75, 0]], dtype)  # all of them exact
    affine = transforms.Affine()
    for grid in (affine.grid, functools.partial(transforms.Transform.grid, affine)):
        assert np.array_equal(grid(params, (3, 200)), grid(tf.cast(params, "float32"), (3, 200)))


def own_points(family):
    """`points` of a family that has none but its `map`."""
    return functools.partial(transforms.Transform.points, family)


@pytest.mark.parametrize("align_corners", [False, True])
@families
def test_points_are_the_pixels_of_the_grid(name, align_corners):
    family = transforms.get(name)
    arguments = np.array(PARAMS[name]), (4, 9), (3, 5), align_corners
    exact, by_grid = (points(*arguments) for points in (family.points, own_points(family)))
    for have, want in zip(exact.axes, by_grid.axes, strict=True):
        assert close(have, want)


def distances(points):
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)


@pytest.mark.parametrize("name", ["rotation", "similarity"])
def test_aspect_ratio_makes_turns_rigid_in_pixels(name):
    height, width = 4, 10
    pixels = np.random.default_rng(1).uniform(0, 10, (2, 5, 2))
    points = (2 * pixels - [width - 1, height - 1]) / [width, height]
    params = np.array(PARAMS[name])
    scale = 1 if name == "rotation" else params[:, :1, None]
    for aspect_ratio, rigid in ((width / height, True), (1.0, False)):
        family = transforms.FAMILIES[name](aspect_ratio=aspect_ratio)
        moved = np.asarray(family.transform_points(params, points)) * [width, height] / 2
        error = np.max(np.abs(distances(moved) - scale * distances(pixels)))
        assert (error < 1e-12) == rigid
        assert close(family.compose(params, family.inverse(params)), [family.identity_params] * 2)


def test_cosine_and_sine_are_those_of_the_angle():
    angles = np.linspace(-1e3, 1e3, 200001, dtype="float32")[:, None]
    angles[0, 0] = 0
    cos, sin = cos_sin(tf.constant(angles))
    # One rounding of a number below 1 is 6e-8; the series takes two.
    np.testing.assert_allclose(cos, np.cos(angles.astype("float64")), atol=1.2e-7, rtol=0)
    np.testing.assert_allclose(sin, np.sin(angles.astype("float64")), atol=1.2e-7, rtol=0)
    assert (cos[0, 0], sin[0, 0]) == (1, 0)


def test_derivatives_of_cosine_and_sine_are_sine_and_cosine():
    angle = tf.constant(np.linspace(-7, 7, 10001, dtype="float32")[:, None])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(angle)
        cos, sin = cos_sin(angle)
    truth = angle.numpy().astype("float64")
    # The series ends where it is right to 5e-9; its derivative is 100 times as far off.
    np.testing.assert_allclose(tape.gradient(cos, angle), -np.sin(truth), atol=1e-6, rtol=0)
    np.testing.assert_allclose(tape.gradient(sin, angle), np.cos(truth), atol=1e-6, rtol=0)


@pytest.mark.parametrize("angle", [1e6, -1e10, 1e30])
def test_an_angle_beyond_the_digits_of_float32_is_still_a_turn(angle):
    cos, sin = cos_sin(tf.constant([[angle]], tf.float32))
    assert abs(cos) <= 1
    assert abs(sin) <= 1


def test_an_angle_above_zero_turns_the_picture_counter_clockwise():
    picture = np.zeros((1, 5, 5, 1), "float32")
    picture[0, 2, 4] = 1  # a point right of the centre ...
    turned = keras_stn.Warp("rotation")([picture, np.array([[np.pi / 2]], "float32")])
    assert np.round(turned[0, :, :, 0])[0, 2] == 1  # ... comes to stand above it


def test_a_scale_below_one_magnifies():
    picture = np.zeros((1, 9, 9, 1), "float32")
    picture[0, 3:6, 3:6] = 1
    crop = keras_stn.Warp("attention")([picture, np.array([[1 / 3, 0, 0]], "float32")])
    assert np.sum(crop) > 60  # the square of nine pixels fills the picture of 81, but for soft edges


def test_get_takes_names_objects_and_their_saved_form():
    family = transforms.Similarity(aspect_ratio=2.5)
    assert transforms.get(family) is family
    restored = transforms.get(keras.saving.serialize_keras_object(family))
    assert type(restored) is transforms.Similarity
    assert restored.aspect_ratio == 2.5
    for name, cls in transforms.FAMILIES.items():
        assert type(transforms.get(name)) is cls


@keras.saving.register_keras_serializable(package="tests")
class Swirl(transforms.Transform):
    """A user's own bent family, with an argument: turns by an angle that falls with the radius."""

    num_params = 1
    identity_params = (0.0,)

    def __init__(self, reach=1.0):
        self.reach = reach

    def map(self, params, x, y):
        angle = tf.expand_dims(params, -1) * tf.exp(-(x * x + y * y) / self.reach)
        cos, sin = tf.cos(angle), tf.sin(angle)
        return cos * x - sin * y, sin * x + cos * y

    def get_config(self):
        return {"reach": self.reach}


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_family_of_ones_own_warps_as_its_points_say(align_corners):
    images = np.random.default_rng(2).random((2, 6, 9, 2))
    params = np.array([[0.0], [0.8]])
    layer = keras_stn.Warp(Swirl(0.5), align_corners=align_corners, dtype="float64")
    warped = layer([images, params]).numpy()
    assert np.array_equal(warped[0], images[0])
    grid = layer.transform.grid(params, (6, 9), align_corners)
    want = keras_stn.ops.grid_sample(images, grid, align_corners=align_corners)
    # A grid is normalised, and so off by a few roundings of float64.
    assert np.max(np.abs(warped - want)) <= 1e-14
    assert np.max(np.abs(warped[1] - images[1])) > 0.1


def test_a_family_of_ones_own_is_saved_with_its_arguments(tmp_path):
    model = keras.Sequential([keras.Input((6, 9, 1)), keras_stn.SpatialTransformer("dense", Swirl(0.5))])
    head = model.layers[0].localization.head
    head.kernel.assign(np.random.default_rng(3).normal(size=head.kernel.shape))
    images = np.random.default_rng(4).random((2, 6, 9, 1), "float32")
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].warp.transform.reach == 0.5
    assert np.array_equal(loaded(images), model(images))


def test_a_family_that_is_changed_maps_as_it_is_now_and_so_do_its_equals():
    """At a size that is compiled: what is compiled is found again by the family's arguments."""
    images, params = np.random.default_rng(7).normal(size=(1, 130, 140, 1)), np.zeros((1, 2))

    def warped(family):
        return ops.warp(images, params, family).numpy()

    def read(radius):
        grid = transforms.Polar(max_radius=radius).grid(params, (130, 140))
        return ops.grid_sample(images, grid).numpy()

    family = transforms.Polar(max_radius=0.875)
    # Sums in another order, of coordinates of 100 pixels: 1e-14 of each, by slopes of 5.
    np.testing.assert_allclose(warped(family), read(0.875), rtol=0, atol=1e-11)
    family.max_radius = 0.625
    for have in (family, transforms.Polar(0.625)):
        np.testing.assert_allclose(warped(have), read(0.625), rtol=0, atol=1e-11)
    np.testing.assert_allclose(warped(transforms.Polar(0.875)), read(0.875), rtol=0, atol=1e-11)
