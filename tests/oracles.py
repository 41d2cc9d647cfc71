"""Outside oracles: slow, obvious, float64, sharing no code with the package."""

import math

import numpy as np
from scipy import ndimage

# The fill modes that PyTorch knows, in its words; align_corners decides what "reflection" means.
TORCH_PADDING = {
    "constant": "zeros",
    "nearest": "border",
    "reflect": "reflection",
    "mirror": "reflection",
}

SCIPY_MODES = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "reflect": "reflect",
    "mirror": "mirror",
    "wrap": "grid-wrap",
}


def torch_combinations():
    """(interpolation, fill_mode, align_corners) of everything PyTorch's grid_sample can do."""
    for interpolation in ("nearest", "bilinear", "bicubic"):
        for align_corners in (False, True):
            for fill_mode in ("constant", "nearest", "mirror" if align_corners else "reflect"):
                yield interpolation, fill_mode, align_corners


def to_pixel(normalised, size, align_corners):
    """The convention in the words of the paper's readers: edges or centres of the corner pixels."""
    if align_corners:
        return (normalised + 1) / 2 * (size - 1)
    return (normalised + 1) / 2 * size - 0.5


def affine_points(theta, output_size, align_corners):
    """Eq. (1), point by point: the normalised source point of each target pixel. (B, [d,] h, w, n)"""
    ndim = len(output_size)
    grid = np.zeros((len(theta), *output_size, ndim))
    for b, *pixel in np.ndindex(len(theta), *output_size):
        if align_corners:
            point = [
                2 * i / (n - 1) - 1 if n > 1 else 0.0 for i, n in zip(pixel, output_size, strict=True)
            ]
        else:
            point = [(2 * i + 1) / n - 1 for i, n in zip(pixel, output_size, strict=True)]
        grid[(b, *pixel)] = theta[b].astype("float64") @ [*point[::-1], 1]
    return grid


def tent_sample(images, grid, align_corners):
    """Eq. (5): V = sum over n, m of U[n, m] max(0, 1 - |x - m|) max(0, 1 - |y - n|). Any rank."""
    _, *sizes, channels = images.shape
    output = np.zeros((*grid.shape[:-1], channels))
    for b, *place in np.ndindex(*grid.shape[:-1]):
        point = _pixels(grid[(b, *place)], sizes, align_corners)
        for pixel in np.ndindex(*sizes):
            weight = math.prod(max(0, 1 - abs(p - i)) for p, i in zip(point, pixel, strict=True))
            output[(b, *place)] += weight * images[(b, *pixel)]
    return output


def _pixels(points, sizes, align_corners):
    """The coordinates of points (..., n), in the order of the axes of images."""
    axes = np.moveaxis(points, -1, 0)[::-1]
    return [to_pixel(axis, size, align_corners) for axis, size in zip(axes, sizes, strict=True)]


def _kernel(interpolation, t):
    """Weights of the taps around a coordinate with fraction t, with the offset of the first one."""
    if interpolation == "bilinear":
        return 0, [1 - t, t]
    a = -0.75

    def cubic(d):  # Keys (1981), eq. (4)
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a

    return -1, [cubic(t + 1), cubic(t), cubic(1 - t), cubic(2 - t)]


def extended_sample(images, grid, interpolation, fill_mode, fill_value, align_corners):
    """Interpolate the image as `numpy.pad` extends it: every mode, on grids that stay within reach.

    `fill_mode` may be a pair, (of rows, of columns): the image is padded axis by axis.
    """
    batch, *sizes, channels = images.shape
    reach = 4 * max(sizes) + 8
    pad_mode = {"constant": "constant", "nearest": "edge", "reflect": "symmetric"}
    pad_mode |= {"mirror": "reflect", "wrap": "wrap"}
    output = np.zeros((*grid.shape[:-1], channels))
    for b, c in np.ndindex(batch, channels):
        value = np.broadcast_to(fill_value, (channels,))[c]
        plane = images[b, ..., c].astype("float64")
        of_axes = [fill_mode] * len(sizes) if isinstance(fill_mode, str) else fill_mode
        for axis, mode in enumerate(of_axes):
            kwargs = {"constant_values": value} if mode == "constant" else {}
            margins = [(reach, reach) if axis == number else (0, 0) for number in range(len(sizes))]
            plane = np.pad(plane, margins, pad_mode[mode], **kwargs)
        for place in np.ndindex(*grid.shape[1:-1]):
            point = [p + reach for p in _pixels(grid[(b, *place)], sizes, align_corners)]
            if interpolation == "nearest":
                output[(b, *place, c)] = plane[tuple(map(round, point))]  # Python's: ties to even
                continue
            values = plane
            for p in point:
                first, weights = _kernel(interpolation, p - math.floor(p))
                start = math.floor(p) + first
                values = np.tensordot(weights, values[start : start + len(weights)], 1)
            output[(b, *place, c)] = values
    return output


def scipy_sample(images, grid, interpolation, fill_mode, fill_value, align_corners):
    """`scipy.ndimage.map_coordinates`, spline order 0 or 1."""
    batch, *sizes, channels = images.shape
    order = {"nearest": 0, "bilinear": 1}[interpolation]
    output = np.zeros((*grid.shape[:-1], channels))
    for b, c in np.ndindex(batch, channels):
        output[b, ..., c] = ndimage.map_coordinates(
            images[b, ..., c].astype("float64"),
            _pixels(grid[b].astype("float64"), sizes, align_corners),
            order=order,
            mode=SCIPY_MODES[fill_mode],
            cval=np.broadcast_to(fill_value, (channels,))[c],
            prefilter=False,
        )
    return output


def torch_sample(images, grid, interpolation, fill_mode, align_corners):
    import torch

    sampled = torch.nn.functional.grid_sample(
        torch.tensor(images).movedim(-1, 1),
        torch.tensor(grid),
        interpolation,
        TORCH_PADDING[fill_mode],
        align_corners,
    )
    return sampled.movedim(1, -1).numpy()


def torch_affine_grid(theta, output_size, align_corners):
    import torch

    shape = (len(theta), 1, *output_size)
    return torch.nn.functional.affine_grid(torch.tensor(theta), shape, align_corners).numpy()
