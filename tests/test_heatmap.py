"""The localization network that finds things by centroids."""

import keras
import numpy as np
import pytest

from keras_stn import SpatialTransformer, localization

RNG = np.random.default_rng(0)


def test_centroids_are_the_means_of_places_under_a_softmax():
    """Against a loop over places in float64."""
    features = RNG.normal(size=(2, 5, 7, 3)).astype("float32")
    layer = localization.Centroids(4)
    layer.build(features.shape)
    layer.scores.kernel.assign(RNG.normal(size=(3, 3, 3, 4)))
    scores = np.asarray(layer.scores(features), "float64")
    expected = np.zeros((2, 4, 2))
    for image in range(2):
        for thing in range(4):
            shares = np.exp(scores[image, :, :, thing])
            shares /= shares.sum()
            for row in range(5):
                for column in range(7):
                    place = (2 * column + 1) / 7 - 1, (2 * row + 1) / 5 - 1
                    expected[image, thing] += shares[row, column] * np.array(place)
    # float32 sums of 35 shares, places within 1.
    np.testing.assert_allclose(layer(features), expected.reshape(2, 8), rtol=0, atol=1e-6)


def test_one_thing_is_found_where_it_is_and_scores_without_end_stay_finite():
    features = np.zeros((1, 5, 8, 1), "float32")
    features[0, 3, 6] = 1e6
    layer = localization.Centroids(1)
    layer.build(features.shape)
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[1, 1] = 1
    layer.scores.kernel.assign(kernel)
    # The centre of column 6 of 8 and of row 3 of 5; exact, for no other place has a share.
    np.testing.assert_array_equal(layer(features), [[13 / 8 - 1, np.float32(7 / 5 - 1)]])


@pytest.mark.parametrize("size", [(40, 40), (40, 87), (83, 121), (20, 33), (None, None)])
def test_images_of_any_size_have_weights_of_one_shape(size):
    network = localization.heatmap(size)
    shape = [extent or 50 for extent in size]
    images = RNG.random((2, *shape, 3)).astype("float32")
    features = np.asarray(network(images))
    assert features.shape == (2, 64)
    assert np.abs(features).max() < 0.3
    kernels = [weight.shape for weight in network.weights if len(weight.shape) == 4]
    assert kernels == [(5, 5, 3, 16), (3, 3, 16, 32), (3, 3, 32, 32), (3, 3, 32, 32)]


@pytest.mark.parametrize(
    ("size", "kinds"), [((40, 40), 0), ((80, 120), 1), ((80, 90), 2), ((40, None), 1)]
)
def test_images_that_have_the_size_already_are_not_resized(size, kinds):
    plain = localization.heatmap((40, 40))
    assert len(localization.heatmap(size).layers) == len(plain.layers) + kinds


def test_a_shift_of_the_picture_shifts_the_centroids():
    """By 8 and 4 pixels of 40, two cells and one of the feature maps: 0.4 and 0.2 of the 2 they are."""
    keras.utils.set_random_seed(0)
    network = localization.heatmap((40, 40), scale=1.0)
    network.build((None, 40, 40, 1))
    *features, centroids = network.layers
    centroids.scores.kernel.assign(50 * centroids.scores.kernel)
    images = np.zeros((2, 40, 40, 1), "float32")
    images[0, 12:20, 12:19] = RNG.random((8, 7, 1))  # nothing of which the border cuts off
    images[1, 16:24, 20:27] = images[0, 12:20, 12:19]
    seen = images
    for layer in features:
        seen = layer(seen)
    # The empty ground scores 0, for no layer has a bias yet. Its 100 cells have less than 1e-6 of all
    # shares where the picture scores 20.
    found = np.asarray(centroids.scores(seen)).max(axis=(1, 2)).min(axis=0) > 20
    assert found.sum() >= 4
    before, after = np.asarray(network(images)).reshape(2, 32, 2)
    np.testing.assert_allclose((after - before)[found], [[0.4, 0.2]] * found.sum(), rtol=0, atol=1e-6)


def test_maps_of_unknown_size_are_refused_by_name():
    with pytest.raises(ValueError, match=r"feature maps of a static size.*shape \(None, None, 7, 3\)"):
        localization.Centroids(2).build((None, None, 7, 3))
    with pytest.raises(ValueError, match="maps must be .*Received: maps=0"):
        localization.heatmap(maps=0)


