"""What converters and quantizers leave to be done in a TFLite file, as passes over one ModelT."""

import collections
import copy
import re
from typing import Any

import numpy as np

from keras_stn._version import __version__
from keras_stn.export import _flatbuffer, _trace, _versions

# Where layers with weights have their bias among their inputs; the weights are their second in each.
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}


def finished(content: bytes, signature: _trace.Signature) -> _flatbuffer.File:
    """The file as it is to be written, from what the converter or the quantizer left.

    Args:
        content: Its bytes.
        signature: The model, its inputs and outputs.
    """
    model, name = _flatbuffer.parse(content).model, signature.model.name
    cast_biases(model)
    order_inputs_and_outputs(model, signature)
    name_tensors(model, name, signature)
    number_ops(model)
    describe(model, f"keras_stn {__version__}: {name}")
    drop_constants(model)
    return _flatbuffer.pack(model)


def cast_biases(model: Any) -> None:
    """Put the biases beside weights in float16 into float16, as TensorFlow's converter has them.

    With weights alone in float16, LiteRT 1.2 and 1.3 give wrong numbers, and no error.
    """
    types = _flatbuffer.schema().TensorType
    kinds = [_flatbuffer.op_name(code)[0] for code in model.operatorCodes]
    for graph in model.subgraphs:
        casts = {
            op.outputs[0]: op
            for op in graph.operators
            if kinds[op.opcodeIndex] == "DEQUANTIZE"
            and graph.tensors[op.inputs[0]].type == types.FLOAT16
        }
        readers = collections.Counter(index for op in graph.operators for index in op.inputs)
        layers: dict[int, list[Any]] = collections.defaultdict(list)  # by the tensor of their bias
        for op in graph.operators:
            slot = _BIAS.get(kinds[op.opcodeIndex])
            if slot is not None and len(op.inputs) > slot and op.inputs[1] in casts:
                layers[op.inputs[slot]].append(op)
        for index, reading in layers.items():
            bias = graph.tensors[index] if index >= 0 else None
            data = model.buffers[bias.buffer].data if bias is not None else None
            if bias is None or bias.type != types.FLOAT32 or data is None or len(data) == 0:
                continue
            half = copy.copy(bias)
            half.name, half.type, half.buffer = (
                bias.name + b"_float16",
                types.FLOAT16,
                len(model.buffers),
            )
            buffer = copy.copy(model.buffers[bias.buffer])
            buffer.data = np.frombuffer(bytes(data), np.float32).astype(np.float16).view(np.uint8)
            model.buffers.append(buffer)
            graph.tensors.append(half)
            cast = copy.copy(casts[reading[0].inputs[1]])
            cast.inputs, cast.outputs = [len(graph.tensors) - 1], [index]
            if readers[index] > len(reading):  # something else needs it in float32
                bias = copy.copy(bias)
                cast.outputs = [len(graph.tensors)]
                graph.tensors.append(bias)
                for op in reading:
                    op.inputs = [cast.outputs[0] if i == index else i for i in op.inputs]
            bias.buffer = 0  # the empty one
            graph.operators.insert(graph.operators.index(reading[0]), cast)


def order_inputs_and_outputs(model: Any, signature: _trace.Signature) -> None:
    """Put inputs and outputs into the order of the Keras model.

    The C API, Java's `run`, microcontrollers and MNN go by their index. Where an output also feeds a
    quantized layer, ai-edge-quantizer 0.10 gives the quantized tensor, and not that of the signature.
    """
    graph, (served,) = model.subgraphs[0], model.signatureDefs
    inputs = {entry.name.decode(): entry for entry in served.inputs}
    outputs = {entry.name.decode(): entry for entry in served.outputs}
    served.inputs = [inputs[spec.name] for spec in signature.specs]
    served.outputs = [outputs[name] for name in signature.outputs]
    graph.inputs = [entry.tensorIndex for entry in served.inputs]
    graph.outputs = [entry.tensorIndex for entry in served.outputs]


def name_tensors(model: Any, scope: str, signature: _trace.Signature) -> None:
    """Give inputs and outputs the names of the Keras model, and all others those inside the model.

    Keras counts models, so that a file would be the larger the later it was written: by 2 KB of 15.
    """
    graph = model.subgraphs[0]
    names = dict(zip(graph.outputs[::-1], signature.outputs[::-1], strict=True))
    names |= {i: spec.name for i, spec in zip(graph.inputs, signature.specs, strict=True)}
    prefix = re.compile(rf"(^|;){re.escape(scope)}(_\d+)?/".encode())
    for graph in model.subgraphs:
        taken = {name.encode() for name in names.values()}
        for index, tensor in enumerate(graph.tensors):
            if index in names:
                tensor.name = names[index].encode()
                continue
            name = free = prefix.sub(rb"\1", tensor.name or b"")
            count = 0
            while free in taken:
                count += 1
                free = b"%s_%d" % (name, count)
            tensor.name = free
            taken.add(free)
        names = {}  # other graphs, those of loops, have none that are seen


def number_ops(model: Any) -> None:
    """Give each op code the version that its ops need, and its number also where old readers look.

    ai-edge-quantizer 0.10 leaves both as they are: version 1, and 0, which is ADD, for new ops.
    """
    codes = model.operatorCodes
    used = [op.opcodeIndex for graph in model.subgraphs for op in graph.operators or []]
    for index, op in zip(used, _flatbuffer.operators_of(model), strict=True):
        codes[index].version = max(codes[index].version, _versions.needed(op))
    for code in codes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)


def describe(model: Any, description: str) -> None:
    """Say what the file is and which runtime it needs, in place of what the converter says of itself."""
    schema = _flatbuffer.schema()
    since = _versions.min_runtime(_flatbuffer.operators_of(model)).encode()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(since.ljust(16, b"\0"), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"min_runtime_version", len(model.buffers)
    model.buffers.append(buffer)
    # Filled up, lest the size of a file depends on how often Keras has counted models.
    model.metadata, model.description = [entry], description.ljust(80).encode()


def drop_constants(model: Any) -> None:
    """Leave out the data that nothing reads any more."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
