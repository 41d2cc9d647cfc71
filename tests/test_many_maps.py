"""Many maps of one image, and videos: as if each map were used by itself, and no image is copied.

The oracle is a loop over the maps, whose numbers and gradients other files test. The same pixels are
read with the same weights, so float64 differs by the order of sums alone: 1e-12.
"""

import functools
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import Localization, SpatialTransformer, Warp, ops, transforms
from keras_stn.sampler import Sampling, plan

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(2, 7, 5, 3))
VIDEOS = RANDOM.normal(size=(2, 4, 7, 5, 3))
MANY = 4
PARAMS = RANDOM.normal(0, 0.3, (2, MANY, 6)) + [1, 0, 0, 0, 1, 0]
GRIDS = RANDOM.uniform(-1.3, 1.3, (2, MANY, 3, 6, 2))
OUTPUT = (3, 6)


def warp(images, params, **arguments):
    arguments = {"output_size": OUTPUT, "fill_value": 0.5, **arguments}
    return ops.warp(images, params, **arguments)


def values_and_gradients(function, *tensors):
    tensors = [tf.Variable(tensor) for tensor in tensors]
    with tf.GradientTape() as tape:
        outputs = function(*tensors)
        weights = np.random.default_rng(1).normal(size=outputs.shape)
        loss = tf.reduce_sum(outputs * weights)
    return outputs, *tape.gradient(loss, tensors)


def assert_alike(ours, theirs, *tensors, atol=1e-12):
    pairs = zip(
        values_and_gradients(ours, *tensors), values_and_gradients(theirs, *tensors), strict=True
    )
    for have, want in pairs:
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want, rtol=0, atol=atol)


def one_by_one(function):
    """`function` of each map by itself."""
    return lambda images, maps: tf.stack(
        [function(images, maps[:, number]) for number in range(maps.shape[1])], axis=1
    )


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:1]], ids=["images", "one image"])
@pytest.mark.parametrize("params", [PARAMS, PARAMS[:1]], ids=["params", "one row"])
@pytest.mark.parametrize("transform", ["affine", "attention"])
def test_many_maps_are_read_as_one_by_one(images, params, transform):
    params = params[..., : transforms.get(transform).num_params]

    def read(images, params):
        return warp(images, params, transform=transform)

    assert_alike(read, one_by_one(read), images, params)


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["affine", "projective"])
@pytest.mark.parametrize("jit_compile", [None, False, True], ids=["eager", "graph", "xla"])
def test_large_outputs_whose_gradients_are_made_image_by_image(transform, jit_compile):
    """Above the size where the sampler loops over the images: each of them has several maps."""
    images = RANDOM.normal(size=(3, 23, 31, 2))
    family = transforms.get(transform)
    params = RANDOM.uniform(-0.2, 0.2, (3, 2, family.num_params)) + family.identity_params

    def read(images, params):
        return warp(images, params, transform=transform, output_size=(130, 150))

    assert plan.plan_for((3, 23, 31, 2), (3, 260, 150, 2), Sampling()).looped
    function = read if jit_compile is None else tf.function(read, jit_compile=jit_compile)
    assert_alike(function, one_by_one(read), images, params, atol=1e-9)  # of sums of 40,000 numbers


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("fill_mode", ["constant", "reflect", "wrap"])
def test_many_grids_are_read_as_one_by_one(interpolation, fill_mode):
    def read(images, grids):
        return ops.grid_sample(images, grids, interpolation, fill_mode)

    want = one_by_one(read)(IMAGES, GRIDS)
    np.testing.assert_allclose(read(IMAGES, GRIDS), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [2, 1])
def test_each_frame_of_a_video_is_read_at_its_map(batch):
    def theirs(videos, params):
        return tf.stack([warp(videos[:, t], params[:, t]) for t in range(4)], axis=1)

    assert_alike(warp, theirs, VIDEOS[:batch], PARAMS)
    assert_alike(warp, theirs, VIDEOS, PARAMS[:batch])


@pytest.mark.parametrize("batch", [2, 1])
def test_all_frames_of_a_video_are_read_at_one_map(batch):
    def theirs(videos, params):
        return tf.stack([warp(videos[:, t], params) for t in range(4)], axis=1)

    assert_alike(warp, theirs, VIDEOS[:batch], PARAMS[:, 0])
    assert_alike(warp, theirs, VIDEOS, PARAMS[:batch, 0])


