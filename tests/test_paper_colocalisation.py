"""The paper's appendix A.2: boxes, triplets, and what counts as found."""

import dataclasses
import importlib
import pathlib
import sys

import keras
import numpy as np

from keras_stn.demo import Digits

sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples" / "paper"))
batches, colocalisation, triplets = (
    importlib.import_module(name) for name in ("batches", "colocalisation", "triplets")
)


def raster(square, side=400):
    """The pixels of [-2, 2] x [-2, 2] in which a square (half a side, x, y) lies."""
    half, x, y = square
    across = (np.arange(side) + 0.5) / side * 4 - 2
    return (np.abs(across - x) < half) & (np.abs(across - y) < half)[:, np.newaxis]


def test_overlap_is_that_of_pixels():
    rng = np.random.default_rng(0)
    ones, others = (rng.uniform([0.2, -0.8, -0.8], [0.9, 0.8, 0.8], (30, 3)) for _ in range(2))
    others[0] = ones[0]
    others[1, 1:] = ones[1, 1:] + 1.9  # apart
    found = colocalisation.overlap(ones, others)
    mirrored = colocalisation.overlap(ones * [-1, 1, 1], others)
    np.testing.assert_array_equal(mirrored, found)  # it covers the same
    a, b = (np.array([raster(one) for one in squares]) for squares in (ones, others))
    truth = (a & b).sum(axis=(1, 2)) / (a | b).sum(axis=(1, 2))
    np.testing.assert_allclose(found, truth, atol=0.03)  # pixels of 0.01, along four sides
    assert found[0] == 1
    assert found[1] == 0


def test_triplets_are_those_of_a_double_loop():
    features = np.random.default_rng(0).normal(size=(5, 2, 3)).astype("float32")
    found, random = features[:, 0], features[:, 1]
    hinges = [
        np.mean(
            [
                max(0, ((found[n] - found[m]) ** 2).sum() - ((found[n] - random[n]) ** 2).sum() + 0.7)
                for m in range(5)
                if m != n
            ]
        )
        for n in range(5)
    ]
    loss = triplets.Triplets(margin=0.7)
    np.testing.assert_allclose(loss(np.zeros(5), features), np.mean(hinges), rtol=1e-5)  # float32
    assert np.mean(hinges) > 0
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert copy.margin == 0.7
    assert float(loss(np.zeros(1), features[:1])) == 0  # one image has no other to be like


def test_the_true_box_holds_all_of_the_digit_and_little_else():
    digits = np.zeros((6, 28, 28), "uint8")
    digits[:, :, ::3] = 255  # from edge to edge
    bare = dataclasses.replace(colocalisation.DISTORTION, pieces=0)
    images, params = batches.fixed(digits, bare)
    boxes = colocalisation.boxes(params)
    np.testing.assert_allclose(boxes[:, 0], 28 / 84, rtol=1e-6)
    for image, (half, x, y) in zip(images[..., 0], boxes, strict=True):
        rows, columns = (((np.arange(84) + 0.5) / 42 - 1 - centre) for centre in (y, x))
        inside = (np.abs(rows) < half + 1 / 42)[:, np.newaxis] & (np.abs(columns) < half + 1 / 42)
        assert image[~inside].max() == 0
        assert image[inside].mean() > 0.25


def test_random_crops_are_of_the_size_of_a_digit_and_lie_on_the_image():
    ramp = np.linspace(1, 2, 84, dtype="float32")
    images = np.stack(np.broadcast_arrays(ramp, ramp[:, np.newaxis]), axis=-1)
    crops = np.asarray(triplets.RandomCrop()(np.stack([images] * 40)))
    assert crops.shape == (40, 28, 28, 2)
    assert crops.min() >= 0.99  # of no pixel beyond the edge
    step = ramp[1] - ramp[0]
    np.testing.assert_allclose(np.diff(crops[..., 0], axis=2), step, atol=1e-5)
    np.testing.assert_allclose(np.diff(crops[..., 1], axis=1), step, atol=1e-5)
    left = crops[:, 0, 0, 0]
    assert left.min() < 1.1
    assert left.max() > 1.5  # 56 of 84 pixels from the left edge is 1.67


def some_digits():
    images = np.zeros((60, 28, 28), "uint8")
    images[:, 4:24, 10:18] = 250
    labels = np.arange(60, dtype="uint8") % 10
    return Digits(images, labels, images[:20], labels[:20], "bars")


JOB = {"task": "3", "network": "attention", "seed": 0, "batch": 4}


def test_images_are_of_one_digit_among_pieces_of_all():
    cell = colocalisation.found(JOB, some_digits())
    assert len(cell.images) == 2  # of twenty digits
    assert set(cell.labels) == {3}
    images, targets = next(iter(cell.training(0)))
    assert images.shape == (4, 84, 84, 1)
    assert targets.shape == (4,)
    images = np.full((60, 28, 28), 255, "uint8")
    images[3::10] = 0  # threes are black, all others white
    data = Digits(images, np.arange(60) % 10, images[:20], np.arange(20) % 10, "white")
    assert (colocalisation.found(JOB, data).images.max(axis=(1, 2, 3)) == 1).any()


def test_a_digit_counts_as_found_where_the_box_overlaps_it_by_more_than_half(tmp_path):
    cell = colocalisation.found(JOB, some_digits())
    model = cell.build()
    assert model(cell.images).shape == (2, 2, 64)
    assert cell.error(model) == 100  # it starts with half of the picture
    layer = model.get_layer("transformer")
    assert layer.jitter == 0  # the crop that is trained is the one that counts
    _, params = batches.fixed(some_digits().x_test[3:14:10], colocalisation.DISTORTION)
    truth = colocalisation.boxes(params)
    assert colocalisation.overlap(truth[:1], truth[1:]) < 0.5
    layer.localization.head.bias.assign(truth[0] - np.float32(layer.warp.transform.identity_params))
    assert cell.error(model) == 50
    assert cell.error(model, 1) == 0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert cell.error(again, 1) == 0
    assert not any("encoder" in one.path for one in again.trainable_weights)


def test_a_step_moves_the_box_and_not_the_encoder():
    cell = colocalisation.found(JOB, some_digits())
    model = cell.build()
    model.compile(keras.optimizers.SGD(1.0), cell.loss)
    encoder, head = model.get_layer("encoder"), model.get_layer("transformer").localization.head
    before = [np.copy(weight) for weight in encoder.weights]
    start = np.copy(head.bias)
    model.fit(cell.training(0).take(2), shuffle=False, verbose=0)
    for one, other in zip(before, encoder.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.abs(start - head.bias).max() > 1e-6
