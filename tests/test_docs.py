"""Every example in a docstring and every Python block of the README runs and prints what it says."""

import doctest
import importlib
import pathlib
import pkgutil
import re

import pytest

import keras_stn

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
MODULES = ["keras_stn"] + [
    module.name
    for module in pkgutil.walk_packages(keras_stn.__path__, "keras_stn.")
    if module.name != "keras_stn.__main__"  # which runs the command
]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert failed == 0


def python_blocks():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return [pytest.param(block, id=f"block {n}") for n, block in enumerate(blocks, 1)]


@pytest.mark.parametrize("block", python_blocks())
def test_readme_python_blocks(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


def test_readme_links_lead_to_files():
    root = pathlib.Path(__file__).parents[1]
    targets = re.findall(r"\]\((?!https?://|#)([^)]+)\)", README)
    assert targets
    for target in targets:
        assert (root / target.split("#")[0]).exists(), target
