"""The benchmark: fair, right, and drawn."""

import importlib.util
import json

import numpy as np
import pytest

from keras_stn import benchmark, cli
from keras_stn.benchmark import contenders
from keras_stn.benchmark.contenders import BOTH, FORWARD, OURS, PARAMS, TEXTBOOK, TORCH

SHAPE = (2, 9, 14, 3)


@pytest.mark.parametrize("task", [FORWARD, PARAMS, BOTH])
def test_contenders_do_the_same_work(task):
    rows = benchmark.measure(contenders.case(SHAPE, "affine", task), seconds=0.1)
    found = {row.contender.split(",")[0] for row in rows}
    assert {OURS, TEXTBOOK} <= found
    assert (TORCH in found) == (importlib.util.find_spec("torch") is not None)
    for row in rows:
        assert 0 < row.quartiles[0] <= row.milliseconds <= row.quartiles[1]
        if row.contender.startswith((OURS, TEXTBOOK, TORCH)):
            # Noise changes by up to 1 a pixel, and a coordinate near 14 is rounded to 1e-6.
            assert row.error <= 5e-6, row
            if task != FORWARD:
                assert row.gradient_error <= 1e-4, row


def test_textbook_transformer_is_right_in_float64():
    case = contenders.case(SHAPE, "affine", PARAMS)
    output, gradient = contenders.truth(case)
    ours = contenders.contenders(case)[f"{OURS}, compiled"]()
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


def test_command_prints_tables_and_writes_what_it_says(tmp_path, capsys):
    folder = tmp_path / "new"
    assert cli.main(["benchmark", "--shape", "1x8x12x1", "--seconds", "0.05", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    for words in ("1x8x12x1, affine, forward", "1x8x12x1, attention, forward", f"{OURS}, compiled"):
        assert words in printed
    content = json.loads((folder / "benchmark.json").read_text())
    assert {row["task"] for row in content["rows"]} == {FORWARD, PARAMS, BOTH}
    assert content["machine"]["cores"] > 0
    assert (folder / "benchmark.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "arguments",
    [["--shape", "8x224"], ["--shape", "0x8x8x1"], ["--seconds", "0"], ["--seconds", "soon"]],
)
def test_command_refuses_what_cannot_be_measured(arguments, capsys):
    with pytest.raises(SystemExit):
        cli.main(["benchmark", *arguments])
    assert "Received: " in capsys.readouterr().err
