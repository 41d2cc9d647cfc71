"""Callbacks that watch spatial transformers while they train.

Each finds the `keras_stn.SpatialTransformer` layers of the model that is trained, wherever they stand:
in models within the model and in layers that hold layers. Without one a callback raises a ValueError as
training begins. Images are given as the model takes them, a few dozen of them: at the end of an epoch
the model looks at all at once.
"""

from keras_stn.callbacks.collapse import CollapseWarning, CollapseWatch
from keras_stn.callbacks.strips import Strips
from keras_stn.callbacks.transformer_metrics import TransformerMetrics
from keras_stn.callbacks.warm_up import WarmUp

__all__ = ["CollapseWarning", "CollapseWatch", "Strips", "TransformerMetrics", "WarmUp"]
