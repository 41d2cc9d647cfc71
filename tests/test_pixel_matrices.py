"""Affine matrices in pixels, as OpenCV makes them, become params and theta, and come back."""

import pathlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import that_have
from scipy import ndimage

import keras_stn
from golden import make_opencv
from keras_stn import transforms

SOURCE, OUTPUT = (20, 31), (17, 26)
GOLDEN = np.load(pathlib.Path(__file__).parent / "golden" / "opencv.npz")
turns = pytest.mark.parametrize("number", range(len(make_opencv.TURNS)))
align_corners = pytest.mark.parametrize("align_corners", [False, True])
target_to_source = pytest.mark.parametrize("target_to_source", [False, True])


def rotation_matrix(center, angle, scale):
    """The formula in the documentation of getRotationMatrix2D."""
    x, y = center
    alpha, beta = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    return np.array(
        [[alpha, beta, (1 - alpha) * x - beta * y], [-beta, alpha, beta * x + (1 - alpha) * y]]
    )


def homogeneous(matrix):
    return np.concatenate([matrix, np.broadcast_to([[0, 0, 1]], (*matrix.shape[:-2], 1, 3))], axis=-2)


def to_normalised(size, align_corners):
    """Pixels (x, y, 1) to normalised coordinates, by the two corner pixels of each axis."""
    rows = []
    for axis, length in enumerate(size[::-1]):
        first = -1.0 if align_corners else -1 + 1 / length
        row = np.zeros(3)
        row[axis], row[2] = -2 * first / (length - 1), first
        rows.append(row)
    return homogeneous(np.array(rows))


@turns
def test_the_formula_is_that_of_opencv(number):
    center, angle, scale, _ = make_opencv.TURNS[number]
    assert np.max(np.abs(rotation_matrix(center, angle, scale) - GOLDEN[f"matrix-{number}"])) <= 1e-14


@target_to_source
@align_corners
def test_theta_is_the_matrix_between_normalised_coordinates(align_corners, target_to_source):
    random = np.random.default_rng(1)
    matrices = np.concatenate(
        [random.uniform(-1.5, 1.5, (3, 2, 2)), random.uniform(-9, 9, (3, 2, 1))], -1
    )
    onto = homogeneous(matrices) if target_to_source else np.linalg.inv(homogeneous(matrices))
    source, target = to_normalised(SOURCE, align_corners), to_normalised(OUTPUT, align_corners)
    want = (source @ onto @ np.linalg.inv(target))[:, :2]
    affine = transforms.Affine()
    arguments = SOURCE, OUTPUT, align_corners, target_to_source
    params = affine.from_pixel_matrix(matrices, *arguments)
    # Numbers up to 20, in float64.
    assert np.max(np.abs(affine.theta(params) - want)) <= 1e-12
    assert np.max(np.abs(affine.pixel_matrix(params, *arguments) - matrices)) <= 1e-12
    for form in (homogeneous(matrices), tf.constant(matrices)):
        assert np.array_equal(affine.from_pixel_matrix(form, *arguments), params)
    assert np.array_equal(affine.from_pixel_matrix(matrices[1], *arguments), params[1:2])


@align_corners
@pytest.mark.parametrize("inverse_map", [False, True])
@turns
def test_the_picture_is_that_of_warp_affine(number, inverse_map, align_corners):
    *_, output_size = make_opencv.TURNS[number]
    matrix, image = GOLDEN[f"matrix-{number}"], make_opencv.IMAGE
    params = transforms.Affine().from_pixel_matrix(
        matrix, image.shape[:2], output_size, align_corners, target_to_source=inverse_map
    )
    warp = keras_stn.Warp("affine", output_size, align_corners=align_corners, dtype="float64")
    warped = warp([image[np.newaxis], params])[0]

    onto = homogeneous(matrix) if inverse_map else np.linalg.inv(homogeneous(matrix))
    of_rows = onto[1::-1, 1::-1], onto[1::-1, 2]  # (y, x) for SciPy
    exact = np.stack(
        [
            ndimage.affine_transform(plane, *of_rows, output_size, order=1, mode="grid-constant")
            for plane in image.astype("float64").transpose(2, 0, 1)
        ],
        axis=-1,
    )
    assert np.max(np.abs(warped - exact)) <= 1e-12
    # OpenCV computes in float32; 20 pixels have 1e-6 of rounding, and the picture slopes of 1.
    opencv = GOLDEN[f"{'inverse-map' if inverse_map else 'picture'}-{number}"]
    assert np.max(np.abs(warped - opencv)) <= 1e-5


