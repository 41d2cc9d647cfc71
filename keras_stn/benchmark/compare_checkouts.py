"""Time a warp of two checkouts in turns: what a change gains, even on a machine that others use.

    python keras_stn/benchmark/compare_checkouts.py ../before . --shapes 8x224x224x3 --ways compiled

One process a checkout, both alive; for each turn one of them times the case and the other waits. A turn
counts its fastest call. "ratio" is the median over the turns of after by before, with its quartiles:
neighbours in time share the noise. The milliseconds are the least of all, and "least" their ratio.
"""

import argparse
import functools
import hashlib
import itertools
import os
import pathlib
import statistics
import subprocess
import sys
import time

SHAPES = "128x40x40x1", "8x224x224x3", "16x56x56x64", "2x512x512x3", "1x224x224x3"
TASKS = "forward", "params", "both"  # the step to params, and the one to params and images
WAYS = "compiled", "function", "eager"
_PAUSE = 0.005  # for the threads of the other process, which spin for milliseconds before they sleep
_TURN = 0.02  # seconds at least, and three calls


def prepared(warp, shape, task, way):
    """One call of a case, as a function without arguments, and a digest of what it computes."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    shape = tuple(map(int, shape.split("x")))
    images, upstream = (tf.constant(rng.random(shape, "float32")) for _ in range(2))
    near = [1, 0, 0, 0, 1, 0] + rng.uniform(-0.2, 0.2, (shape[0], 6))
    params = tf.constant(near, "float32")

    def function(images, params, upstream):
        if task == "forward":
            return [warp([images, params])]
        sources = [params, images][: 1 + (task == "both")]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            warped = warp([images, params])
        return [warped, *tape.gradient(warped, sources, output_gradients=upstream)]

    if way != "eager":
        function = tf.function(function, jit_compile=way == "compiled", autograph=False)

    def run():
        return [np.asarray(result) for result in function(images, params, upstream)]

    return run, hashlib.sha256(b"".join(result.tobytes() for result in run())).hexdigest()


def answer():
    """In the process of a checkout: a line `shape task way` in, milliseconds and digest out."""
    import keras_stn

    case = functools.lru_cache(maxsize=1)(functools.partial(prepared, keras_stn.Warp()))
    for line in sys.stdin:
        run, digest = case(*line.split())
        time.sleep(_PAUSE)
        run()
        ticks = [time.perf_counter()]
        while len(ticks) < 4 or ticks[-1] - ticks[0] < _TURN:
            run()
            ticks.append(time.perf_counter())
        fastest = min(end - start for start, end in itertools.pairwise(ticks))
        print(1e3 * fastest, digest, flush=True)


def start(checkout):
    folder = pathlib.Path(checkout).resolve()
    if not (folder / "keras_stn").is_dir():
        raise SystemExit(f"a checkout must hold keras_stn/. Received: {checkout}")
    environment = os.environ | {"PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command, pipe = [sys.executable, __file__, "--answer"], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)


def ask(process, case):
    print(*case, file=process.stdin, flush=True)
    milliseconds, digest = process.stdout.readline().split()
    return float(milliseconds), digest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", help="a checkout, or any folder with a keras_stn/")
    parser.add_argument("after")
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--turns", type=int, default=21)
    arguments = parser.parse_args()
    pair = [start(arguments.before), start(arguments.after)]
    print(f"{'':28} before after, ms  least  ratio  quartiles  bits")
    for case in itertools.product(arguments.shapes, arguments.tasks, arguments.ways):
        digests = [ask(process, case)[1] for process in pair]
        times: list[list[float]] = [[], []]
        for turn in range(arguments.turns):
            for which in (0, 1) if turn % 2 else (1, 0):
                times[which].append(ask(pair[which], case)[0])
        ratios = [after / before for before, after in zip(*times, strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        before, after = map(min, times)
        bits = "same" if digests[0] == digests[1] else "differ"
        print(f"{' '.join(case):28} {before:6.2f} {after:9.2f} {after / before:6.2f}", end=" ")
        print(f"{ratio:6.2f}  {low:.2f}-{high:.2f}  {bits}", flush=True)
    for process in pair:
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    answer() if sys.argv[1:] == ["--answer"] else main()
