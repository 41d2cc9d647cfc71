"""The benchmark: fair, right, and drawn."""

import dataclasses
import importlib.util
import io
import itertools
import json
import re

import numpy as np
import pytest
from rich.console import Console

from keras_stn import Warp, benchmark, cli
from keras_stn.benchmark import contenders, network, plot
from keras_stn.benchmark.contenders import BOTH, FORWARD, ONE_MORE, OURS, PARAMS, TEXTBOOK, TORCH

SHAPE = (2, 9, 14, 3)


@pytest.mark.parametrize("task", [FORWARD, PARAMS, BOTH])
def test_contenders_do_the_same_work(task):
    rows = benchmark.measure(contenders.case(SHAPE, "affine", task), seconds=0.1)
    found = {row.contender.split(",")[0] for row in rows}
    assert {OURS, TEXTBOOK} <= found
    assert (TORCH in found) == (importlib.util.find_spec("torch") is not None)
    for row in rows:
        assert row.quartiles[0] <= row.milliseconds <= row.quartiles[1]
        if ONE_MORE not in row.contender:  # a difference, that is lost in noise at such a size
            assert row.quartiles[0] > 0
        if any(who in row.contender for who in (OURS, TEXTBOOK, TORCH)):
            # Noise changes by up to 1 a pixel, and a coordinate near 14 is rounded to 1e-6.
            assert row.error <= 5e-6, row
            if task != FORWARD:
                assert row.gradient_error <= 1e-4, row


def test_textbook_transformer_is_right_in_float64():
    case = contenders.case(SHAPE, "affine", PARAMS)
    output, gradient = contenders.truth(case)
    ours = contenders.contenders(case)[f"{OURS}, compiled"].run()
    np.testing.assert_allclose(ours[0], output, rtol=0, atol=5e-6)
    np.testing.assert_allclose(ours[1].reshape(gradient.shape), gradient, rtol=1e-4, atol=1e-3)


def test_keras_and_tensorflow_are_given_the_same_map():
    """Inside: their borders are not those of a spatial transformer."""
    case = contenders.case((1, 30, 44, 1))
    case.params[:] = [0.4, 0.1, 0.05, -0.1, 0.5, 0.1]
    rows = benchmark.measure(case, seconds=0.1)
    errors = {row.contender: row.error for row in rows}
    assert errors["keras affine_transform"] <= 2e-5  # their map is rounded in pixels
    assert errors["ImageProjectiveTransformV3"] <= 2e-5
    assert errors["copy"] is None


def test_one_more_does_the_work_each_time():
    """Five passes of one call are five outputs, of five maps: nothing is shared or left out."""
    run = contenders.contenders(contenders.case((2, 96, 130, 3)))[f"{ONE_MORE}, {OURS}, compiled"].run
    outputs = run()
    assert len(outputs) == 5
    for before, after in itertools.pairwise(outputs):
        assert np.abs(before - after).max() > 0.01


def test_growth_is_told_beyond_the_cost_of_a_call():
    def row(side, milliseconds):
        shape = (1, side, side, 3)
        return benchmark.Row(shape, "affine", FORWARD, OURS, milliseconds, (0, 9), None, None, None)

    console = Console(file=io.StringIO(), width=100)
    console.print(benchmark.growth_table([row(1, 0.25), row(100, 0.3), row(200, 0.45)]))
    assert re.findall(r"(\d+x\S+) +(\S+) *(\S*)", console.file.getvalue()) == [
        ("1x1x1x3", "0.25", ""),
        ("1x100x100x3", "0.30", "5.0"),
        ("1x200x200x3", "0.45", "5.0"),
    ]


