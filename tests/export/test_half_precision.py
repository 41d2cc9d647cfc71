"""GPUs compute in float16 by default: the arithmetic of target="gpu" in float16, op by op.

TensorFlow's CPU kernels round to float16 after each op, as such a GPU does; the index stays in int32.
"""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from keras_stn import grids, sampler

# Entries that float16 holds: what it does to params is not the sampler's.
THETA = np.float16([[[0.8, 0.25, 0.1], [-0.2, 0.9, -0.05]]]).astype("float32")


def photograph(height, width):
    """Clouds with the spectrum of a photograph, 1 / frequency, from 0 to 1: sharp at every scale."""
    noise = np.fft.fft2(np.random.default_rng(0).normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1
    picture = np.fft.ifft2(noise / frequency).real
    return ((picture - picture.min()) / np.ptp(picture)).astype("float32")


def waves(height, width):
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (0.5 + 0.25 * np.sin(7 * x + 3 * y) + 0.2 * np.cos(11 * y - 4 * x)).astype("float32")


def warp(picture, dtype, split, theta=THETA, fill_mode="constant", interpolation="bilinear"):
    images = tf.constant(picture[None, ..., None], dtype)
    size = picture.shape
    with grids.for_float16() if split else contextlib.nullcontext():
        points = grids.matrix_points(tf.constant(theta, dtype), size, size, False)
    sampling = sampler.Sampling(interpolation, fill_mode)
    sampled = sampler.interpreter.read(images, points, sampling, index_dtype=tf.int32)
    return sampled.numpy().astype("float64")


def psnr(expected, actual):
    return 10 * np.log10(1 / np.mean((expected - actual) ** 2))


@pytest.fixture(autouse=True)
def sums_in_float16(monkeypatch):
    monkeypatch.setattr(sampler.interpreter, "accumulator", lambda dtype: dtype)


@pytest.mark.parametrize("size", [(512, 512), (384, 512), (1024, 640)])
@pytest.mark.parametrize("picture", [photograph, waves])
def test_float16_keeps_a_large_picture(picture, size):
    image = picture(*size)
    expected = warp(image, "float32", split=False)
    # 73 dB is what rounding pixels and weights leaves; where the picture is not square, its sides' ratio
    # is rounded as well. A quarter of a pixel, which is what float16 has beyond 256, leaves 39 dB.
    assert psnr(expected, warp(image, "float16", split=True)) >= 55


def test_float16_without_the_split_would_lose_it():
    image = photograph(512, 512)
    assert psnr(warp(image, "float32", split=False), warp(image, "float16", split=False)) < 45


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect", "mirror", "wrap"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_split_coordinates_give_the_same_numbers_in_float32(interpolation, fill_mode, scale):
    image = np.random.default_rng(1).random((37, 52)).astype("float32")
    theta = (THETA * scale + np.float32([[[0, 0, 0.01], [0, 0, 0.02]]])).astype("float32")
    sampling = {"theta": theta, "fill_mode": fill_mode, "interpolation": interpolation}
    expected, actual = (warp(image, "float32", split, **sampling) for split in (False, True))
    errors = np.sort(np.abs(expected - actual).ravel())
    if interpolation == "nearest":
        errors = errors[:-2]  # points halfway between two pixels
    # Coordinates of up to 150 are rounded to 1e-5, and noise changes by up to 1 a pixel.
    assert errors.max() <= 2e-5


def test_identity_is_exact_in_float16():
    image = waves(512, 384).astype("float16").astype("float32")
    identity = np.float32([[[1, 0, 0], [0, 1, 0]]])
    assert np.array_equal(warp(image, "float16", split=True, theta=identity)[0, ..., 0], image)
