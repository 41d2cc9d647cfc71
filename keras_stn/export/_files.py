"""What every exporter needs around its work: its packages, and a file that is whole or not there."""

import contextlib
import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from keras_stn import _checks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PathLike = str | os.PathLike[str]

# How often the folder of a SavedModel may be found written by somebody else before that is an error.
_TRIES = 100


def require(*packages: str) -> None:
    """Raise an ImportError that says what to install, unless all `packages` are there."""
    _checks.require("this export", "export", *packages)


def target(path: PathLike) -> Path:
    """`path` as a Path, if a file can be written there."""
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"path must be a file in a folder that exists. Received: path={str(path)!r}.")
    _make_ready(path)
    return path


def folder(path: PathLike) -> Path:
    """`path` as a Path, if a SavedModel can be written there, or there is one to be replaced."""
    path = Path(path)
    there = _listed(path)
    if there and "saved_model.pb" not in there:
        raise ValueError(
            "path must be a new folder, an empty one, or a SavedModel to be replaced. "
            f"Received: path={str(path)!r}, which holds something else."
        )
    if path.is_file() or not path.absolute().parent.is_dir():
        raise ValueError(f"path must be a folder, in one that exists. Received: path={str(path)!r}.")
    _make_ready(path)
    return path


def _listed(path: Path) -> list[str]:
    """What the folder holds; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for _ in range(_TRIES):
            folder, names = path.stat().st_ino, os.listdir(path)
            if path.stat().st_ino == folder:  # and no other export has replaced and emptied it
                return names
    return []


@contextlib.contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, and so on its disk, for what is to be moved there once it is whole.

    It goes when the context ends. A process that is killed leaves it, unlocked; the next export to
    `path` removes it then.
    """
    made, lock = _locked_folder(path)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        _unlock(lock)


def write(path: Path, content: bytes) -> None:
    """Write a file that is then to be moved: a rename may reach the disk before the content does."""
    with disk(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def move(new: Path, path: Path) -> None:
    """Put the file or folder `new` in the place of `path`, which keeps what is there if that fails.

    Nobody ever sees half of it.
    """
    if new.is_file():
        with disk(path):
            os.replace(new, path)
        return
    for attempt in range(_TRIES):
        before = new.with_name(_BEFORE if attempt == 0 else f"{_BEFORE}{attempt}")
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, before)
        try:
            os.replace(new, path)
            return
        except OSError as error:
            # Another export has been there in between, and may be gone again by now: once more.
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST) or path.exists():
                continue
            if before.exists():
                os.replace(before, path)
            raise
    raise OSError(f"another process keeps writing to {str(path)!r}")


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


@contextlib.contextmanager
def disk(path: PathLike) -> Iterator[None]:
    """Within this context TensorFlow writes to `path`: what its disk refuses is an OSError that says so.

    TensorFlow's own errors are none, and come with the op that met them.
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(f"{str(path)!r} cannot be written: {reason}") from error
    except OSError as error:
        if error.filename is None and error.strerror:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


# --- What a killed export leaves -----------------------------------------------------------------

_SUFFIX = ".partial"
_BEFORE = "before"  # in a partial folder: the SavedModel that is being replaced


def _make_ready(path: Path) -> None:
    """Remove what killed exports to `path` have left, and see whether its folder takes files."""
    for left in glob.glob(f".{glob.escape(path.name)}.*{_SUFFIX}", root_dir=path.parent):
        _remove_if_abandoned(path.parent / left, path)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def _locked_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.parent))
        lock = None
        with contextlib.suppress(OSError):  # some network disks have no locks
            lock = _lock(made)
        if made.is_dir():  # else another export took it for abandoned before it was locked
            return made, lock
        _unlock(lock)


def _remove_if_abandoned(left: Path, path: Path) -> None:
    try:
        lock = _lock(left, wait=False)
    except OSError:  # in use, or just gone
        return
    if lock is None:
        return
    try:
        before = left / _BEFORE
        if before.is_dir() and not path.exists():  # killed between the two renames
            with contextlib.suppress(OSError):
                os.replace(before, path)
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    finally:
        _unlock(lock)


def _lock(path: Path, wait: bool = True) -> int | None:
    """The descriptor that holds the lock of a file or folder; None where there are no such locks."""
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
