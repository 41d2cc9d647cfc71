"""What a trained transformer does to its images, and whether it has collapsed."""

import math

import numpy as np

WORSE = 1.1  # times the error of the plain classifier
OUTSIDE = 0.3  # share of the samples
DETERMINANT = 0.05  # the output shows a twentieth of the image's area, or less

_SIDE = 20  # points along each axis, of which the share outside is taken
_STEP = 0.5  # from the middle, of the differences that stand for the derivative


def poses(layer, images: np.ndarray, batch: int = 500) -> dict[str, np.ndarray]:
    """Of the map of each image: share of the points outside, determinant, turn in radians.

    The last two are those of the map's derivative in the middle, by differences; of an affine map they
    are exact. What is NaN lies outside, and has the determinant 0 and no turn.
    """
    axis = (2 * np.arange(_SIDE) + 1) / _SIDE - 1
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(1, -1, 2)
    cross = _STEP * np.array([[[-1, 0], [1, 0], [0, -1], [0, 1]]])
    points = np.concatenate([points, cross], axis=1).astype("float32")
    mapped = []
    for start in range(0, len(images), batch):
        params = layer.localize(images[start : start + batch])
        mapped.append(np.asarray(layer.warp.transform.transform_points(params, points)))
    found = np.concatenate(mapped)
    inside = (np.abs(found[:, :-4]) <= 1).all(axis=-1)
    left, right, above, below = np.moveaxis(np.nan_to_num(found[:, -4:]), 1, 0)
    (a, c), (b, d) = (right - left).T / (2 * _STEP), (below - above).T / (2 * _STEP)  # (a b; c d)
    return {
        "outside": 1 - inside.mean(axis=1),
        "determinant": a * d - b * c,
        "turn": np.arctan2(c - b, a + d),
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
