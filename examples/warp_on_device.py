"""How fast a warp is in a TFLite file, beside the textbook's form of it and ONNX Runtime's own kernel.

One thread, batch 1, interleaved runs, medians. The textbook's form is what one finds copied: four
tf.gather_nd with a batch index, clipped to the border.
"""

import argparse
import pathlib
import tempfile
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

import keras_stn

SHAPES = (64, 64, 1), (224, 224, 3), (56, 56, 64)
THETA = np.array([[0.9, 0.2, 0.05, -0.15, 1.1, -0.1]], "float32")
PARAMS = {"affine": THETA, "attention": np.array([[0.9, 0.05, -0.1]], "float32")}
TEXTBOOK = "four GATHER_ND"


class Textbook(keras.layers.Layer):
    def call(self, inputs):
        images, params = inputs
        _, height, width, _ = images.shape
        grid = keras_stn.ops.affine_grid(tf.reshape(params, (-1, 2, 3)), (height, width))
        pixels = ((grid + 1) * (width, height) - 1) / 2
        first = tf.floor(pixels)
        output = 0.0
        for corner in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x, y = tf.split(first + corner, 2, axis=-1)
            weights = 1 - tf.abs(pixels - tf.concat([x, y], -1))
            index = [
                tf.zeros_like(x),
                tf.clip_by_value(y, 0, height - 1),
                tf.clip_by_value(x, 0, width - 1),
            ]
            taps = tf.gather_nd(images, tf.cast(tf.concat(index, -1), tf.int32))
            output += tf.reduce_prod(weights, -1, keepdims=True) * taps
        return output


def export(shape, layer, path, family="affine", **options):
    """Write a model of one layer, and return its inputs by their names."""
    images = keras.Input(shape, name="images")
    params = keras.Input(PARAMS[family].shape[1:], name="params")
    model = keras.Model([images, params], layer([images, params]))
    inputs = {
        "images": np.random.default_rng(0).random((1, *shape), "float32"),
        "params": PARAMS[family],
    }
    write = keras_stn.export_onnx if path.suffix == ".onnx" else keras_stn.export_tflite
    # The textbook's coordinates have more roundings, and so an error of their own.
    write(model, path, batch_size=1, samples=inputs, max_error=1e-3, **options)
    return inputs


def tflite(path, inputs):
    interpreter = Interpreter(str(path), num_threads=1)
    details = interpreter.get_signature_runner().get_input_details()
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(details[name]["index"], array)
    return interpreter.invoke


def onnx(path, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def medians(runs, repeats):
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(series)) for name, series in times.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path())
    parser.add_argument("--smoke", action="store_true", help="a few runs, to see that it works")
    arguments = parser.parse_args()
    table = Table("one thread, ms", *("x".join(map(str, shape)) for shape in SHAPES))
    results = []
    for shape in SHAPES[: 1 if arguments.smoke else None]:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "warp.tflite"
            runs = {TEXTBOOK: tflite(file, export(shape, Textbook(), file))}
            for fill_mode in ("constant", "nearest"):
                layer = keras_stn.Warp(fill_mode=fill_mode)
                runs[f"affine, {fill_mode}"] = tflite(file, export(shape, layer, file))
            runs["attention"] = tflite(
                file, export(shape, keras_stn.Warp("attention"), file, "attention")
            )
            file = file.with_suffix(".onnx")
            for name, mode in (("GridSample", "grid_sample"), ("gathers", "gather")):
                inputs = export(shape, keras_stn.Warp(), file, mode=mode)
                runs[f"affine, ONNX {name}"] = onnx(file, inputs)
            results.append(medians(runs, 5 if arguments.smoke else 300))
    for name in results[0]:
        table.add_row(
            name, *(f"{times[name]:.3f} ({times[TEXTBOOK] / times[name]:.1f}x)" for times in results)
        )
    Console().print(table)

    _, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    names = list(results[0])[::-1]
    for index, times in enumerate(results):
        speed = [times[TEXTBOOK] / times[name] for name in names]
        axes.barh(
            np.arange(len(names)) - 0.27 * index, speed, 0.25, label=table.columns[index + 1].header
        )
    axes.set(
        yticks=np.arange(len(names)) - 0.27, yticklabels=names, xlabel=f"times as fast as {TEXTBOOK}"
    )
    axes.legend(frameon=False)
    plt.savefig(arguments.out / "warp_on_device.png", dpi=150)
    print(f"written: {arguments.out / 'warp_on_device.png'}")


if __name__ == "__main__":
    main()
