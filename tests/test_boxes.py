"""Boxes and points go where the pixels go: the maps of boxes, and the crops that show them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.utils import bounding_boxes
from users_family import Bulge

import keras_stn
from keras_stn import Warp, transforms
from oracles import to_pixel

FORMATS = ["xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw"]
FORMATS += ["rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh"]
SOURCE, OUTPUT = (30, 40), (26, 22)  # height and width of the images, and of what is made of them


def wave():
    """Velocities of up to 2 pixels, that change by less than 0.3 from one pixel to the next."""
    y, x = np.indices(SOURCE)
    one = np.stack([2 * np.sin(y / 8), 1.5 * np.cos(x / 9)], axis=-1)
    return np.stack([one, -one])


# Params that turn, scale and shift by a little; of every family that has an inverse.
INVERTIBLE = {
    "translation": ("translation", [[0.2, -0.3], [-0.1, 0.15]]),
    "attention": ("attention", [[0.8, 0.1, -0.2], [1.2, -0.1, 0.2]]),
    "rotation": (transforms.Rotation(4 / 3), [[0.4], [-0.7]]),
    "similarity": (transforms.Similarity(4 / 3), [[0.9, 0.5, 0.1, -0.1], [1.2, -0.4, -0.1, 0.1]]),
    "affine": ("affine", [[0.9, 0.2, 0.1, -0.3, 1.1, -0.1], [1.1, -0.2, 0.0, 0.1, 0.8, 0.2]]),
    "diffeomorphic_affine": (
        "diffeomorphic_affine",
        [[-0.1, 0.2, 0.1, -0.3, 0.1, -0.1], [0.1, -0.2, 0.0, 0.1, -0.2, 0.1]],
    ),
    "projective": (
        "projective",
        [[0.9, 0.1, 0.1, -0.1, 1.1, -0.1, 0.1, 0.05], [1.0, -0.1, 0, 0.1, 0.9, 0.1, -0.05, 0.1]],
    ),
    "velocity": ("velocity", wave()),
    "bounded": (
        transforms.Bounded(transforms.Similarity(4 / 3), scale_range=(0.7, 1.1), max_rotation=0.6),
        [[-0.2, 0.5, 0.1, -0.1], [0.3, -0.4, -0.1, 0.1]],
    ),
}
invertible = pytest.mark.parametrize("name", INVERTIBLE)


def invertible_family(name):
    family, params = INVERTIBLE[name]
    return transforms.get(family), np.array(params)


def some_boxes(size, batch=2, count=5):
    """Boxes "xyxy", in float64, a few of them beyond the edges."""
    random = np.random.default_rng(0)
    corner = random.uniform(-2, np.flip(size) - 5, (batch, count, 2))
    return np.concatenate([corner, corner + random.uniform(2, 9, (batch, count, 2))], axis=-1)


def mapped_by_hand(matrix, x, y):
    """Points that count pixels from the outer edge, by a matrix that counts from the first centre."""
    column = np.stack([x - 0.5, y - 0.5, np.ones_like(x)])
    return matrix @ column + 0.5


def corners(box):
    left, top, right, bottom = box
    return np.array([left, right, right, left]), np.array([top, top, bottom, bottom])


def centroid_in_source(picture, family, params, source_size, align_corners):
    """x, y in the source, in pixels from the outer edge of the first one, of what a picture shows.

    There the blob is round: in the picture a bent map moves its centroid by more than a pixel's tenth.
    Each pixel counts as much as it covers of the source.
    """
    size = picture.shape
    grid = np.array(family.grid(params, size, align_corners, source_size), "float64")[0]
    x, y = (to_pixel(grid[..., axis], source_size[1 - axis], align_corners) + 0.5 for axis in range(2))
    (x_down, x_across), (y_down, y_across) = np.gradient(x), np.gradient(y)
    weight = picture * np.abs(x_across * y_down - x_down * y_across)
    return np.array([np.sum(x * weight), np.sum(y * weight)]) / np.sum(weight)


# --- Where boxes go --------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("bounding_box_format", FORMATS)
def test_a_box_is_the_hull_of_its_four_corners_mapped_by_hand(bounding_box_format, align_corners):
    family, params = invertible_family("affine")
    boxes = some_boxes(OUTPUT)
    matrices = family.pixel_matrix(params, SOURCE, OUTPUT, align_corners, target_to_source=True)
    want = np.zeros_like(boxes)
    for b, n in np.ndindex(*boxes.shape[:2]):
        mapped = mapped_by_hand(matrices[b].numpy(), *corners(boxes[b, n]))
        want[b, n] = [*mapped.min(axis=1), *mapped.max(axis=1)]

    def converted(boxes, source, target, size):  # in float64, which Keras' own default is not
        return bounding_boxes.convert_format(
            boxes, source=source, target=target, height=size[0], width=size[1], dtype="float64"
        )

    given = converted(boxes, "xyxy", bounding_box_format, OUTPUT)
    have = family.transform_boxes(
        params, given, bounding_box_format, SOURCE, OUTPUT, align_corners=align_corners
    )
    have = converted(have, bounding_box_format, "xyxy", SOURCE)
    assert np.max(np.abs(have - want)) <= 1e-12  # float64, of numbers up to 40
    # In float32 the last bit of 40 is 4e-6, and a handful of steps round.
    have = family.transform_boxes(
        params.astype("float32"), given, bounding_box_format, SOURCE, OUTPUT, align_corners
    )
    have = converted(have, bounding_box_format, "xyxy", SOURCE)
    assert np.max(np.abs(have - want)) <= 3e-5


def test_relative_boxes_need_no_size():
    family, params = invertible_family("affine")
    boxes = some_boxes(OUTPUT) / 20
    have = family.transform_boxes(params, boxes, "rel_xyxy")
    want = family.transform_boxes(params, boxes, "rel_xyxy", SOURCE, OUTPUT)
    assert np.max(np.abs(have - want)) <= 1e-14
    with pytest.raises(ValueError, match="^source_size must be given for boxes that count pixels"):
        family.transform_boxes(params, boxes, "xyxy")
    with pytest.raises(ValueError, match="and with align_corners=True"):
        family.transform_boxes(params, boxes, "rel_xyxy", align_corners=True)


def test_boxes_that_fill_a_batch_stay_as_they_are():
    family, params = invertible_family("affine")
    boxes = some_boxes(OUTPUT)
    boxes[0, 3:] = boxes[1, 1:] = -1
    for bounding_box_format in FORMATS:
        have = family.transform_boxes(params, boxes, bounding_box_format, SOURCE, OUTPUT).numpy()
        filled = np.all(have == -1, axis=-1)
        np.testing.assert_array_equal(filled, np.all(boxes == -1, axis=-1))


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_hull_of_a_bent_box_is_right_to_a_thousandth_of_its_bend(align_corners):
    """Against 4000 points an edge, and a bulge by 40 %, which bends the longest edge by 3 pixels."""
    family, params = Bulge(), np.array([[0.4], [-0.3]])
    boxes = some_boxes(OUTPUT)
    along = np.linspace(0, 1, 4000)
    square = np.concatenate(
        [[along, 0 * along], [along, 0 * along + 1], [0 * along, along], [0 * along + 1, along]], axis=1
    )
    want = np.zeros_like(boxes)
    for b, n in np.ndindex(*boxes.shape[:2]):
        left, top, right, bottom = boxes[b, n]
        edges = left + (right - left) * square[0], top + (bottom - top) * square[1]
        # The convention in the words of the oracle, solved for the normalised coordinate.
        x, y = (
            (edge - 0.5 - to_pixel(0, size, align_corners))
            / (to_pixel(1, size, align_corners) - to_pixel(0, size, align_corners))
            for edge, size in zip(edges, OUTPUT[::-1], strict=True)
        )
        scale = 1 + params[b, 0] * (x * x + y * y)
        x, y = (
            to_pixel(axis * scale, size, align_corners) + 0.5
            for axis, size in zip((x, y), SOURCE[::-1], strict=True)
        )
        want[b, n] = [x.min(), y.min(), x.max(), y.max()]
    have = family.transform_boxes(params, boxes, "xyxy", SOURCE, OUTPUT, align_corners)
    assert np.max(np.abs(have - want)) <= 3e-3


@invertible
@pytest.mark.parametrize("align_corners", [False, True])
def test_points_lie_where_the_pixels_went(name, align_corners):
    """To 0.02 pixels: a blob is seen where the map says, and the inverse puts its middle there.

    Bilinear reading moves the centroid of a blob of 2 pixels by 0.008 at most here, and a wider one is
    cut off at the edges.
    """
    family, params = invertible_family(name)
    rows, columns = np.indices(SOURCE) + 0.5
    middle = np.array([23.3, 13.6])
    blob = np.exp(-((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2) / (2 * 2.0**2))
    images = np.repeat(blob[np.newaxis, ..., np.newaxis], 2, axis=0)
    warped = Warp(family, (52, 44), align_corners=align_corners, dtype="float64")([images, params])
    inner, inverse = family.inverted(params, SOURCE, (52, 44), align_corners)
    point = np.array([[[*middle, *middle]]])  # a box of no size is a point
    where = inner.transform_boxes(inverse, point, "xyxy", (52, 44), SOURCE, align_corners)
    assert np.max(np.abs(where[..., :2] - where[..., 2:])) <= 1e-12
    back = family.transform_boxes(params, where, "xyxy", SOURCE, (52, 44), align_corners)
    assert np.max(np.abs(back - point)) <= 0.02
    for picture, own in zip(warped.numpy()[..., 0], params, strict=True):
        shown = centroid_in_source(picture, family, own[None], SOURCE, align_corners)
        assert np.max(np.abs(shown - middle)) <= 0.02


@invertible
def test_a_box_of_a_mask_lies_where_the_inverse_maps_the_box(name):
    """To one pixel: that is what a mask of whole pixels knows."""
    family, params = invertible_family(name)
    boxes = np.array([[[12, 9, 22, 16]], [[15, 11, 29, 18]]])
    masks = np.zeros((2, *SOURCE, 1), "int32")
    for mask, (left, top, right, bottom) in zip(masks, boxes[:, 0], strict=True):
        mask[top:bottom, left:right] = 1
    size = 90, 120
    warped = Warp(family, size, interpolation="nearest")([masks, params.astype("float32")])
    inner, inverse = family.inverted(params.astype("float32"), SOURCE, size)
    have = inner.transform_boxes(inverse, boxes, "xyxy", size, SOURCE)
    for mask, box in zip(warped.numpy()[..., 0], have[:, 0], strict=True):
        rows, columns = np.nonzero(mask)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.max(np.abs(box - edges)) <= 1


# --- Rotated boxes ---------------------------------------------------------------------------------


def rotated_boxes(count=5):
    random = np.random.default_rng(1)
    middle, sides = random.uniform(5, 20, (2, count, 2)), random.uniform(2, 8, (2, count, 2))
    return np.concatenate([middle, sides, random.uniform(-3, 3, (2, count, 1))], axis=-1)


def corners_of_rotated(box):
    x, y, width, height, angle = box
    along = np.array([-1, 1, 1, -1]) * width / 2
    down = np.array([-1, -1, 1, 1]) * height / 2
    cos, sin = np.cos(angle), np.sin(angle)
    return x + along * cos - down * sin, y + along * sin + down * cos


@pytest.mark.parametrize("align_corners", [False, True])
def test_rotated_boxes_are_exact_under_similarities(align_corners):
    """Of pixels: the aspect ratio makes the turn rigid, and source and output are of one size."""
    height, width = (size - align_corners for size in SOURCE)
    family = transforms.Similarity(width / height)
    params, boxes = np.array([[0.8, 0.5, 0.1, -0.2], [1.3, -2.0, 0.0, 0.3]]), rotated_boxes()
    have = family.transform_rotated_boxes(params, boxes, SOURCE, align_corners=align_corners).numpy()
    matrices = family.pixel_matrix(params, SOURCE, None, align_corners, target_to_source=True).numpy()
    for b, n in np.ndindex(2, 5):
        want = mapped_by_hand(matrices[b], *corners_of_rotated(boxes[b, n]))
        assert np.max(np.abs(np.array(corners_of_rotated(have[b, n])) - want)) <= 1e-12
        sides = boxes[b, n, 2:4] * params[b, 0]
        assert np.max(np.abs(have[b, n, 2:4] - sides)) <= 1e-12
    back = family.transform_rotated_boxes(
        family.inverse(params), have, SOURCE, align_corners=align_corners
    )
    assert np.max(np.abs(back - boxes)) <= 1e-12


def test_the_angle_is_that_of_opencv():
    """From x to y, which points downwards: clockwise as one sees it."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV's corners of a rotated box are the oracle")
    box = rotated_boxes()[0, 0]
    want = cv2.boxPoints(((box[0], box[1]), (box[2], box[3]), np.degrees(box[4])))
    have = np.transpose(corners_of_rotated(box))
    # The same corners, beginning with another.
    order = np.argmin(np.abs(have[:, None] - want).sum(axis=-1), axis=1)
    assert sorted(order) == [0, 1, 2, 3]
    assert np.max(np.abs(have - want[order])) <= 1e-4  # OpenCV's are float32
    picture = np.zeros((1, *SOURCE, 1), "float32")
    cv2.fillPoly(picture[0, :, :, 0], [np.round(have).astype("int32")], 1.0)
    params = transforms.Affine().from_rotated_boxes(box[None], SOURCE)
    crop = keras_stn.ops.warp(picture, params, output_size=(8, 8))
    assert np.mean(crop) > 0.9


