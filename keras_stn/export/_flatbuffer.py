"""The graph of a TFLite file, read for rules: operators and their tensors."""

import contextlib
import dataclasses
import functools
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_stn.export._files import PathLike

# Offsets in a flatbuffer are signed numbers of 32 bits.
MAX_BYTES = 2**31 - 1

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
    per_channel: bool  # one scale for each of its channels
    external: bool  # a constant that lies behind the flatbuffer
    producer: "Operator | None" = None

    @property
    def dynamic(self) -> bool:
        return -1 in self.signature


@dataclasses.dataclass
class Operator:
    """One op; for a custom one, `name` is its own."""

    name: str
    custom: bool
    version: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    options: Any

    @property
    def tensors(self) -> list[Tensor]:
        return self.inputs + self.outputs

    def option(self, name: str, default: Any) -> Any:
        return getattr(self.options, name, default)


@dataclasses.dataclass(frozen=True, eq=False)
class File:
    """A TFLite file, parsed once for all that look into it.

    Attributes:
        content: Its bytes.
        model: The same as a ModelT of the schema, with all constants inside.
        external: The buffers that lie behind the flatbuffer.
    """

    content: bytes
    model: Any
    external: Collection[int] = ()

    @functools.cached_property
    def operators(self) -> list[Operator]:
        """All operators, subgraph by subgraph, in the order in which they run."""
        return operators_of(self.model, self.external)

    def named(self, indices: Iterable[int]) -> list[Tensor]:
        """Tensors of the main graph, by the names that the signature gives inputs and outputs."""
        names = {}
        for signature in (self.model.signatureDefs or [])[:1]:
            names = {e.tensorIndex: e.name.decode() for e in [*signature.inputs, *signature.outputs]}
        tensors = self.model.subgraphs[0].tensors
        result = [_tensor(index, tensors[index], self.model, self.external) for index in indices]
        return [dataclasses.replace(t, name=names.get(t.index, t.name)) for t in result]

    @property
    def constant_bytes(self) -> int:
        return _constant_bytes(self.model)


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[File]:
    """The TFLite file at `path`; what its reader stumbles over within this context is an error of it."""
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
    try:
        yield parse(content)
    # Offsets that lead nowhere, and numbers that name nothing.
    except (struct.error, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"path must be a whole TFLite file. Received: path={str(path)!r}, of which a part is "
            "missing or damaged."
        ) from error


def parse(content: bytes) -> File:
    """The bytes of a TFLite file as a `File`.

    Writers put large constants behind the flatbuffer, to stay below 2 GiB with the rest:
    ai-edge-quantizer those of 256 KB and more. Packed as they come, their data would be lost.
    """
    model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    external = {index for index, buffer in enumerate(model.buffers) if buffer.offset > 1}
    for index in external:
        buffer = model.buffers[index]
        buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
        buffer.offset = buffer.size = 0
    for graph in model.subgraphs:
        for operator in graph.operators or []:
            start, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
            if start > 1:
                operator.customOptions = np.frombuffer(content, np.uint8, size, start)
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return File(content, model, external)


def pack(model: Any) -> File:
    """A ModelT of the schema as a `File`."""
    size = _constant_bytes(model)
    if size > MAX_BYTES:
        raise ValueError(
            f"model must have weights of less than 2 GiB for one TFLite file. Received: {size:,} bytes."
        )
    builder = _builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return File(bytes(builder.Output()), model)


def operators_of(model: Any, external: Collection[int] = ()) -> list[Operator]:
    """The operators of a ModelT; `external`: the buffers that lay behind the flatbuffer."""
    codes = [op_name(code) for code in model.operatorCodes]
    result = []
    for graph in model.subgraphs:
        tensors = [_tensor(index, t, model, external) for index, t in enumerate(graph.tensors)]
        for operator in graph.operators or []:
            name, custom = codes[operator.opcodeIndex]
            version = model.operatorCodes[operator.opcodeIndex].version
            inputs = [tensors[i] for i in operator.inputs if i >= 0]  # -1: an input left out
            outputs = [tensors[i] for i in operator.outputs]
            result.append(Operator(name, custom, version, inputs, outputs, operator.builtinOptions))
            for tensor in outputs:
                tensor.producer = result[-1]
    return result


def _constant_bytes(model: Any) -> int:
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)


def schema() -> Any:
    """The classes of the format."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def _builder() -> Any:
    import flatbuffers

    class Builder(flatbuffers.Builder):
        """Aligns the data of constants to 16 bytes, as the schema demands; Python's Pack does not."""

        def StartVector(self, elemSize, numElems, alignment):
            return super().StartVector(elemSize, numElems, 16 if elemSize == 1 else alignment)

    return Builder(0)


def op_name(code: Any) -> tuple[str, bool]:
    """The name of an operator code, and whether it is a custom one."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema().BuiltinOperator.CUSTOM:
        return code.customCode.decode(), True
    return _names(schema().BuiltinOperator)[number], False


def _tensor(index: int, tensor: Any, model: Any, external: Collection[int]) -> Tensor:
    dtype = _names(schema().TensorType)[tensor.type]
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
        per_channel=scale is not None and len(scale) > 1,
        external=tensor.buffer in external,
    )


@functools.cache
def _names(enum: Any) -> dict[int, str]:
    return {number: name for name, number in vars(enum).items() if isinstance(number, int)}
