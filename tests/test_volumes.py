"""Volumes (batch, D, H, W, channels): grids, samples and families beside outside oracles."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
import oracles
from keras_stn import ops, sampler, transforms
from keras_stn.sampler import BORDERS, Points, Sampling, interpreter, plan

SIZE = DEPTH, HEIGHT, WIDTH = 3, 5, 4
OUTPUT = 2, 4, 3
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
FAMILIES = ("affine", "translation", "attention", "rotation", "similarity", "diffeomorphic_affine")
ATOL = 1e-5  # float32: coordinates of a few pixels, slopes of noise up to 1 (cubics: 3) a pixel

interpolations = pytest.mark.parametrize("interpolation", INTERPOLATIONS)
modes = pytest.mark.parametrize("fill_mode", BORDERS)
corners = pytest.mark.parametrize("align_corners", [False, True])
families = pytest.mark.parametrize("name", FAMILIES)


def volumes(channels=2, dtype="float32", size=SIZE, batch=2):
    return np.random.default_rng(0).random((batch, *size, channels)).astype(dtype)


def grid(size=OUTPUT, dtype="float32", batch=2, within=1.6):
    """Points in and around the volumes."""
    return np.random.default_rng(1).uniform(-within, within, (batch, *size, 3)).astype(dtype)


def family(name, **arguments):
    return transforms.FAMILIES[name](ndim=3, **arguments)


def params_of(transform, batch=2, within=0.3, dtype="float32"):
    random = np.random.default_rng(2).uniform(-within, within, (batch, transform.num_params))
    return (np.array(transform.identity_params) + random).astype(dtype)


def largest_error(have, want):
    assert have.shape == want.shape
    return np.max(np.abs(np.asarray(have, "float64") - want))


def clear_of_ties(points, sizes, align_corners, halfway):
    """`points`, moved away from where an oracle in float64 takes another pixel than float32 does."""
    spans = np.array(sizes[::-1]) - align_corners
    pixels = points * spans / 2
    near = np.abs((pixels - halfway) - np.round(pixels - halfway)) < 0.02
    return (points + np.where(near, 0.1 / spans, 0)).astype(points.dtype)


# --- grid_sample ---------------------------------------------------------------------------------------


@corners
def test_trilinear_is_the_paper_s_double_sum_in_three_dimensions(align_corners):
    have = ops.grid_sample(volumes(), grid(), align_corners=align_corners)
    assert largest_error(have, oracles.tent_sample(volumes(), grid(), align_corners)) <= ATOL


@corners
@modes
@interpolations
def test_every_mode_is_numpy_padding(interpolation, fill_mode, align_corners):
    # Ties of the nearest pixel lie at any half, of all modes.
    points = clear_of_ties(grid(), SIZE, align_corners, 0.0)
    points = clear_of_ties(points, SIZE, align_corners, 0.5)
    arguments = interpolation, fill_mode, (0.5, -1.0), align_corners
    have = ops.grid_sample(volumes(), points, *arguments)
    assert largest_error(have, oracles.extended_sample(volumes(), points, *arguments)) <= ATOL


@modes
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_every_mode_is_scipy_map_coordinates(interpolation, fill_mode):
    points = clear_of_ties(clear_of_ties(grid(), SIZE, False, 0.0), SIZE, False, 0.5)
    arguments = interpolation, fill_mode, (0.5, -1.0), False
    have = ops.grid_sample(volumes(), points, *arguments)
    assert largest_error(have, oracles.scipy_sample(volumes(), points, *arguments)) <= ATOL


TORCH = [(i, f, a) for i, f, a in oracles.torch_combinations() if i != "bicubic"]  # which it has not


@pytest.mark.parametrize(("interpolation", "fill_mode", "align_corners"), TORCH)
def test_values_and_gradients_are_those_of_pytorch(interpolation, fill_mode, align_corners):
    torch = pytest.importorskip("torch", reason="needs PyTorch, the oracle")
    arrays = volumes(dtype="float64"), grid(dtype="float64")
    upstream = np.random.default_rng(3).normal(size=(2, *OUTPUT, 2))

    ours = [tf.constant(array) for array in arrays]
    with tf.GradientTape() as tape:
        tape.watch(ours)
        have = ops.grid_sample(*ours, interpolation, fill_mode, align_corners=align_corners)
    gradients = tape.gradient(have, ours, upstream)

    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    want = torch.nn.functional.grid_sample(
        theirs[0].movedim(-1, 1),
        theirs[1],
        interpolation,
        oracles.TORCH_PADDING[fill_mode],
        align_corners,
    ).movedim(1, -1)
    want.backward(torch.tensor(upstream))
    # float64: roundings of sums of some dozens of order 1.
    assert largest_error(have, want.detach().numpy()) <= 1e-12
    assert largest_error(gradients[0], theirs[0].grad.numpy()) <= 1e-12
    if interpolation == "nearest":
        assert gradients[1] is None
    else:
        assert largest_error(gradients[1], theirs[1].grad.numpy()) <= 1e-12


@corners
def test_affine_grid_is_that_of_pytorch_and_eq_1(align_corners):
    torch = pytest.importorskip("torch", reason="needs PyTorch, an oracle")
    theta = np.random.default_rng(4).normal(size=(2, 3, 4)).astype("float32")
    have = ops.affine_grid(theta, OUTPUT, align_corners)
    want = torch.nn.functional.affine_grid(torch.tensor(theta), [2, 1, *OUTPUT], align_corners)
    assert largest_error(have, oracles.affine_points(theta, OUTPUT, align_corners)) <= 1e-6
    assert largest_error(have, want.numpy()) <= 1e-6  # a few roundings of sums of order 4


# --- The sampler's ways to the same numbers ------------------------------------------------------------


def derivatives(reader, images, axes, sampling):
    """The output, its gradients to images and axes, and the gradients of their squares."""
    sources = [tf.constant(images), *map(tf.constant, axes)]
    with tf.GradientTape() as outer:
        outer.watch(sources)
        with tf.GradientTape() as inner:
            inner.watch(sources)
            output = reader(sources[0], Points(tuple(sources[1:])), sampling)
            loss = tf.reduce_sum(output * np.random.default_rng(5).normal(size=output.shape))
        first = inner.gradient(loss, sources)
        total = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    return [output, *first, *outer.gradient(total, sources, unconnected_gradients="zero")]


# Whole coordinates, and such as hang on one axis alone.
SHAPES = {"whole": (OUTPUT,) * 3, "separable": ((1, 1, 3), (1, 4, 1), (2, 1, 1))}
PLANS = [
    plan.Plan(compiled, looped, blocks, chunks)
    for compiled, looped in ((False, False), (True, False), (True, True))
    for blocks in (False, True)
    for chunks in (1, 3)
]


def axes_of(shape):
    rng = np.random.default_rng(6)
    sizes = reversed(SIZE)
    return [rng.uniform(-2, size + 1, (3, *of)) for size, of in zip(sizes, SHAPES[shape], strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3, 40])  # each has its own way to the gradients
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling("bilinear", "constant", 0.5),
        Sampling("bilinear", "wrap"),
        Sampling("bicubic", "reflect"),
    ],
    ids=str,
)
def test_output_and_first_and_second_derivatives_match_automatic_differentiation(
    sampling, channels, shape
):
    arrays = volumes(channels, "float64", batch=3), axes_of(shape), sampling
    ours, theirs = (derivatives(reader, *arrays) for reader in (sampler.read, interpreter.read))
    for have, want in zip(ours, theirs, strict=True):
        assert largest_error(have, want) <= 1e-11  # float64: sums of some hundred terms of order 10


@pytest.mark.parametrize("chosen", PLANS, ids=str)
def test_every_plan_gives_the_gradients_of_automatic_differentiation(chosen):
    for channels in 1, 3:
        arrays = volumes(channels, "float64", batch=3), axes_of("whole"), Sampling(fill_value=0.5)
        ours = derivatives(lambda *args: plan.read_by(chosen, *args), *arrays)
        for have, want in zip(ours, derivatives(interpreter.read, *arrays), strict=True):
            assert largest_error(have, want) <= 1e-11  # as above


def test_compiled_functions_give_the_numbers_of_eager_calls():
    transform = family("affine")
    layer = keras_stn.Warp(transform, OUTPUT)
    params = params_of(transform)
    compiled = tf.function(lambda *tensors: layer(list(tensors)), jit_compile=True)
    assert largest_error(compiled(volumes(), params), layer([volumes(), params]).numpy()) <= 1e-6


# --- Shapes, dtypes, labels, numbers that are none -----------------------------------------------------


@pytest.mark.parametrize("size", list(itertools.product((1, 2), repeat=3)))
@corners
def test_sizes_of_one_and_two(size, align_corners):
    have = ops.grid_sample(volumes(size=size), grid(), align_corners=align_corners)
    assert largest_error(have, oracles.tent_sample(volumes(size=size), grid(), align_corners)) <= ATOL


def test_channels_first_volumes_are_channels_last_ones_with_another_order():
    first = np.ascontiguousarray(np.moveaxis(volumes(), -1, 1))
    have = ops.grid_sample(first, grid(), data_format="channels_first")
    np.testing.assert_array_equal(np.moveaxis(have, 1, -1), ops.grid_sample(volumes(), grid()))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_coordinates_are_float32_at_least(dtype):
    images = tf.cast(volumes(), dtype)
    points = grid(dtype="float64")
    have = ops.grid_sample(images, points)
    want = oracles.tent_sample(np.asarray(tf.cast(images, "float64")), points, False)
    assert have.dtype == dtype
    # A rounding of values below 1: half a unit in the last place.
    atol = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float64": 1e-12}[dtype]
    assert largest_error(tf.cast(have, "float64"), want) <= atol + (ATOL if dtype != "float64" else 0)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@modes
def test_labels_keep_their_values(dtype, fill_mode):
    labels = np.random.default_rng(7).integers(0, 2 if dtype == "bool" else 200, (2, *SIZE, 1))
    labels = labels.astype(dtype)
    have = ops.grid_sample(labels, grid(), "nearest", fill_mode)
    want = ops.grid_sample(labels.astype("float32"), grid(), "nearest", fill_mode)
    assert have.dtype == dtype
    np.testing.assert_array_equal(tf.cast(have, "float32"), want)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@interpolations
def test_what_is_no_number_lies_outside_and_moves_nothing_else(interpolation, bad):
    points = grid()
    spoilt = points.copy()
    spoilt[0, 1, 2, 0, 1] = bad
    tensors = [tf.constant(volumes()), tf.constant(spoilt)]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        have = ops.grid_sample(*tensors, interpolation, fill_value=7.0)
    gradients = [g for g in tape.gradient(have, tensors) if g is not None]
    want = ops.grid_sample(volumes(), points, interpolation, fill_value=7.0).numpy()
    want[0, 1, 2, 0] = have[0, 1, 2, 0]
    np.testing.assert_array_equal(have, want)
    assert np.max(np.abs(have[0, 1, 2, 0] - 7.0)) <= 1e-6  # 64 weights of a cubic add up to 1 + 7e-8
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    if interpolation != "nearest":
        assert gradients[1][0, 1, 2, 0, 1] == 0
        # All around is 7: slopes of a cubic add up to 0 but for a rounding.
        assert np.max(np.abs(gradients[1][0, 1, 2, 0])) <= 1e-6


def test_sizes_may_be_unknown():
    function = tf.function(
        lambda images, points: ops.grid_sample(images, points, fill_mode="mirror"),
        input_signature=[
            tf.TensorSpec((None, None, None, None, 2)),
            tf.TensorSpec((None, None, None, None, 3)),
        ],
    )
    for size in SIZE, (1, 2, 7):
        points = grid((2, 3, 5))
        want = ops.grid_sample(volumes(size=size), points, fill_mode="mirror")
        assert largest_error(function(volumes(size=size), points), want.numpy()) <= 1e-6


def test_a_batch_of_one_goes_with_any_other():
    one_volume = ops.grid_sample(volumes(batch=1), grid())
    repeated = ops.grid_sample(np.repeat(volumes(batch=1), 2, 0), grid())
    assert largest_error(one_volume, repeated.numpy()) <= 1e-6
    one_grid = ops.grid_sample(volumes(), grid(batch=1))
    repeated = ops.grid_sample(volumes(), np.repeat(grid(batch=1), 2, 0))
    assert largest_error(one_grid, repeated.numpy()) <= 1e-6


def test_a_functional_model_holds_the_functions():
    images, theta = keras.Input((*SIZE, 2)), keras.Input((3, 4))
    sampled = ops.grid_sample(images, ops.affine_grid(theta, OUTPUT))
    assert sampled.shape == (None, *OUTPUT, 2)
    model = keras.Model([images, theta], sampled)
    maps = np.random.default_rng(8).normal(size=(2, 3, 4)).astype("float32")
    want = oracles.tent_sample(volumes(), oracles.affine_points(maps, OUTPUT, False), False)
    assert largest_error(model([volumes(), maps]), want) <= ATOL


# --- Families ------------------------------------------------------------------------------------------

CUBE_TURNS = {  # the linear part of theta, for (x, y, z), and what NumPy makes of a volume with it
    "identity": ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], lambda v: v),
    "flip x": ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], lambda v: v[:, :, :, ::-1]),
    "flip y": ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], lambda v: v[:, :, ::-1]),
    "flip z": ([[1, 0, 0], [0, 1, 0], [0, 0, -1]], lambda v: v[:, ::-1]),
    "about z": ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], lambda v: np.rot90(v, 1, axes=(2, 3))),
    "about x": ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], lambda v: np.rot90(v, 1, axes=(1, 2))),
    "about y": ([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], lambda v: np.rot90(v, 1, axes=(3, 1))),
    "all axes": ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], lambda v: v.transpose(0, 2, 3, 1, 4)),
}


@corners
@interpolations
@pytest.mark.parametrize("turn", CUBE_TURNS)
def test_identity_flips_and_quarter_turns_return_the_very_voxels(turn, interpolation, align_corners):
    linear, expected = CUBE_TURNS[turn]
    params = np.pad(np.array(linear, "float32"), ((0, 0), (0, 1))).reshape(1, 12)
    for size in SIZE, (1, 6, 7), (33, 8, 17):
        images = volumes(size=size)
        want = expected(images)
        arguments = family("affine"), want.shape[1:4], interpolation
        have = ops.warp(images, params, *arguments, align_corners=align_corners)
        np.testing.assert_array_equal(have, want)


@families
def test_a_fresh_transformer_returns_its_input(name):
    for size in SIZE, (1, 6, 7), (32, 16, 8):
        layer = keras_stn.SpatialTransformer(transform=family(name))
        np.testing.assert_array_equal(layer(volumes(size=size)), volumes(size=size))


@families
def test_warp_is_the_trilinear_sum_at_theta(name):
    transform = family(name)
    params = params_of(transform)
    points = oracles.affine_points(np.asarray(transform.theta(params)), OUTPUT, False)
    have = ops.warp(volumes(), params, transform, OUTPUT)
    assert largest_error(have, oracles.tent_sample(volumes(), points, False)) <= ATOL


@families
def test_grid_and_transform_points_are_theta(name):
    transform = family(name)
    params = params_of(transform)
    theta = np.asarray(transform.theta(params))
    want = oracles.affine_points(theta, OUTPUT, False)
    assert largest_error(transform.grid(params, OUTPUT), want) <= 1e-6
    points = np.random.default_rng(9).uniform(-1, 1, (2, 7, 3)).astype("float32")
    want = np.einsum("bij,bnj->bni", theta, np.pad(points, ((0, 0), (0, 0), (0, 1)), constant_values=1))
    assert largest_error(transform.transform_points(params, points), want) <= 1e-6


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@families
def test_gradient_to_params_is_that_of_finite_differences(name, interpolation):
    transform = family(name)
    layer = keras_stn.Warp(
        transform, OUTPUT, interpolation=interpolation, fill_value=0.3, dtype="float64"
    )
    images, params = volumes(dtype="float64"), params_of(transform, dtype="float64")
    upstream = np.random.default_rng(10).normal(size=(2, *OUTPUT, 2))
    tensor = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        output = layer([images, tensor])
    have = tape.gradient(output, tensor, upstream)
    want = np.zeros_like(params)
    for index in np.ndindex(*params.shape):
        step = np.zeros_like(params)
        step[index] = 1e-6
        up, down = (layer([images, params + sign * step]).numpy() for sign in (1, -1))
        want[index] = np.sum((up - down) * upstream) / 2e-6
    # As in tests/conformance/test_gradients.py: rounding 1e-16 / 1e-6, times slopes of some tens.
    assert largest_error(have, want) <= 1e-6
    assert np.max(np.abs(want)) > 0.1


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "diffeomorphic_affine"])
def test_compose_and_inverse_are_products_and_inverses_of_matrices(name):
    transform = family(name)
    outer = params_of(transform)
    inner = outer[::-1]
    whole = [_homogeneous(transform.theta(params)) for params in (outer, inner)]
    composed = _homogeneous(transform.theta(transform.compose(outer, inner)))
    inverse = _homogeneous(transform.theta(transform.inverse(outer)))
    # A few roundings of entries up to 2; an inverse multiplies them by up to 4.
    assert largest_error(composed, whole[0] @ whole[1]) <= 1e-6
    assert largest_error(inverse, np.linalg.inv(whole[0])) <= 4e-6


def _homogeneous(theta):
    last = np.tile([[[0.0, 0.0, 0.0, 1.0]]], (len(theta), 1, 1))
    return np.concatenate([np.asarray(theta, "float64"), last], axis=1)


def test_pixel_matrices_map_voxels_to_voxels():
    transform = family("affine")
    params = params_of(transform, dtype="float64")
    for align_corners in False, True:
        matrix = transform.pixel_matrix(params, SIZE, OUTPUT, align_corners, target_to_source=True)
        points = oracles.affine_points(np.asarray(transform.theta(params)), OUTPUT, align_corners)
        want = oracles.to_pixel(points, np.array(SIZE[::-1]), align_corners)
        voxels = np.stack(np.indices(OUTPUT)[::-1], axis=-1)
        have = np.einsum("bij,dhwj->bdhwi", matrix[:, :, :3], voxels)
        assert largest_error(have + np.reshape(matrix[:, :, 3], (2, 1, 1, 1, 3)), want) <= 1e-12
        arguments = matrix, SIZE, OUTPUT, align_corners, True
        assert largest_error(transform.from_pixel_matrix(*arguments), params) <= 1e-12


def test_families_of_volumes_name_their_params():
    assert family("translation").param_names == ("x", "y", "z")
    assert family("attention").param_names == ("scale", "x", "y", "z")
    assert family("rotation").param_names == ("angle_x", "angle_y", "angle_z")
    assert family("affine").param_names[:5] == ("xx", "xy", "xz", "x", "yx")
    for name in FAMILIES:
        for ndim in 2, 3:
            transform = transforms.FAMILIES[name](ndim=ndim)
            assert len(transform.param_names) == len(transform.identity_params) == transform.num_params
            assert transform.ndim == ndim
            assert transform == transforms.get(keras.saving.serialize_keras_object(transform))


def test_families_without_a_rank_are_those_of_images():
    for name in FAMILIES:  # as configs were before there was one
        assert transforms.FAMILIES[name].from_config({}) == transforms.FAMILIES[name](ndim=2)


# --- Errors --------------------------------------------------------------------------------------------


def error_of(function):
    with pytest.raises(ValueError, match="Received: ") as caught:
        function()
    return str(caught.value)


def test_errors_say_which_rank_was_expected():
    message = error_of(lambda: transforms.Affine(ndim=4))
    assert message == "ndim must be 2, or 3 for volumes. Received: ndim=4."
    message = error_of(lambda: ops.affine_grid(np.zeros((2, 3, 4)), (4, 5)))
    assert message.startswith("theta must have shape (batch, 2, 3)")
    message = error_of(lambda: ops.affine_grid(np.zeros((2, 3, 4)), (1, 2, 3, 4)))
    assert message.startswith(
        "output_size must be two positive integers, (height, width), or three positive integers, "
        "(depth, height, width)."
    )
    message = error_of(lambda: keras_stn.Warp(family("affine"), (4, 5)))
    assert message.startswith("output_size must be three positive integers, (depth, height, width).")
    message = error_of(lambda: transforms.Rotation(aspect_ratio=1.5, ndim=3))
    assert message.startswith("aspect_ratio of a volume must be a pair of positive numbers")
    message = error_of(lambda: ops.warp(volumes()[:, 0], params_of(family("affine")), family("affine")))
    assert message.startswith("images must have shape (batch, D, H, W, channels).")


def test_params_of_a_volume_under_a_family_of_images_are_told_of_volumes():
    params = params_of(family("affine"))
    for warp in ops.warp, lambda *tensors: keras_stn.Warp()(*tensors):
        message = error_of(lambda warp=warp: warp(volumes(), params))
        assert "for volumes: transforms.Affine(ndim=3)" in message
