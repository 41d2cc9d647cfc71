"""The rules of `check_tflite`: each is a function of one operator, to what is wrong with it, or None."""

from collections.abc import Callable, Iterator
from typing import Any

from keras_stn.export import _kernels, _versions
from keras_stn.export._flatbuffer import Operator

RUNTIMES = ("cpu", "gpu", "micro")
CPU, GPU, MICRO = RUNTIMES


def _flex(op: Operator) -> str | None:
    return "needs TensorFlow beside the runtime" if op.custom and op.name.startswith("Flex") else None


def _custom(op: Operator) -> str | None:
    return "is no builtin op: the app must bring its code" if op.custom else None


def _no_gpu_kernel(op: Operator) -> str | None:
    if op.name == "GATHER_ND":
        return "has no kernel; GATHER from a flat table does the same"
    return None if op.name in _kernels.GPU else "has no kernel"


def _no_micro_kernel(op: Operator) -> str | None:
    return None if op.name in _kernels.MICRO else "has no kernel"


def _micro_dtype(op: Operator) -> str | None:
    dtypes = _kernels.MICRO_DTYPES.get(op.name)
    if dtypes is None:
        return None
    if op.name in ("ARG_MAX", "ARG_MIN") and op.outputs[0].dtype != "INT32":
        return f"gives {op.outputs[0].dtype}, and must give INT32"
    slot = _kernels.DATA.get(op.name, 0)
    data = op.tensors if op.name == "CAST" else op.inputs[slot : slot + 1]
    wrong = [tensor.dtype for tensor in data if tensor.dtype not in dtypes]
    return f"has no kernel for {wrong[0]}, but for {', '.join(dtypes)}" if wrong else None


def _slice_rank(op: Operator) -> str | None:
    rank = len(op.inputs[0].shape) if op.name == "STRIDED_SLICE" else 0
    return f"slices a tensor of rank {rank}, and must have at most 4" if rank > 4 else None


def _gather_batch_dims(op: Operator) -> str | None:
    batch_dims = op.option("batchDims", 0) if op.name == "GATHER" else 0
    return f"batch_dims is {batch_dims}, and must be 0" if batch_dims else None


def _gather_index(op: Operator) -> str | None:
    if op.name != "GATHER":
        return None
    index = op.inputs[1]
    if len(index.shape) == 1 and index.dtype == "INT32":
        return None
    return f"the index is {index.dtype} of rank {len(index.shape)}, and must be INT32 of rank 1"


def _shrink_axis(op: Operator) -> str | None:
    masks = "shrinkAxisMask", "newAxisMask", "ellipsisMask"
    if op.name == "STRIDED_SLICE" and any(op.option(mask, 0) for mask in masks):
        return "drops, adds or skips an axis; split or reshape instead"
    return None


def _split_one(op: Operator) -> str | None:
    if op.name in ("SPLIT", "SPLIT_V") and len(op.outputs) == 1:
        return "splits into one part, which aborts the process; leave it out"
    return None


def _split_sum(op: Operator) -> str | None:
    # Measured with the GPU accelerator of LiteRT 2.3: off by 0.97. One SPLIT is right, as are slices.
    if not op.name.startswith("SPLIT"):
        return None
    for total in (tensor.producer for tensor in op.inputs):
        if total is not None and total.name == "ADD":
            one, other = (term.producer for term in total.inputs)
            if one is not None and one is other and one.name.startswith("SPLIT"):
                return "splits a sum of parts of a SPLIT: wrong numbers, and no error; slice instead"
    return None


def _rank(op: Operator) -> str | None:
    rank = max((len(tensor.shape) for tensor in op.tensors), default=0)
    return f"holds a tensor of rank {rank}, and must have at most 4" if rank > 4 else None


def _dynamic_shape(op: Operator) -> str | None:
    if any(tensor.dynamic for tensor in op.outputs):
        return "makes a tensor of unknown size; export with a batch_size"
    return None


def _matmul_broadcast(op: Operator) -> str | None:
    if op.name != "BATCH_MATMUL":
        return None
    one, two = (_batch(tensor.shape) for tensor in op.inputs[:2])
    return f"broadcasts batches {one} and {two}: wrong numbers, and no error" if one != two else None


def _batch(shape: tuple[int, ...]) -> tuple[int, ...]:
    batch = shape[:-2]
    while batch and batch[0] == 1:
        batch = batch[1:]
    return batch


