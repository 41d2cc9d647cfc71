"""Sizes known late, or not at all, give the bits of sizes known early."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    ALL,
    FUNCTIONS,
    IMAGES,
    LABELS,
    LOCALIZATIONS,
    METHODS,
    MODELS,
    NETWORKS,
    SOME,
    SPATIAL_TRANSFORMERS,
    WARPS,
    call,
    params,
    scramble,
    sequential,
)

from keras_stn import SpatialTransformer, Warp, ops

# TensorFlow's convolution returns a wrong shape for no images, and its maximum none at all.
BATCH_OF_NONE = (
    *METHODS,
    *FUNCTIONS,
    *WARPS,
    *(case for case in MODELS if case.id.endswith(("dense", "users-functional"))),
)

TRANSFORMERS_OF_ANY_SIZE = [case for case in SOME if case in SPATIAL_TRANSFORMERS and case.any_size]


def traced(made, inputs, unknown):
    """`made` as a tf.function of tensors with some axes unknown, where `unknown(axis, rank)` is true."""
    signature = [
        tf.TensorSpec([None if unknown(axis, x.ndim) else n for axis, n in enumerate(x.shape)], x.dtype)
        for x in inputs
    ]
    return tf.function(lambda *x: call(made, x), input_signature=signature).get_concrete_function()


def batch_and_size(axis, rank):
    return axis < rank - 1


def only_batch(axis, rank):
    return axis == 0


@pytest.mark.parametrize("case", ALL, ids=str)
def test_unknown_batch_and_size_give_the_same_output(case):
    made = case.built()
    function = traced(made, case.inputs, batch_and_size if case.any_size else only_batch)
    outputs = function(*map(tf.constant, case.inputs))
    if case in MODELS:  # layers after it need the channels, and every size that can be known
        symbols = [keras.KerasTensor(x.shape, x.dtype.name) for x in function.inputs[: len(case.inputs)]]
        assert tuple(function.outputs[0].shape) == call(made, symbols).shape
    # The same bits; but where a graph holds a network or a known output size beside an unknown one, it
    # is optimised (fused layers, products with the reciprocal of a constant): a few roundings in theta,
    # times 7 pixels, times differences of pixels of up to 2. A pixel too far would be 0.1 and more. The
    # sums of a pixel matrix, of numbers up to 7, are regrouped by graphs as well.
    rounded = "output_size", "pixel_matrix"
    exact = case not in SPATIAL_TRANSFORMERS + LOCALIZATIONS + NETWORKS
    exact = exact and not any(word in case.id for word in rounded)
    np.testing.assert_allclose(outputs, call(made, case.inputs), rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.parametrize("size", [(7, 5), (41, 40), (47, 46), (55, 61)])
def test_identity_of_known_output_size_is_exact_on_images_of_unknown_size(size):
    """These sizes tell a division from a product with the rounded reciprocal."""
    warp = Warp("affine", size, fill_mode="nearest")
    images = np.random.default_rng(0).normal(size=(1, *size, 2)).astype("float32")
    identity = np.array([warp.transform.identity_params], "float32")
    warped = traced(warp, (images, identity), batch_and_size)(tf.constant(images), tf.constant(identity))
    np.testing.assert_array_equal(warped, images)


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_function_takes_unknown_channels(case):
    """But for the last axis of grids of five axes: it tells volumes from videos."""
    made = case.make()
    images, *maps = case.inputs
    signature = [tf.TensorSpec([None] * images.ndim, images.dtype)]
    for tensor in maps:
        last = tensor.shape[-1] if tensor.ndim > 4 else None
        signature.append(tf.TensorSpec([*[None] * (tensor.ndim - 1), last], tensor.dtype))
    function = tf.function(lambda *x: call(made, x), input_signature=signature)
    actual, expected = function(*map(tf.constant, case.inputs)), call(made, case.inputs)
    # A splat of a few channels adds 2x2 taps at once: the same numbers in another order.
    atol = 1e-7 if "splat" in case.id else 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def test_a_grid_of_five_axes_must_tell_volumes_from_videos():
    signature = [tf.TensorSpec([None] * 5), tf.TensorSpec([None] * 5)]
    with pytest.raises(ValueError, match=r"grid must be known to hold \(x, y\) or \(x, y, z\)"):
        tf.function(ops.grid_sample, input_signature=signature).get_concrete_function()


@pytest.mark.parametrize("case", BATCH_OF_NONE, ids=str)
def test_batch_of_none_gives_a_batch_of_none(case):
    made = case.built()
    outputs = call(made, [x[:0] for x in case.inputs])
    assert outputs.shape == (0, *call(made, case.inputs).shape[1:])


@pytest.mark.parametrize("batch", [0, None])
@pytest.mark.parametrize("channels", [1, 3])
def test_step_on_a_batch_of_none_gives_no_gradients(channels, batch):
    """In a graph that knows of the 0, TensorFlow's optimiser once divided by it: the process died."""
    layer = Warp("affine")

    @tf.function(input_signature=[tf.TensorSpec([batch, 7, 5, channels]), tf.TensorSpec([batch, 6])])
    def gradients(images, params):
        with tf.GradientTape() as tape:
            tape.watch([images, params])
            loss = tf.reduce_sum(layer([images, params]))
        return tape.gradient(loss, [images, params])

    by_images, by_params = gradients(tf.zeros((0, 7, 5, channels)), tf.zeros((0, 6)))
    assert by_images.shape == (0, 7, 5, channels)
    assert by_params.shape == (0, 6)