def test_a_sheared_box_is_within_its_rotated_box_and_touches_every_side():
    family, params = invertible_family("affine")
    boxes = rotated_boxes()
    have = family.transform_rotated_boxes(params, boxes, SOURCE, OUTPUT).numpy()
    matrices = family.pixel_matrix(params, SOURCE, OUTPUT, target_to_source=True).numpy()
    for b, n in np.ndindex(2, 5):
        outline = mapped_by_hand(matrices[b], *corners_of_rotated(boxes[b, n]))
        x, y, width, height, angle = have[b, n]
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        along, down = turn @ (outline - [[x], [y]])
        np.testing.assert_allclose([along.min(), along.max()], [-width / 2, width / 2], atol=1e-12)
        np.testing.assert_allclose([down.min(), down.max()], [-height / 2, height / 2], atol=1e-12)
        axis = matrices[b, :, :2] @ [np.cos(boxes[b, n, 4]), np.sin(boxes[b, n, 4])]
        np.testing.assert_allclose(np.arctan2(axis[1], axis[0]), angle, atol=1e-12)


def test_rotated_boxes_that_fill_a_batch_stay_as_they_are():
    family, params = invertible_family("similarity")
    boxes = rotated_boxes()
    boxes[1, 2:] = -1
    have = family.transform_rotated_boxes(params, boxes, SOURCE, OUTPUT).numpy()
    np.testing.assert_array_equal(have[1, 2:], boxes[1, 2:])
    assert np.all(have[0] != -1)


