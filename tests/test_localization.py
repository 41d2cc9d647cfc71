"""The localization networks are the ones their docstrings describe; the head starts at the identity."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from families import as_params

from keras_stn import Localization, SpatialTransformer, localization, transforms

layers = keras.layers


def kinds(network):
    return [type(layer).__name__ for layer in network.layers]


def test_the_default_takes_images_smaller_than_those_it_was_built_for():
    layer = SpatialTransformer()
    layer(np.zeros((1, 160, 96, 1), "float32"))
    for size in ((3, 2), (1, 1), (7, 320)):
        images = np.random.default_rng(0).random((2, *size, 1), "float32")
        assert np.array_equal(layer(images), images)


def test_strided_conv_has_the_layers_of_its_docstring():
    network = localization.strided_conv()
    network.build((None, 512, 512, 3))
    block = ["ZeroPadding2D", "Conv2D", "BatchNormalization", "ReLU"]
    assert kinds(network) == block * 4 + [
        "Conv2D",
        "Conv2D",
        "Flatten",
        "Dense",
        "BatchNormalization",
        "ReLU",
    ]
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [64, 128, 256, 512, 256, 1]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 4 + [(1, 1)] * 2
    assert [layer.strides for layer in convolutions] == [(2, 2)] * 4 + [(1, 1)] * 2
    assert [layer.use_bias for layer in convolutions] == [True] * 4 + [False] * 2
    assert {layer.padding for layer in convolutions} == {"valid"}
    assert network.layers[-3].units == 128
    assert network.layers[-4].output.shape == (None, 32 * 32)


def test_strided_conv_starts_he_normal_by_fan_out():
    network = localization.strided_conv(widths=(64, 128))
    network.build((None, 32, 32, 3))
    kernels = [layer.kernel for layer in network.layers if isinstance(layer, layers.Conv2D)][:2]
    for kernel in kernels:
        fan_out = 3 * 3 * kernel.shape[-1]
        values = keras.ops.convert_to_numpy(kernel)
        # A deviation estimated from n >= 1728 draws is off by 1 / sqrt(2 n) = 1.7 %: four of these.
        assert abs(np.std(values) / np.sqrt(2 / fan_out) - 1) < 0.07
        assert np.max(np.abs(values)) > 2.5 * np.sqrt(2 / fan_out)  # normal, not a truncated normal
    assert not np.array_equal(kernels[0][:, :, :, :64], kernels[1][:, :, :3, :64])


def test_strided_conv_takes_other_widths_and_sizes():
    network = localization.strided_conv((8, 4), reduced=6, units=5)
    assert network.compute_output_shape((None, 30, 21, 2)) == (None, 5)


def test_dense_is_the_papers_network():
    network = localization.dense()
    network.build((None, 42, 42, 1))
    assert kinds(network) == ["Flatten", "Dense", "Dense", "Dense"]
    assert [layer.units for layer in network.layers[1:]] == [32, 32, 32]


def test_conv_is_the_papers_network():
    network = localization.conv()
    network.build((None, 42, 42, 1))
    assert kinds(network) == [
        "AveragePooling2D",
        "Conv2D",
        "MaxPooling2D",
        "Conv2D",
        "MaxPooling2D",
        "Flatten",
        "Dense",
    ]
    convolutions = [layer for layer in network.layers if isinstance(layer, layers.Conv2D)]
    assert [(layer.filters, layer.kernel_size) for layer in convolutions] == [(20, (5, 5))] * 2
    assert network.layers[-1].units == 20


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (40, 40), (33, 200), (512, 100), (None, None)])
def test_the_default_suits_any_size_with_weights_of_one_shape(size):
    layer = Localization()
    layer.build((None, *size, 3))
    reference = Localization()
    reference.build((None, 32, 32, 3))
    assert [w.shape for w in layer.weights] == [w.shape for w in reference.weights]
    assert layer(np.zeros((2, size[0] or 50, size[1] or 30, 3), "float32")).shape == (2, 6)


def test_the_default_passes_over_no_pixel_of_a_large_image():
    network = localization.resized_conv((224, 320))
    network.build((None, 224, 320, 1))
    image = tf.Variable(np.random.default_rng(0).random((1, 224, 320, 1), "float32"))
    with tf.GradientTape() as tape:
        seen = network.layers[1](network.layers[0](image))  # pooled, resized
    assert seen.shape == (1, 32, 32, 1)
    assert np.min(tape.gradient(seen, image)) > 0


def network_for(family):
    return "field_conv" if transforms.get(family).params_ndim > 2 else "dense"


@pytest.mark.parametrize("family", transforms.FAMILIES)
def test_the_head_starts_at_the_identity_for_any_image(family):
    layer = Localization(network_for(family), family)
    images = np.random.default_rng(1).normal(size=(3, 5, 8, 2)).astype("float32") * 100
    identity = np.float32([transforms.get(family).identity_params] * 3)
    assert np.array_equal(layer(images), as_params(family, identity, field_size=(2, 2)))
    assert np.all(layer.head.kernel == 0)


def test_the_head_learns_from_the_first_step():
    layer = SpatialTransformer("dense")
    images = np.random.default_rng(2).random((3, 5, 8, 2), "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(images) ** 2)
    to_kernel, to_bias = tape.gradient(
        loss, [layer.localization.head.kernel, layer.localization.head.bias]
    )
    assert np.max(np.abs(to_kernel)) > 0.01
    assert np.min(np.abs(to_bias)) > 0.01


@pytest.mark.parametrize("base", [keras.layers.Layer, keras.Model])
def test_a_network_without_a_build_of_its_own_is_built_without_a_warning(base, recwarn):
    class Network(base):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(4, 3)
            self.pool = keras.layers.GlobalAveragePooling2D()

        def call(self, images):
            return self.pool(self.convolution(images))

    transformer = SpatialTransformer(Network())
    assert transformer(np.zeros((2, 8, 9, 1), "float32")).shape == (2, 8, 9, 1)
    assert len(transformer.trainable_variables) == 4
    assert [str(warning.message) for warning in recwarn if "build" in str(warning.message)] == []


def test_channels_first_images_reach_the_network_channels_last():
    images = np.random.default_rng(3).random((2, 5, 8, 3), "float32")
    last, first = Localization("dense"), Localization("dense", data_format="channels_first")
    last.build((None, 5, 8, 3))
    first.build((None, 3, 5, 8))
    rng = np.random.default_rng(4)
    weights = [rng.normal(size=w.shape) for w in last.get_weights()]
    last.set_weights(weights)
    first.set_weights(weights)
    assert np.array_equal(first(images.transpose(0, 3, 1, 2)), last(images))


def test_a_ready_localization_is_used_as_it_is():
    inside = Localization("dense", "similarity")
    layer = SpatialTransformer(inside, "similarity")
    assert layer.localization is inside
    assert layer(np.ones((2, 5, 8, 1), "float32")).shape == (2, 5, 8, 1)


# --- What is wrong with a network -------------------------------------------------------------------


def _two_inputs():
    one, two = keras.Input((8, 6, 1)), keras.Input((3,))
    return keras.Model([one, two], keras.layers.concatenate([keras.layers.Flatten()(one), two]))


def _made_for(*size):
    return keras.Sequential([keras.Input(size), keras.layers.Flatten(), keras.layers.Dense(3)])


@keras.saving.register_keras_serializable(package="test_localization")
class Faulty(keras.layers.Layer):
    def call(self, images):
        raise TypeError("no such colour")


def _two_outputs():
    images = keras.Input((8, 6, 1))
    flat = keras.layers.Flatten()(images)
    return keras.Model(images, {"one": flat, "two": flat})


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            _two_inputs,
            r"one input, the images.*with 2 inputs, of shapes \[\(None, 8, 6, 1\), \(None, 3\)\]",
        ),
        (
            lambda: _made_for(32, 32, 1),
            r"made for images of shape \(None, 8, 6, 1\).*for \(None, 32, 32, 1\)",
        ),
        (
            lambda: _made_for(8, 6, 3),
            r"made for images of shape \(None, 8, 6, 1\).*for \(None, 8, 6, 3\)",
        ),
        (lambda: _made_for(8, 6), r"made for images of shape \(None, 8, 6, 1\).*for \(None, 8, 6\)"),
        (Faulty, "no such colour"),
        (_two_outputs, "output shape {'one': "),
        (lambda: keras.layers.Conv2D(2, 3), r"output shape \(None, 6, 4, 2\)"),
    ],
)
def test_an_error_says_what_is_wrong_with_the_network(network, message):
    network = network()
    for use in (lambda x: SpatialTransformer(network)(x), lambda x: Localization(network)(x)):
        with pytest.raises(ValueError, match=message) as caught:
            use(keras.Input((8, 6, 1)))
        assert str(caught.value).startswith("The localization network must")
        assert f"network={network.name!r}" in str(caught.value)
        assert "\x1b" not in str(caught.value)


# --- The identity and what decays -------------------------------------------------------------------


@pytest.mark.parametrize("transform", transforms.FAMILIES)
def test_weight_decay_leaves_the_identity_alone(transform):
    """With nothing to learn, 300 steps of AdamW left a zoom of 0.97."""
    images = np.zeros((2, 8, 6, 1), "float32")
    model = keras.Sequential(
        [keras.Input((8, 6, 1)), SpatialTransformer(network_for(transform), transform)]
    )
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.1), "mse")
    model.fit(np.repeat(images, 300, 0), np.repeat(images, 300, 0), batch_size=2, verbose=0)
    params = model.layers[0].localization(images).numpy()
    identity = np.float32([transforms.get(transform).identity_params] * 2)
    np.testing.assert_array_equal(params, as_params(transform, identity, field_size=(2, 2)))
