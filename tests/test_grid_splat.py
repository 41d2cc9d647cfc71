"""`ops.grid_splat` is the adjoint of `ops.grid_sample`, has gradients, and finds its holes."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import oracles
from keras_stn import ops, sampler
from keras_stn.sampler import BORDERS, KERNELS, Sampling, interpreter, plan

SIZE = HEIGHT, WIDTH = 5, 8
MODES = [*BORDERS, ("nearest", "wrap"), ("constant", "mirror")]
modes = pytest.mark.parametrize("fill_mode", MODES, ids=str)
kernels = pytest.mark.parametrize("interpolation", KERNELS)
# No mean by a cubic: its weights may add up to almost nothing, and the mean to anything.
sums_and_means = pytest.mark.parametrize(
    ("interpolation", "normalize"), [("bilinear", False), ("bicubic", False), ("bilinear", True)]
)
corners = pytest.mark.parametrize("align_corners", [False, True])


def values_and_grid(channels=3, dtype="float64", size=(6, 4), reach=2.5):
    random = np.random.default_rng(1)
    values = random.normal(size=(2, *size, channels)).astype(dtype)
    return values, random.uniform(-reach, reach, (2, *size, 2)).astype(dtype)


def derivatives(function, *tensors):
    """The output, and its gradients to the tensors."""
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        output = function(*tensors)
        weights = np.random.default_rng(2).normal(size=output.shape)
        loss = tf.reduce_sum(output * tf.cast(weights, output.dtype))
    return [output, *tape.gradient(loss, tensors)]


# --- The numbers -----------------------------------------------------------------------------------


@modes
@kernels
@corners
@pytest.mark.parametrize("size", [(5, 8), (8, 3), (1, 6), (1, 1)], ids=str)
def test_it_is_the_adjoint_of_the_sampler(interpolation, fill_mode, align_corners, size):
    values, grid = values_and_grid()
    images = np.random.default_rng(3).random((2, *size, 3))
    read = ops.grid_sample(images, grid, interpolation, fill_mode, align_corners=align_corners)
    given = ops.grid_splat(values, grid, size, interpolation, fill_mode, align_corners=align_corners)
    left, right = np.sum(read.numpy() * values), np.sum(images * given.numpy())
    # The same sum of some hundred products in float64, in another order.
    scale = np.sum(np.abs(read.numpy() * values))
    assert abs(left - right) <= 1e-12 * scale
    assert scale > 1  # there was something to give


def test_it_gives_what_torch_gives_back_to_the_input_of_its_grid_sample():
    torch = pytest.importorskip("torch", reason="PyTorch is an oracle only; CI installs it")
    values, grid = values_and_grid(reach=1.4)
    for interpolation, fill_mode, align_corners in oracles.torch_combinations():
        image = torch.zeros((2, 3, *SIZE), dtype=torch.float64, requires_grad=True)
        sampled = torch.nn.functional.grid_sample(
            image,
            torch.tensor(grid),
            interpolation,
            oracles.TORCH_PADDING[fill_mode],
            align_corners,
        )
        sampled.backward(torch.tensor(values).permute(0, 3, 1, 2))
        expected = image.grad.permute(0, 2, 3, 1).numpy()
        arguments = interpolation, fill_mode, False, align_corners
        given = ops.grid_splat(values, grid, SIZE, *arguments)
        # float64, as values of `grid_sample` beside torch's
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-12, err_msg=str(arguments))


def test_the_mean_is_that_of_a_loop():
    values, grid = values_and_grid(reach=1.1)
    sums, hits = np.zeros((2, *SIZE, 3)), np.zeros((2, *SIZE, 1))
    for b, i, j in np.ndindex(*grid.shape[:3]):
        x = oracles.to_pixel(grid[b, i, j, 0], WIDTH, False)
        y = oracles.to_pixel(grid[b, i, j, 1], HEIGHT, False)
        for row, column in np.ndindex(*SIZE):
            weight = max(0, 1 - abs(x - column)) * max(0, 1 - abs(y - row))
            sums[b, row, column] += weight * values[b, i, j]
            hits[b, row, column] += weight
    expected = np.divide(sums, hits, out=np.zeros_like(sums), where=hits > 0)
    assert 0 < np.mean(hits == 0) < 0.5
    mean = ops.grid_splat(values, grid, SIZE, normalize=True)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)  # float64, of order 1


# --- Gradients -------------------------------------------------------------------------------------


def off_lattice(grid):
    """The grid at least a fifth of a pixel away from every pixel centre, where slopes jump."""
    size = np.array([WIDTH, HEIGHT])
    pixels = (grid + 1) / 2 * size - 0.5
    fraction = np.clip(pixels - np.floor(pixels), 0.2, 0.8)
    return (np.floor(pixels) + fraction + 0.5) / size * 2 - 1


@modes
@sums_and_means
@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_are_those_of_finite_differences(interpolation, fill_mode, channels, normalize):
    values, grid = values_and_grid(channels, size=(3, 4), reach=1.5)
    values, grid = values[:1], off_lattice(grid[:1])

    def splat(values, grid):
        return ops.grid_splat(values, grid, SIZE, interpolation, fill_mode, normalize)

    output, *gradients = derivatives(splat, values, grid)
    weights = np.random.default_rng(2).normal(size=output.shape)
    for number, (array, gradient) in enumerate(zip((values, grid), gradients, strict=True)):
        assert np.max(np.abs(gradient)) > 0.1
        for index in np.ndindex(*array.shape):
            sums = []
            for step in (1e-6, -1e-6):
                moved = [values.copy(), grid.copy()]
                moved[number][index] += step
                sums.append(np.sum(splat(*moved).numpy() * weights))
            # float64: rounding of 1e-16 over steps of 1e-6, times slopes of some ten
            assert abs((sums[0] - sums[1]) / 2e-6 - gradient[index]) <= 1e-6, (number, index)


@kernels
@pytest.mark.parametrize("fill_mode", ["constant", "wrap"])
@pytest.mark.parametrize("channels", [1, 3, 40])  # each has its own way to the gradients
def test_derivatives_are_those_of_plain_scatters(interpolation, fill_mode, channels):
    """First and second ones, beside automatic differentiation of the reader for files."""
    values, grid = map(tf.constant, values_and_grid(channels))

    def squares(function):
        with tf.GradientTape() as tape:
            tape.watch([values, grid])
            total = tf.add_n(
                [tf.reduce_sum(g**2) for g in derivatives(function, values, grid) if g is not None]
            )
        return tape.gradient(total, [values, grid])

    def splat(values, grid):
        return ops.grid_splat(values, grid, SIZE, interpolation, fill_mode)

    def plain(values, grid):
        with sampler.using(interpreter.read):
            return splat(values, grid)

    ours = derivatives(splat, values, grid) + squares(splat)
    theirs = derivatives(plain, values, grid) + squares(plain)
    for have, want in zip(ours, theirs, strict=True):
        if interpolation == "nearest" and (have is None or not np.any(have)):
            continue  # nothing to the grid
        # float64, sums of at most some hundred terms of order 100
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-9)


def test_a_hole_is_zero_and_gives_no_nan():
    values = tf.constant([[[[2.0], [4.0]]]])
    grid = tf.constant([[[[-0.75, 0.0], [-0.75, 0.0]]]])  # both to the first of four pixels
    output, *gradients = derivatives(
        lambda *tensors: ops.grid_splat(*tensors, (1, 4), normalize=True), values, grid
    )
    assert output.numpy().ravel().tolist() == [3, 0, 0, 0]
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# --- What is no point, and no value ----------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("interpolation", "fill_mode", "compiled"),
    [
        *itertools.product(KERNELS, MODES, [False]),
        *itertools.product(KERNELS, ["constant", "wrap"], [True]),  # a second each
    ],
    ids=str,
)
def test_what_goes_nowhere_is_lost_and_changes_nothing_else(interpolation, fill_mode, bad, compiled):
    values, grid = values_and_grid(dtype="float32")
    silent, spoiled = values.copy(), grid.copy()
    silent[1, 2, 3] = 0
    spoiled[1, 2, 3, 1] = bad

    def splat(values, grid):
        return derivatives(
            lambda *tensors: ops.grid_splat(*tensors, SIZE, interpolation, fill_mode), values, grid
        )

    splat = tf.function(splat, jit_compile=True) if compiled else splat
    clean, _, clean_to_grid = splat(tf.constant(silent), tf.constant(grid))
    for lost in (values[1, 2, 3], np.nan):
        values[1, 2, 3] = lost
        output, to_values, to_grid = splat(tf.constant(values), tf.constant(spoiled))
        np.testing.assert_array_equal(output, clean)
        assert not np.any(to_values[1, 2, 3])
        assert np.isfinite(to_values).all()
        if interpolation != "nearest":
            assert not np.any(to_grid[1, 2, 3])
            np.testing.assert_array_equal(to_grid, clean_to_grid)  # where nothing was given


@kernels
def test_points_far_away_give_finite_images(interpolation):
    values, grid = values_and_grid(dtype="float32")
    grid[0, :3] *= 1e30
    for fill_mode in MODES:
        output, *gradients = derivatives(
            lambda v, g, mode=fill_mode: ops.grid_splat(v, g, SIZE, interpolation, mode), values, grid
        )
        found = [output, *(gradient for gradient in gradients if gradient is not None)]
        assert all(np.isfinite(tensor).all() for tensor in found)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_whole_numbers_are_refused(dtype):
    values, grid = values_and_grid()
    message = rf"^values must be floating point; cast it first: .* Received: values\.dtype={dtype}\.$"
    for tensors in ((values.astype(dtype), grid), (keras.KerasTensor(values.shape, dtype), grid)):
        with pytest.raises(ValueError, match=message):
            ops.grid_splat(*tensors, SIZE)


def test_a_grid_of_another_size_is_refused():
    values, grid = values_and_grid()
    message = r"^grid must have shape \(batch of values, h, w, 2\), with \(h, w\) of values\. Received"
    for tensors in ((values, grid[:, :3]), (values, grid[..., :1]), (values[:, :3], grid)):
        with pytest.raises(ValueError, match=message):
            ops.grid_splat(*tensors, SIZE)
    with pytest.raises(ValueError, match="values has a batch of 2: give as many, or one for all"):
        ops.grid_splat(values, np.concatenate([grid, grid[:1]]), SIZE)


# --- Shapes, dtypes, compilers ---------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [False, True])
def test_unknown_shapes_give_the_same_output(data_format, normalize):
    values, grid = values_and_grid(dtype="float32")
    expected = ops.grid_splat(values, grid, SIZE, normalize=normalize)
    first = data_format == "channels_first"
    if first:
        values, expected = values.transpose(0, 3, 1, 2), np.transpose(expected, (0, 3, 1, 2))
    function = tf.function(
        lambda values, grid: ops.grid_splat(
            values, grid, SIZE, normalize=normalize, data_format=data_format
        ),
        input_signature=[
            tf.TensorSpec((None, 3, None, None) if first else (None, None, None, 3)),
            tf.TensorSpec((None, None, None, 2)),
        ],
    )
    np.testing.assert_array_equal(function(values, grid), expected)
    assert function(values[:0], grid[:0]).shape == (0, *expected.shape[1:])
    spec = function.get_concrete_function().structured_outputs.shape
    assert spec.as_list() == [None, *expected.shape[1:]]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_batch_of_one_goes_with_any_other(which, normalize):
    tensors = list(values_and_grid())
    tensors[which] = tensors[which][:1]
    repeated = list(tensors)
    repeated[which] = np.repeat(tensors[which], 2, axis=0)

    def splat(*tensors):
        return ops.grid_splat(*tensors, SIZE, normalize=normalize)

    ours, theirs = derivatives(splat, *tensors), derivatives(splat, *repeated)
    theirs[1 + which] = tf.reduce_sum(theirs[1 + which], axis=0, keepdims=True)
    for have, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-12)  # float64, of order 10


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_half_precision_are_float32(dtype):
    values = tf.ones((1, 60, 50, 1), dtype)  # 3000 of them: float16 counts to 2048, bfloat16 to 256
    centre = tf.zeros((1, 60, 50, 2))
    hits = ops.grid_splat(values, centre, (1, 1))
    assert hits.dtype == dtype
    assert hits.numpy().item() == tf.cast(3000.0, dtype).numpy().item()
    mean = ops.grid_splat(values * 100, centre, (1, 1), normalize=True)  # their sum is above 65504
    assert mean.dtype == dtype
    assert mean.numpy().item() == 100


@sums_and_means
@pytest.mark.parametrize("fill_mode", ["constant", "mirror"])
def test_compiled_splats_are_those_of_eager_calls(interpolation, fill_mode, normalize):
    values, grid = map(tf.constant, values_and_grid(dtype="float32"))

    def splat(values, grid):
        return derivatives(
            lambda *tensors: ops.grid_splat(*tensors, SIZE, interpolation, fill_mode, normalize),
            values,
            grid,
        )

    for have, want in zip(
        tf.function(splat, jit_compile=True)(values, grid), splat(values, grid), strict=True
    ):
        # Roundings of 6e-8 in sums of some terms of order 10, and over hits of as little as 0.01
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-4 if normalize else 2e-5)


@modes
def test_large_values_are_compiled_and_give_the_same(fill_mode):
    random = np.random.default_rng(4)
    values = tf.constant(random.random((3, 190, 180, 2)))
    grid = tf.constant(random.uniform(-1.2, 1.2, (3, 190, 180, 2)))
    chosen = plan.plan_for((3, 90, 70, 2), values.shape, Sampling(fill_mode=fill_mode), loops=False)
    assert chosen.compiled
    assert chosen.chunks > 1
    assert not chosen.looped

    def splat(values, grid):
        return ops.grid_splat(values, grid, (90, 70), fill_mode=fill_mode)

    ours = derivatives(splat, values, grid)
    with sampler.using(interpreter.read):
        theirs = derivatives(splat, values, grid)
    for have, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-10)  # float64, of order 100


@pytest.mark.parametrize(("blocks", "chunks"), [*itertools.product((False, True), (1, 2))])
def test_every_plan_gives_the_same(monkeypatch, blocks, chunks):
    values, grid = values_and_grid()
    expected = ops.grid_splat(values, grid, SIZE)
    forced = plan.Plan(compiled=True, blocks=blocks, chunks=chunks)
    monkeypatch.setattr(plan, "plan_for", lambda *_, **__: forced)
    np.testing.assert_allclose(ops.grid_splat(values, grid, SIZE), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("align_corners", [False, True])
def test_in_volumes_it_gives_what_torch_gives_back(data_format, align_corners):
    torch = pytest.importorskip("torch", reason="PyTorch is an oracle only; CI installs it")
    random = np.random.default_rng(7)
    values, grid = random.normal(size=(2, 3, 4, 2, 5)), random.uniform(-1.3, 1.3, (2, 3, 4, 2, 3))
    volume = torch.zeros((2, 5, 4, 3, 6), dtype=torch.float64, requires_grad=True)
    channels_first = values.transpose(0, 4, 1, 2, 3)
    sampled = torch.nn.functional.grid_sample(
        volume, torch.tensor(grid), "bilinear", "zeros", align_corners
    )
    sampled.backward(torch.tensor(channels_first))
    expected = volume.grad.numpy()
    if data_format == "channels_first":
        values = channels_first
    else:
        expected = expected.transpose(0, 2, 3, 4, 1)
    given = ops.grid_splat(values, grid, (4, 3, 6), align_corners=align_corners, data_format=data_format)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-12)  # float64, as for images
    mean = ops.grid_splat(np.ones_like(values), grid, (4, 3, 6), normalize=True, data_format=data_format)
    assert set(np.unique(np.round(mean, 12))) == {0.0, 1.0}


@kernels
@pytest.mark.parametrize("fill_mode", ["constant", ("wrap", "constant", "nearest")], ids=str)
def test_the_sampler_gives_to_volumes_as_well(interpolation, fill_mode):
    random, sampling = np.random.default_rng(6), Sampling(interpolation, fill_mode)
    values, volumes = random.normal(size=(2, 3, 4, 2, 2)), random.random((2, 5, 3, 6, 2))
    points = sampler.Points(tuple(tf.constant(random.uniform(-6, 9, (2, 3, 4, 2))) for _ in range(3)))
    values, volumes = tf.constant(values), tf.constant(volumes)
    left = tf.reduce_sum(sampler.read(volumes, points, sampling) * values)
    given, to_values, *to_axes = derivatives(
        lambda values, *axes: sampler.splat(values, sampler.Points(axes), (5, 3, 6), sampling),
        values,
        *points.axes,
    )
    assert abs(left - tf.reduce_sum(given * volumes)) <= 1e-12  # float64, some hundred products
    # By automatic differentiation of the form for files
    with sampler.using(interpreter.read):
        expected = derivatives(
            lambda values, *axes: sampler.splat(values, sampler.Points(axes), (5, 3, 6), sampling),
            values,
            *points.axes,
        )
    found = [given, to_values, *(to_axes if interpolation != "nearest" else [])]
    for have, want in zip(found, expected, strict=False):
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-11)


# --- What it is for --------------------------------------------------------------------------------


def test_a_forward_warp_finds_its_holes_by_the_hits():
    """A picture drawn twice as wide: every other column is a hole, and normalising fills none."""
    picture = np.random.default_rng(5).random((1, 3, 4, 1)).astype("float32")
    rows, columns = np.mgrid[0:3, 0:4]
    x, y = (2 * (2 * columns) + 1) / 8 - 1, (2 * rows + 1) / 3 - 1  # pixel 2 * column of 8
    grid = np.stack([x, y], axis=-1)[None].astype("float32")
    arguments = {"interpolation": "nearest", "normalize": True}
    wide = ops.grid_splat(picture, grid, (3, 8), **arguments).numpy()
    hits = ops.grid_splat(np.ones_like(picture), grid, (3, 8), "nearest").numpy()
    np.testing.assert_array_equal(wide[:, :, ::2], picture)
    np.testing.assert_array_equal(
        hits == 0, np.arange(8).reshape(1, 1, 8, 1) % 2 * np.ones_like(hits) == 1
    )
    assert not np.any(wide[hits == 0])


def test_the_mean_of_splats_undoes_a_turn():
    """A smooth picture is read through a turn, and put back where it came from."""
    rows, columns = np.mgrid[0:40, 0:50] / 8
    picture = (np.sin(rows) * np.cos(columns))[None, :, :, None].astype("float32")
    turn, stretch = np.deg2rad(20), 50 / 40
    theta = np.array(
        [[[np.cos(turn), -np.sin(turn) / stretch, 0], [np.sin(turn) * stretch, np.cos(turn), 0]]],
        "float32",
    )
    grid = ops.affine_grid(theta, (80, 100))  # twice as dense as the pixels, so that all are hit
    back = ops.grid_splat(ops.grid_sample(picture, grid), grid, (40, 50), normalize=True).numpy()
    middle = np.s_[:, 12:28, 12:38]  # whatever the turn, in the picture
    # A mean over a pixel on either side of slopes of 1/8: curvature is 1/64. Half a pixel off: 0.06
    assert np.max(np.abs(back - picture)[middle]) <= 0.02
