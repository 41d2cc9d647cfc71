"""The files of the matrix: models x the forms in which they are exported, with inputs and truth.

The truth is the live Keras model. Several inputs and outputs are told apart by their place, as the C
API, Java and microcontrollers do: the names do not stand in the order of the alphabet.
"""

import dataclasses
import itertools
import json
import pathlib
import sys
from collections.abc import Callable

import keras
import numpy as np

import keras_stn

sys.path.append(str(pathlib.Path(__file__).parents[1] / "export"))
import common

BATCHES = (1, 3, 6, 2)  # what one interpreter of an open file is resized to, up and down


@dataclasses.dataclass(frozen=True)
class Form:
    extension: str
    arguments: dict
    psnr: float | None = None  # decibels that are required, or else the error of float32


TFLITE = {
    "float32": Form("tflite", {}),
    "float16": Form("tflite", {"quantization": "float16"}, 50),
    "dynamic": Form("tflite", {"quantization": "dynamic"}, 25),
    "int8": Form("tflite", {"quantization": "int8"}, 25),
    "gpu": Form("tflite", {"target": "gpu"}),
    "gpu float16": Form("tflite", {"target": "gpu", "quantization": "float16"}, 50),
}
ONNX = {
    "GridSample": Form("onnx", {"mode": "grid_sample"}),
    "gather": Form("onnx", {"mode": "gather"}),
}
FORMS = TFLITE | ONNX
FLOAT = ("float32", "gpu", "GridSample", "gather")


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    build: Callable[[], keras.Model]
    form: str
    batch: int | None = 1
    ties: float = 0.0  # the share of values that may differ: points between two pixels
    in_ci: bool = False
    error: float = 1e-5

    @property
    def id(self):
        return f"{self.name}, {self.form}"

    @property
    def extension(self):
        return FORMS[self.form].extension


def classifier(filters, units):
    """A convolutional network behind a transformer; `filters` and `units` set the number of weights."""

    def build():
        images = keras.Input((24, 20, 3), name="images")
        x = keras_stn.SpatialTransformer("dense", output_size=(20, 16))(images)
        x = keras.layers.Conv2D(filters, 5, strides=2, activation="relu")(x)
        x = keras.layers.Conv2D(2 * filters, 3, activation="relu")(x)
        x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(images, keras.layers.Dense(10)(x), name="classifier")

    return build


def strided():
    images = keras.Input((40, 36, 1), name="images")
    return keras.Model(images, keras_stn.SpatialTransformer("strided_conv")(images), name="strided")


def warp(*arguments, **more):
    return lambda: common.warp(*arguments, **more)


def labels(dtype="int32"):
    """An image and its label map, warped by the same params; the names run backwards."""

    def build():
        params = keras.Input((6,), name="a_params")
        image = keras.Input((9, 12, 2), name="z_image")
        mask = keras.Input((9, 12, 1), name="b_mask", dtype=dtype)
        # Past the middle between two pixels, so that rounding makes no difference.
        warped = keras_stn.Warp("affine", (7, 10), name="warped")([image, params])
        nearest = keras_stn.Warp("affine", (7, 10), interpolation="nearest", name="mask")([mask, params])
        return keras.Model([image, params, mask], [warped, nearest], name="labels")

    return build


def several():
    """Three inputs and three outputs of different shapes, none in the order of the alphabet."""
    z = keras.Input((8, 11, 1), name="zoo")
    a = keras.Input((6,), name="ant")
    m = keras.Input((5, 7, 2), name="mouse")
    first = keras_stn.Warp("affine", (6, 4), name="y")([m, a])
    second = keras_stn.Warp("affine", (3, 5), fill_mode="reflect", name="c")([z, a])
    third = keras.layers.Dense(4, name="k")(a)
    return keras.Model([z, a, m], [first, second, third], name="several")


def _cases():
    sizes = {"17,000 weights": (4, 16), "170,000 weights": (16, 96), "460,000 weights": (32, 150)}
    for (size, arguments), form in itertools.product(sizes.items(), FORMS):
        ci = form in ("float32", "float16", "int8") and not size.startswith("17,")
        yield Case(f"classifier of {size}", classifier(*arguments), form, in_ci=ci)
        if form in ("float32", "float16", "int8", "GridSample"):
            yield Case(f"classifier of {size}, any batch", classifier(*arguments), form, batch=None)
    for form in FORMS:
        # Params from a deep network carry its rounding: 1.1e-5 in the pixels with LiteRT 1.2.
        yield Case("strided_conv", strided, form, in_ci=form == "float16", error=5e-5)
    for channels, batch in itertools.product((1, 2, 3, 4), (1, 3, None)):
        for form in FLOAT if batch else ("float32", "GridSample", "gather"):
            build = warp("attention", (11, 14), channels=channels, output_size=(6, 9))
            ci = form == "float32" and channels in (1, 3)
            yield Case(f"attention, {channels} channels, batch {batch}", build, form, batch, in_ci=ci)
    for family, interpolation, fill, size, batch, align_corners in common.COVERING:
        build = warp(family, size, fill, interpolation=interpolation, align_corners=align_corners)
        name = f"{family} {interpolation} {fill} {size[0]}x{size[1]}, batch {batch}"
        ties = 1e-2 if interpolation == "nearest" else 0.0
        for form in FLOAT if batch else ("float32", "GridSample", "gather"):
            yield Case(name, build, form, batch, ties)
    for form, batch in itertools.product(("float32", "GridSample", "gather"), (1, None)):
        ci = form in ("float32", "GridSample")
        yield Case(f"image and labels, batch {batch}", labels(), form, batch, in_ci=ci)
        yield Case(f"three inputs, batch {batch}", several, form, batch, in_ci=ci)


