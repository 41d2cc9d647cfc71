"""The house: imports go one way, modules stay small, and the library keeps its habits.

A rule is a function of a package's folder that says what breaks it. `keras_stn` breaks none, and a small
package with the violation planted in it shows that the rule can see it.
"""

import ast
import configparser
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_stn"

# Each room may import from those before it.
ROOMS = [
    "_version",
    "_quiet",
    "_checks",
    "_layout",
    "_saving",
    "points",
    "grids",
    "pixel_matrices",
    "sampler",
    "transforms",
    "ops",
    "_poses",
    "losses",
    "regularizers",
    "metrics",
    "localization",
    "layers",
    "export",
    "visualize",
    "callbacks",
    "demo",
    "benchmark",
    "cli",
    "__main__",
]

PRIVATE = re.compile(r"^(keras\.src|tensorflow\.python)\b|^(tf|tensorflow)\.__internal__\b")

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def modules(package):
    return sorted(package.rglob("*.py"))


def tree(path):
    return ast.parse(path.read_text())


def room(package, path):
    return path.relative_to(package).parts[0].removesuffix(".py")


def place(package, path, node=None):
    line = f":{node.lineno}" if node else ""
    return f"{path.relative_to(package.parent)}{line}"


def imports(package, path, nodes=None):
    """(node, dotted name) of what a module imports, anywhere in it or by some of its nodes."""
    folders = path.parent.relative_to(package.parent).parts
    for node in nodes or ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folders[: len(folders) + 1 - node.level] if node.level else ()
            start = ".".join([*above, *[node.module] * bool(node.module)])
            yield from ((node, f"{start}.{alias.name}") for alias in node.names)


