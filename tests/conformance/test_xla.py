"""`tf.function(jit_compile=True)` computes what eager execution computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import ALL, FILL_MODES, IMAGES, LABELS, SOME, call

from keras_stn import Warp, ops, sampler

# What SOME leaves out and XLA might do otherwise.
_MORE = {
    "grid_sample-labels",
    "users-points.grid",
    "similarity.inverse",
    "Warp-output_size-align_corners",
}
CASES = [*SOME, *(case for case in ALL if case.id in _MORE)]


def with_gradients(made, inputs, weights):
    """The output, and the gradient of its squares to every input and weight of floating point."""
    sources = [x for x in (*inputs, *weights) if x.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(sources)
        outputs = call(made, inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
    return outputs, tape.gradient(loss, sources, unconnected_gradients="zero")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_output_and_gradients_equal_eager(case):
    made = case.built()
    weights = [weight.value for weight in getattr(made, "trainable_weights", [])]
    inputs = [tf.constant(x) for x in case.inputs]
    compiled = tf.function(lambda *x: with_gradients(made, x, weights), jit_compile=True)
    actual, expected = compiled(*inputs), with_gradients(made, inputs, weights)
    for ours, theirs in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        # XLA adds and fuses in its own order: 1e-5 of the largest number, some 100 roundings of
        # float32. A gather of another pixel, or a lost term, is of the order of the largest itself.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * max(np.abs(theirs).max(), 1))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_every_fill_mode_equals_eager_under_every_policy(policy):
    warps = [Warp("attention", fill_mode=fill_mode, dtype=policy) for fill_mode in FILL_MODES]
    params = tf.constant([[0.9, 0.3, -0.2], [1.6, 0.1, 0.4]])
    compiled = tf.function(lambda x: [warp([x, params]) for warp in warps], jit_compile=True)
    # One step of the compute dtype near 1, for sums of float32 that end on either side of a tie.
    atol = {"mixed_float16": 2**-10, "mixed_bfloat16": 2**-7, "float64": 1e-12}[policy]
    for warp, ours in zip(warps, compiled(tf.constant(IMAGES)), strict=True):
        theirs = warp([IMAGES, params])
        assert ours.dtype == theirs.dtype
        difference = tf.cast(ours, tf.float64) - tf.cast(theirs, tf.float64)
        assert np.abs(difference).max() <= atol, warp.fill_mode


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
def test_default_localization_trains_under_xla(policy):
    """The gradient of a resize in float64 has no XLA kernel, and must not be asked for."""
    case = next(case for case in SOME if case.id == "SpatialTransformer-default")
    keras.config.set_dtype_policy(policy)
    layer = case.built()
    weights = [weight.value for weight in layer.trainable_weights]
    compiled = tf.function(lambda x: with_gradients(layer, [x], weights)[1], jit_compile=True)
    assert all(np.isfinite(gradient).all() for gradient in compiled(tf.constant(IMAGES)))


# --- The fill modes' whole-number arithmetic -------------------------------------------------------
# Compilers turn a division by a constant into a product with its rounded reciprocal, which may put a
# multiple of the period on the wrong side of the floor.

SIZES = range(1, 41)
_far = np.array([999, 4095, 4096, 65535, 99999, 262143, 524287, 999983, 10**6])
WHOLE = np.concatenate([np.arange(-200, 201), _far, -_far])
fill_modes = pytest.mark.parametrize("fill_mode", ["reflect", "mirror", "wrap"])


def pixel_at(position, size, fill_mode):
    """The rule of each fill mode in integers, as the table of the documentation draws it."""
    if fill_mode == "wrap":
        return position % size
    if fill_mode == "reflect":
        return np.minimum(position % (2 * size), 2 * size - 1 - position % (2 * size))
    period = max(2 * size - 2, 1)
    return np.minimum(position % period, period - position % period) if size > 1 else 0 * position


def rows(positions, fill_mode, interpolation, sizes):
    """What stands at `positions` of a row of each size, whose pixels hold their own numbers."""
    x = tf.reshape(positions, (1, 1, -1))  # an argument: the compiler must not know the positions

    def row(size):
        pixels = tf.reshape(tf.range(size, dtype=tf.float32), (1, 1, size, 1))
        points = sampler.Points((x, tf.zeros_like(x)))
        return sampler.read(pixels, points, sampler.Sampling(interpolation, fill_mode))

    return [tf.reshape(row(size), (-1,)) for size in sizes]


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [True, False])
@fill_modes
def test_nearest_reads_every_position_of_every_size_as_eager_does_and_as_drawn(fill_mode, jit_compile):
    """At whole positions, quarters and ties, all of which float32 holds exactly."""
    positions = np.concatenate([WHOLE, WHOLE + 0.25, WHOLE - 0.25, WHOLE + 0.5]).astype("float32")
    graph = tf.function(lambda x: rows(x, fill_mode, "nearest", SIZES), jit_compile=jit_compile)
    compiled, eager = graph(positions), rows(positions, fill_mode, "nearest", SIZES)
    for size, ours, theirs in zip(SIZES, compiled, eager, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{size=}")
        drawn = np.tile(pixel_at(WHOLE, size, fill_mode), 3)  # ties are the oracles' to judge
        np.testing.assert_array_equal(ours[: drawn.size], drawn, err_msg=f"{size=}")


@pytest.mark.slow
@fill_modes
def test_bilinear_reads_every_whole_position_as_drawn(fill_mode):
    sizes = range(1, 13)  # the second tap is what is new
    compiled = tf.function(lambda x: rows(x, fill_mode, "bilinear", sizes), jit_compile=True)
    for size, row in zip(sizes, compiled(WHOLE.astype("float32")), strict=True):
        np.testing.assert_array_equal(row, pixel_at(WHOLE, size, fill_mode), err_msg=f"{size=}")


def test_labels_are_read_alike():
    grid = tf.constant(np.random.default_rng(0).uniform(-3, 3, (2, 9, 8, 2)), tf.float32)
    for fill_mode in FILL_MODES:
        compiled = tf.function(ops.grid_sample, jit_compile=True)
        arguments = (tf.constant(LABELS), grid, "nearest", fill_mode)
        np.testing.assert_array_equal(compiled(*arguments), ops.grid_sample(*arguments))
