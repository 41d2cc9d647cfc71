"""The callback `WarmUp`."""

import warnings

import keras

from keras_stn import _checks
from keras_stn.callbacks import _watched


class WarmUp(_watched.Watching):
    """Freezes the localization networks for the first epochs, and then lets them learn.

    A fresh classifier has no use for a map yet, and its gradients push a transformer anywhere. With it
    frozen the classifier learns on the images as they are. Layers that were frozen before stay frozen.

    It is `trainable` that changes, so layers such as `BatchNormalization` keep their statistics too, and
    weight decay does nothing. Layers that the classifier shares with a localization network are frozen
    with it. `jitter` goes on. Keras compiles its training step once more as the freeze begins, and once
    as it ends. A model that is saved in between is saved frozen, and one whose training is interrupted
    stays so: `layer.localization.trainable = True` thaws it, and a `WarmUp` warns of it.

    Args:
        epochs: How many epochs, counted from the first one, also where `fit` goes on at a later
            `initial_epoch`.

    Raises:
        ValueError: if `epochs` is no positive integer, or, as training begins, if the model has no
            `keras_stn.SpatialTransformer`, or is not built: give it a `keras.Input`, or call it once.

    Example:
        >>> import keras, keras_stn, numpy as np
        >>> look = keras_stn.SpatialTransformer()
        >>> layers = look, keras.layers.Flatten(), keras.layers.Dense(1)
        >>> model = keras.Sequential([keras.Input((12, 16, 1)), *layers])
        >>> model.compile("adam", loss="mse")
        >>> images, labels = np.random.rand(8, 12, 16, 1), np.arange(8)
        >>> warm_up = keras_stn.callbacks.WarmUp(epochs=2)
        >>> for epoch in (0, 2):  # the second call is after the warm-up
        ...     fitted = model.fit(images, labels, initial_epoch=epoch, epochs=epoch + 1, verbose=0,
        ...                        callbacks=[warm_up])
        ...     print(bool(look.localization.head.kernel.numpy().any()))
        False
        True
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = _checks.count("epochs", epochs)
        self._frozen: list[tuple[keras.layers.Layer, bool]] = []

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._thaw()  # where an interrupt ended the training before this one
        # Of the weights that come later, the optimizer would know those alone that are not frozen.
        if not (self.model.built and all(layer.localization.built for layer in self.transformers)):
            raise _checks.error(
                "model must be built before a WarmUp: give it a keras.Input, or call it on images once. "
                f"Received: model={self.model.name!r}, which is not built."
            )
        for layer in self.transformers:
            if not layer.localization.trainable:
                warnings.warn(
                    f"{layer.name!r} is frozen before its warm-up, and stays so after it: it was saved, "
                    "or training was interrupted, within one. Set layer.localization.trainable = True "
                    "and compile the model.",
                    stacklevel=2,
                )

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.epochs and not self._frozen:
            self._freeze()
        elif epoch >= self.epochs:
            self._thaw()

    def on_train_end(self, logs=None):
        self._thaw()

    def _freeze(self):
        optimizer = self.model.optimizer
        if not optimizer.built:  # with all of them: it takes no others later
            optimizer.build(self.model.trainable_variables)
        localizations = [transformer.localization for transformer in self.transformers]
        # All before the first is frozen: transformers may share them.
        layers = _watched.layers_in(*localizations)
        self._frozen = [(layer, layer.trainable) for layer in layers]
        for localization in localizations:
            localization.trainable = False
        self.model.make_train_function(force=True)

    def _thaw(self):
        if not self._frozen:
            return
        for layer, trainable in self._frozen:  # those that hold others first, for they change these
            layer.trainable = trainable
        self._frozen = []
        self.model.make_train_function(force=True)