def test_heatmap_is_the_default_and_a_name():
    default, named = SpatialTransformer(), SpatialTransformer("heatmap")
    for layer in (default, named):
        layer.build((None, 20, 30, 1))
        assert layer.localization.network.name == "heatmap"
    written = keras.saving.serialize_keras_object(localization.Centroids(5, 0.25))
    loaded = keras.saving.deserialize_keras_object(written)
    assert (loaded.maps, loaded.scale) == (5, 0.25)


def test_batch_normalization_stands_between_each_convolution_and_its_relu():
    """In training each channel has mean 0 and deviation 1 over the batch, whatever the images are."""
    images = 50 + 9 * RNG.normal(size=(6, 40, 40, 3)).astype("float32")
    network = localization.heatmap((40, 40))
    network.build(images.shape)
    *features, _ = network.layers
    kinds = [type(layer).__name__ for layer in features]
    assert kinds == ["Conv2D", "BatchNormalization", "ReLU"] * 3
    seen = images
    for layer in features:
        seen = layer(seen, training=True) if layer.name.startswith("batch") else layer(seen)
        if layer.name.startswith("batch"):
            # Keras adds 0.001 to each variance. These are above 0.1: a deviation is 0.5 % less at most.
            np.testing.assert_allclose(np.mean(seen, axis=(0, 1, 2)), 0, rtol=0, atol=1e-3)
            np.testing.assert_allclose(np.std(seen, axis=(0, 1, 2)), 1, rtol=0, atol=1e-2)
    without = localization.heatmap((40, 40), batch_norm=False)
    without.build((None, 40, 40, 3))
    assert len(without.layers) == 4
    # A bias each instead of gamma, beta and the two averages.
    assert len(without.weights) == 4 * 2
    assert without.count_params() == network.count_params() - 3 * (16 + 32 + 32)
    with pytest.raises(ValueError, match="batch_norm must be .*Received: batch_norm='yes'"):
        localization.heatmap(batch_norm="yes")


def test_scale_multiplies_the_centroids_and_slows_what_adam_does_to_params():
    features = RNG.normal(size=(2, 5, 7, 3)).astype("float32")
    whole, half = localization.Centroids(4), localization.Centroids(4, scale=0.5)
    for layer in (whole, half):
        layer.build(features.shape)
    half.set_weights(whole.get_weights())
    # Products with a power of 2 are exact.
    np.testing.assert_array_equal(half(features), 0.5 * np.asarray(whole(features)))
    with pytest.raises(ValueError, match="scale must be .*Received: scale=0"):
        localization.Centroids(2, scale=0)

    moved = []
    for scale in (1.0, 0.25):
        keras.utils.set_random_seed(0)
        layer = SpatialTransformer(localization.heatmap((5, 7), scale=scale), jitter=0.0)
        model = keras.Sequential([keras.Input((5, 7, 3)), layer])
        model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=False)
        model.train_on_batch(features, features + 1)
        maps = np.asarray(layer.localize(features)) - layer.localization.head.bias
        moved.append(np.abs(maps - [1, 0, 0, 0, 1, 0]).max())
    # The first step of Adam is the rate in each weight, but where a gradient is not far from its 1e-7.
    np.testing.assert_allclose(moved[1], 0.25 * moved[0], rtol=0.02)


@pytest.mark.parametrize("network", ["heatmap", "resized_conv", "stock"])
def test_layers_behind_a_network_that_resizes_do_not_train_where_nobody_says_so(network):
    """Keras' Resizing has training=True for a default, which Keras hands on to what comes after."""
    if network == "stock":
        network = keras.Sequential([keras.layers.Resizing(8, 8), keras.layers.Flatten()])
    images = keras.Input((20, 30, 1))
    params = localization.Localization(network)(images)
    model = keras.Model(images, keras.layers.Dropout(0.5)(keras.layers.Flatten()(params)))
    ones = np.ones((2, 20, 30, 1), "float32")
    np.testing.assert_array_equal(model(ones), [[1, 0, 0, 0, 1, 0]] * 2)


@pytest.mark.parametrize("build", [localization.heatmap, localization.resized_conv])
def test_networks_that_resize_leave_what_comes_after_them_alone(build):
    images = keras.Input((20, 30, 1))
    model = keras.Model(images, [build((20, 30))(images), keras.layers.Dropout(0.5)(images)])
    ones = np.ones((2, 20, 30, 1), "float32")
    np.testing.assert_array_equal(model(ones)[1], ones)
