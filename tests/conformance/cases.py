"""The table: every public callable as one or more small cases, over which each property is tested.

A property is a file beside this one; it runs over the whole table, or over `SOME` where it is dear.
`test_public_surface.py` fails for a public name that no case covers.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import users_kernel
from families import has
from users_family import Bulge

import keras_stn
from keras_stn import Localization, SpatialTransformer, Warp, localization, ops, transforms

Arrays = tuple[np.ndarray, ...]

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
FILL_MODES = ("constant", "nearest", "reflect", "mirror", "wrap")


@dataclass(frozen=True)
class Case:
    """One way to use a public callable."""

    id: str
    covers: tuple[str, ...]  # public names, as one writes them after `keras_stn.`
    make: Callable[[], Any]  # a fresh layer, network or function
    inputs: Arrays
    any_size: bool = True  # whether height and width may be unknown
    users_code: bool = False  # whether a saved model needs classes of this file

    def model(self) -> keras.Model:
        """A Functional model of this case, with weights that are not the initial ones."""
        symbols = [keras.Input(x.shape[1:], dtype=x.dtype) for x in self.inputs]
        return scramble(keras.Model(one_or_list(symbols), call(self.make(), symbols)))

    def built(self) -> Any:
        """What `make` makes; a layer is built, with weights that are not the initial ones."""
        made = self.make()
        if isinstance(made, keras.layers.Layer):
            call(made, self.inputs)
            scramble(made)
        return made

    def __str__(self):
        return self.id


def one_or_list(items):
    items = list(items)
    return items if len(items) > 1 else items[0]


def call(made: Any, inputs: Any) -> Any:
    """Call as users do: a layer on a tensor or a list of them, a function on its arguments."""
    return made(one_or_list(inputs)) if isinstance(made, keras.layers.Layer) else made(*inputs)


def scramble(layer: Any) -> Any:
    """Move every weight off its initial value: a fresh head is the identity, and would hide faults."""
    random = np.random.default_rng(3)
    for weight in layer.weights:
        weight.assign_add(random.uniform(0.0, 0.1, weight.shape))
    return layer


# --- What users write ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="conformance")
class Scroll(transforms.MatrixTransform):
    """A family of matrices."""

    num_params = 1
    identity_params = (0.0,)

    def theta(self, params):
        one, zero = tf.ones_like(params), tf.zeros_like(params)
        return tf.reshape(tf.concat([one, zero, params, zero, one, zero], axis=1), (-1, 2, 3))

    def from_theta(self, theta):
        return theta[:, 0, 2:]


@keras.saving.register_keras_serializable(package="conformance")
class Features(keras.layers.Layer):
    """A localization network written as a layer."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.conv = keras.layers.Conv2D(units, 3, activation="relu", data_format="channels_last")
        self.pool = keras.layers.GlobalAveragePooling2D(data_format="channels_last")

    def build(self, input_shape):
        self.conv.build(input_shape)

    def call(self, images):
        return self.pool(self.conv(images))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def sequential(dtype=None) -> keras.Model:
    """A user's network, not yet built; small, and for images of any size."""
    return keras.Sequential(
        [
            keras.layers.Conv2D(3, 3, activation="tanh", data_format="channels_last", dtype=dtype),
            keras.layers.GlobalMaxPooling2D(data_format="channels_last", dtype=dtype),
        ]
    )


def functional() -> keras.Model:
    """A user's network with two branches, built for images of one size."""
    images = keras.Input(IMAGES.shape[1:])
    left = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(images)
    right = keras.layers.Dense(3, activation="tanh")(keras.layers.Flatten()(images))
    return keras.Model(images, keras.layers.concatenate([left, right]))


def maps(dtype=None) -> keras.Model:
    """A user's network for fields: feature maps."""
    convolution = keras.layers.Conv2D(
        3, 3, strides=2, activation="tanh", padding="same", data_format="channels_last", dtype=dtype
    )
    return keras.Sequential([convolution])


def network_for(family):
    return maps if transforms.get(family).params_ndim > 2 else sequential


def small_strided_conv() -> keras.Model:
    return localization.strided_conv(widths=(4, 6), reduced=3, units=5)


# --- Inputs: batches of 2, nothing square ----------------------------------------------------------

_random = np.random.default_rng(0)


def _uniform(*shape, around=0.0, within=1.0):
    return (around + _random.uniform(-within, within, shape)).astype("float32")


