"""Runs model files in ONE runtime, inside its environment: numpy and the runtime are all that is there.

    python worker.py KIND JOBS

JOBS is a JSON list of folders; each holds a model file and its inputs 0.npz, 1.npz, ..., arrays named
by their place in the model: "0", "1", ... Each folder is answered by one line, {"job": ..., "error":
null or text}, and out.0.npz, out.1.npz, ... in the same form. "start" goes before, so that the caller
knows which file killed the process.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np


def tflite(path):
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tflite_runtime.interpreter import Interpreter
    interpreter = Interpreter(str(path), num_threads=1)

    def run(arrays):
        details = interpreter.get_input_details()
        for detail, array in zip(details, arrays, strict=True):
            if tuple(detail["shape"]) != array.shape:
                interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        for detail, array in zip(details, arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]

    return run


def micro(path):
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(path), arena_size=20_000_000)

    def run(arrays):
        for i, array in enumerate(arrays):
            interpreter.set_input(array, i)
        interpreter.invoke()
        outputs = []
        with contextlib.suppress(IndexError, ValueError):
            while True:
                outputs.append(np.array(interpreter.get_output(len(outputs))))
        return outputs

    return run


def openvino(path, **properties):
    import openvino

    compiled = openvino.Core().compile_model(
        str(path), "CPU", {"INFERENCE_NUM_THREADS": 1, **properties}
    )

    def run(arrays):
        answer = compiled(dict(enumerate(arrays)))
        return [answer[i] for i in range(len(compiled.outputs))]

    return run


def openvino_f32(path):
    return openvino(path, INFERENCE_PRECISION_HINT="f32")


def onnxruntime(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def mnn(path):
    import _tools  # the command `mnnconvert` around it reports to its makers
    import MNN

    folder = pathlib.Path(tempfile.mkdtemp(dir=path.parent))
    converted = folder / "converted.mnn"
    form = "TFLITE" if path.suffix == ".tflite" else "ONNX"
    command = ["mnnconvert", "-f", form, "--modelFile", str(path), "--MNNModel", str(converted)]
    with open(folder / "log", "w") as log:
        before = os.dup(2)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        _tools.mnnconvert([*command, "--bizCode", "test"])
        ctypes.CDLL(None).fflush(None)
        os.dup2(before, 1)
        os.dup2(before, 2)
    if not converted.exists():
        words = re.findall("NOT_SUPPORTED.*|rror.*", (folder / "log").read_text())
        raise ValueError(f"mnnconvert wrote nothing: {' '.join(words)}")
    ends = json.loads((path.parent / "ends.json").read_text())
    config = {"precision": "high", "backend": "CPU", "numThread": 1}
    manager = MNN.nn.create_runtime_manager((config,))
    inputs, outputs = ends["inputs"], ends["outputs"]
    net = MNN.nn.load_module_from_file(str(converted), inputs, outputs, runtime_manager=manager)
    names = {"float32": "float", "int32": "int"}

    def run(arrays):
        variables = []
        for array in arrays:
            dtype = getattr(MNN.expr, names[array.dtype.name])
            shape = MNN.expr.NHWC if path.suffix == ".tflite" else MNN.expr.NCHW
            variables.append(MNN.expr.const(array, list(array.shape), shape, dtype))
        answer = net.forward(variables)
        answer = answer if isinstance(answer, (list, tuple)) else [answer]
        values = []
        for each in answer:
            if each.data_format == MNN.expr.NC4HW4:
                each = MNN.expr.convert(each, MNN.expr.NCHW)
            values.append(np.array(each.read()))
        return values

    return run


def ncnn(path):
    import ncnn
    import pnnx

    folder = pathlib.Path(tempfile.mkdtemp(dir=path.parent))
    copy = shutil.copy(path, folder)  # the results of pnnx stand beside the file
    command = [pathlib.Path(pnnx.__file__).parent / "pnnx", copy, "fp16=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    param = folder / "model.ncnn.param"
    if not param.exists():
        raise ValueError(f"pnnx wrote nothing: {(done.stderr or done.stdout)[-200:]}")
    net = ncnn.Net()
    if net.load_param(str(param)) or net.load_model(str(folder / "model.ncnn.bin")):
        raise ValueError("ncnn does not load what pnnx wrote")

    def run(arrays):
        with net.create_extractor() as extractor:
            for i, array in enumerate(arrays):
                extractor.input(f"in{i}", ncnn.Mat(array[0]).clone())
            values = []
            for i in range(len(net.output_names())):
                failed, value = extractor.extract(f"out{i}")
                if failed:
                    raise ValueError("ncnn does not run what pnnx wrote")
                values.append(np.array(value)[None])
            return values

    return run


KINDS = {f.__name__: f for f in (tflite, micro, openvino, openvino_f32, onnxruntime, mnn, ncnn)}


def work(kind, folder):
    for old in folder.glob("out.*.npz"):
        old.unlink()
    (path,) = folder.glob("model.*")
    run = KINDS[kind](path)
    feeds = sorted(folder.glob("[0-9]*.npz"), key=lambda feed: int(feed.stem))
    for feed in feeds:
        with np.load(feed) as arrays:
            outputs = run([arrays[str(i)] for i in range(len(arrays.files))])
        values = {str(i): np.asarray(value) for i, value in enumerate(outputs)}
        np.savez(folder / f"out.{feed.stem}.npz", **values)


def main():
    kind, jobs = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    answers = os.fdopen(os.dup(1), "w")  # runtimes print what they like to 1
    os.dup2(2, 1)
    for job in jobs:
        print(json.dumps({"start": job}), file=answers, flush=True)
        error = None
        try:
            work(kind, pathlib.Path(job))
        except Exception as reason:
            error = f"{type(reason).__name__}: {reason}"
        print(json.dumps({"job": job, "error": error}), file=answers, flush=True)


if __name__ == "__main__":
    main()
