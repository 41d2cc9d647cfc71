"""What exports share over all files of tests: one model is exported once."""

import keras
import pytest
from common import EXPORTERS


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`exported("onnx", warp, {"fill": "wrap"}, batch_size=3)`: a file, to be read only, and its report.

    The first test that asks for it has it made.
    """
    files = {}

    def get(to, build, arguments=None, **options):
        key = to, build, repr(sorted((arguments or {}).items())), repr(sorted(options.items()))
        if key not in files:
            keras.utils.set_random_seed(0)
            path = tmp_path_factory.mktemp(build.__name__) / f"model.{to}"
            files[key] = path, EXPORTERS[to](build(**(arguments or {})), path, **options)
        return files[key]

    return get
