"""Files are whole or not there: killed, full, or written by two at a time."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest
import tensorflow as tf
from common import EXPORTERS, warp

from keras_stn.export import _files

# Writes to each path until it is killed; says so once there is something beside the paths. One process
# for all: most of the time is the import of TensorFlow.
_WRITER = """
import contextlib, pathlib, sys, time
from keras_stn.export import _files

with contextlib.ExitStack() as stack:
    for kind, path in zip(sys.argv[1::2], map(pathlib.Path, sys.argv[2::2])):
        _files.target(path) if kind == "file" else _files.folder(path)
        beside = stack.enter_context(_files.partial(path))
        if kind == "between":
            path.rename(beside / "before")
        (beside / "half").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""

READY = {"file": _files.target, "folder": _files.folder, "between": _files.folder}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """{kind: (path, folder that is left beside it)} of exports that were killed while they wrote."""
    paths = {kind: tmp_path_factory.mktemp(kind) / "warp[1].x" for kind in READY}  # no pattern
    paths["between"].mkdir()  # a SavedModel that is being replaced
    (paths["between"] / "saved_model.pb").write_bytes(b"before")
    arguments = [str(word) for pair in paths.items() for word in pair]
    command = [sys.executable, "-c", _WRITER, *arguments]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "writing\n"
        assert not paths["between"].exists()
        left = {}
        for kind, path in paths.items():
            (left[kind],) = path.parent.iterdir()
            READY[kind](path)
            assert left[kind].is_dir(), "another export's files were taken from it"
    finally:
        writer.kill()
        writer.communicate()
    return {kind: (path, left[kind]) for kind, path in paths.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_export_leaves_goes_with_the_next_one_and_what_is_in_work_stays(kind, killed):
    path, left = killed[kind]
    assert (left / "half").is_file()
    (path.parent / ".other.1.partial").mkdir()  # of another path
    READY[kind](path)
    assert [name.name for name in path.parent.iterdir()] == [".other.1.partial"]


@pytest.mark.slow
def test_the_saved_model_that_a_killed_export_was_replacing_comes_back(killed):
    path, _ = killed["between"]
    READY["between"](path)
    assert (path / "saved_model.pb").read_bytes() == b"before"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_removes_what_was_left_and_leaves_the_file_alone(name, tmp_path):
    left = tmp_path / ".warp.0.partial"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    (tmp_path / ".warp.1.partial").write_bytes(b"half")
    EXPORTERS[name](warp(), tmp_path / "warp")
    assert list(tmp_path.iterdir()) == [tmp_path / "warp"]


def _at_once(*functions):
    """Runs functions in threads; what they raised."""
    errors = []

    def run(function):
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[function]) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_threads_that_write_one_file_each_write_a_whole_one(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([number]) * 300_000 for number in range(4)]

    def write(content):
        for _ in range(20):
            _files.target(path)
            with _files.partial(path) as beside:
                _files.write(beside / "new", content)
                _files.move(beside / "new", path)
            assert path.read_bytes() in contents

    assert _at_once(*(lambda content=content: write(content) for content in contents)) == []
    assert list(tmp_path.iterdir()) == [path]


def test_threads_that_replace_one_folder_each_put_a_whole_one_there(tmp_path):
    path = tmp_path / "folder"

    def write(number):
        for _ in range(20):
            _files.folder(path)
            with _files.partial(path) as beside:
                new = beside / "saved_model"
                new.mkdir()
                for name in ("saved_model.pb", "other"):
                    (new / name).write_text(number)
                _files.move(new, path)

    assert _at_once(*(lambda number=number: write(str(number)) for number in range(4))) == []
    one, two = ((path / name).read_text() for name in ("saved_model.pb", "other"))
    assert one == two
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["tflite", "saved_model", "graph"])
def test_two_threads_export_to_one_path(name, tmp_path):
    models = [warp(), warp()]
    path = tmp_path / "warp"
    exports = [lambda model=model: EXPORTERS[name](model, path) for model in models]
    assert _at_once(*exports) == []
    assert list(tmp_path.iterdir()) == [path]


# A process that may write files of so many bytes and no more meets on any disk what a full one says.
_ON_A_FULL_DISK = """
import contextlib, io, json, resource, sys
import keras, keras_stn
from keras_stn import cli

folder = sys.argv[1]
path = f"{folder}/model.keras"
model = keras.Sequential([keras.Input((8, 12, 1)), keras_stn.SpatialTransformer("dense")])
model.save(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for to in sys.argv[2:]:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = cli.main(["export", path, "--to", to, "-o", f"{folder}/{to}/warp"])
    print(json.dumps([to, code, said.getvalue()]))
"""
FULL = "saved_model", "tflite", "onnx"


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """The folder of exports to a full disk, {format: (exit code, stderr)}, and what TensorFlow said."""
    folder = tmp_path_factory.mktemp("full")
    for name in (*FULL, "temporary"):
        (folder / name).mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    command = [sys.executable, "-c", _ON_A_FULL_DISK, str(folder), *FULL]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    answers = (json.loads(line) for line in run.stdout.splitlines() if line.startswith("["))
    return folder, {to: (code, said) for to, code, said in answers}, run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("to", FULL)
def test_a_full_disk_is_one_line_that_names_the_path_and_leaves_nothing(to, full_disk):
    folder, answers, tensorflow = full_disk
    code, said = answers[to]
    assert code == 2, said
    (error,) = said.splitlines()
    assert error.startswith("keras-stn export: error:")
    assert "File too large" in error
    assert str(folder) in error
    assert "Traceback" not in tensorflow
    assert list((folder / to).iterdir()) == []
    assert not [path for path in (folder / "temporary").iterdir() if "saved_model" in str(path)]


def test_what_tensorflow_says_of_a_disk_is_an_oserror_with_the_path(tmp_path):
    refused = tf.errors.ResourceExhaustedError(None, None, "/a/b; No space left on device [Op:SaveV2]")
    with (
        pytest.raises(OSError, match="'here' cannot be written: No space left on device$"),
        _files.disk("here"),
    ):
        raise refused
    with pytest.raises(OSError, match="No space left on device: 'here'$"), _files.disk("here"):
        raise OSError(28, "No space left on device")


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="needs a folder that refuses root")
@pytest.mark.parametrize("name", EXPORTERS)
def test_a_folder_that_takes_no_files_is_told_before_any_work(name, monkeypatch):
    monkeypatch.setattr("keras_stn.export._trace.traced", None)
    with pytest.raises(OSError, match="/proc"):
        EXPORTERS[name](warp(), "/proc/warp")
