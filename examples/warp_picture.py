"""Warp a picture by hand, with `keras_stn.ops` alone: no layer, no training.

    python examples/warp_picture.py                     a picture that comes with matplotlib
    python examples/warp_picture.py --picture cat.jpg   your own

Writes warp_picture.png: the picture read through an affine map and through a bent grid, once for each
fill mode, which says what stands outside the picture.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cbook import get_sample_data

from keras_stn import ops

FILL_MODES = ("constant", "nearest", "reflect", "mirror", "wrap")


def load(path, height):
    """(1, height, W, 3) in [0, 1]."""
    image = keras.utils.img_to_array(keras.utils.load_img(path))[None] / 255
    width = round(height * image.shape[2] / image.shape[1])
    # A warp reads four pixels for each it writes; to make a picture smaller, average first.
    return keras.ops.image.resize(image, (height, width), antialias=True)


def affine(degrees, scale, aspect_ratio):
    """theta (1, 2, 3): target to source, so `scale` 2 makes the picture half as large."""
    angle = np.radians(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # Normalised coordinates are -1 to 1 along both sides; the aspect ratio keeps right angles right.
    theta = [[cos, -sin / aspect_ratio, 0.0], [sin * aspect_ratio, cos, 0.0]]
    return np.array([theta], "float32")


def ripple(grid, depth=0.06, waves=3):
    """Bend a sampling grid: a grid is a tensor of points (x, y), so any arithmetic will do."""
    x, y = np.split(np.asarray(grid), 2, axis=-1)
    return np.concatenate([x + depth * np.sin(waves * np.pi * y), y], axis=-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", default=get_sample_data("grace_hopper.jpg", asfileobj=False))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a small picture")
    arguments = parser.parse_args()
    image = load(arguments.picture, height=60 if arguments.smoke else 300)

    _, height, width, _ = image.shape
    theta = affine(degrees=20, scale=1.6, aspect_ratio=width / height)
    turned = ops.affine_grid(theta, (height, width))  # (1, height, width, 2)
    figure, rows = plt.subplots(2, len(FILL_MODES), figsize=(12, 6.4), layout="constrained")
    for row, grid, name in zip(rows, (turned, ripple(turned)), ("affine", "bent"), strict=True):
        for axes, fill_mode in zip(row, FILL_MODES, strict=True):
            warped = ops.grid_sample(image, grid, fill_mode=fill_mode, fill_value=(1.0, 0.8, 0.2))
            axes.imshow(np.clip(warped[0], 0, 1))
            axes.set_title(f"{name}, {fill_mode}")
            axes.set_axis_off()

    path = arguments.out / "warp_picture.png"
    figure.savefig(path, dpi=60 if arguments.smoke else 80)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
