"""Metrics: numbers of maps against SciPy's polar decomposition, NumPy's determinants and loops."""

import keras
import numpy as np
import pytest
from maps import VECTORS, is_matrix, matrix, moved, params_of, pixels
from scipy.linalg import polar
from scipy.spatial.transform import Rotation
from users_family import Bulge

from keras_stn import metrics, transforms
from keras_stn.metrics import (
    Determinant,
    ShareOutside,
    Turn,
    Zoom,
    determinant,
    share_outside,
    turn,
    zoom,
)

families = pytest.mark.parametrize("name", VECTORS)
FIELDS = {name: make for name, make in transforms.FAMILIES.items() if name not in VECTORS}

# Of params in float32, the map is followed in float64: rounding of the differences counts for 1e-12, and
# their step for 2e-9 of the third derivative. The largest error of all is 2.3e-8.
ATOL = 1e-7


def slopes(family, row):
    """The linear part at the middle: of matrices themselves, else by Richardson's differences."""
    if is_matrix(family):
        return matrix(family, row)[0]
    columns = []
    for axis in np.eye(family.ndim):
        half, whole = (
            np.subtract(*moved(family, row, [h * axis, -h * axis])) / (2 * h) for h in (1e-3, 2e-3)
        )
        columns.append((4 * half - whole) / 3)
    return np.stack(columns, axis=1)


def angle_of(linear):
    """The angle of the nearest rotation, by SciPy's polar decomposition."""
    rotation, _ = polar(linear)
    if len(linear) == 2:
        return np.arctan2(rotation[1, 0], rotation[0, 0])
    return Rotation.from_matrix(rotation).magnitude()


@families
def test_share_outside_is_counted_point_by_point(name):
    family = VECTORS[name]()
    params = params_of(family, 3, within=0.5)
    count = {2: 16, 3: 8}[family.ndim]
    expected = [
        np.mean([np.abs(p).max() > 1 for p in moved(family, row, pixels(count, family.ndim))])
        for row in params
    ]
    np.testing.assert_array_equal(share_outside(family, params), expected)
    assert max(expected) > 0


@families
def test_determinant_and_zoom_are_those_of_the_slopes(name):
    family = VECTORS[name]()
    params = params_of(family, 5)
    expected = np.array([np.linalg.det(slopes(family, row)) for row in params])
    np.testing.assert_allclose(determinant(family, params), expected, rtol=0, atol=ATOL)
    roots = np.abs(expected) ** (1 / family.ndim)
    np.testing.assert_allclose(zoom(family, params), roots, rtol=0, atol=ATOL)


@families
def test_turn_is_that_of_the_polar_decomposition(name):
    family = VECTORS[name]()
    params = params_of(family, 5)
    linear = [slopes(family, row) for row in params]
    positive = [np.linalg.det(one) > 0 for one in linear]
    expected = np.array([angle_of(one) for one in linear])
    result = turn(family, params)
    np.testing.assert_allclose(result[positive], expected[positive], rtol=0, atol=ATOL)
    assert np.isfinite(result).all()
    assert all(positive) or not family.has_identity


@pytest.mark.parametrize("angle", [-3.1, -1.0, 0.0, 0.4, 2.0, 3.1])
@pytest.mark.parametrize("align_corners", [False, True])
def test_turn_of_an_oblong_picture_is_that_of_its_pixels(angle, align_corners):
    height, width = size = (7, 5)
    ratio = (width - 1) / (height - 1) if align_corners else width / height
    family = transforms.Similarity(aspect_ratio=ratio)
    result = turn(family, [[0.7, angle, 0.2, -0.1]], size, align_corners)
    np.testing.assert_allclose(result, [angle], atol=ATOL)


def test_turn_of_a_volume_is_the_length_of_its_rotation_vector():
    vectors = np.array([[0.3, -0.5, 1.1], [0.0, 0.0, 0.0], [2.0, 1.0, -1.5]], "float64")
    depth, height, width = size = (4, 7, 5)
    family = transforms.Rotation((width / height, depth / height), ndim=3)
    result = turn(family, vectors, size)
    np.testing.assert_allclose(result, np.linalg.norm(vectors, axis=1), atol=1e-6)  # acos near 1


def test_mirror_image_has_a_determinant_below_0_and_a_finite_turn():
    mirror = [[-1.0, 0, 0, 0, 1, 0]]
    assert determinant("affine", mirror) == pytest.approx(-1)
    assert zoom("affine", mirror) == pytest.approx(1)
    of_volume = np.array([[-1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]])
    affine = transforms.Affine(ndim=3)
    assert determinant(affine, of_volume) == pytest.approx(-1)
    assert np.isfinite(turn(affine, of_volume)).all()


