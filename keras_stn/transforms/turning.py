"""What families that turn the picture share: the aspect ratio that keeps turns rigid."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_stn import _checks
from keras_stn.transforms.matrices import matrix, matrix_rows
from keras_stn.transforms.of_any_rank import OfAnyRank
from keras_stn.transforms.turns import TURNS

Tensor = Any


class Turning(OfAnyRank):
    """Base of the families that turn the picture: holds the `aspect_ratio` that keeps turns rigid.

    Normalised coordinates run from -1 to 1 along each axis, so on a picture that is not square a
    rotation matrix turns circles into ellipses. Stretching x by `aspect_ratio` = width / height, and z
    by depth / height, before the turn and back after it makes the turn rigid in pixels.
    """

    def __init__(self, aspect_ratio: Any, ndim: int, identity: Mapping[str, float]):
        super().__init__(ndim, identity)
        self.aspect_ratio: Any
        self._stretches: tuple[float, ...]  # x first
        if self.ndim == 2:
            self.aspect_ratio = _checks.positive("aspect_ratio", aspect_ratio)
            self._stretches = self.aspect_ratio, 1.0
        else:
            self.aspect_ratio = width, depth = _checks.aspect_ratios("aspect_ratio", aspect_ratio)
            self._stretches = width, 1.0, depth

    @staticmethod
    def angles(ndim: int) -> dict[str, float]:
        """The params of a turn, by name, at the identity."""
        return dict.fromkeys(TURNS[_checks.ndim("ndim", ndim)].names, 0.0)

    def turned(self, angles: Tensor, scale: Tensor | float, offsets: Sequence[Tensor]) -> Tensor:
        """theta of a turn, a scale and a shift. Graphs do not divide."""
        rows = self._stretched(TURNS[self.ndim].rows(angles, scale), [1 / s for s in self._stretches])
        return matrix([[*row, offset] for row, offset in zip(rows, offsets, strict=True)])

    def undone(self, theta: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(scale, angles, offsets) of `turned`."""
        rows = matrix_rows(theta, self.ndim)
        linear = self._stretched([row[:-1] for row in rows], self._stretches)
        return *TURNS[self.ndim].undone(linear), [row[-1] for row in rows]

    def _stretched(self, rows: Sequence[Sequence[Tensor]], by: Sequence[float]) -> list[list[Tensor]]:
        """The entries of a map of axes that are stretched."""
        return [
            [
                entry if of_row == of_column else entry * (by[of_row] / by[of_column])
                for of_column, entry in enumerate(row)
            ]
            for of_row, row in enumerate(rows)
        ]

    def get_config(self):
        return {**super().get_config(), "aspect_ratio": self.aspect_ratio}
