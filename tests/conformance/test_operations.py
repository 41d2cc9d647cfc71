"""The methods of families inside a Functional model: undone, mapped back, copied, exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import FAMILIES, IMAGES, Bulge, Scroll, params
from families import has

import keras_stn
from keras_stn import Warp, ops, transforms

SIZE = IMAGES.shape[1:3]
CORNERS = np.array([[[-1, -1], [1, -1], [1, 1], [-1, 1]]] * 2, "float32")
families = pytest.mark.parametrize("name", FAMILIES)


def model_of(family):
    """Everything that a family can do, on params and corners, and the warp of images undone."""
    images = keras.Input(IMAGES.shape[1:])
    maps, corners = keras.Input(params(family).shape[1:]), keras.Input(CORNERS.shape[1:])
    outputs = [
        family.transform_points(maps, corners, SIZE),
        ops.grid_sample(images, family.grid(maps, (4, 6), True, SIZE)),
    ]
    if has(family, "inverse"):
        inverse = family.inverse(maps)
        outputs += [
            Warp(family)([Warp(family)([images, maps]), inverse]),
            family.transform_points(inverse, corners, SIZE),
        ]
    if has(family, "compose"):
        outputs += [
            family.from_theta(family.theta(maps)),
            family.compose(maps, family.inverse(maps)),
            family.from_pixel_matrix(family.pixel_matrix(maps, (7, 5)), (7, 5)),
        ]
    return keras.Model([images, maps, corners], outputs)


def inputs_of(family):
    return [IMAGES, params(family), CORNERS]


def eagerly(family, images, maps, corners):
    outputs = [
        family.transform_points(maps, corners, SIZE),
        ops.grid_sample(images, family.grid(maps, (4, 6), True, SIZE)),
    ]
    if has(family, "inverse"):
        inverse = family.inverse(maps)
        outputs += [
            Warp(family)([Warp(family)([images, maps]), inverse]),
            family.transform_points(inverse, corners, SIZE),
        ]
    if has(family, "compose"):
        outputs += [maps, np.array([family.identity_params] * 2), maps]
    return outputs


def assert_all_close(actual, desired, atol=1e-6):
    for have, want in zip(actual, desired, strict=True):
        np.testing.assert_allclose(have, want, rtol=0, atol=atol)


@families
def test_a_model_computes_what_the_methods_do(name):
    family = FAMILIES[name][1]()
    model, inputs = model_of(family), inputs_of(family)
    assert_all_close(model(inputs), eagerly(family, *inputs))
    assert_all_close(model.predict(inputs, verbose=0), eagerly(family, *inputs))


@families
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_model_is_loaded_and_cloned_to_the_same_bits(name, suffix, tmp_path):
    family = FAMILIES[name][1]()
    model, inputs = model_of(family), inputs_of(family)
    model.save(tmp_path / f"m.{suffix}")
    for copy in (keras.models.load_model(tmp_path / f"m.{suffix}"), keras.models.clone_model(model)):
        for have, want in zip(copy(inputs), model(inputs), strict=True):
            np.testing.assert_array_equal(have, want)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["similarity", "attention", "users-points", "users-matrix"])
def test_a_model_is_exported(name, tmp_path):
    """Each exporter compares the file with the model, and raises where they differ."""
    family = FAMILIES[name][1]()
    model, samples = model_of(family), inputs_of(family)
    keras_stn.export_saved_model(model, tmp_path / "m", samples=samples)
    keras_stn.export_tflite(model, tmp_path / "m.tflite", samples=samples)
    keras_stn.export_onnx(model, tmp_path / "m.onnx", samples=samples)


def test_a_warp_is_undone_inside_of_a_model_and_learns_through_it():
    """Both warps read smooth images: what the first one cuts off is away from the middle."""
    x, y = np.meshgrid(np.linspace(-1, 1, 50), np.linspace(-1, 1, 40))
    images = np.exp(-4 * (x**2 + 2 * y**2 + x * y))[np.newaxis, ..., np.newaxis].astype("float32")
    family = transforms.Similarity(aspect_ratio=50 / 40)
    symbols = [keras.Input((40, 50, 1)), keras.Input((4,))]
    there = Warp(family, interpolation="bicubic")([symbols[0], symbols[1]])
    back = Warp(family, interpolation="bicubic")([there, family.inverse(symbols[1])])
    model = keras.Model(symbols, back)
    maps = tf.constant([[0.9, 0.4, 0.05, -0.1]])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        restored = model([tf.constant(images), maps])
        loss = tf.reduce_sum(restored * np.linspace(0, 1, 50).reshape(1, 1, 50, 1))
    # The picture is up to 1, and a cubic with a = -0.75, applied twice, is right to 6e-3 of it.
    assert np.max(np.abs(restored - images)[:, 10:-10, 10:-10]) <= 1e-2
    assert np.max(np.abs(keras.Model(symbols, there)([tf.constant(images), maps]) - images)) >= 0.2
    assert np.all(np.isfinite(tape.gradient(loss, maps)))


def test_boxes_found_in_the_warped_image_are_mapped_back():
    """A point of the output shows the input at `transform_points`; the inverse finds it there."""
    family = transforms.Affine()
    maps, boxes = keras.Input((6,)), keras.Input((4, 2))
    to_input = family.transform_points(maps, boxes)
    again = family.transform_points(family.inverse(maps), to_input)
    theta = params(family)
    model = keras.Model([maps, boxes], [to_input, again])
    of_input, of_output = model([theta, CORNERS])
    homogeneous = np.concatenate([CORNERS, np.ones((2, 4, 1))], axis=2)
    want = np.einsum("bij,bnj->bni", theta.reshape(2, 2, 3), homogeneous)
    np.testing.assert_allclose(of_input, want, atol=1e-6)
    np.testing.assert_allclose(of_output, CORNERS, atol=1e-6)


def test_a_symbol_and_a_constant_go_together(tmp_path):
    family, theta = transforms.Affine(), params("affine")
    maps, points = keras.Input((6,)), keras.Input((4, 2))
    model = keras.Model(
        [maps, points],
        [
            family.transform_points(maps, CORNERS[:1]),
            family.transform_points(theta[:1], points),
            family.compose(theta[:1], maps),
            family.compose(inner=theta[1:], outer=maps),
        ],
    )
    assert [output.shape[0] for output in model.outputs] == [None] * 4
    model.save(tmp_path / "m.keras")
    many = np.concatenate([theta, theta[::-1], theta])
    want = [
        family.transform_points(many, CORNERS[:1]),
        family.transform_points(theta[:1], np.concatenate([CORNERS] * 3)),
        family.compose(theta[:1], many),
        family.compose(many, theta[1:]),
    ]
    for each in (model, keras.models.load_model(tmp_path / "m.keras")):
        assert_all_close(each([many, np.concatenate([CORNERS] * 3)]), want)


class Extended(Scroll):
    """Overrides what it can, and takes its arguments as they come."""

    def grid(self, *args, **kwargs):
        return super().grid(*args, **kwargs) + 0.5

    def inverse(self, params, offset=0.0):
        return offset - params


def test_overrides_of_any_signature_take_symbols():
    family, maps = Extended(), keras.Input((1,))
    values = params(family)
    model = keras.Model(
        maps,
        [
            family.grid(maps, output_size=(4, 6)),
            family.inverse(maps, offset=1.0),
            family.grid(maps, (4, 6)),
        ],
    )
    want = [family.grid(values, (4, 6)), 1 - values, Scroll().grid(values, (4, 6)) + 0.5]
    assert_all_close(model(values), want)


def test_what_a_family_lacks_is_said_when_the_model_is_made():
    maps = keras.Input((1,))
    with pytest.raises(NotImplementedError, match="^Bulge does not define the inverse of a map"):
        Bulge().inverse(maps)

    class NoWayBack(transforms.MatrixTransform):
        num_params, identity_params = 1, (0.0,)

        def theta(self, params):
            return Scroll.theta(self, params)

    with pytest.raises(NotImplementedError, match="^NoWayBack must define from_theta"):
        NoWayBack().inverse(maps)
    with pytest.raises(ValueError, match=r"^params must have shape \(batch, 6\)\. Received"):
        transforms.Affine().theta(maps)
