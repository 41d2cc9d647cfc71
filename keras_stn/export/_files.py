"""What every exporter needs around its work: its packages, and a file that is whole or not there."""

import os
from pathlib import Path
from typing import Any

from keras_stn import _checks


def require(*packages: str) -> None:
    """Raise an ImportError that says what to install, unless all `packages` are there."""
    _checks.require("this export", "export", *packages)


def target(path: Any) -> Path:
    """`path` as a Path, if a file can be written there."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"path must be a file in a folder that exists. Received: path={str(path)!r}.")
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that nobody ever sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def folder(path: Any) -> Path:
    """`path` as a Path, if a SavedModel can be written there, or there is one to be replaced."""
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise ValueError(
            "path must be a new folder, an empty one, or a SavedModel to be replaced. "
            f"Received: path={str(path)!r}, which holds something else."
        )
    if path.is_file() or not path.absolute().parent.is_dir():
        raise ValueError(f"path must be a folder, in one that exists. Received: path={str(path)!r}.")
    return path


def move_whole(new: Path, path: Path) -> None:
    """Put the folder `new` in the place of `path`, which keeps what is there if that fails."""
    before = new.with_name("before")
    if path.exists():
        os.replace(path, before)
    try:
        os.replace(new, path)
    except OSError:
        if before.exists():
            before.rename(path)
        raise
