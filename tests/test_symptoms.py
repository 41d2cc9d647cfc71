"""README's "Symptom and cure": runs of does_it_train show the disease without a cure, and none with."""

import importlib
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "does_it_train"

sys.path.append(str(FOLDER))
rows, verdict = (importlib.import_module(name) for name in ("rows", "verdict"))
FOUND = [
    row
    for folder in ("cures", "align")
    for row in verdict.judged(rows.read(FOLDER / "results" / folder / "rows.jsonl"))
]
SHIFT = 10  # pixels of 40: of the pairs that shall come together


def figures(task, transformer, rate, name, **arguments):
    """One of each seed; of "align" the share of pairs that come within one pixel."""
    asked = {"task": task, "transformer": transformer, "lr": rate}
    alike = [
        row
        for row in FOUND
        if all(row[key] == value for key, value in asked.items())
        and arguments.items() <= row["arguments"].items()
    ]
    values = [row["within"][SHIFT] if task == "align" else row[name] for row in alike]
    assert len(values) == 3
    return sorted(values)


def errors(transformer, rate, task="cluttered_40"):
    return figures(task, transformer, rate, "error")


@pytest.fixture(scope="module")
def cure():
    """The cell of the README's table beside a symptom."""
    lines = [line.split(" | ") for line in (ROOT / "README.md").read_text().splitlines()]
    return {
        symptom.strip("| "): text for symptom, text, *_ in (line for line in lines if len(line) == 2)
    }


def said(text, values, pattern="{:.1f}"):
    """Whether a text has the median of some values."""
    return pattern.format(values[1]) in text


def test_a_rate_that_is_too_high_is_cured_by_a_lower_one_or_by_the_default_network(cure):
    text = cure["it gets worse, or wanders off"]
    high, low = errors("conv", 1e-2), errors("conv", 1e-3)
    finds, inside = errors("affine", 1e-2), errors("conv, stays inside", 1e-2)
    assert high[0] > 1.2 * low[2]  # the best of three is worse than the worst
    assert high[0] > 1.5 * finds[2]
    assert inside[1] < high[1]
    assert any(row["collapsed"] for row in FOUND if (row["transformer"], row["lr"]) == ("conv", 1e-2))
    assert not any(
        row["collapsed"] for row in FOUND if row["transformer"] == "affine" and "error" in row
    )
    for values in high, low, finds, inside:
        assert said(text, values)


def test_what_does_not_move_has_no_gradient(cure):
    text = cure["it does not learn at all"]
    still, moves = (figures("cluttered_40", name, 1e-3, "determinant") for name in ("nearest", "affine"))
    assert still == [1, 1, 1]
    assert moves[2] < 0.9
    for values in errors("nearest", 1e-3), errors("affine", 1e-3):
        assert said(text, values)
    near, far = (  # both without jitter
        figures("align", name, 1e-2, "within", jitter=0.0) for name in ("affine", "affine, reach 8")
    )
    assert near[2] < 0.5
    assert far[0] >= 0.95
    for values in near, far:
        assert said(text, values, "{:.2f}")


def test_what_does_not_turn_is_cured_by_telling_it_the_pose_and_not_by_more_looks(cure):
    text = cure["it centres, but does not turn"]
    one, three, told = (
        figures("turned_60", name, 1e-3, "slope")
        for name in ("similarity", "similarity, three looks", "told the pose")
    )
    assert max(one[2], three[2]) < 0.1
    for values in one, three, told:
        assert said(text, values, "{:.2f}")
    assert told[0] > 0.8
