"""Register two pictures by a velocity field: no network and no training, one field that is optimised.

    python examples/registration.py                     half a minute on two cores
    python examples/registration.py --smoke --out /tmp  a few seconds

The moving picture is the fixed one, bent by a smooth random field. From coarse to fine, a field is
sought by which the moving picture looks like the fixed one. Points flow along it, so nothing is folded,
and the negative field is the way back. Writes registration.png.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from keras_stn import ops
from keras_stn.transforms import Velocity

try:
    from skimage import data
except ImportError:
    raise SystemExit("The picture comes with scikit-image: pip install scikit-image") from None

SIZE, COARSER = (256, 384), (8, 4, 2, 1)  # (height, width); pictures of an eighth, and up to all of it
VELOCITY = Velocity()  # params (batch, h, w, 2), in pixels of the picture


def resized(images, size):
    return keras.ops.image.resize(images, size, interpolation="bicubic", antialias=True)


def loss_of(field, fixed, moving, smoothness=1e-4):
    """The mean square of what differs, and of how the velocity changes from point to point."""
    warped = ops.warp(moving, field, VELOCITY, fill_mode="nearest")
    across, down = field[:, :, 1:] - field[:, :, :-1], field[:, 1:] - field[:, :-1]
    bending = tf.reduce_mean(across**2) + tf.reduce_mean(down**2)
    return tf.reduce_mean((warped - fixed) ** 2) + smoothness * bending


def optimised(field, fixed, moving, steps):
    """The field after some steps of Adam."""
    field, optimizer = keras.Variable(field), keras.optimizers.Adam(0.1)
    optimizer.build([field])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = loss_of(field.value, fixed, moving)
        optimizer.apply([tape.gradient(loss, field.value)])

    for _ in range(steps):
        step()
    return field.value


def register(fixed, moving, steps):
    """The field that makes `moving` look like `fixed`, a quarter as large as the pictures."""
    field = np.zeros((1, 1, 1, 2), "float32")
    for coarser in COARSER:
        size = [side // coarser for side in SIZE]
        # From one size to the next there are twice as many pixels to go.
        field = 2 * resized(field, [side // 4 for side in size])
        field = optimised(field, resized(fixed, size), resized(moving, size), steps)
    return field


def flow_of(field, points):
    """Where points (..., 2) flow, in pixels from the outer edge of the first one."""
    half = np.array(SIZE[::-1], "float32") / 2
    moved = VELOCITY.transform_points(field, (points / half - 1).reshape(1, -1, 2), SIZE)
    return (np.asarray(moved).reshape(points.shape) + 1) * half


def lattice(step):
    """Points (h, w, 2), `step` pixels apart; the centres of pixels for a step of 1."""
    height, width = SIZE
    x, y = np.meshgrid(np.arange(step / 2, width, step), np.arange(step / 2, height, step))
    return np.stack([x, y], axis=-1).astype("float32")


def determinant(field):
    """Of the Jacobian of the flow at each pixel: 0 or below where it folds."""
    flow = flow_of(field, lattice(1))
    across, down = np.gradient(flow, axis=1), np.gradient(flow, axis=0)
    return across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."), help="folder for the PNG")
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    arguments = parser.parse_args()

    fixed = resized(data.chelsea()[np.newaxis].astype("float32") / 255, SIZE)
    # Nothing moves at the edge: what comes in from outside has no counterpart.
    bend = np.pad(np.random.default_rng(1).normal(0, 12, (1, 3, 5, 2)), ((0, 0), (1, 1), (1, 1), (0, 0)))
    bend = resized(bend.astype("float32"), [side // 4 for side in SIZE])
    moving = ops.warp(fixed, bend, VELOCITY, fill_mode="nearest")
    field = register(fixed, moving, steps=3 if arguments.smoke else 100)
    result = ops.warp(moving, field, VELOCITY, fill_mode="nearest")

    points = lattice(1)
    for name, came_to in (
        ("before", flow_of(bend, points)),
        ("after", flow_of(bend, flow_of(field, points))),
    ):
        distance = np.linalg.norm(came_to - points, axis=-1)
        print(f"{name}: points {distance.mean():.2f} px off in the mean, {distance.max():.1f} at most")
    folding = determinant(field)
    print(f"folded pixels: {np.sum(folding <= 0)}, least determinant {folding.min():.2f}")

    figure, axes = plt.subplots(2, 3, figsize=(8.4, 4.3), layout="constrained")
    panels = {
        "fixed": fixed,
        "moving": moving,
        "moving, registered": result,
        "the flow": 0.4 * moving + 0.6,
        "difference before": 2 * abs(moving - fixed),
        "difference after": 2 * abs(result - fixed),
    }
    for each, (title, picture) in zip(axes.flat, panels.items(), strict=True):
        each.imshow(np.clip(picture[0], 0, 1), extent=(0, SIZE[1], SIZE[0], 0))
        each.set_title(title)
        each.set_axis_off()
    lines = flow_of(field, lattice(10))
    for along in (lines, lines.swapaxes(0, 1)):
        axes[1, 0].plot(*np.moveaxis(along, -1, 0), color="#1b4f9c", linewidth=0.7)
    path = arguments.out / "registration.png"
    figure.savefig(path, dpi=40 if arguments.smoke else 64)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
