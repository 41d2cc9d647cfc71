"""LensDistortion: the picture that OpenCV's undistort shows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import transforms
from keras_stn.transforms import LensDistortion
from oracles import extended_sample

SIZE = 48, 66
CAMERA = np.array([[61.0, 0, 30], [0, 57, 25.5], [0, 0, 1]])
COEFFICIENTS = np.array(
    [
        [-0.31, 0.12, 0.004, -0.003, -0.02],  # barrel
        [0.22, -0.05, -0.006, 0.008, 0.03],  # pincushion
        [-0.1, 0.0, 0.02, 0.01, 0.0],  # mostly decentred
    ]
)
align_corners = pytest.mark.parametrize("align_corners", [False, True])


def distorted(pixels, coefficients, camera=CAMERA):
    """The formulas of OpenCV's documentation, one pixel after the other."""
    k1, k2, p1, p2, k3 = coefficients
    out = np.zeros(pixels.shape)
    for index in np.ndindex(*pixels.shape[:-1]):
        x = (pixels[index][0] - camera[0, 2]) / camera[0, 0]
        y = (pixels[index][1] - camera[1, 2]) / camera[1, 1]
        r2 = x**2 + y**2
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        bent_y = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        out[index] = camera[0, 0] * bent_x + camera[0, 2], camera[1, 1] * bent_y + camera[1, 2]
    return out


def pixels_of(size):
    return np.stack(np.meshgrid(np.arange(float(size[1])), np.arange(float(size[0]))), axis=-1)


def source_pixels(family, coefficients, align_corners=False, dtype="float64"):
    points = family.points(tf.constant(coefficients, dtype), SIZE, SIZE, align_corners)
    return np.stack([np.broadcast_to(axis, points.shape) for axis in points.axes], axis=-1)


def largest(difference):
    return np.max(np.abs(difference))


@align_corners
def test_points_are_those_of_the_formulas(align_corners):
    family = LensDistortion.from_camera_matrix(CAMERA, SIZE, align_corners)
    want = np.stack([distorted(pixels_of(SIZE), each) for each in COEFFICIENTS])
    assert largest(want - pixels_of(SIZE)) > 1
    # Pixels up to 64: half a rounding of float64, and of float32, is 4e-15 and 4e-6.
    assert largest(source_pixels(family, COEFFICIENTS, align_corners) - want) <= 1e-13
    assert largest(source_pixels(family, COEFFICIENTS, align_corners, "float32") - want) <= 1.5e-5


@pytest.mark.parametrize("number", range(len(COEFFICIENTS)))
def test_points_are_the_map_of_opencv(number):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is an oracle only; CI installs it")
    camera, size = np.array([[300.0, 0, 150], [0, 310, 118], [0, 0, 1]]), (240, 321)
    family = LensDistortion.from_camera_matrix(camera, size)
    theirs = cv2.initUndistortRectifyMap(
        camera, COEFFICIENTS[number], None, camera, size[::-1], cv2.CV_32FC1
    )
    for dtype in "float32", "float64":
        points = family.points(tf.constant(COEFFICIENTS[[number]], dtype), size, size)
        for axis, have in zip(theirs, points.axes, strict=True):
            # Its maps are float32: 1.5e-5 at 320 pixels; ours take a few such roundings.
            assert largest(have[0] - axis) <= 1e-4


@align_corners
@pytest.mark.parametrize("number", range(len(COEFFICIENTS)))
def test_the_picture_is_that_of_undistort(number, align_corners):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is an oracle only; CI installs it")
    image = np.random.default_rng(number).random((*SIZE, 2))
    family = LensDistortion.from_camera_matrix(CAMERA, SIZE, align_corners)
    warp = keras_stn.Warp(family, align_corners=align_corners, dtype="float64")
    warped = warp([image[np.newaxis], COEFFICIENTS[[number]]])[0].numpy()
    theirs = cv2.undistort(np.float32(image), CAMERA, COEFFICIENTS[number])
    # OpenCV rounds coordinates to 1/32 of a pixel: off by 1/64 along each axis, in noise of [0, 1].
    assert largest(warped - theirs) <= 1 / 32

    points = distorted(pixels_of(SIZE), COEFFICIENTS[number])
    grid = (2 * points + 1) / SIZE[::-1] - 1
    exact = extended_sample(image[np.newaxis], grid[np.newaxis], "bilinear", "constant", 0.0, False)
    assert largest(warped - exact[0]) <= 1e-12


