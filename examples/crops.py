"""Cut a detector's boxes out of a picture, change them, and paste them back.

    python examples/crops.py

Upright and rotated boxes become crops of one size in one call, and no copy of the picture is made. Each
crop is pixelated, as faces and name plates are where nobody shall know them, and the inverse maps put it
back into its box. Writes crops.png.
"""

import argparse
import pathlib

import matplotlib.pyplot as plt
import numpy as np

from keras_stn import ops, visualize
from keras_stn.transforms import Affine

try:
    from skimage import data
except ImportError:
    raise SystemExit("The picture comes with scikit-image: pip install scikit-image") from None

CROP = (96, 96)  # (height, width)
# What a detector might say of the astronaut: left, top, right, bottom in pixels; and of things that lie
# askew x and y of the centre, width, height, and the angle in radians, clockwise.
BOXES = [[[170, 68, 284, 190], [128, 342, 212, 428]]]
ROTATED_BOXES = [[[304, 359, 58, 44, 0.12], [386, 168, 80, 196, 0.1], [46, 130, 78, 240, -0.2]]]
COLORS = ("#ff8c1a", "#22c7e8", "#ffd60a", "#7ae582", "#ff5d8f")


def pixelated(crops, side=8):
    """(..., h, w, channels) in squares of `side` pixels, each of one color."""
    *batch, height, width, channels = crops.shape
    squares = crops.reshape(*batch, height // side, side, width // side, side, channels)
    return np.broadcast_to(squares.mean((-4, -2), keepdims=True), squares.shape).reshape(crops.shape)


def pasted(picture, crops, params):
    """The picture (1, H, W, 3) with crops (maps, h, w, 3) over it, each where it came from."""
    cover = np.ones_like(crops[..., :1])  # 1 in the crop, 0 outside of it once it is warped
    layers = np.concatenate([crops, cover], axis=-1)
    layers = np.asarray(ops.warp(layers, params, "affine", picture.shape[1:3], inverse=True))
    for layer in layers:
        picture = picture * (1 - layer[..., 3:]) + layer[..., :3]
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a small picture")
    arguments = parser.parse_args()
    picture = data.astronaut()[np.newaxis].astype("float32") / 255
    size = picture.shape[1:3]

    upright = Affine().from_boxes(np.array(BOXES, "float32"), "xyxy", size, CROP)  # (1, 2, 6)
    rotated = Affine().from_rotated_boxes(np.array(ROTATED_BOXES, "float32"), size, CROP)  # (1, 3, 6)
    params = np.concatenate([upright, rotated], axis=1)  # (1, 5, 6): five maps of one picture
    crops = np.asarray(ops.warp(picture, params, "affine", CROP))  # (1, 5, 96, 96, 3)
    changed = pixelated(crops)
    result = pasted(picture, changed[0], params[0])

    figure = plt.figure(figsize=(8.4, 3.4), layout="constrained")
    left, middle, right = figure.subfigures(1, 3, width_ratios=[4, 1.75, 4])
    before, after = left.subplots(), right.subplots()
    before.imshow(picture[0])
    before.set_title("boxes")
    after.imshow(np.clip(result[0], 0, 1))
    after.set_title("pasted back")
    outlines = visualize.sampling_quadrilateral("affine", params[0], size, CROP)
    for outline, color in zip(outlines, COLORS, strict=True):
        before.fill(*outline.T, fill=False, edgecolor=color, linewidth=2)
    rows = middle.subplots(len(COLORS), 2)
    rows[0, 0].set_title("crop")
    rows[0, 1].set_title("changed")
    for row, crop, change, color in zip(rows, crops[0], changed[0], COLORS, strict=True):
        for axes, shown in zip(row, (crop, change), strict=True):
            axes.imshow(np.clip(shown, 0, 1))
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=color, linewidth=2)
    for axes in (before, after):
        axes.set(xticks=[], yticks=[], xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))
        axes.spines[:].set_visible(False)
    path = arguments.out / "crops.png"
    figure.savefig(path, dpi=50 if arguments.smoke else 80)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
