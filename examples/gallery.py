"""All families on one page: what each of them can do to a picture, and to a volume.

    python examples/gallery.py

Each pair shows where the output reads the picture, with the blue side for its top, and the output. Under
it stand volumes: a letter of some thickness. Writes gallery.png.
"""

import argparse
import math
import pathlib

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from keras_stn import ops
from keras_stn.transforms import FAMILIES, Projective

try:
    from skimage import data
except ImportError:
    raise SystemExit("The picture comes with scikit-image: pip install scikit-image") from None

SIZE = HEIGHT, WIDTH = 400, 600
ASPECT = {"aspect_ratio": WIDTH / HEIGHT}
SPLINE = {"interpolation": "bspline"}
ORANGE, BLUE, BROWN = "#ff8c1a", "#22c7e8", "#b3541e"
# Of the output, in normalised points (9 + 9 lines, 61, 2), its upper side first.
ACROSS = np.stack(np.meshgrid(np.linspace(-1, 1, 61), np.linspace(-1, 1, 9)), axis=-1)
LATTICE = np.concatenate([ACROSS, ACROSS[..., ::-1]]).astype("float32")
CUP = (-0.04, -0.28)  # the centre of the coffee, normalised (x, y)
VIEW = (-0.4, -0.9), (0.7, -0.7), (0.9, 0.9), (-0.9, 0.5)  # what become the corners of the output
rng = np.random.default_rng(4)

# The arguments of each family, and params.
PICTURES = {
    "translation": ({}, (0.35, 0.25)),
    "attention": ({}, (0.5, 0.0, -0.25)),
    "rotation": (ASPECT, (0.4,)),
    "similarity": (ASPECT, (0.6, -0.5, 0.05, -0.1)),
    "affine": ({}, (0.8, 0.4, 0.0, 0.1, 0.8, -0.05)),
    "diffeomorphic_affine": ({}, (-0.4, 0.5, 0.0, -0.6, -0.1, -0.1)),
    "projective": ({}, Projective.from_points([VIEW])[0]),
    "lens_distortion": ({"fy": WIDTH / HEIGHT}, (-0.25, 0.02, 0.0, 0.0, 0.0)),
    "thin_plate_spline": ({}, rng.normal(0, 0.12, 32)),
    "displacement": (SPLINE, rng.normal(0, 35, (4, 6, 2))),
    "velocity": (SPLINE, rng.normal(0, 60, (4, 6, 2))),
    "polar": ({"max_radius": 1.0, **ASPECT}, CUP),
    "log_polar": ({"min_radius": 0.05, "max_radius": 1.0, **ASPECT}, CUP),
}
VOLUMES = {
    "translation": ({}, (0.25, 0.2, 0.0)),
    "attention": ({}, (1.5, 0.0, 0.0, 0.0)),
    "rotation": ({}, (0.5, 0.6, 0.2)),
    "similarity": ({}, (1.3, 0.3, -0.6, 0.4, 0.0, 0.1, 0.0)),
    "affine": ({}, (1.2, 0.5, 0, 0, 0, 1, 0, 0, 0.5, 0, 0.7, 0)),
    "diffeomorphic_affine": ({}, (0.2, 0.4, 0, 0, -0.4, 0.1, 0, 0, 0.4, 0, -0.3, 0)),
    "displacement": (SPLINE, rng.normal(0, 5, (3, 3, 3, 3))),
    "velocity": (SPLINE, rng.normal(0, 8, (3, 3, 3, 3))),
}


def made(name, arguments, params):
    """A family, params of a batch of one, and a title."""
    family = FAMILIES[name](**arguments)
    noun = "param" if family.num_params == 1 else "params"
    what = noun if family.params_ndim == 2 else "a point"  # of a field
    return family, np.asarray(params, "float32")[np.newaxis], f"{name}, {family.num_params} {what}"


