"""Training, as users do it: `fit` in every mode, and a transformer that learns where to look."""

import logging
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import scramble, small_strided_conv

from keras_stn import SpatialTransformer

# The task: a blob lies off the middle, by up to two pixels; bring it to the middle. Only a model that
# moves its images can.
HEIGHT, WIDTH, COUNT = 9, 11, 48


def _blobs(rows, columns):
    y, x = np.arange(HEIGHT)[:, None], np.arange(WIDTH)[None, :]
    distance2 = (y - rows[:, None, None]) ** 2 + (x - columns[:, None, None]) ** 2
    return np.exp(-distance2 / 4)[..., None].astype("float32")  # (count, HEIGHT, WIDTH, 1)


_shifts = np.random.default_rng(0).uniform(-2, 2, (2, COUNT))
BLOBS = _blobs(4 + _shifts[0], 5 + _shifts[1])
CENTRED = _blobs(np.full(COUNT, 4), np.full(COUNT, 5))


def transformer(**arguments):
    """Without jitter, for what it makes is compared with a picture."""
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(16, activation="relu")])
    settings = {"fill_mode": "nearest", "jitter": 0.0, "name": "stn", **arguments}
    return SpatialTransformer(network, "translation", **settings)


def model(*, optimizer=None, **compile_arguments):
    """The transformer is the whole model: whatever is learned, it learned."""
    keras.utils.set_random_seed(0)
    result = keras.Sequential([keras.Input((HEIGHT, WIDTH, 1)), transformer()])
    result.compile(optimizer or keras.optimizers.Adam(0.01), "mse", **compile_arguments)
    return result


def fit(trained, epochs, **arguments):
    return trained.fit(
        BLOBS, CENTRED, batch_size=16, epochs=epochs, shuffle=False, verbose=0, **arguments
    ).history["loss"]


def assert_same_weights(one, two, atol=0):
    assert len(one.weights) == len(two.weights) > 0
    for ours, theirs in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


# --- Every mode of fit -----------------------------------------------------------------------------

MODES = {  # arguments of compile
    "auto": {"jit_compile": "auto"},
    "xla": {"jit_compile": True},
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
}


@pytest.mark.slow
def test_every_mode_learns_the_same_and_cuts_the_loss_to_a_quarter():
    losses = {mode: fit(model(**arguments), epochs=12) for mode, arguments in MODES.items()}
    for mode, loss in losses.items():
        assert loss[-1] < loss[0] / 4, mode
        # 1e-3: float32 sums in another order, over 36 steps. A wrong gradient shows in the first digit.
        np.testing.assert_allclose(loss, losses["graph"], rtol=1e-3, err_msg=mode)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [True, False])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_learns_in_mixed_precision_with_params_in_float32(policy, jit_compile):
    keras.config.set_dtype_policy(policy)
    mixed = model(jit_compile=jit_compile)
    losses = fit(mixed, epochs=12)
    assert losses[-1] < losses[0] / 4
    assert mixed.get_layer("stn").localization(BLOBS).dtype == "float32"
    assert {weight.dtype for weight in mixed.weights} == {"float32"}


def test_transformer_that_cannot_learn_keeps_the_loss():
    """The task needs the transformer: without it, the loss stays what it is to the bit."""
    frozen = model()
    frozen.get_layer("stn").trainable = False
    frozen.compile("adam", "mse")
    losses = fit(frozen, epochs=3)
    assert losses == [losses[0]] * 3


@pytest.mark.slow
def test_evaluate_predict_and_train_on_batch_agree():
    trained = model(metrics=["mae"])
    loss, mae = trained.evaluate(BLOBS, CENTRED, verbose=0)
    errors = trained.predict(BLOBS, verbose=0) - CENTRED
    # 1e-6: means of some thousand float32 numbers below 1.
    np.testing.assert_allclose([loss, mae], [np.mean(errors**2), np.abs(errors).mean()], atol=1e-6)
    first, _ = trained.train_on_batch(BLOBS, CENTRED)
    second, _ = trained.train_on_batch(BLOBS, CENTRED)
    np.testing.assert_allclose(first, loss, atol=1e-6)
    assert second < first


