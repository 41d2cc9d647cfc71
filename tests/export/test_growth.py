"""Growth: what users write goes into every format, and bends grow with the sides of an image alone."""

import keras
import numpy as np
import pytest
import users_kernel
from common import EXPORTERS, FILLS, difference, inputs, lite, warp
from users_family import Bulge

from keras_stn import export, transforms
from keras_stn.sampler import KERNELS


@pytest.fixture(autouse=True)
def _kernel(monkeypatch):
    monkeypatch.setitem(KERNELS, users_kernel.NAME, users_kernel.KERNEL)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("format", EXPORTERS)
def test_a_users_kernel_gives_the_same_numbers_in_every_format(format, fill, tmp_path):
    model = warp("affine", (6, 7), fill, interpolation=users_kernel.NAME)
    report = EXPORTERS[format](model, tmp_path / "model")
    assert report.max_error <= 5e-6  # noise in [0, 1], coordinates below 16


@pytest.mark.parametrize("interpolation", KERNELS)
@pytest.mark.parametrize("format", EXPORTERS)
def test_a_users_family_gives_the_same_numbers_in_every_format(format, interpolation, tmp_path):
    model = warp(Bulge(), (6, 7), interpolation=interpolation)
    report = EXPORTERS[format](model, tmp_path / "model")
    assert report.max_error <= 5e-6


class Shear(transforms.Transform):
    """Moves x by y, and leaves y as it is: one axis of its points is whole, and the other is not."""

    num_params = 1
    identity_params = (0.0,)

    def map(self, params, x, y):
        return x + keras.ops.expand_dims(params, -1) * y, y


@pytest.mark.parametrize("size", [(6, 7), (8, 8)])
@pytest.mark.parametrize("format", EXPORTERS)
def test_a_family_that_leaves_an_axis_alone_goes_into_every_format(format, size, tmp_path):
    report = EXPORTERS[format](warp(Shear(), size), tmp_path / "model")
    assert report.max_error <= 5e-6


def test_files_of_a_users_family_grow_with_the_sides_and_not_the_area(tmp_path):
    sizes = {}
    for size in (64, 224, 640):
        model = warp(Bulge(), (size, size), output_size=None, batch=1, channels=1)
        report = export.export_tflite(model, tmp_path / "m.tflite", measure_latency=False)
        sizes[size] = report.size
        # Noise changes by up to 1 a pixel, and a coordinate near 640 is rounded to 6e-5.
        feed = inputs(model, 1, within=0.2)
        assert difference(model, lite(tmp_path / "m.tflite"), feed) <= 5e-7 * size
    assert sizes[64] <= 14_000
    assert np.diff(list(sizes.values())).tolist() <= [160 * 8, 416 * 8]  # two axes of float32
