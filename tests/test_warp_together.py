"""Images, boxes, points and label maps that move together, and crops that are put back."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.utils import bounding_boxes
from test_boxes import INVERTIBLE, centroid_in_source, invertible_family
from users_family import Bulge

import keras_stn
from keras_stn import Warp, ops, transforms

SIZE, OUTPUT = (30, 40), (52, 44)


def smooth_pictures(batch=2):
    y, x = (axis / 10 for axis in np.indices(SIZE))
    waves = [np.sin(x + 0.3 * number) * np.cos(0.7 * y) + 0.2 * x for number in range(batch)]
    return np.stack(waves)[..., np.newaxis].astype("float32")


def example(batch=2):
    """A dictionary as Keras' own layers take it, with a blob for each point."""
    random = np.random.default_rng(0)
    points = random.uniform([18, 14], [22, 17], (batch, 1, 2)).astype("float32")
    rows, columns = np.indices(SIZE) + 0.5
    distance = [(columns - x) ** 2 + (rows - y) ** 2 for x, y in points[:, 0]]
    boxes = np.array([[[12, 9, 22, 16], [30, 2, 38, 9]], [[15, 11, 29, 18], [-1, -1, -1, -1]]])
    masks = np.zeros((batch, *SIZE, 1), "int32")
    for mask, (left, top, right, bottom) in zip(masks, boxes[:, 0], strict=True):
        mask[top:bottom, left:right] = 7
    return {
        "images": np.exp(-np.array(distance) / 8)[..., np.newaxis].astype("float32"),
        "bounding_boxes": {
            "boxes": boxes.astype("float32"),
            "labels": np.array([[3, 5], [4, -1]], "int64"),
        },
        "segmentation_masks": masks,
        "points": points,
        "labels": np.array([1, 2], "int64"),
    }


def assert_same(have, want):
    tf.nest.map_structure(np.testing.assert_array_equal, have, want)


# --- Together --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", INVERTIBLE)
def test_all_of_a_dictionary_goes_where_the_pixels_go(name, align_corners, inverse):
    """Points to 0.02 pixels, what bilinear reading moves a centroid by; boxes to the pixels of masks."""
    family, params = invertible_family(name)
    warp = Warp(
        family,
        OUTPUT,
        align_corners=align_corners,
        inverse=inverse,
        bounding_box_format="xyxy",
    )
    data = example()
    moved = warp(data, params.astype("float32"))
    assert list(moved) == list(data)
    np.testing.assert_array_equal(moved["images"], warp(data["images"], params.astype("float32")))
    np.testing.assert_array_equal(moved["labels"], data["labels"])
    read, maps = family, params
    if inverse:
        read, maps = family.inverted(params, OUTPUT, SIZE, align_corners)
    boxes = np.concatenate([moved["points"]] * 2, axis=-1)
    back = read.transform_boxes(maps, boxes, "xyxy", SIZE, OUTPUT, align_corners)
    assert np.max(np.abs(back[..., :2] - data["points"])) <= 0.02
    masks = moved["segmentation_masks"].numpy()
    assert masks.dtype == "int32"
    assert set(np.unique(masks)) == {0, 7}
    for b in range(2):
        blob = moved["images"][b, ..., 0].numpy()
        shown = centroid_in_source(blob, read, maps[b : b + 1], SIZE, align_corners)
        assert np.max(np.abs(shown - data["points"][b, 0])) <= 0.02
        rows, columns = np.nonzero(masks[b, ..., 0])
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # A pixel of the mask is up to 2.2 of the output's, which see its corner or do not.
        assert np.max(np.abs(moved["bounding_boxes"]["boxes"][b, 0] - edges)) <= 1.5
    np.testing.assert_array_equal(moved["bounding_boxes"]["boxes"][1, 1], [-1] * 4)
    assert moved["bounding_boxes"]["labels"].dtype == "int64"


