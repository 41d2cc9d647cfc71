"""Writes torch.npz: what PyTorch's affine_grid and grid_sample return, for tests without PyTorch.

    python tests/golden/make_torch.py        (PyTorch 2.13.0, CPU)

Inputs are asymmetric and not square. One grid is scattered and leaves the image on all sides; the other
is an affine one that halves the picture, so that it meets exact ties outside the image.
"""

import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import oracles

PATH = pathlib.Path(__file__).with_name("torch.npz")
OUTPUT_SIZE = (6, 4)


def inputs(dtype):
    rng = np.random.default_rng(0)
    images = rng.random((2, 5, 8, 3)).astype(dtype)
    scattered = rng.uniform(-2.5, 2.5, (2, 7, 9, 2)).astype(dtype)
    theta = np.array([[[2, 0, 0], [0, 2, 0]], [[0.7, -0.4, 0.3], [0.5, 0.9, -0.2]]], dtype)
    return images, scattered, theta


def vectors(dtype):
    """{name: array}, computed by PyTorch now."""
    images, scattered, theta = inputs(dtype)
    result = {}
    for align_corners in (False, True):
        grid = oracles.torch_affine_grid(theta, OUTPUT_SIZE, align_corners)
        result[f"affine_grid-{align_corners}-{dtype}"] = grid
    for interpolation, fill_mode, align_corners in oracles.torch_combinations():
        affine = result[f"affine_grid-{align_corners}-{dtype}"]
        for name, grid in (("scattered", scattered), ("affine", affine)):
            key = f"{name}-{interpolation}-{fill_mode}-{align_corners}-{dtype}"
            result[key] = oracles.torch_sample(images, grid, interpolation, fill_mode, align_corners)
    return result


if __name__ == "__main__":
    np.savez_compressed(PATH, **vectors("float32"), **vectors("float64"))
    print(f"wrote {PATH} ({PATH.stat().st_size} bytes)")
