"""Dtype policies: outputs have the compute dtype, params and coordinates float32 at least."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    ALL,
    FUNCTIONS,
    IMAGES,
    LOCALIZATIONS,
    MODELS,
    NETWORKS,
    SOME,
    SPATIAL_TRANSFORMERS,
    WARPS,
    call,
    sequential,
)

from keras_stn import SpatialTransformer, Warp, ops

COMPUTE_DTYPES = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16",
    "float32": "float32",
    "float64": "float64",
}
policies = pytest.mark.parametrize("policy", COMPUTE_DTYPES)

PARAMS_LAYERS = [case for case in LOCALIZATIONS if case.id.startswith("Localization")]
IMAGE_LAYERS = NETWORKS + [case for case in SOME if case in SPATIAL_TRANSFORMERS + WARPS]


@policies
@pytest.mark.parametrize("case", IMAGE_LAYERS, ids=str)
def test_output_has_the_compute_dtype(case, policy):
    keras.config.set_dtype_policy(policy)
    assert call(case.make(), case.inputs).dtype == COMPUTE_DTYPES[policy]


@policies
@pytest.mark.parametrize("case", PARAMS_LAYERS, ids=str)
def test_params_are_float32_whatever_the_policy_and_float64_under_float64(case, policy):
    keras.config.set_dtype_policy(policy)
    expected = "float64" if policy == "float64" else "float32"
    assert call(case.make(), case.inputs).dtype == expected


@policies
def test_policy_given_to_the_layer_is_the_policy_of_its_parts(policy):
    """`dtype=` on one layer does what the global setting does, and the network follows."""
    layer = SpatialTransformer("conv", dtype=policy)
    assert layer(IMAGES).dtype == COMPUTE_DTYPES[policy]
    assert {part.dtype_policy.name for part in layer.localization.network.layers} == {policy}
    assert layer.warp.dtype_policy.name == policy


@policies
@pytest.mark.parametrize("case", SOME, ids=str)
def test_symbolic_dtype_is_the_dtype_of_the_output(case, policy):
    assert_symbolic_dtype(case, policy)


@pytest.mark.parametrize("case", [case for case in MODELS if case not in SOME], ids=str)
def test_symbolic_dtype_is_the_dtype_of_the_output_in_mixed_precision(case):
    assert_symbolic_dtype(case, "mixed_float16")


def assert_symbolic_dtype(case, policy):
    keras.config.set_dtype_policy(policy)
    made = case.make()
    symbols = [keras.KerasTensor(x.shape, x.dtype.name) for x in case.inputs]
    assert call(made, symbols).dtype == call(made, case.inputs).dtype.name


@pytest.mark.parametrize("case", [case for case in ALL if case not in MODELS], ids=str)
def test_family_keeps_float64(case):
    outputs = call(case.make(), [tf.cast(x, tf.float64) for x in case.inputs])
    assert outputs.dtype == tf.float64
    # A single float32 step on the way would put the two apart by less than this, and more than 1e-9.
    np.testing.assert_allclose(outputs, call(case.make(), case.inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("case", [case for case in FUNCTIONS if "labels" not in case.id], ids=str)
def test_function_keeps_the_dtype_of_images_and_raises_half_precision_theta(case, dtype):
    outputs = call(case.make(), [tf.cast(x, dtype) for x in case.inputs])
    half_theta = case.id.startswith("affine_grid") and dtype in ("float16", "bfloat16")
    assert outputs.dtype == ("float32" if half_theta else dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64"])
def test_labels_are_read_in_kind(dtype):
    labels = np.arange(6, dtype=dtype).reshape(1, 2, 3, 1) * 20
    flip = np.array([[[-1, 0, 0], [0, 1, 0]]], "float32")
    flipped = ops.grid_sample(labels, ops.affine_grid(flip, (2, 3)), "nearest")
    assert flipped.dtype == dtype
    np.testing.assert_array_equal(flipped, labels[:, :, ::-1])


# --- Coordinates keep their precision --------------------------------------------------------------

WIDE = np.random.default_rng(0).uniform(-1, 1, (1, 3, 224, 2)).astype("float32")


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_shift_by_whole_pixels_at_width_224_is_exact_in_half_precision(policy, interpolation):
    """In float16 a coordinate would be off by up to 0.06 pixels, in bfloat16 by a whole one."""
    warp = Warp("translation", fill_mode="wrap", interpolation=interpolation, dtype=policy)
    cast = tf.cast(WIDE, warp.compute_dtype).numpy()
    for pixels in range(-224, 225, 7):
        params = np.array([[2 * pixels / 224, 0]], "float32")
        np.testing.assert_array_equal(warp([WIDE, params]), np.roll(cast, -pixels, axis=2))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_transformer_shifts_by_whole_pixels_at_width_224_in_half_precision(policy):
    """The same through the head: its bias holds the shift, and must reach the warp in float32."""
    layer = SpatialTransformer(sequential(policy), "translation", fill_mode="wrap", dtype=policy)
    cast = tf.cast(WIDE, layer.compute_dtype).numpy()
    layer.build(WIDE.shape)
    for pixels in (1, 37, 111, 223):
        layer.localization.head.bias.assign([2 * pixels / 224, 0])
        np.testing.assert_array_equal(layer(WIDE), np.roll(cast, -pixels, axis=2))


def test_float64_policy_computes_coordinates_in_float64():
    """A ramp read at a coordinate tells the coordinate: to 1e-12, where float32 would be 1e-5 off."""
    ramp = np.arange(224, dtype="float64").reshape(1, 1, 224, 1)
    shift = np.array([[2 * 0.123456789 / 224, 0]])
    warped = Warp("translation", fill_mode="nearest", dtype="float64")([ramp, shift])
    np.testing.assert_allclose(warped[0, 0, :223], ramp[0, 0, :223] + 0.123456789, rtol=0, atol=1e-12)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_params_given_to_warp_are_not_cast_to_half_precision(policy):
    """The params ask for pixel 4 + 2**-10; in half precision they would round to pixel 4."""
    ramp = (np.arange(8, dtype="float32").reshape(1, 1, 8, 1) - 4) * 2**10
    params = np.array([[1 + 2**-12, 0]], "float32")  # float16 has steps of 2**-10 here, bfloat16 2**-7
    assert Warp("translation", fill_mode="nearest", dtype=policy)([ramp, params])[0, 0, 0, 0] == 1