IMAGES = _uniform(2, 7, 5, 3)
VIDEOS = _uniform(2, 3, 7, 5, 3)
CHANNELS_FIRST = np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2))
LABELS = _random.integers(0, 9, (2, 7, 5, 1)).astype("int32")
GRID = _uniform(2, 4, 6, 2, within=1.4)  # some of it outside the images
VALUES = _uniform(2, 4, 6, 3)  # for the points of GRID
THETA = _uniform(2, 2, 3, around=np.eye(2, 3), within=0.3)


def params(transform, *many) -> np.ndarray:
    """Of two maps, or two times many; fields are of [2 x] 4 x 3 points."""
    family = transforms.get(transform)
    shape = 2, *many, *(2, 4, 3)[5 - family.params_ndim :], family.num_params
    return _uniform(*shape, around=np.array(family.identity_params), within=0.3)


# --- The table -------------------------------------------------------------------------------------

FAMILIES = {
    **{name: (f"transforms.{family.__name__}", family) for name, family in transforms.FAMILIES.items()},
    "rotation-of-oblongs": ("transforms.Rotation", lambda: transforms.Rotation(aspect_ratio=5 / 7)),
    "bounded": (  # ranges that hold the inverses as well
        "transforms.Bounded",
        lambda: transforms.Bounded(
            "similarity", fixed={"angle": 0.0}, scale_range=(0.4, 2.5), max_translation=(1.5, 2.0)
        ),
    ),
    "users-points": ("transforms.Transform", lambda: Bulge(power=3)),
    "users-matrix": ("transforms.MatrixTransform", Scroll),
}


def _users(family: str) -> bool:
    return family.startswith("users-")


def _transformer(id, *, covers=(), inputs=(IMAGES,), any_size=True, users_code=False, **arguments):
    """`arguments` are the layer's; a `localization` that is a function makes a fresh network."""

    def make():
        default = network_for(arguments.get("transform", "affine"))
        network = arguments.get("localization", default)
        network = network() if callable(network) else network
        return SpatialTransformer(**{**arguments, "localization": network})

    covers = ("SpatialTransformer", *covers)
    return Case(f"SpatialTransformer-{id}", covers, make, inputs, any_size, users_code)


SPATIAL_TRANSFORMERS = [
    *(
        _transformer(name, covers=(public,), transform=make(), users_code=_users(name))
        for name, (public, make) in FAMILIES.items()
    ),
    _transformer("default", localization=None),
    _transformer("conv", localization="conv", any_size=False),
    _transformer("dense", localization="dense", any_size=False),
    _transformer("strided_conv", localization=small_strided_conv, any_size=False),
    _transformer("users-functional", localization=functional, any_size=False),
    _transformer("users-layer", localization=Features, users_code=True),
    _transformer(
        "localization-object",
        localization=lambda: Localization(sequential(), "similarity"),
        transform="similarity",
    ),
    _transformer("output_size", output_size=(4, 9)),
    _transformer("antialias", output_size=(3, 2), antialias=True),
    _transformer("glimpses", glimpses=3, output_size=(4, 9)),
    _transformer("video", inputs=(VIDEOS,), any_size=False),
    _transformer("recurrences", transform="similarity", recurrences=3, jitter=0.2, reach=2.0),
    _transformer("recurrences-output_size", recurrences=2, output_size=(4, 9), fill_mode="mirror"),
    _transformer("recurrences-video", inputs=(VIDEOS,), recurrences=2, any_size=False),
    _transformer(
        "recurrences-channels_first",
        recurrences=2,
        data_format="channels_first",
        reach=2.0,
        inputs=(CHANNELS_FIRST,),
        any_size=False,
    ),
    _transformer("nearest-wrap", interpolation="nearest", fill_mode="wrap"),
    _transformer("bilinear-reflect", fill_mode="reflect", align_corners=True),
    _transformer("bicubic-mirror", interpolation="bicubic", fill_mode="mirror"),
    _transformer("users-kernel", interpolation=users_kernel.NAME, users_code=True),
    _transformer("fill_value", fill_value=(0.5, -1.0, 2.0), output_size=(9, 6)),
    _transformer(
        "channels_first",
        data_format="channels_first",
        output_size=(4, 9),
        inputs=(CHANNELS_FIRST,),
        any_size=False,
    ),
]

