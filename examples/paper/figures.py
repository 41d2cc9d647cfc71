"""Pictures of a run: learning curves, what a transformer looks at, and the mean image of each class."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np

import keras_stn
from keras_stn import visualize

DPI = 80


def transformers(model) -> list:
    return [layer for layer in model.layers if isinstance(layer, keras_stn.SpatialTransformer)]


def first_of_each(labels: np.ndarray) -> np.ndarray:
    """Where each class stands for the first time."""
    return np.unique(labels, return_index=True)[1]


def frame(model, images: np.ndarray, labels: np.ndarray, path: pathlib.Path) -> None:
    """One image of each class, where the first transformer looks, and what it makes of it."""
    chosen = first_of_each(labels)[:10]
    (layer, *_) = transformers(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    visualize.plot_warps(images[chosen], layer).savefig(path, dpi=DPI)


def animation(frames: list[pathlib.Path], path: pathlib.Path) -> None:
    """The frames of a training as a GIF, whose last one stays."""
    from PIL import Image

    pictures = [Image.open(one).convert("RGB") for one in frames]
    size = pictures[-1].size
    pictures = [picture.resize(size) for picture in pictures]
    durations = [300] * (len(pictures) - 1) + [2000]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def means(model, images: np.ndarray, labels: np.ndarray, path: pathlib.Path) -> None:
    """The mean test image of each class, and that of what the transformer makes of them."""
    (layer, *_) = transformers(model)
    parts = np.array_split(images, max(1, len(images) // 500))
    warped = np.concatenate([np.asarray(layer(part)) for part in parts])
    classes = np.unique(labels)
    figure, axes = plt.subplots(2, len(classes), figsize=(1.1 * len(classes), 2.4), layout="constrained")
    for row, (name, pictures) in enumerate((("input", images), ("output", warped))):
        for axis, one in zip(axes[row], classes, strict=True):
            axis.imshow(pictures[labels == one].mean(axis=0)[..., 0], cmap="gray")
            axis.set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def curves(found: list[dict], path: pathlib.Path) -> None:
    """Test error of 2,000 images by the minutes of training: one panel a task, one line a run."""
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
