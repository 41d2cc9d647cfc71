"""The callback `TransformerMetrics`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_stn.callbacks import _watched
from keras_stn.layers import SpatialTransformer


class TransformerMetrics(_watched.Watching):
    """Adds what transformers do to the logs of each epoch.

    `share_outside`, `zoom`, `turn` and `determinant` of `keras_stn.metrics`, as means over the images;
    of turns the mean size, for those of either direction would cancel out. With several transformers
    each name begins with that of the layer: `spatial_transformer_share_outside`. The progress bar and
    `History` show them, and callbacks that are listed after this one: `TensorBoard`, `CSVLogger`,
    `EarlyStopping(monitor="share_outside", mode="min")`.

    Convention:
        Turns are those of pixels, above zero or not; see `keras_stn.metrics.turn`.

    Args:
        images: A batch of what the model takes, a few dozen images of those it does not train on.
        layers: The transformers, or their names; all of the model by default.

    Raises:
        ValueError: as training begins, if the model has no `keras_stn.SpatialTransformer`, or not those
            of `layers`.

    Example:
        >>> import keras, keras_stn, numpy as np
        >>> images, labels = np.random.rand(8, 12, 16, 1), np.zeros(8)
        >>> layers = keras_stn.SpatialTransformer(), keras.layers.Flatten(), keras.layers.Dense(1)
        >>> model = keras.Sequential([keras.Input((12, 16, 1)), *layers])
        >>> model.compile("adam", loss="mse")
        >>> watch = keras_stn.callbacks.TransformerMetrics(images)
        >>> history = model.fit(images, labels, verbose=0, callbacks=[watch]).history
        >>> sorted(history)
        ['determinant', 'loss', 'share_outside', 'turn', 'zoom']
    """

    def __init__(self, images: Any, layers: Sequence[str | SpatialTransformer] | None = None):
        super().__init__(layers)
        self.images = images

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        inputs = _watched.inputs_of(self.model, self.transformers, self.images)
        for layer, its in zip(self.transformers, inputs, strict=True):
            values = _watched.measured(layer, its)
            for name in _watched.MEASURES:
                value = np.abs(values[name]) if name == "turn" else values[name]
                logs[f"{self.label(layer)}{name}"] = float(value.mean())
