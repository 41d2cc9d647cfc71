"""The graph of a TFLite file, read for rules: operators and their tensors."""

import contextlib
import dataclasses
import functools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_QUANTIZED = {"INT8", "UINT8", "INT4"}


@dataclasses.dataclass
class Tensor:
    """One tensor; `producer` is the operator that makes it, None for inputs and constants."""

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]  # the shape, with -1 where a size is known only when it runs
    dtype: str  # as the schema spells it: "FLOAT32", "INT32"
    constant: bool
    quantized: bool  # numbers of at most 8 bits that stand for others
    producer: "Operator | None" = None

    @property
    def dynamic(self) -> bool:
        return -1 in self.signature


@dataclasses.dataclass
class Operator:
    """One op; for a custom one, `name` is its own."""

    name: str
    custom: bool
    inputs: list[Tensor]
    outputs: list[Tensor]
    options: Any

    @property
    def tensors(self) -> list[Tensor]:
        return self.inputs + self.outputs

    def option(self, name: str, default: Any) -> Any:
        return getattr(self.options, name, default)


def read(path: Any) -> bytes:
    """The bytes of a TFLite file."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"path must be a TFLite file. Received: path={str(path)!r} ({error})."
        ) from error
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"path must be a TFLite file. Received: path={str(path)!r}, which is something else."
        )
    return content


@contextlib.contextmanager
def whole(path: Any) -> Iterator[None]:
    """Say so if the file that is read within this context is damaged."""
    try:
        yield
    # Offsets that lead nowhere, and numbers that name nothing.
    except (struct.error, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"path must be a whole TFLite file. Received: path={str(path)!r}, of which a part is "
            "missing or damaged."
        ) from error


def operators(content: bytes) -> list[Operator]:
    """All operators of a TFLite file, subgraph by subgraph, in the order in which they run."""
    model, schema = _read(content)
    codes = [_op_name(code, schema) for code in model.operatorCodes]
    result = []
    for graph in model.subgraphs:
        tensors = [_tensor(index, t, model, schema) for index, t in enumerate(graph.tensors)]
        for operator in graph.operators or []:
            name, custom = codes[operator.opcodeIndex]
            inputs = [tensors[i] for i in operator.inputs if i >= 0]  # -1: an input left out
            outputs = [tensors[i] for i in operator.outputs]
            result.append(Operator(name, custom, inputs, outputs, operator.builtinOptions))
            for tensor in outputs:
                tensor.producer = result[-1]
    return result


def ends(content: bytes) -> tuple[list[Tensor], list[Tensor]]:
    """The inputs and the outputs, with the names that the signature gives them."""
    model, schema = _read(content)
    graph = model.subgraphs[0]
    names = {}
    for signature in (model.signatureDefs or [])[:1]:
        names = {end.tensorIndex: end.name for end in [*signature.inputs, *signature.outputs]}

    def tensor(index):
        result = _tensor(index, graph.tensors[index], model, schema)
        result.name = names[index].decode() if index in names else result.name
        return result

    return [tensor(i) for i in graph.inputs], [tensor(i) for i in graph.outputs]


def constant_bytes(content: bytes) -> int:
    model, _ = _read(content)
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)


def _read(content: bytes) -> tuple[Any, Any]:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)), schema


def without_scope(content: bytes, scope: str) -> bytes:
    """A TFLite file whose tensors have the names that they have inside the model `scope`.

    Keras counts models, so that a file would be the larger the later it was written: by 2 KB of 15.
    """
    model, _ = _read(content)
    prefix = re.compile(rf"(^|;){re.escape(scope)}(_\d+)?/".encode())
    for graph in model.subgraphs:
        names = [prefix.sub(rb"\1", tensor.name) for tensor in graph.tensors]
        if len(set(names)) < len(names):  # quantizers know tensors by name
            return content
        for tensor, name in zip(graph.tensors, names, strict=True):
            tensor.name = name
    return packed(model)


def packed(model: Any) -> bytes:
    """A ModelT of the schema as a file."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _op_name(code: Any, schema: Any) -> tuple[str, bool]:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return code.customCode.decode(), True
    return _names(schema.BuiltinOperator)[number], False


def _tensor(index: int, tensor: Any, model: Any, schema: Any) -> Tensor:
    dtype = _names(schema.TensorType)[tensor.type]
    data = model.buffers[tensor.buffer].data
    shape = tuple(map(int, tensor.shape)) if tensor.shape is not None else ()
    signature = tensor.shapeSignature
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return Tensor(
        index,
        tensor.name.decode(),
        shape,
        shape if signature is None else tuple(map(int, signature)),
        dtype,
        constant=data is not None and len(data) > 0,
        quantized=dtype in _QUANTIZED and scale is not None and len(scale) > 0,
    )


@functools.cache
def _names(enum: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if isinstance(number, int)}
