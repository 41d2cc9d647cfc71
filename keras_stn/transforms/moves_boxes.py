"""What all families have for boxes, made of their `transform_points`."""

import abc
from typing import Any

from keras_stn import _checks
from keras_stn.transforms import boxes as boxes_of
from keras_stn.transforms.operations import as_operations

Tensor = Any


@as_operations
class MovesBoxes:
    """The part of a family that moves boxes."""

    ndim: int
    straight: bool
    transform_points: Any

    def transform_boxes(
        self,
        params: Tensor,
        boxes: Tensor,
        bounding_box_format: str,
        source_size: tuple[int, int] | None = None,
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
    ) -> Tensor:
        """Map boxes of the output to boxes of the source: upright, around what the map makes of them.

        As `transform_points` does, this goes from target to source: a box found in a warped picture is
        put where it is in the picture itself. Boxes go the other way by the inverse, with the sizes
        changed about: `family.transform_boxes(family.inverse(params), boxes, ..., output_size,
        source_size)`. `keras_stn.Warp` does that for boxes beside its images.

        Args:
            params: (batch, num_params); a batch of 1 maps all boxes.
            boxes: (batch, n, 4). Boxes of -1, -1, -1, -1, with which Keras fills batches, stay as they
                are.
            bounding_box_format: One of Keras': `"xyxy"`, `"yxyx"`, `"xywh"`, `"center_xywh"`,
                `"center_yxhw"`, `"rel_xyxy"`, `"rel_yxyx"`, `"rel_xywh"`, `"rel_center_xywh"`. Pixels
                are counted from the outer edge of the first one, so a picture is 0, 0, width, height.
            source_size: (height, width) of the images. Formats with `"rel_"` need no sizes, but with
                `align_corners=True`.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer that takes the params.

        Returns:
            (batch, n, 4), in the dtype of `params` but at least float32. Boxes may go beyond the
            picture: see `keras.utils.bounding_boxes.clip_to_image_size`.
        """
        boxes_of.check(boxes, 4, ranks=(3,))
        sizes = boxes_of.sizes(bounding_box_format, source_size, output_size, align_corners)
        edges = boxes_of.to_edges(boxes, bounding_box_format, sizes[1])
        # Boxes may do without a size, and params that count pixels may not.
        known = None if source_size is output_size is None else sizes[0]
        move = self._mover(params, *sizes, align_corners, known)
        edges = boxes_of.hull(edges, move, self.straight)
        return boxes_of.kept_padding(boxes, boxes_of.from_edges(edges, bounding_box_format, sizes[0]))

    def transform_rotated_boxes(
        self,
        params: Tensor,
        boxes: Tensor,
        source_size: tuple[int, int],
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
    ) -> Tensor:
        """Map rotated boxes of the output to rotated boxes of the source.

        The result stands around what the map makes of the box, along the x axis of the box as the map
        turns it. That is the moved box itself where the map is a similarity of pixels, and the least
        such rectangle where it is not.

        Args:
            params: (batch, num_params); a batch of 1 maps all boxes.
            boxes: (batch, n, 5): x and y of the centre, width, height, in pixels from the outer edge of
                the first one, and the angle in radians from the picture's x axis to that of the box,
                clockwise as one sees it, as OpenCV's. Boxes of -1 stay as they are.
            source_size: (height, width) of the images.
            output_size: (height, width) of the output; the size of the images by default.
            align_corners: That of the layer that takes the params.

        Returns:
            (batch, n, 5), in the dtype of `params` but at least float32; angles in (-pi, pi].
        """
        boxes_of.check(boxes, 5, ranks=(3,))
        sizes = source_size, output_size or source_size
        move = self._mover(params, *sizes, align_corners, source_size)
        return boxes_of.kept_padding(boxes, boxes_of.rotated_hull(boxes, move, self.straight))

    @abc.abstractmethod
    def from_boxes(
        self,
        boxes: Tensor,
        bounding_box_format: str,
        source_size: tuple[int, int] | None = None,
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
    ) -> Tensor:
        """The params that show boxes of the source: `keras_stn.MatrixTransform` says more."""
        raise _checks.missing(self._without_crops("from_boxes"))

    @abc.abstractmethod
    def from_rotated_boxes(
        self,
        boxes: Tensor,
        source_size: tuple[int, int],
        output_size: tuple[int, int] | None = None,
        align_corners: bool = False,
    ) -> Tensor:
        """The params that show rotated boxes of the source: `keras_stn.MatrixTransform` says more."""
        raise _checks.missing(self._without_crops("from_rotated_boxes"))

    def _mover(self, params, source_size, output_size, align_corners, known_size):
        """What moves x, y of points (batch, n, m), in pixels of boxes, from target to source.

        `known_size`: what the family is told of the images; None where only boxes have a size, of 1.
        """
        if self.ndim != 2:
            raise _checks.error(f"Boxes need a family of 2 axes. Received: {self!r}.")

        def move(points):
            return self.transform_points(params, points, known_size, align_corners)

        sizes = output_size, source_size
        return lambda x, y: boxes_of.moved(x, y, move, sizes, align_corners)

    def _without_crops(self, method):
        return (
            f"{type(self).__name__} does not define {method}; "
            "keras_stn.transforms.Affine shows any box, and Attention and Similarity all of it."
        )
