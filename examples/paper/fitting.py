"""One row: a network is trained as its job says, and a row says what came of it."""

import hashlib
import json
import pathlib
import sys

import budget as budgets
import colocalisation
import digits
import figures
import keras
import signs
import strings
import volumes

from keras_stn.demo import load_digits

SOME = 2000  # test images, at each point of a learning curve
# Of each experiment, how its data is loaded, and what makes a cell of a job and the data.
EXPERIMENTS = {
    "digits": (load_digits, digits.classified),
    "addition": (load_digits, digits.added),
    "colocalisation": (load_digits, colocalisation.found),
    "volumes": (load_digits, volumes.classified),
    "signs": (signs.load, signs.classified),
    "strings": (load_digits, strings.read),
}


def name(job: dict) -> str:
    """That of the folder of a job: its settings too, in short, for others have another model."""
    settings = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:6]
    return f"{job['task']} {job['network']} {job['seed']} {settings}".replace(" ", "_")


def trained(job: dict, data, folder: pathlib.Path, end: float) -> dict:
    """The row of a job; the model and pictures of it stand in `folder`."""
    _, make = EXPERIMENTS[job["experiment"]]
    cell = make(job, data)
    spend = budgets.Spend(budgets.Budget(**job["budget"]), job["rate"], folder, end)
    model = spend.resumed()
    if model is None:
        model = cell.build()
        model.compile(
            keras.optimizers.AdamW(job["rate"], job["decay"]),
            cell.loss,
            jit_compile=False,  # twice as slow for convolutions on a CPU
        )
    moving = bool(figures.transformers(model))

    def look(model, number):
        if moving:
            figures.frame(model, cell.images, cell.labels, folder / "frames" / f"{number:02}.png")
        return {"error": cell.error(model, SOME)}

    spend.look = look
    once = {"epochs": 1, "steps_per_epoch": sys.maxsize, "shuffle": False, "verbose": 0}
    if not spend.over:
        model.fit(cell.training(spend.steps), callbacks=[spend], **once)
    if len(figures.transformers(model)) > 1:
        figures.depths(model, cell.images, cell.labels, folder / "depths.png")
    if moving:
        figures.animation(sorted((folder / "frames").glob("*.png")), folder / "learning.gif")
        figures.means(model, cell.images, cell.labels, folder / "means.png")
    return {
        "weights": model.count_params(),
        "error": cell.error(model),
        "steps": spend.steps,
        "images": spend.steps * job["batch"],
        "seconds": round(spend.seconds, 1),
        "curve": spend.curve,
    }
