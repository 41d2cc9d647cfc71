"""A batch of 1 goes with any other, without a copy of an image: one image at many poses, one map.

The oracle is the call with the batch of 1 repeated, whose numbers and gradients other files test. The
same pixels are read with the same weights, so float64 differs by the order of sums alone: 1e-12.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CHANNELS_FIRST, FAMILIES, FILL_MODES, GRID, IMAGES, INTERPOLATIONS, LABELS, params
from families import has

import keras_stn
from keras_stn import Warp, ops, transforms

WHICH = ("images", "maps")
which_is_one = pytest.mark.parametrize("one", WHICH)
MANY = 3
SIZE = IMAGES.shape[1:3]


def pair(images, maps, one, dtype="float64"):
    """One of the two with a batch of 1, and the other with a batch of MANY."""
    many = [np.concatenate([x, x * 0.9])[:MANY].astype(dtype) for x in (images, maps)]
    return [x[:1] if name == one else x for x, name in zip(many, WHICH, strict=True)]


def repeated(images, maps):
    return [tf.repeat(x, MANY // x.shape[0], axis=0) for x in (images, maps)]


def outputs_and_gradients(function, images, maps, repeat=False):
    tensors = [tf.Variable(images), tf.Variable(maps)]
    with tf.GradientTape() as tape:
        outputs = function(*(repeated(*tensors) if repeat else tensors))
        weights = np.random.default_rng(1).normal(size=outputs.shape)
        loss = tf.reduce_sum(outputs * tf.constant(weights, outputs.dtype))
    return outputs, *tape.gradient(loss, tensors, unconnected_gradients="zero")


def assert_as_if_repeated(function, images, maps, atol=1e-12):
    ours = outputs_and_gradients(function, images, maps)
    oracle = outputs_and_gradients(function, images, maps, repeat=True)
    for have, want in zip(ours, oracle, strict=True):
        assert have.shape == want.shape
        np.testing.assert_allclose(have, want, rtol=0, atol=atol)
    assert np.max(np.abs(ours[0][0] - ours[0][1])) > 0.01  # they are not all the same


@which_is_one
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_grid_sample_is_as_if_the_one_were_repeated(interpolation, fill_mode, one):
    images, grid = pair(IMAGES, GRID, one)
    assert_as_if_repeated(
        lambda images, grid: ops.grid_sample(images, grid, interpolation, fill_mode, 0.5), images, grid
    )


@which_is_one
@pytest.mark.parametrize("name", FAMILIES)
def test_a_warp_by_any_family_is_as_if_the_one_were_repeated(name, one):
    family = FAMILIES[name][1]()
    warp = Warp(family, (4, 6), interpolation="bicubic", fill_value=(0.5, -1, 2), dtype="float64")
    assert_as_if_repeated(lambda *tensors: warp(tensors), *pair(IMAGES, params(family), one))


@which_is_one
def test_a_warp_of_channels_first_is_as_if_the_one_were_repeated(one):
    warp = Warp("similarity", (4, 6), data_format="channels_first", dtype="float64")
    assert_as_if_repeated(
        lambda *tensors: warp(tensors), *pair(CHANNELS_FIRST, params("similarity"), one)
    )


@pytest.mark.slow
@which_is_one
@pytest.mark.parametrize("name", ["affine", "attention"])
@pytest.mark.parametrize("channels", [1, 3, 64])
def test_large_images_which_are_compiled_are_as_if_the_one_were_repeated(channels, name, one):
    """Above the sizes where the sampler compiles, adds late and loops over the batch."""
    images = np.random.default_rng(0).random((2, 190, 200, channels))
    images, maps = pair(images, params(name), one, "float32")
    warp = Warp(name)

    def eager(*tensors):
        return warp(tensors)

    oracle = outputs_and_gradients(eager, images, maps, repeat=True)
    for function in (eager, tf.function(eager, jit_compile=True)):
        for have, want in zip(outputs_and_gradients(function, images, maps), oracle, strict=True):
            # A gradient to params is a sum of 38,000 numbers of size 100 in float32.
            scale = np.max(np.abs(want))
            np.testing.assert_allclose(have, want, rtol=0, atol=2e-5 * max(scale, 1))


@pytest.mark.slow
@which_is_one
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_other_batch_may_be_unknown(jit_compile, one):
    images, grid = pair(IMAGES, GRID, one, "float32")
    specs = [tf.TensorSpec((1 if len(x) == 1 else None, *x.shape[1:])) for x in (images, grid)]
    function = tf.function(ops.grid_sample, input_signature=specs, jit_compile=jit_compile)
    for count in (MANY, 1, 0):
        few = (
            [x[:count] for x in (images, grid)]
            if count
            else [x if name == one else x[:0] for x, name in zip((images, grid), WHICH, strict=True)]
        )
        sampled = function(*few)
        assert sampled.shape == (count, 4, 6, 3)
        np.testing.assert_allclose(
            sampled, ops.grid_sample(*pair(IMAGES, GRID, one, "float32"))[:count], atol=1e-6
        )


@which_is_one
def test_labels_and_half_precision_are_as_if_the_one_were_repeated(one):
    images, grid = pair(LABELS, GRID, one)
    for dtype, how in (("int32", "nearest"), ("uint8", "nearest"), ("float16", "bilinear")):
        few = images.astype(dtype), grid.astype("float32")
        sampled = ops.grid_sample(*few, how)
        assert sampled.dtype == dtype
        assert np.array_equal(sampled, ops.grid_sample(*repeated(*few), how))


@which_is_one
def test_params_of_one_map_go_with_many(one):
    """Of points, of the outer and of the inner map; a user's family has them repeated."""
    points = np.random.default_rng(0).uniform(-1, 1, (MANY, 11, 2))
    for _, make in FAMILIES.values():
        family = make()
        _, maps = pair(IMAGES, params(family), "images")
        few = (maps[:1], points) if one == "maps" else (maps, points[:1])
        want = family.transform_points(*repeated(*few), SIZE)
        np.testing.assert_allclose(family.transform_points(*few, SIZE), want, rtol=0, atol=1e-12)
        if has(family, "compose"):
            few = (maps[:1], maps) if one == "maps" else (maps, maps[:1])
            want = family.compose(*repeated(*few))
            np.testing.assert_allclose(family.compose(*few), want, rtol=0, atol=1e-12)


