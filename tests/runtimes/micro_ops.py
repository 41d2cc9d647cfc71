"""TFLite files of one op, for each microcontroller op and each dtype: the source of `_kernels`.

`write` makes them, with inputs and with what LiteRT makes of those. This file is also the program that
runs them in the environment of `tflite-micro`, which has neither TensorFlow nor keras_stn:
`python micro_ops.py FOLDER` runs the cases that lie there, each in a process that may crash.
"""

import os
import pathlib
import sys

import numpy as np

DTYPES = ("FLOAT32", "INT32", "INT64", "INT16", "INT8", "UINT8", "BOOL")
NUMPY = {"FLOAT32": "float32", "BOOL": "bool"} | {n: n.lower() for n in DTYPES[1:-1]}

X, ROWS, CUBE = (2, 3, 4, 4), (3, 4), (1, 4, 4, 4)


class Op:
    """How to build one op: shapes of inputs of the dtype ("x"), and constants beside them, in order."""

    def __init__(self, inputs, outputs, options=None, out=None, **fields):
        self.inputs, self.outputs, self.options, self.out = inputs, outputs, options, out
        self.fields = fields


def ints(*values):
    return np.array(values, np.int32)


def _table():
    ops = {}
    for name in [
        "ABS",
        "CEIL",
        "COS",
        "ELU",
        "EXP",
        "FLOOR",
        "HARD_SWISH",
        "L2_NORMALIZATION",
        "LEAKY_RELU",
        "LOG",
        "LOGICAL_NOT",
        "LOGISTIC",
        "LOG_SOFTMAX",
        "NEG",
        "RELU",
        "RELU6",
        "ROUND",
        "RSQRT",
        "SIN",
        "SOFTMAX",
        "SQRT",
        "SQUARE",
        "TANH",
        "ZEROS_LIKE",
    ]:
        ops[name] = Op([X], [X])
    ops["SOFTMAX"] = Op([ROWS], [ROWS], "Softmax", beta=1.0)
    ops["LEAKY_RELU"] = Op([X], [X], "LeakyRelu", alpha=0.5)
    for name in [
        "MAXIMUM",
        "MINIMUM",
        "FLOOR_DIV",
        "FLOOR_MOD",
        "SQUARED_DIFFERENCE",
        "LOGICAL_AND",
        "LOGICAL_OR",
    ]:
        ops[name] = Op([X, X], [X])
    for name in ["ADD", "SUB", "MUL", "DIV"]:
        ops[name] = Op([X, X], [X], name.capitalize())
    ops["ADD_N"] = Op([X, X], [X])
    ops["PRELU"] = Op([X, (1, 1, 4)], [X])
    for name in ["EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL"]:
        ops[name] = Op([X, X], [X], out="BOOL")
    for name in ["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ALL"]:
        ops[name] = Op([X, ints(1)], [(2, 4, 4)], "Reducer")
    for name in ["ARG_MAX", "ARG_MIN"]:
        options = name.title().replace("_", "")
        ops[name] = Op([ROWS, ints(1)], [(3,)], options, out="INT32", outputType=2)
        ops[f"{name} INT64"] = Op([ROWS, ints(1)], [(3,)], options, out="INT64", outputType=4)
    for target in DTYPES:
        ops[f"CAST {target}"] = Op([X], [X], out=target)
    ops["RESHAPE"] = Op([X, ints(6, 16)], [(6, 16)], "Reshape")
    ops["TRANSPOSE"] = Op([X, ints(0, 2, 1, 3)], [(2, 4, 3, 4)])
    ops["EXPAND_DIMS"] = Op([ROWS, ints(0)], [(1, 3, 4)])
    ops["SQUEEZE"] = Op([(1, 3, 4)], [ROWS], "Squeeze", squeezeDims=[0])
    ops["SLICE"] = Op([X, ints(0, 1, 0, 1), ints(2, 2, 4, 2)], [(2, 2, 4, 2)])
    for rank in (1, 2, 3, 4, 5):
        shape = (3, 4, 2, 3, 2)[:rank]
        begin, end, strides = ints(*[1] * rank), ints(*shape), ints(*[1] * rank)
        out = tuple(size - 1 for size in shape)
        ops[f"STRIDED_SLICE {rank}"] = Op([shape, begin, end, strides], [out], "StridedSlice")
    ops["SPLIT"] = Op([ints(1), ROWS], [(3, 2), (3, 2)], "Split", numSplits=2)
    ops["SPLIT_V"] = Op([ROWS, ints(1, 3), ints(1)], [(3, 1), (3, 3)], "SplitV", numSplits=2)
    ops["PACK"] = Op([ROWS, ROWS], [(2, 3, 4)], "Pack", valuesCount=2, axis=0)
    ops["UNPACK"] = Op([ROWS], [(4,)] * 3, "Unpack", num=3, axis=0)
    ops["CONCATENATION"] = Op([ROWS, ROWS], [(6, 4)], "Concatenation", axis=0)
    ops["PAD"] = Op([ROWS, np.array([[1, 1], [0, 2]], np.int32)], [(5, 6)])
    ops["PADV2"] = Op([ROWS, np.array([[1, 1], [0, 2]], np.int32), "one"], [(5, 6)])
    ops["MIRROR_PAD"] = Op([ROWS, np.array([[1, 1], [0, 2]], np.int32)], [(5, 6)], "MirrorPad", mode=0)
    ops["REVERSE_V2"] = Op([ROWS, ints(1)], [ROWS])
    ops["BROADCAST_TO"] = Op([(1, 4), ints(3, 4)], [ROWS])
    ops["FILL"] = Op([ints(3, 4), ()], [ROWS])
    ops["SHAPE"] = Op([ROWS], [(2,)], "Shape", out="INT32", outType=2)
    ops["GATHER"] = Op([ROWS, ints(2, 0, 1, 1)], [(4, 4)], "Gather")
    ops["GATHER_ND"] = Op([ROWS, np.array([[2, 1], [0, 3]], np.int32)], [(2,)])
    ops["SELECT_V2"] = Op([np.arange(12).reshape(ROWS) % 3 == 0, ROWS, ROWS], [ROWS], "SelectV2")
    ops["DEPTH_TO_SPACE"] = Op([CUBE], [(1, 8, 8, 1)], "DepthToSpace", blockSize=2)
    ops["SPACE_TO_DEPTH"] = Op([CUBE], [(1, 2, 2, 16)], "SpaceToDepth", blockSize=2)
    none = np.zeros((2, 2), np.int32)
    ops["SPACE_TO_BATCH_ND"] = Op([CUBE, ints(2, 2), none], [(4, 2, 2, 4)])
    ops["BATCH_TO_SPACE_ND"] = Op([(4, 2, 2, 4), ints(2, 2), none], [CUBE])
    ops["CUMSUM"] = Op([ROWS, ints(1)], [ROWS], "Cumsum")
    ops["RESIZE_BILINEAR"] = Op([CUBE, ints(8, 6)], [(1, 8, 6, 4)], "ResizeBilinear", halfPixelCenters=1)
    resize = "ResizeNearestNeighbor"
    ops["RESIZE_NEAREST_NEIGHBOR"] = Op([CUBE, ints(8, 6)], [(1, 8, 6, 4)], resize)
    for name in ["AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"]:
        pool = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2, "padding": 1}
        ops[name] = Op([CUBE], [(1, 2, 2, 4)], "Pool2D", **pool)
    ops["BATCH_MATMUL"] = Op([(2, 3, 4), (2, 4, 5)], [(2, 3, 5)], "BatchMatMul")
    ops["DYNAMIC_UPDATE_SLICE"] = Op([ROWS, (2, 2), ints(1, 1)], [ROWS])
    return ops


