"""The paper's transformers at depths: traffic signs, strings on photographs, and where they look."""

import importlib
import math
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_stn.demo import Digits

sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples" / "paper"))
cells, depths, figures, signs, strings = (
    importlib.import_module(name) for name in ("cells", "depths", "figures", "signs", "strings")
)
SEED = tf.constant([0, 5], tf.int64)
NOISE = np.random.default_rng(0)


# --- Networks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "places"), depths.PLACES.items())
def test_transformers_stand_where_the_table_says(name, places):
    model = depths.network((32, 32, 3), 4, places, (5, 11))
    assert [layer.name for layer in figures.transformers(model)] == [f"transformer_{n}" for n in places]
    sizes = [layer.input.shape[1] for layer in figures.transformers(model)]
    assert sizes == [32 >> place for place in places]
    assert model(np.zeros((2, 32, 32, 3), "float32")).shape == (2, 5, 11)


def test_one_that_stands_behind_others_sees_through_them():
    model = depths.network((32, 32, 3), 4, (0, 1), (3,))
    one, other = figures.transformers(model)
    ones, others = [0.5, 0.1, 0.2, -0.1, 0.6, -0.3], [0.8, -0.2, 0.1, 0.3, 0.9, 0.2]
    identity = one.warp.transform.identity_params
    for layer, theta in (one, ones), (other, others):
        layer.localization.head.bias.assign(np.subtract(theta, identity))
    found = figures.outlines(model, np.zeros((2, 32, 32, 3), "float32"))
    corners = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]]).T
    first, second = (np.vstack([np.reshape(theta, (2, 3)), [0, 0, 1]]) for theta in (ones, others))
    for name, theta in (("transformer_0", first), ("transformer_1", first @ second)):
        truth = np.tile((theta @ corners)[:2].T, (2, 1, 1))
        np.testing.assert_allclose(found[name], truth, atol=1e-6)  # float32


def test_the_picture_of_depths_is_drawn(tmp_path):
    model = depths.network((32, 32, 3), 4, (0, 1, 2), (43,))
    images = NOISE.random((4, 32, 32, 3), "float32")
    figures.depths(model, images, np.arange(4), tmp_path / "depths.png")
    assert (tmp_path / "depths.png").stat().st_size > 3000


# --- Traffic signs ---------------------------------------------------------------------------------


def some_signs(tmp_path, **other):
    x, y = NOISE.integers(0, 256, (20, 32, 32, 3), "uint8"), np.arange(20, dtype="uint8") % 7
    arrays = {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6], **other}
    np.savez(tmp_path / "signs.npz", **arrays)
    return str(tmp_path / "signs.npz")


def test_signs_come_from_a_file_that_is_checked(tmp_path):
    data = signs.load(some_signs(tmp_path))
    assert (data.x_train.shape, data.x_test.shape) == ((20, 32, 32, 3), (6, 32, 32, 3))
    with pytest.raises(ValueError, match="signs must have --data: .* Received: None"):
        signs.load(None)
    small = NOISE.integers(0, 256, (6, 28, 28, 3), "uint8")
    with pytest.raises(ValueError, match=r"must be \(n, 32, 32, 3\), uint8.*Received: \(6, 28, 28, 3\)"):
        signs.load(some_signs(tmp_path, x_test=small))
    with pytest.raises(ValueError, match="labels 0 to 42.* labels up to 43"):
        signs.load(some_signs(tmp_path, y_test=np.full(6, 43)))


def test_signs_are_tested_as_they_are_or_turned_by_up_to_45_degrees():
    images = NOISE.integers(0, 256, (200, 32, 32, 3), "uint8")
    plain, params = signs._posed(images, 0.0, SEED)
    floats = images.astype("float64")
    mean, deviation = (f(floats, axis=(1, 2, 3), keepdims=True) for f in (np.mean, np.std))
    np.testing.assert_allclose(plain, (floats - mean) / deviation, atol=1e-3)  # + 1 in the root
    turned, params = signs._posed(images, 45.0, SEED)
    angles = np.degrees(np.asarray(params)[:, 1])
    assert -45 <= angles.min() < -40
    assert 40 < angles.max() <= 45
    assert np.abs(turned - plain).max() > 1
    quarter, _ = signs._posed(np.rot90(images, axes=(1, 2)), 0.0, SEED)
    np.testing.assert_allclose(quarter, np.rot90(plain, axes=(1, 2)), atol=1e-5)


def test_signs_to_train_with_vary_about_what_they_are():
    images = NOISE.integers(0, 256, (400, 32, 32, 3), "uint8")
    made, params = signs._varied(images, 0.0, SEED)
    theta = np.asarray(params).reshape(-1, 2, 3)
    determinant = np.linalg.det(theta[:, :, :2])
    assert 0.6 < determinant.min() < 0.8
    assert 1.2 < determinant.max() < 1.6
    assert np.abs(theta[:, :, 2]).max() <= 0.15
    np.testing.assert_allclose(theta.mean(axis=0), np.eye(2, 3), atol=0.03)  # 400 draws
    np.testing.assert_allclose(np.mean(made, axis=(1, 2, 3)), 0, atol=1e-4)
    assert not np.isnan(made).any()


