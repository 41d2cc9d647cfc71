"""Projective: a view of a plane, and nothing from behind the camera."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import ops, transforms
from oracles import extended_sample

FAMILY = transforms.Projective()
SOURCE, OUTPUT = (40, 57), (33, 48)
RANDOM = np.random.default_rng(0)
# Where |x| and |y| are up to 1, w is 0.4 to 1.6.
PARAMS = np.array(FAMILY.identity_params) + RANDOM.uniform(-0.3, 0.3, (5, 8))
# Of three columns the left one is behind the camera, or on its plane, wherever the corners are.
BEHIND = np.array([[1, 0.1, 0, 0, 1, 0.2, 1.7, 0], [0.9, 0, 0.1, 0.1, 1, 0, 2, 0.1]])
align_corners = pytest.mark.parametrize("align_corners", [False, True])


def matrices(params):
    return np.concatenate([params, np.ones((len(params), 1))], axis=1).reshape(-1, 3, 3)


def seen(params, points):
    """The quotient, point by point, and w."""
    mapped, depths = np.zeros(points.shape), np.zeros(points.shape[:2])
    for b, n in np.ndindex(*depths.shape):
        x, y, w = matrices(params)[b] @ [*points[b, n], 1]
        mapped[b, n], depths[b, n] = (x / w, y / w), w
    return mapped, depths


def corners(count, shift=0.25):
    """Convex quadrilaterals around the middle, in float64."""
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    return 0.7 * square + RANDOM.uniform(-shift, shift, (count, 4, 2))


def largest(difference):
    return np.max(np.abs(difference))


def test_a_point_is_the_quotient_and_behind_the_camera_there_is_none():
    points = RANDOM.uniform(-1, 1, (5, 200, 2))
    params = PARAMS + RANDOM.uniform(-1, 1, (5, 8)) * [0, 0, 0, 0, 0, 0, 2, 2]
    want, depth = seen(params, points)
    assert 50 < np.sum(depth <= 0) < 500
    have = FAMILY.transform_points(params, points).numpy()
    assert np.array_equal(np.isnan(have), np.repeat(depth[..., None] <= 1e-6, 2, axis=-1))
    near = depth > 0.01  # nearer, float64 is 100 times as far off
    assert largest(have[near] - want[near]) <= 1e-12


@align_corners
def test_the_picture_is_that_of_a_loop_in_float64(align_corners):
    images = RANDOM.random((5, 7, 11, 2))
    target = np.stack(np.meshgrid(RANDOM.uniform(-1, 1, 8), RANDOM.uniform(-1, 1, 6)), axis=-1)
    target = np.asarray(transforms.Affine().grid([[1.0, 0, 0, 0, 1, 0]] * 5, (6, 8), align_corners))
    grid, depth = seen(PARAMS, target.reshape(5, -1, 2).astype("float64"))
    assert np.min(depth) > 0
    want = extended_sample(images, grid.reshape(5, 6, 8, 2), "bilinear", "constant", 0.5, align_corners)
    for dtype, bound in ("float64", 1e-6), ("float32", 5e-6):  # the target is in float32
        warp = keras_stn.Warp(FAMILY, (6, 8), fill_value=0.5, align_corners=align_corners, dtype=dtype)
        assert largest(warp([images, PARAMS]) - want) <= bound


@pytest.mark.parametrize("size", [(640, 480), (97, 1024)])
def test_large_pictures_in_float32_are_those_of_float64(size):
    """Noise in [0, 1]: a rounding of a coordinate, 6e-8 of the side, changes it by as much."""
    images = RANDOM.random((1, *size, 1), "float32")
    params = np.float32(PARAMS[:1])
    have, want = (
        keras_stn.Warp(FAMILY, dtype=dtype)([images, params]) for dtype in ("float32", "float64")
    )
    # Near w = 0.4 a rounding of the params' products counts 2.5 times.
    assert largest(have.numpy() - want) <= 4e-7 * max(size)


# --- Behind the camera --------------------------------------------------------------------------------


def gradients(fill_mode, params, align_corners=True):
    images = tf.constant(np.random.default_rng(1).random((len(params), 7, 5, 2)))
    warp = keras_stn.Warp(
        FAMILY, (5, 3), fill_mode=fill_mode, fill_value=9.0, align_corners=align_corners, dtype="float64"
    )
    params = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch([images, params])
        warped = warp([images, params])
        loss = tf.reduce_sum(warped[:, :, 0])
    return warped.numpy(), tape.gradient(loss, [images, params])


@align_corners
def test_what_is_behind_the_camera_shows_the_fill_value_and_has_no_gradient(align_corners):
    warped, (to_images, to_params) = gradients("constant", BEHIND, align_corners)
    assert np.all(warped[:, :, 0] == 9)
    assert np.all(warped[:, :, 1] != 9)
    assert not np.any(to_images)
    assert not np.any(to_params)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "mirror", "wrap"])
@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_at_a_depth_of_exactly_0_the_gradients_of_all_params_are_finite(fill_mode, slope):
    """With the centres of the corner pixels at -1 and 1, one column lies on the plane of the camera."""
    params = np.array([[1, 0, 0, 0, 1, 0, slope, 0.0], [1, 0.1, 0, 0, 1, 0, 0, slope]])
    warped, (to_images, to_params) = gradients(fill_mode, params)
    assert np.all(np.isfinite(warped))
    assert np.all(np.isfinite(to_images))
    assert np.all(np.isfinite(to_params))


def test_a_horizon_in_one_image_changes_no_gradient_of_another():
    good = np.tile(PARAMS[:1], (2, 1))
    spoiled = good.copy()
    spoiled[0] = [1, 0, 0, 0, 1, 0, 1, 0]
    (_, want), (_, have) = (gradients("constant", params)[1] for params in (good, spoiled))
    assert np.array_equal(have[1], want[1])


@align_corners
@pytest.mark.parametrize("fill_mode", ["constant", "wrap"])
def test_gradients_to_params_across_a_horizon_are_finite_differences(fill_mode, align_corners):
    """Central ones of float64; `BEHIND` has no w between 0 and 0.2."""
    images = RANDOM.random((2, 7, 5, 2))
    warp = keras_stn.Warp(
        FAMILY, (5, 3), fill_mode=fill_mode, align_corners=align_corners, dtype="float64"
    )
    slopes = RANDOM.normal(size=(2, 5, 3, 2))

    def loss(params):
        return tf.reduce_sum(warp([images, params]) * slopes)

    params = tf.constant(BEHIND + 0.013)
    with tf.GradientTape() as tape:
        tape.watch(params)
        total = loss(params)
    gradient = tape.gradient(total, params).numpy()
    assert np.min(np.abs(gradient)) > 1e-3
    for b, entry in np.ndindex(2, 8):
        step = np.zeros((2, 8))
        step[b, entry] = 1e-6
        slope = (loss(params + step) - loss(params - step)) / 2e-6
        assert abs(gradient[b, entry] - slope) <= 1e-6 * max(1, largest(gradient)), (b, entry)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_params_that_are_no_numbers_put_every_point_outside(bad):
    for entry in range(8):
        params = np.array([FAMILY.identity_params], "float32")
        params[0, entry] = bad
        warp = keras_stn.Warp(FAMILY, (6, 9), fill_value=9.0)
        assert np.all(warp([RANDOM.random((1, 6, 9, 1), "float32"), params]) == 9), entry


# --- The algebra of maps ------------------------------------------------------------------------------


def normalised(theta):
    return (theta / theta[:, 2:, 2:]).reshape(-1, 9)[:, :8]


def test_compose_is_the_product_of_matrices_and_inverse_the_inverse():
    outer, inner = PARAMS, PARAMS[::-1]
    want = normalised(matrices(outer) @ matrices(inner))
    assert largest(FAMILY.compose(outer, inner) - want) <= 1e-14
    assert largest(FAMILY.inverse(PARAMS) - normalised(np.linalg.inv(matrices(PARAMS)))) <= 1e-14
    again = FAMILY.compose(PARAMS, FAMILY.inverse(PARAMS))
    assert largest(again - [FAMILY.identity_params] * 5) <= 1e-14
    assert np.array_equal(FAMILY.theta(PARAMS), matrices(PARAMS))
    assert largest(FAMILY.from_theta(-2 * matrices(PARAMS)) - PARAMS) <= 1e-15


def test_the_inverse_sees_what_the_map_shows_and_nothing_else():
    """A point in front comes back; for a mirror image too, whose determinant is negative."""
    mirror = [[-1, 1, 1, 1, 1, 1, 1, 1]]
    params = np.concatenate([PARAMS, PARAMS * mirror])
    points = RANDOM.uniform(-1, 1, (10, 50, 2))
    there = FAMILY.transform_points(params, points)
    back = FAMILY.transform_points(FAMILY.inverse(params), there)
    assert largest(back - points) <= 1e-12  # numbers up to 10


def test_a_map_whose_middle_is_behind_the_camera_is_not_a_number():
    """The middle is 1 in front by what the params are: there is none to tell the sides apart by."""
    outer = np.array([[1.0, 0, 0, 0, 1, 0, 1, 0]])
    inner = np.array([[1.0, 0, -2, 0, 1, 0, 0, 0]])  # the middle comes from x = -2
    assert np.all(np.isnan(FAMILY.compose(outer, inner)))
    far = np.array([[1.0, 0, 2, 0, 1, 0, 1.0, 0]])  # (0, 0) is shown at x = -2, where w is -1
    assert np.all(np.isnan(FAMILY.inverse(far)))
    flat = np.array([[1.0, 1, 0, 1, 1, 0, 0, 0]])
    assert np.all(np.isnan(FAMILY.inverse(flat)))


# --- Four corners -------------------------------------------------------------------------------------


def test_four_corners_give_the_matrix_of_opencv():
    cv2 = pytest.importorskip("cv2", reason="OpenCV is an oracle only; CI installs it")
    source, target = np.float32(corners(50)), np.float32(corners(50))
    want = [cv2.getPerspectiveTransform(*pair) for pair in zip(target, source, strict=True)]
    have = transforms.Projective.from_points(source.astype("float64"), target)
    # OpenCV solves eight equations in float64, whose products of coordinates it makes in float32.
    assert largest(have - normalised(np.array(want))) <= 1e-7
    assert (
        largest(transforms.Projective.from_points(source, target).numpy() - have) <= 2e-5
    )  # in float32


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 1, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
def test_corners_go_where_they_should_in_any_order(order):
    source, target = corners(20)[:, order], corners(20)[:, order]
    params = FAMILY.from_points(source, target)
    assert largest(FAMILY.transform_points(params, target) - source) <= 1e-13


def test_the_corners_of_the_output_show_the_source_points():
    source = corners(20)
    shown = FAMILY.transform_points(FAMILY.from_points(source), [[[-1, -1], [1, -1], [1, 1], [-1, 1]]])
    assert largest(shown - source) <= 1e-13


def test_corners_of_the_output_itself_are_the_identity_exactly():
    square = [[[-1.0, -1], [1, -1], [1, 1], [-1, 1]]]
    assert FAMILY.from_points(square).numpy().tolist() == [list(FAMILY.identity_params)]


def test_params_follow_the_corners_as_finite_differences_do():
    source, target = tf.constant(corners(1)), tf.constant(corners(1))
    weights = RANDOM.normal(size=(1, 8))

    def loss(source, target):
        return tf.reduce_sum(FAMILY.from_points(source, target) * weights)

    with tf.GradientTape() as tape:
        tape.watch([source, target])
        total = loss(source, target)
    for number, gradient in enumerate(tape.gradient(total, [source, target])):
        for _, corner, axis in np.ndindex(1, 4, 2):
            steps = [np.zeros((1, 4, 2)), np.zeros((1, 4, 2))]
            steps[number][0, corner, axis] = 1e-6
            more, less = (loss(source + s * steps[0], target + s * steps[1]) for s in (1, -1))
            slope = (more - less) / 2e-6
            assert abs(gradient[0, corner, axis] - slope) <= 1e-7  # rounding of 1e-16 over the step


DEGENERATE = {
    "three on a line": [[-1, -1], [0, 0], [1, 1], [-1, 1]],
    "two in one": [[-1, -1], [-1, -1], [1, 1], [-1, 1]],
    "all in one": [[0.5, 0.5]] * 4,
    "in another order": [[-1, -1], [1, 1], [1, -1], [-1, 1]],
    "a dent": [[-1, -1], [1, -1], [-0.3, -0.2], [-1, 1]],
    "no number": [[np.nan, -1], [1, -1], [1, 1], [-1, 1]],
}


@pytest.mark.parametrize("points", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_corners_of_no_view_raise_and_in_graphs_give_nan_without_a_gradient(points, dtype):
    good, points = corners(1).astype(dtype), np.array([points], dtype)
    for pair in (points, good), (good, points):
        with pytest.raises(ValueError, match=r"^source and target must be four points each in one"):
            FAMILY.from_points(*pair)
        together = [tf.constant(np.concatenate([good, one])) for one in pair]

        @tf.function
        def step(source, target):
            with tf.GradientTape() as tape:
                tape.watch([source, target])
                params = FAMILY.from_points(source, target)
                loss = tf.reduce_sum(tf.where(tf.math.is_nan(params), 0 * params, params))
            return params, *tape.gradient(loss, [source, target])

        params, *to_corners = step(*together)
        assert np.all(np.isfinite(params[0]))
        assert np.all(np.isnan(params[1]))
        for gradient in to_corners:
            assert np.all(np.isfinite(gradient[0]))


def test_a_target_whose_middle_is_behind_the_camera_raises():
    """Two sides of this target meet at x = 1.4, and the source's sides are parallel: w is 0 there."""
    square = [[[-1.0, -1], [1, -1], [1, 1], [-1, 1]]]
    target = np.array([[[0.8, -0.6], [1.0, -0.4], [1.0, 0.4], [0.8, 0.6]]])
    assert np.all(np.isfinite(FAMILY.from_points(square, target)))
    target -= [1.5, 0]  # and now left of the middle
    with pytest.raises(ValueError, match="its middle in front of the camera"):
        FAMILY.from_points(square, target)


