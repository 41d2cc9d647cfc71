"""Pictures: the outline where the transform puts it, and a figure that shows it."""

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import keras
from matplotlib.figure import Figure

import keras_stn
from keras_stn import transforms
from keras_stn.visualize import plot_warps, sampling_quadrilateral

ATOL = 1e-5  # float32 coordinates below 100: one ulp is 8e-6; half a pixel off would be 0.5


# With corner centres aligned, an output of another size shows half an output pixel around them instead.
@pytest.mark.parametrize(
    ("align_corners", "output_size"),
    [(True, None), (False, None), (False, (5, 2)), (False, (1, 1)), (False, (1, 9))],
)
def test_outline_of_the_identity_is_the_outer_edge_of_the_image(align_corners, output_size):
    identity = [keras_stn.transforms.get("affine").identity_params]
    outline = sampling_quadrilateral("affine", identity, (4, 7), output_size, align_corners)
    expected = [[[-0.5, -0.5], [6.5, -0.5], [6.5, 3.5], [-0.5, 3.5]]]
    np.testing.assert_allclose(outline, expected, atol=ATOL)


def test_convention_align_corners_outline_reaches_half_an_output_pixel_beyond_the_corner_centres():
    # 3 output pixels over 7 input pixels: centres at 0, 3, 6, so a pixel is 3 wide; 2 over 4: 3 high.
    outline = sampling_quadrilateral("translation", [[0.0, 0.0]], (4, 7), (2, 3), align_corners=True)
    expected = [[[-1.5, -1.5], [7.5, -1.5], [7.5, 4.5], [-1.5, 4.5]]]
    np.testing.assert_allclose(outline, expected, atol=ATOL)


def test_outline_of_a_crop_is_the_crop():
    # Half of 8 wide and of 6 high, in the middle, and moved right by 2 and down by 1.5.
    outline = sampling_quadrilateral("attention", [[0.5, 0.0, 0.0], [0.5, 0.5, 0.5]], (6, 8))
    np.testing.assert_allclose(outline[0, [0, 2]], [[1.5, 1.0], [5.5, 4.0]], atol=ATOL)
    np.testing.assert_allclose(outline[1, [0, 2]], [[3.5, 2.5], [7.5, 5.5]], atol=ATOL)


def test_outline_of_a_quarter_turn_on_an_image_that_is_not_square():
    # Rigid in pixels: the 8x4 frame stands upright about the centre (3.5, 1.5). The picture turns
    # counter-clockwise, so the output's top left corner reads the input's top right.
    turn = keras_stn.transforms.Rotation(aspect_ratio=2.0)
    outline = sampling_quadrilateral(turn, [[np.pi / 2]], (4, 8))
    expected = [[[5.5, -2.5], [5.5, 5.5], [1.5, 5.5], [1.5, -2.5]]]
    np.testing.assert_allclose(outline, expected, atol=ATOL)


def test_outline_passes_half_an_output_pixel_outside_the_pixels_that_warp_reads():
    params = np.array([[0.7, 0.2, 0.1, -0.3, 0.9, 0.05]], "float32")
    size, output_size = (11, 6), (4, 9)
    top_left, top_right, bottom_right, bottom_left = sampling_quadrilateral(
        "affine", params, size, output_size
    )[0]
    x, y = keras_stn.transforms.get("affine").points(params, size, output_size).axes
    across, down = (top_right - top_left) / 9, (bottom_left - top_left) / 4
    first = top_left + across / 2 + down / 2
    last = bottom_right - across / 2 - down / 2
    np.testing.assert_allclose([x[0, 0, 0], y[0, 0, 0]], first, atol=ATOL)
    np.testing.assert_allclose([x[0, -1, -1], y[0, -1, -1]], last, atol=ATOL)


def test_outline_of_a_family_that_bends_has_points_along_its_sides():
    class Bulge(keras_stn.transforms.Transform):
        num_params = 1
        identity_params = (0.0,)

        def map(self, params, x, y):
            scale = 1 + keras.ops.expand_dims(params, -1) * (x * x + y * y)
            return x * scale, y * scale

    outline = sampling_quadrilateral(Bulge(), [[0.5]], (10, 10), points_per_side=4)
    assert outline.shape == (1, 16, 2)
    np.testing.assert_allclose(outline[0, 0], [-5.5, -5.5], atol=ATOL)  # corner: 4.5 - 5 (1 + 0.5 * 2)
    np.testing.assert_allclose(outline[0, 2], [4.5, -3.0], atol=ATOL)  # middle of the top: 4.5 - 5 * 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transform": "afine"}, "transform must be one of"),
        ({"params": [[1.0, 0.0]]}, r"params must have shape \(batch, 6\)"),
        ({"transform": transforms.Affine(ndim=3)}, "transform must be a family of pictures"),
        ({"image_size": (0, 4)}, "image_size must be two positive integers"),
        ({"output_size": 4}, "output_size must be two positive integers"),
        ({"align_corners": "no"}, "align_corners must be True or False"),
        (
            {"points_per_side": 0},
            "points_per_side must be a positive integer. Received: points_per_side=0",
        ),
    ],
)
def test_outline_invalid_argument(arguments, message):
    valid = {"transform": "affine", "params": [[1.0, 0, 0, 0, 1, 0]], "image_size": (4, 4)}
    with pytest.raises(ValueError, match=message):
        sampling_quadrilateral(**{**valid, **arguments})


def _line(axes, label):
    (line,) = (line for line in axes.lines if line.get_label() == label)
    return line.get_xydata()