# --- Crops -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_crop_of_whole_pixels_is_the_slice(align_corners):
    images = np.random.default_rng(2).random((2, *SOURCE, 3), "float32")
    size = 11, 17
    boxes = np.array([[5, 3, 5 + 17, 3 + 11], [23, 19, 23 + 17, 19 + 11]])
    params = transforms.Affine().from_boxes(boxes, "xyxy", SOURCE, size, align_corners)
    crops = keras_stn.ops.warp(images, params, output_size=size, align_corners=align_corners)
    for image, (left, top, right, bottom), crop in zip(images, boxes, crops, strict=True):
        # A coordinate up to 40 is off by a few of its last bits, 4e-6, in float32.
        assert np.max(np.abs(crop - image[top:bottom, left:right])) <= 2e-5


@pytest.mark.parametrize("bounding_box_format", FORMATS)
def test_a_crop_shows_its_box_from_edge_to_edge_in_every_format(bounding_box_format):
    boxes = some_boxes(SOURCE)
    given = bounding_boxes.convert_format(
        boxes, source="xyxy", target=bounding_box_format, height=30, width=40, dtype="float64"
    )
    family = transforms.Affine()
    params = family.from_boxes(given, bounding_box_format, SOURCE, OUTPUT)
    assert params.shape == (2, 5, 6)
    whole = np.array([[[0, 0, *OUTPUT[::-1]]]] * 10, "float64")
    have = family.transform_boxes(tf.reshape(params, (-1, 6)), whole, "xyxy", SOURCE, OUTPUT)
    assert np.max(np.abs(have - boxes.reshape(10, 1, 4))) <= 1e-12


