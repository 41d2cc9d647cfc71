"""The paper's experiments, rerun: distortions, networks, and trainings that go on where they stopped."""

import dataclasses
import importlib
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from keras_stn import transforms
from keras_stn.demo import Digits

FOLDER = pathlib.Path(__file__).parents[1] / "examples" / "paper"

sys.path.append(str(FOLDER))  # a script finds the files beside it
batches, budget, digits, distortions, fitting, rerun = (
    importlib.import_module(name)
    for name in ("batches", "budget", "digits", "distortions", "fitting", "rerun")
)


def bars(count):
    """Digits (count, 28, 28) of two bars, brighter from one to the next, and their labels."""
    images = np.zeros((count, 28, 28), "uint8")
    images[:, 5:23, 12:15] = np.linspace(100, 250, count).astype("uint8")[:, np.newaxis, np.newaxis]
    images[:, 5:8, 12:20] = 250
    return images, np.arange(count, dtype="uint8") % 10


def some_digits(count=40):
    images, labels = bars(count)
    return Digits(images, labels, images[:20], labels[:20], "bars")


# --- Distortions -----------------------------------------------------------------------------------

each_task = pytest.mark.parametrize("task", distortions.DISTORTIONS)


@each_task
def test_a_batch_depends_on_its_number_alone(task):
    given = *bars(50), distortions.DISTORTIONS[task], 16, 3
    stream, later = iter(batches.training(*given)), iter(batches.training(*given, start=2))
    seen = [next(stream) for _ in range(4)]
    for whole, resumed in zip(seen[2:], later, strict=False):
        for one, other in zip(whole, resumed, strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.abs(seen[0].params - seen[1].params).max() > 0.01
    size = distortions.DISTORTIONS[task].size
    assert seen[0].images.shape == (16, size, size, 1)
    assert 0 <= np.min(seen[0].images) < 0.01
    assert 0.3 < np.max(seen[0].images) <= 1


def test_each_digit_is_seen_once_an_epoch_and_in_another_order_in_the_next():
    images, _ = bars(48)
    given = images, np.arange(48), distortions.DISTORTIONS["R"], 16, 0
    orders = [
        np.concatenate([batches.batch(*given, e * 3 + n).labels for n in range(3)]) for e in (0, 1)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(48))
    assert (orders[0] != orders[1]).any()
    assert (orders[0] != np.arange(48)).any()


@each_task
def test_images_to_test_with_are_the_same_each_time_and_not_those_of_training(task):
    distortion = distortions.DISTORTIONS[task]
    images, labels = bars(20)
    one, two = (batches.fixed(images, distortion) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    assert (one[0] != batches.fixed(images, distortion, 1)[0]).any()
    batch = next(iter(batches.training(images, labels, distortion, 20, 0)))
    apart = np.abs(np.asarray(batch.params)[:, np.newaxis] - one[1]).max(axis=2)
    assert apart.min() > 1e-6


@pytest.mark.parametrize(
    ("task", "turn", "scales"), [("R", 90, (1, 1)), ("RTS", 45, (0.7, 1.2)), ("TC", 0, (1, 1))]
)
def test_poses_are_as_far_apart_as_the_paper_says(task, turn, scales):
    distortion = distortions.DISTORTIONS[task]
    given = transforms.Similarity().inverse(distortion.draw(3000, tf.constant([0, 5], tf.int64)))
    scale, angle, x, y = np.asarray(given).T
    scale = scale * distortion.size / 28
    for found, (low, high) in (scale, scales), (np.degrees(angle), (-turn, turn)):
        assert low - 1e-4 <= found.min() <= low + 0.02 * (high - low) + 1e-4
        assert high + 1e-4 >= found.max() >= high - 0.02 * (high - low) - 1e-4
    room = distortion.size / 2 - 14 * scale  # pixels: the square of the digit stays on the canvas
    for shift in x, y:
        assert (np.abs(shift) * distortion.size / 2 <= room + 1e-3).all()
    if distortion.size > 28:
        assert np.abs(x * distortion.size / 2 / room).max() > 0.99


@pytest.mark.parametrize(("task", "pixels"), [("P", 5.0), ("E", 1.5)])
def test_points_are_moved_as_far_as_the_paper_says(task, pixels):
    """Moves are independent, so their mean moves less; a scale does not move it at all."""
    distortion = distortions.DISTORTIONS[task]
    params = distortion.draw(4000, tf.constant([0, 5], tf.int64))
    assert np.isfinite(params).all()
    ends = np.linspace(-1, 1, 2 if task == "P" else 4)
    points = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(1, -1, 2).astype("float32")
    middle = np.asarray(distortion.family.transform_points(params, points)).mean(axis=1) * 14  # pixels
    deviation = pixels / math.sqrt(points.shape[1])
    # The deviation of a deviation of 4,000 is 1 %; corners that make no view of a plane were far off.
    np.testing.assert_allclose(middle.std(axis=0), deviation, rtol=0.05)


def test_clutter_is_six_pieces_of_other_digits():
    distortion = distortions.DISTORTIONS["TC"]
    images, _ = bars(30)
    images[0] = 255  # its pieces are white squares
    seed = tf.constant([0, 1], tf.int64)
    bare, _ = dataclasses.replace(distortion, pieces=0)(images, seed)
    seen, _ = distortion(images, seed)
    seen, bare = np.asarray(seen), np.asarray(bare)
    changed = (seen != bare).sum(axis=(1, 2, 3))
    assert (seen >= bare).all()
    assert changed.max() <= 6 * 36
    assert (changed > 0).mean() > 0.7  # a piece may be of the background
    assert (seen[1:] == 1).any()  # pieces of the white one, on others
    assert seen[0][bare[0] == 0].max() < 1  # and none of them on itself
    images[0] = 100
    seen, _ = distortion(images, seed, others=np.full_like(images, 255))
    white = (np.asarray(seen) == 1).sum(axis=(1, 2, 3))
    assert white.min() > 36  # all pieces are of the others, and they may overlap
    assert white.max() <= 6 * 36


def test_sums_are_of_the_digits_in_both_channels():
    job = {"network": "2xST-FCN Aff", "seed": 0, "batch": 8, "at_most": 300_000, "task": "sum"}
    data = some_digits()
    cell = digits.added(job, data)
    assert cell.images.shape == (20, 42, 42, 2)
    model = cell.build()
    assert len(model.layers) == len({layer.name for layer in model.layers})
    images, labels = next(iter(cell.training(0)))
    assert images.shape == (8, 42, 42, 2)
    assert labels.numpy().max() <= 18
    assert (images[..., 0] != images[..., 1]).numpy().any()
    assert model(images).shape == (8, 19)
    given = data.x_train, data.y_train, distortions.DISTORTIONS["RTS"], 8
    ones, others = (next(iter(batches.training(*given, seed))).labels for seed in (0, 1))
    np.testing.assert_array_equal(labels, ones + others)
    assert (labels != 2 * ones).numpy().any()


# --- Networks and budgets --------------------------------------------------------------------------


@pytest.mark.parametrize("network", [*digits.NETWORKS, "ours"])
def test_networks_have_as_many_weights_as_they_may(network):
    job = {"task": "RTS", "network": network, "seed": 0, "batch": 4, "at_most": 150_000}
    cell = digits.classified(job, some_digits())
    model = cell.build()
    assert 0.94 * 150_000 < model.count_params() <= 150_000
    logits = model(cell.images[:2])
    assert logits.shape == (2, 10)
    with pytest.raises(ValueError, match="at_most must leave room .* Received: 100"):
        digits.classified({**job, "at_most": 100}, some_digits()).build()


def test_a_budget_is_of_minutes_or_of_steps():
    assert budget.Budget(minutes=2).used(seconds=30, steps=7) == 0.25
    assert budget.Budget(steps=8).used(seconds=30, steps=2) == 0.25
    for both in {}, {"minutes": 1, "steps": 2}:
        with pytest.raises(ValueError, match="A budget must have minutes or steps"):
            budget.Budget(**both)


def fitted(folder, end, steps=6):
    """A small training; raises `OutOfTime` where `end` is passed."""
    spend = budget.Spend(budget.Budget(steps=steps), 0.1, folder, end)
    model = spend.resumed()
    if model is None:
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.AdamW(0.1), "mse")
    rows = np.random.default_rng(0).random((steps, 5, 3)), np.random.default_rng(1).random((steps, 5, 2))
    data = tf.data.Dataset.from_tensor_slices(rows).skip(spend.steps)
    model.fit(data, callbacks=[spend], shuffle=False, verbose=0)
    return model, spend


def test_a_training_that_is_stopped_after_each_step_ends_as_one_that_is_not(tmp_path):
    whole, spent = fitted(tmp_path / "whole", math.inf)
    stops = 0
    while True:
        try:
            parts, resumed = fitted(tmp_path / "parts", time.monotonic() - 1)
            break
        except budget.OutOfTime:
            stops += 1
    assert stops == 5
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.steps == spent.steps == 6
    assert [point["steps"] for point in resumed.curve] == [point["steps"] for point in spent.curve]
    assert len(spent.curve) == 6  # one look a step at most
    assert len(list((tmp_path / "parts").iterdir())) == 2  # one model, and how far it is
    # The rate of the last step, after five of six.
    rate = 0.1 * (1 + math.cos(math.pi * 5 / 6)) / 2
    assert float(whole.optimizer.learning_rate.numpy()) == pytest.approx(rate, rel=1e-6)
    losses = [[point["loss"] for point in one.curve] for one in (spent, resumed)]
    np.testing.assert_allclose(*losses, rtol=1e-4)  # Keras' means are of float32
    assert resumed.over


# --- The command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FOLDER.glob("configs/*.json")), ids=lambda path: path.name)
def test_configs_name_what_there_is(path):
    config = json.loads(path.read_text())
    _, make = fitting.EXPERIMENTS[config["experiment"]]
    data = some_digits()
    if config["experiment"] == "signs":
        pictures = np.zeros((4, 32, 32, 3), "uint8"), np.arange(4)
        data = fitting.signs.Signs(*pictures, *pictures, "four")
    jobs = list(rerun.jobs(config, "smoke", "data"))
    assert len({json.dumps(job) for job in jobs}) == len(jobs)
    cells = {
        (job["network"], job["task"] if config["experiment"] == "signs" else ""): job for job in jobs
    }
    for job in cells.values():
        cell = make(job, data)
        images, targets = next(iter(cell.training(0)))
        assert len(images) == len(targets) == job["batch"]
        assert cell.images.shape[1:] == images.shape[1:]
        assert len(cell.images) == len(cell.labels)
        assert cell.build().input_shape[1:] == images.shape[1:]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("configs/*.json")), ids=lambda path: path.name)
