"""Every example runs, writes what it says, stays short, and is linked from the README."""

import importlib.util
import inspect
import os
import pathlib
import re
import subprocess
import sys

import pytest

from keras_stn import transforms

ROOT = pathlib.Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FOLDERS = sorted(
    {path.parent for path in (ROOT / "examples").glob("*/*.py")}
)  # of examples in several files

examples = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)


@pytest.mark.slow
@examples
def test_example_runs_and_writes_what_it_says(path, tmp_path):
    environment = os.environ | {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, path, "--smoke", "--out", tmp_path],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    written = re.findall(r"\S+\.(?:keras|png)", run.stdout.splitlines()[-1])
    assert written
    assert {pathlib.Path(name) for name in written} == set(tmp_path.iterdir())
    assert all(pathlib.Path(name).stat().st_size > 1000 for name in written)


LONGER = {"straighten_digits.py": 300}  # a tutorial: half of it is text


@examples
def test_example_is_short_and_linked(path):
    assert len(path.read_text().splitlines()) <= 150
    assert f"](examples/{path.name})" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_example_of_several_files_is_short_and_linked(folder):
    for path in folder.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= LONGER.get(path.name, 150), path
    assert f"](examples/{folder.name}/README.md)" in (ROOT / "README.md").read_text()


def test_the_gallery_draws_every_family_that_there_is():
    pytest.importorskip("skimage", reason="the photograph comes with it; CI installs it")
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "examples" / "gallery.py")
    gallery = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(gallery)
    arguments = {name: inspect.signature(cls).parameters for name, cls in transforms.FAMILIES.items()}
    assert set(gallery.PICTURES) == set(arguments)
    assert set(gallery.VOLUMES) == {name for name in arguments if "ndim" in arguments[name]}