@pytest.mark.parametrize("align_corners", [False, True])
def test_a_rotated_crop_shows_its_box_upright(align_corners):
    boxes = rotated_boxes()
    family = transforms.Affine()
    params = family.from_rotated_boxes(boxes, SOURCE, OUTPUT, align_corners)
    assert params.shape == (2, 5, 6)
    height, width = OUTPUT
    whole = np.array([[[width / 2, height / 2, width, height, 0]]] * 10)
    have = family.transform_rotated_boxes(
        tf.reshape(params, (-1, 6)), whole, SOURCE, OUTPUT, align_corners
    )
    assert np.max(np.abs(have - boxes.reshape(10, 1, 5))) <= 1e-12


@pytest.mark.parametrize("align_corners", [False, True])
def test_attention_and_similarity_show_all_of_a_box_and_least_beside_it(align_corners):
    boxes = some_boxes(SOURCE)[:, 0]
    height, width = OUTPUT
    whole = np.array([[[0, 0, width, height]]] * 2)
    for family in (transforms.Attention(), transforms.Similarity(40 / 30)):
        params = family.from_boxes(boxes, "xyxy", SOURCE, OUTPUT, align_corners)
        shown = family.transform_boxes(params, whole, "xyxy", SOURCE, OUTPUT, align_corners)
        shown = shown.numpy()[:, 0]
        beside = np.concatenate([boxes[:, :2] - shown[:, :2], shown[:, 2:] - boxes[:, 2:]], axis=1)
        assert np.min(beside) >= -1e-6  # cosine and sine of no turn are 1e-7 of a side off
        tight = np.max(np.abs(beside.reshape(2, 2, 2)), axis=1)  # of both ends, along x and y
        assert np.max(np.min(tight, axis=1)) <= 1e-6
        assert np.max(np.abs(beside[:, :2] - beside[:, 2:])) <= 1e-6  # the box is in the middle


