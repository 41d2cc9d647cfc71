"""Every plan of the sampler gives the numbers of plain gathers, and what plans promise beyond them."""

import copy
import dataclasses
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_stn import Warp, sampler, transforms
from keras_stn.sampler import BORDERS, KERNELS, Points, Sampling, interpreter, plan, taps

SIZE = HEIGHT, WIDTH = 5, 8
SMOOTH = ("bilinear", "bicubic")
FILLS = [*((mode, 0.0) for mode in BORDERS), ("constant", 0.5), ("constant", [0.5, -1.0])]
ids = str


# The shapes of x and y: a whole grid, axes of their own, and a family that moves one of them alone.
GRIDS = {"whole": ((4, 7), (4, 7)), "separable": ((1, 7), (4, 1)), "mixed": ((4, 7), (4, 1))}

# Every way to the gradients, on images for which none would be chosen.
PLANS = [
    plan.Plan(compiled, looped, blocks, chunks)
    for compiled, looped in ((False, False), (True, False), (True, True))
    for blocks in (False, True)
    for chunks in (1, 3)
]


def inputs(channels=2, dtype="float64", grid="whole"):
    rng = np.random.default_rng(0)
    images = rng.random((3, *SIZE, channels))
    of_x, of_y = GRIDS[grid]
    x, y = rng.uniform(-3, WIDTH + 2, (3, *of_x)), rng.uniform(-3, HEIGHT + 2, (3, *of_y))
    return [tf.constant(array, dtype) for array in (images, x, y)]


def by(chosen):
    """A reader by the plan."""
    return lambda images, points, sampling: plan.read_by(chosen, images, points, sampling)


def derivatives(reader, images, x, y, sampling):
    """The output, its gradients to images, x and y, and the gradients of their squares."""
    sources = [images, x, y]
    rng = np.random.default_rng(1)
    with tf.GradientTape() as outer:
        outer.watch(sources)
        with tf.GradientTape() as inner:
            inner.watch(sources)
            output = reader(images, Points((x, y)), sampling)
            loss = tf.reduce_sum(output * rng.normal(size=output.shape))
        first = inner.gradient(loss, sources)
        total = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    second = outer.gradient(total, sources, unconnected_gradients="zero")
    return [output, *first, *second]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("channels", [1, 2, 20, 40])  # each has its own way to the gradients
@pytest.mark.parametrize("fill", FILLS, ids=ids)
@pytest.mark.parametrize("interpolation", SMOOTH)
def test_output_and_first_and_second_derivatives_match_automatic_differentiation(
    interpolation, fill, channels, grid
):
    mode, value = fill
    if isinstance(value, list):
        value = (value * 20)[:channels]
    arrays, sampling = inputs(channels, grid=grid), Sampling(interpolation, mode, value)
    ours = derivatives(sampler.read, *arrays, sampling)
    theirs = derivatives(interpreter.read, *arrays, sampling)
    for have, want in zip(ours, theirs, strict=True):
        assert have.shape == want.shape
        # float64, sums of at most some hundred terms of order 10
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize("chosen", PLANS, ids=ids)
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling("bilinear", "nearest"), Sampling("bilinear", "constant", 0.5)],
    ids=ids,
)
def test_every_plan_gives_the_gradients_of_automatic_differentiation(chosen, sampling):
    for channels, grid in ((1, "whole"), (3, "separable"), (3, "whole")):
        arrays = inputs(channels, grid=grid)
        ours = derivatives(by(chosen), *arrays, sampling)
        for have, want in zip(ours, derivatives(interpreter.read, *arrays, sampling), strict=True):
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-11)  # as above


@pytest.mark.parametrize("fill", FILLS, ids=ids)
def test_nearest_gives_images_their_gradient_and_coordinates_none(fill):
    images, x, y = inputs()
    gradients = []
    looped = by(plan.Plan(compiled=True, looped=True))
    for reader in (sampler.read, interpreter.read, looped):
        with tf.GradientTape() as tape:
            tape.watch([images, x, y])
            loss = tf.reduce_sum(reader(images, Points((x, y)), Sampling("nearest", *fill)) ** 2)
        gradients.append(tape.gradient(loss, [images, x, y]))
        assert gradients[-1][1:] == [None, None]
        np.testing.assert_array_equal(gradients[-1][0], gradients[0][0])


