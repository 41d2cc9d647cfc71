"""Where images are read: the one form of coordinates, at any rank, between transforms and sampler."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Points:
    """Where images are read: one coordinate for each of their axes, in pixels of the source.

    Attributes:
        axes: The coordinates x, y[, z], which broadcast to (batch, [d,] h, w). Where x hangs on the
            column alone and y on the row, they are (batch, 1, w) and (batch, h, 1): less to compute, and
            to keep. A size of 1 that broadcasts is static.
        whole: Whole pixels to add to each of `axes`, which then hold the fraction. For what may run in
            float16: it holds whole numbers up to 2048, but a coordinate of 400 only to a quarter of a
            pixel.
        even: Whether all steps from one point to the next are alike, along a row and down a column: so
            it is where the map is affine.

    Example:
        >>> import tensorflow as tf
        >>> from keras_stn.points import Points
        >>> Points((tf.zeros((1, 1, 4)), tf.zeros((1, 3, 1)))).shape
        TensorShape([1, 3, 4])
    """

    axes: tuple[Tensor, ...]
    whole: tuple[Tensor, ...] | None = None
    even: bool = False

    @property
    def ndim(self) -> int:
        return len(self.axes)

    @property
    def stacked(self) -> Tensor:
        """The axes as one tensor, (ndim, batch, [d,] h, w)."""
        whole = functools.reduce(tf.add, map(tf.zeros_like, self.axes))
        same = all(axis.shape == whole.shape for axis in self.axes)
        return tf.stack(self.axes if same else [axis + whole for axis in self.axes])

    @property
    def batches(self) -> set[int | None]:
        """The batch of each of the axes, as far as it is static."""
        return {axis.shape[0] for axis in self.axes}

    @property
    def recipe(self) -> tuple[Callable, tuple[Tensor, ...]]:
        """A function, and the tensors of which it makes the axes."""
        return as_they_are, self.axes

    @functools.cached_property
    def shape(self) -> tf.TensorShape:
        """(batch, [d,] h, w), as far as it is static."""
        return functools.reduce(tf.broadcast_static_shape, (axis.shape for axis in self.axes))

    @property
    def output_size(self) -> tuple[Any, ...]:
        """([d,] h, w)."""
        sizes = []
        for number, size in enumerate(self.shape[1:], start=1):
            if size is None:
                axis = next(axis for axis in self.axes if axis.shape[number] is None)
                size = tf.shape(axis)[number]
            sizes.append(size)
        return tuple(sizes)

    @property
    def separable(self) -> bool:
        """Whether x hangs on the column alone, y on the row, and so on."""
        return all(
            axis.shape[dimension] == 1
            for number, axis in enumerate(self.axes)
            for dimension in range(1, self.ndim + 1)
            if dimension != self.ndim - number
        )

    def tiled(self, batch: Any) -> "Points":
        """The points of one map as those of so many."""
        return self.each(lambda axis: repeated(axis, batch))

    def each(self, function: Callable[[Tensor], Tensor]) -> "Points":
        """`function` of every coordinate."""
        axes = tuple(map(function, self.axes))
        return Points(axes, None if self.whole is None else tuple(map(function, self.whole)))


def repeated(tensor: Tensor, batch: Any) -> Tensor:
    """A tensor with a batch of 1 as one of so many."""
    return tf.tile(tensor, (batch, *[1] * (tensor.shape.rank - 1)))


def as_they_are(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors


class Deferred(Points):
    """Points of affine maps, whose axes are made when somebody asks for them.

    A reader that compiles takes the `recipe` instead. Inside of what is compiled the axes are never
    written to memory, nor are the gradients to them: a step to params and images takes 15.5 MB instead
    of 21.5 at 8x224x224x3.

    Args:
        make: A function of `tensors` to the axes: one object for what is alike, as caches compare it.
        tensors: What is trained: theta.
        shape: (batch, [d,] h, w), all but the batch static.
        stack: A function of `tensors` to `stacked`, of the same bits.
    """

    def __init__(self, make: Callable, tensors: tuple, shape: tf.TensorShape, stack: Callable):
        vars(self).update(
            _recipe=(make, tensors), shape=shape, _stack=stack, whole=None, even=True
        )  # frozen

    def tiled(self, batch: Any) -> "Points":  # before what is large is made
        make, tensors = self.recipe
        tensors = tuple(repeated(tensor, batch) for tensor in tensors)
        shape = tf.TensorShape([tensors[0].shape[0], *self.shape[1:]])
        return Deferred(make, tensors, shape, vars(self)["_stack"])

    @functools.cached_property
    def stacked(self) -> Tensor:
        return vars(self)["_stack"](*self.recipe[1])

    @functools.cached_property
    def axes(self) -> tuple[Tensor, ...]:
        return tuple(tf.unstack(self.stacked))

    @property
    def recipe(self):
        return vars(self)["_recipe"]

    @property
    def ndim(self) -> int:
        return self.shape.rank - 1

    @property
    def batches(self) -> set[int | None]:
        return {self.shape[0]}
