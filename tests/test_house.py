"""The house: imports go one way, modules stay small, and the library keeps its habits."""

import ast
import configparser
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_stn"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each room may import from those before it.
ROOMS = [
    "_version",
    "_quiet",
    "_checks",
    "_layout",
    "_saving",
    "grids",
    "sampler",
    "transforms",
    "ops",
    "localization",
    "layers",
    "export",
    "visualize",
    "demo",
    "benchmark",
    "cli",
    "__main__",
]

modules = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


def tree(path):
    return ast.parse(path.read_text())


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path, nodes=None):
    """Dotted names that a module imports, anywhere in it or by some of its nodes."""
    for node in nodes or ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(node):
    """What runs as a module is imported: all but the insides of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_import(child)


def imported_rooms(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "keras_stn" and len(parts) > 1:
            yield parts[1]


@modules
def test_imports_go_one_way(path):
    if path == PACKAGE / "__init__.py":
        return  # the front door opens on every room
    here = ROOMS.index(room(path))
    for other in imported_rooms(path):
        if other.startswith("__"):
            continue  # a name of the package itself, such as __version__
        assert ROOMS.index(other) < here or other == room(path), f"{path} imports {other}"


def test_every_module_stands_in_a_known_room():
    assert {room(path) for path in MODULES} - {"__init__"} <= set(ROOMS)


@modules
def test_modules_stay_below_350_lines(path):
    assert len(path.read_text().splitlines()) <= 350


@modules
def test_no_private_imports_no_assert_and_no_lambda_layer(path):
    for name in imports(path):
        assert not name.startswith(("keras.src", "tensorflow.python")), name
        assert not name.endswith("layers.Lambda"), name
    for node in ast.walk(tree(path)):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno} asserts"
        lambda_layer = isinstance(node, ast.Attribute) and node.attr == "Lambda"
        assert not lambda_layer, f"{path}:{node.lineno} makes a layer that cannot be saved safely"


@modules
def test_what_an_extra_brings_is_imported_where_it_is_needed(path):
    """Inside functions, and in the module of the benchmark's picture, which is imported in one."""
    needed = {"keras", "numpy", "rich", "tensorflow", "keras_stn"} | set(sys.stdlib_module_names)
    if path == PACKAGE / "benchmark" / "plot.py":
        needed.add("matplotlib")
    assert {name.split(".")[0] for name in imports(path, at_import(tree(path)))} <= needed


def test_top_level_holds_what_it_should():
    if not (ROOT / ".git").exists():
        pytest.skip("git says which files belong to the project")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {line.split("/")[0] for line in listed.stdout.splitlines()}
    fixed = {"setup.cfg", "README.md", "keras_stn", "tests", "examples", "saved_models"}
    tools = {"pyproject.toml", "LICENSE", "CHANGELOG.md"}
    assert {name for name in names if not name.startswith(".")} <= fixed | tools


def test_linter_and_type_checker_are_content():
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_setup_names_the_extras_that_the_readme_installs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    readme = (ROOT / "README.md").read_text()
    for extra in setup["options.extras_require"]:
        assert f"[{extra}]" in readme, extra