@align_corners
@pytest.mark.parametrize("name", sorted({*that_have("pixel_matrix")} & {*that_have("from_theta")}))
def test_matrices_of_each_family_come_back_as_its_params(name, align_corners):
    height, width = (side - align_corners for side in SOURCE)
    turns = {"aspect_ratio": width / height} if name in ("rotation", "similarity") else {}
    family = transforms.FAMILIES[name](**turns)
    params = family.identity_params + np.random.default_rng(2).uniform(-0.3, 0.3, (3, family.num_params))
    matrices = family.pixel_matrix(params, SOURCE, align_corners=align_corners)
    again = family.from_pixel_matrix(matrices, SOURCE, align_corners=align_corners)
    assert np.max(np.abs(again - params)) <= 1e-12


def test_a_turn_in_pixels_is_a_similarity_of_the_aspect_ratio_of_the_images():
    height, width = SOURCE
    center = (width - 1) / 2, (height - 1) / 2
    similarity = transforms.Similarity(aspect_ratio=width / height)
    # OpenCV's 30 degrees turn the picture counter-clockwise, and so does an angle above zero.
    params = similarity.from_pixel_matrix(rotation_matrix(center, 30, 2), SOURCE)
    assert np.max(np.abs(params - [[0.5, np.pi / 6, 0, 0]])) <= 1e-12


def test_a_matrix_that_is_not_of_the_family_is_refused():
    shear = np.array([[1.0, 0.1, 0], [0, 1, 0]])
    turn = rotation_matrix((0, 0), 30, 1)
    for family, matrix, argument in (
        (transforms.Similarity(31 / 20), shear, "Similarity(ndim=2, aspect_ratio=1.55)"),
        (transforms.Similarity(), turn, "Similarity(ndim=2, aspect_ratio=1.0)"),
        (transforms.Rotation(31 / 20), turn, "Rotation(ndim=2, aspect_ratio=1.55)"),  # about the corner
        (transforms.Translation(), turn, "Translation(ndim=2)"),
        (transforms.Attention(), turn.astype("float32"), "Attention(ndim=2)"),
    ):
        with pytest.raises(
            ValueError, match=rf"^matrix must be a map of {re.escape(argument)}; .*Received: theta="
        ):
            family.from_pixel_matrix(matrix, SOURCE)


def test_what_is_no_affine_matrix_is_refused():
    affine = transforms.Affine()
    with pytest.raises(ValueError, match=r"^matrix must be affine, with a last row of \(0, 0, 1\)"):
        affine.from_pixel_matrix(np.array([[1.0, 0, 0], [0, 1, 0], [1e-3, 0, 1]]), SOURCE)
    for shape in ((3,), (2, 2), (3, 2), (1, 1, 2, 3), (6,)):
        with pytest.raises(
            ValueError, match=r"^matrix must have shape \(2, 3\) or \(3, 3\), or be a batch"
        ):
            affine.from_pixel_matrix(np.zeros(shape), SOURCE)
    with pytest.raises(ValueError, match=r"^source_size must be two positive integers"):
        affine.from_pixel_matrix(np.eye(3), 20)


@pytest.mark.parametrize("rows", [2, 3])
def test_a_model_takes_pixel_matrices(rows, tmp_path):
    images, matrices = keras.Input((*SOURCE, 3)), keras.Input((rows, 3))
    params = transforms.Affine().from_pixel_matrix(matrices, SOURCE, OUTPUT)
    assert params.shape == (None, 6)
    warped = keras_stn.Warp("affine", OUTPUT)([images, params])
    model = keras.Model([images, matrices], warped)
    center, angle, scale, _ = make_opencv.TURNS[1]
    matrix = homogeneous(rotation_matrix(center, angle, scale))[np.newaxis, :rows].astype("float32")
    image = make_opencv.IMAGE[np.newaxis]
    assert np.max(np.abs(model([image, matrix])[0] - GOLDEN["picture-1"])) <= 1e-5
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded([image, matrix]), model([image, matrix]))


@align_corners
@pytest.mark.parametrize("name", ["affine", "projective"])
def test_sizes_may_be_tensors_inside_of_graphs(name, align_corners):
    """As where pictures come in all sizes. Float64, whose roundings differ: 1e-12."""
    family = transforms.get(name)
    params = np.random.default_rng(8).normal(0, 0.1, (2, family.num_params)) + family.identity_params

    def there_and_back(source_size):
        matrix = family.pixel_matrix(params, source_size, OUTPUT, align_corners)
        return matrix, family.from_pixel_matrix(matrix, source_size, OUTPUT, align_corners)

    @tf.function(input_signature=[tf.TensorSpec((2,), tf.int32)])
    def of_tensors(size):
        return there_and_back(tuple(tf.unstack(size)))

    want, _ = there_and_back(SOURCE)
    matrix, back = of_tensors(SOURCE)
    np.testing.assert_allclose(matrix, want, rtol=0, atol=1e-12)
    np.testing.assert_allclose(back, params, rtol=0, atol=1e-12)
