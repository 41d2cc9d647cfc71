"""Images read where maps say: what `grid_sample` and `warp` share, and the one call of the sampler."""

import dataclasses
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, grids, sampler
from keras_stn.points import Points, repeated
from keras_stn.sampler import settings

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Reading:
    """The settings of one way to read images, and the reading itself.

    `maps` are what says where to read: grids, or the params of a transform. There is one for each image,
    or many, (batch, many, ...). Images with an axis more are videos, (batch, frames, ...): many maps are
    then those of their frames, and one map is that of all. Arguments are checked here, once for
    functions, operations and layers.
    """

    interpolation: str
    fill_mode: Any  # a word, or a tuple of one for each axis
    fill_value: Any  # a number, or a tuple of one for each channel
    align_corners: bool
    data_format: Any  # None is given for Keras' setting
    antialias: bool

    def __post_init__(self) -> None:
        sampling = self._sampling()  # checks the three
        fill_value = settings.fill_value(self.fill_value)
        self._set(
            fill_mode=sampling.fill_mode,
            fill_value=tuple(fill_value) if isinstance(fill_value, list) else fill_value,
            align_corners=_checks.boolean("align_corners", self.align_corners),
            data_format=_layout.data_format(self.data_format),
            antialias=_checks.boolean("antialias", self.antialias),
        )

    def _set(self, **checked: Any) -> None:
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # which no one else may: the dataclass is frozen

    def __call__(self, images: Tensor, maps: Tensor) -> Tensor:
        self.output_shape(images, maps)  # checks them
        ndim = self._ndim(images, maps)
        many = len(maps.shape) > 1 + len(self._of_one(ndim)[0])
        images = _layout.to_channels_last(images, self.data_format, ndim)
        maps = tf.cast(maps, grids.coordinate_dtype(images.dtype))
        if images.shape.rank == ndim + 2:
            outputs = self._read(images, maps, many)
        else:
            frames, maps, lead = _as_images(images, maps, many)
            outputs = self._read(frames, maps, many=False)
            outputs = tf.reshape(outputs, (*lead, *grids.shape_of(outputs)[1:]))
        return _layout.from_channels_last(outputs, self.data_format, ndim)

    def _read(self, images: Tensor, maps: Tensor, many: bool) -> Tensor:
        """(batch, [d,] h, w, channels), or of `many` maps (batch, many, [d,] h, w, channels)."""
        _, *source_size, channels = grids.shape_of(images)
        batch, count = grids.shape_of(maps)[:2] if many else (None, 1)
        if many:  # the grids of an image below each other are one grid, and the image is not copied
            maps = tf.reshape(maps, (-1, *grids.shape_of(maps)[2:]))
        first, *sizes = self._output_size(maps, tuple(images.shape[1:-1]))
        rows = first * count if isinstance(first, int) and isinstance(count, int) else None
        with sampler.compiled(images, (images.shape[0], rows, *sizes, channels)):
            points = self._points(maps, tuple(source_size))
            size = points.output_size
            # Of no maps at all a reshape cannot tell how many images there are.
            some = isinstance(count, int) and count > 0
            points = points.below(count, None if some else batch) if many else points
            outputs = self._sample(images, points)
        if not many:
            return outputs
        batch, *_, channels = grids.shape_of(outputs)
        return tf.reshape(outputs, (-1 if some else batch, count, *size, channels))

    def output_shape(self, images: Tensor, maps: Tensor) -> _layout.Shape:
        """The static shape of what is read; raises where the tensors do not fit."""
        ndim = self._ndim(images, maps)
        axes = _layout.axes(self.data_format, ndim)
        _checks.known_rank("images", images, axes)
        frames = [None] * (len(images.shape) == ndim + 3)
        _checks.shape("images", images, (None,) * (ndim + 2 + len(frames)), axes)
        settings.fill_mode_fits(self.fill_mode, ndim)
        settings.antialias_fits(self.antialias, ndim)

        of_one, names = self._of_one(ndim)
        names = f"(batch of images, {names})"
        _checks.known_rank(self.maps, maps, names)
        many = [None] * (len(maps.shape) == len(of_one) + 2)
        _checks.shape(self.maps, maps, (None, *many, *of_one), names + self._hint(images))
        self._check_dtype(maps)

        lead = [_checks.batch(self.maps, maps, names, "images", images)]
        if frames:
            lead.append(_checks.frames(self.maps, maps, images) if many else images.shape[1])
        elif many:
            lead.append(maps.shape[1])
        shape = _layout.shape_to_channels_last(images.shape, self.data_format, ndim)
        *sizes, channels = shape[-1 - ndim :]
        channels = self._channels(images, channels)
        shape = (*lead, *self._output_size(maps, tuple(sizes)), channels)
        return _layout.shape_from_channels_last(shape, self.data_format, ndim)

    def _sampling(self) -> sampler.Sampling:
        return sampler.Sampling(self.interpolation, self.fill_mode, self.fill_value, self.antialias)

    def _fill_value(self) -> float | list[float]:
        return list(self.fill_value) if isinstance(self.fill_value, tuple) else self.fill_value

    # --- What is made of images

    def _channels(self, images: Tensor, channels: int | None) -> int | None:
        """The channels of what is read; raises where images cannot be read so."""
        _checks.interpolated(images.dtype, self.interpolation)
        dtype = keras.backend.standardize_dtype(images.dtype)
        settings.fill_value_fits(self._fill_value(), channels, dtype)
        return channels

    def _sample(self, images: Tensor, points: Points) -> Tensor:
        """(batch, [d,] h, w, channels) of images at points."""
        return sampler.read(images, points, self._sampling())

    def output_dtype(self, images: Tensor) -> str:
        return keras.backend.standardize_dtype(images.dtype)

    # --- What is particular to one kind of maps

    maps: ClassVar[str]  # the argument, as errors name it

    def _ndim(self, images: Tensor, maps: Tensor) -> int:
        """How many axes an image has."""
        raise NotImplementedError

    def _of_one(self, ndim: int) -> tuple[tuple[int | None, ...], str]:
        """The sizes of one map, and its axes in words."""
        raise NotImplementedError

    def _hint(self, images: Tensor) -> str:
        """What to say to maps of another shape."""
        return ""

    def _check_dtype(self, maps: Tensor) -> None:
        raise NotImplementedError

    def _output_size(self, maps: Tensor, source_size: _layout.Shape) -> _layout.Shape:
        """([d,] h, w) of what is read, as far as it is static."""
        raise NotImplementedError

    def _points(self, maps: Tensor, source_size: tuple) -> Points:
        """Where `maps` say to read."""
        raise NotImplementedError


