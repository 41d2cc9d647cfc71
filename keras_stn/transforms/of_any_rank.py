"""What the families of this package share that move images as well as volumes."""

from collections.abc import Mapping

from keras_stn import _checks
from keras_stn.transforms.matrix_transform import MatrixTransform


def axis_names(ndim: int) -> tuple[str, ...]:
    """The axes of a point, ("x", "y"[, "z"])."""
    return ("x", "y", "z")[: _checks.ndim("ndim", ndim)]


class OfAnyRank(MatrixTransform):
    """Base of families with an argument `ndim`: 2, or 3 for volumes."""

    def __init__(self, ndim: int, identity: Mapping[str, float]):
        """`identity` has the name of each of the params, and its value at the identity."""
        self.ndim = int(ndim)
        self.num_params = len(identity)
        self.param_names = tuple(identity)
        self.identity_params = tuple(identity.values())

    def get_config(self):
        return {"ndim": self.ndim}
