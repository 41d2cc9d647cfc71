"""The runtimes that people have, each in its own environment: what is installed there, and where.

    python tests/runtimes/environments.py [name ...]

makes those that are missing, all or the named, under `.venv-runtimes` or $KERAS_STN_RUNTIMES.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import arm

FOLDER = pathlib.Path(
    os.environ.get("KERAS_STN_RUNTIMES", pathlib.Path(__file__).parents[2] / ".venv-runtimes")
)

# Without the dependencies that only other parts of a package need: numpy and the runtime.
NUMPY1, NUMPY2 = "numpy<2", "numpy>=2"
ENVIRONMENTS = {
    "tflite-runtime-2.14.0": ("tflite-runtime==2.14.0", NUMPY1),
    "litert-1.0.1": ("ai-edge-litert==1.0.1", NUMPY1),
    "litert-1.2.0": ("ai-edge-litert==1.2.0", NUMPY2),
    "litert-1.3.0": ("ai-edge-litert==1.3.0", NUMPY2),
    "litert-1.4.0": ("ai-edge-litert==1.4.0", NUMPY2),
    "litert-2.0.3": ("ai-edge-litert==2.0.3", NUMPY2, "backports.strenum"),
    "litert-2.1.6": ("ai-edge-litert==2.1.6", NUMPY2, "backports.strenum"),
    "litert-2.2.0": ("ai-edge-litert==2.2.0", NUMPY2, "backports.strenum"),
    "litert-2.3.0": ("ai-edge-litert==2.3.0", NUMPY2, "backports.strenum"),
    "micro": ("tflite-micro", NUMPY2, "flatbuffers", "pyyaml"),
    "openvino": ("openvino==2026.4.1", NUMPY2),
    "onnxruntime-1.15": ("onnxruntime==1.15.0", NUMPY1),
    "onnxruntime-1.32": ("onnxruntime==1.32.0", NUMPY2, "flatbuffers", "packaging", "protobuf"),
    "mnn": ("MNN==3.6.1", NUMPY2),
    # LiteRT 2.3 dies under qemu 7.2, with every processor that was tried.
    "arm-tflite-runtime-2.14.0": ("tflite-runtime==2.14.0", NUMPY1),
    "arm-litert-2.1.6": ("ai-edge-litert==2.1.6", NUMPY1),
    "ncnn": ("ncnn==1.0.20261020", "pnnx==20261020", NUMPY2),
}

# What CI installs: the old TFLite runtimes, where files were wrong without an error, and one of ONNX.
CI = ("tflite-runtime-2.14.0", "litert-1.0.1", "litert-1.2.0", "litert-1.3.0", "onnxruntime-1.15")


def _make(folder: pathlib.Path, requirements: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    install = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--only-binary=:all:", *requirements], check=True)


def python(name: str) -> pathlib.Path:
    """The interpreter of an environment, which is made first where it is missing."""
    folder = FOLDER / name
    program = folder / "bin" / "python"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with open(FOLDER / f"{name}.lock", "w") as lock:  # pytest -n 2 has two processes that may ask
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            try:
                if name.startswith("arm-"):
                    arm.make(folder, ENVIRONMENTS[name])
                else:
                    _make(folder, ENVIRONMENTS[name])
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return program


if __name__ == "__main__":
    for each in sys.argv[1:] or ENVIRONMENTS:
        print(python(each))
