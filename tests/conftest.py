"""Every test starts from Keras' own settings and from one seed, quietly and without a window.

`pytest -m quick` runs the first case of each test that is not slow.
"""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras
import pytest

from keras_stn.export import _pipeline

QUICK_FILES = pytest.StashKey[dict[str, bool]]()
_MEDIAN_MS = _pipeline.median_ms


@pytest.hookimpl(tryfirst=True)  # before -m leaves tests out
def pytest_collection_modifyitems(config, items):
    """Marks the quick tests, and notes for each file whether it has any."""
    files = config.stash.setdefault(QUICK_FILES, {})
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        slow = any(item.get_closest_marker(name) for name in ("slow", "long", "runtimes"))
        if not slow and test not in seen:
            seen.add(test)
            item.add_marker("quick")
        name = item.path.relative_to(config.rootpath).as_posix()
        files[name] = files.get(name, False) or not slow


@pytest.fixture
def quick_files(request):
    """{file of tests: whether it has a quick one}, of all files that were collected."""
    return request.config.stash[QUICK_FILES]


@pytest.fixture(autouse=True)
def _fresh_keras():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


@pytest.fixture(autouse=True, scope="session")
def _untimed():
    """An export times its file for 0.3 s, but here only in tests whose name has "timed"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pipeline, "median_ms", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def _timed(request, monkeypatch):
    if "timed" in request.node.name:
        monkeypatch.setattr(_pipeline, "median_ms", _MEDIAN_MS)


@pytest.fixture(autouse=True, scope="module")
def _settled_heap():
    """TFLite's converter collects garbage at each call, but need not go through what others left."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
