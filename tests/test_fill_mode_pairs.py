"""`fill_mode` as a pair: one word for rows and one for columns, in every reader."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
import oracles
from keras_stn import ops, sampler
from keras_stn.export import _readers
from keras_stn.sampler import BORDERS, KERNELS, Points, Sampling, interpreter, plan

PAIRS = list(itertools.permutations(BORDERS, 2))
COLOUR = [0.3, -1.1, 2.0]
# One of each kind: a fill value on one axis alone, of rows and of columns; pixels on both.
SOME = [("constant", "wrap"), ("mirror", "constant"), ("nearest", "wrap"), ("reflect", "nearest")]

pairs = pytest.mark.parametrize("pair", PAIRS, ids="-".join)
some_pairs = pytest.mark.parametrize("pair", SOME, ids="-".join)
kernels = pytest.mark.parametrize("interpolation", KERNELS)


def images_and_grid(dtype="float64"):
    """Points up to five images away, in images that are wider than high."""
    random = np.random.default_rng(1)
    images = random.random((2, 4, 7, 3)).astype(dtype)
    return images, random.uniform(-3, 3, (2, 9, 11, 2)).astype(dtype)


def largest(actual, expected):
    return np.max(np.abs(np.asarray(actual, "float64") - np.asarray(expected, "float64")))


# --- The numbers -----------------------------------------------------------------------------------


@pairs
@kernels
@pytest.mark.parametrize("fill_value", [0.0, COLOUR], ids=["zero", "colour"])
def test_each_axis_goes_on_as_numpy_pads_it(pair, interpolation, fill_value):
    images, grid = images_and_grid()
    arguments = interpolation, pair, fill_value, False
    expected = oracles.extended_sample(images, grid, *arguments)
    # float64: sums of sixteen terms of order 1, at coordinates of order 10
    assert largest(ops.grid_sample(images, grid, *arguments), expected) <= 1e-12


def derivatives(function, *tensors):
    """The output, and its gradients to the tensors."""
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        output = function(*tensors)
        weights = np.random.default_rng(2).normal(size=output.shape)
        loss = tf.reduce_sum(output * tf.cast(weights, output.dtype))
    return [output, *tape.gradient(loss, tensors)]


@some_pairs
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fill_value", [0.0, 0.4])
def test_gradients_are_those_of_finite_differences(pair, interpolation, fill_value):
    images, grid = images_and_grid()
    images, grid = images[:1, :, :, :2], grid[:1, :3, :4]
    # A fifth of a pixel away from every pixel centre, where the slopes jump.
    pixels = (grid + 1) / 2 * [7, 4] - 0.5
    pixels = np.floor(pixels) + np.clip(pixels - np.floor(pixels), 0.2, 0.8)
    grid = (pixels + 0.5) / [7, 4] * 2 - 1

    def sample(images, grid):
        return ops.grid_sample(images, grid, interpolation, pair, fill_value)

    output, *gradients = derivatives(sample, images, grid)
    weights = np.random.default_rng(2).normal(size=output.shape)
    for number, (array, gradient) in enumerate(zip((images, grid), gradients, strict=True)):
        for index in np.ndindex(*array.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = [images.copy(), grid.copy()]
                moved[number][index] += step
                sums.append(np.sum(sample(*moved).numpy() * weights))
            # float64: rounding of 1e-16 over steps of 1e-6, times slopes of some ten
            assert abs((sums[0] - sums[1]) / 2e-6 - gradient[index]) <= 1e-6, (number, index)


@pairs
def test_a_pair_of_equal_words_is_the_word(pair):
    word, _ = pair
    twice, once = Sampling(fill_mode=[word, word]), Sampling(fill_mode=word)
    assert (twice, hash(twice), twice.fill_mode) == (once, hash(once), word)
    assert Sampling(fill_mode=pair) != once
    assert hash(Sampling(fill_mode=list(pair))) == hash(Sampling(fill_mode=pair))


def test_rows_come_first_whatever_the_data_format():
    column = np.arange(4, dtype="float32").reshape(1, 4, 1, 1)
    grid = np.array([[[[0.0, 1.25]]]], "float32")  # the next pixel below the last
    below = ops.grid_sample(column, grid, "nearest", ("wrap", "constant"), 9)
    assert below.numpy().ravel().tolist() == [0]
    first = column.transpose(0, 3, 1, 2)
    below = ops.grid_sample(
        first, grid, "nearest", ("wrap", "constant"), 9, data_format="channels_first"
    )
    assert below.numpy().ravel().tolist() == [0]
    below = ops.grid_sample(column, grid, "nearest", ("constant", "wrap"), 9)
    assert below.numpy().ravel().tolist() == [9]


def test_a_panorama_goes_round_without_a_seam():
    turn = np.array([[0.5, 0.0]], "float32")  # a quarter of the circle
    panorama = np.random.default_rng(3).random((1, 3, 8, 1)).astype("float32")
    layer = keras_stn.Warp("translation", fill_mode=("nearest", "wrap"))
    np.testing.assert_array_equal(layer([panorama, turn]), np.roll(panorama, -2, axis=2))
    up = np.array([[0.0, -2.0]], "float32")  # and ends above, where the first row goes on
    np.testing.assert_array_equal(layer([panorama, up]), np.repeat(panorama[:, :1], 3, axis=1))


# --- Readers ---------------------------------------------------------------------------------------


@pairs
@kernels
@pytest.mark.parametrize("fill_value", [0.0, 0.4])
def test_the_reader_for_files_and_all_plans_agree(pair, interpolation, fill_value):
    images, grid = images_and_grid()
    points = Points(tuple(tf.constant(grid[..., axis] * 5) for axis in range(2)))
    images, sampling = tf.constant(images), Sampling(interpolation, pair, fill_value)
    chosen = plan.plan_for((2, 4, 7, 3), (2, 9, 11, 3), sampling)
    plans = [plan.Plan(), chosen]
    if pair in SOME:
        plans.append(plan.Plan(compiled=True, looped=True))  # 0.3 s to compile
    assert chosen.blocks == (interpolation == "bilinear" and set(pair) == {"constant", "nearest"})
    readers = [interpreter.read]
    readers += [lambda *a, p=p: plan.read_by(p, *a) for p in plans]
    found = []
    for reader in readers:

        def read(images, *axes, reader=reader):
            return reader(images, Points(axes), sampling)

        found.append(derivatives(read, images, *points.axes))
    for theirs in found[1:]:
        for have, want in zip(theirs, found[0], strict=True):
            if have is None or want is None:
                assert have is want is None  # of nearest, to coordinates
                continue
            # float64: the same sums of some hundred terms of order 10, in another order
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-11)


@pairs
@kernels
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill_value", [0.0, 0.4])
def test_matmuls_agree_with_gathers(pair, interpolation, channels, fill_value):
    random = np.random.default_rng(4)
    images = tf.constant(random.random((2, 4, 7, channels)), "float32")
    x = tf.constant(random.uniform(-20, 25, (2, 1, 9)), "float32")
    y = tf.constant(random.uniform(-20, 25, (2, 11, 1)), "float32")
    sampling = Sampling(interpolation, pair, fill_value)
    gathers, matmuls = (
        reader(images, Points((x, y)), sampling) for reader in (interpreter.read, _readers.matmuls)
    )
    # float32: two sums of seven and four products instead of one of sixteen
    assert largest(matmuls, gathers) <= 2e-6


@some_pairs
@kernels
def test_compiled_reads_are_those_of_eager_calls(pair, interpolation):
    images, grid = images_and_grid("float32")

    def sample(images, grid):
        return ops.grid_sample(images, grid, interpolation, pair, 0.4)

    eager = derivatives(sample, images, grid)
    compiled = tf.function(lambda *tensors: derivatives(sample, *tensors), jit_compile=True)
    for have, want in zip(compiled(images, grid), eager, strict=True):
        if want is not None:  # of nearest, to the grid
            # Roundings of 6e-8, in sums of some terms of order 10
            np.testing.assert_allclose(have, want, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("pair", "fits"), [(("wrap", "nearest"), True), (("nearest", "wrap"), False)])
def test_only_an_axis_that_repeats_is_limited(pair, fits):
    tall = tf.zeros((1, 1, 2**20 + 1, 1), tf.uint8)  # a single long row
    points = Points((tf.zeros((1, 1, 1)), tf.zeros((1, 1, 1))))
    sampling = Sampling("nearest", pair)
    if fits:
        assert sampler.read(tall, points, sampling).shape == (1, 1, 1, 1)
    else:
        with pytest.raises(ValueError, match="images must be at most"):
            sampler.read(tall, points, sampling)


# --- Saved -----------------------------------------------------------------------------------------


def test_layers_and_operations_are_saved_with_their_pair(tmp_path):
    images, grid = images_and_grid("float32")
    symbols = keras.Input(images.shape[1:]), keras.Input(grid.shape[1:])
    sampled = ops.grid_sample(*symbols, fill_mode=["mirror", "wrap"])
    params = keras.Input((6,))
    warped = keras_stn.Warp(fill_mode=("constant", "wrap"))([symbols[0], params])
    for model, feed in (
        (keras.Model([symbols[0], params], warped), [images, grid[:, 0, :3].reshape(2, 6)]),
        (keras.Model(symbols, sampled), [images, grid]),
    ):
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded(feed), model(feed))
    config = keras_stn.SpatialTransformer("dense", fill_mode=["wrap", "nearest"]).get_config()
    assert config["fill_mode"] == ("wrap", "nearest")
    again = keras_stn.SpatialTransformer.from_config({**config, "fill_mode": ["wrap", "nearest"]})
    assert again.warp.fill_mode == ("wrap", "nearest")


# --- Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (("border", "wrap"), r"fill_mode\[0\] must be one of .*'border'\. Did you mean 'nearest'\?$"),
        (["wrap", "circular"], r"fill_mode\[1\] must be one of .*'circular'\. Did you mean 'wrap'\?$"),
        (("wrap", None), r"fill_mode\[1\] must be one of .*Received: fill_mode\[1\]=None\.$"),
        (
            ("wrap",),
            r"fill_mode must be one of .* for each axis of images\. Received: fill_mode=\['wrap'\]",
        ),
        (("wrap",) * 4, r"fill_mode must be one of .* for each axis of images\. Received"),
    ],
)
def test_a_wrong_word_in_a_pair_is_told_the_right_one(value, words):
    with pytest.raises(ValueError, match=words.replace(r"\['wrap'\]", r"\('wrap',\)")):
        keras_stn.Warp(fill_mode=value)


def test_three_words_for_an_image_are_one_too_many():
    images, grid = images_and_grid()
    words = ("wrap", "nearest", "wrap")
    message = (
        r"fill_mode must be one word, or one for each axis of these images, \(of rows, of columns\)"
    )
    for symbolic in (False, True):
        tensors = (
            (keras.KerasTensor(images.shape), keras.KerasTensor(grid.shape))
            if symbolic
            else (
                images,
                grid,
            )
        )
        with pytest.raises(ValueError, match=message):
            ops.grid_sample(*tensors, fill_mode=words)
    points = Points((tf.zeros((2, 1, 1)), tf.zeros((2, 1, 1))))
    with pytest.raises(ValueError, match=message):
        sampler.read(tf.constant(images), points, Sampling(fill_mode=words))
