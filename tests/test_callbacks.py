"""Callbacks: what they find, log, draw, freeze and warn of, in `fit` of small models."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import SpatialTransformer, metrics, transforms
from keras_stn.callbacks import CollapseWarning, CollapseWatch, Strips, TransformerMetrics, WarmUp

SIZE = (9, 6, 1)
_random = np.random.default_rng(0)
IMAGES, LABELS = _random.random((16, *SIZE), "float32"), _random.random((16, 1), "float32")


def transformer(name="look", network="dense", transform="similarity", **arguments):
    return SpatialTransformer(network, transform, name=name, **arguments)


def model_of(*layers, optimizer="adam", **arguments):
    rest = keras.layers.Flatten(), keras.layers.Dense(1)
    model = keras.Sequential([keras.Input(SIZE), *layers, *rest])
    # Eager, for a training step is traced in the time of a hundred.
    model.compile(optimizer, loss="mse", **{"run_eagerly": True, **arguments})
    return model


def fit(model, *callbacks, epochs=1, **arguments):
    x, y = IMAGES, LABELS
    arguments = {
        "verbose": 0,
        "batch_size": 8,
        "epochs": epochs,
        "callbacks": list(callbacks),
        **arguments,
    }
    return model.fit(x, y, **arguments)


def set_params(layer, params, kernel=0.0):
    """Let a built transformer predict `params`, the same for all images or with a little of each."""
    head = layer.localization.head
    head.kernel.assign(kernel * _random.normal(size=head.kernel.shape))
    head.bias.assign(np.array(params) - head.offset)


@keras.saving.register_keras_serializable(package="tests")
class Block(keras.layers.Layer):
    """A layer that holds a transformer in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [transformer("in_a_block"), keras.layers.Activation("tanh")]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)

    def call(self, images):
        for part in self.parts:
            images = part(images)
        return images


def nested():
    inner = keras.Sequential([keras.Input(SIZE), transformer("in_a_model")])
    return model_of(transformer("first"), inner, Block())


# --- What they find -----------------------------------------------------------------------------------

each = pytest.mark.parametrize(
    "make",
    [
        lambda folder: TransformerMetrics(IMAGES),
        lambda folder: Strips(IMAGES[:2], folder),
        lambda folder: WarmUp(1),
        lambda folder: CollapseWatch(IMAGES),
    ],
    ids=["TransformerMetrics", "Strips", "WarmUp", "CollapseWatch"],
)


@each
def test_model_without_a_transformer_is_refused(make, tmp_path):
    with pytest.raises(
        ValueError, match="model must hold a keras_stn.SpatialTransformer for .* Received"
    ):
        fit(model_of(), make(tmp_path))


@each
def test_transformers_are_found_at_any_depth_and_left_as_they_were(make, tmp_path):
    model, callback = nested(), make(tmp_path)
    fit(model, callback)
    assert {layer.name for layer in callback.transformers} == {"first", "in_a_model", "in_a_block"}
    model.save(tmp_path / "model.keras")
    assert all(layer.trainable for layer in model.layers)
    assert "call" not in vars(model.layers[0])
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))


def test_layer_that_is_not_there_is_refused_with_a_guess():
    with pytest.raises(ValueError, match="layers must be one of .* Did you mean 'look'?"):
        fit(model_of(transformer()), TransformerMetrics(IMAGES, layers=["lok"]))


def test_one_layer_needs_no_list_and_must_be_of_the_model():
    layer, other = transformer("look"), transformer("look")
    for given in ("look", layer, [layer]):
        callback = TransformerMetrics(IMAGES, layers=given)
        fit(model_of(transformer("first"), layer), callback)
        assert callback.transformers == [layer]
    with pytest.raises(ValueError, match="layers must be of the model .*another layer .*'look'"):
        fit(model_of(layer), TransformerMetrics(IMAGES, layers=other))


class Unused(Block):
    def call(self, images):
        return images


class InAGraph(Block):
    @tf.function
    def call(self, images):
        return super().call(images)


@pytest.mark.parametrize("block", [Unused, InAGraph])
def test_transformer_whose_calls_nobody_sees_is_refused(block):
    model = model_of(block())
    model.layers[0].parts[0].trainable = False  # for Keras warns of what has no gradient
    with pytest.raises(ValueError, match="model must call each of its transformers.*'in_a_block'"):
        fit(model, TransformerMetrics(IMAGES))


