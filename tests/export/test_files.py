"""Files are whole or not there: killed, full, or written by two at a time."""

import os
import pathlib
import subprocess
import sys
import threading

import pytest
import tensorflow as tf
from common import EXPORTERS, warp

from keras_stn.export import _files

# Writes to the path until it is killed; says so once there is something beside the path.
_WRITER = """
import pathlib, sys, time
from keras_stn.export import _files

path = pathlib.Path(sys.argv[1])
_files.target(path) if sys.argv[2] == "file" else _files.folder(path)
with _files.partial(path) as beside:
    if sys.argv[2] == "between":
        path.rename(beside / "before")
    (beside / "half").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def _killed_while_writing(path, kind):
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), kind], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    return writer


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_export_leaves_goes_with_the_next_one_and_what_is_in_work_stays(kind, tmp_path):
    path = tmp_path / "warp[1].x"  # a name that a pattern would read
    writer = _killed_while_writing(path, kind)
    ready = _files.target if kind == "file" else _files.folder
    try:
        (left,) = tmp_path.iterdir()
        ready(path)
        assert left.is_dir(), "another export's files were taken from it"
    finally:
        writer.kill()
        writer.communicate()
    assert (left / "half").is_file()
    (tmp_path / ".other.1.partial").mkdir()  # of another path
    ready(path)
    assert [name.name for name in tmp_path.iterdir()] == [".other.1.partial"]


def test_the_saved_model_that_a_killed_export_was_replacing_comes_back(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(b"before")
    writer = _killed_while_writing(path, "between")
    assert not path.exists()
    writer.kill()
    writer.communicate()
    _files.folder(path)
    assert (path / "saved_model.pb").read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


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
import resource, sys
import keras, keras_stn
from keras_stn import cli

model = keras.Sequential([keras.Input((8, 12, 1)), keras_stn.SpatialTransformer("dense")])
model.save(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(cli.main(["export", sys.argv[1], "--to", sys.argv[2], "-o", sys.argv[3]]))
"""


@pytest.mark.parametrize("to", ["saved_model", "tflite", "onnx"])
def test_a_full_disk_is_one_line_that_names_the_path_and_leaves_nothing(to, tmp_path):
    model, out, temporary = tmp_path / "m.keras", tmp_path / "out", tmp_path / "temporary"
    for folder in (out, temporary):
        folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(model), to, str(out / "warp")],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert run.returncode == 2, run.stderr[-2000:]
    error = [line for line in run.stderr.splitlines() if line.startswith("keras-stn export: error:")]
    assert len(error) == 1, run.stderr[-2000:]
    assert "File too large" in error[0]
    assert str(tmp_path) in error[0]
    assert "Traceback" not in run.stderr
    assert list(out.iterdir()) == []
    assert not [path for path in temporary.iterdir() if "saved_model" in str(path)]


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