@pytest.mark.parametrize(("fill_mode", "edge"), [("mirror", 0), ("reflect", -0.5)])
def test_bounded_coordinates_keep_all_bits_of_their_distance_from_the_edge(fill_mode, edge):
    # Less a period and back they would have those of a number up to 127: 4e-6 at 64 pixels.
    distances = np.random.default_rng(9).uniform(0, 60, 1000)
    coordinates = (edge - distances).astype("float32")
    bounded = taps.bounded(tf.constant(coordinates), 64, Sampling("bicubic", fill_mode))
    np.testing.assert_array_equal(bounded, (2 * edge - coordinates.astype("float64")).astype("float32"))


def test_plans_follow_the_shapes():
    """The table of `plan.Thresholds`, at each of its edges."""
    small, photographs = (2, 20, 22, 1), (8, 224, 224, 3)
    chosen = plan.plan_for(small, small, Sampling())
    assert chosen == plan.Plan(compiled=False, looped=False, blocks=True, chunks=8)
    chosen = plan.plan_for(photographs, photographs, Sampling())
    assert chosen == plan.Plan(compiled=True, looped=True, blocks=True, chunks=1)
    # An H100 scatters each tap faster, and is not filled by one image.
    chosen = plan.plan_for(photographs, photographs, Sampling(), gpu=True)
    assert chosen == plan.Plan(compiled=True, looped=False, blocks=False, chunks=1)
    # Neighbours of an image that repeats may be far apart, and a cubic has four.
    for sampling in (Sampling(fill_mode="wrap"), Sampling("bicubic"), Sampling("nearest")):
        assert not plan.plan_for(photographs, photographs, sampling).blocks
    assert not plan.plan_for((8, 56, 56, 17), (8, 56, 56, 17), Sampling()).blocks
    assert not plan.plan_for((2, 224, 224, 3), (2, 224, 224, 3), Sampling()).looped
    unknown = None, None, None, 3
    assert not plan.plan_for(unknown, (None, 200, 220, 3), Sampling()).compiled
    assert plan.plan_for((None, 40, 40, 1), (None, 40, 40, 1), Sampling()).compiled


# Where runtimes differ in what a map is made of. A logarithm: 4e-5 was the largest difference, a step of
# float32 at 1 in a sum of 16 terms, times half of 224 pixels. Reads of the field itself: 2e-5, a step of
# float32 at 200 pixels. A pixel too far would be 0.1 and more.
DIFFER = {"thin_plate_spline": 1e-4, "velocity": 5e-5}


