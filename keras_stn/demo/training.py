"""How the networks of the demonstration are trained."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from keras_stn import losses
from keras_stn.demo.digits import Digits
from keras_stn.demo.poses import Poses
from keras_stn.layers import SpatialTransformer

EPOCHS = 40
LEARNING_RATE = 4e-3
POSE_WEIGHT = 10.0  # of the corners' distance beside the classes
# Scores of centroids stay small, and what an int8 file rounds counts for a third: params are off by
# 0.010 at most instead of 0.025.
WEIGHT_DECAY = 0.1


def train(model: keras.Sequential, digits: Digits, epochs: int, seed: int, *callbacks) -> float:
    """Fit `model` on new poses in each epoch; returns the seconds that took.

    All learn the classes. A `SpatialTransformer` in front learns at the same time what its first look
    should say: the pose of each digit is known, for this package has put it there. Only the first look
    is told, for it alone sees digits as they were posed. The second sees what is left, and learns from
    the classes alone.
    """
    start = time.perf_counter()
    images, outputs = model.inputs[0], {"scores": model.outputs[0]}
    goals: dict[str, keras.losses.Loss] = {
        "scores": keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    }
    first = model.layers[0]
    if isinstance(first, SpatialTransformer):
        outputs["pose"] = first.localization(images)
        goals["pose"] = losses.CornerDistance(first.warp.transform)
    data = Poses(digits, tuple(outputs), seed)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(data))
    learner = keras.Model(images, outputs)
    learner.compile(
        keras.optimizers.AdamW(rate, WEIGHT_DECAY),
        goals,
        metrics={"scores": ["accuracy"]},
        loss_weights={name: POSE_WEIGHT if name == "pose" else 1.0 for name in outputs},
        jit_compile=False,  # XLA takes seconds to compile and makes the plain network slower
    )
    learner.fit(data, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return time.perf_counter() - start


class Bar(keras.callbacks.Callback):
    """Shows the progress of one `fit` as a task of a rich progress bar."""

    def __init__(self, progress: Progress, name: str):
        super().__init__()
        self._progress, self._name = progress, name

    def on_train_begin(self, logs=None):
        steps = self.params["steps"] * self.params["epochs"]
        self._task = self._progress.add_task(self._name, total=steps, epoch="", error="")

    def on_epoch_begin(self, epoch, logs=None):
        self._progress.update(self._task, epoch=f"epoch {epoch + 1}/{self.params['epochs']}")

    def on_train_batch_end(self, batch, logs=None):
        accuracy = next(value for name, value in logs.items() if name.endswith("accuracy"))
        error = f"error {100 * (1 - accuracy):4.1f} %"
        self._progress.update(self._task, advance=1, error=error)


def progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:20}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[epoch]:11} {task.fields[error]:13}"),
        TimeElapsedColumn(),
        console=console,
    )