def test_similarity_shows_all_of_a_rotated_box():
    boxes, family = rotated_boxes()[0], transforms.Similarity(40 / 30)
    params = family.from_rotated_boxes(boxes, SOURCE)
    back = family.inverse(params)
    shown = family.transform_rotated_boxes(back, boxes[:, None], SOURCE).numpy()[:, 0]
    np.testing.assert_allclose(shown[:, :2], [[20, 15]] * 5, atol=1e-5)
    np.testing.assert_allclose(shown[:, 4], 0, atol=1e-6)
    np.testing.assert_allclose(np.max(shown[:, 2:4] / [40, 30], axis=1), 1, atol=1e-6)


def test_translation_shows_the_middle_of_a_box():
    params = transforms.Translation().from_boxes(np.array([[10.0, 4, 14, 24]]), "xyxy", SOURCE)
    np.testing.assert_allclose(params, [[12 / 20 - 1, 14 / 15 - 1]], atol=1e-7)


def test_a_bounded_family_shows_what_its_ranges_hold():
    family = transforms.Bounded("attention", scale_range=(0.4, 2.0))
    boxes = np.array([[[10.0, 0, 30, 15], [0, 0, 4, 3]]])
    params = family.from_boxes(boxes, "xyxy", SOURCE)
    assert params.shape == (1, 2, 3)
    have = family.constrain(tf.reshape(params, (2, 3)))
    np.testing.assert_allclose(have, [[0.5, 0, -0.5], [0.4, -0.9, -0.9]], atol=1e-7)