@pytest.mark.slow
def test_dataset_trains_as_arrays_do():
    dataset = tf.data.Dataset.from_tensor_slices((BLOBS, CENTRED)).batch(16).prefetch(1)
    of_arrays, of_dataset = model(), model()
    fit(of_arrays, epochs=2)
    of_dataset.fit(dataset, epochs=2, shuffle=False, verbose=0)
    # Of arrays, Keras knows the batch size; then TensorFlow's graph optimiser adds the four taps in
    # another order. Weights of up to 1, a few roundings each; one wrong batch moves them by 0.01.
    assert_same_weights(of_arrays, of_dataset, atol=1e-6)


def test_gradient_reaches_every_weight():
    trained = scramble(model())
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((trained(BLOBS, training=True) - CENTRED) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in trained.trainable_weights])
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


# --- Callbacks, and going on after a stop -----------------------------------------------------------


@pytest.mark.slow
def test_resuming_from_a_saved_model_gives_the_weights_of_one_run(tmp_path):
    straight, stopped = model(), model()
    fit(straight, epochs=4)
    fit(stopped, epochs=2)
    stopped.save(tmp_path / "stopped.keras")
    resumed = keras.models.load_model(tmp_path / "stopped.keras")
    fit(resumed, epochs=2)
    assert_same_weights(straight, resumed)


@pytest.mark.slow
def test_backup_and_restore_goes_on_after_a_crash(tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise InterruptedError

    straight, crashed, restarted = model(), model(), model()
    fit(straight, epochs=4)
    with pytest.raises(InterruptedError):
        fit(crashed, 4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Crash()])
    losses = fit(restarted, 4, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)])
    assert len(losses) == 2
    assert_same_weights(straight, restarted)


def test_checkpoint_holds_the_best_model_and_early_stopping_restores_it(tmp_path):
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="loss", save_best_only=True)
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)
    trained = model(optimizer=keras.optimizers.SGD(1e3))  # far too fast: it gets worse and stops
    losses = fit(trained, epochs=20, callbacks=[best, stop])
    assert len(losses) < 20
    assert_same_weights(trained, keras.models.load_model(tmp_path / "best.keras"))


# --- trainable, training ---------------------------------------------------------------------------


def _classifier(layer):
    head = [keras.layers.Flatten(), keras.layers.Dense(1)]
    result = keras.Sequential([keras.Input((HEIGHT, WIDTH, 1)), layer, *head])
    result.compile("sgd", "mse")
    return result


def _frozen(how, path):
    """A classifier whose transformer was frozen in one of the ways there are."""
    layer = SpatialTransformer("dense", trainable=how != "argument", name="stn")
    if how == "before_build":
        layer.trainable = False
    classifier = scramble(_classifier(layer))
    if how in ("after_build", "before_saving"):
        layer.trainable = False
    if how == "before_saving":
        classifier.save(path / "frozen.keras")
        classifier = keras.models.load_model(path / "frozen.keras")
    classifier.compile("sgd", "mse")
    return classifier


@pytest.mark.parametrize("how", ["argument", "before_build", "after_build", "before_saving"])
def test_frozen_transformer_keeps_its_weights_while_the_rest_learns(how, tmp_path):
    classifier = _frozen(how, tmp_path)
    layer, last = classifier.get_layer("stn"), classifier.layers[-1]
    assert len(classifier.trainable_weights) == len(last.weights) == 2
    before, last_before = layer.get_weights(), last.get_weights()
    classifier.fit(BLOBS, np.ones((COUNT, 1)), verbose=0)
    for weight, kept in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert np.abs(last.get_weights()[0] - last_before[0]).max() > 0


def test_frozen_transformer_learns_again_when_it_is_released(tmp_path):
    classifier = _frozen("before_saving", tmp_path)
    layer = classifier.get_layer("stn")
    layer.trainable = True
    classifier.compile("sgd", "mse")
    before = layer.localization.head.bias.numpy()
    classifier.fit(BLOBS, np.ones((COUNT, 1)), verbose=0)
    assert len(layer.trainable_weights) == len(layer.weights)
    assert np.abs(layer.localization.head.bias - before).max() > 0


