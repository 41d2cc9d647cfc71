"""Straighten a photographed page by its four corners.

    python examples/straighten_document.py

Draws a page, photographs it askew on a table, and makes it straight again: once by the exact corners,
and once by corners as a finger would give them, in whole pixels. Writes straighten_document.png.
"""

import argparse
import pathlib
import textwrap

import keras
import matplotlib.pyplot as plt
import numpy as np

from keras_stn import ops, visualize
from keras_stn.transforms import Projective

PAGE, PHOTO = (594, 420), (480, 600)  # (height, width)
TEXT = """
A spatial transformer looks at a picture, decides how it lies, and reads it anew. A photograph shows a
page under a homography: straight lines stay straight, and parallels meet. Eight numbers say where each
point went, and four corners give these eight.

So there is nothing to train here. The corners of the page are the corners of the output, and the pixels
between them are read where the homography puts them, between their neighbours.

Where nobody marks the corners, a network can find them: its loss is the picture that it straightens.
"""


def draw_page():
    """(1, height, width, 3) in [0, 1]: lines of text and a curve."""
    height, width = PAGE
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    figure.text(0.1, 0.91, "Four corners", fontsize=17, family="serif", weight="bold")
    paragraphs = [textwrap.fill(text, 49) for text in TEXT.strip().split("\n\n")]
    style = {"family": "serif", "fontsize": 8.6, "linespacing": 1.5}
    figure.text(0.1, 0.88, "\n\n".join(paragraphs), va="top", **style)
    axes = figure.add_axes((0.14, 0.09, 0.75, 0.22))
    x = np.linspace(0, 12, 200)
    axes.plot(x, np.exp(-x / 5) * np.cos(2 * x), color="#c0392b")
    axes.grid(alpha=0.5)
    axes.tick_params(labelsize=7)
    figure.canvas.draw()
    page = np.asarray(figure.canvas.buffer_rgba())[np.newaxis, ..., :3] / np.float32(255)
    plt.close(figure)
    return page


def draw_table(rng):
    """(1, height, width, 3): noise along the grain of the wood."""
    height, _ = PHOTO
    grain = sum(
        keras.ops.image.resize(rng.normal(0, strength, (1, rows, columns, 1)), PHOTO, "bicubic")
        for rows, columns, strength in ((height // 2, 6, 0.03), (height // 16, 3, 0.06))
    )
    return np.clip(np.asarray(grain) + 0.9, 0, 1) * np.array([0.42, 0.28, 0.18], "float32")


def photograph(page, corners, table):
    """What a camera sees that has the corners of the page at `corners`."""
    # Target is the photograph, source the page: the corners of the page are seen at `corners`.
    edges = np.array([[[-1, -1], [1, -1], [1, 1], [-1, 1]]], "float64")
    params = Projective.from_points(edges, corners)
    paper = np.concatenate(
        [page, np.ones_like(page[..., :1])], axis=-1
    )  # the last channel: is it paper?
    seen = np.asarray(ops.warp(paper, params, "projective", PHOTO))
    color, cover = seen[..., :3], seen[..., 3:]
    return color + (1 - cover) * table, params


def largest_error(straighten, photographed):
    """How far from its place the result shows a point of the page, in pixels of the page."""
    x, y = np.meshgrid(np.linspace(-1, 1, 21), np.linspace(-1, 1, 21))
    lattice = np.stack([x.ravel(), y.ravel()], axis=-1)[np.newaxis]
    in_photo = Projective().transform_points(straighten, lattice)
    on_page = np.asarray(Projective().transform_points(photographed, in_photo))
    half_size = np.array(PAGE[::-1]) / 2
    return np.linalg.norm((on_page - lattice) * half_size, axis=-1).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a small picture")
    arguments = parser.parse_args()
    rng = np.random.default_rng(2)

    # In pixels of the photograph, clockwise from the top left of the page.
    corners = np.array([[215, 40], [500, 75], [520, 430], [60, 375]]) + rng.uniform(-15, 15, (4, 2))
    size = np.array(PHOTO[::-1])
    normalised = ((2 * corners + 1) / size - 1)[np.newaxis]  # pixel 0 has its centre half a pixel inside
    photo, photographed = photograph(draw_page(), normalised, draw_table(rng))

    exact = Projective.from_points(normalised)
    by_finger = Projective.from_points(((2 * np.round(corners) + 1) / size - 1)[np.newaxis])
    print(f"largest error, exact corners: {largest_error(exact, photographed):.1e} px")
    print(f"largest error, corners in whole pixels: {largest_error(by_finger, photographed):.2f} px")
    straight = ops.warp(photo, by_finger, "projective", PAGE, interpolation="bicubic")

    figure, (before, after) = plt.subplots(
        1, 2, figsize=(9, 5.2), layout="constrained", width_ratios=[1.45, 1]
    )
    before.imshow(np.clip(photo[0], 0, 1))
    outline = visualize.sampling_quadrilateral("projective", by_finger, PHOTO, PAGE)[0]
    before.fill(*outline.T, fill=False, edgecolor="#ff8c1a", linewidth=1.6)
    before.plot(*outline.T, "o", color="#22c7e8", markersize=6)
    before.set_title("photograph, and the corners")
    after.imshow(np.clip(straight[0], 0, 1))
    after.set_title("straightened")
    for axes in (before, after):
        axes.set_axis_off()
    path = arguments.out / "straighten_document.png"
    figure.savefig(path, dpi=50 if arguments.smoke else 90)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