def test_channels_first_keeps_maps_and_frames_in_second_place():
    for images in (IMAGES, VIDEOS):
        planes = np.moveaxis(images, -1, -3)
        have = warp(planes, PARAMS, data_format="channels_first")
        assert have.shape == (2, MANY, 3, *OUTPUT)
        np.testing.assert_array_equal(np.moveaxis(have, -3, -1), warp(images, PARAMS))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("images", [IMAGES, VIDEOS], ids=["images", "videos"])
def test_sizes_may_be_unknown(images, jit_compile):
    specs = [tf.TensorSpec([None] * (images.ndim - 1) + [3], "float64")]
    specs += [tf.TensorSpec((None, None, 6), "float64")]
    function = tf.function(warp, input_signature=specs, jit_compile=jit_compile)
    np.testing.assert_allclose(function(images, PARAMS), warp(images, PARAMS), rtol=0, atol=1e-12)
    assert function.get_concrete_function().output_shapes.as_list() == [None, None, *OUTPUT, 3]


@pytest.mark.parametrize("batch", [0, 2])
def test_an_empty_batch_has_an_empty_output(batch):
    assert warp(IMAGES[:batch], PARAMS[:batch]).shape == (batch, MANY, *OUTPUT, 3)
    assert warp(VIDEOS[:batch], PARAMS[:batch]).shape == (batch, 4, *OUTPUT, 3)


def test_no_image_is_copied_for_its_many_maps():
    """In a compiled step to the params of 16 small crops no tensor is larger than the two images."""
    images = tf.zeros((2, 256, 256, 3))
    params = tf.constant(np.tile(PARAMS[:, :1], (1, 16, 1)), tf.float32)

    @tf.function(jit_compile=True)
    def step(images, params):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(ops.warp(images, params, output_size=(16, 16)))
        return tape.gradient(loss, params)

    text = step.experimental_get_compiler_ir(images, params)(stage="optimized_hlo")
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", text)
    sizes = [math.prod(map(int, shape.split(","))) for shape in shapes]
    assert max(sizes) == images.shape.num_elements()


def test_glimpses_start_as_tiles_of_the_picture():
    images = RANDOM.random((2, 20, 24, 3)).astype("float32")
    glimpses = SpatialTransformer(glimpses=4, output_size=(10, 12))(images).numpy()
    rows = images.reshape(2, 2, 10, 2, 12, 3).transpose(0, 1, 3, 2, 4, 5)
    np.testing.assert_array_equal(glimpses, rows.reshape(2, 4, 10, 12, 3))