def test_what_a_family_cannot_show_is_said():
    boxes = np.array([[20.0, 15, 8, 4, 0.3]])
    for family in (transforms.Rotation(), transforms.Attention(), transforms.Similarity(1.0)):
        with pytest.raises(ValueError, match=r"^boxes must be what .*\.Affine shows any"):
            family.from_rotated_boxes(boxes + [[1, 0, 0, 0, 0]], SOURCE)
    with pytest.raises(NotImplementedError, match="^Bulge does not define from_boxes; .*Affine shows"):
        Bulge().from_boxes(boxes[:, :4], "xyxy", SOURCE)
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        Bulge().inverse(np.zeros((1, 1)))


# --- Tensors, models and arguments -----------------------------------------------------------------


def test_one_map_moves_the_boxes_of_many_images_and_many_maps_one_list():
    family, params = invertible_family("affine")
    boxes = some_boxes(OUTPUT)
    each = family.transform_boxes(params, boxes[:1], "xyxy", SOURCE, OUTPUT)
    want = family.transform_boxes(params, boxes[[0, 0]], "xyxy", SOURCE, OUTPUT)
    np.testing.assert_array_equal(each, want)
    one = family.transform_boxes(params[:1], boxes, "xyxy", SOURCE, OUTPUT)
    want = family.transform_boxes(params[[0, 0]], boxes, "xyxy", SOURCE, OUTPUT)
    np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_moves_boxes_in_float32(dtype):
    params = tf.cast([[1, 0.25, 0.125, -0.5, 0.75, 0]], dtype)  # all of them exact
    boxes = np.array([[[401, 303, 517, 409]]])  # whole numbers, which half precision lacks
    family = transforms.Affine()
    have = family.transform_boxes(params, boxes, "xyxy", (600, 800))
    want = family.transform_boxes(tf.cast(params, "float32"), boxes, "xyxy", (600, 800))
    assert have.dtype == "float32"
    np.testing.assert_array_equal(have, want)
    crops = family.from_boxes(tf.constant(boxes), "xyxy", (600, 800))
    assert crops.dtype == "float32"


def test_a_model_holds_boxes_and_is_saved(tmp_path):
    family, params = invertible_family("similarity")
    maps, symbols, rotated = keras.Input((4,)), keras.Input((None, 4)), keras.Input((None, 5))
    model = keras.Model(
        [maps, symbols, rotated],
        [
            family.transform_boxes(family.inverse(maps), symbols, "xywh", OUTPUT, SOURCE),
            family.transform_rotated_boxes(maps, rotated, SOURCE, OUTPUT),
            family.from_boxes(symbols, "xywh", SOURCE),
            transforms.Affine().from_rotated_boxes(rotated, SOURCE),
        ],
    )
    assert [output.shape for output in model.outputs] == [
        (None, None, 4),
        (None, None, 5),
        (None, None, 4),
        (None, None, 6),
    ]
    model.save(tmp_path / "m.keras")
    params, boxes, rotated = (
        array.astype("float32") for array in (params, some_boxes(SOURCE), rotated_boxes())
    )
    want = [
        family.transform_boxes(family.inverse(params), boxes, "xywh", OUTPUT, SOURCE),
        family.transform_rotated_boxes(params, rotated, SOURCE, OUTPUT),
        family.from_boxes(boxes, "xywh", SOURCE),
        transforms.Affine().from_rotated_boxes(rotated, SOURCE),
    ]
    for each in (model, keras.models.load_model(tmp_path / "m.keras")):
        for have, expected in zip(each([params, boxes, rotated]), want, strict=True):
            np.testing.assert_array_equal(have, expected)


@pytest.mark.slow
def test_a_model_that_moves_boxes_is_exported(tmp_path):
    """Each exporter compares the file with the model, and raises where they differ."""
    family, params = invertible_family("similarity")
    maps, symbols, rotated = keras.Input((4,)), keras.Input((5, 4)), keras.Input((5, 5))
    bounded = transforms.Bounded("affine", max_translation=0.5)
    model = keras.Model(
        [maps, symbols, rotated],
        [
            family.transform_boxes(family.inverse(maps), symbols, "rel_xywh", OUTPUT, SOURCE),
            family.transform_rotated_boxes(maps, rotated, SOURCE, OUTPUT),
            bounded.from_boxes(symbols, "rel_xywh"),
            transforms.Affine().from_rotated_boxes(rotated, SOURCE),
        ],
    )
    samples = [params, some_boxes(SOURCE) / 40, rotated_boxes()]
    samples = [array.astype("float32") for array in samples]
    keras_stn.export_saved_model(model, tmp_path / "m", samples=samples)
    keras_stn.export_tflite(model, tmp_path / "m.tflite", samples=samples)
    keras_stn.export_onnx(model, tmp_path / "m.onnx", samples=samples)