def draw_pair(figure, picture, family, params, title, **settings):
    """A picture with the lattice where the output reads it, and the output."""
    read = family.transform_points(params, LATTICE.reshape(1, -1, 2), source_size=SIZE)
    pixels = (np.asarray(read).reshape(LATTICE.shape) + 1) * (WIDTH / 2, HEIGHT / 2)
    left, right = figure.subplots(1, 2)
    left.imshow(0.45 + 0.55 * picture[0].mean(-1), "gray", vmin=0, vmax=1, extent=(0, WIDTH, HEIGHT, 0))
    left.plot(*pixels.T, color=BROWN, linewidth=0.5)
    left.plot(*pixels[[0, 8, 9, 17]].T, color=ORANGE, linewidth=1.6)
    left.plot(*pixels[0].T, color=BLUE, linewidth=2.4)
    left.set(xlim=(-0.12 * WIDTH, 1.12 * WIDTH), ylim=(1.12 * HEIGHT, -0.12 * HEIGHT))
    left.spines[:].set_visible(False)
    right.imshow(np.clip(ops.warp(picture, params, family, **settings)[0], 0, 1))
    right.spines[:].set(color=ORANGE, linewidth=1.6)
    right.spines["top"].set(color=BLUE, linewidth=2.4)
    figure.suptitle(title, fontsize=10)


def letter(size=32, depth=8):
    """A volume (1, size, size, size, 1): a letter, `depth` voxels deep."""
    figure = plt.figure(figsize=(1, 1), dpi=size)
    figure.text(0.5, 0.5, "K", size=62, weight="bold", ha="center", va="center_baseline")
    figure.canvas.draw()
    ink = 1 - np.asarray(figure.canvas.buffer_rgba())[..., :1] / np.float32(255)
    plt.close(figure)
    front = np.arange(size) - size // 2 + depth // 2
    return (ink * ((front >= 0) & (front < depth)).reshape(-1, 1, 1, 1))[np.newaxis]


def rendered(volume, side=96):
    """A view (side, side) of a volume from the front, lit from the upper left."""
    view, params, _ = made("rotation", {"ndim": 3}, (-0.3, 0.35, 0.0))
    solid = np.asarray(ops.warp(volume, params, view, (side, side, side)))[0, ..., 0]
    inside = solid > 0.4
    surface = np.argmax(inside, axis=0)[np.newaxis]  # the first voxel inside behind each pixel
    normal = [np.take_along_axis(part, surface, 0)[0] for part in np.gradient(solid)]  # points inwards
    light = sum(part * way for part, way in zip(normal, (0.8, 0.45, 0.4), strict=True))
    light /= np.sqrt(sum(part**2 for part in normal)) + 1e-6
    return np.where(inside.any(axis=0), 0.25 + 0.75 * np.clip(light, 0, 1), np.nan)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a small picture")
    options = parser.parse_args()
    picture = data.coffee()[np.newaxis].astype("float32") / 255

    figure = plt.figure(figsize=(12, 10.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[5, 1])
    cells = iter(above.subfigures(math.ceil((len(FAMILIES) + 1) / 3), 3).flat)
    for name in sorted(FAMILIES, key=list(PICTURES).index):
        draw_pair(next(cells), picture, *made(name, *PICTURES[name]), fill_value=1.0)
    zoomed_out, pair = made("attention", {}, (2.5, 0.3, 0.2))[:2], ("reflect", "wrap")
    draw_pair(next(cells), picture, *zoomed_out, f"fill_mode={pair}", fill_mode=pair)

    volumes = {"a volume": letter()}
    for name, (arguments, params) in VOLUMES.items():
        family, params, title = made(name, arguments | {"ndim": 3}, params)
        volumes[title.replace(", ", "\n")] = ops.warp(volumes["a volume"], params, family)
    for axes, (title, shown) in zip(below.subplots(1, len(volumes)), volumes.items(), strict=True):
        axes.imshow(rendered(shown), cmap="copper", vmin=0, vmax=1)
        axes.spines[:].set_color("#d8d8d8")
        axes.set_title(title, fontsize=9)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    path = options.out / "gallery.png"
    figure.savefig(path, dpi=40 if options.smoke else 96)
    Image.open(path).convert("RGB").quantize(256).save(path)  # a third of the size
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