def test_predicted_corners_straighten_images_inside_of_a_model(tmp_path):
    images, found = keras.Input((*SOURCE, 1)), keras.Input((4, 2))
    params = transforms.Projective.from_points(found)
    assert params.shape == (None, 8)
    model = keras.Model([images, found], keras_stn.Warp(FAMILY, OUTPUT)([images, params]))
    arrays = RANDOM.random((3, *SOURCE, 1), "float32"), np.float32(corners(3))
    want = ops.warp(arrays[0], FAMILY.from_points(arrays[1]), FAMILY, OUTPUT)
    # In a graph the roundings of the params may differ, and a point by 1e-6 of 57 pixels.
    assert largest(model(list(arrays)) - want) <= 2e-5
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded(list(arrays)), model(list(arrays)))


# --- Pixels ------------------------------------------------------------------------------------------

VIEWS = [  # corners of the source, and of the output that they come to, in pixels
    ([[5, 3], [50, 1], [46, 36], [9, 31]], [[0, 0], [47, 0], [47, 32], [0, 32]]),
    ([[5, 3], [50, 1], [46, 36], [9, 31]], [[-4, -3], [51, 2], [47, 32], [3, 38]]),
    ([[0, 0], [56, 0], [56, 39], [0, 39]], [[8, 9], [40, 2], [44, 30], [1, 25]]),
]
views = pytest.mark.parametrize("view", VIEWS)