# --- Symbolic --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "maps", "batch"),
    [(None, None, None), (1, None, None), (None, 1, None), (1, 1, 1), (1, 3, 3), (3, 1, 3), (None, 3, 3)]
    + [(3, None, 3), (3, 3, 3)],
)
def test_the_batch_of_the_output_is_that_of_both(images, maps, batch):
    symbols = keras.Input((7, 5, 3), batch_size=images), keras.Input((6,), batch_size=maps)
    assert Warp(output_size=(4, 6))(list(symbols)).shape == (batch, 4, 6, 3)
    shapes = (images, 7, 5, 3), (maps, 6)
    assert Warp(output_size=(4, 6)).compute_output_shape(shapes) == (batch, 4, 6, 3)
    grid = keras.Input((4, 6, 2), batch_size=maps)
    assert ops.grid_sample(symbols[0], grid).shape == (batch, 4, 6, 3)


def one_of_two_in_a_model(one):
    """A model that holds the one as a constant and takes the many."""
    images, maps = pair(IMAGES, params("affine"), one, "float32")
    if one == "images":
        many = keras.Input(maps.shape[1:])
        return (
            keras.Model(many, Warp()([tf.constant(images), many])),
            maps,
            Warp()(repeated(images, maps)),
        )
    many = keras.Input(images.shape[1:])
    return keras.Model(many, Warp()([many, tf.constant(maps)])), images, Warp()(repeated(images, maps))


