"""Displacement: a vector for each point of a field."""

import abc

from keras_stn import _checks
from keras_stn.transforms.base import register
from keras_stn.transforms.fields import Field


@register
class Displacement(Field):
    """Move each pixel by itself: a field of params (batch, h, w, 2), in pixels of the source.

    The output at pixel p shows the image at p + d(p); where output and image differ in size, at the
    pixel of the image that the identity shows at p, plus d(p). A field as large as the output is d
    itself, the flow of a registration or a video. A smaller one, of any size, covers the picture as an
    image of its size would, and d is interpolated between its points: free-form deformation. Most of
    the params of a large field are seen by few pixels, so predict it by a fully convolutional network.

    Convention:
        (x, y) in pixels of the source, target to source: at (1, 0) the output shows the next pixel to
        the right. Points of a field lie as `tf.image.resize` has them: at the centres of as many cells,
        or, with the layer's `align_corners=True`, from the centre of the first pixel to that of the
        last. Beyond the outermost points their values go on.

    There is no `compose` and no `inverse`, which have no closed form; `Velocity` has an inverse.

    Args:
        interpolation: `"linear"`: the params are met at their points. `"bspline"`: they are the control
            points of cubic B-splines, smooth to the second derivative, at every size of the field.
        ndim: 2, or 3 for volumes, whose fields (batch, d, h, w, 3) hold (x, y, z).

    Raises:
        ValueError: if an argument is none of the above.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)
        >>> field = np.zeros((1, 1, 4, 2), "float32")
        >>> field[0, 0, :, 0] = 0, 1, 0.5, -3
        >>> family = keras_stn.transforms.Displacement()
        >>> keras_stn.ops.warp(image, field, family).numpy().ravel().tolist()
        [0.0, 2.0, 2.5, 0.0]

    Reference:
        B-splines: eq. (1) of Rueckert et al., "Nonrigid Registration Using Free-Form Deformations"
        (1999).
    """

    def __init__(self, interpolation: str = "linear", ndim: int = 2):
        super().__init__(interpolation, ndim)

    def displacements(self, params, source_size, align_corners, compiled=False):
        return params

    @abc.abstractmethod
    def compose(self, outer, inner):
        raise _checks.missing(
            "Displacement.compose has no closed form. Map the points of the grid of one map by "
            "transform_points of the other, and read by keras_stn.ops.grid_sample."
        )

    @abc.abstractmethod
    def inverse(self, params):
        raise _checks.missing(
            "Displacement.inverse has no closed form. keras_stn.transforms.Velocity has one."
        )
