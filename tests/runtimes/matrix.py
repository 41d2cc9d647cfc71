"""The matrix: every exported form in every runtime; right numbers, or named here as refused.

    python tests/runtimes/matrix.py [runtime ...]

makes the environments, exports the files and runs them. Without names the table goes into
saved_models/runtimes.md, and from there into the README beside it.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import environments
import numpy
import runtime_files

import keras_stn

HERE = pathlib.Path(__file__).parent
TABLE = HERE.parents[1] / "saved_models" / "runtimes.md"

# runtime: (its environment, what worker.py calls it, extension of its files)
RUNTIMES = {
    **{name: (name, "tflite", "tflite") for name in environments.ENVIRONMENTS if "lite" in name},
    "TFLite Micro": ("micro", "micro", "tflite"),
    "OpenVINO, f32": ("openvino", "openvino_f32", "tflite onnx"),
    **{name: (name, "onnxruntime", "onnx") for name in environments.ENVIRONMENTS if "onnxr" in name},
    "MNN": ("mnn", "mnn", "tflite onnx"),
    "ncnn": ("ncnn", "ncnn", "onnx"),
}
CI = [name for name, (environment, *_) in RUNTIMES.items() if environment in environments.CI]

# MNN's makers ask to be told of each use.
OFFLINE = {"mnn": ["unshare", "--map-root-user", "--net"]}

# What a runtime cannot do: patterns of (runtime, case, what is seen), and the reason. Any other
# deviation is a failure.
LIMITS = [
    ("tflite-runtime", "dynamic$", "version", "dense layers with a scale a channel are newer"),
    ("litert", "labels, batch None", "batch [236]: error", "XNNPACK, at times, once the batch changes"),
    ("OpenVINO", "1x1.*float32$", "RELU_N1_TO_1", "it has no RELU_N1_TO_1, which a clip to ±1 becomes"),
    ("OpenVINO", "classifier.*int8$", r"\b(1[5-9]|2\d) dB", "its int8 gives 18 to 28 dB"),
    ("runtime-1.15", "bicubic nearest.*GridSample$", "error", "right in 1.17 and later"),
    ("MNN", "bicubic.*GridSample$", "error", "it computes a bicubic GridSample as a bilinear one"),
    ("MNN", "rotation nearest.*1x6", "error 0.5", "one point between two pixels, an image"),
    ("MNN", r"float32$|float16$|dynamic$|int8$|gpu$", "SELECT_V2", "it has no SELECT_V2"),
    ("MNN", "float32$", "BROADCAST_TO", "it has no BROADCAST_TO"),
    ("MNN", "strided_conv, dynamic$", "killed", "its converter crashes"),
    ("ncnn", "", "does not load", "pnnx leaves ops in the file that ncnn does not have"),
]


def export(folder, names):
    """{name: folder or the error of its export}"""
    done = {}
    for i, name in enumerate(names):
        try:
            runtime_files.write(runtime_files.CASES[name], folder / str(i))
            done[name] = folder / str(i)
        except Exception as error:
            done[name] = f"{type(error).__name__}: {error}"
    return done


def run(runtime, folders):
    """{folder: None or the runtime's error}; a file that kills the process is one that it refuses."""
    environment, kind, _ = RUNTIMES[runtime]
    python = environments.python(environment)
    errors, left = {}, [str(folder) for folder in folders]
    while left:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as jobs:
            json.dump(left, jobs)
            jobs.flush()
            command = [
                *OFFLINE.get(kind, []),
                python,
                "-I",
                "-W",
                "ignore",
                HERE / "worker.py",
                kind,
                jobs.name,
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=60 + 30 * len(left)
                )
                output, code, stderr = done.stdout, done.returncode, done.stderr
            except subprocess.TimeoutExpired as late:
                output, code, stderr = (late.stdout or b"").decode(), "no end", ""
        started = None
        for line in output.splitlines():
            answer = json.loads(line)
            started = answer.get("start", started)
            if "job" in answer:
                errors[pathlib.Path(answer["job"])] = answer["error"]
                left.remove(answer["job"])
        if left:
            if started not in left:
                raise RuntimeError(f"{runtime} does not start: {stderr[-500:]}")
            errors[pathlib.Path(started)] = f"killed: {code} {stderr[-200:]}"
            left.remove(started)
    return errors


def cells(runtime, files):
    """{case: ("right" | "refused" | "wrong", words)} of one runtime."""
    extensions = RUNTIMES[runtime][2].split()
    folders = {
        name: file
        for name, file in files.items()
        if isinstance(file, pathlib.Path) and runtime_files.CASES[name].extension in extensions
    }
    if RUNTIMES[runtime][1] in ("micro", "ncnn"):  # sizes are known there
        folders = {name: file for name, file in folders.items() if runtime_files.CASES[name].batch}
    errors = run(runtime, folders.values())
    found = {}
    for name, folder in folders.items():
        refused = errors[folder]
        words = refused or runtime_files.error(runtime_files.CASES[name], folder)
        state = "refused" if refused else "wrong" if words else "right"
        if words and (reason := limit(runtime, name, words, folder)):
            state, words = f"{state}, known", reason
        found[name] = state, words
    return found


def outputs(folder):
    """What the last runtime made of a file: all outputs of all batches."""
    files = [numpy.load(path) for path in sorted(folder.glob("out.*.npz"))]
    return [file[name] for file in files for name in file.files]


def limit(runtime, name, words, folder):
    """Why this is no fault of ours: by check_tflite, or by the table above."""
    if runtime == "TFLite Micro" and "allocate" in words:
        findings = keras_stn.check_tflite(folder / "model.tflite", "micro")
        return "as check_tflite says" if findings else None
    for pattern, case, says, reason in LIMITS:
        if re.search(pattern, runtime) and re.search(case, name) and re.search(says, words):
            return reason
    return None


def table(results):
    """Markdown: one line a runtime, one column a form; how many of how many files are right."""
    forms = list(runtime_files.FORMS)
    lines = ["| runtime | " + " | ".join(forms) + " |", "|---" * (len(forms) + 1) + "|"]
    reasons = collections.defaultdict(list)
    for runtime, found in results.items():
        row = [runtime]
        for form in forms:
            states = [found[name] for name in found if runtime_files.CASES[name].form == form]
            right = sum(state == "right" for state, _ in states)
            row.append(f"{right} of {len(states)}" if states else "")
            for state, words in states:
                if state != "right":
                    reasons[runtime, form, state.replace(", known", ""), words].append(1)
        lines.append("| " + " | ".join(row) + " |")
    notes = [
        f"- {runtime}, {form}: {len(many)} {state}: {words.splitlines()[0][:200]}."
        for (runtime, form, state, words), many in reasons.items()
    ]
    return "\n".join([*lines, "", "What is not right:" if notes else "All are right.", "", *notes, ""])


def main():
    runtimes = sys.argv[1:] or list(RUNTIMES)
    with tempfile.TemporaryDirectory() as folder:
        files = export(pathlib.Path(folder), list(runtime_files.CASES))
        for name, file in files.items():
            if not isinstance(file, pathlib.Path):
                print(f"export of {name}: {file[:300]}", flush=True)
        results = {}
        for runtime in runtimes:
            results[runtime] = cells(runtime, files)
            for name, (state, words) in results[runtime].items():
                if state in ("wrong", "refused"):
                    print(f"{runtime}, {name}: {state}: {words[:300]}", flush=True)
    text = HEAD + table(results)
    if sys.argv[1:]:
        print(text)
    else:
        write(text)


def write(text):
    TABLE.write_text(text)
    readme = TABLE.with_name("README.md")
    before, _, _ = readme.read_text().partition(HEAD.splitlines()[0])
    readme.write_text(before.rstrip() + "\n\n" + text)


HEAD = """## The exported files in the runtimes that people have

Each file is run in a runtime, as pip installs it, and compared with the live Keras model: float32 to
1e-5 (5e-5 behind `strided_conv`, whose params carry its rounding), float16 to 50 dB, dynamic and int8 to
25 dB; files of any batch in one interpreter, at batches of 1, 3, 6 and 2; inputs and outputs by their
place. Written by `python tests/runtimes/matrix.py`.

"""

if __name__ == "__main__":
    main()
