"""How much memory a compiled training step takes, by XLA's own account."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_stn.benchmark.contenders import BOTH, OURS, PARAMS, TEXTBOOK, contenders

SHAPE = (8, 224, 224, 3)


class Memory(NamedTuple):
    """What XLA allocates for one training step at `SHAPE`: results and all between, beside arguments."""

    task: str
    contender: str
    megabytes: float  # of 1e6 bytes


def memory() -> list[Memory]:
    """Both training steps, of this package and of the textbook, compiled in another process.

    Raises:
        OSError: if that process fails, or XLA leaves no account.
    """
    with tempfile.TemporaryDirectory() as folder:
        # XLA reads its flags once, as TensorFlow is imported.
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={folder} --xla_dump_hlo_as_text"
        child = subprocess.run(
            [sys.executable, "-m", __name__, folder],
            env=os.environ | {"XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    if child.returncode:
        raise OSError(f"no account of memory from XLA: {child.stderr}")
    return [Memory(*row) for row in json.loads(child.stdout)]


def _measured(folder: Path) -> Iterator[Memory]:
    for task in (PARAMS, BOTH):
        for who in (f"{OURS}, compiled", f"{TEXTBOOK}, compiled"):
            contenders(SHAPE, task)[who]()
            reports = list(folder.glob("*buffer-assignment.txt"))
            yield Memory(task, who, max(_allocated(report.read_text()) for report in reports) / 1e6)
            for report in reports:
                report.unlink()


def _allocated(report: str) -> int:
    """Bytes of all allocations, but for arguments and constants."""
    allocations = re.findall(r"^allocation \d+: size (\d+),(.*)", report, re.MULTILINE)
    return sum(int(size) for size, kind in allocations if not re.search("parameter|constant", kind))


if __name__ == "__main__":
    print(json.dumps(list(_measured(Path(sys.argv[1])))))
