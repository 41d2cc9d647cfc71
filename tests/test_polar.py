"""Polar and LogPolar: turns become shifts of columns, and zooms shifts of rows."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import transforms
from keras_stn.transforms import LogPolar, Polar
from keras_stn.transforms.log_polar import _exp
from oracles import extended_sample

align_corners = pytest.mark.parametrize("align_corners", [False, True])
CENTERS = np.array([[0.1, -0.2], [0.0, 0.0], [-0.7, 0.4]])
FAMILIES = [
    Polar(),
    Polar(max_radius=0.8, aspect_ratio=1.5),
    Polar(max_radius=1.3, aspect_ratio=0.6),
    LogPolar(),
    LogPolar(min_radius=0.02, max_radius=1.1, aspect_ratio=1.5),
    LogPolar(min_radius=0.6, max_radius=0.7, aspect_ratio=0.6),
]
families = pytest.mark.parametrize("family", FAMILIES, ids=str)


def truth(family, centers, size, align_corners):
    """The formulas of the docstring, pixel by pixel."""
    height, width = size
    grid = np.zeros((len(centers), height, width, 2))
    for b, i, j in np.ndindex(len(centers), height, width):
        along, down = (j + 0.5) / width, (i + 0.5) / height
        if align_corners:
            along, down = j / (width - 1), i / (height - 1)
        radius = family.max_radius * down
        if isinstance(family, LogPolar):
            radius = family.min_radius * (family.max_radius / family.min_radius) ** down
        x, y = radius * np.cos(2 * np.pi * along), radius * np.sin(2 * np.pi * along)
        wide = family.aspect_ratio
        x, y = (x / wide, y) if wide > 1 else (x, y * wide)  # a unit is half the shorter side
        grid[b, i, j] = centers[b] + [x, y]
    return grid


def largest(difference):
    return np.max(np.abs(difference))


@align_corners
@families
def test_points_are_those_of_the_docstring(family, align_corners):
    want = truth(family, CENTERS, (13, 29), align_corners)
    have = {
        dtype: family.grid(tf.constant(CENTERS, dtype), (13, 29), align_corners)
        for dtype in ("float64", "float32")
    }
    assert largest(have["float64"] - want) <= 1e-14
    # Numbers up to 2, whose sines and logarithms are within 1.6e-7.
    assert largest(have["float32"] - want) <= 5e-7


@align_corners
@families
def test_the_picture_is_that_of_a_loop_in_float64(family, align_corners):
    images = np.random.default_rng(1).random((3, 24, 36, 2))
    grid = truth(family, CENTERS, (13, 29), align_corners)
    want = extended_sample(images, grid, "bilinear", "constant", 0.5, align_corners)
    for dtype, bound in ("float64", 1e-12), ("float32", 2e-5):  # 5e-7 of 18 pixels, by two axes
        warp = keras_stn.Warp(family, (13, 29), fill_value=0.5, align_corners=align_corners, dtype=dtype)
        assert largest(warp([images, CENTERS]) - want) <= bound


@pytest.mark.parametrize("scaling", ["linear", "log"])
def test_the_picture_is_that_of_scikit_image(scaling):
    """Its rows are angles and its columns radii, from 0 on and not from half a pixel on."""
    transform = pytest.importorskip(
        "skimage.transform", reason="scikit-image is an oracle only; CI installs it"
    )
    height, width = 40, 56
    image = np.random.default_rng(2).random((height, width))
    row, column, radius, size = 17.0, 30.0, 14.0, (64, 32)  # angles, radii
    theirs = transform.warp_polar(
        image, (row, column), radius=radius, output_shape=size, scaling=scaling, order=1
    )
    # Angle i of 64 and radius j of 32: with align_corners that is a target of one angle more, and radii
    # j / (32 - 1) of what the last one is.
    last = radius * 31 / 32
    center = np.array([[2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1]])
    aspect = (width - 1) / (height - 1)
    unit = 2 / (height - 1)  # a pixel, in halves of the shorter side
    if scaling == "linear":
        family = Polar(last * unit, aspect)
    else:  # radius exp(j log(radius) / 32): 1 pixel at first
        family = LogPolar(unit, np.exp(31 / 32 * np.log(radius)) * unit, aspect)
    warp = keras_stn.Warp(family, (32, 65), align_corners=True, dtype="float64")
    ours = warp([image[np.newaxis, ..., np.newaxis], center])[0, :, :, 0].numpy()
    assert largest(ours[:, :-1].T - theirs) <= 1e-10
    assert largest(ours[:, -1] - ours[:, 0]) <= 1e-10  # a full turn


def blobs(turn, zoom, size=(321, 401)):
    """A smooth picture, turned by an angle about its centre and magnified, as a formula."""
    height, width = size
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    x, y = x / 160 / zoom, y / 160 / zoom
    x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    picture = np.exp(-8 * ((x - 0.3) ** 2 + (y + 0.1) ** 2)) - np.exp(
        -9 * ((x + 0.1) ** 2 + (y - 0.4) ** 2)
    )
    return picture[np.newaxis, ..., np.newaxis]


@pytest.mark.parametrize("kind", [Polar, LogPolar])
def test_a_turn_of_the_picture_is_a_shift_of_the_columns(kind):
    family = kind(max_radius=0.95, aspect_ratio=401 / 321)
    warp = keras_stn.Warp(family, (30, 72), dtype="float64")
    center = np.zeros((1, 2))
    before = warp([blobs(0, 1), center])
    after = warp([blobs(7 * 2 * np.pi / 72, 1), center])
    # Linear interpolation is off by an eighth of the second derivative, 18 / 160^2: by 9e-5.
    assert largest(np.roll(before, 7, axis=2) - after) <= 3e-4
    assert largest(before - after) > 0.3


def test_a_zoom_of_the_picture_is_a_shift_of_the_rows():
    family = LogPolar(min_radius=0.05, max_radius=0.95, aspect_ratio=401 / 321)
    warp = keras_stn.Warp(family, (30, 72), dtype="float64")
    center, a_row = np.zeros((1, 2)), (0.95 / 0.05) ** (1 / 30)
    before = warp([blobs(0.4, 1), center]).numpy()
    after = warp([blobs(0.4, a_row**5), center]).numpy()
    assert largest(before[:, :-5] - after[:, 5:]) <= 3e-4
    assert largest(before - after) > 0.3


def test_circles_are_circles_in_pixels_by_the_aspect_ratio():
    for height, width in (20, 50), (50, 20):
        grid = Polar(aspect_ratio=width / height).grid(np.zeros((1, 2)), (9, 17), True)
        radii = np.linalg.norm(grid * [width / 2, height / 2], axis=-1)
        assert largest(radii - 10 * np.linspace(0, 1, 9)[:, None]) <= 1e-13  # half the shorter side


def test_the_centre_learns_where_the_rings_are():
    """Of rings about a point, each row of the output is of one colour: its spread has a gradient."""
    x, y = np.meshgrid(np.linspace(-1, 1, 60), np.linspace(-1, 1, 60))
    rings = np.cos(6 * np.hypot(x - 0.2, y + 0.1))[np.newaxis, ..., np.newaxis]
    warp = keras_stn.Warp(Polar(0.6), (16, 48), align_corners=True, dtype="float64")
    center = tf.Variable(np.zeros((1, 2)))
    optimizer = keras.optimizers.Adam(0.02)
    for _ in range(120):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.math.reduce_variance(warp([rings, center]), axis=2))
        optimizer.apply([tape.gradient(loss, center)], [center])
    assert largest(center - [[0.2, -0.1]]) <= 0.01


def test_there_is_no_identity_and_the_family_says_so():
    names = {name for name, family in transforms.FAMILIES.items() if not family.has_identity}
    assert names == {"polar", "log_polar"}
    points = np.random.default_rng(4).uniform(-1, 1, (1, 9, 2))
    assert largest(Polar().transform_points([Polar.identity_params], points) - points) > 0.5


@pytest.mark.parametrize("largest_exponent", [0.01, 0.7, 3.0, 7.0, 14.0])
def test_the_exponential_is_that_of_numpy(largest_exponent):
    exponents = np.linspace(-largest_exponent, 0, 100_001, dtype="float32")
    have = _exp(tf.constant(exponents), largest_exponent).numpy()
    # One rounding of a number below 1 is 6e-8; the products take two or three.
    assert largest(have - np.exp(exponents.astype("float64"))) <= 1.8e-7
    assert have[-1] == 1


def test_radii_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"^min_radius must be below max_radius=0\.5\. Received"):
        LogPolar(min_radius=0.5, max_radius=0.5)
    with pytest.raises(ValueError, match=r"^max_radius must be a positive number\. Received"):
        Polar(max_radius=-1)
    with pytest.raises(ValueError, match=r"^aspect_ratio must be a positive number\. Received"):
        LogPolar(aspect_ratio=0)


def test_a_polar_family_is_saved_with_its_arguments():
    for family in FAMILIES:
        assert transforms.get(keras.saving.serialize_keras_object(family)) == family