@which_is_one
def test_a_model_that_holds_the_one_predicts_saves_and_loads(one, tmp_path):
    model, many, want = one_of_two_in_a_model(one)
    for batch_size in (1, 2, MANY):
        np.testing.assert_allclose(model.predict(many, batch_size, verbose=0), want, atol=1e-6)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "m.keras")(many), want, atol=1e-6)


@pytest.mark.slow
@which_is_one
@pytest.mark.parametrize("batch_size", [None, MANY])
def test_a_model_that_holds_the_one_is_exported(one, batch_size, tmp_path):
    """Each exporter compares the file with the model, and raises where they differ."""
    model, many, _ = one_of_two_in_a_model(one)
    keras_stn.export_tflite(model, tmp_path / "m.tflite", batch_size=batch_size, samples=many)
    keras_stn.export_saved_model(model, tmp_path / "m", samples=many)
    for mode in ("grid_sample", "gather"):
        keras_stn.export_onnx(model, tmp_path / "m.onnx", mode=mode, samples=many)


@which_is_one
def test_a_model_that_holds_the_one_is_exported_for_gpus(one, tmp_path):
    model, many, _ = one_of_two_in_a_model(one)
    keras_stn.export_tflite(model, tmp_path / "m.tflite", target="gpu", batch_size=MANY, samples=many)


# --- Without copies, and with words ----------------------------------------------------------------


@which_is_one
@pytest.mark.parametrize("name", ["affine", "attention", "users-points"])
def test_no_image_is_copied(name, one):
    """What is repeated is no larger than a grid for each."""
    family = FAMILIES[name][1]()
    images, maps = pair(np.zeros((2, 40, 50, 3)), params(family), one, "float32")

    @tf.function(autograph=False)
    def function(images, maps):
        return Warp(family, (4, 6))([images, maps])

    graph = function.get_concrete_function(tf.TensorSpec(images.shape), tf.TensorSpec(maps.shape)).graph
    copies = [op.outputs[0].shape for op in graph.get_operations() if op.type in ("Tile", "BroadcastTo")]
    assert all(shape.num_elements() <= MANY * 4 * 6 * 2 for shape in copies)


@pytest.mark.parametrize(
    ("images", "maps"),
    [(2, 3), (4, 2), (6, 3)],
)
def test_other_batches_are_told_what_to_repeat(images, maps):
    x, p = np.zeros((images, 7, 5, 3), "float32"), np.zeros((maps, 6), "float32")
    for call in (
        lambda: Warp()([x, p]),
        lambda: Warp()([keras.Input((7, 5, 3), batch_size=images), keras.Input((6,), batch_size=maps)]),
        lambda: tf.function(Warp(), autograph=False)([x, p]),
    ):
        with pytest.raises(
            ValueError, match=r"^params must have shape \(batch of images, 6\)\. Received"
        ) as e:
            call()
        assert f"images has a batch of {images}: give as many, or one for all." in str(e.value)
        assert "keras.ops.repeat(images, times, axis=0)" in str(e.value)
    with pytest.raises(ValueError, match=r"^points must have shape \(batch of params, n, 2\)"):
        transforms.get("affine").transform_points(p, np.zeros((images, 5, 2), "float32"))
    with pytest.raises(ValueError, match=r"^inner must have shape \(batch of outer, num_params\)"):
        transforms.get("affine").compose(np.zeros((images, 6), "float32"), p)


def test_a_batch_that_is_1_only_when_it_runs_is_told_what_to_do():
    specs = [tf.TensorSpec((None, 7, 5, 3)), tf.TensorSpec((None, 4, 6, 2))]
    function = tf.function(ops.grid_sample, input_signature=specs)
    for images, grid in ((IMAGES[:1], GRID), (IMAGES, GRID[:1])):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be known to be 1: keras\.Input"):
            function(images, grid)
