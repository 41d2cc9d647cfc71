"""Every exported form in the runtimes that people have: right numbers, or named as refused.

`pytest -m runtimes` runs what CI runs; `pytest -m "runtimes and long"` all of it. The environments are
made by environments.py.
"""

import pathlib
import re

import matrix
import numpy as np
import pytest
import runtime_files

from keras_stn.export._flatbuffer import parse

pytestmark = pytest.mark.runtimes


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    names = [name for name, case in runtime_files.CASES.items() if case.in_ci]
    return matrix.export(tmp_path_factory.mktemp("few"), names)


@pytest.fixture(scope="module")
def all_files(tmp_path_factory):
    return matrix.export(tmp_path_factory.mktemp("all"), list(runtime_files.CASES))


def not_exported(files):
    return {name: file for name, file in files.items() if not isinstance(file, pathlib.Path)}


def not_right(runtime, files):
    found = matrix.cells(runtime, files)
    assert found
    return {name: cell for name, cell in found.items() if cell[0] in ("wrong", "refused")}


def ops(folder):
    return {operator.name for operator in parse((folder / "model.tflite").read_bytes()).operators}


def test_models_of_all_sizes_export(few):
    assert not not_exported(few)


@pytest.mark.parametrize("runtime", matrix.CI)
def test_files_are_right_in(runtime, few):
    assert not not_right(runtime, few)


@pytest.mark.long
def test_every_form_exports(all_files):
    assert not not_exported(all_files)


@pytest.mark.long
@pytest.mark.parametrize("runtime", matrix.RUNTIMES)
def test_every_file_is_right_or_named_as_refused_in(runtime, all_files):
    assert not not_right(runtime, all_files)


def test_a_file_that_kills_the_process_fails_alone(tmp_path):
    files = matrix.export(tmp_path / "files", ["attention, 1 channels, batch 1, float32"])
    good = next(iter(files.values()))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "model.tflite").write_bytes(b"no model")
    errors = matrix.run(matrix.CI[0], [bad, good])
    assert errors[bad]
    assert errors[good] is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("arm", "x86"),
    [("arm-tflite-runtime-2.14.0", "tflite-runtime-2.14.0"), ("arm-litert-2.1.6", "litert-2.1.6")],
)
def test_arm_has_the_bits_of_x86_for_gathers_and_rounding_for_the_rest(arm, x86, tmp_path):
    """The rest: matrix products and convolutions, which add up in another order."""
    warps = "bilinear|nearest|bicubic|attention, [13] channels, batch 1|17,000 weights, float32"
    small = [name for name in runtime_files.CASES if re.search(warps, name)]
    files = matrix.export(tmp_path, [name for name in small if name.endswith("float32")])
    answers = []
    for runtime in (x86, arm):
        assert not not_right(runtime, files)
        answers.append({name: matrix.outputs(folder) for name, folder in files.items()})
    for name, folder in files.items():
        differences = [
            np.abs(a - b).max(initial=0) for a, b in zip(*(x[name] for x in answers), strict=True)
        ]
        by_gathers = "BATCH_MATMUL" not in ops(folder) and "weights" not in name
        assert max(differences) <= (0 if by_gathers else 1e-6), name
