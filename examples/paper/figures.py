"""Pictures of a run: learning curves, what a transformer looks at, and the mean image of each class."""

import functools
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_stn
from keras_stn import visualize

DPI = 80


def transformers(model) -> list:
    return [layer for layer in model.layers if isinstance(layer, keras_stn.SpatialTransformer)]


def some(labels: np.ndarray) -> np.ndarray:
    """Ten images, of ten classes where there are so many."""
    first = np.unique(labels, return_index=True)[1]
    return first[:10] if len(first) >= 10 else np.arange(min(10, len(labels)))


def flat(images) -> np.ndarray:
    """Pictures: volumes (n, d, h, w, c) as seen from the front."""
    images = np.asarray(images)
    return images.sum(axis=1) if images.ndim == 5 else images


def frame(model, images: np.ndarray, labels: np.ndarray, path: pathlib.Path) -> None:
    """Some images, where the first transformer looks, and what it makes of them."""
    images = images[some(labels)]
    (layer, *_) = transformers(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    if images.ndim == 4:
        visualize.plot_warps(images, layer).savefig(path, dpi=DPI)
    else:
        _above_each_other({"input": flat(images), "output": flat(layer(images))}, path)


def outlines(model, images: np.ndarray) -> dict[str, np.ndarray]:
    """The corners (n, 4, 2) of what each transformer looks at, in normalised units of the images.

    One that stands behind others sees through them.
    """
    corners = np.float32([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    maps, found = {}, {}
    for layer in transformers(model):
        before = keras.Model(model.input, layer.input)
        seen = before(images)
        maps[layer.name] = functools.partial(
            layer.warp.transform.transform_points, layer.localize(seen), source_size=seen.shape[1:3]
        )
        points = np.tile(corners, (len(images), 1, 1))
        for one in [layer, *reversed(transformers(before))]:
            points = maps[one.name](points)
        found[layer.name] = np.asarray(points)
    return found


def depths(model, images: np.ndarray, labels: np.ndarray, path: pathlib.Path) -> None:
    """Where each transformer looks, on the images themselves."""
    images = images[some(labels)]
    figure, axes = plt.subplots(1, len(images), figsize=(1.3 * len(images), 1.8), layout="constrained")
    for axis, image in zip(axes, images.mean(axis=-1), strict=True):
        axis.imshow(image, cmap="gray", extent=(-1, 1, 1, -1))
        axis.set(xticks=[], yticks=[])
    for colour, (name, corners) in enumerate(outlines(model, images).items(), 1):
        for axis, points in zip(axes, corners, strict=True):
            axis.plot(*points[[0, 1, 2, 3, 0]].T, color=f"C{colour}", linewidth=1, label=name)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def animation(frames: list[pathlib.Path], path: pathlib.Path) -> None:
    """The frames of a training as a GIF, whose last one stays."""
    from PIL import Image

    pictures = [Image.open(one).convert("RGB") for one in frames]
    size = pictures[-1].size
    pictures = [picture.resize(size) for picture in pictures]
    durations = [300] * (len(pictures) - 1) + [2000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def means(model, images: np.ndarray, labels: np.ndarray, path: pathlib.Path) -> None:
    """The mean test image of the first ten classes, and what the first transformer makes of each."""
    (layer, *_) = transformers(model)
    parts = np.array_split(images, max(1, len(images) // 100))
    warped = np.concatenate([flat(layer(part)) for part in parts])
    classes = np.unique(labels)[:10]
    rows = {
        name: np.stack([pictures[labels == one].mean(axis=0) for one in classes])
        for name, pictures in (("input", flat(images)), ("output", warped))
    }
    _above_each_other(rows, path)


def _above_each_other(rows: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """A picture of rows of pictures: in grey, the mean of their channels, where they have not three."""
    columns = max(len(pictures) for pictures in rows.values())
    size = (1.1 * columns + 0.2, 1.2 * len(rows))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        low, high = pictures.min(), pictures.max()
        pictures = (pictures - low) / max(high - low, 1e-6)
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture if picture.shape[-1] == 3 else picture.mean(axis=-1), cmap="gray")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def curves(found: list[dict], path: pathlib.Path) -> None:
    """Error of some test images by the minutes of training: one panel a task, one line a run."""
    tasks = list(dict.fromkeys(row["task"] for row in found))
    names = list(dict.fromkeys(row["network"] for row in found))
    size = (3.4 * len(tasks) + 1.6, 3.4)
    figure, axes = plt.subplots(1, len(tasks), figsize=size, squeeze=False, layout="constrained")
    for axis, task in zip(axes[0], tasks, strict=True):
        for row in found:
            if row["task"] == task:
                minutes = [point["seconds"] / 60 for point in row["curve"]]
                errors = [max(point["error"], 0.05) for point in row["curve"]]
                axis.plot(minutes, errors, color=f"C{names.index(row['network'])}", linewidth=1)
        axis.set(title=task, xlabel="minutes", yscale="log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    axes[0, 0].set_ylabel("test error, %")
    handles = [plt.Line2D([], [], color=f"C{number}") for number in range(len(names))]
    figure.legend(handles, names, loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