@pytest.mark.parametrize("network", depths.PLACES)
def test_networks_of_signs_have_as_many_weights_as_they_may(network, tmp_path):
    job = {"task": "turned", "network": network, "seed": 0, "batch": 4, "at_most": 200_000}
    cell = signs.classified(job, signs.load(some_signs(tmp_path)))
    model = cell.build()
    assert 0.93 * 200_000 < model.count_params() <= 200_000
    images, labels = next(iter(cell.training(0)))
    assert images.shape == (4, 32, 32, 3)
    assert labels.shape == (4,)
    assert model(images).shape == (4, signs.CLASSES)


# --- Strings ---------------------------------------------------------------------------------------


def some_digits(count=60):
    images = np.zeros((count, 28, 28), "uint8")
    images[:, 4:24, 10:18] = 250
    labels = np.arange(count, dtype="uint8") % 10
    return Digits(images, labels, images[:20], labels[:20], "bars")


def test_photographs_of_the_test_are_others_than_those_of_training():
    train, test = (strings.backgrounds(part) for part in ("train", "test"))
    assert train.shape == test.shape == (strings.PATCHES, 64, 64, 3)
    assert not set(strings.PHOTOGRAPHS["train"]) & set(strings.PHOTOGRAPHS["test"])
    assert train[::100].std() > 20  # of 255


def test_digits_of_a_string_stand_beside_each_other_and_on_the_picture():
    lengths = np.tile(np.arange(1, 6), 40)
    unit = NOISE.uniform(-1, 1, (8, 200)).astype("float32")
    places = np.asarray(strings._places(tf.constant(lengths, tf.float32), tf.constant(unit)))
    theta = places.reshape(200, strings.LONGEST, 2, 3)
    centres = theta[..., 2]
    for count, steps in zip(lengths, np.diff(centres, axis=1), strict=True):
        assert (steps[: count - 1, 0] > 0).all()  # from left to right
    side = 2 * np.linalg.norm(theta[:, 0, :, 0], axis=1)  # in units of the picture, which is 2 wide
    apart = np.linalg.norm(np.diff(centres, axis=1), axis=2)
    np.testing.assert_allclose(apart, strings.ADVANCE * side[:, np.newaxis] * np.ones((1, 4)), rtol=1e-4)
    middle = np.array([row[:count].mean(axis=0) for row, count in zip(centres, lengths, strict=True)])
    assert np.abs(middle).max() < 0.9
    shown = [np.abs(row[:count]).max() for row, count in zip(centres, lengths, strict=True)]
    assert max(shown) < 1  # the centre of each digit
    turn = np.degrees(np.arctan2(theta[:, 0, 1, 0], theta[:, 0, 0, 0]))
    assert 15 < np.abs(turn).max() <= 20


def test_places_behind_the_last_digit_are_empty_and_labelled_so():
    data = some_digits()
    given = data.x_train, tf.constant(data.y_train, tf.int32), strings.backgrounds("train")
    images, labels = strings.batch(*given, 50, 0, 3)
    labels = np.asarray(labels)
    assert images.shape == (50, 64, 64, 3)
    assert np.min(images) >= 0
    assert np.max(images) <= 1
    lengths = (labels != strings.NONE).sum(axis=1)
    assert set(lengths) == {1, 2, 3, 4, 5}
    for row, length in zip(labels, lengths, strict=True):
        assert (row[:length] < 10).all()
        assert (row[length:] == strings.NONE).all()


def test_ink_stands_out_and_the_photograph_stays_where_there_is_none():
    backdrop = np.full((40, 64, 64, 3), 40, "uint8")
    backdrop[20:] = 210
    lengths = tf.constant([1, 5] * 20)
    blank = np.zeros((200, 28, 28), "uint8")
    bare = strings.written(blank, lengths, backdrop, SEED)
    np.testing.assert_allclose(bare, backdrop / np.float32(255), atol=1e-6)
    digits = blank.copy()
    digits[:, 6:22, 10:18] = 255
    seen = strings.written(digits, lengths, backdrop, SEED)
    change = np.asarray(seen - bare).mean(axis=-1)
    assert change[:20].max(axis=(1, 2)).min() > 0.4  # light ink on dark photographs
    assert change[20:].min(axis=(1, 2)).max() < -0.4
    inked = (np.abs(change) > 0.2).sum(axis=(1, 2))
    # A digit of a string of five is at least 0.6 * 64 / 3.8 pixels high; half of its ink, for blur.
    assert inked.min() > 5 * 8 * 16 * (64 / 28 / 3.8 * 0.6) ** 2 / 2


def test_networks_of_strings_read_five_places():
    job = {"task": "strings", "network": "one", "seed": 0, "batch": 4, "at_most": 150_000}
    cell, again = (strings.read(job, some_digits()) for _ in range(2))
    assert cell.images.shape == (20, 64, 64, 3)
    np.testing.assert_array_equal(cell.images, again.images)
    images, labels = next(iter(cell.training(0)))
    assert images.shape == (4, 64, 64, 3)
    assert labels.shape == (4, 5)
    model = cell.build()
    assert model.count_params() <= 150_000
    assert model(images).shape == (4, 5, 11)


def test_a_string_is_right_when_all_of_it_is():
    scores = np.zeros((3, 2, 4), "float32")
    scores[:, :, 1] = 1  # it reads "11", whatever it sees
    model = keras.Sequential([keras.Input((2, 4)), keras.layers.Activation("linear")])
    error = cells.misread(scores, np.array([[1, 1], [1, 0], [2, 1]]))
    assert math.isclose(error(model), 100 * 2 / 3)
    assert error(model, 1) == 0
