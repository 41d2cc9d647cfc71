"""Every public name stands in the table, and says in its docstring what it is and how to use it."""

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from cases import ALL, TESTED_ELSEWHERE

import keras_stn
from keras_stn import localization, transforms


def _public(module, prefix=""):
    """(dotted name, object) of all that `__all__` says is public, through submodules."""
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            yield from _public(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


PUBLIC = dict(_public(keras_stn))
CALLABLES = {name: value for name, value in PUBLIC.items() if callable(value)}
callables = pytest.mark.parametrize("name", CALLABLES)

# What deals with coordinates, and what takes and returns tensors: the docstring has to speak of both.
WITH_COORDINATES = {
    "SpatialTransformer",
    "Warp",
    "ops.grid_sample",
    "ops.grid_splat",
    "ops.affine_grid",
    "ops.warp",
    "transforms.Transform",
} | {f"transforms.{family.__name__}" for family in transforms.FAMILIES.values()}
WITH_SHAPES = {"SpatialTransformer", "Warp", "Localization"} | {
    f"ops.{name}" for name in keras_stn.ops.__all__
}


def _section(name, title):
    """The lines under `title:` in a docstring, or None."""
    doc = inspect.getdoc(CALLABLES[name]) or ""
    found = re.search(rf"^{title}:\n((?:(?:    .*)?\n)*(?:    .*)?)", doc, re.MULTILINE)
    return found and found.group(1)


def _parameters(value):
    function = value.__init__ if inspect.isclass(value) else value
    if function is object.__init__:
        return []
    named = (p for p in inspect.signature(function).parameters.values() if p.kind != p.VAR_POSITIONAL)
    return [p.name for p in named if p.name != "self" and p.kind != p.VAR_KEYWORD]


# --- The table -------------------------------------------------------------------------------------


def test_every_public_callable_is_in_the_table():
    covered = {name for case in ALL for name in case.covers} | set(TESTED_ELSEWHERE)
    assert set(CALLABLES) - covered == set(), "add a case to cases.py"
    assert covered - set(CALLABLES) == set(), "cases.py speaks of what is not public"


def test_what_is_tested_elsewhere_has_its_file():
    root = Path(__file__).parents[2]
    missing = [path for path in TESTED_ELSEWHERE.values() if not (root / path).is_file()]
    assert missing == []


def test_every_case_has_an_id_of_its_own():
    ids = [case.id for case in ALL]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_every_case_moves_its_images():
    """A case at the identity would let most faults through."""
    for case in ALL:
        if case.covers[0] in ("SpatialTransformer", "Warp", "ops.warp"):
            images = case.inputs[0]
            outputs = case.model()(list(case.inputs) if len(case.inputs) > 1 else images)
            assert outputs.shape != images.shape or abs(outputs - images).numpy().max() > 0.1, case.id


def test_public_data_is_what_it_says():
    data = {name: value for name, value in PUBLIC.items() if not callable(value)}
    assert set(data) == {"__version__", "localization.BUILDERS", "transforms.FAMILIES"}
    assert set(data["transforms.FAMILIES"].values()) <= set(CALLABLES.values())
    assert set(data["localization.BUILDERS"].values()) <= set(CALLABLES.values())


def test_modules_say_what_they_are():
    for module in (keras_stn, keras_stn.ops, transforms, localization):
        assert module.__doc__.strip(), module.__name__


# --- Docstrings ------------------------------------------------------------------------------------


@callables
def test_docstring_begins_with_one_line_that_ends_as_a_sentence(name):
    summary, *rest = inspect.getdoc(CALLABLES[name]).splitlines()
    assert summary.endswith((".", "]]"))
    assert not rest or rest[0] == ""


@callables
def test_docstring_has_an_example_that_uses_the_name(name):
    example = _section(name, "Example")
    assert example is not None
    assert ">>> " in example
    assert name.rsplit(".", 1)[-1] in example


@callables
def test_docstring_describes_every_argument(name):
    described = re.findall(r"^    (\w+): ", _section(name, "Args") or "", re.MULTILINE)
    assert described == _parameters(CALLABLES[name])


@pytest.mark.parametrize("name", sorted(WITH_COORDINATES))
def test_docstring_states_the_convention_of_its_coordinates(name):
    convention = " ".join(_section(name, "Convention").lower().split())
    assert "target to source" in convention or "normalised coordinates" in convention


@pytest.mark.parametrize("name", sorted(WITH_SHAPES))
@pytest.mark.parametrize("title", ["Input shape", "Output shape", "Raises"])
def test_docstring_states_shapes_and_errors(name, title):
    assert _section(name, title).strip()


@pytest.mark.parametrize(
    "name", [name for name, value in CALLABLES.items() if inspect.isfunction(value)]
)
def test_docstring_of_a_function_says_what_it_returns(name):
    assert _section(name, "Returns") or _section(name, "Output shape")


@pytest.mark.parametrize("family", [transforms.Transform, transforms.MatrixTransform])
def test_every_method_that_a_family_is_made_of_is_described(family):
    methods = {n: m for n, m in vars(family).items() if inspect.isfunction(m) and not n.startswith("_")}
    described = {name for name, method in methods.items() if inspect.getdoc(getattr(family, name))}
    assert set(methods) - described <= {"get_config"}  # as everywhere in Keras
