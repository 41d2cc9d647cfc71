"""Where images are read: the one form of coordinates, at any rank, between transforms and sampler."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
        maps: How many maps lie below each other (`below`).

    Example:
        >>> import tensorflow as tf
        >>> from keras_stn.points import Points
        >>> Points((tf.zeros((1, 1, 4)), tf.zeros((1, 3, 1)))).shape
        TensorShape([1, 3, 4])
    """

    axes: tuple[Tensor, ...]
    whole: tuple[Tensor, ...] | None = None
    even: bool = False
    maps: Any = 1

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
    def batch(self) -> Any:
        """The batch, also where it is not static."""
        return self.shape[0] if self.shape[0] is not None else tf.shape(self.axes[0])[0]

    @property
    def recipe(self) -> tuple[Callable, Sequence[Tensor]]:
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

    def below(self, count: Any, batch: Any = None) -> "Points":
        """The points of `count` maps of each image, which follow each other, below each other as one.

        (batch * count, [d,] h, w) as (batch, count * [d or] h, ...): so an image is read at many maps,
        and not copied. `batch`: that of the result, where the caller knows it.
        """
        if batch is None and self.shape[0] is not None and isinstance(count, int):
            batch = self.shape[0] // max(count, 1)
        points = self.each(functools.partial(_below, count=count, batch=batch, like=self.axes))
        return dataclasses.replace(points, even=self.even, maps=count * self.maps)

    def each(self, function: Callable[[Tensor], Tensor]) -> "Points":
        """`function` of every coordinate."""
        axes = tuple(map(function, self.axes))
        return Points(axes, None if self.whole is None else tuple(map(function, self.whole)))


def repeated(tensor: Tensor, batch: Any) -> Tensor:
    """A tensor with a batch of 1 as one of so many."""
    return tf.tile(tensor, (batch, *[1] * (tensor.shape.rank - 1)))


def _below(axis: Tensor, count: Any, batch: Any, like: Sequence[Tensor]) -> Tensor:
    whole = functools.reduce(tf.add, map(tf.zeros_like, like))
    # A size of 1 that broadcasts is static, so what looks alike is alike. Not even a zero is added to
    # it: TensorFlow's graph optimiser would regroup the sum, for other roundings.
    alike = axis.shape.as_list() == whole.shape.as_list()
    axis = axis if alike else axis + whole
    first, *sizes = _shape_of(axis)[1:]
    return tf.reshape(axis, (-1 if batch is None else batch, count * first, *sizes))


def _shape_of(tensor: Tensor) -> list[Any]:
    dynamic = tf.shape(tensor)
    return [dynamic[n] if size is None else size for n, size in enumerate(tensor.shape)]


def as_they_are(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors


class Stack(Points):
    """Points that are made as one tensor, (ndim, batch, [d,] h, w)."""

    def __init__(self, stacked: Tensor, even: bool = False):
        # Which no one else may: the dataclass is frozen.
        vars(self).update(_stacked=stacked, whole=None, even=even)

    @property
    def stacked(self) -> Tensor:
        return vars(self)["_stacked"]

    @functools.cached_property
    def axes(self) -> tuple[Tensor, ...]:
        return tuple(tf.unstack(self.stacked))


class Deferred(Points):
    """Points whose axes are made when somebody asks for them.

    A reader that compiles takes the `recipe` instead. Inside of what is compiled the axes are never
    written to memory, nor are the gradients to them: a step to params and images takes 15.5 MB instead
    of 21.5 at 8x224x224x3.

    Args:
        make: A function of `tensors` to the axes: one object for what is alike, as caches compare it.
        tensors: What is trained: theta, params.
        shape: (batch, [d,] h, w), all but the batch static.
        plain: A function of `tensors` to the same points, for readers that do not compile.
        even, maps: As of `Points`.
    """

    def __init__(
        self,
        make: Callable,
        tensors: Sequence[Tensor],
        shape: tf.TensorShape,
        plain: Callable,
        even: bool = False,
        maps: int = 1,
    ):
        vars(self).update(_recipe=(make, tensors), shape=shape, _plain=plain, whole=None)
        vars(self).update(even=even, maps=maps)

    def tiled(self, batch: Any) -> "Points":  # before what is large is made
        make, tensors = self.recipe
        tensors = [repeated(tensor, batch) for tensor in tensors]
        shape = tf.TensorShape([batch if isinstance(batch, int) else None, *self.shape[1:]])
        return Deferred(make, tensors, shape, vars(self)["_plain"], self.even, self.maps)

    def below(self, count: Any, batch: Any = None) -> "Points":
        if not isinstance(count, int) or not count:
            return super().below(count, batch)
        make, tensors = self.recipe
        maps, first, *sizes = self.shape
        shape = tf.TensorShape([None if maps is None else maps // count, count * first, *sizes])
        # The batch stays the first axis of what is trained, for those who go from image to image.
        tensors = [tf.reshape(tensor, (-1, count, *_shape_of(tensor)[1:])) for tensor in tensors]
        plain = vars(self)["_plain"]

        def plain_below(*tensors):
            return plain(*map(_in_a_row, tensors)).below(count)

        return Deferred(
            _made_below(make, count), tensors, shape, plain_below, self.even, count * self.maps
        )

    @property
    def batch(self) -> Any:
        return self.shape[0] if self.shape[0] is not None else tf.shape(self.recipe[1][0])[0]

    @functools.cached_property
    def _made(self) -> Points:
        return vars(self)["_plain"](*self.recipe[1])

    @property
    def stacked(self) -> Tensor:
        return self._made.stacked

    @functools.cached_property
    def axes(self) -> tuple[Tensor, ...]:
        return self._made.axes

    @property
    def recipe(self):
        return vars(self)["_recipe"]

    @property
    def ndim(self) -> int:
        return self.shape.rank - 1

    @property
    def batches(self) -> set[int | None]:
        return {self.shape[0]}


@functools.lru_cache(maxsize=256)
def _made_below(make: Callable, count: int) -> Callable:
    """`make` with `count` maps below each other: one object for what is alike."""

    def below(*tensors):
        axes = make(*map(_in_a_row, tensors))
        return [_below(axis, count, None, axes) for axis in axes]

    return below


def _in_a_row(tensor: Tensor) -> Tensor:
    """(batch, count, ...) as (batch * count, ...)."""
    return tf.reshape(tensor, (-1, *_shape_of(tensor)[2:]))
