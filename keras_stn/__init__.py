"""keras_stn: the spatial transformer layer for Keras on TensorFlow."""

from keras_stn import _checks, _quiet

with _quiet.importing_tensorflow():
    import keras as _keras

_checks.backend(_keras.backend.backend())

from keras_stn import export, localization, ops, transforms, visualize  # noqa: E402
from keras_stn._version import __version__  # noqa: E402
from keras_stn.export import check_tflite, export_onnx, export_saved_model, export_tflite  # noqa: E402
from keras_stn.layers import SpatialTransformer, Warp  # noqa: E402
from keras_stn.localization import Localization  # noqa: E402

__all__ = [
    "Localization",
    "SpatialTransformer",
    "Warp",
    "__version__",
    "check_tflite",
    "export",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "localization",
    "ops",
    "transforms",
    "visualize",
]