def test_boxes_are_cut_to_the_output_and_lose_their_label_as_in_keras():
    family, params = transforms.Translation(), np.array([[0.5, 0.0], [-0.8, 0.6]], "float32")
    data = example()
    moved = Warp(family, bounding_box_format="xyxy")(data, params)["bounding_boxes"]
    inverse = family.inverse(params)
    boxes = family.transform_boxes(inverse, data["bounding_boxes"]["boxes"], "xyxy", SIZE)
    want = bounding_boxes.clip_to_image_size(
        {"boxes": boxes, "labels": tf.constant(data["bounding_boxes"]["labels"])}, *SIZE
    )
    np.testing.assert_array_equal(moved["labels"], want["labels"])
    np.testing.assert_allclose(moved["boxes"][0], want["boxes"][0], atol=1e-5)  # in float32, of 40
    assert moved["labels"].numpy().tolist() == [[3, 5], [4, -1]]
    gone = Warp(family, bounding_box_format="xyxy")(data, params + [[0.6, 0], [0, 0]])
    assert gone["bounding_boxes"]["labels"].numpy().tolist() == [[-1, 5], [4, -1]]


@pytest.mark.parametrize("bounding_box_format", ["xywh", "rel_yxyx", "center_yxhw"])
def test_boxes_keep_their_format(bounding_box_format):
    family, params = invertible_family("similarity")
    params, data = params.astype("float32"), example()
    data["bounding_boxes"]["boxes"][1, 1] = [1, 2, 4, 5]  # which is no padding

    def converted(boxes, source, target, size):
        height, width = size
        return bounding_boxes.convert_format(
            boxes, source=source, target=target, height=height, width=width
        )

    want = Warp(family, OUTPUT, bounding_box_format="xyxy")(data, params)["bounding_boxes"]["boxes"]
    boxes = converted(data["bounding_boxes"]["boxes"], "xyxy", bounding_box_format, SIZE)
    have = Warp(family, OUTPUT, bounding_box_format=bounding_box_format)(
        {**data, "bounding_boxes": {"boxes": boxes}}, params
    )["bounding_boxes"]["boxes"]
    have = converted(have, bounding_box_format, "xyxy", OUTPUT)
    assert np.max(np.abs(have - want)) <= 3e-5  # float32, of numbers up to 52


def test_a_dictionary_is_not_changed_and_may_hold_any_part():
    warp, data = Warp("attention", bounding_box_format="xyxy"), example()
    before = copy.deepcopy(data)
    params = np.array([[0.8, 0.1, -0.2], [1.2, -0.1, 0.2]], "float32")
    whole = warp([data, params])
    assert_same(data, before)
    for key in ("bounding_boxes", "segmentation_masks", "points", "labels"):
        part = warp({"images": data["images"], key: data[key]}, params)
        assert list(part) == ["images", key]
        assert_same(part[key], whole[key])
    bare = warp({"images": data["images"], "bounding_boxes": before["bounding_boxes"]["boxes"]}, params)
    np.testing.assert_array_equal(bare["bounding_boxes"], whole["bounding_boxes"]["boxes"])
    flat = warp({**data, "segmentation_masks": data["segmentation_masks"][..., 0]}, params)
    np.testing.assert_array_equal(flat["segmentation_masks"], whole["segmentation_masks"][..., 0])


def test_channels_first_moves_the_same():
    warp, data = Warp("similarity", OUTPUT, bounding_box_format="xywh"), example()
    params = invertible_family("similarity")[1].astype("float32")
    first = Warp("similarity", OUTPUT, bounding_box_format="xywh", data_format="channels_first")
    want = warp(data, params)
    planes = {key: data[key].transpose(0, 3, 1, 2) for key in ("images", "segmentation_masks")}
    have = first({**data, **planes}, params)
    assert_same(have["bounding_boxes"], want["bounding_boxes"])
    np.testing.assert_array_equal(have["points"], want["points"])
    np.testing.assert_array_equal(have["segmentation_masks"][:, 0], want["segmentation_masks"][..., 0])