@pytest.mark.parametrize("case", SOME + METHODS, ids=str)
def test_batch_of_one_gives_the_first_of_two(case):
    made = case.built()
    one, two = call(made, [x[:1] for x in case.inputs]), call(made, case.inputs)
    # 1e-5: networks add up their products in another order for another batch, and warps follow the
    # params; a mix-up of the batch would differ by the size of the pixels, 1.
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in WARPS if case.any_size], ids=str)
def test_image_of_one_pixel_across_shows_only_its_pixels_and_the_fill(case):
    """Between pixels and a fill value of one number, no interpolation finds another."""
    warp = Warp.from_config({**case.make().get_config(), "fill_value": 0.5})
    function = traced(warp, case.inputs, batch_and_size)
    for size in [(1, 1), (1, 5), (7, 1)]:
        lead = case.inputs[0].shape[:-3]  # the batch, and the frames of videos
        images = tf.fill((*lead, *size, 3), 0.5)
        # The weights of the taps add up to 1 within the roundings of float32.
        np.testing.assert_allclose(function(images, tf.constant(case.inputs[1])), 0.5, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (33, 70)])
def test_default_transformer_starts_as_the_identity_at_any_size(size):
    model = keras.Sequential([keras.Input((None, None, 2)), SpatialTransformer()])
    images = np.random.default_rng(0).normal(size=(3, *size, 2)).astype("float32")
    np.testing.assert_array_equal(model.predict(images, verbose=0), images)


def test_one_model_of_unknown_size_serves_every_size_as_a_model_of_that_size():
    any_size = scramble(
        keras.Sequential([keras.Input((None, None, 3)), SpatialTransformer(sequential())])
    )
    for size in [(7, 5), (3, 9), (12, 4)]:
        images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
        one_size = keras.Sequential([keras.Input((*size, 3)), SpatialTransformer(sequential())])
        one_size.set_weights(any_size.get_weights())
        np.testing.assert_array_equal(any_size(images), one_size(images))


@pytest.mark.parametrize("case", TRANSFORMERS_OF_ANY_SIZE, ids=str)
def test_gradient_is_the_same_at_unknown_size(case):
    layer = case.built()
    variables = [weight.value for weight in layer.trainable_weights]

    def gradients(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layer(images) ** 2)
        return tape.gradient(loss, [images, *variables], unconnected_gradients="zero")

    (images,) = case.inputs
    shape = [*[None] * (images.ndim - 1), images.shape[-1]]
    unknown = tf.function(gradients, input_signature=[tf.TensorSpec(shape)])
    for actual, expected in zip(
        unknown(tf.constant(images)), gradients(tf.constant(images)), strict=True
    ):
        # 1e-5 of the largest: sums of 210 float32 products, in an order that the graph may change.
        bound = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def test_wrong_channels_that_show_only_when_it_runs_raise_and_do_not_read_wrong_pixels():
    grid_sample = tf.function(
        ops.grid_sample, input_signature=[tf.TensorSpec([None] * 4), tf.TensorSpec([None] * 4)]
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        grid_sample(tf.constant(IMAGES), tf.zeros((2, 4, 6, 3)))


def test_grid_of_another_batch_raises_when_it_runs():
    grid_sample = tf.function(
        ops.grid_sample, input_signature=[tf.TensorSpec([None, 7, 5, 3]), tf.TensorSpec([None, 4, 6, 2])]
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        grid_sample(tf.constant(IMAGES), tf.zeros((3, 4, 6, 2)))


def test_labels_of_unknown_size_are_read_in_kind():
    shift = Warp("translation").transform.grid(params("translation"), (7, 5))
    grid_sample = tf.function(
        lambda labels: ops.grid_sample(labels, shift, "nearest", "wrap"),
        input_signature=[tf.TensorSpec([None, None, None, 1], tf.int32)],
    )
    expected = ops.grid_sample(LABELS, shift, "nearest", "wrap")
    np.testing.assert_array_equal(grid_sample(tf.constant(LABELS)), expected)