@pytest.mark.parametrize("name", FIELDS)
def test_field_of_a_map_has_the_numbers_of_the_map(name):
    """Pixels moved as a turn by 0.1 and a scale of 1.1 move them; beyond the outermost they end."""
    height, width = size = (14, 10)
    linear = 1.1 * np.array([[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]])
    y, x = np.meshgrid(np.arange(height) - 6.5, np.arange(width) - 4.5, indexing="ij")
    pixels = np.stack([x, y], axis=-1)
    if name == "velocity":  # whose flow is the exponential
        logarithm = np.array([[np.log(1.1), -0.1], [0.1, np.log(1.1)]])
        field = pixels @ logarithm.T
    else:
        field = pixels @ linear.T - pixels
    family, params = FIELDS[name](), field[np.newaxis].astype("float32")
    atol = 2e-3 if name == "velocity" else 1e-6  # the flow is integrated in steps
    np.testing.assert_allclose(turn(family, params, size), [0.1], atol=atol)
    np.testing.assert_allclose(determinant(family, params, size), [1.21], atol=2 * atol)
    np.testing.assert_allclose(zoom(family, params, size), [1.1], atol=atol)
    assert share_outside(family, params + np.float32([20, 0]), size) == 1
    with pytest.raises(ValueError, match="source_size must be the size of the images"):
        zoom(family, params)


def test_nan_is_outside_and_has_no_other_number():
    params = np.array([[np.nan, 0.0, 0.0], [0.5, 0.0, 0.0]])
    assert share_outside("attention", params).tolist() == [1.0, 0.0]
    for measure in (determinant, zoom, turn):
        result = measure("attention", params)
        assert np.isnan(result[0])
        assert np.isfinite(result[1])
    of_volume = turn(transforms.Rotation(ndim=3), [[np.nan, 0, 0], [0.1, 0, 0]])
    np.testing.assert_allclose(of_volume, [np.nan, 0.1], atol=ATOL)


def test_several_maps_of_an_image_have_numbers_each():
    params = params_of(transforms.get("similarity"), 2, 3)
    for measure in (share_outside, determinant, zoom, turn):
        result = measure("similarity", params)
        assert result.shape == (2, 3)
        np.testing.assert_array_equal(result.ravel(), measure("similarity", params.reshape(6, 4)))


@pytest.mark.parametrize("measure", [share_outside, determinant, zoom, turn])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("afine", [[1.0]]), "transform must be one of"),
        (("affine", [[1.0]]), r"params must have shape \(batch, \[maps,\] 6\)"),
        (("translation", [[1, 0]]), "params must be floating point"),
        (("translation", [[1.0, 0.0]], (4, 0)), "source_size must be two positive integers"),
        (("translation", [[1.0, 0.0]], None, "no"), "align_corners must be True or False"),
    ],
)
def test_invalid_argument(measure, arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


# --- In `compile` -------------------------------------------------------------------------------------

CLASSES = {ShareOutside: share_outside, Determinant: determinant, Zoom: zoom, Turn: turn}
classes = pytest.mark.parametrize("cls", CLASSES)


@classes
@pytest.mark.parametrize("name", ["similarity", "bounded", "projective", "rotation of volumes"])
def test_metric_is_the_mean_over_batches(cls, name):
    family = VECTORS[name]()
    metric, params = cls(family), params_of(family, 7, within=0.5)
    for some in (params[:3], params[3:]):
        metric.update_state(None, some)
    values = CLASSES[cls](family, params)
    values = np.abs(values) if cls is Turn else values
    assert float(metric.result()) == pytest.approx(values.mean(), rel=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0


@classes
def test_metric_weighs_images_and_averages_their_maps(cls):
    params = params_of(transforms.get("affine"), 3, 2, within=0.5)
    weights = np.array([1.0, 0.0, 3.0])
    metric = cls("affine")
    metric.update_state(None, params, sample_weight=weights)
    values = CLASSES[cls]("affine", params)
    values = np.abs(values) if cls is Turn else values
    expected = np.average(values.mean(axis=1), weights=weights)
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


@classes
def test_metric_is_the_same_after_serialization(cls):
    metric = cls(Bulge(power=3), source_size=(7, 5), align_corners=True, name="mine")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is cls
    assert again.get_config() == metric.get_config()
    params = params_of(metric.transform, 4)
    metric.update_state(None, params)
    again.update_state(None, params)
    assert float(again.result()) == float(metric.result())


@pytest.mark.parametrize("family", [transforms.Similarity(), transforms.Rotation(ndim=3)], ids=repr)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_metrics_stand_in_the_logs_of_fit_beside_any_labels(jit_compile, family):
    images = np.random.default_rng(0).random((8, 6, 4, 1), "float32")
    inputs = keras.Input((6, 4, 1))
    features = keras.layers.Flatten()(inputs)
    params = keras.layers.Dense(
        family.num_params, bias_initializer="ones", trainable=False, name="params"
    )
    outputs = {"params": params(features), "label": keras.layers.Dense(1, name="label")(features)}
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss={"label": "mse", "params": None},
        metrics={"params": [cls(family) for cls in CLASSES]},
        jit_compile=jit_compile,
    )
    labels = {"label": np.zeros((8, 1)), "params": np.zeros((8, 1))}  # which nothing looks at
    history = model.fit(images, labels, batch_size=4, verbose=0).history
    predicted = model.predict(images, verbose=0)["params"]
    for measure in CLASSES.values():
        name = f"params_{measure.__name__}"
        assert history[name][0] == pytest.approx(np.abs(measure(family, predicted)).mean(), rel=1e-5)


def test_public_names_are_those_that_are_tested():
    assert {*metrics.__all__} == {f.__name__ for pair in CLASSES.items() for f in pair}
