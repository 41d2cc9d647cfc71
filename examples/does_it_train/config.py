"""What a config asks for, and the jobs that make it up."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator

import networks
from tasks import TASKS

ALIGN = "align"
PLAIN = "none"
# What the jobs of a config have in common, but those of the task "align".
WORK = "classifier", "epochs", "train", "test", "output", "poses", "decay"


@dataclasses.dataclass(frozen=True)
class Config:
    """Tasks x transformers x learning rates x seeds. A transformer is arguments of the layer, by name.

    Among them may stand "tasks": those of the config that it is for, where it is not for all of them.
    "classifier" may stand there too: the one behind it, instead of the `classifier` of all; and "told":
    how much it counts, beside the classes, that the first look of an affine one undoes the pose.
    `classifier` is one of `networks.CLASSIFIERS`. `output` is the side of a transformer's output by
    that of its input. `poses` are random ones in which classifiers see their training images, as
    `polar.Posed` takes them; with `decay` the rate falls to 0 along a cosine. The last two are of the
    task "align", which has no epochs.
    """

    tasks: list[str]
    transformers: dict[str, dict | None]  # None is the plain classifier
    learning_rates: list[float]
    seeds: list[int]
    train: int = 10_000
    test: int = 10_000
    epochs: int = 12
    classifier: str = "small"
    output: float = 1.0
    poses: dict | None = None
    decay: bool = False
    steps: int = 300
    pairs: int = 20

    def __post_init__(self):
        if unknown := set(self.tasks) - {*TASKS, ALIGN}:
            raise ValueError(f"tasks must be among {[*TASKS, ALIGN]}. Received: {sorted(unknown)}.")
        if self.classifier not in networks.CLASSIFIERS:
            raise ValueError(
                f"classifier must be one of {list(networks.CLASSIFIERS)}. Received: {self.classifier!r}."
            )
        for name, arguments in self.transformers.items():
            if (arguments is None) != (name == PLAIN):
                raise ValueError(
                    f"The plain classifier must be {PLAIN!r}: null, and all others have arguments. "
                    f"Received: {name!r}: {arguments!r}."
                )
            if "told" in (arguments or {}) and "transform" in arguments:
                raise ValueError(f"A transformer that is told must be affine. Received: {name!r}.")
            if not set((arguments or {}).get("tasks", ())) <= set(self.tasks):
                raise ValueError(
                    f"tasks of a transformer must be among {self.tasks}. "
                    f"Received: {name!r}: {arguments!r}."
                )

    def transformers_of(self, task: str) -> dict[str, dict]:
        """The arguments of the transformers that are for `task`, by name."""
        return {
            name: {argument: value for argument, value in arguments.items() if argument != "tasks"}
            for name, arguments in self.transformers.items()
            if arguments is not None and task in arguments.get("tasks", self.tasks)
        }


def read(path: pathlib.Path) -> Config:
    return Config(**json.loads(path.read_text()))


def smoke(config: Config) -> Config:
    """The least of a config that still goes through all its tasks and transformers."""
    return dataclasses.replace(
        config,
        learning_rates=config.learning_rates[:1],
        seeds=config.seeds[:1],
        train=128,
        test=100,
        epochs=1,
        steps=3,
        pairs=1,
    )


def jobs(config: Config, digits: str) -> Iterator[dict]:
    """What each row is of, plain classifiers before those that are compared with them.

    `digits` names where they come from: rows of other digits are others.
    """
    for task in config.tasks:
        transformers = config.transformers_of(task)
        if task == ALIGN:
            work = {"steps": config.steps, "pairs": config.pairs}
        else:
            work = {name: getattr(config, name) for name in WORK}
            if PLAIN in config.transformers:
                transformers = {PLAIN: {"units": plain_units(config, task)}, **transformers}
        for seed in config.seeds:
            for rate in config.learning_rates:
                for name, arguments in transformers.items():
                    yield {
                        "digits": digits,
                        "task": task,
                        "transformer": name,
                        "arguments": arguments,
                        "lr": rate,
                        "seed": seed,
                        **work,
                    }


def output_size(task: str, output: float) -> tuple[int, int]:
    side = round(output * TASKS[task].size)
    return side, side


def plain_units(config: Config, task: str) -> int:
    """The plain classifier has about as many weights as the largest network with a transformer."""
    size, output = TASKS[task].size, output_size(task, config.output)
    models = [
        networks.behind(arguments, config.classifier, size, output)
        for arguments in config.transformers_of(task).values()
    ]
    weights = max((model.count_params() for model, _ in models), default=0)
    return networks.units_for(config.classifier, size, weights) if weights else networks.UNITS