@pytest.mark.parametrize("size", [None, OUTPUT], ids=["size-of-images", "output_size"])
def test_a_dictionary_moves_in_a_pipeline_and_in_a_model(size, tmp_path):
    family, params = invertible_family("similarity")
    data, params = example(), params.astype("float32")
    warp = Warp(family, size, bounding_box_format="rel_xyxy")
    want = warp(data, params)
    pipeline = tf.data.Dataset.from_tensor_slices((data, params)).batch(2).map(warp)
    first = next(iter(pipeline))
    # An eager read is compiled, and one in a pipeline is not: a rounding of numbers up to 1.
    assert np.max(np.abs(first.pop("images") - want["images"])) <= 1e-6
    assert_same(first, {key: want[key] for key in first})

    symbols = {
        "images": keras.Input((None, None, 1)),
        "bounding_boxes": {
            "boxes": keras.Input((None, 4)),
            "labels": keras.Input((None,), dtype="int64"),
        },
        "segmentation_masks": keras.Input((None, None, 1), dtype="int32"),
        "points": keras.Input((None, 2)),
        "labels": keras.Input((), dtype="int64"),
    }
    maps = keras.Input((4,))
    model = keras.Model([symbols, maps], warp(symbols, maps))
    assert model.output["bounding_boxes"]["boxes"].shape == (None, None, 4)
    model.save(tmp_path / "m.keras")
    for each in (model, keras.models.load_model(tmp_path / "m.keras")):
        assert_same(each([data, params]), want)


def test_label_maps_move_by_nearest_also_beside_images_that_are_averaged():
    data = {"images": smooth_pictures(), "segmentation_masks": example()["segmentation_masks"]}
    params = np.array([[0.9, 0.1, 0.2], [1.4, -0.2, 0.0]], "float32")
    moved = Warp("attention", antialias=True)(data, params)
    assert_same(moved["images"], ops.warp(data["images"], params, "attention", antialias=True))
    masks = ops.warp(data["segmentation_masks"], params, "attention", interpolation="nearest")
    assert_same(moved["segmentation_masks"], masks)


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("per_frame", [False, True])
def test_label_maps_of_videos_move_with_their_frames(per_frame, channels):
    random = np.random.default_rng(0)
    videos = random.uniform(size=(2, 4, 5, 7, 3)).astype("float32")
    masks = random.integers(1, 9, (2, 4, 5, 7))
    params = random.normal([1, 0.1, 0, -0.1, 1, 0.2], 0.1, (2, 4, 6)).astype("float32")
    params = params if per_frame else params[:, :1].repeat(4, axis=1)
    given = {"images": videos, "segmentation_masks": masks[..., np.newaxis] if channels else masks}
    moved = Warp()(given, params if per_frame else params[:, 0])["segmentation_masks"]
    frames = [
        ops.warp(masks[:, n, ..., np.newaxis], params[:, n], interpolation="nearest") for n in range(4)
    ]
    want = np.stack(frames, axis=1)
    assert_same(moved, want if channels else want[..., 0])


@pytest.mark.parametrize("shape", [(2, 4), (2, 1), (3, 5), (2, 5, 1)])
def test_labels_that_are_not_one_for_each_box_are_refused(shape):
    boxes = {"boxes": np.zeros((2, 5, 4), "float32"), "labels": np.zeros(shape, "int32")}
    data = {"images": np.zeros((2, 5, 7, 1), "float32"), "bounding_boxes": boxes}
    with pytest.raises(ValueError, match="^labels must have shape"):
        Warp(bounding_box_format="xyxy")(data, np.zeros((2, 6), "float32"))
    boxes = {key: keras.Input(batch_shape=array.shape) for key, array in boxes.items()}
    data = {"images": keras.Input((5, 7, 1), batch_size=2), "bounding_boxes": boxes}
    with pytest.raises(ValueError, match="^labels must have shape"):
        Warp(bounding_box_format="xyxy")(data, keras.Input((6,), batch_size=2))