def test_glimpses_learn_also_where_the_tiles_are_outside_of_a_familys_ranges():
    """The start is near the end of the range, and not so far beyond that the gradient is 0."""
    family = transforms.Bounded("attention", scale_range=(0.6, 1.2))
    tiles = np.array(family.tiles(4))
    scales, *places = family.constrain(tiles).numpy().T
    np.testing.assert_allclose(scales, 1 - 0.4 * 3 / math.sqrt(10), atol=1e-12)
    np.testing.assert_allclose(np.transpose(places), np.array(transforms.Attention().tiles(4))[:, 1:])
    with tf.GradientTape() as tape:
        params = tf.constant(tiles)
        tape.watch(params)
        total = tf.reduce_sum(ops.warp(IMAGES[:1], params, family) ** 2)
    assert np.abs(tape.gradient(total, params)).min() > 1e-3
    inside = transforms.Bounded("attention", scale_range=(0.3, 1.2))
    found = inside.constrain(np.array(inside.tiles(4)))
    np.testing.assert_allclose(found, transforms.Attention().tiles(4), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_tiles_show_each_pixel_once(count):
    """Of affine maps: the areas add up to the picture, and the middle of none lies in another."""
    tiles = np.array(transforms.Affine().tiles(count)).reshape(count, 2, 3)
    widths, heights, centres = tiles[:, 0, 0], tiles[:, 1, 1], tiles[:, :, 2]
    assert np.sum(widths * heights) == pytest.approx(1)
    apart = np.abs(centres[:, None] - centres) / np.stack([widths, heights], -1)
    assert np.all(np.max(apart, axis=-1) + 2 * np.eye(count) >= 2 - 1e-6)
    assert np.max(np.abs(centres) + np.stack([widths, heights], -1)) <= 1 + 1e-6


def test_families_that_cannot_scale_start_where_they_can():
    assert transforms.Translation().tiles(2) == [(-0.5, 0.0), (0.5, 0.0)]
    assert transforms.Projective().tiles(2)[1] == (0.5, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.0)
    assert transforms.Rotation().tiles(3) == [(0.0,)] * 3
    assert transforms.DiffeomorphicAffine().tiles(2) == [(0.0,) * 6] * 2
    assert transforms.ThinPlateSpline((2, 2)).tiles(2) == [(0.0,) * 8] * 2
    # One scale for both axes: that of the width, so that no tile is left out of the picture's height.
    assert transforms.Attention().tiles(2) == [(0.5, -0.5, 0.0), (0.5, 0.5, 0.0)]


def test_glimpses_learn_each_for_itself():
    """Two windows that start at the halves find two blobs, one in each half."""
    keras.utils.set_random_seed(0)
    y, x = np.mgrid[0:12, 0:24]
    places = RANDOM.integers(3, 9, (64, 2, 2))
    images = np.zeros((64, 12, 24, 1), "float32")
    for image, ((y1, x1), (y2, x2)) in zip(images, places, strict=True):
        for cy, cx in ((y1, x1), (y2, x2 + 12)):
            image[..., 0] += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 4)
    want = ops.warp(
        images,
        np.stack(
            [
                (places[..., 1] + [0, 12] + 0.5) / 12 - 1,
                (places[..., 0] + 0.5) / 6 - 1,
            ],
            -1,
        ).astype("float32"),
        "translation",
    )
    layer = SpatialTransformer("conv", "translation", glimpses=2)
    model = keras.Sequential([keras.Input((12, 24, 1)), layer])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    before = model.evaluate(images, want, verbose=0)
    model.fit(images, want, epochs=40, batch_size=16, verbose=0)
    assert model.evaluate(images, want, verbose=0) < before / 4
    params = layer.localize(images).numpy()
    assert np.all(params[:, 0, 0] < params[:, 1, 0])  # the first looks left of the second


def test_a_network_made_for_videos_makes_one_map_for_all_frames():
    clip = keras.Sequential([keras.Input((4, 7, 5, 3)), keras.layers.GlobalMaxPooling3D()])
    videos = VIDEOS.astype("float32")
    layer = SpatialTransformer(clip, "translation")
    assert layer(videos).shape == videos.shape
    assert layer.localize(videos).shape == (2, 2)
    assert SpatialTransformer("dense", "translation").localize(videos).shape == (2, 4, 2)


@pytest.mark.parametrize(
    "arguments", [{"glimpses": 3}, {}], ids=["glimpses of images", "frames of videos"]
)
def test_a_model_is_saved_and_loaded(arguments, tmp_path):
    images = (IMAGES if arguments else VIDEOS).astype("float32")
    model = keras.Sequential([keras.Input(images.shape[1:]), SpatialTransformer("dense", **arguments)])
    model.layers[0].localization.head.kernel.assign(RANDOM.normal(0, 0.1, (32, 18 if arguments else 6)))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].localization.glimpses == arguments.get("glimpses")
    np.testing.assert_array_equal(loaded(images), model(images))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["glimpses", "video"])
def test_a_model_is_exported(kind, tmp_path):
    """Each exporter compares the file with the model, and raises where they differ."""
    images = keras.Input((20, 24, 3) if kind == "glimpses" else (3, 20, 24, 3), name="images")
    layer = SpatialTransformer("conv", glimpses=4 if kind == "glimpses" else None, output_size=(8, 9))
    model = keras.Model(images, layer(images))
    kernel = layer.localization.head.kernel
    kernel.assign(RANDOM.normal(0, 0.05, kernel.shape))
    keras_stn.export_saved_model(model, tmp_path / "m")
    keras_stn.export_tflite(model, tmp_path / "m.tflite")
    keras_stn.export_onnx(model, tmp_path / "m.onnx")


