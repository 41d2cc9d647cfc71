"""Write a warp and its training step as StableHLO, the language in which TensorFlow hands them to XLA.

    python examples/benchmarks/write_stablehlo.py --out stablehlo
    python examples/benchmarks/write_stablehlo.py --out stablehlo --shapes 8x224x224x3 8x64x64x1

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

SHAPES = "64x224x224x3", "64x56x56x64", "8x1024x1024x3"
SMOKE_SHAPES = ("2x24x20x3",)

warp = keras_stn.Warp()  # affine, bilinear, zeros outside


def forward(images, params):
    return warp([images, params])


def step(images, params, upstream):
    with tf.GradientTape() as tape:
        tape.watch([params, images])
        warped = warp([images, params])
    return warped, *tape.gradient(warped, [params, images], output_gradients=upstream)


def params_step(images, params, upstream):
    with tf.GradientTape() as tape:
        tape.watch(params)
        warped = warp([images, params])
    return warped, tape.gradient(warped, params, output_gradients=upstream)


def stablehlo(function, shapes):
    """The text of a function of float32 tensors of these shapes, as TensorFlow lowers it for a GPU."""
    compiled = tf.function(function, jit_compile=True, autograph=False)
    with keras_stn.sampler.for_gpu():
        lower = compiled.experimental_get_compiler_ir(*map(tf.TensorSpec, shapes))
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
        images = tuple(map(int, name.split("x")))
        params = images[0], 6
        for function in (forward, step, params_step):
            shapes = [images, params] if function is forward else [images, params, images]
            path = arguments.out / f"{function.__name__}_{name}.stablehlo.txt"
            path.write_text(stablehlo(function, shapes))
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
