"""Every example in a docstring and every Python block of a page runs, and every link leads somewhere."""

import doctest
import importlib
import inspect
import pathlib
import pkgutil
import re
import shutil
import subprocess

import keras
import pytest

import keras_stn

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ".", ".github", "keras_stn", "keras_stn/*", "examples", "examples/*", "saved_models"
PAGES = sorted({path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md")})
MODULES = ["keras_stn"] + [
    module.name
    for module in pkgutil.walk_packages(keras_stn.__path__, "keras_stn.")
    if module.name != "keras_stn.__main__"  # which runs the command
]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples may write files
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert failed == 0


def test_pages_are_found():
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "keras_stn/README.md", "examples/web/README.md", "CHANGELOG.md"} <= names


@each_page
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(), {"__name__": "__main__"}
    blocks = list(re.finditer(r"```python\n(.*?)```", text, flags=re.DOTALL))
    assert blocks or page != ROOT / "README.md"
    for block in blocks:
        above = "\n" * text.count("\n", 0, block.start(1))  # an error then names the line of the page
        exec(compile(above + block[1], page, "exec"), names)


def links(page):
    return re.findall(r"\]\(([^)]+)\)", page.read_text())


@each_page
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        if re.match("https?://", link):
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text().lower(), flags=re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title).replace(" ", "-") for title in titles]


def test_links_of_the_readme_are_absolute_on_the_page_of_a_package_index(tmp_path):
    readme, script = ROOT / "README.md", ROOT / ".ci" / "readme_for_index"
    (tmp_path / ".ci").mkdir()
    shutil.copy(script, tmp_path / ".ci")
    shutil.copy(readme, tmp_path)
    subprocess.run([tmp_path / ".ci" / script.name, "https://host/us/it", "v1"], check=True)
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme.read_text())
    assert pictures
    for before, after in zip(links(readme), links(tmp_path / "README.md"), strict=True):
        kind = "raw" if before in pictures else "blob"
        assert after == (before if "://" in before else f"https://host/us/it/{kind}/v1/{before}")


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


def test_defaults_of_others_are_those_that_the_readme_names():
    def defaults(function):
        parameters = inspect.signature(function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    transform = defaults(keras.ops.image.affine_transform)
    assert (transform["interpolation"], transform["fill_mode"]) == ("bilinear", "constant")
    for layer in (keras.layers.RandomRotation, keras.layers.RandomTranslation, keras.layers.RandomZoom):
        assert defaults(layer)["fill_mode"] == "reflect"
    torch = pytest.importorskip("torch")
    sample = defaults(torch.nn.functional.grid_sample)
    assert (sample["mode"], sample["padding_mode"]) == ("bilinear", "zeros")
    assert not sample["align_corners"]
    assert not defaults(torch.nn.functional.affine_grid)["align_corners"]
