"""The rewrites of an ONNX graph keep its numbers, and leave alone what they do not understand."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from common import ATOL

import keras_stn
from keras_stn import export
from keras_stn.export import _onnx_graph


def test_rewrites_keep_the_numbers_of_a_convolutional_network(tmp_path):
    """Every rewrite meets its pattern: clips, dense layers, flattened images, unknown batches."""
    images = keras.Input((9, 12, 3), name="images")
    x = keras.layers.Conv2D(5, 3, activation="relu6")(images)
    flat = keras.layers.Flatten()(x)
    twice = keras.layers.concatenate([flat, keras.layers.Flatten()(x)])  # flattened and not only dense
    x = keras.layers.Reshape((7, 10, 5))(keras.layers.Dense(350)(flat))
    x = keras.layers.AveragePooling2D(1)(keras.layers.Reshape((10, 7, 5))(x))
    model = keras.Model(images, [keras.layers.Dense(4)(keras.layers.Flatten()(x)), twice])
    for weight in model.weights:
        weight.assign_add(np.linspace(0, 0.01, weight.shape.num_elements()).reshape(weight.shape))
    report = export.export_onnx(model, tmp_path / "model.onnx")
    assert report.max_error <= 1e-5  # dense layers add up in another order
    assert report.ops["Gemm"] == 2
    assert "Shape" not in report.ops
    assert "AveragePool" not in report.ops


def test_reshape_to_unknown_sizes_is_left_alone():
    """(batch, n) from two sizes of the graph: neither may become -1."""
    graph = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[a, b, 2] x) => (float[c, d] y) <int64[1] zero = {0}, int64[1] one = {1},
            int64[1] two = {2}> {
            s = Shape(x)
            m = Gather(s, zero)
            n = Gather(s, one)
            k = Mul(n, two)
            t = Concat<axis = 0>(m, k)
            y = Reshape(x, t)
        }"""
    )
    ops = [node.op_type for node in _onnx_graph.simplify(graph).graph.node]
    assert ops == ["Shape", "Gather", "Gather", "Mul", "Concat", "Reshape"]


@pytest.mark.parametrize("target", [17, 28, 32])
def test_resize_gives_the_pixels_that_were_asked_for_at_every_size(target):
    for size in range(1, 257):
        scales = np.float32([1, 1, target / size, 1])
        graph = onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["": 18]>
            g (float[b, 1, {size}, 2] x) => (float[b, 1, {target}, 2] y)
                <float[0] roi = {{}}, float[4] scales = {{1, 1, 1, 1}}> {{
                y = Resize(x, roi, scales)
            }}"""
        )
        graph.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(scales, "scales"))
        fixed = _onnx_graph.simplify(graph)
        onnx.shape_inference.infer_shapes(fixed, strict_mode=True)  # raises if it is not the target
        (kept,) = (t for t in fixed.graph.initializer if t.name == fixed.graph.node[0].input[2])
        # The next float32, at most: half a millionth of a pixel at 4.
        assert np.all(np.abs(onnx.numpy_helper.to_array(kept) - scales) <= np.spacing(scales))


@pytest.mark.parametrize("network", ["resized_conv", "heatmap"])
@pytest.mark.parametrize("size", [(43, 55), (49, 30)])
def test_networks_that_resize_are_written_at_sizes_that_theirs_is_no_neat_part_of(
    tmp_path, size, network
):
    images = keras.Input((*size, 1), name="images")
    transformer = keras_stn.SpatialTransformer(network)
    model = keras.Model(images, transformer(images))
    kernel = transformer.localization.head.kernel
    # Small, for the rounding of predicted params counts by the width of the image.
    kernel.assign(np.random.default_rng(0).normal(0, 0.1, kernel.shape))
    assert export.export_onnx(model, tmp_path / "model.onnx").max_error <= ATOL


class Branching(keras.layers.Layer):
    """Reads a weight and a tensor of the graph around it from within a branch, and in a loop."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(1, 5, 6, 1), initializer="ones")

    def call(self, images):
        halves = tf.reshape(images, (-1, 5, 6, 1)) / 2
        mean = tf.reduce_mean(images)
        moved = tf.cond(mean > 0.4, lambda: halves + self.scale, lambda: halves - self.scale)
        return tf.map_fn(lambda image: image * self.scale[0] + mean, moved)

    def compute_output_shape(self, shape):
        return shape


def test_what_only_a_branch_or_a_loop_reads_is_kept(tmp_path):
    images = keras.Input((5, 6, 1), name="images")
    model = keras.Model(images, keras_stn.SpatialTransformer("dense")(Branching()(images)))
    report = export.export_onnx(model, tmp_path / "model.onnx")
    assert report.max_error <= 1e-6  # a mean in another order
    assert {"If", "Loop"} <= set(report.ops)


@pytest.mark.parametrize("network", [keras.layers.GRU, keras.layers.LSTM])
def test_a_recurrent_network_after_a_transformer_is_written(tmp_path, network):
    images = keras.Input((5, 8, 1), name="images")
    x = keras_stn.SpatialTransformer("dense")(images)
    x = network(4)(keras.layers.Reshape((5, 8))(x))
    report = export.export_onnx(keras.Model(images, x), tmp_path / "model.onnx", batch_size=1)
    assert report.max_error <= 1e-6  # products and sums of 12 numbers within 1, in another order


def test_a_bias_longer_than_the_product_is_no_gemm():
    """(n, 1) and (4,) is (n, 4), as in ordinal regression; a Gemm may not grow."""
    graph = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[2, 3] x) => (float[2, 4] y)
            <float[3, 1] w = {1, 2, 3}, float[4] bias = {1, 2, 3, 4}> {
            p = MatMul(x, w)
            y = Add(p, bias)
        }"""
    )
    model = _onnx_graph.simplify(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (sums,) = session.run(None, {"x": np.ones((2, 3), "float32")})
    assert sums.tolist() == [[7, 8, 9, 10]] * 2
