"""Write a warp and its training step as StableHLO, the language in which TensorFlow hands them to XLA.

    python -m keras_stn.benchmark.write_stablehlo --out stablehlo
    python -m keras_stn.benchmark.write_stablehlo --out stablehlo --shapes 8x224x224x3 8x64x64x1

Three files for each shape of images, (batch, height, width, channels):

    forward      images, params            -> warped
    step         images, params, upstream  -> warped, gradient to the params, gradient to the images
    params_step  images, params, upstream  -> warped, gradient to the params

Nothing is computed, so this takes seconds anywhere and needs no GPU. run_stablehlo.py compiles the files
and times them, on a machine that needs no TensorFlow.
"""

import argparse
import pathlib
import re

import tensorflow as tf

import keras_stn
from keras_stn.benchmark.contenders import BOTH, FORWARD, PARAMS, compiled, work

SHAPES = "64x224x224x3", "64x56x56x64", "8x1024x1024x3", "4x256x256x16"
SMOKE_SHAPES = ("2x24x20x3",)


def stablehlo(task, shape):
    """The text of a task at images of this shape, as TensorFlow lowers it for a GPU."""
    warp = keras_stn.Warp()  # affine, bilinear, zeros outside
    run = work(lambda images, params: warp([images, params]), task)
    shapes = [shape, (shape[0], 6), shape][: 2 if task == FORWARD else 3]

    def function(images, params, *upstream):
        return run(images, params, *upstream or [None])

    with keras_stn.sampler.for_gpu():
        lower = compiled(function).experimental_get_compiler_ir(*map(tf.TensorSpec, shapes))
        text = lower(stage="stablehlo", platform_name="GPU")
    # Without the names of Python files and lines, a third of the text.
    return re.sub(r'^#loc.*\n| loc\((?:"[^"]*"|[^()"])*\)', "", text, flags=re.MULTILINE)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(), help="folder for the files")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="of the images, as 8x224x224x3")
    parser.add_argument("--smoke", action="store_true", help="one small shape")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in SMOKE_SHAPES if arguments.smoke else arguments.shapes:
        for task in (FORWARD, BOTH, PARAMS):
            path = arguments.out / f"{task}_{name}.stablehlo.txt"
            path.write_text(stablehlo(task, tuple(map(int, name.split("x")))))
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