def test_boxes_have_gradients_to_their_params():
    family, params = invertible_family("similarity")
    boxes, params = some_boxes(OUTPUT), tf.constant(params)

    def loss(params):
        return tf.reduce_sum(family.transform_boxes(params, boxes, "xyxy", SOURCE, OUTPUT) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(params)
        value = loss(params)
    gradient = tape.gradient(value, params).numpy()
    step = 1e-6
    for index in np.ndindex(*params.shape):
        change = np.zeros(params.shape)
        change[index] = step
        want = (loss(params + change) - loss(params - change)) / (2 * step)
        np.testing.assert_allclose(gradient[index], want, rtol=1e-6)  # step^2, and 1e-16 / step


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: f.transform_boxes(np.ones((1, 6)), np.ones((1, 2, 4)), "xyhw", SOURCE),
            r"^bounding_box_format must be one of .*Received: bounding_box_format='xyhw'. Did you mean",
        ),
        (
            lambda f: f.transform_boxes(np.ones((1, 6)), np.ones((1, 4)), "xyxy", SOURCE),
            r"^boxes must have shape \(batch, n, 4\)\. Received: boxes.shape=\(1, 4\)",
        ),
        (
            lambda f: f.transform_boxes(np.ones((1, 6)), np.ones((1, 2, 5)), "xyxy", SOURCE),
            r"^boxes must have shape \(batch, n, 4\)\. Received: boxes.shape=\(1, 2, 5\)",
        ),
        (
            lambda f: f.transform_rotated_boxes(np.ones((1, 6)), np.ones((1, 2, 4)), SOURCE),
            r"^boxes must have shape \(batch, n, 5\)\. Received: boxes.shape=\(1, 2, 4\)",
        ),
        (
            lambda f: f.from_boxes(np.ones((4,)), "xyxy", SOURCE),
            r"^boxes must have shape \(batch, 4\) or \(batch, n, 4\)\. Received: boxes.shape=\(4,\)",
        ),
        (
            lambda f: f.transform_boxes(np.ones((3, 6)), np.ones((2, 1, 4)), "xyxy", SOURCE),
            r"^boxes must have shape \(batch of params, n, 4 or 5\)",
        ),
        (
            lambda f: f.from_boxes(np.ones((1, 4)), "xyxy", (30, 40, 3)),
            r"^source_size must be two positive integers",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(transforms.Affine())


@pytest.mark.parametrize("family", [transforms.Displacement(), transforms.Velocity()], ids=repr)
def test_relative_boxes_need_a_size_where_params_count_pixels(family):
    """Else params of 3 pixels would be 3 pictures."""
    params, boxes = np.full((1, 4, 5, 2), 3.0), np.array([[[0.1, 0.2, 0.5, 0.6]]])
    with pytest.raises(ValueError, match="source_size must be the size of the images"):
        family.transform_boxes(params, boxes, "rel_xyxy")
    moved = family.transform_boxes(params, boxes, "rel_xyxy", (20, 30))
    np.testing.assert_allclose(moved, boxes + [3 / 30, 3 / 20] * 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["affine", "thin_plate_spline"])
@pytest.mark.parametrize("maps", [1, 2])
def test_no_boxes_at_all_stay_none(name, maps):
    """As in pictures in which a detector finds nothing: one map for all, or one for each."""
    family = transforms.get(name)
    params = np.tile(np.array(family.identity_params), (maps, 1))
    assert family.transform_boxes(params, np.zeros((2, 0, 4)), "xyxy", (9, 8)).shape == (2, 0, 4)
    assert family.transform_rotated_boxes(params, np.zeros((2, 0, 5)), (9, 8)).shape == (2, 0, 5)