WARPS = [
    *(
        Case(
            f"Warp-{name}",
            ("Warp", public),
            lambda make=make: Warp(make()),
            (IMAGES, params(make())),
            users_code=_users(name),
        )
        for name, (public, make) in FAMILIES.items()
    ),
    *(
        Case(
            f"Warp-{interpolation}-{fill_mode}",
            ("Warp",),
            lambda i=interpolation, f=fill_mode: Warp(interpolation=i, fill_mode=f, fill_value=0.5),
            (IMAGES, params("affine")),
        )
        for interpolation in INTERPOLATIONS
        for fill_mode in FILL_MODES
    ),
    *(
        Case(
            f"Warp-users-kernel-{fill_mode}",
            ("Warp",),
            lambda f=fill_mode: Warp(interpolation=users_kernel.NAME, fill_mode=f, fill_value=0.5),
            (IMAGES, params("affine")),
            users_code=True,
        )
        for fill_mode in FILL_MODES
    ),
    Case(
        "Warp-pair-of-fill-modes",
        ("Warp",),
        lambda: Warp(fill_mode=("constant", "wrap"), fill_value=0.5),
        (IMAGES, params("affine")),
    ),
    Case(
        "Warp-antialias",
        ("Warp",),
        lambda: Warp("attention", (3, 2), fill_mode="reflect", antialias=True),
        (IMAGES, params("attention")),
    ),
    Case(
        "Warp-inverse-output_size",
        ("Warp",),
        lambda: Warp("similarity", (3, 8), inverse=True),
        (IMAGES, params("similarity")),
    ),
    Case(
        "Warp-output_size-align_corners",
        ("Warp",),
        lambda: Warp("similarity", (3, 8), align_corners=True),
        (IMAGES, params("similarity")),
    ),
    Case(
        "Warp-many-maps",
        ("Warp",),
        lambda: Warp("similarity", fill_mode="mirror"),
        (IMAGES, params("similarity", 4)),
    ),
    Case("Warp-video", ("Warp",), lambda: Warp("attention"), (VIDEOS, params("attention"))),
    Case("Warp-video-frames", ("Warp",), lambda: Warp(), (VIDEOS, params("affine", 3))),
    Case(
        "Warp-channels_first",
        ("Warp",),
        lambda: Warp(output_size=(3, 8), data_format="channels_first"),
        (CHANNELS_FIRST, params("affine")),
        any_size=False,
    ),
]

_LOCALIZATION = ("Localization", "localization.Localization")

LOCALIZATIONS = [
    Case(
        "Localization-glimpses", _LOCALIZATION, lambda: Localization(sequential(), glimpses=2), (IMAGES,)
    ),
    Case("Localization-default", _LOCALIZATION, Localization, (IMAGES,)),
    *(
        Case(
            f"Localization-{name}",
            _LOCALIZATION,
            lambda name=name: Localization(name, "similarity"),
            (IMAGES,),
            any_size=False,
        )
        for name in ("conv", "dense")
    ),
    Case(
        "Localization-strided_conv",
        _LOCALIZATION,
        lambda: Localization(small_strided_conv()),
        (IMAGES,),
        any_size=False,
    ),
    Case("Localization-users-sequential", _LOCALIZATION, lambda: Localization(sequential()), (IMAGES,)),
    Case(
        "Localization-users-functional",
        _LOCALIZATION,
        lambda: Localization(functional()),
        (IMAGES,),
        any_size=False,
    ),
    Case(
        "Localization-users-layer",
        _LOCALIZATION,
        lambda: Localization(Features(), Bulge()),
        (IMAGES,),
        users_code=True,
    ),
    Case(
        "Localization-channels_first",
        _LOCALIZATION,
        lambda: Localization(sequential(), data_format="channels_first"),
        (CHANNELS_FIRST,),
        any_size=False,
    ),
    Case(
        "IdentityParams-as-bias",
        ("localization.IdentityParams",),
        lambda: keras.layers.Dense(3, bias_initializer=localization.IdentityParams("attention")),
        (params("attention"),),
    ),
]

NETWORKS = [
    Case("heatmap", ("localization.heatmap",), localization.heatmap, (IMAGES,)),
    Case("Centroids", ("localization.Centroids",), localization.Centroids, (IMAGES,), any_size=False),
    Case("resized_conv", ("localization.resized_conv",), localization.resized_conv, (IMAGES,)),
    Case("conv", ("localization.conv",), localization.conv, (IMAGES,), any_size=False),
    Case("dense", ("localization.dense",), localization.dense, (IMAGES,), any_size=False),
    Case("field_conv", ("localization.field_conv",), localization.field_conv, (IMAGES,)),
    Case(
        "strided_conv",
        ("localization.strided_conv",),
        small_strided_conv,
        (IMAGES,),
        any_size=False,
    ),
]


