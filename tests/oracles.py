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
    """Eq. (1), point by point: the normalised source point of each target pixel. (B, h, w, 2)"""
    height, width = output_size
    grid = np.zeros((len(theta), height, width, 2))
    for b, i, j in np.ndindex(len(theta), height, width):
        if align_corners:
            x = 2 * j / (width - 1) - 1 if width > 1 else 0.0
            y = 2 * i / (height - 1) - 1 if height > 1 else 0.0
        else:
            x, y = (2 * j + 1) / width - 1, (2 * i + 1) / height - 1
        grid[b, i, j] = theta[b].astype("float64") @ [x, y, 1]
    return grid


def tent_sample(images, grid, align_corners):
    """Eq. (5): V = sum over n, m of U[n, m] max(0, 1 - |x - m|) max(0, 1 - |y - n|)."""
    _, height, width, channels = images.shape
    output = np.zeros((*grid.shape[:3], channels))
    for b, i, j in np.ndindex(*grid.shape[:3]):
        x = to_pixel(grid[b, i, j, 0], width, align_corners)
        y = to_pixel(grid[b, i, j, 1], height, align_corners)
        for n in range(height):
            for m in range(width):
                weight = max(0, 1 - abs(x - m)) * max(0, 1 - abs(y - n))
                output[b, i, j] += weight * images[b, n, m]
    return output


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
    batch, height, width, channels = images.shape
    reach = 4 * max(height, width) + 8
    pad_mode = {"constant": "constant", "nearest": "edge", "reflect": "symmetric"}
    pad_mode |= {"mirror": "reflect", "wrap": "wrap"}
    output = np.zeros((*grid.shape[:3], channels))
    for b, c in np.ndindex(batch, channels):
        value = np.broadcast_to(fill_value, (channels,))[c]
        plane = images[b, :, :, c].astype("float64")
        for axis, mode in enumerate([fill_mode] * 2 if isinstance(fill_mode, str) else fill_mode):
            kwargs = {"constant_values": value} if mode == "constant" else {}
            margins = [(reach, reach) if axis == number else (0, 0) for number in range(2)]
            plane = np.pad(plane, margins, pad_mode[mode], **kwargs)
        for i, j in np.ndindex(*grid.shape[1:3]):
            x = to_pixel(grid[b, i, j, 0], width, align_corners) + reach
            y = to_pixel(grid[b, i, j, 1], height, align_corners) + reach
            if interpolation == "nearest":
                output[b, i, j, c] = plane[round(y), round(x)]  # Python's round: ties to even
                continue
            first, weights_x = _kernel(interpolation, x - math.floor(x))
            _, weights_y = _kernel(interpolation, y - math.floor(y))
            rows = slice(math.floor(y) + first, math.floor(y) + first + len(weights_y))
            columns = slice(math.floor(x) + first, math.floor(x) + first + len(weights_x))
            output[b, i, j, c] = np.array(weights_y) @ plane[rows, columns] @ weights_x
    return output


def scipy_sample(images, grid, interpolation, fill_mode, fill_value, align_corners):
    """`scipy.ndimage.map_coordinates`, spline order 0 or 1."""
    batch, height, width, channels = images.shape
    order = {"nearest": 0, "bilinear": 1}[interpolation]
    output = np.zeros((*grid.shape[:3], channels))
    for b, c in np.ndindex(batch, channels):
        x = to_pixel(grid[b, ..., 0].astype("float64"), width, align_corners)
        y = to_pixel(grid[b, ..., 1].astype("float64"), height, align_corners)
        output[b, ..., c] = ndimage.map_coordinates(
            images[b, ..., c].astype("float64"),
            [y, x],
            order=order,
            mode=SCIPY_MODES[fill_mode],
            cval=np.broadcast_to(fill_value, (channels,))[c],
            prefilter=False,
        )
    return output


def torch_sample(images, grid, interpolation, fill_mode, align_corners):
    import torch

    sampled = torch.nn.functional.grid_sample(
        torch.tensor(images).permute(0, 3, 1, 2),
        torch.tensor(grid),
        interpolation,
        TORCH_PADDING[fill_mode],
        align_corners,
    )
    return sampled.permute(0, 2, 3, 1).numpy()


def torch_affine_grid(theta, output_size, align_corners):
    import torch

    shape = (len(theta), 1, *output_size)
    return torch.nn.functional.affine_grid(torch.tensor(theta), shape, align_corners).numpy()