def test_a_model_knows_the_batch_of_the_boxes_of_one_image_at_many_poses():
    warp = Warp(bounding_box_format="xyxy")
    boxes = {
        "boxes": np.ones((1, 5, 4), "float32"),
        "labels": np.arange(5, dtype="int32")[np.newaxis],
    }
    data = {"images": np.ones((1, 5, 7, 1), "float32"), "bounding_boxes": boxes}
    params = np.tile(np.array([[1, 0, 0, 0, 1, 0]], "float32"), (3, 1))
    moved = warp(data, params)["bounding_boxes"]
    inputs = tf.nest.map_structure(lambda a: keras.Input(batch_shape=a.shape, dtype=str(a.dtype)), data)
    symbolic = warp(inputs, keras.Input((6,), batch_size=3))["bounding_boxes"]
    for key in ("boxes", "labels"):
        assert moved[key].shape == symbolic[key].shape
        assert moved[key].shape[0] == 3


def test_a_warp_is_saved_with_its_format_and_its_direction():
    warp = Warp("similarity", inverse=True, bounding_box_format="XYWH")
    copied = Warp.from_config(warp.get_config())
    assert (copied.inverse, copied.bounding_box_format) == (True, "xywh")
    plain = Warp("similarity").get_config()
    assert (plain["inverse"], plain["bounding_box_format"]) == (False, None)
    for key in ("inverse", "bounding_box_format"):  # a file of before
        plain.pop(key)
    assert Warp.from_config(plain).inverse is False


def test_a_family_without_an_inverse_moves_images_and_label_maps_and_says_what_it_cannot():
    data, params = example(), np.array([[0.1], [-0.2]], "float32")
    warp = Warp(Bulge(), bounding_box_format="xyxy")
    moved = warp({key: data[key] for key in ("images", "segmentation_masks")}, params)
    want = Warp(Bulge(), interpolation="nearest")(data["segmentation_masks"], params)
    np.testing.assert_array_equal(moved["segmentation_masks"], want)
    for key in ("bounding_boxes", "points"):
        with pytest.raises(NotImplementedError, match=rf"^{key} go where the inverse .*Affine has one"):
            warp({"images": data["images"], key: data[key]}, params)


def test_what_does_not_fit_is_said():
    data, params = example(), np.ones((2, 3), "float32")
    with pytest.raises(ValueError, match="^bounding_box_format must be given for a dictionary with"):
        Warp("attention")(data, params)
    with pytest.raises(ValueError, match="^bounding_box_format must be one of .*'xyxy'"):
        Warp("attention", bounding_box_format="xyx")
    with pytest.raises(ValueError, match=r"^A dictionary must have images. Received: keys \['points'\]"):
        Warp("attention")({"points": data["points"]}, params)
    with pytest.raises(ValueError, match="^A Warp must be called on images and params"):
        Warp("attention")(data)
    many = np.ones((2, 4, 3), "float32")
    with pytest.raises(ValueError, match="^points must go with images .* and one map for each"):
        Warp("attention")({"images": data["images"], "points": data["points"]}, many)
    videos = np.stack([data["images"]] * 3, axis=1)
    with pytest.raises(ValueError, match="^points must go with images .* and one map for each"):
        Warp("attention")({"images": videos, "points": data["points"]}, params)
    volumes = transforms.Attention(ndim=3)
    with pytest.raises(ValueError, match="^points must go with images .* and one map for each"):
        Warp(volumes)({"images": videos, "points": data["points"]}, np.ones((2, 4), "float32"))


# --- There and back --------------------------------------------------------------------------------


