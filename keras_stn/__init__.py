"""The spatial transformer layer for Keras on TensorFlow.

`SpatialTransformer` is the whole module as one layer; `Localization` and `Warp` are its two halves.
`ops` holds the sampler and the grid generator as functions, `transforms` the families of maps,
`localization` the networks that predict their params, `export` the files for servers and phones, and
`visualize` pictures.

Convention:
    Transforms map target to source, in normalised coordinates (x, y): the output pixel at p shows the
    input at transform(p).

Example:
    >>> import keras, keras_stn
    >>> images = keras.Input((40, 40, 1))
    >>> transformer = keras_stn.SpatialTransformer(transform="similarity")
    >>> warped, params = transformer(images), transformer.localize(images)
    >>> warped.shape, params.shape
    ((None, 40, 40, 1), (None, 4))
"""

from keras_stn import _checks, _quiet

with _quiet.importing_tensorflow():
    import keras as _keras

_checks.backend(_keras.backend.backend())

from keras_stn import (  # noqa: E402
    callbacks,
    export,
    localization,
    losses,
    metrics,
    ops,
    regularizers,
    transforms,
    visualize,
)
from keras_stn._version import __version__  # noqa: E402
from keras_stn.export import check_tflite, export_onnx, export_saved_model, export_tflite  # noqa: E402
from keras_stn.layers import SpatialTransformer, Warp  # noqa: E402
from keras_stn.localization import Localization  # noqa: E402

__all__ = [
    "Localization",
    "SpatialTransformer",
    "Warp",
    "__version__",
    "callbacks",
    "check_tflite",
    "export",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "localization",
    "losses",
    "metrics",
    "ops",
    "regularizers",
    "transforms",
    "visualize",
]
