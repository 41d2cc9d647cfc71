"""How fast XLA runs the files of write_stablehlo.py, beside PyTorch's affine_grid and grid_sample.

    python keras_stn/benchmark/run_stablehlo.py stablehlo --out results.json

Needs JAX, PyTorch and NumPy alone, nothing of this package: JAX brings XLA, the compiler that TensorFlow
uses as well. On the GPU where both see one, on the CPU where neither does. PyTorch runs in both memory
formats, and the faster one counts. "grid_sample" is PyTorch's alone, on a grid that is there, whose
gradient is as far as it goes: on a GPU most of a step is the gradient of affine_grid, a matmul.
Prints a table, and writes it with the versions as JSON.
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np

RESULTS = "warped", "to_params", "to_images"
LAYOUTS = "contiguous", "channels_last"
ALONE = "grid_sample, "  # before a layout


def random_inputs(shape):
    """Images in [0, 1), params near the identity, and a gradient from above."""
    rng = np.random.default_rng(0)
    batch, height, width, _ = shape
    params = ([1, 0, 0, 0, 1, 0] + rng.uniform(-0.2, 0.2, (batch, 6))).astype("float32")
    upstream = rng.standard_normal(shape, "float32")
    # None next to the centres of pixels: the derivative jumps there, and a rounding decides.
    a, b, c, d, e, f = params.astype("float64").T[:, :, None, None]
    x, y = (2 * np.arange(width) + 1) / width - 1, (2 * np.arange(height)[:, None] + 1) / height - 1
    for point, size in ((a * x + b * y + c, width), (d * x + e * y + f, height)):
        pixel = ((point + 1) * size - 1) / 2
        upstream[np.abs(pixel - pixel.round()) < 1e-6 * max(height, width)] = 0
    return rng.random(shape, "float32"), params, upstream


def xla(text, arrays):
    """StableHLO text, and a copy of the images, as functions of the number of calls."""
    import jax
    from jaxlib import xla_client

    devices = jax.devices()[:1]
    client, options = devices[0].client, xla_client.CompileOptions()
    compile_text = getattr(client, "compile_and_load", None)
    program = compile_text(text, devices, options) if compile_text else client.compile(text, options)
    inputs, copy = [jax.device_put(array) for array in arrays], jax.jit(jax.numpy.copy)

    def ours(calls):
        for _ in range(calls):
            results = program.execute(inputs)
        return jax.block_until_ready(results)

    def copies(calls):
        for _ in range(calls):
            result = copy(inputs[0])
        return jax.block_until_ready(result)

    return {"ours": ours, "copy": copies}


def pytorch(step, arrays, layout, device):
    """The same in PyTorch, whole and from a grid that is there: functions of the number of calls."""
    import torch
    from torch.nn import functional

    memory_format = getattr(torch, {"contiguous": "contiguous_format"}.get(layout, layout))
    images, params, upstream = (torch.from_numpy(array).to(device) for array in arrays)
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
    upstream = upstream.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)

    def affine_grid():
        return functional.affine_grid(params.view(-1, 2, 3), images.shape, align_corners=False)

    given = affine_grid()

    def timed(grid_of, start):
        sources = {"params_step": [start], "step": [start, images]}.get(step, [])

        def run(calls=1):
            for source in sources:
                source.requires_grad_()
            for _ in range(calls):
                warped = functional.grid_sample(
                    images, grid_of(), padding_mode="zeros", align_corners=False
                )
                gradients = torch.autograd.grad(warped, sources, upstream) if sources else ()
            if device == "cuda":
                torch.cuda.synchronize()
            results = [warped.detach(), *gradients]
            return [each.permute(0, 2, 3, 1) if each.shape == images.shape else each for each in results]

        return run

    return timed(affine_grid, params), timed(lambda: given, given)


def medians(runs, repeats, calls):
    """Milliseconds of one call: all in turn, each after a pause and a call that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(0.02)
            run(1)
            start = time.perf_counter()
            run(calls)
            times[name].append(1000 * (time.perf_counter() - start) / calls)
    return {name: float(np.median(series)) for name, series in times.items()}


def errors(ours, theirs):
    """The largest difference of the warped images; of gradients, relative to the largest of them."""
    found = {}
    for name, mine, other in zip(RESULTS, ours, theirs, strict=False):  # a step has 1 to 3 of them
        other = other.cpu().numpy()
        scale = 1 if name == "warped" else np.abs(other).max()
        found[name] = float(np.abs(np.asarray(mine) - other).max() / scale)
    return found


def measure(path, device, repeats, calls):
    """A row of the table, from a file such as step_8x224x224x3.stablehlo.txt."""
    step, _, shape = path.name.removesuffix(".stablehlo.txt").rpartition("_")
    arrays = random_inputs(tuple(map(int, shape.split("x"))))
    inputs = arrays[: 2 if step == "forward" else 3]
    runs = xla(path.read_text(), inputs)
    for layout in LAYOUTS:
        runs[layout], runs[ALONE + layout] = pytorch(step, arrays, layout, device)
    results = runs["ours"](1)
    row = {"shape": shape, "step": step, "errors": errors(results, runs["contiguous"](1))}
    row["ms"] = ms = medians(runs, repeats, calls)
    row["times_as_fast"] = min(ms[layout] for layout in LAYOUTS) / ms["ours"]
    row["times_as_fast_as_grid_sample"] = min(ms[ALONE + layout] for layout in LAYOUTS) / ms["ours"]
    # Every input read once and every result written once, at the speed of a copy.
    least = sum(array.nbytes for array in (*inputs, *results)) / (2 * inputs[0].nbytes) * ms["copy"]
    row["share_of_bandwidth"] = least / ms["ours"]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="where write_stablehlo.py wrote its files")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results.json"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--calls", type=int, help="in a row, timed as one: 20 on a GPU, 1 on a CPU")
    arguments = parser.parse_args()
    os.environ.setdefault(
        "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
    )  # leaves PyTorch its share of the GPU
    import jax
    import jaxlib
    import torch

    cuda = torch.cuda.is_available()
    if cuda != (jax.default_backend() == "gpu"):
        parser.error("one of JAX and PyTorch sees a GPU, and the other does not")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(os.cpu_count())  # as many as XLA takes
    device = torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} threads"
    versions = {module.__name__: module.__version__ for module in (jax, jaxlib, torch, np)}
    print(device, versions)
    print(f"{'images':>15} {'':11} {'ours, ms':>9} {'PyTorch, ms':>11} times as fast bandwidth", end="")
    print(" grid_sample, ms times as fast  errors")
    paths = arguments.folder.glob("*.stablehlo.txt")
    rows = []
    for path in sorted(paths, key=lambda path: path.name.split("_")[::-1]):  # by shape
        row = measure(path, "cuda" if cuda else "cpu", arguments.repeats, arguments.calls or 20**cuda)
        rows.append(row)
        ms, ratio, share = row["ms"]["ours"], row["times_as_fast"], row["share_of_bandwidth"]
        alone = row["times_as_fast_as_grid_sample"]
        print(f"{row['shape']:>15} {row['step']:11} {ms:9.3f} {ms * ratio:11.3f}{ratio:14.2f}", end="")
        print(f" {share:9.0%} {ms * alone:15.3f} {alone:13.2f} ", end="")
        print(*(f"{error:.0e}" for error in row["errors"].values()), flush=True)
    report = {"device": device, "versions": versions, "rows": rows}
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
