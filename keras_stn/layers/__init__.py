"""The layers: `Warp`, and `SpatialTransformer`, which is a `Localization` and a `Warp` in a row."""

from keras_stn.layers.spatial_transformer import SpatialTransformer
from keras_stn.layers.warp import Warp

__all__ = ["SpatialTransformer", "Warp"]