def test_transformers_join_the_network_they_are_measured_in():
    small = network.Network("small", (12, 17, 2), 3, ((4, 3), None, (5, 3)), "same", (6,), 2)
    models = {variant: network.model(small, variant) for variant in network.VARIANTS}
    warps = {
        variant: [layer for layer in model.layers if isinstance(layer, Warp)]
        for variant, model in models.items()
    }
    assert [len(warps[variant]) for variant in network.VARIANTS] == [0, 0, 2]
    assert [warp.output.shape[1:] for warp in warps[network.TRANSFORMED]] == [(12, 17, 2), (6, 8, 4)]
    costs = list(benchmark.costs(small, rounds=2))
    assert [cost.variant for cost in costs] == list(network.VARIANTS)
    assert costs[0].ratio == 1
    assert all(cost.milliseconds > 0 for cost in costs)


def row_of(task, shape=(2, 9, 14, 3)):
    name = f"{OURS}, compiled"
    return benchmark.Row(shape, "affine", task, name, 1.0, (0.5, 1.5), 0.5, None, None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shown", ["growth", "networks"])
def test_picture_leaves_out_what_was_not_measured(shown, tmp_path):
    rows = [row_of(task) for task in (FORWARD, PARAMS, BOTH)]
    growth = [row_of(FORWARD, shape) for shape in ((1, 28, 28, 3), (4, 40, 40, 1))]
    costs = [benchmark.Cost("MNIST", "CNN", 75.0, 1.0)]
    figure = plot.figure(rows, growth if shown == "growth" else [], costs if shown == "networks" else [])
    *curves, networks = figure.axes[3:]
    assert [panel.axison for panel in curves] == [shown == "growth"] * 2
    assert networks.axison == (shown == "networks")
    figure.savefig(tmp_path / "benchmark.png")  # warns where something does not fit


def test_command_prints_tables_and_writes_what_it_says(tmp_path, capsys, monkeypatch):
    row = benchmark.Memory((8, 224, 224, 3), BOTH, f"{OURS}, compiled", 21.5)
    monkeypatch.setattr(benchmark, "memory", lambda: [row])
    folder = tmp_path / "new"
    arguments = ["--shape", "1x8x12x1", "--seconds", "0.05", "--memory", "--out", str(folder)]
    assert cli.main(["benchmark", *arguments]) == 0
    printed = capsys.readouterr().out
    for words in (
        *("1x8x12x1, affine, forward", "1x8x12x1, attention, forward", f"{OURS}, compiled"),
        *("memory of a training step at 8x224x224x3", "21.5"),
    ):
        assert words in printed
    assert "…" not in printed  # all of it fits
    content = json.loads((folder / "benchmark.json").read_text())
    assert {row["task"] for row in content["rows"]} == {FORWARD, PARAMS, BOTH}
    assert content["machine"]["cores"] > 0
    assert content["memory"] == [dataclasses.asdict(row) | {"shape": [8, 224, 224, 3]}]
    assert (folder / "benchmark.png").stat().st_size > 10_000


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
    monkeypatch.setattr(benchmark, "rows", lambda *_: map(row_of, (FORWARD, PARAMS, BOTH)))
    assert cli.main(["benchmark", "--memory", "--out", str(tmp_path)]) == 2
    assert "error: no account of memory from XLA" in capsys.readouterr().err
    content = json.loads((tmp_path / "benchmark.json").read_text())
    assert len(content["rows"]) == 3  # what was measured before is there
    assert content["memory"] == []


def test_training_steps_keep_to_their_memory():
    """At most images, output and one grid, and a fifth more, be the gradient to the images among it."""
    megabytes = {(row.task, row.contender): row.megabytes for row in benchmark.memory()}
    images, grid = (8 * 224 * 224 * count * 4 / 1e6 for count in (3, 2))
    for task, results in ((PARAMS, 1), (BOTH, 2)):
        ours, textbook = (megabytes[task, f"{who}, compiled"] for who in (OURS, TEXTBOOK))
        assert results * images <= ours <= 1.2 * (2 * images + grid)  # 5.7 and 14.7 MB, for 15.4
        assert textbook >= 4 * ours  # 5.7 and 5.5 times, as TensorFlow 2.21 compiles it