@pytest.mark.parametrize("family", transforms.FAMILIES)
@pytest.mark.parametrize("interpolation", KERNELS)
def test_compilers_round_coordinates_as_eager_does(family, interpolation):
    """XLA computes a coordinate several times in a graph.

    With a fused multiply-add in some of them, the floor of one and the weight of another were a pixel
    apart: 0.8 off at 3 of 400,000 points.
    """
    layer = Warp(family, interpolation=interpolation)
    rng = np.random.default_rng(8)
    images = tf.constant(rng.random((8, 224, 224, 1), dtype="float32"))
    identity = np.array(layer.transform.identity_params)
    shape = 8, *(28, 20)[: layer.transform.params_ndim - 2], identity.size
    params = tf.constant((identity + rng.uniform(-0.6, 0.6, shape)).astype("float32"))
    with sampler.using(interpreter.read):
        eager = layer([images, params])
    compiled = layer([images, params])  # so large that it is
    errors = np.sort(np.abs(compiled - eager), axis=None)
    if family in DIFFER and interpolation == "nearest":
        errors = errors[: -errors.size // 1000]  # points between two pixels
    # The cubic's weights, polynomials of order 1, take a handful of roundings of 6e-8 each.
    assert errors[-1] <= DIFFER.get(family, 2e-6)


@pytest.fixture
def compiled(monkeypatch):
    """The functions that are compiled for eager calls in the test, by sampling and signature."""
    functions = {}
    monkeypatch.setattr(plan, "COMPILED", functions)
    return functions


def shapes_of(functions):
    """The shapes of the images for which readers were compiled, in their order."""
    return [signature[0][0] for readers in functions.values() for signature, *_ in readers]


def test_new_values_do_not_trace_again(compiled):
    layer = Warp()
    traces = []

    @tf.function
    def step(images, params):
        traces.append(1)
        with tf.GradientTape() as tape:
            tape.watch(params)
            loss = tf.reduce_sum(layer([images, params]))
        return tape.gradient(loss, params)

    for scale in (1.0, 0.5, 2.0):
        images = tf.fill((2, 200, 220, 1), scale)
        step(images, tf.constant([[scale, 0, 0, 0, 1, 0]] * 2))
        layer([images, tf.constant([[scale, 0, 0, 0, 1, 0]] * 2)])
    assert len(traces) == 1
    assert shapes_of(compiled) == [(2, 200, 220, 1)]


@pytest.mark.parametrize("interpolation", SMOOTH)
@pytest.mark.parametrize("family", ["translation", "rotation", "affine"])
def test_compiled_steps_take_images_and_params_as_arguments(family, interpolation):
    """XLA makes constants of what a shape may hang on, and compiles again for each new value."""
    layer = Warp(family, interpolation=interpolation)

    @tf.function(jit_compile=True)
    def step(images, params, upstream):
        with tf.GradientTape() as tape:
            tape.watch([images, params])
            output = layer([images, params])
        return output, tape.gradient(output, [images, params], output_gradients=upstream)

    shapes = (4, 30, 44, 3), (4, layer.transform.num_params), (4, 30, 44, 3)
    text = step.experimental_get_compiler_ir(*map(tf.TensorSpec, shapes))(stage="hlo")
    entry = text[text.index("ENTRY") :]
    parameters = re.findall(r"f32\[([\d,]+)\]\S* parameter\(\d\)", entry)
    assert sorted(parameters) == sorted(",".join(map(str, shape)) for shape in shapes)


_CLUSTERS = """
import collections, glob, os, sys
os.environ["TF_DUMP_GRAPH_PREFIX"] = sys.argv[1]
os.environ["TF_XLA_FLAGS"] = "--tf_xla_clustering_debug"
import tensorflow as tf
from google.protobuf import text_format
from keras_stn import Warp

layer = Warp(sys.argv[2])
tensors = [tf.ones((4, 120, 140, 3)), tf.fill((4, layer.transform.num_params), 0.1)]
tf.function(lambda *tensors: layer(tensors))(*tensors)
path = max(glob.glob(sys.argv[1] + "/mark_for_compilation*.pbtxt"), key=os.path.getsize)
graph = text_format.Parse(open(path).read(), tf.compat.v1.GraphDef())
work = [node for node in graph.node if node.op not in ("Const", "_Arg", "_Retval")]
print(collections.Counter(node.attr["_XlaCluster"].s.decode() for node in work))
"""


@pytest.mark.parametrize("family", ["attention", "affine"])
def test_plain_functions_hand_the_whole_forward_pass_to_xla(family, tmp_path):
    """The graph optimiser turns sums of three into AddN, which falls out: 3.1 ms for 0.7."""
    command = [sys.executable, "-c", _CLUSTERS, str(tmp_path), family]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"Counter\({'cluster_0': \d+}\)\s*", run.stdout), run.stdout


@pytest.mark.parametrize("batch", [2, None])
def test_a_graph_holds_a_hint_for_xla_and_nothing_that_must_be_compiled(tmp_path, batch):
    layer = Warp()
    specs = [tf.TensorSpec((batch, 200, 220, 1)), tf.TensorSpec((batch, 6))]
    function = tf.function(lambda images, params: layer([images, params]), input_signature=specs)
    layer([tf.zeros((2, 200, 220, 1)), tf.zeros((2, 6))])  # eagerly, so that there is one to leak
    library = function.get_concrete_function().graph.as_graph_def().library
    assert any("_XlaCompile" in node.attr for part in library.function for node in part.node_def)
    module = tf.Module()
    module.layer, module.call = layer, function
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    saved = loaded.call.concrete_functions[0].graph.as_graph_def()
    assert not any(function.attr["_XlaMustCompile"].b for function in saved.library.function)


