"""The benchmark: fair, right, and drawn."""

import importlib.util
import itertools
import json

import numpy as np
import pytest

from keras_stn import benchmark, cli
from keras_stn.benchmark import contenders, report
from keras_stn.benchmark.contenders import BOTH, FORWARD, IN_MODEL, OURS, PARAMS, TASKS, TEXTBOOK, TORCH

SHAPE = (2, 9, 14, 3)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_contenders_do_the_same_work(task):
    rows = benchmark.measure(SHAPE, task, seconds=0.1)
    found = {row.contender.split(",")[0] for row in rows}
    assert {OURS, TEXTBOOK} <= found
    assert (TORCH in found) == (importlib.util.find_spec("torch") is not None)
    for row in rows:
        assert row.quartiles[0] <= row.milliseconds <= row.quartiles[1]
        if task != IN_MODEL:  # a difference, that is lost in noise at such a size
            assert row.quartiles[0] > 0
        # Noise changes by up to 1 a pixel, and a coordinate near 14 is rounded to 1e-6.
        assert row.error <= 5e-6, row
        if task in (PARAMS, BOTH):
            assert row.gradient_error <= 1e-4, row


def test_textbook_transformer_is_right_in_float64():
    output, gradient = contenders.truth(SHAPE)
    ours = contenders.contenders(SHAPE, PARAMS)[f"{OURS}, compiled"]()
    np.testing.assert_allclose(ours[0], output, rtol=0, atol=5e-6)
    np.testing.assert_allclose(ours[1], gradient, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("who", [OURS, TEXTBOOK])
def test_passes_of_one_call_share_no_work(who):
    """Five passes are five outputs, of five maps: nothing is shared or left out."""
    run = contenders.contenders((2, 96, 130, 3), IN_MODEL)[f"{who}, compiled"]
    outputs = run(5)
    assert len(outputs) == 5
    for before, after in itertools.pairwise(outputs):
        assert np.abs(before - after).max() > 0.01


def row_of(task, shape=SHAPE, who=OURS, ratio=0.5):
    return benchmark.Row(shape, task, f"{who}, compiled", 1.0, (0.5, 1.5), ratio, 1e-6, None)


def test_picture_shows_each_ratio_over_its_shape():
    rows = [row_of(task, (2, 9, side, 3), ratio=side / 10) for task in TASKS for side in (14, 7)]
    for panel, task in zip(report.figure(rows).axes, TASKS, strict=True):
        assert panel.get_title().startswith(task)
        assert [bar.get_height() for bar in panel.patches] == [1.4, 0.7]
        assert [label.get_text() for label in panel.get_xticklabels()] == ["2x9x14x3", "2x9x7x3"]


@pytest.mark.parametrize("rows", [[], [row_of(PARAMS, ratio=None)]], ids=["nothing", "no PyTorch"])
def test_picture_of_part_of_a_benchmark_warns_of_nothing(rows, tmp_path):
    report.figure(rows).savefig(tmp_path / "benchmark.png")


@pytest.mark.slow
def test_command_prints_tables_and_writes_what_it_says(tmp_path, capsys, monkeypatch):
    row = benchmark.Memory(BOTH, f"{OURS}, compiled", 21.5)
    monkeypatch.setattr(benchmark, "memory", lambda: [row])
    folder = tmp_path / "new"
    arguments = ["--shape", "1x8x12x1", "--seconds", "0.05", "--memory", "--out", str(folder)]
    assert cli.main(["benchmark", *arguments]) == 0
    printed = capsys.readouterr().out
    for words in (
        *("1x8x12x1, forward", "1x8x12x1, params_step", f"{OURS}, compiled"),
        *("memory at 8x224x224x3", "21.5"),
    ):
        assert words in printed
    assert "…" not in printed  # all of it fits
    content = json.loads((folder / "benchmark.json").read_text())
    assert {row["task"] for row in content["rows"]} == set(TASKS)
    assert content["measured on"]["cores"] > 0
    assert content["memory"] == [row._asdict()]
    assert (folder / "benchmark.png").stat().st_size > 10_000


def test_resumed_command_measures_only_what_is_missing(tmp_path, capsys, monkeypatch):
    """Also after a case that failed: what was measured before it is on file."""
    asked = []

    def measure(shape, task, seconds):
        asked.append(task)
        if task == BOTH and len(asked) < 5:
            raise KeyboardInterrupt
        return [row_of(task, shape)]

    monkeypatch.setattr(benchmark, "measure", measure)
    command = ["benchmark", "--shape", "2x9x14x3", "--out", str(tmp_path), "--resume"]
    with pytest.raises(KeyboardInterrupt):
        cli.main(command)
    assert cli.main(command) == 0
    assert asked == [*TASKS, BOTH]
    assert f"2x9x14x3, {BOTH}" in capsys.readouterr().out
    assert benchmark.load(tmp_path) == [row_of(task) for task in TASKS]


def test_rows_of_another_machine_are_measured_again(tmp_path, monkeypatch):
    benchmark.save([row_of(FORWARD)], [], tmp_path)
    monkeypatch.setattr(report, "_measured_on", lambda: {"processor": "another"})
    assert benchmark.load(tmp_path) == []


@pytest.mark.parametrize(
    "arguments",
    [["--shape", "8x224"], ["--shape", "0x8x8x1"], ["--seconds", "0"], ["--seconds", "soon"]],
)
def test_command_refuses_what_cannot_be_measured(arguments, capsys):
    with pytest.raises(SystemExit):
        cli.main(["benchmark", *arguments])
    assert "Received: " in capsys.readouterr().err


def test_memory_that_cannot_be_told_is_an_error_of_the_command(tmp_path, capsys, monkeypatch):
    def fail():
        raise OSError("no account of memory from XLA")

    monkeypatch.setattr(benchmark, "memory", fail)
    monkeypatch.setattr(benchmark, "measure", lambda shape, task, seconds: [row_of(task, shape)])
    assert cli.main(["benchmark", "--memory", "--shape", "2x9x14x3", "--out", str(tmp_path)]) == 2
    assert "error: no account of memory from XLA" in capsys.readouterr().err
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(content["rows"]) == len(TASKS)  # what was measured before is there
    assert content["memory"] == []


@pytest.mark.slow
def test_training_steps_keep_to_their_memory():
    """The results, and what one image of the batch needs in between: 0.9 and 5.8 MB, of 1 and 6."""
    megabytes = {(row.task, row.contender): row.megabytes for row in benchmark.memory()}
    images = 8 * 224 * 224 * 3 * 4 / 1e6
    for task, results, between in ((PARAMS, 1, 1), (BOTH, 2, 6)):
        ours, textbook = (megabytes[task, f"{who}, compiled"] for who in (OURS, TEXTBOOK))
        assert results * images <= ours <= results * images + between
        assert textbook >= 4 * ours  # 5.6 and 5.2 times, as TensorFlow 2.21 compiles it
