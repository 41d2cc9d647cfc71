"""Bounded families: no number leaves a range, zeros are the identity, and each map is that inside."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from users_family import Bulge

import keras_stn
from keras_stn import Warp, transforms
from keras_stn.transforms import Bounded

SIMILARITY = {"scale_range": (0.7, 1.9), "max_rotation": 0.3, "max_translation": (0.1, 0.25)}
RANGES = {"scale": (0.7, 1.9), "angle": (-0.3, 0.3), "x": (-0.1, 0.1), "y": (-0.25, 0.25)}


def numbers(dtype):
    """Special numbers, and 10^6 random ones of every size a float has."""
    info, random = np.finfo(dtype), np.random.default_rng(0)
    special = [0, -0.0, info.smallest_subnormal, info.tiny, info.eps, 1, 1e30, info.max, np.inf]
    random = random.normal(size=10**6) * 10.0 ** random.uniform(-40, 37, 10**6)
    return np.concatenate([special, np.negative(special), random]).astype(dtype)


def inside(params, ranges):
    """In float64, where the ends are what the user wrote."""
    params = np.asarray(params, "float64")
    return all(
        low <= column.min() and column.max() <= high
        for column, (low, high) in zip(params.T, ranges, strict=True)
    )


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_number_leaves_its_range(dtype, jit_compile):
    family = Bounded("similarity", **SIMILARITY)
    constrain = family.constrain
    if jit_compile is not None:
        constrain = tf.function(constrain, jit_compile=jit_compile)
    params = np.repeat(numbers(dtype)[:, None], 4, axis=1)
    constrained = constrain(params)
    assert inside(constrained, RANGES.values())
    # And all of the range is in reach, within 1e-7 of its end.
    reached = np.ptp(np.asarray(constrained, "float64"), axis=0)
    assert np.max(np.abs(reached - [1.2, 0.6, 0.2, 0.5])) <= 2e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_entry_of_a_matrix_leaves_its_range(dtype):
    ranges = {"xx": (0.8, 1.1), "xy": (-0.05, 0.3), "x": (-0.1, 0.1), "yx": (-1e-3, 0.7)}
    ranges |= {"yy": (0.1, 1.0001), "y": (-3.0, 0.01)}
    family = Bounded("affine", ranges=ranges)
    random = np.random.default_rng(1)
    params = random.permuted(np.repeat(numbers(dtype)[:, None], 6, axis=1), axis=0)
    assert inside(np.reshape(family.theta(params), (-1, 6)), ranges.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_leaves_a_range_by_its_rounding_at_most(dtype):
    family = Bounded("similarity", **SIMILARITY)
    params = tf.cast(np.linspace(-300, 300, 4 * 999).reshape(-1, 4), dtype)
    eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    constrained = family.constrain(params)
    assert constrained.dtype == dtype
    assert inside(constrained, [(low - eps, high + eps) for low, high in RANGES.values()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_map_into_a_range_is_the_formula_of_the_docstring(dtype):
    family = Bounded("similarity", **SIMILARITY)
    params = np.random.default_rng(2).normal(size=(1000, 4)).astype(dtype)
    identity = np.array([1, 0, 0, 0.0])
    low, high = np.transpose(list(RANGES.values()))
    reach = np.where(params > 0, high - identity, identity - low)
    z = params.astype("float64") / reach
    want = identity + reach * z / np.sqrt(1 + z * z)
    # A few roundings of numbers up to 1.9.
    assert np.max(np.abs(family.constrain(params) - want)) <= 4 * np.finfo(dtype).eps


def test_zeros_are_the_identity_to_the_bit():
    images = np.random.default_rng(3).random((2, 7, 5, 3), "float32")
    for inner, arguments in [
        ("similarity", SIMILARITY),
        ("affine", {"max_translation": 0.3, "fixed": {"xy": 0.0}}),
        ("translation", {"fixed": {"y": 0.0}}),
        (Bulge(), {"ranges": {"p0": (-0.1, 0.1)}}),
    ]:
        layer = keras_stn.SpatialTransformer(transform=Bounded(inner, **arguments))
        np.testing.assert_array_equal(layer(images), images)


def test_the_slope_is_one_at_the_identity_and_the_curvature_nought_from_both_sides():
    """So the gradient of a fresh head is that of the family inside."""
    family = Bounded("similarity", **SIMILARITY)
    h = 1e-4
    at = {t: family.constrain(np.full((1, 4), t)).numpy() for t in (-2 * h, -h, 0.0, h, 2 * h)}
    for sign in (-1, 1):
        # z^3 / 2 is the first term that is left: h^2 / (2 reach^2), and 3 h / reach^2 of the curvature
        assert np.max(np.abs((at[sign * h] - at[0.0]) / (sign * h) - 1)) <= h**2 / 0.1**2
        curvature = (at[2 * sign * h] - 2 * at[sign * h] + at[0.0]) / h**2
        assert np.max(np.abs(curvature)) <= 4 * h / 0.1**2


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_finite_at_every_number_and_zero_at_none(dtype, jit_compile):
    family = Bounded("similarity", fixed={"x": 0.3}, ranges={"scale": (0.7, 1.9)})
    params = np.concatenate([numbers(dtype)[: 10**5], np.array([np.nan] * 3, dtype)])

    @tf.function(jit_compile=jit_compile)
    def gradient(params, upstream):
        with tf.GradientTape() as tape:
            tape.watch(params)
            constrained = family.constrain(params)
        return tape.gradient(constrained, params, upstream)

    params = tf.constant(np.repeat(params[:, None], 3, axis=1))
    # The sampler gives no gradient to points that are not numbers: the upstream is then 0.
    upstream = np.where(np.isnan(params), 0, 1)[:, [0, 0, 0, 0]].astype(dtype)
    slopes = gradient(params, tf.constant(upstream)).numpy()
    np.testing.assert_array_equal(np.isfinite(slopes), True)
    assert np.min(slopes) >= 0
    assert np.max(slopes) <= 1
    assert np.all(slopes[np.isfinite(params[:, 0]), 1:] == 1)  # those without a range


def test_gradients_are_those_of_finite_differences():
    family = Bounded("similarity", **SIMILARITY)
    params = np.random.default_rng(4).normal(size=(40, 4)) * 0.5
    tensor = tf.constant(params)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        constrained = family.constrain(tensor)
    slopes = tape.gradient(constrained, tensor)
    h = 1e-6
    want = (family.constrain(params + h) - family.constrain(params - h)) / (2 * h)
    assert np.max(np.abs(slopes - want)) <= 1e-8  # h^2, and 1e-16 / h


def test_far_outside_a_param_still_learns():
    """tanh would have a slope of 0 there in float32."""
    family = Bounded("rotation", max_rotation=0.1)
    params = tf.constant([[-3.0], [3.0]])  # 30 times as far as the range goes
    with tf.GradientTape() as tape:
        tape.watch(params)
        angle = family.constrain(params)
    assert np.min(tape.gradient(angle, params)) >= 1e-5


def test_what_is_no_number_is_outside_the_picture():
    images = np.ones((3, 4, 6, 1), "float32")
    params = np.array([[np.nan, 0, 0, 0], [0, 0, 0, np.nan], [0.1, 0.1, 0, 0]], "float32")
    layer = Warp(Bounded("similarity", **SIMILARITY), fill_value=0.5)
    warped = layer([images, params]).numpy()
    assert np.all(warped[:2] == 0.5)
    np.testing.assert_array_equal(warped[2:], layer([images[2:], params[2:]]))


def test_a_fixed_nought_is_a_value():
    family = Bounded("similarity", fixed={"angle": 0.0, "scale": 0.5})
    assert family.param_names == ("x", "y")
    constrained = family.constrain(np.array([[0.3, -0.2]]))
    np.testing.assert_array_equal(constrained, [[0.5, 0.0, 0.3, -0.2]])


def test_a_range_for_many_params_holds_for_those_that_are_not_given_otherwise():
    family = Bounded("translation", ranges=(-0.25, 0.5))
    np.testing.assert_array_equal(family.constrain(np.array([[1e9, -1e9]])), [[0.5, -0.25]])
    family = Bounded("attention", max_translation=0.25, fixed={"y": 0.1})
    np.testing.assert_array_equal(family.constrain(np.array([[0.0, 1e9]])), [[1.0, 0.25, 0.1]])
    family = Bounded("similarity", scale_range=(0.5, 2), fixed={"x": 0.0}, ranges=(-0.25, 0.5))
    constrained = family.constrain(np.array([[1e9] * 3, [-1e9] * 3]))
    np.testing.assert_array_equal(constrained, [[2, 0.5, 0, 0.5], [0.5, -0.25, 0, -0.25]])


# --- The map inside --------------------------------------------------------------------------------

WRAPPED = [
    ("affine", {"max_translation": 0.2, "ranges": {"xy": (-0.1, 0.4)}}),
    ("translation", {"fixed": {"x": -0.1}, "max_translation": None}),
    ("attention", {"scale_range": (0.5, 1.2)}),
    ("rotation", {"max_rotation": 1.0}),
    (transforms.Similarity(aspect_ratio=1.5), SIMILARITY),
    (Bulge(), {"ranges": {"p0": (-0.2, 0.3)}}),
]
wrapped = pytest.mark.parametrize(("inner", "arguments"), WRAPPED, ids=str)


@wrapped
@pytest.mark.parametrize("align_corners", [False, True])
def test_it_warps_as_the_family_inside_does(inner, arguments, align_corners):
    family = Bounded(inner, **arguments)
    random = np.random.default_rng(5)
    images = random.random((3, 6, 9, 2), "float32")
    params = random.normal(size=(3, family.num_params)).astype("float32")
    constrained = family.constrain(params)
    inner = transforms.get(inner)
    settings = {"output_size": (4, 7), "align_corners": align_corners}
    np.testing.assert_array_equal(
        Warp(family, **settings)([images, params]), Warp(inner, **settings)([images, constrained])
    )
    points = random.uniform(-1, 1, (3, 8, 2)).astype("float32")
    np.testing.assert_array_equal(
        family.transform_points(params, points), inner.transform_points(constrained, points)
    )
    np.testing.assert_array_equal(
        family.grid(params, (4, 7), align_corners), inner.grid(constrained, (4, 7), align_corners)
    )


@wrapped
def test_unconstrain_undoes_constrain(inner, arguments):
    family = Bounded(inner, **arguments)
    params = np.random.default_rng(6).normal(size=(50, family.num_params))
    # At z = 30, 1 - s(z) has lost three digits and z^3 = 3e4 times as much is lost on the way back.
    assert np.max(np.abs(family.unconstrain(family.constrain(params)) - params)) <= 1e-9


def test_inverse_and_compose_are_those_inside_where_the_ranges_hold_them():
    inner = transforms.Similarity(aspect_ratio=1.5)
    family = Bounded(inner, scale_range=(0.5, 2.0), max_rotation=1.0, max_translation=2.0)
    random = np.random.default_rng(7)
    one, two = random.uniform(-0.3, 0.3, (2, 20, 4))
    for have, want in [
        (family.inverse(one), inner.inverse(family.constrain(one))),
        (
            family.compose(one, two),
            inner.compose(family.constrain(one), family.constrain(two)),
        ),
        (family.from_theta(inner.theta(family.constrain(one))), family.constrain(one)),
    ]:
        assert np.max(np.abs(family.constrain(have) - want)) <= 1e-12  # float64


def test_an_inverse_outside_of_the_ranges_is_the_nearest_inside():
    """The exact one is that of the family inside, and what Warp(inverse=True) reads by."""
    family = Bounded("attention", scale_range=(0.5, 1.1))
    params = family.unconstrain(np.array([[0.5, 0.0, 0.0], [0.8, 0.1, 0.0]]))
    nearest = family.constrain(family.inverse(params))
    want = np.array([[1.1, 0.0, 0.0], [1.1, -0.125, 0.0]])  # 1 / 0.5 = 2 and 1.25
    assert np.max(np.abs(nearest - want)) <= 1e-7  # the end is reached to the root of eps
    inner, exact = family.inverted(params, (30, 40), (30, 40))
    assert inner == transforms.Attention()
    assert np.max(np.abs(exact - [[2, 0, 0], [1.25, -0.125, 0]])) <= 1e-7


def test_pixel_matrices_go_through_and_those_outside_of_the_ranges_raise():
    family = Bounded("affine", max_translation=0.5)
    matrix = np.array([[1.1, 0.2, 3.0], [-0.1, 0.9, -2.0]])
    params = family.from_pixel_matrix(matrix, (30, 40))
    assert np.max(np.abs(family.pixel_matrix(params, (30, 40)) - matrix)) <= 1e-9
    with pytest.raises(ValueError, match="matrix must be a map inside of the ranges of Bounded"):
        family.from_pixel_matrix(np.array([[1.0, 0, 0], [0, 1, 20]]), (30, 40))


def test_a_family_of_no_matrices_says_so():
    with pytest.raises(NotImplementedError, match="Bulge does not define theta"):
        Bounded(Bulge(), ranges={"p0": (-1, 1)}).theta(np.zeros((1, 1)))
    with pytest.raises(NotImplementedError, match="Bulge does not define the inverse of a map"):
        Bounded(Bulge()).inverse(np.zeros((1, 1)))


@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_every_family_names_its_params(name):
    family = transforms.get(name)
    assert len(set(family.param_names)) == len(family.param_names)
    assert len(family.param_names) in (0, family.num_params)


# --- Configs, models, arguments --------------------------------------------------------------------


@wrapped
def test_it_is_saved_with_its_arguments(inner, arguments):
    family = Bounded(inner, **arguments)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(family))
    assert copy == family == Bounded.from_config(family.get_config())
    assert family != Bounded(inner, ranges={family.param_names[0]: (-9, 9)})
    assert repr(transforms.get(inner)) in repr(family)


def outwards(_, params):
    return -keras.ops.sum(params)


def test_a_model_is_saved_and_trains_inside_its_ranges(tmp_path):
    """A loss that pulls out of the ranges without end."""
    family = Bounded("similarity", **SIMILARITY)
    model = keras.Sequential([keras.Input((6, 8, 1)), keras_stn.Localization("dense", family)])
    model.compile(keras.optimizers.SGD(10.0), loss=outwards)
    images = np.random.default_rng(8).random((16, 6, 8, 1), "float32")
    model.fit(images, np.zeros((16, 4)), epochs=3, verbose=0)
    params = model.predict(images, verbose=0)
    assert np.max(np.abs(params)) > 100
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), params)
    assert inside(family.constrain(params), RANGES.values())


@pytest.mark.parametrize(
    ("transform", "arguments", "message"),
    [
        ("affine", {"max_rotation": 1}, r"^max_rotation must be left out for Affine, whose params are"),
        ("affine", {"max_rotation": 1}, r"max_rotation is for .*Rotation.*Similarity"),
        ("affine", {"scale_range": (0.5, 2)}, r"scale_range is for Attention, .*Similarity"),
        ("rotation", {"max_translation": 1}, r"^max_translation must be left out for Rotation"),
        ("attention", {"scale_range": (1.5, 2)}, r"low < 1.0 < high. Received: \(1.5, 2.0\)"),
        ("attention", {"scale_range": 0.5}, r"^scale_range must be two finite numbers, \(low, high\)"),
        ("attention", {"ranges": {"scael": (0.5, 2)}}, r"^ranges must .* Did you mean 'scale'\?"),
        (
            "attention",
            {"fixed": {"z": 0.0}},
            r"^fixed must name params of Attention: \('scale', 'x', 'y'",
        ),
        (
            "attention",
            {"fixed": {"x": "0"}},
            r"^fixed must be a dictionary of params and finite numbers",
        ),
        ("attention", {"fixed": ["x"]}, r"^fixed must be a dictionary"),
        ("rotation", {"fixed": {"angle": 0.0}}, r"^fixed must leave a param free"),
        ("rotation", {"max_rotation": -1}, r"^max_rotation must be a positive number"),
        ("translation", {"max_translation": (1, 2, 3)}, r"^max_translation must be a positive number"),
        (
            "translation",
            {"max_translation": 1, "ranges": {"x": (-1, 1)}},
            r"^ranges must leave out what is .*'x' in both",
        ),
        (
            "rotation",
            {"max_rotation": 1, "ranges": {"angle": (-1, 1)}},
            r"^ranges must leave out what is .*'angle' in both",
        ),
        ("translation", {"ranges": {"x": (0.0, np.inf)}}, r"^ranges\['x'\] must be two finite numbers"),
        ("affine", {"ranges": (-1, 1)}, r"^ranges must hold the identity of 'xx'"),
        (
            "attention",
            {"scale_range": (0.5, 2), "fixed": {"scale": 1.0}},
            r"^scale_range must leave out what is .*'scale' in both",
        ),
        ("affin", {}, "Did you mean 'affine'"),
    ],
    ids=str,
)
def test_wrong_arguments_are_named(transform, arguments, message):
    with pytest.raises(ValueError, match=message):
        Bounded(transform, **arguments)


def test_max_translation_is_that_of_the_axes_that_a_family_moves():
    """Of a family whose x is fixed already, it is that of y."""
    inner = transforms.Bounded("affine", fixed={"x": 0.25})
    assert transforms.Bounded(inner, max_translation=0.5).ranges == {"y": (-0.5, 0.5)}
    assert transforms.Bounded(inner, max_translation=(0.5, 0.75)).ranges == {"y": (-0.75, 0.75)}