OPS = _table()
OPTIONS = {"MEAN": "Reducer", "FLOOR_DIV": "FloorDiv", "FLOOR_MOD": "FloorMod"}


def build(name, dtype):
    """A file of the op, and its inputs."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    op, kind = OPS[name], name.split()[0]
    numbers = dict(vars(schema.TensorType))
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers = 3, [schema.BufferT()]
    graph.tensors, graph.inputs, graph.outputs, graph.name = [], [], [], b"main"
    rng, feed = np.random.default_rng(0), []

    def tensor(shape, dtype, data=None):
        made = schema.TensorT()
        made.name, made.shape = b"t%d" % len(graph.tensors), list(shape)
        made.type, made.buffer = numbers[dtype], 0
        if dtype in ("INT8", "UINT8", "INT16") and kind not in ("CAST", "SHAPE"):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [0.25], [0]
            if kind in ("LOGISTIC", "SOFTMAX", "TANH", "LOG_SOFTMAX", "L2_NORMALIZATION"):
                fixed = _fixed_scale(kind, dtype, output=data is None and not made.buffer and op_done)
                made.quantization.scale, made.quantization.zeroPoint = [fixed[0]], [fixed[1]]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    operator, op_done = schema.OperatorT(), False
    operator.inputs = []
    for value in op.inputs:
        if isinstance(value, np.ndarray):
            given = {"int32": "INT32", "bool": "BOOL"}[str(value.dtype)]
            operator.inputs.append(tensor(value.shape, given, value))
        elif isinstance(value, str):
            operator.inputs.append(tensor((), dtype, np.ones((), NUMPY[dtype])))
        else:
            array = rng.integers(1, 9, value).astype(NUMPY[dtype])
            array = array % 2 == 0 if dtype == "BOOL" else array
            operator.inputs.append(tensor(value, dtype))
            graph.inputs.append(operator.inputs[-1])
            feed.append(np.asarray(array))
    op_done = True
    operator.outputs = [tensor(shape, op.out or dtype) for shape in op.outputs]
    graph.outputs = list(operator.outputs)
    title = op.options or OPTIONS.get(kind)
    if title:
        options = getattr(schema, f"{title}OptionsT")()
        for field, value in op.fields.items():
            setattr(options, field, value)
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{title}Options")
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), _version(kind)
    operator.opcodeIndex, model.operatorCodes = 0, [code]
    graph.operators, model.subgraphs = [operator], [graph]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), feed


def _version(kind):
    """One that LiteRT and every dtype know."""
    return {"BROADCAST_TO": 2}.get(kind, 1)


def _fixed_scale(kind, dtype, output):
    """The only scales with which these ops may write integers."""
    if not output:
        return (0.25, 0)
    low = {"INT8": -128, "UINT8": 0, "INT16": 0}[dtype]
    if kind in ("LOGISTIC", "SOFTMAX"):
        return (1 / 32768, 0) if dtype == "INT16" else (1 / 256, low)
    if kind == "LOG_SOFTMAX":
        return (16 / 256, 127 if dtype == "INT8" else 255)
    return (1 / 32768, 0) if dtype == "INT16" else (1 / 128, low + 128)


def write(folder):
    """Files for all ops and dtypes that LiteRT runs, inputs and outputs beside them; their names."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    folder, names = pathlib.Path(folder), []
    for name in OPS:
        for dtype in DTYPES:
            content, feed = build(name, dtype)
            try:
                plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                run = Interpreter(model_content=content, experimental_op_resolver_type=plain)
                run.allocate_tensors()
                for end, array in zip(run.get_input_details(), feed, strict=True):
                    run.set_tensor(end["index"], array)
                run.invoke()
                outputs = [run.get_tensor(end["index"]) for end in run.get_output_details()]
            except (RuntimeError, ValueError):
                continue  # LiteRT has no such kernel either
            case = f"{name} {dtype}"
            (folder / f"{case}.tflite").write_bytes(content)
            arrays = {f"in{i}": a for i, a in enumerate(feed)}
            arrays |= {f"out{i}": a for i, a in enumerate(outputs)}
            np.savez(folder / f"{case}.npz", **arrays)
            names.append(case)
    return names


def run_micro(path):
    """Raise unless tflite-micro gives what LiteRT gave."""
    from tflite_micro.python.tflite_micro import runtime

    arrays = np.load(path.with_suffix(".npz"))
    interpreter = runtime.Interpreter.from_file(str(path))
    for index in range(len([name for name in arrays if name.startswith("in")])):
        interpreter.set_input(arrays[f"in{index}"], index)
    interpreter.invoke()
    for index in range(len([name for name in arrays if name.startswith("out")])):
        actual, expected = interpreter.get_output(index), arrays[f"out{index}"]
        # Integers may be rounded another way: one step.
        steps = 1 if expected.dtype.kind in "iu" and expected.dtype.itemsize <= 2 else 1e-5
        difference = np.abs(actual.astype(float) - expected.astype(float))
        assert difference.max(initial=0) <= steps, difference.max()


def main(folder):
    """Print a line for each case that runs; each runs in another process, which may crash."""
    silence = os.open(os.devnull, os.O_WRONLY)
    for path in sorted(pathlib.Path(folder).glob("*.tflite")):
        child = os.fork()
        if child == 0:
            os.dup2(silence, 2)
            try:
                run_micro(path)
            except BaseException:
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            print(path.stem, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
