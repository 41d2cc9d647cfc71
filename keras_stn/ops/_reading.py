"""Images read where maps say: what `grid_sample` and `warp` share, and the one call of the sampler."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, grids, sampler
from keras_stn.points import Points

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Reading:
    """The settings of one way to read images, and the reading itself.

    `maps` are what says where to read: grids, or the params of a transform. Arguments are checked here,
    once for functions, operations and layers.
    """

    interpolation: str
    fill_mode: Any  # a word, or a tuple of one for each axis
    fill_value: Any  # a number, or a tuple of one for each channel
    align_corners: bool
    data_format: Any  # None is given for Keras' setting
    antialias: bool

    def __post_init__(self) -> None:
        sampling = self._sampling()  # checks the three
        fill_value = _checks.fill_value(self.fill_value)
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
        shape = _layout.shape_to_channels_last(self.output_shape(images, maps), self.data_format)
        images = _layout.to_channels_last(images, self.data_format)  # (batch, H, W, channels)
        maps = tf.cast(maps, grids.coordinate_dtype(images.dtype))
        with sampler.compiled(images, shape):
            points = self._points(maps, grids.image_size(images))
            outputs = sampler.read(images, points, self._sampling())  # (batch, h, w, channels)
        return _layout.from_channels_last(outputs, self.data_format)

    def output_shape(self, images: Tensor, maps: Tensor) -> _layout.Shape:
        """The static shape of what is read; raises where the tensors do not fit."""
        axes = _layout.axes(self.data_format)
        _checks.known_rank("images", images, axes)
        _checks.shape("images", images, (None,) * 4, axes)
        _checks.interpolated(images.dtype, self.interpolation)
        _checks.fill_mode_fits(self.fill_mode, len(images.shape) - 2)
        shape = self._read_shape(images, maps)
        _, *_, channels = _layout.shape_to_channels_last(images.shape, self.data_format)
        dtype = keras.backend.standardize_dtype(images.dtype)
        _checks.fill_value_fits(self._fill_value(), channels, dtype)
        return _layout.shape_from_channels_last((*shape, channels), self.data_format)

    def _sampling(self) -> sampler.Sampling:
        return sampler.Sampling(self.interpolation, self.fill_mode, self.fill_value, self.antialias)

    def _fill_value(self) -> float | list[float]:
        return list(self.fill_value) if isinstance(self.fill_value, tuple) else self.fill_value

    def _read_shape(self, images: Tensor, maps: Tensor) -> _layout.Shape:
        """(batch, h, w) of the output; raises where `maps` do not fit."""
        raise NotImplementedError

    def _points(self, maps: Tensor, source_size: tuple) -> Points:
        """Where `maps` say to read."""
        raise NotImplementedError


class ReadImages(keras.Operation):
    """Base of the operations by which a Functional model holds and saves a reading."""

    def __init__(self, reading: Any, name: str | None = None):
        super().__init__(name=name)
        self.reading = reading

    def call(self, images, maps):
        return self.reading(images, maps)

    def compute_output_spec(self, images, maps):
        shape = self.reading.output_shape(images, maps)
        return keras.KerasTensor(shape, dtype=keras.backend.standardize_dtype(images.dtype))

    def get_config(self):
        return {**super().get_config(), **vars(self.reading)}


def apply(reading: Any, operation: type[ReadImages], **tensors: Tensor) -> Tensor:
    """Read by tensors or arrays, or make the operation of symbolic ones."""
    images, maps = (_checks.tensor(*argument) for argument in tensors.items())
    if any(isinstance(tensor, keras.KerasTensor) for tensor in (images, maps)):
        return operation(**vars(reading)).symbolic_call(images, maps)
    return reading(images, maps)
