"""A training that takes a budget, of minutes or of steps, and goes on where it was stopped."""

import dataclasses
import json
import math
import os
import pathlib
import time
from collections.abc import Callable

import keras

SAVED_EVERY = 60.0  # seconds
CURVE = 20  # points of a learning curve


@dataclasses.dataclass(frozen=True)
class Budget:
    """So many minutes of training, without compiling and testing, or so many steps."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self):
        if (self.minutes is None) == (self.steps is None):
            raise ValueError(f"A budget must have minutes or steps. Received: {self}.")

    def used(self, seconds: float, steps: int) -> float:
        """The share that is used, 1 and more where it is over."""
        return steps / self.steps if self.minutes is None else seconds / (60 * self.minutes)


class OutOfTime(Exception):
    """The session is over before the budget: what was done is saved."""


class Spend(keras.callbacks.Callback):
    """Falls from `rate` to 0 along a cosine as the budget is used, and ends the training then.

    Every minute the model and how far it is are saved in `folder`, under a name that is there whole or
    not at all. What a model draws at random, as jitter, begins anew where it goes on.

    Args:
        budget: How long.
        rate: The learning rate at the start.
        folder: Where to save.
        end: When to stop before that, in the time of `time.monotonic`.

    Attributes:
        look: Called with the model and the number of each point of a learning curve; what it returns
            stands in `curve`.
        seconds, steps: What was spent. Compiling the first step, looking and saving count nothing.
        curve: Of each look the steps and seconds, the mean loss since the look before, and what `look`
            returns; losses that are no numbers are None.
    """

    def __init__(self, budget: Budget, rate: float, folder: pathlib.Path, end: float):
        super().__init__()
        self.budget, self.rate, self.folder, self.end = budget, rate, folder, end
        self.look: Callable[[keras.Model, int], dict[str, float]] = lambda model, number: {}
        self.seconds, self.steps, self.curve = 0.0, 0, []
        self._since = [0.0, 0]  # the last look: the sum of losses, and of how many batches

    def resumed(self) -> keras.Model | None:
        """The model as it was saved last, or None; how far it is stands in this callback then."""
        saved = newest(self.folder)
        if saved is None:
            return None
        state = json.loads(saved.with_suffix(".json").read_text())
        self.seconds, self.steps, self.curve = state["seconds"], state["steps"], state["curve"]
        self._since = state["since"]
        return keras.saving.load_model(saved)

    @property
    def over(self) -> bool:
        return self.budget.used(self.seconds, self.steps) >= 1

    def on_train_begin(self, logs=None):
        self._last, self._saved = None, time.monotonic()
        self._sum, self._batches = 0.0, 0
        self._looked = self.budget.used(self.seconds, self.steps)
        self._pace()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        # The first step of a session compiles.
        self.seconds += 0 if self._last is None else now - self._last
        self.steps += 1
        self._add(logs["loss"])
        used = self.budget.used(self.seconds, self.steps)
        if int(used * CURVE) > int(self._looked * CURVE):
            self._look()
        self._looked = used
        if self.over:
            self.model.stop_training = True
        else:
            self._pace()
        if self.over or now > self.end or now - self._saved > SAVED_EVERY:
            self._save()
        if now > self.end and not self.over:
            raise OutOfTime
        self._last = time.monotonic()

    def _add(self, mean):
        """Keras gives the mean of all losses since `fit` began."""
        self._batches += 1
        total = self._batches * mean
        self._since = [self._since[0] + total - self._sum, self._since[1] + 1]
        self._sum = total

    def _look(self):
        total, count = self._since
        loss = total / count if math.isfinite(total) else None
        point = {"steps": self.steps, "seconds": round(self.seconds, 1), "loss": loss}
        self.curve.append({**point, **self.look(self.model, len(self.curve))})
        self._since = [0.0, 0]

    def _pace(self):
        used = min(1.0, self.budget.used(self.seconds, self.steps))
        self.model.optimizer.learning_rate = self.rate * (1 + math.cos(math.pi * used)) / 2

    def _save(self):
        before = newest(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{self.steps:08}.keras"
        state = {"seconds": self.seconds, "steps": self.steps, "curve": self.curve, "since": self._since}
        path.with_suffix(".json").write_text(json.dumps(state))
        part = self.folder / "part.keras"
        self.model.save(part)
        os.replace(part, path)
        if before is not None and before != path:
            before.unlink()
            before.with_suffix(".json").unlink()
        self._saved = time.monotonic()


def newest(folder: pathlib.Path) -> pathlib.Path | None:
    return max(folder.glob("step_*.keras"), default=None)
