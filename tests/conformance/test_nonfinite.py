"""NaN, infinite and huge params: no exception, finite output, and nobody else's pixels change."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from families import as_params

import keras_stn
from keras_stn import ops
from keras_stn.sampler import BORDERS as FILL_MODES
from keras_stn.sampler import KERNELS as INTERPOLATIONS

BAD = (np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38)
modes = pytest.mark.parametrize("fill_mode", FILL_MODES)
kernels = pytest.mark.parametrize("interpolation", INTERPOLATIONS)


def run_eagerly(function):
    return function


def run_in_graph(function):
    return tf.function(function)


def run_in_xla(function):
    return tf.function(function, jit_compile=True)


AFFINE = [("affine", *mode) for mode in itertools.product(INTERPOLATIONS, FILL_MODES)]
FAMILIES = [(family, "bilinear", "constant") for family in keras_stn.transforms.FAMILIES]
BILINEAR = [("affine", "bilinear", fill_mode) for fill_mode in FILL_MODES]
CASES = [
    *((*case, run_eagerly) for case in dict.fromkeys(AFFINE + FAMILIES)),
    *((*case, run_in_graph) for case in BILINEAR),
    # The cubic takes XLA six seconds to compile, so it stands here once.
    *((*case, run_in_xla) for case in dict.fromkeys(BILINEAR + FAMILIES)),
    ("affine", "nearest", "reflect", run_in_xla),
    ("affine", "bicubic", "wrap", run_in_xla),
]


def pictures(count=3):
    return np.random.default_rng(7).random((count, 5, 7, 2), "float32")


@pytest.mark.parametrize(("family", "interpolation", "fill_mode", "run"), CASES)
def test_bad_params_give_finite_images_and_touch_no_other(family, interpolation, fill_mode, run):
    layer = keras_stn.Warp(family, (4, 6), interpolation=interpolation, fill_mode=fill_mode)

    def step(images, params):
        with tf.GradientTape() as tape:
            tape.watch([images, params])
            warped = layer([images, params])
            loss = tf.reduce_sum(warped * warped)
        to_images, to_params = tape.gradient(loss, [images, params])
        return (warped, to_images) if to_params is None else (warped, to_images, to_params)

    step = run(step)
    cases = list(itertools.product(BAD, range(layer.transform.num_params)))
    images = tf.constant(pictures(2 * len(cases) + 1))
    good = np.tile(np.float32(layer.transform.identity_params) * 0.9 + 0.05, (len(images), 1))
    reference = [t.numpy() for t in step(images, tf.constant(as_params(family, good)))]
    params = good.copy()
    for image, (bad, column) in enumerate(cases):
        params[2 * image + 1, column] = bad  # each between two good ones
    results = [t.numpy() for t in step(images, tf.constant(as_params(family, params)))]
    for image, case in enumerate(cases):
        assert np.all(np.isfinite(results[0][2 * image + 1])), case
    for have, want in zip(results, reference, strict=True):
        assert np.array_equal(have[::2], want[::2])


@pytest.mark.parametrize("run", [run_eagerly, run_in_graph, run_in_xla])
@pytest.mark.parametrize("family", keras_stn.transforms.FAMILIES)
def test_params_that_are_not_finite_put_the_middle_row_and_column_outside_as_well(family, run):
    """There a slope is multiplied by 0, which of a number would make a coordinate of the image."""
    layer = keras_stn.Warp(family, (5, 3), fill_value=9.0)
    identity = np.float32(layer.transform.identity_params)
    cases = list(itertools.product((np.nan, np.inf, -np.inf), range(len(identity))))
    params = np.tile(identity, (len(cases), 1))
    for image, (bad, column) in enumerate(cases):
        params[image, column] = bad
    warped = run(layer)([pictures(len(cases)), as_params(family, params)]).numpy()
    for case, image in zip(cases, warped, strict=True):
        assert np.all(image == 9), case


@modes
@kernels
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_point_that_is_not_finite_is_outside_and_has_no_gradient(bad, interpolation, fill_mode):
    grid = np.random.default_rng(8).uniform(-1, 1, (3, 4, 6, 2)).astype("float32")
    spoiled = grid.copy()
    spoiled[1, 2, 3, 0] = bad
    tensor = tf.constant(spoiled)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        sampled = ops.grid_sample(pictures(), tensor, interpolation, fill_mode, 0.5)
    clean = ops.grid_sample(pictures(), grid, interpolation, fill_mode, 0.5).numpy()
    others = np.ones(grid.shape[:3], bool)
    others[1, 2, 3] = False
    assert np.array_equal(sampled.numpy()[others], clean[others])
    if fill_mode == "constant":
        assert np.all(sampled[1, 2, 3] == 0.5)
    else:
        assert np.all(np.isfinite(sampled[1, 2, 3]))
    if interpolation != "nearest":
        assert np.all(tape.gradient(sampled, tensor)[1, 2, 3, 0] == 0)


@kernels
@pytest.mark.parametrize("huge", [1e9, 1e30, np.inf])
def test_huge_coordinates_pick_the_border_on_their_own_side(huge, interpolation):
    row = np.array([1.0, 2.0, 3.0, 4.0], "float32").reshape(1, 1, 4, 1)
    grid = np.array([[-huge, 0], [huge, 0]], "float32").reshape(1, 1, 2, 2)
    sampled = ops.grid_sample(row, grid, interpolation, "nearest").numpy().ravel()
    assert sampled.tolist() == [1, 4]
    constant = ops.grid_sample(row, grid, interpolation, "constant", 7.0).numpy().ravel()
    assert constant.tolist() == [7, 7]


def test_a_transformer_passes_bad_images_on_alone():
    layer = keras_stn.SpatialTransformer("dense")
    images = pictures()
    layer(images)
    layer.localization.head.kernel.assign(np.random.default_rng(9).normal(size=(32, 6)) * 0.1)
    clean = layer(images).numpy()
    images[1, 0, 0, 0] = np.nan
    assert np.array_equal(layer(images).numpy()[[0, 2]], clean[[0, 2]])
