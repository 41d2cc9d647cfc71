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
_REPORTS = "*buffer-assignment.txt"


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
    """Both training steps, of this package and of the textbook, compiled in another process.

    Raises:
        OSError: if that process fails, or XLA leaves no account.
    """
    with tempfile.TemporaryDirectory() as folder:
        # XLA reads its flags once, as TensorFlow is imported.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        child = subprocess.run(
            [sys.executable, "-m", __name__, folder, json.dumps(shape)],
            env=os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    if child.returncode:
        raise OSError(f"no account of memory from XLA: {child.stderr}")
    for task, name, megabytes in json.loads(child.stdout):
        yield Memory(shape, task, name, megabytes)


def _measured(folder: Path, shape: tuple[int, int, int, int]) -> Iterator[tuple[str, str, float]]:
    for task in (PARAMS, BOTH):
        for who in (OURS, TEXTBOOK):
            name, before = f"{who}, compiled", set(folder.glob(_REPORTS))
            contenders(case(shape, "affine", task))[name].run()
            reports = set(folder.glob(_REPORTS)) - before
            yield task, name, max(_allocated(report.read_text()) for report in reports) / 1e6


def _allocated(report: str) -> int:
    """Bytes of all allocations, but for arguments and constants."""
    allocations = re.findall(r"^allocation \d+: size (\d+),(.*)", report, re.MULTILINE)
    return sum(int(size) for size, kind in allocations if not re.search("parameter|constant", kind))


if __name__ == "__main__":
    print(json.dumps(list(_measured(Path(sys.argv[1]), tuple(json.loads(sys.argv[2]))))))