def test_errors_say_what_came():
    with pytest.raises(ValueError, match=r"one for each of its 4 frames\. Received: params\.shape="):
        warp(VIDEOS, PARAMS[:, :3])
    with pytest.raises(ValueError, match="glimpses must be a positive integer"):
        Localization(glimpses=0)
    with pytest.raises(ValueError, match=r"Localization\(\.\.\., glimpses=2\)"):
        SpatialTransformer(Localization(), glimpses=2)
    with pytest.raises(ValueError, match="glimpses must be None for videos"):
        SpatialTransformer("dense", glimpses=2)(VIDEOS)
    with pytest.raises(ValueError, match=r"params must have shape \(batch of images, 6\)"):
        Warp()(IMAGES, PARAMS[..., :5])
    with pytest.raises(ValueError, match=r"params\.shape=\(3, 4, 6\)\. images has a batch of 2"):
        warp(IMAGES, np.repeat(PARAMS[:1], 3, axis=0))


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_no_maps_at_all_are_no_crops_and_train_nothing(antialias, known, count):
    """As where a detector finds no box, in images of which there are some."""
    images = tf.Variable(IMAGES[:count])
    params = tf.Variable(np.zeros((count, 0, 6)), shape=(count, 0, 6) if known else (count, None, 6))
    read = functools.partial(warp, antialias=antialias)
    with tf.GradientTape() as tape:
        crops = (read if known else tf.function(read))(images, params)
        loss = tf.reduce_sum(crops)
    assert crops.shape == (count, 0, *OUTPUT, 3)
    by_images, by_params = tape.gradient(loss, [images, params])
    np.testing.assert_array_equal(by_images, np.zeros_like(IMAGES[:count]))
    assert by_params.shape == (count, 0, 6)


@pytest.mark.parametrize("params", [np.zeros((2, 0, 6)), np.zeros((2, 6))], ids=["many", "one"])
def test_videos_without_frames_stay_as_many(params):
    assert warp(VIDEOS[:, :0], params).shape == (2, 0, *OUTPUT, 3)


def test_as_many_maps_as_frames_do_not_stand_for_those_of_other_videos():
    """3 maps for 2 frames each are no maps of 2 videos of 3 frames, also where sizes are unknown."""
    shapes = (None, None, 7, 5, 3), (None, None, 6)
    read = tf.function(warp, input_signature=[tf.TensorSpec(shape, tf.float64) for shape in shapes])
    with pytest.raises(tf.errors.InvalidArgumentError, match="a map for each frame"):
        read(VIDEOS[:, :3], np.zeros((3, 2, 6)))


@pytest.mark.parametrize("count", [MANY, None])
def test_many_maps_read_images_of_which_no_size_is_known(count):
    shapes = (None, None, None, None), (None, count, 6)
    read = tf.function(warp, input_signature=[tf.TensorSpec(shape, tf.float64) for shape in shapes])
    np.testing.assert_allclose(read(IMAGES, PARAMS), warp(IMAGES, PARAMS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("antialias", [False, True])
def test_no_maps_and_no_frames_give_none(antialias):
    """A detector may have found nothing."""
    images = np.ones((2, 4, 5, 1), "float32")

    def warp(*shapes):
        return ops.warp(*(tf.zeros(shape) for shape in shapes), antialias=antialias)

    assert warp(images.shape, (2, 0, 6)).shape == (2, 0, 4, 5, 1)
    assert warp((1, *images.shape[1:]), (2, 0, 6)).shape == (2, 0, 4, 5, 1)
    assert warp((2, 0, 4, 5, 1), (2, 6)).shape == (2, 0, 4, 5, 1)
    assert warp((2, 0, 4, 5, 1), (2, 0, 6)).shape == (2, 0, 4, 5, 1)
    unknown = tf.function(lambda params: ops.warp(images, params, antialias=antialias))
    unknown = unknown.get_concrete_function(tf.TensorSpec((2, None, 6)))
    assert unknown(tf.zeros((2, 0, 6))).shape == (2, 0, 4, 5, 1)
    assert unknown(tf.zeros((2, 3, 6))).shape == (2, 3, 4, 5, 1)


def test_what_volumes_do_not_have_is_said_while_a_model_is_made():
    warp = keras_stn.Warp(transforms.Affine(ndim=3), antialias=True)
    with pytest.raises(NotImplementedError, match="^antialias=True is for images, not for volumes"):
        warp(keras.Input((4, 5, 6, 1)), keras.Input((12,)))
