"""Displacement fields: beside SciPy, PyTorch and B-splines in float64, at sizes that are not square."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fields import positions, upsampled
from scipy import ndimage

import keras_stn
from keras_stn import ops, transforms

SIZE = (23, 17)
FIELDS = [(23, 17), (5, 4), (1, 1), (2, 7), (40, 3)]
fields = pytest.mark.parametrize("field_size", FIELDS, ids=str)
interpolations = pytest.mark.parametrize("interpolation", ["linear", "bspline"])
corners = pytest.mark.parametrize("align_corners", [False, True])


def images(channels=3):
    return np.random.default_rng(1).random((2, *SIZE, channels))


def field(size, pixels=2.0, ndim=2):
    return np.random.default_rng(2).normal(size=(2, *size, ndim)) * pixels


def moved(size, output_size, field, align_corners=False):
    """(batch, h, w, 2): the pixel of the image that the identity shows, and the displacement."""
    y, x = (positions(count, of, align_corners) for count, of in zip(output_size, size, strict=True))
    return np.stack(np.meshgrid(x, y), axis=-1) + field


def scipy_read(images, pixels):
    return np.array(
        [
            np.stack(
                [
                    ndimage.map_coordinates(
                        plane, [place[..., 1], place[..., 0]], order=1, mode="grid-constant"
                    )
                    for plane in np.moveaxis(image, -1, 0)
                ],
                axis=-1,
            )
            for image, place in zip(images, pixels, strict=True)
        ]
    )


@fields
@interpolations
@corners
def test_the_output_shows_the_image_at_displaced_pixels(field_size, interpolation, align_corners):
    output_size = (13, 29) if align_corners else SIZE
    given = field(field_size)
    dense = upsampled(given, output_size, interpolation, align_corners)
    want = scipy_read(images(), moved(SIZE, output_size, dense, align_corners))
    family = transforms.Displacement(interpolation)
    settings = {"output_size": output_size, "align_corners": align_corners}
    have = ops.warp(images(), given, family, **settings)
    assert np.max(np.abs(have - want)) <= 1e-13  # float64; products of numbers up to 40
    # A place on 40 points is rounded by 2e-6 in float32, and from one to the next are up to 8 pixels.
    have = ops.warp(images().astype("float32"), given.astype("float32"), family, **settings)
    assert np.max(np.abs(have - want)) <= 3e-5


@interpolations
def test_compiled_it_gives_the_same(interpolation):
    given, family = field((5, 4)), transforms.Displacement(interpolation)
    warp = tf.function(lambda i, p: ops.warp(i, p, family), jit_compile=True)
    assert np.max(np.abs(warp(images(), given) - ops.warp(images(), given, family))) <= 1e-13


def test_a_field_of_zeros_returns_the_very_pixels_at_every_size():
    for size, field_size in ((SIZE, SIZE), (SIZE, (5, 4)), ((1, 224), (3, 7)), ((224, 320), (56, 80))):
        given = np.random.default_rng(3).random((1, *size, 2), "float32")
        for interpolation in ("linear", "bspline"):
            family = transforms.Displacement(interpolation)
            have = ops.warp(given, np.zeros((1, *field_size, 2), "float32"), family)
            assert np.array_equal(have, given), (size, field_size, interpolation)


def test_whole_pixels_return_the_very_pixels():
    given = images().astype("float32")
    shift = np.broadcast_to(np.float32([3, -2]), (2, *SIZE, 2))
    have = ops.warp(given, shift, "displacement", fill_mode="wrap")
    assert np.array_equal(have, np.roll(given, (2, -3), axis=(1, 2)))


@pytest.mark.parametrize(
    ("fill_mode", "padding", "align_corners"),
    [("nearest", "border", True), ("constant", "zeros", False)],
)
def test_pytorch_warps_by_flow_alike_and_so_do_gradients(fill_mode, padding, align_corners):
    torch = pytest.importorskip("torch", reason="the other library that warps by flow")
    given, flow = images().astype("float32"), field(SIZE).astype("float32")
    upstream = np.random.default_rng(4).normal(size=given.shape).astype("float32")
    theirs = torch.tensor(flow, requires_grad=True)
    planes = torch.tensor(given.transpose(0, 3, 1, 2), requires_grad=True)
    height, width = SIZE
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], -1) + theirs
    size = torch.tensor([width, height])
    grid = 2 * pixels / (size - 1) - 1 if align_corners else (2 * pixels + 1) / size - 1
    want = torch.nn.functional.grid_sample(
        planes, grid, padding_mode=padding, align_corners=align_corners
    ).permute(0, 2, 3, 1)
    (want * torch.tensor(upstream)).sum().backward()
    ours, ours_images = tf.constant(flow), tf.constant(given)
    with tf.GradientTape() as tape:
        tape.watch([ours, ours_images])
        have = ops.warp(
            ours_images, ours, "displacement", fill_mode=fill_mode, align_corners=align_corners
        )
        loss = tf.reduce_sum(have * upstream)
    by_flow, by_images = tape.gradient(loss, [ours, ours_images])
    # PyTorch goes through a normalised grid, rounded to 1e-6 pixels of 23.
    assert np.max(np.abs(have - want.detach().numpy())) <= 1e-5
    assert np.max(np.abs(by_images - planes.grad.numpy().transpose(0, 2, 3, 1))) <= 5e-5
    assert np.max(np.abs(by_flow - theirs.grad.numpy())) <= 5e-5


@fields
@interpolations
@corners
def test_points_agree_with_where_the_pixels_went(field_size, interpolation, align_corners):
    family, given = transforms.Displacement(interpolation), field(field_size)
    height, width = SIZE
    axes = [(2 * np.arange(n) - (n - 1)) / (n - align_corners) for n in (width, height)]
    centres = np.stack(np.meshgrid(*axes), axis=-1).reshape(1, -1, 2)
    have = family.transform_points(given, centres, SIZE, align_corners).numpy()
    pixels = (have * (np.array([width, height]) - align_corners) + [width - 1, height - 1]) / 2
    want = moved(SIZE, SIZE, upsampled(given, SIZE, interpolation, align_corners), align_corners)
    assert np.max(np.abs(pixels - want.reshape(2, -1, 2))) <= 1e-13
    grid = family.grid(given, SIZE, align_corners, SIZE)
    assert np.max(np.abs(np.reshape(grid, have.shape) - have)) <= 1e-14


@interpolations
def test_points_anywhere_read_the_field_and_hold_on_beyond_it(interpolation):
    family, given = transforms.Displacement(interpolation), field((5, 4))
    points = np.random.default_rng(5).uniform(-1.6, 1.6, (2, 50, 2))
    points[0, 0] = np.nan
    with tf.GradientTape() as tape:
        ours = tf.constant(given)
        tape.watch(ours)
        have = family.transform_points(ours, points, SIZE)
    places = ((points + 1) * [4, 5] - 1) / 2
    for number in np.ndindex(2, 50):
        if number == (0, 0):
            continue
        x, y = places[number]
        from fields import basis

        weights = np.einsum(
            "i,j->ij",
            basis(np.clip([y], -3, 8), 5, interpolation)[0],
            basis(np.clip([x], -3, 7), 4, interpolation)[0],
        )
        want = points[number] + np.tensordot(weights, given[number[0]], 2) * 2 / [17, 23]
        assert np.max(np.abs(have[number] - want)) <= 1e-13, number
    assert np.isfinite(tape.gradient(have, ours)).all()


@interpolations
def test_gradients_to_the_field_are_those_of_finite_differences(interpolation):
    family, given = transforms.Displacement(interpolation), field((3, 2))
    upstream = np.random.default_rng(6).normal(size=(2, 7, 9, 3))

    @tf.function
    def loss(params):
        return tf.reduce_sum(ops.warp(images(), params, family, (7, 9)) * upstream)

    with tf.GradientTape() as tape:
        ours = tf.constant(given)
        tape.watch(ours)
        total = loss(ours)
    have = tape.gradient(total, ours).numpy()
    for number in np.ndindex(*given.shape):
        step = np.zeros_like(given)
        step[number] = 1e-6
        want = (loss(tf.constant(given + step)) - loss(tf.constant(given - step))) / 2e-6
        assert abs(have[number] - want) <= 1e-6, number


@interpolations
def test_fields_of_volumes_are_upsampled_along_three_axes(interpolation):
    family = transforms.Displacement(interpolation, ndim=3)
    given, size = field((2, 3, 4), ndim=3), (5, 6, 7)
    assert (family.num_params, family.params_ndim) == (3, 5)
    points = family.points(tf.constant(given), size, size)
    want = upsampled(given, size, interpolation)
    for axis, coordinate in enumerate(points.axes):
        shape = [1] * 4
        shape[3 - axis] = -1
        start = np.arange(size[2 - axis]).reshape(shape)
        assert np.max(np.abs(coordinate - (start + want[..., axis]))) <= 1e-13


@interpolations
@pytest.mark.parametrize("field_size", [(5, 6, 7), (2, 3, 4)], ids=str)
def test_volumes_are_read_where_scipy_says(field_size, interpolation):
    size = (5, 6, 7)
    volumes = np.random.default_rng(9).random((2, *size, 2))
    given = field(field_size, ndim=3)
    dense = upsampled(given, size, interpolation)
    starts = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij")[::-1], axis=-1)
    places = np.moveaxis((starts + dense)[..., ::-1], -1, 1)  # z, y, x for SciPy
    want = [
        [
            ndimage.map_coordinates(volume[..., channel], place, order=1, mode="grid-constant")
            for channel in range(2)
        ]
        for volume, place in zip(volumes, places, strict=True)
    ]
    have = ops.warp(volumes, given, transforms.Displacement(interpolation, ndim=3))
    assert np.max(np.abs(np.moveaxis(have, -1, 1) - np.array(want))) <= 1e-13


def test_a_network_of_convolutions_predicts_a_field_for_images_of_any_size():
    for size in ((30, 44), (7, 5)):
        given = np.random.default_rng(7).random((2, *size, 1), "float32")
        layer = keras_stn.SpatialTransformer(transform="displacement")
        assert np.array_equal(layer(given), given)
        assert layer.localize(given).shape == (2, -(-size[0] // 4), -(-size[1] // 4), 2)
        symbol = keras.Input((None, None, 1))
        assert layer.localize(symbol).shape == (None, None, None, 2)
        assert layer.compute_output_shape((None, *size, 1)) == (None, *size, 1)
    volumes = np.random.default_rng(7).random((1, 5, 6, 9, 1), "float32")
    layer = keras_stn.SpatialTransformer(transform=transforms.Displacement(ndim=3))
    assert np.array_equal(layer(volumes), volumes)
    assert layer.localize(volumes).shape == (1, 2, 2, 3, 3)


def test_a_network_without_feature_maps_is_told_what_it_must_return():
    with pytest.raises(ValueError, match=r"must return feature maps of shape \(batch, h, w, n\)"):
        keras_stn.Localization("dense", "displacement")(images().astype("float32"))
    with pytest.raises(ValueError, match="glimpses must be None for Displacement"):
        keras_stn.Localization(None, "displacement", glimpses=2)


def test_videos_have_a_field_for_each_frame():
    video = np.random.default_rng(8).random((2, 3, 9, 7, 1), "float32")
    layer = keras_stn.SpatialTransformer(transform="displacement")
    assert np.array_equal(layer(video), video)
    assert layer.localize(video).shape == (2, 3, 3, 2, 2)


@pytest.mark.parametrize(("fill_mode", "align_corners"), [("nearest", True), ("constant", False)])
def test_flows_are_one_grid_sample_in_the_form_of_vendors_kernels(tmp_path, fill_mode, align_corners):
    """Borders are in the coordinates, so that both ways to warp by flow are the fast form of one op."""
    onnx = pytest.importorskip("onnx", reason="reads the file")
    symbols = [keras.Input((*SIZE, 3), name="images"), keras.Input((*SIZE, 2), name="flow")]
    layer = keras_stn.Warp("displacement", fill_mode=fill_mode, align_corners=align_corners)
    keras_stn.export_onnx(keras.Model(symbols, layer(symbols)), tmp_path / "flow.onnx")
    nodes = onnx.load(tmp_path / "flow.onnx").graph.node
    (node,) = [node for node in nodes if node.op_type == "GridSample"]
    settings = {attribute.name: attribute for attribute in node.attribute}
    assert settings["align_corners"].i == 0
    assert (settings["mode"].s, settings["padding_mode"].s) == (b"bilinear", b"zeros")
    assert not [node for node in nodes if node.op_type.startswith(("Gather", "Scatter"))]


def test_what_it_cannot_do_is_said():
    family, given = transforms.Displacement(), field((5, 4))
    with pytest.raises(ValueError, match="source_size must be the size of the images"):
        family.transform_points(given, np.zeros((2, 1, 2)))
    with pytest.raises(ValueError, match="source_size must be the size of the images"):
        family.grid(given, SIZE)
    with pytest.raises(NotImplementedError, match="Displacement.inverse .*Velocity"):
        family.inverse(given)
    with pytest.raises(NotImplementedError, match="Displacement.compose .*transform_points"):
        family.compose(given, given)
    with pytest.raises(NotImplementedError, match="Displacement.transform_points"):
        family.map(given, 0.0, 0.0)
    with pytest.raises(ValueError, match="interpolation must be one of .*'bspline'"):
        transforms.Displacement("cubic")
    with pytest.raises(ValueError, match="ndim must be"):
        transforms.Displacement(ndim=4)
    with pytest.raises(ValueError, match=r"params must have shape \(batch of images, h, w, 2\)"):
        ops.warp(images(), np.zeros((2, 2)), "displacement")


@pytest.mark.parametrize("family", [transforms.Displacement(), transforms.Velocity()], ids=repr)
@pytest.mark.parametrize("known", [(4, 5), (4, None), (None, None)], ids=str)
def test_a_field_of_known_size_moves_pictures_of_unknown_size(family, known):
    params = field((4, 5))
    warp = tf.function(
        lambda images, params: ops.warp(images, params, family),
        input_signature=[
            tf.TensorSpec((None, None, None, 3), tf.float64),
            tf.TensorSpec((None, *known, 2), tf.float64),
        ],
    )
    # Roundings of float64: sizes that are not known are divided another way.
    have, want = warp(images(), params), ops.warp(images(), params, family)
    np.testing.assert_allclose(have, want, rtol=0, atol=1e-12)
