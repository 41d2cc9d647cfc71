"""The callback `Strips`."""

import pathlib
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_stn import _checks, visualize
from keras_stn.callbacks import _watched
from keras_stn.layers import SpatialTransformer


class Strips(_watched.Watching):
    """Draws, after each epoch, what transformers look at and what they make of it.

    `keras_stn.visualize.plot_warps` of the images, with the sampled quadrilateral on each, as
    `epoch_001.png`, `epoch_002.png` ...; as training ends all of it as `epochs.gif`. With several
    transformers each name begins with that of the layer. Of one that a model calls more than once, the
    first call is drawn.

    Args:
        images: A batch of what the model takes, as few images as fit into a strip.
        folder: Where to write; it is made if it is not there.
        tensorboard: A folder of logs, where TensorBoard finds the pictures by epoch; `None` for none.
            Give another one than to `keras.callbacks.TensorBoard`, such as one beside its "train".
        gif: Whether to write the GIF, of the epochs of this call of `fit`.
        layers: The transformers, or their names; all of the model by default.

    Raises:
        ImportError: if matplotlib is missing, which the extra `demo` brings.
        ValueError: if an argument is none of the above, or, as training begins, if the model has no
            `keras_stn.SpatialTransformer`, or not those of `layers`, or one of volumes or videos.

    Example:
        >>> import keras, keras_stn, numpy as np, os
        >>> images, labels = np.random.rand(8, 12, 16, 1), np.zeros(8)
        >>> layers = keras_stn.SpatialTransformer(), keras.layers.Flatten(), keras.layers.Dense(1)
        >>> model = keras.Sequential([keras.Input((12, 16, 1)), *layers])
        >>> model.compile("adam", loss="mse")
        >>> strips = keras_stn.callbacks.Strips(images[:4], "strips")
        >>> fitted = model.fit(images, labels, epochs=2, verbose=0, callbacks=[strips])
        >>> sorted(os.listdir("strips"))
        ['epoch_001.png', 'epoch_002.png', 'epochs.gif']
    """

    def __init__(
        self,
        images: Any,
        folder: Any,
        tensorboard: Any = None,
        gif: bool = True,
        layers: Sequence[str | SpatialTransformer] | None = None,
    ):
        super().__init__(layers)
        _checks.require("Strips", "demo", "matplotlib")  # which brings Pillow
        self.images = images
        self.folder = pathlib.Path(folder)
        self.tensorboard = tensorboard
        self.gif = _checks.boolean("gif", gif)
        self._written: dict[str, list[pathlib.Path]] = {}
        self._writer: Any = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        for layer in self.transformers:
            if layer.warp.transform.ndim != 2:
                raise _checks.error(
                    "layers must be transformers of pictures. "
                    f"Received: {layer.name!r} with {layer.warp.transform!r}, which is one of volumes."
                )
        if self.model.built:
            self._pictures()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._written = {}
        if self.tensorboard is not None:
            self._writer = tf.summary.create_file_writer(str(self.tensorboard))

    def _pictures(self):
        """What each transformer sees first of `images`: float32, (batch, H, W, channels)."""
        inputs = _watched.inputs_of(self.model, self.transformers, self.images)
        pictures = [tf.cast(first, tf.float32) for first, *_ in inputs]
        for layer, its in zip(self.transformers, pictures, strict=True):
            if its.shape.rank != 4:
                raise _checks.error(
                    f"images must be pictures for {layer.name!r}, (batch, H, W, channels). "
                    f"Received: what it sees has the shape {tuple(its.shape)}."
                )
        return pictures

    def on_epoch_end(self, epoch, logs=None):
        for layer, images in zip(self.transformers, self._pictures(), strict=True):
            label = self.label(layer)
            path = self.folder / f"{label}epoch_{epoch + 1:03d}.png"
            visualize.plot_warps(images, layer).savefig(path, dpi=100)
            self._written.setdefault(label, []).append(path)
            if self._writer is not None:
                with self._writer.as_default(step=epoch):
                    _write_summary(f"{label}warps", path)

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()
        for label, paths in self._written.items() if self.gif else ():
            _write_gif(self.folder / f"{label}epochs.gif", paths)


def _write_summary(tag: str, picture: pathlib.Path) -> None:
    """As `tf.summary.image` does, which wants TensorBoard installed where the model is trained."""
    png = picture.read_bytes()
    height, width, _ = tf.io.decode_png(png).shape
    metadata = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_BLOB_SEQUENCE")
    metadata.plugin_data.plugin_name = "images"
    tf.summary.write(tag, tf.constant([str(width), str(height), png]), metadata=metadata)


def _write_gif(path: pathlib.Path, pictures: Sequence[pathlib.Path]) -> None:
    from PIL import Image

    first, *rest = [Image.open(picture).convert("RGB") for picture in pictures]
    first.save(path, save_all=True, append_images=rest, duration=300, loop=0)
