"""Localization: images to the params of a transform.

`Localization` is the layer: a network, and a head that starts at the identity. The functions build
networks for it: plain Keras models, from channels_last images to features (batch, n), or
to feature maps where the params are a field.
"""

from keras_stn.localization.head import IdentityParams
from keras_stn.localization.heatmap import Centroids, heatmap
from keras_stn.localization.layer import Localization
from keras_stn.localization.networks import (
    BUILDERS,
    conv,
    dense,
    field_conv,
    resized_conv,
    strided_conv,
    volume_conv,
)

__all__ = [
    "BUILDERS",
    "Centroids",
    "IdentityParams",
    "Localization",
    "conv",
    "dense",
    "field_conv",
    "heatmap",
    "resized_conv",
    "strided_conv",
    "volume_conv",
]
