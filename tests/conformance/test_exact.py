"""Identity, whole-pixel shifts, flips and quarter turns return the very pixels."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from families import WITH_IDENTITY

import keras_stn
from keras_stn import ops

SIZES = (1, 2, 7, 8, 33)
# Images lie in [0, 1], so one pixel can differ from the next by 1, and the bound is also one on the
# coordinates, in pixels. A normalised float32 grid cannot hold (2j + 1) / W - 1: its rounding, 2^-25 of
# half a width of 33, is 5e-7 px. Warp computes them exactly; params of a shift are rounded themselves.
ATOL = 1e-6

IDENTITY = [[1, 0, 0], [0, 1, 0]]
MIRROR_X = [[-1, 0, 0], [0, 1, 0]]
MIRROR_Y = [[1, 0, 0], [0, -1, 0]]
HALF_TURN = [[-1, 0, 0], [0, -1, 0]]
QUARTER_TURN = [[0, -1, 0], [1, 0, 0]]
THREE_QUARTERS = [[0, 1, 0], [-1, 0, 0]]
TRANSPOSE = [[0, 1, 0], [1, 0, 0]]


def picture(height, width, channels=2):
    return np.random.default_rng(height * 100 + width).random((2, height, width, channels), "float32")


def maps(theta):
    return np.tile(np.float32(theta), (2, 1, 1))  # one for each picture


def warp(images, theta, output_size, align_corners, **kwargs):
    layer = keras_stn.Warp(output_size=output_size, align_corners=align_corners, **kwargs)
    return layer([images, tf.reshape(theta, (-1, 6))])


def grid_and_sample(images, theta, output_size, align_corners, **kwargs):
    grid = ops.affine_grid(theta, output_size, align_corners)
    return ops.grid_sample(images, grid, align_corners=align_corners, **kwargs)


@functools.cache
def _compiled(function, output_size, align_corners, kwargs):
    """One function for all maps of a size, which are its argument: XLA takes 0.3 s for each new one."""
    return tf.function(
        lambda images, theta: function(images, theta, output_size, align_corners, **dict(kwargs)),
        jit_compile=True,
    )


def compiled(function):
    def call(images, theta, output_size, align_corners, **kwargs):
        return _compiled(function, output_size, align_corners, tuple(kwargs.items()))(images, theta)

    return call


PATHS = {
    "layer": warp,
    "ops": grid_and_sample,
    "layer_xla": compiled(warp),
    "ops_xla": compiled(grid_and_sample),
}
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
corners = pytest.mark.parametrize("align_corners", [False, True])


def turned(theta, expected, path, align_corners, sizes=SIZES, **kwargs):
    for height, width in itertools.product(sizes, repeat=2):
        images = picture(height, width)
        want = expected(images)
        have = path(images, maps(theta), want.shape[1:3], align_corners, **kwargs)
        error = np.max(np.abs(have - want))
        assert error <= (0 if path in (PATHS["layer"], PATHS["layer_xla"]) else ATOL), (height, width)


def sizes_of(path):
    return SIZES if path in (warp, grid_and_sample) else (1, 7, 33)  # XLA compiles each size anew


@paths
@corners
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_identity(interpolation, align_corners, path):
    turned(IDENTITY, lambda x: x, path, align_corners, sizes_of(path), interpolation=interpolation)


@paths
@corners
@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        (MIRROR_X, lambda x: x[:, :, ::-1]),
        (MIRROR_Y, lambda x: x[:, ::-1]),
        (HALF_TURN, lambda x: np.rot90(x, 2, axes=(1, 2))),
        (QUARTER_TURN, lambda x: np.rot90(x, 1, axes=(1, 2))),
        (THREE_QUARTERS, lambda x: np.rot90(x, 3, axes=(1, 2))),
        (TRANSPOSE, lambda x: x.transpose(0, 2, 1, 3)),
    ],
    ids=["mirror_x", "mirror_y", "half_turn", "quarter_turn", "three_quarters", "transpose"],
)
def test_flips_and_quarter_turns(theta, expected, align_corners, path):
    sizes = sizes_of(path)
    turned(theta, expected, path, align_corners, sizes, interpolation="bilinear")  # as the identity


def shifted(images, dy, dx, fill):
    """Pixel (i, j) shows (i + dy, j + dx), or `fill` where there is none."""
    _, height, width, _ = images.shape
    out = np.full_like(images, fill)
    for i, j in np.ndindex(height, width):
        if 0 <= i + dy < height and 0 <= j + dx < width:
            out[:, i, j] = images[:, i + dy, j + dx]
    return out


@paths
@corners
def test_whole_pixel_shifts(align_corners, path):
    sizes = [n for n in sizes_of(path) if n > align_corners]  # one pixel between centres has no width
    for height, width in itertools.product(sizes, repeat=2):
        images = picture(height, width)
        spans = (height - align_corners, width - align_corners)
        for dy, dx in ((1, -2), (-height // 2, 1), (height - 1, 1 - width), (0, width + 3)):
            theta = [[1, 0, 2 * dx / spans[1]], [0, 1, 2 * dy / spans[0]]]
            have = path(images, maps(theta), (height, width), align_corners, fill_value=0.5)
            error = np.max(np.abs(have - shifted(images, dy, dx, 0.5)))
            assert error <= ATOL, (height, width, dy, dx, error)


@corners
def test_the_identity_of_the_layer_is_exact_at_every_size(align_corners):
    for height, width in ((224, 320), (513, 97), (1, 1024)):
        images = picture(height, width, 1)
        have = warp(images, maps(IDENTITY), None, align_corners)
        assert np.array_equal(have, images), (height, width)


@pytest.mark.parametrize("family", WITH_IDENTITY)
def test_a_fresh_transformer_returns_its_input(family):
    for height, width in itertools.product(SIZES, repeat=2):
        images = picture(height, width)
        have = keras_stn.SpatialTransformer(transform=family)(images)
        assert np.array_equal(have, images), (height, width)