@pytest.mark.parametrize("how", ["argument", "attribute"])
def test_frozen_transformer_keeps_its_moving_statistics(how):
    layer = SpatialTransformer(small_strided_conv(), trainable=how != "argument")
    classifier = _classifier(layer)
    layer.trainable = False
    before = layer.get_weights()
    classifier.fit(BLOBS, np.ones((COUNT, 1)), verbose=0)
    for weight, kept in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_users_frozen_network_stays_frozen_and_its_head_learns():
    layer = transformer()
    layer.localization.network.trainable = False
    trained = keras.Sequential([keras.Input((HEIGHT, WIDTH, 1)), layer])
    trained.compile("adam", "mse")
    before = [weight.numpy() for weight in layer.localization.network.weights]
    fit(trained, epochs=1)
    for weight, kept in zip(layer.localization.network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, kept)
    assert np.abs(layer.localization.head.kernel).max() > 0


@pytest.mark.slow
def test_moving_statistics_move_in_training_and_only_then():
    layer = SpatialTransformer(small_strided_conv())
    classifier = scramble(_classifier(layer))
    moving = [weight for weight in layer.weights if "moving" in weight.path]
    assert len(moving) == 2 * 3  # two blocks and the dense layer, a mean and a variance each

    before = [weight.numpy() for weight in moving]
    classifier.predict(BLOBS, verbose=0)
    classifier.evaluate(BLOBS, np.ones((COUNT, 1)), verbose=0)
    for weight, kept in zip(moving, before, strict=True):
        np.testing.assert_array_equal(weight, kept)

    classifier.fit(BLOBS, np.ones((COUNT, 1)), verbose=0)
    for weight, kept in zip(moving, before, strict=True):
        assert np.abs(weight - kept).max() > 0, weight.path


def test_training_flag_reaches_the_localization_network():
    layer = SpatialTransformer(small_strided_conv())
    layer.build(BLOBS.shape)
    scramble(layer)
    training, inference = layer(BLOBS, training=True), layer(BLOBS, training=False)
    assert np.abs(training - inference).max() > 0.01
    np.testing.assert_array_equal(layer(BLOBS), inference)


def test_regularizer_and_dropout_of_the_users_network_count():
    network = keras.Sequential(
        [
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_regularizer="l2", kernel_initializer="ones"),
            keras.layers.Dropout(0.5),
        ]
    )
    layer = SpatialTransformer(network, "attention")
    layer.build(BLOBS.shape)
    scramble(layer)
    penalty = 0.01 * np.sum(layer.localization.network.layers[1].kernel.numpy() ** 2)
    np.testing.assert_allclose(sum(layer.losses), penalty, rtol=1e-5)  # a sum of 297 float32 squares
    assert np.abs(layer(BLOBS, training=True) - layer(BLOBS, training=False)).max() > 0.01


# --- No noise --------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="conformance")
class CountsTraces(keras.layers.Layer):
    """Passes features on, and counts how often Python runs it."""

    count = 0

    def call(self, features):
        self.count += 1
        return features


def test_fit_does_not_retrace_from_epoch_to_epoch():
    """48 images in batches of 20 end on a smaller one: shapes change, and tracing must stop anyway."""
    counter = CountsTraces()
    network = keras.Sequential([keras.layers.GlobalAveragePooling2D(), counter])
    trained = keras.Sequential([keras.Input((HEIGHT, WIDTH, 1)), SpatialTransformer(network)])
    trained.compile("sgd", "mse", jit_compile=False)
    trained.fit(BLOBS, CENTRED, batch_size=20, epochs=2, verbose=0)
    after_two = counter.count
    trained.fit(BLOBS, CENTRED, batch_size=20, epochs=3, verbose=0)
    trained.fit(BLOBS[:47], CENTRED[:47], batch_size=20, epochs=3, verbose=0)
    assert counter.count == after_two


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_transformer_inside_a_network_trains_without_a_warning(interpolation, caplog):
    """Gradients of gathers come as IndexedSlices: of unknown size, TensorFlow warns of their memory."""
    images = keras.Input((HEIGHT, WIDTH, 1))
    features = keras.layers.Conv2D(2, 3, padding="same")(images)
    features = transformer(interpolation=interpolation)(features)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(features))
    trained = keras.Model(images, outputs)
    trained.compile("sgd", "mse", jit_compile=False)
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        trained.fit(BLOBS, np.ones((COUNT, 1)), batch_size=20, epochs=3, verbose=0)
    ours = [str(w.message) for w in caught if not issubclass(w.category, DeprecationWarning)]
    assert ours + caplog.messages == []
