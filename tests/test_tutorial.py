"""The tutorial: the notebook is that of the script, and the script runs."""

import importlib
import json
import pathlib
import re
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "tutorial"
SCRIPT = FOLDER / "straighten_digits.py"

sys.path.append(str(FOLDER))
to_notebook = importlib.import_module("to_notebook")


def test_a_script_is_cut_into_text_and_code():
    text = '"""\nTitle: A\nDescription: B: c\n"""\n\n"""\n## One\n"""\n\n"""shell\npip x\n"""\n\n'
    code = 'x = 1\n\n\ndef f():\n    """Not a cell."""'
    (_, header), *others = to_notebook.cells(text + code)
    assert others == [("markdown", "## One"), ("code", "!pip x"), ("code", code)]
    first = to_notebook.header(header, "name")
    assert first.startswith("# A\n")
    assert first.endswith("**Description:** B: c")
    assert "/examples/tutorial/name.ipynb)" in first


def test_the_notebook_is_that_of_the_script():
    made = to_notebook.notebook(SCRIPT.read_text(), SCRIPT.stem)
    shipped = json.loads(SCRIPT.with_suffix(".ipynb").read_text())
    lines = [
        [(cell["cell_type"], "".join(cell["source"])) for cell in one["cells"]]
        for one in (made, shipped)
    ]
    assert lines[0] == lines[1]
    assert importlib.import_module("nbformat").validate(shipped) is None


def test_it_is_short_and_in_the_form_of_keras_pages():
    script = SCRIPT.read_text()
    assert len(script.splitlines()) <= 300
    header = script.split('"""')[1]
    assert re.findall(r"^(\w[\w ]*):", header, re.MULTILINE) == [
        "Title",
        "Author",
        "Date created",
        "Last modified",
        "Description",
        "Accelerator",
    ]


@pytest.mark.slow
def test_the_script_runs_to_its_picture_and_its_file(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ai_edge_litert", reason="it runs the file; CI installs it")
    script = SCRIPT.read_text()
    short = script.replace("EPOCHS = 20", "EPOCHS = 1").replace("train=4000", "train=256")
    assert short.count("EPOCHS = 1\n") == short.count("train=256") == 1
    monkeypatch.chdir(tmp_path)
    exec(compile(short, SCRIPT.name, "exec"), {"__name__": "tutorial"})
    assert (tmp_path / "straightened.png").stat().st_size > 10_000
    assert (tmp_path / "digits.tflite").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert re.search(r"test error: [\d.]+ % alone, [\d.]+ % behind", printed)
    assert re.search(r"half are within \d+ of upright", printed)