# --- TransformerMetrics -------------------------------------------------------------------------------


def expected_logs(layer, images):
    params = layer.localize(images)
    values = {
        name: getattr(metrics, name)(layer.warp.transform, params, SIZE[:2])
        for name in ("share_outside", "zoom", "turn", "determinant")
    }
    values["turn"] = np.abs(values["turn"])
    return {name: value.mean() for name, value in values.items()}


def test_logs_are_the_metrics_of_the_params_and_have_short_names():
    layer = transformer()
    history = fit(model_of(layer), TransformerMetrics(IMAGES[:7]), epochs=3).history
    for name, value in expected_logs(layer, IMAGES[:7]).items():
        assert len(history[name]) == 3
        assert history[name][-1] == pytest.approx(value, rel=1e-6)


def test_logs_of_several_have_the_names_of_the_layers_and_what_each_one_sees():
    model = nested()
    history = fit(model, TransformerMetrics(IMAGES)).history
    seen = model.layers[0](IMAGES)
    for name, value in expected_logs(model.layers[1].layers[0], seen).items():
        assert history[f"in_a_model_{name}"][-1] == pytest.approx(value, rel=1e-5)
    only = fit(model, TransformerMetrics(IMAGES, layers=["first"])).history
    assert set(only) == {"loss", "share_outside", "zoom", "turn", "determinant"}


def test_logs_reach_callbacks_that_are_listed_after(tmp_path):
    stop = keras.callbacks.EarlyStopping("share_outside", mode="min", min_delta=1.0, patience=1)
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    history = fit(model_of(transformer()), TransformerMetrics(IMAGES), stop, table, epochs=5).history
    assert len(history["loss"]) == 2
    names = (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    assert {"share_outside", "zoom", "turn", "determinant"} <= set(names)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: transformer(transform="displacement", network=None),
        lambda: transformer(transform="log_polar"),
        lambda: transformer(transform=transforms.Bounded("affine"), align_corners=True),
    ],
    ids=["field", "polar", "bounded"],
)
def test_logs_of_other_families_are_finite(layer):
    history = fit(model_of(layer()), TransformerMetrics(IMAGES)).history
    assert np.isfinite(
        [history[name] for name in ("share_outside", "zoom", "turn", "determinant")]
    ).all()


@pytest.mark.parametrize(
    ("shape", "size", "arguments"),
    [
        ((9, 6, 1), (9, 6), {"transform": "affine", "glimpses": 3}),
        ((3, 9, 6, 1), (9, 6), {"transform": "affine"}),
        ((5, 9, 6, 1), (5, 9, 6), {"transform": transforms.Affine(ndim=3), "network": "volume_conv"}),
        ((1, 9, 6), (9, 6), {"transform": "affine", "data_format": "channels_first"}),
    ],
    ids=["glimpses", "videos", "volumes", "channels_first"],
)
def test_logs_are_means_over_all_maps_whatever_the_layout(shape, size, arguments):
    images = _random.random((4, *shape), "float32")
    layer = transformer(**arguments)
    model = keras.Sequential([keras.Input(shape), layer, keras.layers.Flatten(), keras.layers.Dense(1)])
    layer.trainable = False  # so that the maps are what they are set to
    head = layer.localization.head
    head.kernel.assign(0.1 * _random.normal(size=head.kernel.shape))
    head.bias.assign(0.1 * _random.normal(size=head.bias.shape))
    model.compile("adam", loss="mse", run_eagerly=True)
    history = model.fit(images, np.zeros(4), verbose=0, callbacks=[TransformerMetrics(images)]).history
    family, params = layer.warp.transform, np.asarray(layer.localize(images))
    maps = params.reshape(-1, family.num_params)
    assert len(maps) == 4 * {"glimpses": 3, "videos": 3}.get(_kind(arguments, shape), 1)
    for name in ("share_outside", "zoom", "turn", "determinant"):
        # On 9x6 pixels a turn is another one than in normalised coordinates.
        expected = np.abs(getattr(metrics, name)(family, maps, size))
        # float32 sums of a dozen params.
        assert history[name][0] == pytest.approx(expected.mean(), rel=1e-4)


