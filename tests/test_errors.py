"""Bad input gets one clear error that names the argument, what was expected, and what came."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_stn
from keras_stn import ops, transforms

IMAGES = np.zeros((2, 5, 8, 3), "float32")
GRID = np.zeros((2, 4, 6, 2), "float32")
THETA = np.zeros((2, 2, 3), "float32")
PARAMS = THETA.reshape(2, 6)
LAYERS = (keras_stn.SpatialTransformer, keras_stn.Warp)


def raises(text):
    return pytest.raises(ValueError, match="^" + text.replace("(", r"\(").replace(")", r"\)") + "$")


def takes_mode(argument):
    """Everything that has the argument, as functions of its value."""
    yield lambda value: ops.grid_sample(IMAGES, GRID, **{argument: value})
    yield lambda value: ops.warp(IMAGES, PARAMS, **{argument: value})
    for layer in LAYERS:
        yield lambda value, layer=layer: layer(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "word", "meant"),
    [
        ("fill_mode", "border", "nearest"),
        ("fill_mode", "zeros", "constant"),
        ("fill_mode", "reflection", "reflect"),
        ("fill_mode", "Mirror", "mirror"),
        ("fill_mode", "symmetric", "reflect"),
        ("fill_mode", "circular", "wrap"),
        ("interpolation", "linear", "bilinear"),
        ("interpolation", "cubic", "bicubic"),
        ("interpolation", "neerest", "nearest"),
    ],
)
def test_an_unknown_mode_is_told_the_nearest_right_word(argument, word, meant):
    for function in takes_mode(argument):
        with pytest.raises(
            ValueError,
            match=rf"^{argument} must be one of \(.*\)\. Received: "
            rf"{argument}='{word}'\. Did you mean '{meant}'\?$",
        ):
            function(word)


@pytest.mark.parametrize("value", ["xyzzy", None, 3, ["nearest"]])
@pytest.mark.parametrize("argument", ["fill_mode", "interpolation"])
def test_a_mode_that_resembles_nothing_gets_no_guess(argument, value):
    for function in takes_mode(argument):
        with pytest.raises(ValueError, match=rf"^{argument} must be one of .*\.$"):
            function(value)


@pytest.mark.parametrize(
    "value",
    [28, (28,), (28, 0), (28, -1), (28, 28.0), (1, 2, 3), "28", (True, 2)]
    + [np.array(3), np.array([2.0, 3.0]), tf.TensorShape(None), tf.TensorShape([None, 3]), {3: 1, 4: 2}],
)
def test_output_size_is_two_positive_integers(value):
    text = r"output_size must be two positive integers, \(height, width\)\. Received: output_size="
    if np.ndim(value) != 1 or len(value) != 3:  # which is that of a volume
        of_any_rank = text.replace(r"\.", r", or three positive integers, \(depth, height, width\)\.", 1)
        with pytest.raises(ValueError, match="^" + of_any_rank):
            ops.affine_grid(THETA, value)
    for function in (
        lambda: transforms.Affine().grid(np.zeros((1, 6)), value),
        lambda: transforms.Transform.grid(transforms.Affine(), np.zeros((1, 6)), value),
        lambda: ops.warp(IMAGES, PARAMS, output_size=value),
        lambda: keras_stn.Warp(output_size=value),
        lambda: keras_stn.SpatialTransformer(output_size=value),
    ):
        with pytest.raises(ValueError, match="^" + text):
            function()


@pytest.mark.parametrize("value", [[4, 6], np.array([4, 6]), tf.zeros((1, 4, 6, 2)).shape[1:3]])
def test_output_size_may_come_from_an_array_or_a_shape(value):
    assert ops.affine_grid(THETA, value).shape == (2, 4, 6, 2)
    assert keras_stn.Warp(output_size=value).output_size == (4, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf, "0", None, [], [1, None], [[1.0]]])
def test_fill_value_is_finite_numbers(value):
    for function in takes_mode("fill_value"):
        with pytest.raises(
            ValueError, match="^fill_value must be a finite number, or a sequence .* Received"
        ):
            function(value)


def test_fill_value_has_one_number_for_each_channel():
    text = (
        r"fill_value must be a number, or one number for each of the 3 channels of images\. "
        r"Received: fill_value=\[0\.0, 1\.0\]\."
    )
    functions = (
        lambda: ops.grid_sample(IMAGES, GRID, fill_value=(0, 1)),
        lambda: ops.warp(IMAGES, PARAMS, fill_value=(0, 1)),
        lambda: keras_stn.Warp("rotation", fill_value=(0, 1))([IMAGES, np.zeros((2, 1))]),
        lambda: keras_stn.SpatialTransformer(fill_value=(0, 1))(IMAGES),
        lambda: keras_stn.SpatialTransformer(fill_value=(0, 1))(keras.Input((5, 8, 3))),
    )
    for function in functions:
        with pytest.raises(ValueError, match=text):
            function()


@pytest.mark.parametrize("value", [-1, 0.5, 256, (0, 1, -1)])
def test_fill_value_is_one_that_integer_images_can_hold(value):
    images = IMAGES.astype("uint8")
    for function in (
        lambda: ops.grid_sample(images, GRID, "nearest", fill_value=value),
        lambda: ops.grid_sample(
            keras.Input((5, 8, 3), dtype="uint8"), GRID, "nearest", "constant", value
        ),
    ):
        with pytest.raises(
            ValueError, match="^fill_value must be what images of uint8 can hold, 0 to 255"
        ):
            function()
    outside = ops.grid_sample(images, GRID + 9, "nearest", fill_value=255)
    assert np.all(outside == 255)


def test_fill_value_has_one_number_for_each_channel_that_only_the_run_tells():
    """Images of one channel were broadcast to three."""
    spec = tf.TensorSpec((None, None, None, None)), tf.TensorSpec((None, None, None, 2))
    function = tf.function(
        lambda images, grid: ops.grid_sample(images, grid, fill_value=(1, 2, 3)), input_signature=spec
    )
    assert np.all(function(IMAGES, GRID + 9)[0, 0, 0] == [1, 2, 3])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"is not compatible with expected shape"):
        function(IMAGES[..., :1], GRID)


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_align_corners_is_a_boolean(value):
    for function in takes_mode("align_corners"):
        with pytest.raises(
            ValueError, match="^align_corners must be True or False. Received: align_corners="
        ):
            function(value)


def test_align_corners_may_be_a_boolean_of_numpy():
    assert keras_stn.Warp(align_corners=np.bool_(True)).align_corners is True


def test_fill_value_is_checked_in_each_call():
    layer = keras_stn.Warp("rotation", fill_value=(0, 1, 2))
    layer([IMAGES, np.zeros((2, 1))])
    with pytest.raises(ValueError, match="one number for each of the 1 channels of images"):
        layer([IMAGES[..., :1], np.zeros((2, 1))])


@pytest.mark.parametrize(
    ("function", "maps", "value"),
    [(ops.grid_sample, "grid", GRID), (ops.warp, "params", PARAMS)],
    ids=["grid_sample", "warp"],
)
def test_readings_need_to_know_how_many_axes_there_are(function, maps, value):
    for unknown, specs in (
        ("images", [tf.TensorSpec(None), tf.TensorSpec(value.shape)]),
        (maps, [tf.TensorSpec(IMAGES.shape), tf.TensorSpec(None)]),
    ):
        traced = tf.function(lambda *x: function(*x), input_signature=specs, autograph=False)
        with pytest.raises(ValueError, match=f"{unknown} must have shape .*: sizes may be unknown"):
            traced(IMAGES, value)


@pytest.mark.parametrize("count", [0, 3])
def test_there_is_one_row_of_params_for_each_image_or_one_for_all(count):
    layer = keras_stn.Warp("rotation")
    text = (
        rf"^params must have shape \(batch of images, 1\)\. Received: params\.shape=\({count}, 1\)\. "
        r"images has a batch of 2: give as many, or one for all\."
    )
    with pytest.raises(ValueError, match=text):
        layer([IMAGES, np.zeros((count, 1))])
    with pytest.raises(ValueError, match=text):
        layer([keras.Input((5, 8, 3), batch_size=2), keras.KerasTensor((count, 1))])


def test_maps_of_another_number_than_the_images_fail_in_graphs_of_any_batch():
    """They were broadcast forward, and the gradient was that of something else."""

    @tf.function(input_signature=[tf.TensorSpec((None, 80, 90, 3)), tf.TensorSpec((None, 80, 90, 2))])
    def function(images, grid):
        return ops.grid_sample(images, grid)

    images, grid = np.zeros((4, 80, 90, 3), "float32"), np.zeros((4, 80, 90, 2), "float32")
    assert function(images, grid).shape == (4, 80, 90, 3)
    for count in (1, 3):
        with pytest.raises(tf.errors.InvalidArgumentError, match="as many maps|Incompatible shapes"):
            function(images, grid[:count])


def test_images_too_large_for_the_arithmetic_are_refused():
    wide = tf.TensorSpec((1, 1, 2**21, 1))
    for fill_mode in ("reflect", "mirror", "wrap"):
        layer = keras_stn.Warp("translation", fill_mode=fill_mode)
        with pytest.raises(ValueError, match="at most 1,048,576 pixels high and wide"):
            tf.function(lambda x, layer=layer: layer([x, tf.zeros((1, 2))])).get_concrete_function(wide)
    with pytest.raises(ValueError, match=r"fewer than 2\*\*31 pixels"):
        tf.function(ops.grid_sample).get_concrete_function(
            tf.TensorSpec((1, 47000, 47000, 1)), tf.TensorSpec((1, 4, 4, 2))
        )


def test_grid_sample_names_the_shape_it_expects():
    with raises(r"images must have shape (batch, H, W, channels). Received: images.shape=(5, 8, 3)."):
        ops.grid_sample(IMAGES[0], GRID)
    with raises(r"grid must have shape (batch of images, h, w, 2). Received: grid.shape=(2, 4, 6, 3)."):
        ops.grid_sample(IMAGES, np.zeros((2, 4, 6, 3)))
    text = r"grid must have shape \(batch of images, h, w, 2\)\. Received: grid\.shape=\(0, 4, 6, 2\)\."
    with pytest.raises(
        ValueError, match=rf"^{text} images has a batch of 2: give as many, or one for all"
    ):
        ops.grid_sample(IMAGES, GRID[:0])
    with raises(r"grid must have shape (batch of images, h, w, 2). Received: grid.shape=(None, 4, 2)."):
        ops.grid_sample(IMAGES, keras.KerasTensor((None, 4, 2)))


@pytest.mark.parametrize("shape", [(2, 3), (2, 6), (2, 3, 3), (2, 3, 2), (1, 2, 2, 3)])
def test_affine_grid_names_the_shape_it_expects(shape):
    expected = "theta must have shape (batch, 2, 3) for an output_size of 2 sizes."
    with raises(f"{expected} Received: theta.shape={shape}."):
        ops.affine_grid(np.zeros(shape, "float32"), (4, 6))


def test_layers_check_ranks_and_the_number_of_params():
    with pytest.raises(ValueError, match="expected min_ndim=4, found ndim=3"):
        keras_stn.SpatialTransformer()(IMAGES[0])
    with pytest.raises(ValueError, match="expected max_ndim=5, found ndim=6"):
        keras_stn.Localization()(keras.Input((4, 2, 5, 8, 3)))
    with pytest.raises(ValueError, match="expected min_ndim=4, found ndim=2"):
        keras_stn.Warp()([np.zeros((2, 6), "float32"), IMAGES])
    for function in (keras_stn.Warp("affine"), ops.warp):
        for params in (np.zeros((2, 4), "float32"), keras.Input((4,))):
            text = (
                r"^params must have shape \(batch of images, 6\)\. Received: params\.shape=\(.*, 4\)\.$"
            )
            with pytest.raises(ValueError, match=text):
                function(IMAGES, params)
    with raises("images must have shape (batch, channels, H, W). Received: images.shape=(2, 5, 8)."):
        keras_stn.SpatialTransformer(data_format="channels_first").localize(IMAGES[..., 0])


@pytest.mark.parametrize(
    ("inputs", "came"),
    [
        (({"images": IMAGES, "params": PARAMS},), r"a dictionary of \['images', 'params'\]"),
        ((IMAGES,), "array.*"),
        ((keras.KerasTensor(IMAGES.shape),), "<KerasTensor.*"),
        (([IMAGES, PARAMS, PARAMS],), r"\[array.*"),
        (([IMAGES, PARAMS], PARAMS), r"\[\[array.*"),
        (([],), r"\[\]"),
    ],
    ids=[
        "dictionary",
        "images",
        "symbol",
        "three",
        "pair_and_params",
        "nothing",
    ],
)
def test_a_warp_that_is_called_on_something_else_says_what_to_call_it_on(inputs, came):
    text = (
        r"^A Warp must be called on images and params: warp\(images, params\) or "
        rf"warp\(\[images, params\]\)\. Received: {came}\.$"
    )
    with pytest.raises(ValueError, match=text):
        keras_stn.Warp()(*inputs)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_integer_images_are_refused_where_floats_are_needed(dtype):
    integers, params = IMAGES.astype(dtype), np.zeros((2, 6), "float32")
    text = rf"^images must be floating point.*cast and scale pictures first.*images\.dtype={dtype}\.$"
    functions = (
        lambda: ops.grid_sample(integers, GRID),
        lambda: ops.grid_sample(keras.KerasTensor(integers.shape, dtype), GRID),
        lambda: keras_stn.Warp()([integers, params]),
        lambda: keras_stn.SpatialTransformer()(integers),
        lambda: keras_stn.Localization()(integers),
        lambda: keras_stn.SpatialTransformer()(keras.Input((5, 8, 3), dtype=dtype)),
        lambda: keras_stn.Localization("dense")(keras.Input((5, 8, 3), dtype=dtype)),
        lambda: keras_stn.Warp()([keras.Input((5, 8, 3), dtype=dtype), keras.Input((6,))]),
    )
    for function in functions:
        with pytest.raises(ValueError, match=text):
            function()


def test_integer_coordinates_are_refused():
    with pytest.raises(ValueError, match=r"^grid must be floating point; .*grid\.dtype=int64\.$"):
        ops.grid_sample(IMAGES, GRID.astype("int64"))
    with pytest.raises(ValueError, match=r"^theta must be floating point; .*theta\.dtype=int64\.$"):
        ops.affine_grid(THETA.astype("int64"), (4, 6))


class TwoOutputs(keras.layers.Layer):
    def call(self, images):
        flat = keras.ops.reshape(images, (-1, 120))
        return flat, flat


@pytest.mark.parametrize(
    ("network", "size", "received"),
    [
        (lambda: keras.layers.Conv2D(4, 3), (5, 8, 3), r"output shape \(None, 3, 6, 4\)"),
        (lambda: keras.layers.Flatten(), (None, 8, 3), r"output shape \(None, None\)"),
        (lambda: TwoOutputs(), (5, 8, 3), r"output shape \(\(None, 120\), \(None, 120\)\)"),
        (lambda: "conv", (None, None, 3), r"network='conv' with ValueError \(.*"),
        (lambda: "strided_conv", (5, None, 3), r"network='strided_conv' with ValueError \(.*"),
    ],
)
def test_a_network_whose_output_cannot_become_params_is_refused(network, size, received):
    text = rf"^The localization network must return features of shape \(batch, n\) with .*{received}"
    with pytest.raises(ValueError, match=text):
        keras_stn.SpatialTransformer(network())(keras.Input(size))


@pytest.mark.parametrize("network", [3, ["dense"], keras_stn.localization.dense])
def test_a_network_is_a_layer_or_a_name(network):
    with pytest.raises(
        ValueError, match="^network must be None, one of .*or a Keras model or layer.*Received"
    ):
        keras_stn.Localization(network)
    with pytest.raises(ValueError, match="^localization must be None, .*Received: localization="):
        keras_stn.SpatialTransformer(network)


def test_an_unknown_builder_or_family_or_format_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"localization='strided'\. Did you mean 'strided_conv'\?"):
        keras_stn.SpatialTransformer("strided")
    with pytest.raises(ValueError, match=r"transform='afine'\. Did you mean 'affine'\?"):
        keras_stn.Warp("afine")
    with pytest.raises(ValueError, match=r"data_format='channel_last'\. Did you mean 'channels_last'\?"):
        keras_stn.Warp(data_format="channel_last")
    with pytest.raises(
        ValueError, match=r"^transform must be one of .* or a keras_stn.transforms.Transform"
    ):
        transforms.get(transforms.Affine)
    with pytest.raises(
        ValueError, match=r"^aspect_ratio must be a positive number. Received: aspect_ratio=0."
    ):
        transforms.Rotation(aspect_ratio=0)


def test_the_parts_of_a_transformer_must_agree():
    with pytest.raises(
        ValueError, match="^transform must be the same for the SpatialTransformer and its Loc"
    ):
        keras_stn.SpatialTransformer(keras_stn.Localization(transform="rotation"), "affine")
    localization = keras_stn.Localization(data_format="channels_first")
    with pytest.raises(ValueError, match="^data_format must be the same"):
        keras_stn.SpatialTransformer(localization, data_format="channels_last")


def test_a_family_names_the_params_it_expects():
    affine = transforms.Affine()
    points, one = np.zeros((1, 5, 2), "float32"), np.ones((1, 12), "float32")
    for function in (
        lambda params: affine.grid(params, (2, 2)),
        lambda params: affine.transform_points(params, points),
        lambda params: affine.inverse(params),
        lambda params: transforms.Transform.grid(affine, params, (2, 2)),
    ):
        with raises(r"params must have shape (batch, 6). Received: params.shape=(1, 12)."):
            function(one)
        with pytest.raises(
            ValueError, match=r"^params must be floating point; .*params\.dtype=int64\.$"
        ):
            function(one[:, :6].astype("int64"))

    with raises(r"inner must have shape (batch, 6). Received: inner.shape=(1, 12)."):
        affine.compose(one[:, :6], one)


def test_a_family_names_the_points_it_expects():
    affine, one = transforms.Affine(), np.ones((1, 6), "float32")
    for shape in ((1, 3), (5, 2), (1, 5, 3)):
        with raises(f"points must have shape (batch, n, 2). Received: points.shape={shape}."):
            affine.transform_points(one, np.zeros(shape, "float32"))


def test_a_family_that_is_not_whole_is_refused_at_once():
    class Family(transforms.MatrixTransform):
        def theta(self, params):
            return params

    family = Family()
    for num_params, identity, message in (
        (None, None, r"Family\.num_params must be a positive integer"),
        (0, (), r"Family\.num_params must be a positive integer"),
        (2, None, r"Family\.identity_params must be num_params = 2 numbers"),
        (2, (1.0,), r"Family\.identity_params must be num_params = 2 numbers"),
    ):
        family.num_params, family.identity_params = num_params, identity
        for layer in LAYERS:
            with pytest.raises(ValueError, match=message):
                layer(transform=family)
    family.num_params, family.identity_params = 6, (1, 0, 0, 0, 1, 0)
    text = r"Family\.theta\(params\) must have shape \(batch, 2, 3\)\. Received: .*=\(2, 6\)\."
    with pytest.raises(ValueError, match=text):
        keras_stn.Warp(family)([IMAGES, np.ones((2, 6), "float32")])


def test_a_family_says_what_it_does_not_define():
    bare = transforms.Transform()
    matrices = transforms.MatrixTransform()
    for call, missing in (
        (lambda: bare.map(None, None, None), "map"),
        (lambda: bare.compose(None, None), "composition"),
        (lambda: bare.inverse(None), "inverse"),
        (lambda: matrices.theta(None), "theta"),
        (lambda: matrices.from_theta(None), "from_theta"),
    ):
        with pytest.raises(NotImplementedError, match=missing):
            call()


def test_a_family_of_points_alone_is_refused_at_once():
    """Its files would grow with the area of the images: 4.9 MB at 640 pixels instead of 16 KB."""

    class Old(transforms.Transform):
        num_params, identity_params = 1, (0.0,)

        def transform_points(self, params, points):
            return points

    for layer in LAYERS:
        with pytest.raises(NotImplementedError) as raised:
            layer(transform=Old())
        assert (
            str(raised.value) == "Old must define map(params, x, y), of which transform_points is made."
        )


class ThetaOfAnotherShape(transforms.MatrixTransform):
    num_params, identity_params = 6, (1, 0, 0, 0, 1, 0)

    def theta(self, params):
        return params


class Nameless(transforms.Transform):
    num_params, identity_params = 1, (0.0,)


FLOATS, INTEGERS = IMAGES, IMAGES.astype("int32")
WRONG_CALLS = {
    "integers to Warp": (
        lambda: keras_stn.Warp("rotation"),
        [INTEGERS, np.zeros((2, 1))],
        "images must",
    ),
    "booleans to Warp": (
        lambda: keras_stn.Warp("rotation"),
        [FLOATS, np.zeros((2, 1), bool)],
        "params must",
    ),
    "integers to Localization": (lambda: keras_stn.Localization("dense"), INTEGERS, "images must"),
    "integers to SpatialTransformer": (
        lambda: keras_stn.SpatialTransformer("dense"),
        INTEGERS,
        "images must",
    ),
    "three rows of params": (
        lambda: keras_stn.Warp("rotation"),
        [FLOATS, np.zeros((3, 1), "float32")],
        "params must",
    ),
    "two fill values": (
        lambda: keras_stn.SpatialTransformer("dense", fill_value=(0, 1)),
        FLOATS,
        "fill_value must",
    ),
    "no features": (
        lambda: keras_stn.SpatialTransformer(keras.layers.Conv2D(4, 3)),
        FLOATS,
        "The localization network must",
    ),
    "a theta that is none": (
        lambda: keras_stn.Warp(ThetaOfAnotherShape()),
        [FLOATS, np.zeros((2, 6), "float32")],
        "ThetaOfAnotherShape.theta(params) must",
    ),
    "a family without points": (
        lambda: keras_stn.Warp(Nameless()),
        [FLOATS, np.zeros((2, 1), "float32")],
        "Nameless must define map(params, x, y)",
    ),
}


class Outer(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_errors_of_layers_are_plain_text_in_their_own_words(name):
    """Keras writes what the call of a layer raises in bold, between the codes of terminals."""
    make, inputs, words = WRONG_CALLS[name]
    symbols = keras.tree.map_structure(lambda x: keras.KerasTensor(x.shape, x.dtype.name), inputs)
    calls = {
        "eager": lambda: make()(inputs),
        "in a model": lambda: Outer(make())(inputs),
        "compiled": lambda: tf.function(make(), jit_compile=True, autograph=False)(inputs),
        "in a graph": lambda: tf.function(Outer(make()), autograph=False)(inputs),
        "predicted": lambda: Outer(make()).predict_on_batch(inputs),
    }
    if not name.startswith("a "):  # what a family makes, nothing symbolic looks at
        calls["symbolic"] = lambda: make()(symbols)
    for how, call in calls.items():
        with pytest.raises((ValueError, TypeError, NotImplementedError)) as raised:
            call()
        assert str(raised.value).startswith(words), how
        assert "\x1b" not in str(raised.value), how


def test_another_keras_backend_is_refused_at_import():
    # Keras on JAX may not be installed here, so it only says that it runs on it.
    script = "import keras; keras.backend.backend = lambda: 'jax'; import keras_stn"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1] == (
        "ImportError: keras_stn needs Keras' TensorFlow backend: set the environment variable "
        'KERAS_BACKEND=tensorflow, or "backend" in ~/.keras/keras.json, before Keras is imported. '
        "Received: backend='jax'."
    )
