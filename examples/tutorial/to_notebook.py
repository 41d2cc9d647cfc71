"""Makes the notebook of a tutorial, which is a script in the form of Keras' own example pages.

    python examples/tutorial/to_notebook.py examples/tutorial/straighten_digits.py

A string that stands alone is a cell of text, all between two of them is a cell of code. The first one is
the header: lines of `Name: value`. One that begins with the line "shell" has commands. Needs the extra
`[examples]`.
"""

import argparse
import ast
import pathlib
import re

import nbformat.v4 as notebooks
from nbformat import NotebookNode

REPOSITORY = "keras-stn/keras-stn"  # where hosted notebooks look for the file
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
HOST = f"https://colab.research.google.com/github/{REPOSITORY}/blob/main/examples/tutorial"


def cells(script: str) -> list[tuple[str, str]]:
    """Pairs ("markdown" or "code", text), the header first."""
    lines = script.splitlines()
    found, done = [], 0
    for node in ast.parse(script).body:
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text and isinstance(node.value.value, str):
            found += [("code", "\n".join(lines[done : node.lineno - 1])), _text(node.value.value)]
            done = node.end_lineno
    found.append(("code", "\n".join(lines[done:])))
    return [(kind, text.strip()) for kind, text in found if text.strip()]


def _text(text: str) -> tuple[str, str]:
    first, *others = text.splitlines()
    if first == "shell":
        return "code", "\n".join(f"!{line}" for line in others)
    return "markdown", text


def header(text: str, name: str) -> str:
    """The first cell: title, a badge that opens the notebook, and the other lines of the header."""
    values = dict(re.findall(r"^(\w[\w ]*): (.*)$", text, re.MULTILINE))
    title = values.pop("Title")
    badge = f"[![Open in Colab]({BADGE})]({HOST}/{name}.ipynb)"
    return "\n\n".join([f"# {title}", badge, *(f"**{key}:** {value}" for key, value in values.items())])


def notebook(script: str, name: str) -> NotebookNode:
    """The notebook of a script; the same one for the same script."""
    (_, first), *others = cells(script)
    made = [notebooks.new_markdown_cell(header(first, name))]
    for kind, text in others:
        make = notebooks.new_code_cell if kind == "code" else notebooks.new_markdown_cell
        made.append(make(text))
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"  # nbformat's own are random
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebooks.new_notebook(cells=made, metadata={"kernelspec": kernel})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", type=pathlib.Path)
    script = parser.parse_args().script
    path = script.with_suffix(".ipynb")
    path.write_text(notebooks.writes(notebook(script.read_text(), script.stem)) + "\n")
    print("wrote", path)


if __name__ == "__main__":
    main()