def _grid_sample(**arguments):
    return lambda: lambda images, grid: ops.grid_sample(images, grid, **arguments)


def _warp(id, *, inputs=None, any_size=True, users_code=False, **arguments):
    inputs = inputs or (IMAGES, params(arguments.get("transform", "affine")))

    def make():
        return lambda images, params: ops.warp(images, params, **arguments)

    return Case(f"warp-{id}", ("ops.warp",), make, inputs, any_size, users_code)


FUNCTIONS = [
    *(
        Case(
            f"grid_sample-{interpolation}-{fill_mode}",
            ("ops.grid_sample",),
            _grid_sample(interpolation=interpolation, fill_mode=fill_mode, fill_value=0.5),
            (IMAGES, GRID),
        )
        for interpolation, fill_mode in zip(
            (*INTERPOLATIONS, "bilinear", "nearest"), FILL_MODES, strict=True
        )
    ),
    Case(
        "grid_sample-pair-of-fill-modes",
        ("ops.grid_sample",),
        _grid_sample(interpolation="bicubic", fill_mode=("reflect", "nearest")),
        (IMAGES, GRID),
    ),
    Case(
        "grid_sample-labels", ("ops.grid_sample",), _grid_sample(interpolation="nearest"), (LABELS, GRID)
    ),
    Case(
        "grid_sample-align_corners",
        ("ops.grid_sample",),
        _grid_sample(fill_value=[0.5, -1.0, 2.0], align_corners=True),
        (IMAGES, GRID),
    ),
    Case(
        "grid_sample-channels_first",
        ("ops.grid_sample",),
        _grid_sample(data_format="channels_first"),
        (CHANNELS_FIRST, GRID),
        any_size=False,
    ),
    Case(
        "grid_splat-mean",
        ("ops.grid_splat",),
        lambda: lambda values, grid: ops.grid_splat(values, grid, (5, 8), normalize=True),
        (VALUES, GRID),
    ),
    Case(
        "grid_splat-volume",
        ("ops.grid_splat",),
        lambda: (
            lambda values, grid: ops.grid_splat(
                values, grid, (3, 5, 4), fill_mode=("wrap", "constant", "nearest")
            )
        ),
        (_uniform(2, 4, 3, 2, 3), _uniform(2, 4, 3, 2, 3, within=1.4)),
    ),
    Case(
        "grid_splat-bicubic-pair-of-fill-modes",
        ("ops.grid_splat",),
        lambda: (
            lambda values, grid: ops.grid_splat(
                values, grid, (5, 8), "bicubic", ("nearest", "wrap"), align_corners=True
            )
        ),
        (VALUES, GRID),
    ),
    _warp("affine"),
    _warp("many-maps", inputs=(IMAGES, params("affine", 4))),
    _warp("video", inputs=(VIDEOS, params("affine", 3))),
    Case(
        "grid_sample-many-grids",
        ("ops.grid_sample",),
        _grid_sample(),
        (IMAGES, np.stack([GRID, -GRID], 1)),
    ),
    _warp("users-family", transform=Bulge(power=3), users_code=True),
    _warp("users-kernel", interpolation=users_kernel.NAME, fill_mode="reflect", users_code=True),
    _warp("bicubic-mirror", transform="similarity", interpolation="bicubic", fill_mode="mirror"),
    _warp("output_size", output_size=(4, 9), fill_value=[0.5, -1.0, 2.0], align_corners=True),
    _warp("labels", inputs=(LABELS, params("affine")), interpolation="nearest", fill_mode="wrap"),
    _warp(
        "channels_first",
        inputs=(CHANNELS_FIRST, params("attention")),
        any_size=False,
        transform="attention",
        data_format="channels_first",
    ),
    _warp("inverse", transform="similarity", inverse=True),
    *(
        Case(
            f"valid_mask-{rule}",
            ("ops.valid_mask",),
            lambda rule=rule: (
                lambda images, params: ops.valid_mask(images, params, "similarity", (4, 9), rule=rule)
            ),
            (IMAGES, params("similarity")),
        )
        for rule in ("center", "taps")
    ),
    Case(
        "affine_grid",
        ("ops.affine_grid",),
        lambda: lambda theta: ops.affine_grid(theta, (4, 9)),
        (THETA,),
    ),
    Case(
        "affine_grid-align_corners",
        ("ops.affine_grid",),
        lambda: lambda theta: ops.affine_grid(theta, (4, 9), align_corners=True),
        (THETA,),
    ),
]