def test_figure_draws_each_image_its_outline_and_its_output():
    images = np.random.default_rng(0).random((3, 8, 6, 1)).astype("float32")
    params = np.array([[1.0, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]], "float32")
    warp = keras_stn.Warp("attention", (4, 3))
    figure = plot_warps(images, warp, params, titles=["one", "two", "three"])
    assert isinstance(figure, Figure)
    inputs, outputs = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title() for axes in inputs] == ["one", "two", "three"]
    for index in range(3):
        np.testing.assert_array_equal(inputs[index].images[0].get_array(), images[index, ..., 0])
        expected = warp([images, params]).numpy()[index, ..., 0]
        np.testing.assert_array_equal(outputs[index].images[0].get_array(), expected)
        corners = sampling_quadrilateral("attention", params, (8, 6))[index]
        outline = _line(inputs[index], "outline")
        np.testing.assert_allclose(outline[::16][:4], corners, atol=ATOL)
        np.testing.assert_array_equal(outline[0], outline[-1])
        np.testing.assert_allclose(_line(inputs[index], "top")[[0, -1]], corners[:2], atol=ATOL)
        np.testing.assert_allclose(_line(inputs[index], "top left"), corners[:1], atol=ATOL)


def test_figure_draws_the_outlines_of_all_glimpses_and_their_outputs_below_each_other():
    layer = keras_stn.SpatialTransformer("dense", glimpses=3, output_size=(4, 5))
    images = np.random.default_rng(0).random((2, 9, 12, 1), "float32")
    figure = plot_warps(images, layer)
    axes = np.reshape(figure.axes, (4, 2))
    shown = layer(images).numpy()[..., 0]
    for column, (above, *below) in enumerate(axes.T):
        outlines = [line for line in above.lines if line.get_label() == "outline"]
        lefts = [line.get_xdata().min() for line in outlines]
        np.testing.assert_allclose(lefts, [-0.5, 3.5, 7.5], atol=ATOL)  # they start as thirds
        for glimpse, each in zip(shown[column], below, strict=True):
            np.testing.assert_array_equal(each.images[0].get_array(), glimpse)


def test_figure_of_a_warp_by_inverses_draws_where_it_reads():
    images = np.random.default_rng(0).random((2, 8, 12, 1)).astype("float32")
    params = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.25]], "float32")
    figure = plot_warps(images, keras_stn.Warp("attention", (4, 6), inverse=True), params)
    inverses = transforms.Attention().inverse(params)
    corners = sampling_quadrilateral("attention", inverses, (8, 12), (4, 6))
    for axes, want in zip(figure.axes, corners, strict=False):
        np.testing.assert_allclose(_line(axes, "outline")[::16][:4], want, atol=ATOL)


def test_figure_draws_one_map_on_all_images():
    images = np.random.default_rng(0).random((3, 8, 12, 1)).astype("float32")
    figure = plot_warps(images, keras_stn.Warp("attention"), np.array([[0.5, 0.5, 0.0]], "float32"))
    outlines = [_line(axes, "outline") for axes in figure.axes[:3]]
    np.testing.assert_array_equal(outlines[1:], outlines[:-1])


def test_outline_of_a_field_is_in_pixels_of_the_image():
    field = np.zeros((1, 2, 3, 2))
    field[..., 0] = 2.0
    outline = sampling_quadrilateral(transforms.Displacement(), field, (4, 8))
    np.testing.assert_allclose(outline[0], [[1.5, -0.5], [9.5, -0.5], [9.5, 3.5], [1.5, 3.5]], atol=ATOL)


def test_figure_shows_the_whole_outline_unless_it_lies_far_out():
    images = np.zeros((2, 8, 8, 1), "float32")
    near = plot_warps(images, keras_stn.Warp("translation"), np.array([[0.2, 0], [0, 0]], "float32"))
    assert near.axes[0].get_xlim()[1] > 7.5 + 0.8
    far = plot_warps(images, keras_stn.Warp("translation"), np.array([[50, 0], [np.nan, 0]], "float32"))
    assert far.axes[0].get_xlim()[1] == 7.5 + 2


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_figure_of_a_transformer_takes_any_channels_and_writes_a_file(channels, data_format, tmp_path):
    images = np.random.default_rng(0).random((2, 12, 9, channels)).astype("float32")
    if data_format == "channels_first":
        images = images.transpose(0, 3, 1, 2)
    figure = plot_warps(images, keras_stn.SpatialTransformer(data_format=data_format))
    figure.savefig(tmp_path / "warps.png")
    assert (tmp_path / "warps.png").read_bytes().startswith(b"\x89PNG")
    assert [axes.images[0].get_array().shape[:2] for axes in figure.axes] == [(12, 9)] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transformer": keras_stn.Warp("attention")}, "transformer must be .* together with params"),
        ({"transformer": "affine"}, "transformer must be a keras_stn.SpatialTransformer"),
        ({"titles": ["one"]}, "titles must be one string for each of the 2 images"),
        (
            {"images": np.zeros((2, 4, 4), "float32")},
            r"images must have shape \(batch, H, W, channels\)",
        ),
        ({"images": np.zeros((0, 4, 4, 1), "float32")}, "images must hold at least one image"),
    ],
)
def test_figure_invalid_argument(change, message):
    valid = {"images": np.zeros((2, 4, 4, 1), "float32"), "transformer": keras_stn.SpatialTransformer()}
    with pytest.raises(ValueError, match=message):
        plot_warps(**{**valid, **change})
