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
import numpy as np
import pytest
import tensorflow as tf

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
    torch = pytest.importorskip("torch", reason="PyTorch is a peer only; CI installs it")
    sample = defaults(torch.nn.functional.grid_sample)
    assert (sample["mode"], sample["padding_mode"]) == ("bilinear", "zeros")
    assert not sample["align_corners"]
    assert not defaults(torch.nn.functional.affine_grid)["align_corners"]


# --- What the README says of Keras' own functions ------------------------------------------------------

SIZE = 120, 160
MATRIX = np.array([[0.75, 0.27, 3.2], [-0.27, 0.75, 40.1]], "float32")  # target to source, in pixels


def picture():
    """A smooth one in [0, 1]: on noise the roundings of coordinates would count for more."""
    noise = np.random.default_rng(0).random((1, 12, 16, 3), "float32")
    return np.clip(tf.image.resize(noise, SIZE, "bicubic"), 0, 1)


def keras_transform(images, matrix, **settings):
    vector = tf.pad(tf.reshape(matrix, (1, 6)), [[0, 0], [0, 2]])  # and a last row of (0, 0, 1)
    return keras.ops.image.affine_transform(images, vector, **settings)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "reflect"])
def test_a_vector_of_keras_is_a_matrix_from_target_to_source(fill_mode):
    params = keras_stn.transforms.Affine().from_pixel_matrix(MATRIX, SIZE, target_to_source=True)
    ours = keras_stn.ops.warp(picture(), params, fill_mode=fill_mode)
    theirs = keras_transform(picture(), MATRIX, fill_mode=fill_mode)
    # Each rounds coordinates of up to 160 by 2e-5, and the border is a step of up to 1 a pixel.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5)


def test_keras_gives_no_gradient_to_its_vector():
    matrix = tf.Variable(MATRIX)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(keras_transform(picture(), matrix) ** 2)
    assert tape.gradient(total, matrix) is None


def test_coordinates_in_pixels_are_a_grid_as_the_readme_says():
    (height, width), images = SIZE, picture()
    x, y = np.meshgrid(np.linspace(3, 140, 40), np.linspace(-5, 100, 30))
    grid = np.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], axis=-1)[None].astype("float32")
    ours = keras_stn.ops.grid_sample(images, grid)
    for channel in range(3):
        theirs = keras.ops.image.map_coordinates(images[0, ..., channel], [y, x], order=1)
        np.testing.assert_allclose(ours[0, ..., channel], theirs, rtol=0, atol=5e-5)