CASES = {case.id: case for case in _cases()}


def inputs(model, batch):
    rng = np.random.default_rng(batch)
    arrays = []
    for tensor in model.inputs:
        shape = (batch, *tensor.shape[1:])
        if len(shape) == 4 and "int" in tensor.dtype:
            arrays.append(rng.integers(0, 9, shape).astype(tensor.dtype))
        elif len(shape) == 4:
            arrays.append(rng.random(shape).astype("float32"))
        else:
            warps = [layer for layer in model.layers if isinstance(layer, keras_stn.Warp)]
            identity = np.array(warps[0].transform.identity_params)
            arrays.append((identity + rng.uniform(-0.6, 0.6, shape)).astype("float32"))
    return arrays


def randomize(model):
    """Predicted params that are not the identity: the head starts with zeros."""
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) == 2 and not np.any(weight.numpy()):
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape) / weight.shape[0] ** 0.5)


def write(case, folder):
    """Model, inputs and truth of a case into a folder, as worker.py reads them."""
    keras.utils.set_random_seed(0)
    model = case.build()
    randomize(model)
    feeds = [inputs(model, batch) for batch in ([case.batch] * 2 if case.batch else BATCHES)]
    folder.mkdir(parents=True)
    for i, feed in enumerate(feeds):
        truth = keras.tree.flatten(model(feed if len(feed) > 1 else feed[0], training=False))
        np.savez(folder / f"{i}.npz", **{str(k): array for k, array in enumerate(feed)})
        np.savez(folder / f"truth.{i}.npz", **{str(k): np.array(array) for k, array in enumerate(truth)})
    form = FORMS[case.form]
    path = folder / f"model.{form.extension}"
    arguments = {"batch_size": case.batch, **form.arguments}
    if form.arguments.get("quantization") == "int8":
        arguments["representative_dataset"] = np.random.default_rng(1).random(
            (32, *model.inputs[0].shape[1:]), "float32"
        )
    if form.extension == "tflite":
        keras_stn.export_tflite(model, path, **arguments)
    else:
        keras_stn.export_onnx(model, path, **arguments)
    (folder / "ends.json").write_text(json.dumps(ends(path)))


def ends(path):
    """The names of a file's inputs and outputs, in its order: for runtimes that ask for names."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        details = interpreter.get_input_details(), interpreter.get_output_details()
        inputs, outputs = ([detail["name"] for detail in side] for side in details)
    else:
        import onnx

        graph = onnx.load(path).graph
        inputs, outputs = ([end.name for end in side] for side in (graph.input, graph.output))
    return {"inputs": inputs, "outputs": outputs}


def error(case, folder):
    """What is wrong with the outputs beside the truth: None, or in words."""
    form = FORMS[case.form]
    for expected_file in sorted(folder.glob("truth.*.npz")):
        i = expected_file.stem.removeprefix("truth.")
        with np.load(expected_file) as expected, np.load(folder / f"out.{i}.npz") as actual:
            if len(actual.files) != len(expected.files):
                return f"{len(actual.files)} outputs instead of {len(expected.files)}"
            for k in expected.files:
                a, e = actual[k], expected[k]
                if a.size != e.size or a.squeeze().shape != e.squeeze().shape:
                    return f"output {k} has shape {a.shape} instead of {e.shape}"
                if found := _differs(a.reshape(e.shape), e, form.psnr, case):
                    return f"output {k}, batch {len(e)}: {found}"
    return None


def _differs(actual, expected, psnr, case):
    if not np.isfinite(actual).all():
        return "not finite"
    difference = np.abs(actual.astype("float64") - expected)
    peak = max(1.0, np.abs(expected).max(initial=0))
    if psnr is not None:
        peak = np.ptp(expected)
        got = 20 * np.log10(peak / max(1e-12, np.sqrt(np.mean(difference**2))))
        return f"{got:.0f} dB" if got < psnr else None
    ordered = np.sort(difference.ravel())
    exact = np.issubdtype(expected.dtype, np.integer)
    ties = case.ties or (1e-2 if exact else 0.0)
    ordered = ordered[: ordered.size - int(ties * ordered.size)]
    worst = ordered.max(initial=0.0)
    return f"error {worst:.2g}" if worst > case.error * peak else None
