"""What a trained transformer does to its images, and whether it has collapsed."""

import json
import math

import config as configs
import numpy as np

from keras_stn import metrics

WORSE = 1.1  # times the error of the plain classifier
OUTSIDE = 0.3  # share of the samples
DETERMINANT = 0.05  # the output shows a twentieth of the image's area, or less


def poses(layer, images: np.ndarray, batch: int = 500) -> dict[str, np.ndarray]:
    """Of the map of each image: share of the points outside, determinant, turn in radians.

    What is NaN lies outside, and has the determinant 0 and no turn.
    """
    starts = range(0, len(images), batch)
    params = [np.asarray(layer.localize(images[start : start + batch])) for start in starts]
    maps = layer.warp.transform, np.concatenate(params).astype("float64")
    return {
        "outside": metrics.share_outside(*maps),
        "determinant": np.nan_to_num(metrics.determinant(*maps)),
        "turn": np.nan_to_num(metrics.turn(*maps)),
    }


def summary(layer, images: np.ndarray, turns: np.ndarray) -> dict[str, float | None]:
    """The figures of one row: share outside, median |det|, and how much of a given turn is undone.

    A slope of 1 undoes all of it. Slope and correlation are None where no turn is given, and the
    correlation also where all images are turned alike.
    """
    found = poses(layer, images)
    row = {
        "outside": float(found["outside"].mean()),
        "determinant": float(np.median(np.abs(found["determinant"]))),
        "slope": None,
        "correlation": None,
    }
    if np.ptp(turns) > 0:
        row["slope"] = float(np.polyfit(turns, found["turn"], 1)[0])
        if np.ptp(found["turn"]) > 0:
            row["correlation"] = float(np.corrcoef(turns, found["turn"])[0, 1])
    return row


def collapse(row: dict, plain: dict | None) -> list[str]:
    """Why a run has collapsed, in words; none of them where it has not.

    Args:
        row: Of the run: error in percent or None where training raised, outside, determinant.
        plain: Of the plain classifier on the same task, rate and seed, where there is one.
    """
    reasons = []
    if row["error"] is None or not math.isfinite(row["error"]):
        return ["training raised"]
    if plain is not None and row["error"] > WORSE * plain["error"]:
        reasons.append("worse than plain")
    if row["outside"] > OUTSIDE:
        reasons.append("looks outside")
    if row["determinant"] < DETERMINANT:
        reasons.append("looks at a point")
    return reasons


def judged(found: list[dict]) -> list[dict]:
    """Rows, those of transformers with `relative`, `collapsed` and `why` among them.

    Each is compared with the plain classifier of the same task, digits, rate, seed, epochs and so on,
    wherever that stands; `relative` is None where there is none.
    """
    plains = {work(row): row for row in found if row["transformer"] == configs.PLAIN}
    verdicts = []
    for row in found:
        if row["transformer"] != configs.PLAIN and row["task"] != configs.ALIGN:
            plain = plains.get(work(row))
            reasons = collapse(row, plain)
            known = plain and plain["error"] and row["error"] is not None
            relative = row["error"] / plain["error"] if known else None
            row = {**row, "relative": relative, "collapsed": bool(reasons), "why": reasons}
        verdicts.append(row)
    return verdicts


def work(row: dict) -> tuple:
    """What two rows that are compared have in common."""
    return tuple(json.dumps(row.get(name)) for name in ("digits", "task", "lr", "seed", *configs.WORK))
