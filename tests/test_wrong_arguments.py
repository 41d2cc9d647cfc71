"""Every public callable x every argument x a list of wrong values: right, or one error that names it.

A call that takes the value has to work; all others raise a ValueError or TypeError that names the
argument and says what came. No error has the codes in it by which terminals write bold. What stands in
the place of a layer's tensors, and of what rank, Keras checks, in its own words.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import as_params, has

import keras_stn
from keras_stn import localization, ops, transforms, visualize

IMAGES = np.zeros((2, 6, 9, 3), "float32")
PARAMS = np.tile(np.array([[1, 0, 0, 0, 1, 0]], "float32"), (2, 1))
THETA = PARAMS.reshape(2, 2, 3)
OF_KERAS = (
    "Inputs to a layer",
    "Only input tensors",
    "expects ",
    "incompatible with the layer",
    "Failed to",
)
GRID = np.zeros((2, 4, 5, 2), "float32")
POINTS = np.zeros((2, 7, 2), "float32")

WRONG = {
    "None": None,
    "text": "xyzzy",
    "empty text": "",
    "bytes": b"x",
    "list": [],
    "tuple": (),
    "dict": {},
    "filled dict": {"a": 1},
    "set": {1},
    "nan": float("nan"),
    "inf": float("inf"),
    "-1": -1,
    "0": 0,
    "2": 2,
    "1.5": 1.5,
    "huge": 10**30,
    "complex": 1j,
    "True": True,
    "object": object(),
    "class": int,
    "function": len,
    "numpy number": np.float32(0.5),
    "numpy integer": np.int64(-3),
    "scalar array": np.array(0.5, "float32"),
    "vector": np.zeros(5, "float32"),
    "rank 7": np.zeros((1,) * 7, "float32"),
    "integers": np.zeros((2, 3), "int32"),
    "booleans": np.zeros((2, 6), bool),
    "complex array": np.zeros((2, 6), "complex64"),
    "strings": np.array([["a"] * 6] * 2),
    "objects": np.array([None, object()]),
    "ragged list": [[1.0, 2.0], [3.0]],
    "ragged tensor": tf.ragged.constant([[1.0, 2.0], [3.0]]),
    "list of None": [None, None],
    "list of text": ["a", "b"],
    "negative pair": (-1, -2),
    "pair of floats": (1.5, 2.5),
    "symbol": keras.KerasTensor((None, 3, 5)),
    "dtype": tf.float32,
    "shape": tf.TensorShape(None),
    "layer": keras.layers.Flatten,
    "NaN vector": np.full(3, np.nan),
}


@dataclasses.dataclass(frozen=True)
class Called:
    """A call that works, of which each argument is then replaced in turn."""

    function: Callable
    arguments: dict
    after: Callable | None = None  # what is done with the result
    words: tuple[str, ...] = ()  # of Keras' errors


def layer_on_images(layer):
    return layer(IMAGES)


def family_methods():
    for name in transforms.FAMILIES:
        family = transforms.get(name)
        params = as_params(name, np.tile(np.array([family.identity_params], "float32"), (2, 1)))
        sizes = {"source_size": (6, 9), "output_size": (4, 5), "align_corners": False}
        same = {**sizes, "output_size": (6, 9), "target_to_source": False}
        if has(name, "theta"):
            yield f"{name}.theta", Called(family.theta, {"params": params})
        if has(name, "from_theta"):
            theta = np.array(family.theta(params))
            yield f"{name}.from_theta", Called(family.from_theta, {"theta": theta})
        if has(name, "inverse"):
            yield f"{name}.inverse", Called(family.inverse, {"params": params})
        if has(name, "compose"):
            yield f"{name}.compose", Called(family.compose, {"outer": params, "inner": params})
        yield (
            f"{name}.transform_points",
            Called(
                family.transform_points,
                {"params": params, "points": POINTS, "source_size": (6, 9), "align_corners": False},
            ),
        )
        yield (
            f"{name}.grid",
            Called(family.grid, {"params": params, **sizes, "output_size": (4, 5)}),
        )
        if has(name, "pixel_matrix"):
            yield f"{name}.pixel_matrix", Called(family.pixel_matrix, {"params": params, **same})
        if has(name, "pixel_matrix") and has(name, "from_theta"):
            matrix = {"matrix": np.array(family.pixel_matrix(params, **same))}
            yield f"{name}.from_pixel_matrix", Called(family.from_pixel_matrix, {**matrix, **same})
        if has(name, "from_points"):
            corners = np.array([[[-1, -1], [1, -1], [1, 1], [-1, 1]]], "float32")
            yield (
                f"{name}.from_points",
                Called(family.from_points, {"source": corners, "target": corners}),
            )


BOXES, ROTATED = np.ones((2, 3, 4), "float32"), np.ones((2, 3, 5), "float32")
SIZES = {"source_size": (6, 9), "output_size": (4, 5), "align_corners": False}
BOXING = {"bounding_box_format": "xyxy", **SIZES}

SAMPLING = {
    "interpolation": "bilinear",
    "fill_mode": "constant",
    "fill_value": 0.0,
    "align_corners": False,
    "antialias": False,
}
FORMAT = {"data_format": "channels_last"}
WARPING = {"transform": "affine", "output_size": (4, 5), **SAMPLING, **FORMAT}

CALLS = {
    "grid_sample": Called(ops.grid_sample, {"images": IMAGES, "grid": GRID, **SAMPLING, **FORMAT}),
    "grid_splat": Called(
        ops.grid_splat,
        {
            "values": np.zeros((2, 4, 5, 3), "float32"),
            "grid": GRID,
            "output_size": (6, 9),
            "interpolation": "bilinear",
            "fill_mode": "constant",
            "normalize": False,
            "align_corners": False,
            **FORMAT,
        },
    ),
    "affine_grid": Called(
        ops.affine_grid, {"theta": THETA, "output_size": (4, 5), "align_corners": False}
    ),
    "Warp": Called(
        keras_stn.Warp,
        {**WARPING, "inverse": False, "bounding_box_format": "xyxy", "reach": 0.0},
        lambda layer: layer([IMAGES, PARAMS]),
    ),
    "Warp.call": Called(
        lambda images, params: keras_stn.Warp()([images, params]),
        {"images": IMAGES, "params": PARAMS},
        words=OF_KERAS,
    ),
    "Warp.call of two": Called(
        lambda images, params: keras_stn.Warp()(images, params),
        {"images": IMAGES, "params": PARAMS},
        words=OF_KERAS,
    ),
    "SpatialTransformer.call": Called(
        lambda images: keras_stn.SpatialTransformer("dense")(images), {"images": IMAGES}, words=OF_KERAS
    ),
    "Localization.call": Called(
        lambda images: keras_stn.Localization("dense")(images), {"images": IMAGES}, words=OF_KERAS
    ),
    "SpatialTransformer": Called(
        keras_stn.SpatialTransformer,
        {
            "localization": "dense",
            "glimpses": 2,
            **WARPING,
            "recurrences": 1,
            "jitter": 0.1,
            "reach": 0.0,
            "params_regularizer": "l2",
        },
        layer_on_images,
    ),
    "Localization": Called(
        keras_stn.Localization,
        {
            "network": "dense",
            "transform": "affine",
            "glimpses": 2,
            "recurrences": 1,
            "data_format": "channels_last",
        },
        layer_on_images,
    ),
    "warp": Called(ops.warp, {"images": IMAGES, "params": PARAMS, **WARPING, "inverse": False}),
    "valid_mask": Called(
        ops.valid_mask,
        {
            "images": IMAGES,
            "params": PARAMS,
            "transform": "affine",
            "output_size": (4, 5),
            "interpolation": "bilinear",
            "align_corners": False,
            **FORMAT,
            "inverse": False,
            "rule": "center",
        },
    ),
    "Bounded": Called(
        transforms.Bounded,
        {
            "transform": "similarity",
            "fixed": {"x": 0.0},
            "max_rotation": 0.5,
            "scale_range": (0.5, 2.0),
            "max_translation": 0.5,
            "ranges": None,
        },
    ),
    "transform_boxes": Called(
        transforms.Affine().transform_boxes, {"params": PARAMS, "boxes": BOXES, **BOXING}
    ),
    "transform_rotated_boxes": Called(
        transforms.Affine().transform_rotated_boxes,
        {"params": PARAMS, "boxes": ROTATED, **SIZES},
    ),
    "from_boxes": Called(transforms.Affine().from_boxes, {"boxes": BOXES, **BOXING}),
    "from_rotated_boxes": Called(transforms.Affine().from_rotated_boxes, {"boxes": ROTATED, **SIZES}),
    "localize": Called(
        lambda images: keras_stn.SpatialTransformer("dense").localize(images),
        {"images": IMAGES},
        words=OF_KERAS,
    ),
    "IdentityParams": Called(localization.IdentityParams, {"transform": "affine"}),
    **{
        family.__name__: Called(family, arguments)
        for family, arguments in {
            transforms.Affine: {"ndim": 2},
            transforms.Attention: {"ndim": 2},
            transforms.DiffeomorphicAffine: {"ndim": 2},
            transforms.Displacement: {"interpolation": "linear", "ndim": 2},
            transforms.LensDistortion: {"fx": 1.2, "fy": 1.3, "cx": 0.1, "cy": 0.0},
            transforms.LogPolar: {"aspect_ratio": 1.5, "max_radius": 1.0, "min_radius": 0.1},
            transforms.Polar: {"aspect_ratio": 1.5, "max_radius": 1.0},
            transforms.Rotation: {"aspect_ratio": 1.0, "ndim": 2},
            transforms.Similarity: {"aspect_ratio": 1.0, "ndim": 2},
            transforms.ThinPlateSpline: {"grid_size": (2, 3), "regularization": 0.1},
            transforms.Translation: {"ndim": 2},
            transforms.Velocity: {"steps": 3, "interpolation": "linear", "ndim": 2},
        }.items()
    },
    "get": Called(transforms.get, {"transform": "affine"}),
    "resized_conv": Called(
        localization.resized_conv,
        {"image_size": (6, 9), "filters": (2,), "units": 3, "side": 4, "dtype": "float32"},
        layer_on_images,
    ),
    "conv": Called(
        localization.conv,
        {"filters": 2, "kernel_size": 3, "units": 3, "dtype": "float32"},
        layer_on_images,
    ),
    "dense": Called(localization.dense, {"units": (3, 2), "dtype": "float32"}, layer_on_images),
    "field_conv": Called(
        localization.field_conv, {"filters": (2, 3), "ndim": 2, "dtype": "float32"}, layer_on_images
    ),
    "volume_conv": Called(
        localization.volume_conv,
        {"image_size": (6, 9, 5), "filters": (2,), "units": 3, "side": 4, "dtype": "float32"},
        lambda network: network(np.zeros((2, 6, 9, 5, 3), "float32")),
    ),
    "strided_conv": Called(
        localization.strided_conv,
        {"widths": (2,), "reduced": 2, "units": 3, "dtype": "float32"},
        layer_on_images,
    ),
    "sampling_quadrilateral": Called(
        visualize.sampling_quadrilateral,
        {
            "transform": "affine",
            "params": PARAMS,
            "image_size": (6, 9),
            "output_size": (4, 5),
            "align_corners": False,
            "points_per_side": 1,
        },
    ),
    "plot_warps": Called(
        visualize.plot_warps,
        {"images": IMAGES, "transformer": keras_stn.Warp(), "params": PARAMS, "titles": ["a", "b"]},
    ),
    **dict(family_methods()),
}
ARGUMENTS = [(name, argument) for name, use in CALLS.items() for argument in use.arguments]


def run(use: Called, **wrong: Any) -> None:
    made = use.function(**{**use.arguments, **wrong})
    if use.after:
        use.after(made)


def fault(use: Called, argument: str, value: Any) -> str | None:
    """What is wrong with how a wrong value is received, if anything is."""
    try:
        run(use, **{argument: value})
    except (ValueError, TypeError) as error:
        text = str(error)
        if "\x1b" in text:
            return f"terminal codes: {text[:200]}"
        if any(words in text for words in use.words):
            return None
        if not re.search(rf"\b{argument}\b", text) or "Received" not in text:
            return f"does not name it: {text[:200]}"
        if len(text) > 1500:
            return f"{len(text)} characters: {text[:200]}"
        return None
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return None


@pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
def test_a_wrong_value_is_received_with_words(name, argument):
    use = CALLS[name]
    faults = {label: fault(use, argument, value) for label, value in WRONG.items()}
    assert {label: text for label, text in faults.items() if text} == {}


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_work_as_they_stand_and_leave_no_argument_out(name):
    use = CALLS[name]
    run(use)
    parameters = inspect.signature(use.function).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    assert named <= set(use.arguments)
