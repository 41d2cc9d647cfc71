"""How an image is read between and beyond its pixels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_stn.sampler import settings
from keras_stn.sampler.borders import BORDERS, Border
from keras_stn.sampler.kernels import KERNELS, Kernel


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The settings of a sampler, checked once, hashable.

    Attributes:
        interpolation: A name from `kernels.KERNELS`.
        fill_mode: A name from `borders.BORDERS`, or one for each axis, ([of depth,] of rows, of
            columns). Equal ones are one: `("wrap", "wrap")` is `"wrap"`.
        fill_value: The numbers that stand outside with `fill_mode="constant"`: one, or one per channel.
        antialias: Whether the read averages where the map shrinks (`antialias.py`).

    Raises:
        ValueError: if one of them is none of these.

    Example:
        >>> from keras_stn.sampler import Sampling
        >>> Sampling("bilinear", "constant", 0.5).fill_value
        (0.5,)
        >>> [axis.fill_mode for axis in Sampling(fill_mode=("nearest", "wrap")).along(2)]
        ['wrap', 'nearest']
    """

    interpolation: str = "bilinear"
    fill_mode: Any = "constant"
    fill_value: Any = 0.0
    antialias: bool = False

    def __post_init__(self):
        settings.interpolation(self.interpolation, KERNELS)
        object.__setattr__(self, "fill_mode", settings.fill_mode(self.fill_mode, BORDERS))
        settings.antialias(self.antialias, self.interpolation)
        value = settings.fill_value(self.fill_value)
        object.__setattr__(self, "fill_value", tuple(value) if isinstance(value, list) else (value,))

    @property
    def kernel(self) -> Kernel:
        return KERNELS[self.interpolation]

    @property
    def border(self) -> Border:
        """Of a sampling whose axes have one: what is `along` an axis has."""
        return BORDERS[self.fill_mode]

    @property
    def borders(self) -> tuple[Border, ...]:
        """Those of all axes; one, where it is one for all."""
        words = (self.fill_mode,) if isinstance(self.fill_mode, str) else self.fill_mode
        return tuple(BORDERS[word] for word in words)

    @property
    def fill(self) -> Sequence[float]:
        """The numbers outside the image, where a border shows numbers at all; () where pixels."""
        return self.fill_value if any(border.filled for border in self.borders) else ()

    def along(self, ndim: int) -> tuple["Sampling", ...]:
        """The sampling along each axis of images with so many, x first as in `Points`."""
        settings.fill_mode_fits(self.fill_mode, ndim)
        if isinstance(self.fill_mode, str):
            return (self,) * ndim
        return tuple(dataclasses.replace(self, fill_mode=word) for word in reversed(self.fill_mode))
