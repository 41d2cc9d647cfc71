"""Pictures of what a spatial transformer does. matplotlib is imported where it is needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_stn import _checks, _layout, grids, transforms
from keras_stn.layers import SpatialTransformer, Warp
from keras_stn.transforms.operations import params_of_one

__all__ = ["plot_warps", "sampling_quadrilateral"]

# Readable on black, on white and to colour-blind eyes.
_OUTLINE, _TOP = "#ff8c1a", "#22c7e8"


def sampling_quadrilateral(
    transform: Any,
    params: Any,
    image_size: tuple[int, ...],
    output_size: tuple[int, ...] | None = None,
    align_corners: bool = False,
    points_per_side: int = 1,
) -> np.ndarray:
    """The outline of the region of each image that the output shows.

    Where the four sides of the output lie on the input: the outer edges of its corner pixels, carried
    there by the transform. Draw it on the image to see what a transformer looks at.

    Convention:
        Pixels, counted from the centre of the first one, as matplotlib's `imshow` has them; points are
        (x, y). The outline of the identity runs from -0.5 to W - 0.5 and from -0.5 to H - 0.5. It starts
        at what becomes the top left corner of the output and goes along its top side first, so it shows
        turns and flips as well.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        params: (batch, num_params), or a field of params, floating point.
        image_size: (height, width) of the images.
        output_size: (height, width) of the output; the size of the images by default.
        align_corners: Which points of the corner pixels -1 and 1 are, as in `keras_stn.Warp`.
        points_per_side: How many points stand for one side. 1, the default, gives the four corners,
            which is all there is to say about an affine map; families that bend want more.

    Returns:
        (batch, 4 * points_per_side, 2), NumPy array of pixel coordinates. The first point is not
        repeated at the end.

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import keras_stn
        >>> quarter = [[0.5, -0.5, -0.5]]  # half as wide, half as high, in the top left corner
        >>> corners = keras_stn.visualize.sampling_quadrilateral("attention", quarter, (4, 8))
        >>> corners.tolist()
        [[[-0.5, -0.5], [3.5, -0.5], [3.5, 1.5], [-0.5, 1.5]]]
    """
    transform = transforms.get(transform)
    image_size = _checks.size("image_size", image_size)
    output_size = image_size if output_size is None else _checks.size("output_size", output_size)
    align_corners = _checks.boolean("align_corners", align_corners)
    points_per_side = _checks.count("points_per_side", points_per_side)
    params = _checked_params(transform, params)
    border = _border(output_size, align_corners, points_per_side).astype(params.dtype.name)
    points = transform.transform_points(  # (batch, n, 2)
        params, tf.convert_to_tensor(border), source_size=image_size, align_corners=align_corners
    )
    pixels = grids.to_pixels(tf.unstack(points, axis=-1), image_size, align_corners)
    return np.stack([np.asarray(axis) for axis in pixels.axes], axis=-1)  # (batch, n, 2)


def _checked_params(transform: transforms.Transform, params: Any, many: bool = False) -> tf.Tensor:
    """The params of maps of pictures; with `many`, they may be several of each."""
    if transform.ndim != 2:
        raise _checks.error(
            f"transform must be a family of pictures, not of volumes. Received: transform={transform!r}."
        )
    params = _checks.tensor("params", params, symbolic=False)
    sizes, names = params_of_one(transform)
    several = [None] * (many and params.shape.rank == len(sizes) + 2)
    _checks.shape("params", params, (None, *several, *sizes), f"(batch, {names})")
    _checks.floating("params", params.dtype)
    return params


def _border(output_size: tuple[int, ...], align_corners: bool, points_per_side: int) -> np.ndarray:
    """Normalised points around the output, clockwise from its top left corner: (1, n, 2)."""
    # A centre is (size - 1) / span from the middle, and its outer edge half a pixel, 1 / span, further;
    # an axis of one pixel has a span of 0 between centres, and no scale but the pixel itself.
    bottom, right = (
        size / max(float(grids.span(size, align_corners, tf.float32)), 1.0) for size in output_size
    )
    corners = np.array([[-right, -bottom], [right, -bottom], [right, bottom], [-right, bottom]])
    along = np.arange(points_per_side)[:, np.newaxis] / points_per_side
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    return np.concatenate([start + along * (end - start) for start, end in sides])[np.newaxis]


def plot_warps(
    images: Any,
    transformer: SpatialTransformer | Warp,
    params: Any = None,
    *,
    titles: Sequence[str] | None = None,
) -> Any:
    """A figure of images, where a transformer looks at them, and what it makes of them.

    One column an image: above, the input with the outline of the sampled region drawn on it; below, the
    output in a frame of the same colours. The blue side is the output's top side, the dot its top left
    corner, so turns and flips can be seen. Of several glimpses all outlines are drawn on the input, and
    all outputs below each other.

    Args:
        images: (batch, H, W, channels), floating point; (batch, channels, H, W) if the transformer is
            channels_first. One channel is drawn in grey, three in colour, of any other number the
            mean. Black and white, or the range of each colour, are the least and the greatest value.
        transformer: A `keras_stn.SpatialTransformer`, or a `keras_stn.Warp` with `params`.
        params: (batch, num_params), or (batch, glimpses, num_params); or fields of params. A
            `SpatialTransformer` predicts them from the images by default.
        titles: One string an image, written above it.

    Returns:
        A `matplotlib.figure.Figure` of 2 * batch axes, or (1 + glimpses) * batch, the inputs first. It
        belongs to no window: `figure.savefig(path)` writes it, a notebook shows it.

    Raises:
        ImportError: if matplotlib is missing, which the extra `demo` brings.
        ValueError: if an argument is none of the above.

    Example:
        >>> import numpy as np, keras_stn
        >>> images = np.random.rand(3, 20, 30, 1).astype("float32")
        >>> layer = keras_stn.SpatialTransformer(output_size=(10, 10))
        >>> figure = keras_stn.visualize.plot_warps(images, layer, titles=["a", "b", "c"])
        >>> len(figure.axes)
        6
    """
    _checks.require("plot_warps", "demo", "matplotlib")
    from matplotlib.figure import Figure

    images = _checks.tensor("images", images, symbolic=False)
    _checks.shape("images", images, (None,) * 4, "(batch, H, W, channels)")
    _checks.floating("images", images.dtype)
    _check_titles(titles, images.shape[0])
    warp, params = _warp_and_params(images, transformer, params)
    glimpses = tf.unstack(params, axis=1) if params.shape.rank > warp.transform.params_ndim else [params]
    inputs = _pictures(images, warp.data_format)
    outputs = [_pictures(warp(images, one), warp.data_format) for one in glimpses]
    sizes = inputs.shape[1:3], outputs[0].shape[1:3]
    outlines = np.array([_outline(warp, one, *sizes) for one in glimpses])
    if outlines.shape[1] == 1:  # one map for all images
        outlines = outlines.repeat(len(inputs), axis=1)
    rows, columns = 1 + len(glimpses), len(inputs)
    figure = Figure(figsize=(1.3 * columns + 0.4, 1.4 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    low, high = float(inputs.min()), float(inputs.max())
    for column, (above, *below) in enumerate(axes.T):
        _show(above, inputs[column], low, high)
        above.set_title(titles[column] if titles else "", fontsize=10)
        for each, outline, output in zip(below, outlines, outputs, strict=True):
            _draw_outline(above, outline[column])
            _show(each, output[column], low, high)
            _draw_frame(each)
    _set_view(axes[0], inputs.shape[1:3], outlines)
    for row, name in zip(axes, ("input", *["output"] * len(glimpses)), strict=True):
        row[0].set_ylabel(name, fontsize=10)
    return figure


def _outline(warp, params, image_size, output_size):
    """Where a `Warp` looks."""
    family, align_corners = warp.transform, warp.align_corners
    if warp.inverse:
        family, params = family.inverted(params, output_size, image_size, align_corners)
    return sampling_quadrilateral(family, params, image_size, output_size, align_corners, 16)


def _warp_and_params(images, transformer, params):
    if isinstance(transformer, SpatialTransformer):
        warp = transformer.warp
        params = transformer.localize(images) if params is None else params
    elif isinstance(transformer, Warp) and params is not None:
        warp = transformer
    else:
        raise _checks.error(
            "transformer must be a keras_stn.SpatialTransformer, or a keras_stn.Warp together with "
            f"params. Received: transformer={transformer!r}, params={params!r}."
        )
    return warp, _checked_params(warp.transform, params, many=True)


def _check_titles(titles, count):
    if count == 0:
        raise _checks.error("images must hold at least one image. Received: images of batch size 0.")
    strings = isinstance(titles, (list, tuple)) and all(isinstance(title, str) for title in titles)
    if titles is not None and not (strings and len(titles) == count):
        raise _checks.error(
            f"titles must be one string for each of the {count} images. Received: titles={titles!r}."
        )


def _pictures(images, data_format):
    """What `imshow` can draw: (batch, H, W, 1) or (batch, H, W, 3), NumPy float32."""
    pictures = np.asarray(_layout.to_channels_last(images, data_format), dtype="float32")
    return pictures if pictures.shape[-1] in (1, 3) else pictures.mean(axis=-1, keepdims=True)


def _show(axes, picture, low, high):
    if picture.shape[-1] == 3:
        picture = np.clip((picture - low) / max(high - low, 1e-12), 0, 1)
    axes.imshow(picture, cmap="gray", vmin=low, vmax=high)
    axes.set(xticks=[], yticks=[], facecolor="#d8d8d8")
    axes.spines[:].set_visible(False)


def _draw_outline(axes, outline):
    closed = np.concatenate([outline, outline[:1]])
    top = closed[: len(outline) // 4 + 1]
    axes.plot(*closed.T, color=_OUTLINE, linewidth=1.6, solid_joinstyle="round", label="outline")
    axes.plot(*top.T, color=_TOP, linewidth=2.6, solid_capstyle="round", label="top")
    axes.plot(*top[0], color=_TOP, marker="o", markersize=5, label="top left")


def _draw_frame(axes):
    axes.spines[:].set(visible=True, color=_OUTLINE, linewidth=1.6)
    axes.spines["top"].set(color=_TOP, linewidth=2.6)
    axes.plot(0, 1, color=_TOP, marker="o", markersize=5, transform=axes.transAxes, clip_on=False)


def _set_view(axes, image_size, outlines):
    """One view for all inputs: image and outlines, but at most a quarter of an image on each side."""
    height, width = image_size
    finite = outlines[np.isfinite(outlines).all(axis=-1)]
    for size, set_limits, points in (
        (width, "set_xlim", finite[:, 0]),
        (height, "set_ylim", finite[:, 1]),
    ):
        low = max(points.min(initial=-0.5) - 1, -0.5 - size / 4)
        high = min(points.max(initial=size - 0.5) + 1, size - 0.5 + size / 4)
        limits = (low, high) if set_limits == "set_xlim" else (high, low)
        for each in axes:
            getattr(each, set_limits)(*limits)
