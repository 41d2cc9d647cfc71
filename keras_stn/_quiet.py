"""A clean terminal for the command `keras-stn`. Programs that import the package see no difference."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing_tensorflow() -> Iterator[None]:
    """Hide what TensorFlow says while the command imports it.

    The C++ side of TensorFlow 2.21 writes six lines to the terminal before any setting of Python's or
    of the environment reaches it, so only the file descriptor itself helps. Errors of the import are
    Python exceptions, and still shown. Whoever sets TF_CPP_MIN_LOG_LEVEL hears all.
    """
    command = os.path.basename(sys.argv[0]).removesuffix(".exe") == "keras-stn"
    if not command or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # for what it says later
    with no_stderr():
        yield


@contextlib.contextmanager
def no_stderr() -> Iterator[None]:
    """Let nothing through to the terminal's standard error, not from C++ either: converters talk."""
    sys.stderr.flush()
    stderr = os.dup(2)
    silence = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silence, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(silence)
        os.close(stderr)
