"""The paper's appendix A.3: extruded digits, turned in space and projected."""

import importlib
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from scipy.spatial.transform import Rotation

from keras_stn import ops, transforms
from keras_stn.demo import Digits

sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples" / "paper"))
figures, volumes = (importlib.import_module(name) for name in ("figures", "volumes"))
SEED = tf.constant([0, 5], tf.int64)


def digits(count):
    images = np.zeros((count, 28, 28), "uint8")
    images[:, 4:24, 10:18] = 250
    images[:, 4:8, 10:24] = 250  # asymmetric
    return images


def test_a_volume_that_is_turned_back_shows_the_digit_from_the_front():
    given = digits(3)
    made, params = volumes._volumes(given, SEED)
    assert made.shape == (3, 60, 60, 60, 1)
    affine = transforms.Affine(ndim=3)
    back = ops.warp(made, affine.inverse(params), affine, (12, 28, 28), data_format="channels_last")
    picture = np.asarray(back)[:, 2:10, ..., 0].mean(axis=1)  # ten of twelve layers are the digit
    truth = given / np.float32(255)
    inside = np.abs(picture - truth)[:, 6:22, 12:16]  # off the edges, which two reads blur
    assert inside.max() < 0.08  # in front and behind they blur too: by 0.06
    assert picture[:, 12:20, 22:26].max() < 0.03
    assert np.asarray(back)[:, [0, -1]].max() < 0.3  # what the two reads blur


def test_digits_are_turned_by_up_to_60_degrees_about_any_axis():
    _, params = volumes._volumes(digits(60), SEED)
    theta = np.asarray(params, "float64").reshape(-1, 3, 4)[:, :, :3]
    zoom = np.array([60 / 28, 60 / 28, 10 / 12 / volumes.DEPTH])
    turn = theta / zoom[:, np.newaxis]
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (60, 1, 1)), atol=1e-5)
    found = Rotation.from_matrix(turn).as_rotvec(degrees=True)
    angle = np.linalg.norm(found, axis=1)
    assert 55 < angle.max() <= 60.01
    assert angle.min() < 5
    assert np.abs(found).max(axis=0).min() > 35  # about each of the axes


def test_networks_read_volumes_and_have_as_many_weights_as_they_may(tmp_path):
    given = Digits(digits(20), np.arange(20) % 10, digits(4), np.arange(4), "bars")
    for network in volumes.NETWORKS:
        job = {"task": "volumes", "network": network, "seed": 0, "batch": 2, "at_most": 150_000}
        cell = volumes.classified(job, given)
        model = cell.build()
        assert 0.9 * 150_000 < model.count_params() <= 150_000
        images, labels = next(iter(cell.training(0)))
        assert images.shape == (2, 60, 60, 60, 1)
        assert labels.shape == (2,)
        assert model(cell.images[:1]).shape == (1, 10)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(cell.images[:1]), again(cell.images[:1]))
    figures.frame(again, cell.images, cell.labels, tmp_path / "frame.png")
    figures.means(again, cell.images, cell.labels, tmp_path / "means.png")
    for name in "frame.png", "means.png":
        assert (tmp_path / name).stat().st_size > 1000
