"""`SpatialTransformer` that looks again, whose maps jitter in training, and whose gradient sees far."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import Localization, SpatialTransformer, Warp, ops, regularizers, transforms
from keras_stn.layers import _rounds

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 11, 16, 2)).astype("float32")


def looking(transform="affine", **arguments):
    """A transformer that has learned something."""
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(5, activation="tanh")])
    layer = SpatialTransformer(network, transform, **arguments)
    layer.build(IMAGES.shape)
    kernel = layer.localization.head.kernel
    kernel.assign(np.random.default_rng(1).normal(0, 0.2, kernel.shape))
    return layer


# --- Recurrences -----------------------------------------------------------------------------------


@pytest.mark.parametrize("localization", [None, "heatmap"])
def test_a_network_that_looks_more_often_moves_its_params_by_so_much_less(localization, tmp_path):
    def scale(layer):
        layer.build(IMAGES.shape)
        return layer.localization.network.layers[-1].scale

    once, thrice = (SpatialTransformer(localization, recurrences=n) for n in (1, 3))
    assert scale(once) == 0.3
    assert scale(thrice) == pytest.approx(0.1)
    assert scale(type(thrice).from_config(thrice.get_config())) == pytest.approx(0.1)
    once.recurrences = 3  # it has weights that may be trained: what they say stays
    model = keras.Sequential([keras.Input(IMAGES.shape[1:]), once])
    head = once.localization.head.kernel
    head.assign(np.random.default_rng(1).normal(0, 0.1, head.shape))
    model.save(tmp_path / "model.keras")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for other in keras.saving.load_model(tmp_path / "model.keras"), copy:
        np.testing.assert_array_equal(other(IMAGES), model(IMAGES))


def test_networks_of_yours_do_not_hang_on_the_looks():
    layer = SpatialTransformer("conv", recurrences=3)
    layer.build((None, 24, 30, 1))
    once = SpatialTransformer("conv")
    once.build((None, 24, 30, 1))
    once.localization.set_weights(layer.localization.get_weights())
    images = RNG.random((2, 24, 30, 1)).astype("float32")
    np.testing.assert_array_equal(once.localization(images), layer.localization(images))


@pytest.mark.parametrize("transform", ["affine", "similarity", "translation", "projective"])
def test_each_round_looks_at_the_image_as_the_rounds_before_have_warped_it(transform):
    layer = looking(transform, recurrences=3, output_size=(5, 7), fill_mode="mirror")
    family = transforms.get(transform)
    params = layer.localization(IMAGES)
    for _ in range(2):
        seen = ops.warp(IMAGES, params, transform, fill_mode="mirror")  # of the size of the images
        params = family.compose(params, layer.localization(seen))
    np.testing.assert_array_equal(layer.localize(IMAGES), params)
    expected = ops.warp(IMAGES, params, transform, (5, 7), fill_mode="mirror")
    np.testing.assert_array_equal(layer(IMAGES), expected)


def test_rounds_undo_in_the_end_what_one_round_undoes_by_half():
    """A localization that sees half of every shift: what is left halves with each round."""

    class HalfTheShift(keras.layers.Layer):
        def call(self, images):
            ink = keras.ops.sum(images, axis=(1, 2, 3))
            x = keras.ops.linspace(-1.0, 1.0, 33)[1::2]  # of the 16 columns
            return keras.ops.expand_dims(keras.ops.sum(images * x[:, None], axis=(1, 2, 3)) / ink, 1)

    image = np.zeros((1, 11, 16, 1), "float32")
    image[:, 4:7, 9:12] = 1  # three columns, 2.5 pixels right of the middle: 0.3125
    for rounds in (1, 2, 4):
        layer = SpatialTransformer(HalfTheShift(), "translation", recurrences=rounds)
        layer.build(image.shape)
        layer.localization.head.kernel.assign([[0.5, 0.0]])
        shift = np.asarray(layer.localize(image))[0, 0]
        # 1e-6: float32 sums of nine pixels.
        assert shift == pytest.approx(0.3125 * (1 - 0.5**rounds), abs=1e-6)


def test_rounds_share_one_set_of_weights_and_are_raised_on_a_trained_layer():
    one, three = looking(), looking(recurrences=3)
    assert len(one.weights) == len(three.weights) == 4
    three.set_weights(one.get_weights())
    one.recurrences = 3
    np.testing.assert_array_equal(one(IMAGES), three(IMAGES))


def test_gradient_goes_through_the_composition_and_not_through_what_is_seen():
    layer = looking(recurrences=2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.localize(IMAGES) ** 2)
    ours = tape.gradient(loss, layer.trainable_variables)
    with tf.GradientTape() as tape:
        first = layer.localization(IMAGES)
        seen = ops.warp(IMAGES, first).numpy()
        params = transforms.Affine().compose(first, layer.localization(seen))
        loss = tf.reduce_sum(params**2)
    for gradient, expected in zip(ours, tape.gradient(loss, layer.trainable_variables), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)  # the same sums


def test_videos_look_again_frame_by_frame():
    videos = RNG.random((2, 3, 11, 16, 2)).astype("float32")
    layer = looking("similarity", recurrences=2)
    of_frames = layer(videos.reshape(-1, 11, 16, 2))
    np.testing.assert_array_equal(layer(videos), np.reshape(of_frames, videos.shape))


@pytest.mark.parametrize("frames", [3, None])
def test_params_of_symbolic_videos_are_composed_and_saved(frames, tmp_path):
    videos = keras.Input((frames, 11, 16, 2))
    layer = looking("similarity", recurrences=2)
    params = layer.localize(videos)
    assert params.shape == (None, frames, 4)
    model = keras.Model(videos, params)
    value = RNG.random((2, 3, 11, 16, 2)).astype("float32")
    # 1e-6: a compiled graph may fuse what eager ops do one by one.
    np.testing.assert_allclose(model(value), layer.localize(value), rtol=0, atol=1e-6)
    path = tmp_path / "model.keras"
    model.save(path)
    np.testing.assert_array_equal(keras.saving.load_model(path)(value), model(value))


def test_recurrences_that_do_not_fit_are_refused_when_they_are_set():
    layer = SpatialTransformer(transform="lens_distortion")
    with pytest.raises(NotImplementedError, match="compos"):
        layer.recurrences = 2
    with pytest.raises(ValueError, match="recurrences must be .*Received: recurrences=0"):
        layer.recurrences = 0
    assert layer.recurrences == 1


def test_a_compiled_model_looks_as_often_as_it_is_told_before_compile():
    layer = looking()
    model = keras.Sequential([keras.Input(IMAGES.shape[1:]), layer])
    model.predict(IMAGES, verbose=0)
    layer.recurrences = 3
    model.compile()
    # A compiled graph may fuse what eager ops do one by one: params round otherwise, and count by the
    # width of 16 pixels, twice. Two looks less would be off by 0.1.
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), layer(IMAGES), rtol=0, atol=1e-5)


def test_volumes_look_again():
    volumes = RNG.random((2, 5, 6, 7, 1)).astype("float32")
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, activation="tanh")])
    family = transforms.Similarity(ndim=3)
    layer = SpatialTransformer(network, family, recurrences=2)
    layer.build(volumes.shape)
    layer.localization.head.kernel.assign(RNG.normal(0, 0.2, (3, 7)))
    first = layer.localization(volumes)
    again = layer.localization(ops.warp(volumes, first, family))
    np.testing.assert_array_equal(layer.localize(volumes), family.compose(first, again))


# --- Jitter ----------------------------------------------------------------------------------------


def test_jitter_moves_in_training_alone():
    layer = looking("similarity", jitter=0.1)
    np.testing.assert_array_equal(layer(IMAGES), layer(IMAGES, training=False))
    one, two = (np.asarray(layer(IMAGES, training=True)) for _ in range(2))
    assert np.abs(one - two).max() > 0.01
    np.testing.assert_array_equal(layer.localize(IMAGES, training=True), layer.localize(IMAGES))


def test_jitter_is_a_random_map_of_the_output_with_the_given_deviation():
    """Ramps tell where they are read. An output at half the scale jitters by half as much."""
    count = 4000
    ramp = np.linspace(-1, 1, 65)[1::2].astype("float32")  # x at the centres of 32 columns
    image = np.repeat(np.broadcast_to(ramp, (1, 32, 32))[..., None], count, axis=0)
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    layer = SpatialTransformer(network, "attention", (33, 33), jitter=0.05)
    layer.build(image.shape)
    layer.localization.head.offset = (0.5, 0.0, 0.0)  # the middle half
    middle = np.asarray(layer(image, training=True))[:, 16, 16, 0]
    # Of 4,000 draws the deviation is known to 1 / sqrt(8000) = 1.1 %, the mean to 0.0004: 4 of each.
    assert middle.std() == pytest.approx(0.5 * 0.05, rel=0.045)
    assert middle.mean() == pytest.approx(0, abs=0.0016)


@pytest.mark.parametrize("name", transforms.FAMILIES)
def test_jitter_is_the_default_where_the_family_composes(name):
    family = transforms.FAMILIES[name]()
    try:
        family.check_compose()
    except NotImplementedError:
        assert SpatialTransformer(transform=family).jitter == 0
        for arguments in ({"jitter": 0.1}, {"recurrences": 2}):
            with pytest.raises(NotImplementedError, match="compose|composition|from_theta"):
                SpatialTransformer(transform=family, **arguments)
    else:
        for network in (None, "heatmap", keras.layers.Flatten()):
            assert SpatialTransformer(network, family).jitter == 0.07
        assert SpatialTransformer(transform=transforms.Bounded(family, ranges=(-9, 9))).jitter == 0.07


class Half(transforms.Attention):
    """A family of a user that starts with half of the picture, and says so."""

    has_identity = False

    def __init__(self):
        super().__init__()
        self.identity_params = (0.5, 0.0, 0.0)


def test_a_family_that_starts_elsewhere_than_at_the_identity_does_not_jitter():
    """Composed with maps near its start, an output would be half as large in training alone."""
    layer = SpatialTransformer("dense", Half())
    assert layer.jitter == 0
    np.testing.assert_array_equal(layer(IMAGES, training=True), layer(IMAGES))
    with pytest.raises(NotImplementedError, match="Half has no identity.*jitter=0"):
        SpatialTransformer("dense", Half(), jitter=0.1)


def test_jitter_of_a_family_with_fixed_values_moves_about_the_map_itself():
    """With a turn of 0.5 fixed, maps near the start would be turned by it twice, and move beside x."""
    family = transforms.Bounded("similarity", fixed={"angle": 0.5, "x": 0.4, "scale": 0.6})
    assert not family.has_identity
    assert transforms.Bounded("similarity", fixed={"angle": 0, "scale": 1.0}).has_identity
    params = tf.zeros((4000, family.num_params))  # y alone is free
    moved = _rounds.jittered(family, params, 0.05, keras.random.SeedGenerator(1))
    y = np.asarray(family.constrain(moved))[:, 3]
    # Of 4,000 draws, 4 deviations of mean and deviation. A move along x of the turned output counts.
    expected = 0.05 * 0.6
    assert y.mean() == pytest.approx(0, abs=4 * expected / 4000**0.5)
    assert y.std() == pytest.approx(expected, rel=0.045)


def test_jitter_comes_back_by_the_seed():
    def outputs():
        keras.utils.set_random_seed(7)
        return np.asarray(looking(jitter=0.1)(IMAGES, training=True))

    np.testing.assert_array_equal(outputs(), outputs())


def test_a_config_of_before_there_was_a_jitter_has_none():
    layer = looking()
    config = layer.get_config()
    for name in ("recurrences", "jitter", "reach", "params_regularizer"):
        config.pop(name)
    loaded = SpatialTransformer.from_config(config)
    assert (loaded.recurrences, loaded.jitter, loaded.warp.reach) == (1, 0.0, 0.0)


# --- Reach -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_reach_leaves_the_output_and_the_gradient_to_images_alone(data_format):
    images = IMAGES if data_format == "channels_last" else IMAGES.transpose(0, 3, 1, 2)
    params = np.float32([[1, 0.1, 0.1, 0.2, 0.9, 0]] * 3)
    outcomes = []
    for reach in (0.0, 5.0):
        warp = Warp(fill_mode="nearest", data_format=data_format, reach=reach)
        images_, params_ = tf.constant(images), tf.constant(params)
        with tf.GradientTape() as tape:
            tape.watch([images_, params_])
            output = warp(images_, params_, training=True)
            loss = tf.reduce_sum(output**2)
        outcomes.append((output, *tape.gradient(loss, [images_, params_])))
    (plain, to_images, to_params), (far, far_to_images, far_to_params) = outcomes
    np.testing.assert_array_equal(far, plain)
    np.testing.assert_array_equal(far_to_images, to_images)
    assert np.abs(far_to_params - to_params).max() > 0.1


def test_reach_leaves_an_image_alone_that_has_a_pixel_of_nan():
    images = IMAGES.copy()
    images[1, 2, 3] = np.nan, np.inf
    params = np.float32([[0.5, 0, 0.4, 0, 0.5, 0.4]] * 3)  # the quarter without it
    plain, far = (Warp(reach=reach)(images, params, training=True) for reach in (0.0, 5.0))
    assert np.isfinite(plain).all()
    np.testing.assert_array_equal(far, plain)


def test_reach_is_that_of_the_images_of_a_dictionary_too():
    params = tf.constant(np.float32([[1, 0.1, 0.1, 0.2, 0.9, 0]] * 3))
    gradients = []
    for given in (
        lambda warp: warp(IMAGES, params, training=True),
        lambda warp: warp({"images": IMAGES}, params, training=True)["images"],
    ):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(given(Warp(reach=3.0)) ** 2)
        gradients.append(tape.gradient(loss, params))
    np.testing.assert_array_equal(*gradients)


def test_gradient_of_a_reach_is_that_of_images_blurred_by_exponentials():
    reach, upstream = 3.0, RNG.normal(size=(3, 11, 16, 2)).astype("float32")
    blurred = IMAGES.astype("float64")
    for axis in (1, 2):  # a loop over pixels, in float64
        source, blurred = blurred, np.zeros_like(blurred)
        for i in range(source.shape[axis]):
            weights = np.exp(-np.abs(np.arange(source.shape[axis]) - i) / reach)
            mean = np.tensordot(weights / weights.sum(), source, (0, axis))
            blurred[(slice(None),) * axis + (i,)] = mean
    params = tf.constant(np.float32([[1, 0.1, 0.1, 0.2, 0.9, 0]] * 3))
    gradients = []
    for images, warp in ((IMAGES, Warp(reach=reach)), (blurred.astype("float32"), Warp())):
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(warp(tf.constant(images), params, training=True) * upstream)
        gradients.append(tape.gradient(loss, params))
    # float32 sums of 352 terms of about 1.
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_reach_brings_a_shift_of_a_quarter_of_the_picture_home_and_plain_does_not():
    """Blobs of 3 pixels on 40 columns, from 10 pixels off in 16 directions, by Adam on the error."""
    y, x = np.mgrid[:40, :44]
    pictures = np.exp(-((y - 19.5) ** 2 + (x - 21.5) ** 2) / 9)[None, ..., None].repeat(16, 0)
    pictures = pictures.astype("float32")
    angle = np.arange(16) * np.pi / 8
    shifts = np.stack([np.cos(angle) * 10 / 22, np.sin(angle) * 10 / 20], axis=1).astype("float32")
    targets = ops.warp(pictures, shifts, "translation")
    home = {}
    for reach in (0.0, 8.0):
        warp, params = Warp("translation", reach=reach), tf.Variable(np.zeros((16, 2), "float32"))
        optimizer = keras.optimizers.Adam(0.02)
        optimizer.build([params])

        @tf.function
        def step(warp=warp, params=params, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum((warp(pictures, params, training=True) - targets) ** 2)
            optimizer.apply_gradients([(tape.gradient(loss, params), params)])

        for _ in range(300):
            step()
        pixels = (params.numpy() - shifts) * [22, 20]
        home[reach] = (np.hypot(*pixels.T) < 1).mean()
    assert home[8.0] == 1
    assert home[0.0] < 0.5


# --- Arguments -------------------------------------------------------------------------------------


def test_wrong_arguments():
    with pytest.raises(ValueError, match="recurrences must be .*Received: recurrences=0"):
        SpatialTransformer(recurrences=0)
    with pytest.raises(ValueError, match="jitter must be .*Received: jitter=-1"):
        SpatialTransformer(jitter=-1)
    with pytest.raises(ValueError, match="reach must be .*Received: reach=nan"):
        Warp(reach=float("nan"))
    with pytest.raises(ValueError, match="reach must be 0 with interpolation='nearest'.*reach=2"):
        SpatialTransformer(reach=2, interpolation="nearest")
    for arguments in ({"glimpses": 2}, {"localization": Localization(glimpses=2)}):
        with pytest.raises(ValueError, match="recurrences must be 1 with glimpses.* glimpses=2"):
            SpatialTransformer(recurrences=2, **arguments)


def test_regularizer_of_params_adds_to_the_loss():
    layer = looking("translation", params_regularizer=keras.regularizers.L2(0.5))
    layer(IMAGES)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.5 * np.sum(np.square(layer.localize(IMAGES))), rel=1e-5)
    assert layer.get_config()["params_regularizer"]["config"] == {"l2": 0.5}


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_regularizer_of_params_is_saved_and_counts_in_any_precision(policy, tmp_path):
    regularizer = regularizers.Outside("attention", 0.5)
    layer = SpatialTransformer(transform="attention", params_regularizer=regularizer, dtype=policy)
    model = keras.Sequential([keras.Input(IMAGES.shape[1:]), layer])
    layer.localization.head.bias.assign([0.0, 1.0, 0.0])  # half of the picture to the right
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].params_regularizer.get_config() == regularizer.get_config()
    for each in (model, loaded):
        each(IMAGES)
        # Beyond the edge lie 4 columns of 8, by 1/8, 3/8, 5/8 and 7/8: 0.25 on average.
        assert float(each.losses[0]) == pytest.approx(0.5 * 0.25, rel=1e-5)
        assert each.losses[0].dtype == "float32"


def test_regularizer_of_params_leaves_no_trace_in_a_file(tmp_path):
    reports = []
    for regularizer in (None, regularizers.NearIdentity("attention", 0.5)):
        keras.utils.set_random_seed(0)
        layer = SpatialTransformer(transform="attention", params_regularizer=regularizer, name="look")
        model = keras.Sequential([keras.Input((11, 16, 2)), layer], name="model")
        options = {"batch_size": 1, "measure_latency": False}
        reports.append(keras_stn.export_tflite(model, tmp_path / "model.tflite", **options))
    assert reports[0].ops == reports[1].ops


def test_jitter_moves_each_glimpse_by_itself():
    layer = SpatialTransformer("dense", "attention", glimpses=3, jitter=0.1)
    still, moved = (np.asarray(layer(IMAGES, training=training)) for training in (False, True))
    assert still.shape == moved.shape == (3, 3, 11, 16, 2)
    assert (np.abs(moved - still).max(axis=(2, 3, 4)) > 0.01).all()
