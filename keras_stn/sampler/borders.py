"""The fill modes: which pixel stands at a whole position of the plane that an image is extended to.

Growth is an entry in `BORDERS`; its name is then a `fill_mode` of every function and layer. Integers are
computed and clipped in float: an int32 clip to 0..6 turns into a Relu6 that no TFLite kernel has.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any

# All coordinates further out than this count as this far out, where an image goes on for ever: beyond
# any image that `taps.check_size` lets through, and near enough for the float32 arithmetic of `_wrap` to
# stay exact, with three bits to spare.
FAR = 2.0**20


@dataclasses.dataclass(frozen=True)
class Border:
    """How a fill mode extends an axis of pixels 0 to size - 1.

    Attributes:
        repeat: For modes that repeat the image: the pixel at a coordinate, of (coordinate, size). Of a
            whole position it is a whole pixel, exactly. None: beyond each end all is one.
        filled: Whether all beyond the ends is the fill value, and not the last pixel.
        edge: `repeat`, but for a kernel that tells a picture from its edge pixel (the cubic): it may
            come to rest half a pixel outside.
    """

    repeat: Callable[[Tensor, Tensor], Tensor] | None = None
    filled: bool = False
    edge: Callable[[Tensor, Tensor], Tensor] | None = None

    def ends(self, size: Tensor) -> tuple[Any, Any]:
        """The outermost positions. What they show, all beyond shows."""
        margin = 1 if self.filled else 0  # the frame that shows the fill value
        return -margin, size - 1 + margin


def _clip(position: Tensor, size: Tensor) -> Tensor:
    return tf.clip_by_value(position, 0, size - 1)


def _reflect(position: Tensor, size: Tensor) -> Tensor:
    """c b a | a b c d | d c b"""
    return _clip(_reflect_between_edges(position, size), size)


def _reflect_between_edges(position: Tensor, size: Tensor) -> Tensor:
    """`_reflect` into [-0.5, size - 0.5]."""
    near = _nearest_period(position, 2 * size, 0.5)
    return tf.maximum(near, -1 - near)


def _mirror(position: Tensor, size: Tensor) -> Tensor:
    """d c b | a b c d | c b a"""
    # An image of one pixel mirrors onto itself.
    return _clip(tf.abs(_nearest_period(position, tf.maximum(2 * size - 2, 1), 0)), size)


def _nearest_period(position: Tensor, period: Tensor, shift: float) -> Tensor:
    """`position` less the multiple of `period` that brings it nearest to -shift, with all its bits.

    Modulo the period -1e-6 would come to its other end, where float32 no longer holds it.
    """
    return position - period * tf.floor((position + shift) / period + 0.5)


def _wrap(position: Tensor, size: Tensor) -> Tensor:
    """b c d | a b c d | a b c"""
    # Compilers turn the division by a constant into a product with its rounded reciprocal, which may put
    # a multiple of the size on the wrong side of the floor. A quarter of a pixel keeps whole positions
    # clear of it, and halfway between two, where nearest breaks ties. On floats alone, as FLOOR_MOD is
    # missing on GPU delegates.
    return position - size * tf.floor((position + 0.25) / size)


BORDERS: dict[str, Border] = {
    "constant": Border(filled=True),
    "nearest": Border(),
    "reflect": Border(_reflect, edge=_reflect_between_edges),
    "mirror": Border(_mirror),
    "wrap": Border(_wrap),
}