@align_corners
@pytest.mark.parametrize("inverse_map", [False, True])
@views
def test_the_picture_is_that_of_warp_perspective(view, inverse_map, align_corners):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is an oracle only; CI installs it")
    image = RANDOM.random((*SOURCE, 2))
    matrix = cv2.getPerspectiveTransform(*map(np.float32, view[::-1] if inverse_map else view))
    arguments = SOURCE, OUTPUT, align_corners, inverse_map
    params = FAMILY.from_pixel_matrix(matrix, *arguments)
    warp = keras_stn.Warp(FAMILY, OUTPUT, align_corners=align_corners, dtype="float64")
    warped = warp([image[np.newaxis], params])[0].numpy()
    flags = cv2.INTER_LINEAR | (cv2.WARP_INVERSE_MAP if inverse_map else 0)
    theirs = cv2.warpPerspective(np.float32(image), matrix, OUTPUT[::-1], flags=flags)
    # OpenCV rounds coordinates to 1/32 of a pixel: off by 1/64 along each axis, in noise of [0, 1].
    assert largest(warped - theirs) <= 1 / 32

    # Its points are exact: the same picture, read at them by our oracle.
    onto = matrix if inverse_map else np.linalg.inv(matrix)
    pixels = np.stack(np.meshgrid(np.arange(48.0), np.arange(33.0)), axis=-1)
    points = cv2.perspectiveTransform(pixels, onto)
    grid = (2 * points + 1) / SOURCE[::-1] - 1
    exact = extended_sample(image[np.newaxis], grid[np.newaxis], "bilinear", "constant", 0.0, False)
    assert largest(warped - exact[0]) <= 1e-11


@align_corners
@pytest.mark.parametrize("target_to_source", [False, True])
def test_pixel_matrices_are_those_of_opencv_and_come_back(target_to_source, align_corners):
    arguments = SOURCE, OUTPUT, align_corners, target_to_source
    matrices = FAMILY.pixel_matrix(PARAMS, *arguments).numpy()
    assert matrices.shape == (5, 3, 3)
    assert np.all(matrices[:, 2, 2] == 1)
    for factor in (1, -3.5):  # a homography has no scale
        assert largest(FAMILY.from_pixel_matrix(factor * matrices, *arguments) - PARAMS) <= 1e-12
    assert np.array_equal(
        FAMILY.from_pixel_matrix(matrices[0], *arguments)[0],
        FAMILY.from_pixel_matrix(matrices, *arguments)[0],
    )
    affine = np.array([[1.1, 0.2, -0.1, 0.3, 0.9, 0.2]])
    want = transforms.Affine().pixel_matrix(affine, *arguments)
    have = FAMILY.pixel_matrix(np.concatenate([affine, [[0, 0]]], axis=1), *arguments)
    assert largest(have[:, :2] - want) <= 1e-12