def _conv_groups(op: Operator) -> str | None:
    if op.name != "CONV_2D":
        return None
    channels, group = op.inputs[0].shape[-1], op.inputs[1].shape[-1]
    groups = channels // group
    if groups == 1 or group % 4 == (op.outputs[0].shape[-1] // groups) % 4 == 0:
        return None
    return f"has {groups} groups whose channels are no multiple of 4: wrong numbers, and no error"


def _same_input_twice(op: Operator) -> str | None:
    # Measured with the GPU accelerator of LiteRT 2.3, whose shaders for these compile; not for SUB, DIV,
    # MAXIMUM, MINIMUM, POW, comparisons, SELECT and BATCH_MATMUL, among others.
    if op.name in ("ADD", "ADD_N", "MUL", "PACK", "CONCATENATION"):
        return None
    variable = [tensor.index for tensor in op.inputs if not tensor.constant]
    if len(set(variable)) == len(variable):
        return None
    return "takes one tensor twice, which does not compile"


def _hybrid(op: Operator) -> str | None:
    if op.name not in _WITH_WEIGHTS:
        return None
    weights = any(tensor.constant and tensor.quantized for tensor in op.inputs[:2])
    if weights and op.outputs[0].dtype == "FLOAT32":
        return "has weights of 8 bits beside activations in float"
    return None


def _float16_weights(op: Operator) -> str | None:
    if op.name == "DEQUANTIZE" and op.inputs[0].dtype == "FLOAT16":
        return "has weights in float16"
    return None


def _external_constants(op: Operator) -> str | None:
    if any(tensor.external for tensor in op.inputs):
        return "reads a constant that lies behind the flatbuffer: zeros, and no error"
    return None


def _float16_bias(op: Operator) -> str | None:
    if op.name not in _WITH_WEIGHTS or not op.inputs[-1].constant:
        return None
    if any(tensor.producer and _float16_weights(tensor.producer) for tensor in op.inputs):
        return (
            "has a bias in float32 beside weights in float16: wrong in LiteRT 1.2 and 1.3, and no error"
        )
    return None


def _dense_channels(op: Operator) -> str | None:
    if op.name == "FULLY_CONNECTED" and op.version < 12 <= _versions.needed(op):
        return (
            f"has one scale a channel, and version {op.version} instead of 12: wrong in TensorFlow Lite "
            "before 2.17, and no error"
        )
    return None


def _int8_sampler(op: Operator) -> str | None:
    if op.name in ("GATHER", "GATHER_ND"):
        roots = op.inputs[1:2]
    elif op.name == "BATCH_MATMUL":  # a sampler where it has the tents of taps: 1 - |distance|
        roots = [tensor for tensor in op.inputs[:2] if "ABS" in _makers(tensor)]
    else:
        return None
    if any(tensor.quantized for root in roots for tensor in _coordinates(root)):
        return "its coordinates are of 8 bits: 256 places in the whole image"
    return None


def _makers(tensor: Any) -> set[str]:
    return {origin.producer.name for origin in _coordinates(tensor) if origin.producer is not None}


def _coordinates(tensor: Any) -> Iterator[Any]:
    """The tensor and those that it was computed from, back to the layers with weights."""
    seen, open_ = set(), [tensor]
    while open_:
        tensor = open_.pop()
        if tensor.index in seen or tensor.constant:
            continue
        seen.add(tensor.index)
        yield tensor
        if tensor.producer is not None and tensor.producer.name not in (*_WITH_WEIGHTS, "SHAPE"):
            open_ += tensor.producer.inputs


_WITH_WEIGHTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}

Rule = Callable[[Operator], str | None]
RULES: tuple[tuple[str, tuple[str, ...], Rule], ...] = (
    ("flex", RUNTIMES, _flex),
    ("custom", RUNTIMES, _custom),
    ("no-kernel", (GPU,), _no_gpu_kernel),
    ("no-kernel", (MICRO,), _no_micro_kernel),
    ("dtype", (MICRO,), _micro_dtype),
    ("slice-rank", (MICRO,), _slice_rank),
    ("gather-batch-dims", (GPU,), _gather_batch_dims),
    ("gather-index", (GPU,), _gather_index),
    ("shrink-axis", (GPU,), _shrink_axis),
    ("split-one", (GPU,), _split_one),
    ("split-sum", (GPU,), _split_sum),
    ("rank", (GPU,), _rank),
    ("dynamic-shape", (GPU, MICRO), _dynamic_shape),
    ("matmul-broadcast", (GPU,), _matmul_broadcast),
    ("conv-groups", (GPU,), _conv_groups),
    ("same-input-twice", (GPU,), _same_input_twice),
    ("hybrid", (MICRO,), _hybrid),
    ("float16-weights", (MICRO,), _float16_weights),
    ("external-constants", (MICRO,), _external_constants),
    ("float16-bias", (CPU,), _float16_bias),
    ("dense-channels", (CPU,), _dense_channels),
    ("int8-sampler", RUNTIMES, _int8_sampler),
)
SILENCE_OTHERS = {"flex", "custom"}