@align_corners
def test_coefficients_of_zero_are_the_identity_exactly(align_corners):
    images = np.random.default_rng(3).random((2, 41, 55, 2), "float32")
    family = LensDistortion(0.7, 1.3, 0.31, -0.17)
    warp = keras_stn.Warp(family, align_corners=align_corners)
    assert np.array_equal(warp([images, np.zeros((2, 5), "float32")]), images)


def test_the_same_coefficients_hold_at_another_size_of_the_picture():
    family = LensDistortion.from_camera_matrix(CAMERA, SIZE)
    half = CAMERA * [[0.5], [0.5], [1]]
    half[:2, 2] -= 0.25  # the centre of a pixel is that of 2x2 pixels
    smaller = LensDistortion.from_camera_matrix(half, (24, 33)).get_config()
    assert smaller == pytest.approx(family.get_config(), abs=1e-15)


def test_a_lens_is_learned_from_a_straight_picture():
    x, y = np.meshgrid(np.linspace(-1, 1, 61), np.linspace(-1, 1, 47))
    picture = (np.sin(5 * x + y) * np.cos(4 * y))[np.newaxis, ..., np.newaxis]
    truth = np.array([[-0.21, 0.05, 0.02, -0.03, 0.0]])
    family = LensDistortion()
    warp = keras_stn.Warp(family, fill_mode="nearest", dtype="float64")
    straight = warp([picture, truth])
    params, optimizer = tf.Variable(np.zeros((1, 5))), keras.optimizers.Adam(0.01)
    for _ in range(100):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((warp([picture, params]) - straight) ** 2)
        optimizer.apply([tape.gradient(loss, params)], [params])
    # k1, k2 and k3 make up for each other, most of all at the edges: so inner points are compared.
    points = [family.grid(each, (47, 61))[:, 8:-8, 8:-8] for each in (0 * truth, params, truth)]
    before, after = (largest((each - points[-1]) * [61 / 2, 47 / 2]) for each in points[:2])
    assert before > 2
    assert after < 0.2


def test_what_is_no_camera_is_refused():
    skewed = CAMERA.copy()
    skewed[0, 1] = 0.5
    for matrix in (skewed, np.eye(2), CAMERA[:2], 2 * CAMERA):
        with pytest.raises(ValueError, match=r"^matrix must be a camera matrix .*Received: matrix="):
            LensDistortion.from_camera_matrix(matrix, SIZE)
    with pytest.raises(ValueError, match=r"^fx must be a positive number\. Received: fx=0"):
        LensDistortion(fx=0)
    with pytest.raises(ValueError, match=r"^cy must be a finite number\. Received: cy=nan"):
        LensDistortion(cy=np.nan)


def test_it_says_what_there_is_instead_of_an_inverse():
    for call in (lambda p: LensDistortion().inverse(p), lambda p: LensDistortion().compose(p, p)):
        with pytest.raises(
            NotImplementedError, match="^LensDistortion does not define .*transform_points"
        ):
            call(COEFFICIENTS)


def test_a_lens_is_saved_with_its_camera(tmp_path):
    family = LensDistortion.from_camera_matrix(CAMERA, SIZE)
    restored = transforms.get(keras.saving.serialize_keras_object(family))
    assert restored == family
    assert restored.get_config() == {"fx": 122 / 66, "fy": 114 / 48, "cx": -5 / 66, "cy": 4 / 48}