def test_crops_of_whole_pixels_are_put_back_where_they_were():
    pictures = smooth_pictures()
    boxes = np.array([[5, 3, 5 + 17, 3 + 11], [23, 19, 23 + 17, 19 + 11]])
    params = transforms.Affine().from_boxes(boxes, "xyxy", SIZE)
    crops = Warp("affine", (11, 17))(pictures, params)
    back = Warp("affine", SIZE, inverse=True, fill_value=-9.0)(crops, params).numpy()
    for picture, result, (left, top, right, bottom) in zip(pictures, back, boxes, strict=True):
        window = slice(top, bottom), slice(left, right)
        # Two reads, each within a few bits of a coordinate up to 40, 4e-6, times a slope below 0.2.
        inner = slice(top + 1, bottom - 1), slice(left + 1, right - 1)
        assert np.max(np.abs(result[inner] - picture[inner])) <= 1e-5
        outside = np.ones(SIZE, bool)
        outside[slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1)] = False
        assert np.all(result[outside] == -9)
        assert np.max(np.abs(result[window] - picture[window])) <= 1e-4  # an edge mixes in the fill


@pytest.mark.parametrize("name", INVERTIBLE)
def test_a_warp_is_put_back_by_the_exact_inverse(name):
    """Twice read by bicubic: smooth pictures come back to 2e-3 of their range of 2."""
    family, params = invertible_family(name)
    pictures = smooth_pictures()
    params = params.astype("float32")
    settings = {"interpolation": "bicubic", "fill_mode": "nearest"}
    there = Warp(family, (60, 80), **settings)(pictures, params)
    back = Warp(family, SIZE, inverse=True, **settings)(there, params)
    mask = ops.valid_mask(
        there, params, family, SIZE, interpolation="bicubic", inverse=True, rule="taps"
    )
    inner = mask.numpy()[:, 3:-3, 3:-3]
    assert np.mean(inner) > 0.4
    assert np.max(np.abs(back - pictures)[:, 3:-3, 3:-3] * inner) <= 2e-3


def test_the_function_the_layer_and_a_model_put_back_the_same(tmp_path):
    family, params = invertible_family("similarity")
    pictures, params = smooth_pictures(), params.astype("float32")
    want = Warp(family, OUTPUT, inverse=True)(pictures, params)
    np.testing.assert_array_equal(want, Warp(family, OUTPUT)(pictures, family.inverse(params)))
    np.testing.assert_array_equal(want, ops.warp(pictures, params, family, OUTPUT, inverse=True))
    images, maps = keras.Input((*SIZE, 1)), keras.Input((4,))
    outputs = [
        Warp(family, OUTPUT, inverse=True)(images, maps),
        ops.warp(images, maps, family, OUTPUT, inverse=True),
    ]
    model = keras.Model([images, maps], outputs)
    model.save(tmp_path / "m.keras")
    for each in (model, keras.models.load_model(tmp_path / "m.keras")):
        for have in each([pictures, params]):
            np.testing.assert_array_equal(have, want)


def test_a_bounded_warp_is_put_back_beyond_its_ranges():
    """A scale of 0.4 is undone by 2.5, which the range does not hold."""
    family = transforms.Bounded("attention", scale_range=(0.3, 1.1))
    params = family.unconstrain(np.array([[0.4, 0.0, 0.0]], "float32"))
    picture = smooth_pictures(1)
    crop = Warp(family, (12, 16))(picture, params)  # rows 9 to 21, columns 12 to 28
    back = Warp(family, SIZE, inverse=True)(crop, params).numpy()
    assert np.max(np.abs(back - picture)[:, 10:-10, 13:-13]) <= 1e-5


def test_a_family_without_an_inverse_says_so_before_any_work():
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        Warp(Bulge(), inverse=True)
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        ops.warp(np.ones((1, 3, 4, 1)), np.ones((1, 1)), Bulge(), inverse=True)
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        Warp(transforms.Bounded(Bulge()), inverse=True)
    with pytest.raises(ValueError, match="^inverse must be True or False"):
        keras_stn.Warp(inverse="yes")
