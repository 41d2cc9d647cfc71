"""A format that the package does not have, in a few lines; the common tests of exports run it too."""

import tensorflow as tf
from tf2onnx.tf_loader import convert_variables_to_constants_v2

from keras_stn import sampler
from keras_stn.export import _files, _pipeline


class GraphFile(_pipeline.Format):
    """A GraphDef with the weights inside, as TensorFlow 1 had it."""

    name, runtime = "GraphDef", "TensorFlow"
    reader = staticmethod(sampler.interpreter.read)

    def convert(self, trace, path):
        frozen = convert_variables_to_constants_v2(trace.function.get_concrete_function())
        _files.write(path, frozen.graph.as_graph_def().SerializeToString())
        names = [spec.name for spec in trace.signature.specs], sorted(trace.signature.outputs)
        return path.read_bytes(), frozen, names

    def load(self, file):
        content, frozen, (inputs, outputs) = file
        graph = tf.compat.v1.GraphDef.FromString(content)
        whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        tensor = whole.graph.get_tensor_by_name
        run = whole.prune(*([tensor(t.name) for t in ts] for ts in (frozen.inputs, frozen.outputs)))
        return lambda feed: dict(zip(outputs, run(*(tf.constant(feed[n]) for n in inputs)), strict=True))

    def describe(self, file, run, trace):
        return _pipeline.Contents(node.op for node in file[1].graph.as_graph_def().node)


def export_graph(model, path, **options):
    return _pipeline.export(GraphFile(), model, path, **options)
