"""What `antialias=True` gains and costs: PSNR beside 16 x 16 reads of each output pixel, and time.

    python keras_stn/benchmark/antialias.py --photograph astronaut

Of a photograph of scikit-image, by affine maps that show its middle. Time is that of a compiled function
of four images, plain and antialiased in turns: the median of each, and their ratio.
"""

import argparse
import importlib
import statistics
import time

import numpy as np

TIMES = 16


def _turned(degrees, matrix):
    angle = np.deg2rad(degrees)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.array(turn) @ matrix


# Pixels of the source for one of the output.
CASES = {
    "1": np.diag([1.0, 1.0]),
    "1.3": np.diag([1.3, 1.3]),
    "2": np.diag([2.0, 2.0]),
    "3": np.diag([3.0, 3.0]),
    "4": np.diag([4.0, 4.0]),
    "6": np.diag([6.0, 6.0]),
    "8": np.diag([8.0, 8.0]),
    "3, turned by 30 degrees": _turned(30, np.diag([3.0, 3.0])),
    "4 across, 1 down": np.diag([4.0, 1.0]),
    "4 across, 1 down, turned": _turned(30, np.diag([4.0, 1.0])),
    "8 across, 2 down": np.diag([8.0, 2.0]),
    "8 across, 2 down, skewed": _turned(30, np.diag([8.0, 2.0])) @ _turned(-30, np.eye(2)),
}


def params_of(matrix, size, output_size):
    """The affine params of a matrix of pixels, by the middle and a little aside."""
    (height, width), (h, w) = size, output_size
    rows = np.column_stack([matrix * [w, h], [0.6, -0.4]]) / [[width], [height]]
    return rows.reshape(1, 6)


def fitting(matrix, size):
    """The largest output of 6:7 that shows nothing beyond the source."""
    across, down = np.abs(matrix) @ [7, 6]
    unit = max(int(0.95 * min(size[1] / across, size[0] / down)), 1)
    return 6 * unit, 7 * unit


def psnr(one, other):
    return -10 * np.log10(np.mean(np.square(one - other)))


def quality(image, params, output_size):
    """PSNR of a plain read and of an antialiased one, in float64."""
    from keras_stn import ops

    image, (h, w) = image[None].astype("float64"), output_size
    fine = np.array(ops.warp(image, params, output_size=(h * TIMES, w * TIMES)))
    truth = fine.reshape(1, h, TIMES, w, TIMES, -1).mean(axis=(2, 4))
    return [
        psnr(ops.warp(image, params, output_size=output_size, antialias=antialias), truth)
        for antialias in (False, True)
    ]


def milliseconds(image, params, output_size, repeats):
    """Medians of a plain read and of an antialiased one, compiled, in turns."""
    import tensorflow as tf

    from keras_stn import ops

    images = tf.constant(np.stack([image] * 4), tf.float32)
    params = tf.constant(np.repeat(params, 4, axis=0), tf.float32)

    def warping(antialias):
        def warp():
            return ops.warp(images, params, output_size=output_size, antialias=antialias)

        function = tf.function(warp, jit_compile=True, autograph=False)
        np.array(function())  # traced, compiled and run
        return function

    functions = [warping(antialias) for antialias in (False, True)]
    found: list[list[float]] = [[], []]
    for _ in range(repeats):
        for function, times in zip(functions, found, strict=True):
            start = time.perf_counter()
            np.array(function())
            times.append(1000 * (time.perf_counter() - start))
    return [statistics.median(times) for times in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photograph", default="astronaut", help="a colour picture of skimage.data")
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--smoke", action="store_true", help="two cases of a small picture of noise")
    arguments = parser.parse_args()
    if arguments.smoke:
        image, names, repeats = np.random.default_rng(0).random((64, 72, 3)), ["1", "4"], 2
    else:
        pictures = importlib.import_module("skimage.data")  # setup.cfg says "scikit-image"
        image = getattr(pictures, arguments.photograph)() / 255.0
        names, repeats = list(CASES), arguments.repeats
    print("| pixels for one | output | PSNR, plain | antialias | ms, plain | antialias | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        output_size = fitting(CASES[name], image.shape[:2])
        params = params_of(CASES[name], image.shape[:2], output_size)
        before, after = quality(image, params, output_size)
        plain, ours = milliseconds(image, params, output_size, repeats)
        print(
            f"| {name} | {output_size[0]}x{output_size[1]} | {before:.1f} | {after:.1f} "
            f"| {plain:.2f} | {ours:.2f} | {ours / plain:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
