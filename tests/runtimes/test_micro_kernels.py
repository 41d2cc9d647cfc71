"""`check_tflite` on microcontrollers, held to the real interpreter: one file for each op and dtype."""

import os
import subprocess

import environments
import micro_ops
import pytest

from keras_stn import export


@pytest.mark.runtimes
def test_the_verdict_for_microcontrollers_is_that_of_the_interpreter(tmp_path):
    cases = micro_ops.write(tmp_path)
    assert len(cases) >= 450
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environments.python("micro"), micro_ops.__file__, tmp_path]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    runs = set(answer.stdout.splitlines())
    assert len(runs) >= 250
    taken = {case for case in cases if not export.check_tflite(tmp_path / f"{case}.tflite", "micro")}
    assert taken - runs == set()
    assert runs - taken == set()


@pytest.mark.parametrize(
    ("case", "taken"),
    [
        ("ABS INT32", False),
        ("ABS INT8", True),
        ("ARG_MAX INT64 FLOAT32", False),
        ("ARG_MAX FLOAT32", True),
        ("CAST INT64 FLOAT32", False),
        ("CAST INT32 FLOAT32", True),
        ("CUMSUM INT32", False),
        ("FILL INT32", True),
        ("REDUCE_ALL BOOL", True),
        ("SELECT_V2 INT32", False),
        ("SPLIT INT32", True),
        ("STRIDED_SLICE 4 INT32", True),
        ("STRIDED_SLICE 5 FLOAT32", False),
        ("SUM INT32", False),
        ("TRANSPOSE INT32", False),
    ],
)
def test_what_the_interpreter_answered_is_what_the_rules_say(tmp_path, case, taken):
    name, dtype = case.rsplit(" ", 1)
    (tmp_path / "op.tflite").write_bytes(micro_ops.build(name, dtype)[0])
    assert (export.check_tflite(tmp_path / "op.tflite", "micro") == []) == taken
