"""One job: a network is trained, or pictures are aligned, and a row says what came of it."""

import functools
import math
import time

import align
import config as configs
import keras
import networks
import numpy as np
import tasks
import tensorflow as tf
import verdict

from keras_stn import demo, losses

BATCH = 64


class OutOfTime(Exception):
    """The budget is over: the run that is going leaves no row."""


class Deadline(keras.callbacks.Callback):
    """Breaks `fit` off when the time is over."""

    def __init__(self, end: float):
        super().__init__()
        self._end = end

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() > self._end:
            raise OutOfTime


@functools.lru_cache(maxsize=1)  # jobs of one task and seed come one after the other
def data_of(task: str, source: str | None, seed: int, train: int, test: int):
    return tasks.make(tasks.TASKS[task], demo.load_digits(source, seed, train, test), seed)


def classified(job: dict, source: str | None, end: float) -> dict:
    """Train one classifier, and say what came of it."""
    train, test = data_of(job["task"], source, job["seed"], job["train"], job["test"])
    keras.utils.set_random_seed(job["seed"])
    size, plain = tasks.TASKS[job["task"]].size, job["transformer"] == configs.PLAIN
    if plain:
        model = networks.plain(job["classifier"], size, job["arguments"]["units"], job["poses"])
    else:
        output_size = configs.output_size(job["task"], job["output"])
        model, layer = networks.behind(
            job["arguments"], job["classifier"], size, output_size, job["poses"]
        )
    rate = job["lr"]
    if job["decay"]:
        steps = job["epochs"] * math.ceil(len(train.images) / BATCH)
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    outputs, targets = {"scores": model.outputs[0]}, {"scores": train.labels}
    goals = {"scores": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    weights = {"scores": 1.0}
    if not plain and "told" in job["arguments"]:  # what the first look should say
        outputs["pose"], targets["pose"] = layer.localization(model.inputs[0]), train.upright
        goals["pose"] = losses.CornerDistance(layer.warp.transform)
        weights["pose"] = job["arguments"]["told"]
    learner = keras.Model(model.inputs, outputs)
    # XLA takes seconds to compile each of them.
    learner.compile(keras.optimizers.Adam(rate), goals, loss_weights=weights, jit_compile=False)
    family = None if plain else type(layer.warp.transform).__name__
    row = {"family": family, "weights": model.count_params(), "error": None}
    start = time.perf_counter()
    try:
        fit = {"batch_size": BATCH, "epochs": job["epochs"], "verbose": 0, "callbacks": [Deadline(end)]}
        learner.fit(train.images, targets, **fit)
        row["seconds"] = round(time.perf_counter() - start, 2)
        logits = model.predict(test.images, batch_size=500, verbose=0)
    except tf.errors.InvalidArgumentError as error:  # the textbook's gathers at NaN
        return {**row, "seconds": round(time.perf_counter() - start, 2), "raised": str(error)[:200]}
    row["error"] = float(100 * np.mean(logits.argmax(axis=1) != test.labels))
    return row if plain else {**row, **verdict.summary(layer, test.images, test.turns)}


def aligned(job: dict, source: str | None, end: float) -> dict:
    digits = demo.load_digits(source, job["seed"], train=1).x_test
    keras.utils.set_random_seed(job["seed"])
    start = time.perf_counter()
    work = job["lr"], job["seed"], job["steps"], job["pairs"]
    shares = align.converged(job["arguments"], digits, *work, end)
    if shares is None:
        raise OutOfTime
    return {"within": shares, "seconds": round(time.perf_counter() - start, 2)}


def row_of(job: dict, source: str | None, end: float) -> dict:
    """What the row of `job` says of it."""
    if time.monotonic() > end:
        raise OutOfTime
    make = aligned if job["task"] == configs.ALIGN else classified
    return make(job, source, end)
