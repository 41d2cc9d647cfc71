"""What a file of each family takes, and how far it is from Keras: a table of families and forms.

    python -m keras_stn.benchmark.family_files --out family_files.md

Each is a model of one `Warp` of images of one channel and any batch, bilinear, at two sizes that are not
square: what a file grows by is its sides. The error is that of the exporter's own comparison, the
largest over noise in [0, 1]. "-" is a form that the exporter refuses, with its words below the table.
"""

import argparse
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_stn
from keras_stn import transforms

SIZES = (48, 64), (480, 640)
VOLUME_SIZES = (12, 20, 16), (48, 64, 80)

FAMILIES: dict[str, transforms.Transform] = {
    **{name: family() for name, family in transforms.FAMILIES.items()},
    **{
        f"{name}, volumes": transforms.FAMILIES[name](ndim=3)  # type: ignore[call-arg]
        for name in ("translation", "attention", "rotation", "similarity", "affine")
        + ("diffeomorphic_affine", "displacement", "velocity")
    },
}

FORMS: dict[str, Callable] = {
    "SavedModel": keras_stn.export_saved_model,
    "TFLite": keras_stn.export_tflite,
    "TFLite for GPUs": lambda model, path, **more: keras_stn.export_tflite(
        model, path, target="gpu", **more
    ),
    "ONNX": keras_stn.export_onnx,
}


def model_of(family: transforms.Transform, size: tuple[int, ...], batch: int | None) -> keras.Model:
    images = keras.Input((*size, 1), batch_size=batch, name="images")
    field = tuple(side // 4 for side in size) if family.params_ndim > 2 else ()
    params = keras.Input((*field, family.num_params), batch_size=batch, name="params")
    return keras.Model([images, params], keras_stn.Warp(family)(images, params))


def samples_of(model: keras.Model, family: transforms.Transform) -> list[np.ndarray]:
    """Noise, and maps near the identity, of two images."""
    rng = np.random.default_rng(0)
    images, params = ((2 if axis is None else axis for axis in each.shape) for each in model.inputs)
    within = 0.2 if family.param_names else 0.05  # those of a spline add up
    within = within if family.params_ndim == 2 else 2.0  # fields count pixels
    near = np.array(family.identity_params) + rng.uniform(-within, within, tuple(params))
    return [rng.random(tuple(images), "float32"), near.astype("float32")]


def measure(name: str, form: str, size: tuple[int, ...]) -> tuple[float, float] | str:
    """(largest error, KB), or what the exporter says."""
    family = FAMILIES[name]
    model = model_of(family, size, 1 if "GPU" in form else None)
    samples = samples_of(model, family)
    more: dict[str, Any] = {"measure_latency": False} if "TFLite" in form else {}
    if "GPU" in form:
        samples = [sample[:1] for sample in samples]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "file"
        try:
            report = FORMS[form](model, path, samples=samples, **more)
        except ValueError as refusal:
            return str(refusal)
        files = [path] if path.is_file() else list(path.rglob("*"))
        kilobytes = sum(file.stat().st_size for file in files if file.is_file()) / 1024
    return max(accuracy.max_error for accuracy in report.accuracy.values()), kilobytes


def table(names: list[str], small_only: bool = False) -> str:
    """The table in Markdown: errors, and KB at both sizes."""
    lines = ["| family | " + " | ".join(FORMS) + " |", "|---" * (1 + len(FORMS)) + "|"]
    refusals: dict[str, None] = {}
    for name in names:
        cells = []
        for form in FORMS:
            sizes = VOLUME_SIZES if FAMILIES[name].ndim == 3 else SIZES
            found = [measure(name, form, size) for size in sizes[: 1 if small_only else 2]]
            numbers = [pair for pair in found if not isinstance(pair, str)]
            refusals |= dict.fromkeys(
                f"{name}, {form}: {text}" for text in found if isinstance(text, str)
            )
            sizes_in_words = ", ".join(f"{kilobytes:.0f}" for _, kilobytes in numbers)
            largest = max((error for error, _ in numbers), default=0.0)
            cells.append(f"{largest:.0e}, {sizes_in_words} KB" if numbers else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join([*lines, "", *(f"- {refusal}" for refusal in refusals), ""])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("family_files.md"))
    parser.add_argument(
        "--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME"
    )
    parser.add_argument("--smoke", action="store_true", help="small images alone")
    options = parser.parse_args(arguments)
    options.out.write_text(table(options.families, options.smoke))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
