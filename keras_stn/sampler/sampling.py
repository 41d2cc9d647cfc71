"""How an image is read between and beyond its pixels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_stn import _checks
from keras_stn.sampler.borders import BORDERS, Border
from keras_stn.sampler.kernels import KERNELS, Kernel


@dataclasses.dataclass(frozen=True)
class Sampling:
    """The settings of a sampler, checked once, hashable.

    Attributes:
        interpolation: A name from `kernels.KERNELS`.
        fill_mode: A name from `borders.BORDERS`.
        fill_value: The numbers that stand outside with `fill_mode="constant"`: one, or one per channel.

    Raises:
        ValueError: if one of them is none of these.

    Example:
        >>> from keras_stn.sampler import Sampling
        >>> Sampling("bilinear", "constant", 0.5).fill_value
        (0.5,)
    """

    interpolation: str = "bilinear"
    fill_mode: str = "constant"
    fill_value: Any = 0.0

    def __post_init__(self):
        _checks.one_of("interpolation", self.interpolation, KERNELS, _checks.INTERPOLATION_SYNONYMS)
        _checks.one_of("fill_mode", self.fill_mode, BORDERS, _checks.FILL_MODE_SYNONYMS)
        value = _checks.fill_value(self.fill_value)
        object.__setattr__(self, "fill_value", tuple(value) if isinstance(value, list) else (value,))

    @property
    def kernel(self) -> Kernel:
        return KERNELS[self.interpolation]

    @property
    def border(self) -> Border:
        return BORDERS[self.fill_mode]

    @property
    def fill(self) -> Sequence[float]:
        """The numbers outside the image, where the border shows numbers at all; () where pixels."""
        return self.fill_value if self.border.filled else ()
