"""Results as they come: one JSON object a line, which a stopped run leaves whole but for the last."""

import json
import pathlib
import statistics


def read(path: pathlib.Path) -> list[dict]:
    """The rows of a file. A last line that was not finished is dropped, from the file too."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    return [json.loads(line) for line in whole.splitlines()]


def append(path: pathlib.Path, row: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def of(rows: list[dict], job: dict) -> dict | None:
    """The row of `job`: the one that says of all it names what it says."""
    # A job that is read again has lists for tuples, and is compared as it stands in the file.
    job = json.loads(json.dumps(job))
    matches = (row for row in rows if all(row.get(name) == value for name, value in job.items()))
    return next(matches, None)


def median(found: list[dict], name: str) -> float | None:
    values = [row[name] for row in found if row.get(name) is not None]
    return statistics.median(values) if values else None


def groups(found: list[dict], *names: str) -> dict[tuple, list[dict]]:
    """Rows that are alike in `names`, in the order in which they came."""
    parts: dict[tuple, list[dict]] = {}
    for row in found:
        parts.setdefault(tuple(row[name] for name in names), []).append(row)
    return parts