def _kind(arguments, shape):
    return "glimpses" if "glimpses" in arguments else "videos" if shape == (3, 9, 6, 1) else ""


def test_model_is_built_by_the_first_batch():
    model = keras.Sequential([transformer(), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", loss="mse", run_eagerly=True)
    history = fit(model, TransformerMetrics(IMAGES), CollapseWatch(IMAGES)).history
    assert history["zoom"][0] == pytest.approx(1, abs=0.2)


# --- Strips -------------------------------------------------------------------------------------------


def test_strips_refuse_videos_before_training_and_draw_the_first_of_calls_on_many_sizes(tmp_path):
    videos = np.zeros((2, 3, 9, 6, 1), "float32")
    layer = transformer("look")
    model = keras.Sequential([keras.Input((3, 9, 6, 1)), layer, keras.layers.Flatten()])
    model.compile("adam", loss="mse", run_eagerly=True)
    with pytest.raises(ValueError, match=r"images must be pictures for 'look'.*\(2, 3, 9, 6, 1\)"):
        model.fit(videos, np.zeros((2, 162)), verbose=0, callbacks=[Strips(videos, tmp_path / "a")])

    one, two = keras.Input((9, 6, 1)), keras.Input((12, 8, 1))
    shared = SpatialTransformer("resized_conv", "similarity")
    seen = [keras.layers.GlobalMaxPooling2D()(shared(images)) for images in (one, two)]
    model = keras.Model([one, two], keras.layers.add(seen))
    model.compile("adam", loss="mse", run_eagerly=True)
    images = [_random.random((2, *size, 1), "float32") for size in ((9, 6), (12, 8))]
    model.fit(images, np.zeros((2, 1)), verbose=0, callbacks=[Strips(images, tmp_path / "b")])
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["epoch_001.png", "epochs.gif"]


def test_strips_refuse_volumes_before_training_and_write_nothing(tmp_path):
    layer = keras_stn.SpatialTransformer(transform=transforms.Affine(ndim=3), name="turn")
    model = keras.Sequential([keras.Input((5, 9, 6, 1)), layer, keras.layers.Flatten()])
    model.compile("adam", loss="mse")
    volumes = np.zeros((2, 5, 9, 6, 1), "float32")
    with pytest.raises(ValueError, match="layers must be transformers of pictures. Received: 'turn'"):
        model.fit(volumes, np.zeros((2, 270)), verbose=0, callbacks=[Strips(volumes, tmp_path / "a")])
    assert not (tmp_path / "a").exists()
    np.testing.assert_array_equal(layer.localization.head.kernel, 0)


def test_strips_are_a_picture_an_epoch_and_a_gif_of_all(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="matplotlib brings it")
    folder = tmp_path / "a" / "b"
    fit(model_of(transformer()), Strips(IMAGES[:3], folder), epochs=3)
    names = [f"epoch_00{number}.png" for number in (1, 2, 3)]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "epochs.gif"]
    with image.open(folder / "epochs.gif") as gif, image.open(folder / names[0]) as first:
        assert gif.n_frames == 3
        assert gif.size == first.size
    shown = np.asarray(image.open(folder / names[0]).convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ([0xFF, 0x8C, 0x1A], [0x22, 0xC7, 0xE8]):  # of the quadrilaterals
        assert (np.abs(shown - colour).max(axis=1) < 8).sum() > 50


def test_strips_of_several_transformers_and_of_tensorboard(tmp_path):
    logs, folder = tmp_path / "logs", tmp_path / "strips"
    model = model_of(transformer("first"), transformer("second"))
    fit(model, Strips(IMAGES[:2], folder, tensorboard=logs, gif=False), epochs=2)
    expected = {}
    for name in ("first", "second"):
        for epoch in (0, 1):
            expected[f"{name}_warps", epoch] = (folder / f"{name}_epoch_00{epoch + 1}.png").read_bytes()
    assert len(list(folder.iterdir())) == 4
    found = {}
    for event in events(logs):
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "images"
            _, _, found[value.tag, event.step] = value.tensor.string_val
    assert found == expected


def events(folder):
    """What stands in a folder of logs, as TensorBoard reads it."""
    (path,) = folder.glob("events*")
    for record in tf.data.TFRecordDataset(str(path)):
        yield tf.compat.v1.Event.FromString(record.numpy())


# --- WarmUp -------------------------------------------------------------------------------------------


class Weights(keras.callbacks.Callback):
    """Keeps the weights of a layer after each epoch."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.kept = layer, []

    def keep(self):
        self.kept.append([np.array(weight) for weight in self.layer.weights])

    def on_train_begin(self, logs=None):
        self.keep()

    def on_epoch_end(self, epoch, logs=None):
        self.keep()


def changes(weights):
    """Whether anything of the layer changed in each epoch."""
    pairs = zip(weights.kept, weights.kept[1:], strict=False)
    return [not all(map(np.array_equal, before, after)) for before, after in pairs]


def with_statistics():
    conv = keras.layers.Conv2D(3, 3, activation="relu")
    return keras.Sequential([conv, keras.layers.BatchNormalization(), keras.layers.Flatten()])


@pytest.mark.parametrize(
    ("optimizer", "how"),
    [
        ("adam", {"run_eagerly": False}),
        ("adamw", {"run_eagerly": False, "jit_compile": True}),
        ("sgd", {}),
    ],
    ids=["in a graph", "compiled", "eager"],
)
def test_warm_up_keeps_every_bit_and_then_lets_go(optimizer, how):
    look = transformer(network=with_statistics())
    model = model_of(look, optimizer=optimizer, **how)
    set_params(look, [1.1, 0.1, 0.1, 0.0], kernel=0.1)
    localization, classifier = Weights(look.localization), Weights(model.layers[-1])
    fit(model, WarmUp(2), localization, classifier, epochs=4)
    assert changes(localization) == [False, False, True, True]
    assert changes(classifier) == [True] * 4


def test_every_weight_learns_after_the_warm_up():
    look = transformer(network=with_statistics())
    model = model_of(look, optimizer="sgd")
    set_params(look, [1.1, 0.1, 0.1, 0.0], kernel=0.1)
    before = [np.array(weight) for weight in look.localization.trainable_weights]
    fit(model, WarmUp(1), epochs=3)
    after = look.localization.trainable_weights
    assert len(after) == len(before) == 6
    assert not any(map(np.array_equal, before, after))


def test_warm_up_then_training_is_that_of_a_model_that_was_frozen_by_hand():
    def trained(by_hand):
        keras.utils.set_random_seed(1)
        look = transformer()
        model = model_of(look, optimizer="sgd")
        if by_hand:
            look.localization.trainable = False
            model.compile("sgd", loss="mse")
            fit(model, shuffle=False)
            look.localization.trainable = True
            model.compile("sgd", loss="mse")
            fit(model, shuffle=False)
        else:
            fit(model, WarmUp(1), epochs=2, shuffle=False)
        return model.get_weights()

    for ours, theirs in zip(trained(False), trained(True), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)  # the same, up to the order of sums


def test_what_was_frozen_before_the_warm_up_stays_frozen():
    network = with_statistics()
    network.layers[0].trainable = False
    look = transformer(network=network)
    model = model_of(look)
    set_params(look, [1.1, 0.1, 0.1, 0.0], kernel=0.1)
    frozen = Weights(network.layers[0])
    fit(model, WarmUp(1), frozen, epochs=3)
    assert changes(frozen) == [False] * 3
    assert [layer.trainable for layer in network.layers] == [False, True, True]
    assert look.localization.head.trainable


def test_warm_up_that_is_longer_than_training_ends_with_it():
    look = transformer()
    model = model_of(look)
    fit(model, WarmUp(9), epochs=2)
    assert look.localization.trainable
    weights = Weights(look.localization)
    fit(model, weights)
    assert changes(weights) == [True]


def test_warm_up_is_over_where_training_goes_on_later():
    look = transformer()
    weights = Weights(look.localization)
    fit(model_of(look), WarmUp(2), weights, initial_epoch=2, epochs=3)
    assert changes(weights) == [True]


def test_warm_up_lets_go_of_what_transformers_share_and_keeps_what_was_frozen():
    localization = keras_stn.Localization("dense", "similarity")
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(3)])
    sharing = [SpatialTransformer(localization, "similarity") for _ in range(2)]
    sharing += [SpatialTransformer(network, "similarity") for _ in range(2)]
    model = model_of(*sharing)
    network.layers[1].trainable = False
    heads = [layer.localization.head for layer in sharing]
    assert heads[0] is heads[1]
    before = network.get_weights()
    fit(model, WarmUp(1), epochs=3)
    assert all(np.abs(head.kernel).max() > 0 for head in heads)
    assert localization.trainable
    assert [layer.trainable for layer in network.layers] == [True, False, True]
    moved = [(one != two).any() for one, two in zip(before, network.get_weights(), strict=True)]
    assert moved == [False, False, True, True]


def test_warm_up_that_was_broken_off_is_told_of_or_taken_up(tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    look, warm_up = transformer(), WarmUp(2)
    model = model_of(look)
    with pytest.raises(KeyboardInterrupt):
        fit(model, warm_up, Interrupt(), epochs=3)
    with pytest.warns(UserWarning, match="'look' is frozen before its warm-up.* = True"):
        fit(model, WarmUp(2), epochs=3)
    assert not look.localization.head.kernel.numpy().any()
    fit(model, warm_up, epochs=3)  # the same callback knows what it has frozen
    assert look.localization.head.kernel.numpy().any()


def test_warm_up_of_a_model_that_is_not_built_is_refused():
    model = keras.Sequential([transformer(), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", loss="mse")
    with pytest.raises(ValueError, match="model must be built before a WarmUp"):
        fit(model, WarmUp(1))
    with pytest.raises(ValueError, match="epochs must be a positive integer. Received: epochs=0"):
        WarmUp(0)


# --- CollapseWatch ------------------------------------------------------------------------------------

# Params of a similarity (scale, angle, x, y), what is said of them, and a cure that is named.
COLLAPSED = {
    "outside": ([1.0, 0.0, 1.5, 0.0], "takes 75% of its samples from outside", "regularizers.Outside"),
    "flat": ([0.1, 0.0, 0.0, 0.0], "by maps of a determinant of 0.01", "regularizers.NearIdentity"),
    "zoomed out": ([5.0, 0.0, 0.0, 0.0], "zooms out by 5", "transforms.Bounded"),
    "NaN": ([np.nan, 0.0, 0.0, 0.0], "params that are NaN", "Lower the learning rate"),
}


def collapsed(params, kernel=1e-5):
    look = transformer()
    model = model_of(look, optimizer=keras.optimizers.SGD(1e-9))
    set_params(look, params, kernel)
    return model, look


def warned(model, *callbacks, **arguments):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(model, *callbacks, **arguments)
    return [str(w.message) for w in caught if w.category is CollapseWarning], history


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapse_is_warned_of_with_its_figure_and_cure(name):
    params, words, cure = COLLAPSED[name]
    model, _ = collapsed(params)
    messages, _ = warned(model, CollapseWatch(IMAGES), epochs=3)
    found = [message for message in messages if words in message]
    assert len(found) == 1  # though there are three epochs
    assert cure in found[0]
    assert "The transformer 'look'" in found[0]
    assert "at the end of epoch 1" in found[0]


def test_transformer_that_is_well_is_not_warned_of():
    model = model_of(transformer(), optimizer=keras.optimizers.Adam(1e-3))
    messages, _ = warned(model, CollapseWatch(IMAGES, every=1), epochs=2)
    assert messages == []


@pytest.mark.parametrize(
    "layer",
    [
        lambda: transformer(transform="polar"),
        lambda: transformer(transform="log_polar"),
        lambda: transformer(glimpses=25),
        lambda: transformer(transform="displacement", network=None),
        lambda: transformer(transform="projective"),
    ],
    ids=["polar", "log_polar", "glimpses", "field", "projective"],
)
def test_start_of_a_family_is_no_collapse(layer):
    optimizer = keras.optimizers.Adam(1e-4)
    model = keras.Sequential([keras.Input(SIZE), layer(), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse", run_eagerly=True)
    messages, _ = warned(model, CollapseWatch(IMAGES))
    assert messages == []


def test_params_that_are_alike_for_all_images_are_warned_of():
    model, look = collapsed([1.0, 0.0, 0.0, 0.0], kernel=0.0)
    model.optimizer.learning_rate = 0.01
    dead = look.localization.network.weights
    for weight in dead:  # units that no image switches on
        weight.assign(-tf.ones_like(weight))
    messages, _ = warned(model, CollapseWatch(IMAGES))
    assert len(messages) == 1
    assert "predicts the same params for all images" in messages[0]
    assert "Lower the learning rate" in messages[0]


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_head_that_never_moves_is_told_but_neither_stopped_nor_reset(interpolation):
    look = transformer(interpolation=interpolation)
    model = model_of(look)
    if interpolation == "bilinear":
        look.localization.trainable = False  # on purpose: nothing to be told
        model.compile("adam", loss="mse")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")
        messages, history = warned(model, CollapseWatch(IMAGES, "stop"), epochs=2)
    assert len(history.history["loss"]) == 2
    if interpolation == "nearest":
        assert len(messages) == 1
        assert "has not moved at all" in messages[0]
        assert 'With interpolation="nearest" no gradient reaches it' in messages[0]
    else:
        assert messages == []


def test_stop_stops_training():
    model, _ = collapsed(COLLAPSED["outside"][0])
    messages, history = warned(model, CollapseWatch(IMAGES, action="stop"), epochs=5)
    assert len(history.history["loss"]) == 1
    assert messages


def test_stop_within_an_epoch_where_it_looks_each_so_many_steps():
    model, _ = collapsed(COLLAPSED["outside"][0])
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(batch))
    messages, _ = warned(model, CollapseWatch(IMAGES, "stop", every=3), count, batch_size=4)
    assert len(steps) == 3
    assert "at step 3" in messages[0]


def test_steps_are_counted_where_several_are_made_at_once():
    model, _ = collapsed(COLLAPSED["outside"][0])
    model.compile(keras.optimizers.SGD(1e-9), loss="mse", steps_per_execution=2)
    messages, _ = warned(model, CollapseWatch(IMAGES, every=3), batch_size=4)
    # Two at once, of which Keras 3.8 names the first, and later versions the last.
    assert "at step 3" in messages[0] or "at step 4" in messages[0]


def test_reset_puts_the_head_back_and_clears_nothing_else():
    model, look = collapsed(COLLAPSED["outside"][0])
    network = [np.array(weight) for weight in look.localization.network.weights]
    other = np.array(model.layers[-1].kernel)
    warned(model, CollapseWatch(IMAGES, action="reset"))
    np.testing.assert_array_equal(look(IMAGES), IMAGES)
    assert not np.any(look.localization.head.kernel)
    assert not np.any(look.localization.head.bias)
    # A learning rate of 1e-9 moves them a little.
    now = [*look.localization.network.weights, model.layers[-1].kernel]
    for before, after in zip([*network, other], now, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_reset_head_is_warned_of_again_when_it_collapses_again():
    model, look = collapsed(COLLAPSED["outside"][0])
    again = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: epoch == 2 and set_params(look, COLLAPSED["outside"][0], 1e-5)
    )
    messages, _ = warned(model, again, CollapseWatch(IMAGES, action="reset"), epochs=3)
    outside = [message for message in messages if "from outside" in message]
    assert [message.split("at the end of ")[1][:7] for message in outside] == ["epoch 1", "epoch 3"]


def test_reset_of_a_head_whose_bias_holds_the_identity():
    model, look = collapsed(COLLAPSED["outside"][0])
    look.localization.head.offset = None  # as in models that were saved before there was one
    look.localization.head.bias.assign([1.0, 0.0, 1.5, 0.0])
    warned(model, CollapseWatch(IMAGES, action="reset"))
    np.testing.assert_array_equal(look(IMAGES), IMAGES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"action": "halt"}, "action must be one of"),
        ({"every": 0}, "every must be a positive integer. Received: every=0"),
    ],
)
def test_collapse_watch_invalid_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        CollapseWatch(IMAGES, **arguments)


def test_exploding_learning_rate_is_caught_in_the_act():
    """No weights are set here: it is training that ruins the transformer."""
    model = model_of(transformer(transform="affine"), optimizer=keras.optimizers.Adam(1.0))
    messages, history = warned(model, CollapseWatch(IMAGES, action="stop", every=1), epochs=10)
    assert messages
    assert len(history.history["loss"]) < 10


def test_callbacks_are_public():
    assert {*keras_stn.callbacks.__all__} == {
        "CollapseWarning",
        "CollapseWatch",
        "Strips",
        "TransformerMetrics",
        "WarmUp",
    }