def _methods(name, public, make):
    """The methods of a family."""

    def case(method, function, *inputs):
        covers = ("transforms.get", public)
        return Case(f"{name}.{method}", covers, lambda: function, inputs, users_code=_users(name))

    family = keras_stn.transforms.get(make())
    one, two = params(family), params(family)
    points = _uniform(2, 11, family.ndim)
    source, target = (3, 7, 5)[-family.ndim :], (2, 4, 9)[-family.ndim :]
    yield case("grid", lambda p: family.grid(p, target, True, source), one)
    yield case("transform_points", lambda p, x: family.transform_points(p, x, source), one, points)
    if has(family, "theta"):
        yield case("theta", family.theta, one)
    if has(family, "from_theta"):
        yield case("from_theta", family.from_theta, np.array(family.theta(one)))
    if family.ndim == 2:
        yield from _methods_of_boxes(case, family, one)
    if isinstance(family, transforms.Bounded):
        yield case("constrain", family.constrain, one)
        yield case("unconstrain", family.unconstrain, np.array(family.constrain(one)))
    if has(family, "compose"):
        yield case("compose", family.compose, one, two)
    if has(family, "inverse"):
        yield case("inverse", family.inverse, one)
    if has(family, "pixel_matrix"):
        matrix = np.array(family.pixel_matrix(one, source, target))
        yield case("pixel_matrix", lambda p: family.pixel_matrix(p, source, target), one)
        if has(family, "from_theta"):
            yield case(
                "from_pixel_matrix", lambda m: family.from_pixel_matrix(m, source, target), matrix
            )
    if has(family, "from_points"):
        corners = np.array([[[-1, -1], [1, -1], [1, 1], [-1, 1]]] * 2, "float32")
        nearby = corners + _uniform(2, 4, 2, within=0.3)
        yield case("from_points", family.from_points, nearby, corners)


def _methods_of_boxes(case, family, one):
    sizes = (7, 5), (4, 9)
    boxes, rotated = _uniform(2, 3, 4, around=2, within=2), _uniform(2, 3, 5, around=2, within=2)
    yield case("transform_boxes", lambda p, b: family.transform_boxes(p, b, "xywh", *sizes), one, boxes)
    yield case(
        "transform_rotated_boxes",
        lambda p, b: family.transform_rotated_boxes(p, b, *sizes),
        one,
        rotated,
    )
    if isinstance(family, transforms.Affine | transforms.Attention | transforms.Similarity):
        yield case("from_boxes", lambda b: family.from_boxes(b, "xywh", *sizes), boxes)
    if isinstance(family, transforms.Affine):
        yield case("from_rotated_boxes", lambda b: family.from_rotated_boxes(b, *sizes), rotated)


METHODS = [case for name, family in FAMILIES.items() for case in _methods(name, *family)]

# --- Volumes -----------------------------------------------------------------------------------------

VOLUMES = _uniform(2, 3, 7, 5, 2)
GRID_OF_VOLUMES = _uniform(2, 2, 4, 6, 3, within=1.4)

OF_VOLUMES = {
    f"{name}-of-volumes": (f"transforms.{family.__name__}", functools.partial(family, ndim=3))
    for name, family in transforms.FAMILIES.items()
    if "ndim" in inspect.signature(family).parameters
}


def volume_network() -> keras.Model:
    """A user's network for volumes of any size."""
    return keras.Sequential(
        [
            keras.layers.Conv3D(3, 3, padding="same", activation="tanh", data_format="channels_last"),
            keras.layers.GlobalMaxPooling3D(data_format="channels_last"),
        ]
    )


WARPS += [
    *(
        Case(f"Warp-{name}", ("Warp", public), lambda make=make: Warp(make()), (VOLUMES, params(make())))
        for name, (public, make) in OF_VOLUMES.items()
    ),
    Case(
        "Warp-volumes-channels_first",
        ("Warp",),
        lambda: Warp(transforms.Affine(ndim=3), (2, 4, 6), data_format="channels_first"),
        (np.ascontiguousarray(np.moveaxis(VOLUMES, -1, 1)), params(transforms.Affine(ndim=3))),
        any_size=False,
    ),
]

