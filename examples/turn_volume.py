"""Train a spatial transformer to turn volumes upright.

    python examples/turn_volume.py                     about a minute on two cores
    python examples/turn_volume.py --smoke --out /tmp  a few seconds

Digits of some thickness are turned in space, by up to 75 degrees about any axis. A localization network
sees the volume and learns the rotation that undoes the turn. Writes turn_volume.png: digits that it has
never seen turned so, and what it makes of them.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_stn
from keras_stn import ops
from keras_stn.transforms import Rotation

SIZE, DEPTH = 24, 6
ROTATION = Rotation(ndim=3)  # 3 params: the rotation vector (x, y, z), as long as the angle


def digit(character):
    """A volume (SIZE, SIZE, SIZE, 1): a printed character, DEPTH voxels deep."""
    figure = plt.figure(figsize=(1, 1), dpi=SIZE)
    figure.text(0.5, 0.5, character, size=64, weight="bold", ha="center", va="center_baseline")
    figure.canvas.draw()
    ink = 1 - np.asarray(figure.canvas.buffer_rgba())[..., :1] / np.float32(255)
    plt.close(figure)
    volume = np.zeros((SIZE, SIZE, SIZE, 1), "float32")  # (depth, height, width, channels)
    volume[(SIZE - DEPTH) // 2 : (SIZE + DEPTH) // 2] = ink
    return volume


def turned(count, rng):
    """Digits turned in space, the same ones upright, and the rotation vectors."""
    upright = np.stack([digit(character) for character in "0123456789"])[np.arange(count) % 10]
    axes = rng.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    params = (axes * np.radians(rng.uniform(0, 75, (count, 1)))).astype("float32")
    return np.asarray(ops.warp(upright, params, ROTATION)), upright, params


def degrees(params):
    return np.degrees(np.linalg.norm(params, axis=1))


def rendered(volume):
    """A view (4 SIZE, 4 SIZE) from the front, a little from above and aside, lit from the left."""
    side = SIZE * 4
    view = np.array([[-0.3, 0.35, 0.0]], "float32")
    solid = np.asarray(ops.warp(volume[np.newaxis], view, ROTATION, (side, side, side)))[0, ..., 0]
    inside = solid > 0.4
    surface = np.argmax(inside, axis=0)[np.newaxis]  # the first voxel of the digit behind each pixel
    normal = [np.take_along_axis(part, surface, 0)[0] for part in np.gradient(solid)]  # points inwards
    length = np.sqrt(sum(part**2 for part in normal)) + 1e-6
    light = sum(part * way for part, way in zip(normal, (0.8, 0.45, 0.4), strict=True)) / length
    return np.where(inside.any(axis=0), 0.25 + 0.75 * np.clip(light, 0, 1), np.nan)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)

    # Wider than the default, and its first convolution takes blocks of 2x2x2 voxels.
    network = keras_stn.localization.volume_conv((SIZE,) * 3, (16, 32, 64), units=64, side=SIZE // 2)
    transformer = keras_stn.SpatialTransformer(network, ROTATION, jitter=0.0)
    model = keras.Sequential([keras.Input((SIZE, SIZE, SIZE, 1)), transformer])
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    volumes, upright, _ = turned(200 if arguments.smoke else 4000, rng)
    model.fit(volumes, upright, epochs=1 if arguments.smoke else 8, verbose=2)

    volumes, _, given = turned(200, rng)
    predicted = transformer.localize(volumes)
    left = ROTATION.compose(given, predicted)  # what the output is turned by
    print(f"mean turn before: {degrees(given).mean():.1f} degrees, after: {degrees(left).mean():.1f}")

    columns = 5 if arguments.smoke else 10
    results = np.asarray(transformer.warp(volumes[:columns], predicted[:columns]))
    figure, rows = plt.subplots(
        2, columns, figsize=(1.1 * columns, 2.9), layout="constrained", facecolor="#20242b"
    )
    shown = ((volumes, given, "given"), (results, left, "turned back"))
    for row, (pictures, params, name) in zip(rows, shown, strict=True):
        for axes, volume, angle in zip(row, pictures, degrees(params), strict=False):
            axes.imshow(rendered(volume), cmap="copper", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[], facecolor="#20242b")
            axes.spines[:].set_visible(False)
            axes.set_xlabel(f"{angle:.0f}\N{DEGREE SIGN}", color="white")
        row[0].set_ylabel(name, color="white")
    path = arguments.out / "turn_volume.png"
    figure.savefig(path, dpi=50 if arguments.smoke else 90)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