def _as_images(frames: Tensor, maps: Tensor, many: bool) -> tuple[Tensor, Tensor, tuple[Any, Any]]:
    """The frames of videos as images, with a map for each, and (batch, frames).

    One map for all stays one.
    """
    batch, count, *sizes = grids.shape_of(frames)
    if frames.shape[0] == 1 and maps.shape[0] != 1:
        batch, *_ = grids.shape_of(maps)
        frames = repeated(frames, batch)
    elif many and maps.shape[0] == 1:
        maps = repeated(maps, batch)
    if many:
        if None in (*frames.shape[:2], *maps.shape[:2]):  # 2 x 3 frames are as many as 3 x 2 maps
            message = "there must be a map for each frame of each video"
            tf.debugging.assert_equal(tf.shape(maps)[:2], tf.shape(frames)[:2], message)
        maps = tf.reshape(maps, (-1, *grids.shape_of(maps)[2:]))
    elif maps.shape[0] != 1:
        maps = tf.repeat(maps, count, axis=0)
    return tf.reshape(frames, (-1, *sizes)), maps, (batch, count)


class ReadImages(keras.Operation):
    """Base of the operations by which a Functional model holds and saves a reading."""

    def __init__(self, reading: Any, name: str | None = None):
        super().__init__(name=name)
        self.reading = reading

    def call(self, images, maps):
        return self.reading(images, maps)

    def compute_output_spec(self, images, maps):
        shape = self.reading.output_shape(images, maps)
        return keras.KerasTensor(shape, dtype=self.reading.output_dtype(images))

    def get_config(self):
        return {**super().get_config(), **vars(self.reading)}


def apply(reading: Any, operation: type[ReadImages], **tensors: Tensor) -> Tensor:
    """Read by tensors or arrays, or make the operation of symbolic ones."""
    images, maps = (_checks.tensor(*argument) for argument in tensors.items())
    if any(isinstance(tensor, keras.KerasTensor) for tensor in (images, maps)):
        return operation(**vars(reading)).symbolic_call(images, maps)
    return reading(images, maps)