def test_rows_of_each_config_make_a_table(path, tmp_path):
    config = json.loads(path.read_text())
    made = {"weights": 9, "error": 1.5, "steps": 4, "images": 64, "seconds": 60.0}
    curve = [{"steps": 2, "seconds": 30.0, "loss": 1.0, "error": 2.0}]
    found = [{**job, **made, "curve": curve} for job in rerun.jobs(config, "minutes", "data")]
    for written in rerun.tables.write(found, tmp_path):
        assert written.stat().st_size > 0
    lines = json.loads((tmp_path / "results.json").read_text())
    assert sum(line["seeds"] for line in lines) == len(found)
    assert {line["budget"] for line in lines} == {"10 minutes"}


@pytest.mark.slow
def test_a_smoke_run_writes_tables_and_pictures_and_makes_no_row_twice(tmp_path):
    images, labels = bars(60)
    data, config, out = tmp_path / "digits.npz", tmp_path / "config.json", tmp_path / "out"
    np.savez(data, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
    cells = [{"tasks": ["R"], "networks": ["FCN", "ST-FCN Aff"], "seeds": [0]}]
    settings = {"experiment": "digits", "at_most": 150_000, "rate": 1e-3, "decay": 0.0}
    config.write_text(json.dumps({**settings, "cells": cells}))
    command = [sys.executable, FOLDER / "rerun.py", config, "--smoke", "--out", out, "--data", data]
    environment = os.environ | {"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    written = []
    for _ in range(2):
        made = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        written.append((out / "rows.jsonl").read_text())
    assert written[0] == written[1]
    assert [json.loads(line)["steps"] for line in written[0].splitlines()] == [4, 4]
    assert (out / "results.md").read_text().count("| R |") == 2
    assert "0 of 2" not in made.stdout
    (folder,) = out.glob("R_ST*")
    assert {"learning.gif", "means.png", "frames"} <= {path.name for path in folder.iterdir()}
    assert (out / "curves.png").stat().st_size > 5000


def test_a_run_out_of_time_makes_no_row_and_goes_on_later(tmp_path):
    images, labels = bars(60)
    data = tmp_path / "digits.npz"
    np.savez(data, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
    cells = [{"tasks": ["R"], "networks": ["FCN"], "seeds": [0]}]
    config = {"experiment": "digits", "at_most": 9000, "rate": 1e-3, "decay": 0.0, "cells": cells}
    quiet = Console(file=io.StringIO())
    assert rerun.rerun(config, "smoke", tmp_path, str(data), 1e-9, quiet) == []
    assert not (tmp_path / "rows.jsonl").exists()
    (row,) = rerun.rerun(config, "smoke", tmp_path, str(data), console=quiet)
    assert row["images"] == 4 * 16
    (job,) = rerun.jobs(config, "smoke", "digits.npz")
    assert budget.newest(tmp_path / fitting.name(job)) is not None
    others = [{**job, "seed": 1}, {**job, "rate": 0.1}, {**job, "budget": {"steps": 5}}]
    assert len({fitting.name(one) for one in [job, *others]}) == 4  # no two share a model
