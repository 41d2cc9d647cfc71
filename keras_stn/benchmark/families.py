"""Time families beside the same maps written in PyTorch, by its grid and `grid_sample`, in one process.

    python -m keras_stn.benchmark.families --out families.json

Ours are compiled. PyTorch's are what a careful user writes: the target grid, and for a spline the matrix
from displacements to points, are made once and kept. Times are medians of runs in turns, five of each
after three that do not count: the threads of the one library still spin when the other starts. "Ratio"
is ours by PyTorch's, of its faster layout. All results are compared before they are timed.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_stn import transforms
from keras_stn.benchmark.contenders import BOTH, FORWARD, PARAMS, compiled, work
from keras_stn.benchmark.run_stablehlo import errors
from keras_stn.layers import Warp

Shape = tuple[int, ...]
Tensor = Any

PICTURES = (128, 40, 40, 1), (8, 224, 224, 3)
VOLUMES = (2, 64, 64, 64, 1), (4, 32, 32, 32, 16)


class Case(NamedTuple):
    """A family, and its grid in PyTorch.

    Attributes:
        family: Makes the family.
        grid: Of (family, shape), a function of PyTorch params to the normalised grid.
        spread: Of random params around the identity.
        shapes: Of images, channels last.
    """

    family: Callable[[], transforms.Transform]
    grid: Callable[[transforms.Transform, Shape], Callable[[Any], Any]]
    spread: float
    shapes: tuple[Shape, ...] = PICTURES


def _target(shape: Shape) -> np.ndarray:
    """(height * width, 2): the normalised (x, y) of the pixels."""
    _, height, width, _ = shape
    x, y = np.meshgrid((2 * np.arange(width) + 1) / width - 1, (2 * np.arange(height) + 1) / height - 1)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _affine(family, shape):
    import torch

    batch, *sizes, channels = shape
    ndim = len(sizes)
    return lambda params: torch.nn.functional.affine_grid(
        params.view(-1, ndim, ndim + 1), (batch, channels, *sizes), align_corners=False
    )


def _projective(family, shape):
    import torch

    target = torch.from_numpy(np.pad(_target(shape), ((0, 0), (0, 1)), constant_values=1)).float()

    def grid(params):
        theta = torch.cat([params, torch.ones_like(params[:, :1])], dim=1).view(-1, 3, 3)
        points = target @ theta.transpose(1, 2)  # (batch, h * w, 3)
        return (points[..., :2] / points[..., 2:]).view(-1, *shape[1:3], 2)

    return grid


def _thin_plate_spline(family, shape):
    import torch

    target = _target(shape)
    # The map is linear in the displacements: a column of the matrix is the map of one of them.
    count = family.num_params // 2
    ones = np.zeros((count, count, 2))
    ones[np.arange(count), np.arange(count)] = 1, 0
    points = family.transform_points(ones.reshape(count, -1), np.repeat(target[None], count, axis=0))
    matrix = torch.from_numpy((np.array(points)[..., 0] - target[:, 0]).T.copy()).float()
    target = torch.from_numpy(target).float()
    return lambda params: (target + matrix @ params.view(-1, count, 2)).view(-1, *shape[1:3], 2)


def _displacement(family, shape):
    import torch

    _, height, width, _ = shape
    target = torch.from_numpy(_target(shape)).float().view(height, width, 2)
    scale = torch.tensor([2 / width, 2 / height])
    return lambda params: target + params * scale


CASES = {
    "affine": Case(transforms.Affine, _affine, 0.2),
    "projective": Case(transforms.Projective, _projective, 0.2),
    "thin_plate_spline": Case(transforms.ThinPlateSpline, _thin_plate_spline, 0.1),
    "displacement": Case(transforms.Displacement, _displacement, 2.0),
    "affine, volumes": Case(lambda: transforms.Affine(ndim=3), _affine, 0.2, VOLUMES),
}


def arrays_of(case: Case, shape: Shape) -> list[np.ndarray]:
    """Images, params and the gradient that comes from above."""
    rng = np.random.default_rng(0)
    family = case.family()
    field = shape[1:-1] if family.params_ndim > 2 else ()
    near = rng.uniform(-case.spread, case.spread, (shape[0], *field, family.num_params))
    params = near + family.identity_params
    return [array.astype("float32") for array in (rng.random(shape), params, rng.random(shape))]


def ours(case: Case, task: str, arrays: list[np.ndarray]) -> Callable:
    layer = Warp(case.family())
    function = compiled(work(lambda images, params: layer([images, params]), task))
    tensors = [tf.constant(array) for array in arrays]

    def run(calls=1):
        for _ in range(calls):
            results = [result.numpy() for result in function(*tensors)]
        return results

    return run


def pytorch(case: Case, task: str, arrays: list[np.ndarray], channels_last: bool) -> Callable:
    import torch

    images, params, upstream = map(torch.from_numpy, arrays)
    last = images.dim() - 1
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}[images.dim()]
    layout = layout if channels_last else torch.contiguous_format
    planes, above = (
        tensor.movedim(last, 1).contiguous(memory_format=layout) for tensor in (images, upstream)
    )
    sources = {PARAMS: [params], BOTH: [params, planes]}.get(task, [])
    grid = case.grid(case.family(), arrays[0].shape)

    def run(calls=1):
        for source in sources:
            source.requires_grad_()
        for _ in range(calls):
            warped = torch.nn.functional.grid_sample(planes, grid(params), align_corners=False)
            gradients = torch.autograd.grad(warped, sources, above) if sources else ()
        results = [warped.detach(), *gradients]
        return [each.movedim(1, last) if each.shape == planes.shape else each for each in results]

    return run


def medians(runs: dict[str, Callable], repeats: int) -> dict[str, float]:
    """Milliseconds of each run, in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            run(3)
            for _ in range(5):
                start = time.perf_counter()
                run()
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(series) for name, series in times.items()}


def measure(name: str, shape: Shape, task: str, repeats: int) -> dict[str, Any]:
    """A row of the table."""
    case = CASES[name]
    arrays = arrays_of(case, shape)
    runs = {"ours": ours(case, task, arrays)}
    for channels_last in (False, True):
        runs[f"PyTorch {channels_last}"] = pytorch(case, task, arrays, channels_last)
    found = errors(runs["ours"](), runs["PyTorch False"]())
    ms = medians(runs, repeats)
    theirs = min(time for who, time in ms.items() if who != "ours")
    return {
        "family": name,
        "shape": "x".join(map(str, shape)),
        "task": task,
        "ms": ms["ours"],
        "PyTorch": theirs,
        "ratio": ms["ours"] / theirs,
        "errors": found,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("families.json"))
    parser.add_argument("--families", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--smoke", action="store_true", help="tiny images, to see that it runs")
    options = parser.parse_args(arguments)
    rows = []
    print(f"{'family':>18} {'images':>16} {'':11} {'ours, ms':>8} {'PyTorch':>8} ratio  errors")
    for name in options.families:
        for shape in CASES[name].shapes:
            if options.smoke:
                shape = (2, *(6 + axis for axis in range(len(shape) - 2)), 3)
            for task in (FORWARD, PARAMS, BOTH):
                row = measure(name, shape, task, options.repeats)
                rows.append(row)
                numbers = f"{row['ms']:8.2f} {row['PyTorch']:8.2f} {row['ratio']:5.2f}"
                found = " ".join(f"{error:.0e}" for error in row["errors"].values())
                print(f"{name:>18} {row['shape']:>16} {task:11} {numbers}  {found}", flush=True)
                options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