def at_import(node):
    """What runs as a module is imported: all but the insides of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_import(child)


def distribution(name):
    """How the package registry spells the name of a requirement or of an imported package."""
    name = re.split(r"[^\w.-]", name.strip())[0].replace("_", "-").lower()
    return {"skimage": "scikit-image", "pil": "pillow"}.get(name, name)


def declared(option):
    return {distribution(line) for line in option.strip().splitlines() if not line.startswith("%")}


CORE = declared(SETUP["options"]["install_requires"])
EXTRAS = {name: declared(option) for name, option in SETUP["options.extras_require"].items()}


def strangers(package, path, nodes=None):
    """(node, name as the registry spells it) of the third-party packages that a module imports."""
    for node, name in imports(package, path, nodes):
        top = name.split(".")[0]
        if top not in sys.stdlib_module_names and top != package.name:
            yield node, distribution(top)


# --- The rules -------------------------------------------------------------------------------------


def imports_go_one_way(package):
    for path in modules(package):
        if path == package / "__init__.py":
            continue  # the front door opens on every room
        here = room(package, path)
        for node, name in imports(package, path):
            _, *inside = name.split(".")
            if not name.startswith(f"{package.name}.") or inside[0] in ("__version__", here):
                continue
            if here not in ROOMS or inside[0] not in ROOMS[: ROOMS.index(here)]:
                yield f"{place(package, path, node)} imports {name}"


def every_module_stands_in_a_known_room(package):
    for path in modules(package):
        if room(package, path) not in [*ROOMS, "__init__"]:
            yield place(package, path)


def modules_stay_below_350_lines(package):
    for path in modules(package):
        if (lines := len(path.read_text().splitlines())) > 350:
            yield f"{place(package, path)} has {lines} lines"


def nothing_private_is_used(package):
    """What TensorFlow and Keras keep to themselves goes with any of their versions."""
    for path in modules(package):
        for node, name in imports(package, path):
            if PRIVATE.match(name):
                yield f"{place(package, path, node)} imports {name}"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and PRIVATE.match(ast.unparse(node)):
                yield f"{place(package, path, node)} reads {ast.unparse(node)}"


def nothing_asserts(package):
    """`python -O` drops an assert, and it has no words for the user."""
    for path in modules(package):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Assert):
                yield f"{place(package, path, node)} asserts"


def no_lambda_layer(package):
    """Such a layer cannot be saved safely."""
    for path in modules(package):
        for node, name in imports(package, path):
            if name.endswith("layers.Lambda"):
                yield f"{place(package, path, node)} imports {name}"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and node.attr == "Lambda":
                yield f"{place(package, path, node)} makes a Lambda layer"


def every_third_party_import_is_declared(package):
    for path in modules(package):
        for node, name in strangers(package, path):
            if name not in CORE.union(*EXTRAS.values()):
                yield f"{place(package, path, node)} imports {name}, which setup.cfg does not name"


def what_an_extra_brings_is_imported_where_it_is_needed(package):
    """Inside functions."""
    for path in modules(package):
        for node, name in strangers(package, path, at_import(tree(path))):
            if name not in CORE:
                yield f"{place(package, path, node)} imports {name} as it is imported itself"


# --- What each rule sees ---------------------------------------------------------------------------

# Each rule with what breaks it: file, source, and the complaint after the file's name.
RULES = {
    imports_go_one_way: [
        ("grids.py", "from keras_stn import sampler", ":1 imports keras_stn.sampler"),
        ("grids.py", "import keras_stn.ops", ":1 imports keras_stn.ops"),
        ("grids.py", "from . import ops", ":1 imports keras_stn.ops"),
        ("grids.py", "from .ops import warp", ":1 imports keras_stn.ops.warp"),
        ("sampler/taps.py", "from .. import ops", ":1 imports keras_stn.ops"),
        ("sampler/taps.py", "from ..ops import warp", ":1 imports keras_stn.ops.warp"),
        ("sampler/__init__.py", "from ..ops import warp", ":1 imports keras_stn.ops.warp"),
        ("sampler/taps.py", "def f():\n    from .. import cli", ":2 imports keras_stn.cli"),
    ],
    every_module_stands_in_a_known_room: [
        ("cellar.py", "", ""),
        ("cellar/wine.py", "", ""),
    ],
    modules_stay_below_350_lines: [
        ("ops.py", "\n" * 351, " has 351 lines"),
    ],
    nothing_private_is_used: [
        ("ops.py", "from keras.src import ops", ":1 imports keras.src.ops"),
        ("ops.py", "import tensorflow.python.ops", ":1 imports tensorflow.python.ops"),
        ("ops.py", "graph = tf.__internal__.FuncGraph", ":1 reads tf.__internal__"),
        ("ops.py", "cast = keras.src.ops.cast", ":1 reads keras.src"),
    ],
    nothing_asserts: [
        ("ops.py", "def f(x):\n    assert x", ":2 asserts"),
    ],
    no_lambda_layer: [
        ("ops.py", "layer = keras.layers.Lambda(abs)", ":1 makes a Lambda layer"),
        ("ops.py", "from keras.layers import Lambda", ":1 imports keras.layers.Lambda"),
    ],
    every_third_party_import_is_declared: [
        ("ops.py", "import cv2", ":1 imports cv2"),
        ("ops.py", "def f():\n    import cv2.dnn", ":2 imports cv2"),
    ],
    what_an_extra_brings_is_imported_where_it_is_needed: [
        ("ops.py", "import onnx", ":1 imports onnx"),
        ("ops.py", "class A:\n    from ai_edge_litert import interpreter", ":2 imports ai-edge-litert"),
    ],
}
HARMLESS = [
    (imports_go_one_way, "sampler/taps.py", "from . import kernels\nfrom ..grids import span"),
    (imports_go_one_way, "sampler/__init__.py", "from .taps import taps"),
    (imports_go_one_way, "export/report.py", "from keras_stn import __version__"),
    (imports_go_one_way, "__init__.py", "from keras_stn import cli"),
    (every_module_stands_in_a_known_room, "sampler/cellar.py", ""),
    (modules_stay_below_350_lines, "ops.py", "\n" * 350),
    (nothing_private_is_used, "ops.py", "from keras import ops\nops.src = tf.python"),
    (nothing_asserts, "ops.py", "'assert x'"),
    (no_lambda_layer, "ops.py", "lambda x: keras.layers.Layer"),
    (every_third_party_import_is_declared, "ops.py", "import os, onnx\nfrom . import grids"),
    (what_an_extra_brings_is_imported_where_it_is_needed, "ops.py", "def f():\n    import onnx"),
]


def planted(folder, name, source):
    path = folder / "keras_stn" / name
    path.parent.mkdir(parents=True)
    path.write_text(source)
    return folder / "keras_stn"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps(rule):
    assert list(rule(PACKAGE)) == []


@pytest.mark.parametrize(
    ("rule", "name", "source", "complaint"),
    [(rule, *violation) for rule, violations in RULES.items() for violation in violations],
)
def test_rule_sees_what_breaks_it(rule, name, source, complaint, tmp_path):
    complaints = list(rule(planted(tmp_path, name, source)))
    assert complaints
    assert all(found.startswith(f"keras_stn/{name}{complaint}") for found in complaints), complaints


@pytest.mark.parametrize(("rule", "name", "source"), HARMLESS)
def test_rule_lets_the_harmless_pass(rule, name, source, tmp_path):
    assert list(rule(planted(tmp_path, name, source))) == []


def test_every_rule_is_shown_to_fail_and_to_pass():
    assert all(RULES.values())
    assert {rule for rule, *_ in HARMLESS} == set(RULES)


def test_script_for_machines_without_tensorflow_imports_none_of_the_package():
    """It is copied to a machine with a GPU, alone."""
    path = PACKAGE / "benchmark" / "run_stablehlo.py"
    assert {name for _, name in strangers(PACKAGE, path)} == {"jax", "jaxlib", "numpy", "torch"}
    assert not any(name.startswith(PACKAGE.name) for _, name in imports(PACKAGE, path))


# --- The repository --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("git says which files belong to the project")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_top_level_holds_what_it_should(tracked):
    names = {line.split("/")[0] for line in tracked}
    fixed = {"setup.cfg", "README.md", "keras_stn", "tests", "examples", "saved_models"}
    tools = {"pyproject.toml", "MANIFEST.in", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert {name for name in names if not name.startswith(".")} <= fixed | tools


def test_source_archive_holds_the_repository(tracked, tmp_path):
    """So its tests run. It is made of a copy: an archive also takes what an older one had."""
    for name in tracked:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    build = "import setuptools.build_meta as made; made.build_sdist('dist')"
    made = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as opened:
        held = {member.name.partition("/")[2] for member in opened if member.isfile()}
    generated = {name for name in held if name == "PKG-INFO" or ".egg-info/" in name}
    assert held - generated == set(tracked)


def test_extras_are_named_where_people_look_for_them():
    pages = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md"]
    said = "".join(page.read_text() for page in pages)
    for extra in EXTRAS:
        assert re.search(rf"\[(\w+,)*{extra}(,\w+)*\]", said), extra


def test_yaml_files_parse():
    paths = [ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff", *ROOT.glob(".github/**/*.yml")]
    assert len(paths) > 2
    for path in paths:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path


def workflow_commands():
    """The words of each command that a workflow runs, without what only sets its environment."""
    for path in ROOT.glob(".github/workflows/*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for line in (line for step in job["steps"] for line in step.get("run", "").splitlines()):
                for command in line.split("&&"):
                    words = shlex.split(re.sub(r"\$\{\{.*?\}\}", "", command))
                    yield [word for word in words if word not in ("sudo", "env") and "PATH=" not in word]


def test_workflows_run_what_exists():
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    programs = [words[0] for words in workflow_commands()]
    assert {".ci/run", "pip", "pytest"} <= set(programs)
    for program in programs:
        assert os.access(ROOT / program, os.X_OK) or shutil.which(program, path=path), program


def test_workflows_name_extras_and_markers_of_setup_cfg():
    markers = re.findall(r"^(\w+):", SETUP["tool:pytest"]["markers"], flags=re.MULTILINE)
    for words in workflow_commands():
        for extras in re.findall(r"\.\[(.*?)\]", " ".join(words)):
            assert set(extras.split(",")) <= set(EXTRAS), words
        if words[0] == "pytest" and "-m" in words:
            assert words[words.index("-m") + 1] in markers, words


def test_workflows_pin_versions_that_setup_cfg_admits():
    """And the lowest of them among these."""
    pins = re.findall(
        r"(tensorflow|keras)==([\d.]+)", (ROOT / ".github/workflows/versions.yml").read_text()
    )
    for name in ("tensorflow", "keras"):
        (range_,) = re.findall(
            rf"^{name}>=([\d.]+),<([\d.]+)$", SETUP["options"]["install_requires"], re.MULTILINE
        )
        low, high = (tuple(map(int, version.split("."))) for version in range_)
        pinned = {tuple(map(int, pin.rstrip(".").split("."))) for which, pin in pins if which == name}
        assert min(pinned) == low
        assert max(pinned) < high


@pytest.mark.parametrize("job", ["newest", "lowest"])
def test_workflows_cover_the_pythons_of_setup_cfg(job):
    jobs = yaml.safe_load((ROOT / ".github/workflows/versions.yml").read_text())["jobs"]
    matrix = jobs[job]["strategy"]["matrix"]
    run = [*matrix["python"], *(added["python"] for added in matrix.get("include", []))]
    assert run == re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])


@pytest.mark.parametrize("form", ["bug", "feature"])
def test_issue_forms_ask_for_something(form):
    content = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text())
    assert {"name", "description", "body"} <= set(content)
    assert all(field["attributes"]["label"] for field in content["body"])
    assert any(field.get("validations", {}).get("required") for field in content["body"])