def test_images_of_unknown_size_are_not_compiled_for_each():
    layer = Warp(output_size=(200, 220))
    specs = [tf.TensorSpec((None, None, None, 1)), tf.TensorSpec((None, 6))]
    function = tf.function(lambda images, params: layer([images, params]), input_signature=specs)
    definition = function.get_concrete_function().graph.as_graph_def()
    parts = [definition.node, *(part.node_def for part in definition.library.function)]
    assert not any("_XlaCompile" in node.attr for part in parts for node in part)


def test_a_copy_of_a_layer_compiles_itself():
    layer = Warp("translation")
    copied = copy.deepcopy(layer)
    copied.fill_value = 1.0
    outside = [tf.zeros((2, 200, 220, 1)), tf.fill((2, 2), 9.0)]
    assert np.all(layer(outside) == 0)
    assert np.all(copied(outside) == 1)


def _looks_at_a_number(shift):
    return -shift if shift[0, 0].numpy() > 9 else shift


def _branches(shift):
    return -shift if tf.reduce_max(shift) > 9 else shift


def _calls_python(shift):
    return tf.py_function(lambda tensor: tensor * 1, [shift], tf.float32)


@pytest.mark.parametrize("python", [_looks_at_a_number, _branches, _calls_python])
def test_a_family_that_cannot_be_compiled_runs_as_it_is(python):
    """Small outputs took it, large ones raised."""

    class Shift(transforms.Transform):
        num_params = 2
        identity_params = (0.0, 0.0)

        def map(self, params, x, y):
            of_x, of_y = tf.split(tf.reshape(python(params), (-1, 2, 1)), 2, axis=1)
            return x + of_x, y + of_y

    images = tf.random.stateless_uniform((3, 90, 110, 1), (0, 1))
    params = tf.constant([[0.3, -0.2], [0.1, 0.4], [0.0, 0.0]])
    layer = Warp(Shift())
    for _ in range(2):
        difference = layer([images, params]) - Warp("translation")([images, params])
        assert np.abs(difference).max() <= 1e-5  # a coordinate of 110 in float32, to 4e-6
    with tf.GradientTape() as tape:
        tape.watch(params)
        total = tf.reduce_sum(layer([images, params]))
    assert np.all(np.isfinite(tape.gradient(total, params)))


def test_small_outputs_are_not_compiled(compiled):
    layer = Warp()
    layer([tf.zeros((2, 20, 22, 1)), tf.zeros((2, 6))])
    assert compiled == {}


def test_a_sampling_is_compiled_for_so_many_shapes_and_no_more(compiled, monkeypatch):
    """TensorFlow keeps what it has compiled: 4 MB for each size of the photographs that come."""
    monkeypatch.setattr(plan, "THRESHOLDS", dataclasses.replace(plan.THRESHOLDS, shapes=2))
    layer = Warp("translation")
    sizes = [(90, 100 + 2 * more) for more in (0, 1, 2, 1)]
    for height, width in sizes:
        images = tf.random.stateless_uniform((2, height, width, 1), (0, 1))
        assert np.array_equal(layer([images, tf.zeros((2, 2))]), images)
    # The first, and none in the place of another.
    assert shapes_of(compiled) == [(2, 90, 100, 1), (2, 90, 102, 1)]
    assert {len(functions) for functions in compiled.values()} == {2}


def test_every_mode_is_in_the_table():
    assert {mode for mode, _ in FILLS} == set(BORDERS)
    assert set(itertools.chain(SMOOTH, ["nearest"])) == set(KERNELS)


def test_on_a_gpu_the_gradient_to_the_images_is_one_scatter_for_the_batch():
    layer = Warp()

    def step(images, params, upstream):
        with tf.GradientTape() as tape:
            tape.watch(images)
            warped = layer([images, params])
        return tape.gradient(warped, images, upstream)

    def loops_and_scatters(shape):
        function = tf.function(lambda *tensors: step(*tensors), jit_compile=True)
        specs = [tf.TensorSpec(size) for size in (shape, (shape[0], 6), shape)]
        lower = function.experimental_get_compiler_ir(*specs)
        text = lower(stage="hlo", platform_name="GPU")
        return text.count(" while("), text.count(" scatter(")

    small, large = (2, 24, 20, 3), (3, 190, 180, 3)
    assert loops_and_scatters(small) == (0, 2)
    assert loops_and_scatters(large)[0] == 1
    with sampler.for_gpu():
        assert loops_and_scatters(small) == loops_and_scatters(large) == (0, 1)