SPATIAL_TRANSFORMERS += [
    _transformer(
        "volumes",
        inputs=(VOLUMES,),
        localization=volume_network,
        transform=transforms.Similarity(ndim=3),
        output_size=(2, 8, 6),
        fill_mode="mirror",
    ),
    _transformer(
        "volumes-default",
        inputs=(VOLUMES,),
        any_size=False,
        localization=None,
        transform=transforms.Affine(ndim=3),
    ),
]

LOCALIZATIONS.append(
    Case(
        "Localization-volume_conv",
        _LOCALIZATION,
        lambda: Localization("volume_conv", transforms.Rotation(ndim=3)),
        (VOLUMES,),
        any_size=False,
    )
)
NETWORKS.append(Case("volume_conv", ("localization.volume_conv",), localization.volume_conv, (VOLUMES,)))

FUNCTIONS += [
    Case(
        "grid_sample-volumes-nearest-wrap",
        ("ops.grid_sample",),
        _grid_sample(interpolation="nearest", fill_mode="wrap"),
        (VOLUMES, GRID_OF_VOLUMES),
    ),
    Case(
        "grid_sample-volumes-bilinear-constant",
        ("ops.grid_sample",),
        _grid_sample(fill_value=[0.5, -1.0], align_corners=True),
        (VOLUMES, GRID_OF_VOLUMES),
    ),
    Case(
        "grid_sample-volumes-labels",
        ("ops.grid_sample",),
        _grid_sample(interpolation="nearest"),
        (_random.integers(0, 9, (2, 3, 7, 5, 1)).astype("int32"), GRID_OF_VOLUMES),
    ),
    _warp(
        "volumes",
        inputs=(VOLUMES, params(transforms.Affine(ndim=3))),
        transform=transforms.Affine(ndim=3),
        interpolation="bicubic",
        fill_mode="reflect",
    ),
    Case(
        "affine_grid-volumes",
        ("ops.affine_grid",),
        lambda: lambda theta: ops.affine_grid(theta, (2, 4, 9)),
        (_uniform(2, 3, 4, around=np.eye(3, 4), within=0.3),),
    ),
]

METHODS += [case for name, family in OF_VOLUMES.items() for case in _methods(name, *family)]

LAYERS = SPATIAL_TRANSFORMERS + WARPS + LOCALIZATIONS + NETWORKS
ALL = MODELS = LAYERS + FUNCTIONS + METHODS  # all of it can stand in a Keras model

# One case for each thing that is done differently, for properties that are dear.
_SOME = {
    "SpatialTransformer-affine",
    "SpatialTransformer-users-points",
    "SpatialTransformer-default",
    "SpatialTransformer-strided_conv",
    "SpatialTransformer-users-functional",
    "SpatialTransformer-users-layer",
    "SpatialTransformer-bicubic-mirror",
    "SpatialTransformer-channels_first",
    "Warp-attention",
    "Warp-nearest-wrap",
    "Localization-conv",
    "Localization-users-sequential",
    "grid_sample-bicubic-reflect",
    "warp-users-family",
    "Warp-users-kernel-constant",
    "affine_grid",
    "SpatialTransformer-volumes",
    "Warp-affine-of-volumes",
    "grid_sample-volumes-bilinear-constant",
    "similarity.inverse",
    "rotation-of-volumes.inverse",
    "users-points.transform_points",
}
SOME = [case for case in MODELS if case.id in _SOME]

# Public callables that are no layer, network or function of tensors, and the file that tests them.
TESTED_ELSEWHERE = {
    **{
        f"{front}{name}": f"tests/export/{file}.py"
        for front in ("", "export.")
        for name, file in {
            "check_tflite": "test_check_tflite",
            "export_onnx": "test_onnx",
            "export_saved_model": "test_saved_model",
            "export_tflite": "test_tflite",
        }.items()
    },
    "export.Accuracy": "tests/export/test_tflite.py",
    "export.Finding": "tests/export/test_check_tflite.py",
    "export.Report": "tests/export/test_tflite.py",
    "export.min_runtime": "tests/export/test_tflite_file.py",
    **{
        f"{module}.{name}": f"tests/test_{module}.py"
        for module in ("callbacks", "losses", "metrics", "regularizers")
        for name in getattr(keras_stn, module).__all__
    },
    "visualize.plot_warps": "tests/test_visualize.py",
    "visualize.sampling_quadrilateral": "tests/test_visualize.py",
}
