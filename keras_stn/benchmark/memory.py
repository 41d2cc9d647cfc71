"""How much memory a compiled training step takes, by XLA's own account."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_stn.benchmark.contenders import BOTH, OURS, PARAMS, TEXTBOOK, case, contenders

SHAPE = (8, 224, 224, 3)


@dataclasses.dataclass(frozen=True)
class Memory:
    """What XLA allocates for one training step.

    Attributes:
        shape: (batch, height, width, channels) of the images and of the output.
        task: "step, params" or "step, params and images".
        contender: Who.
        megabytes: 1e6 bytes for the results and all between, beside the arguments: images, params and
            the gradient from above.
    """

    shape: tuple[int, ...]
    task: str
    contender: str
    megabytes: float


def memory(shape: tuple[int, int, int, int] = SHAPE) -> Iterator[Memory]:
    """Both training steps, of this package and of the textbook, each compiled in a process of its own.

    Raises:
        OSError: if such a process fails, or XLA leaves no account.
    """
    for task in (PARAMS, BOTH):
        for who in (OURS, TEXTBOOK):
            name = f"{who}, compiled"
            yield Memory(shape, task, name, _megabytes(shape, task, name))


def _megabytes(*which) -> float:
    with tempfile.TemporaryDirectory() as folder:
        # XLA reads its flags once, as TensorFlow is imported.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        child = subprocess.run(
            [sys.executable, "-m", __name__, json.dumps(which)],
            env=os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        reports = list(Path(folder).glob("*buffer-assignment.txt"))
        if child.returncode or not reports:
            raise OSError(f"no account of memory from XLA: {child.stderr}")
        return max(_allocated(report.read_text()) for report in reports) / 1e6


def _allocated(report: str) -> int:
    """Bytes of all allocations, but for arguments and constants."""
    allocations = re.findall(r"^allocation \d+: size (\d+),(.*)", report, re.MULTILINE)
    return sum(int(size) for size, kind in allocations if not re.search("parameter|constant", kind))


if __name__ == "__main__":
    shape, task, name = json.loads(sys.argv[1])
    contenders(case(tuple(shape), "affine", task))[name].run()
