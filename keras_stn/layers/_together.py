"""Images with their boxes, points and label maps: one call of `Warp` moves them all."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, grids
from keras_stn.ops._reading import apply
from keras_stn.ops._warp import WarpImages, Warping
from keras_stn.transforms import boxes as boxes_of

Tensor = Any


def move(warp: Any, data: Mapping[str, Any], params: Tensor, **kwargs: Any) -> dict[str, Any]:
    """What a `Warp` makes of a dictionary, as Keras' own layers take it; other keys stay as they are."""
    if "images" not in data:
        raise _checks.error(f"A dictionary must have images. Received: keys {list(data)}.")
    params = _checks.tensor("params", params)
    _check(warp, data, params)
    images, warping = _checks.tensor("images", data["images"]), warp.warping()
    moved = {**data, "images": warp(images, params, **kwargs)}
    if "segmentation_masks" in data:
        moved["segmentation_masks"] = _masks(warping, data["segmentation_masks"], images, params)
    if "bounding_boxes" in data:
        arguments = (warp.bounding_box_format, warping, images, params)
        moved["bounding_boxes"] = _boxes(data["bounding_boxes"], *arguments)
    if "points" in data:
        points = _checks.tensor("points", data["points"])
        moved["points"] = _applied(Move(**vars(warping)), images, params, points)
    return moved


def _check(warp: Any, data: Mapping[str, Any], params: Tensor) -> None:
    """Raise, before any work, for what does not move by these maps."""
    beside = [key for key in ("bounding_boxes", "points") if key in data]
    if not beside:
        return
    if "bounding_boxes" in beside and warp.bounding_box_format is None:
        raise _checks.error(
            "bounding_box_format must be given for a dictionary with bounding_boxes, such as "
            "Warp(..., bounding_box_format='xyxy'). Received: bounding_box_format=None."
        )
    family = warp.transform
    images = _checks.tensor("images", data["images"])
    many = _checks.rank_of(params) != family.params_ndim or _checks.rank_of(images) != 4
    if many or family.ndim != 2:
        raise _checks.error(
            f"{' and '.join(beside)} must go with images (batch, H, W, channels) and one map for each. "
            f"Received: images.shape={tuple(images.shape)}, params.shape={tuple(params.shape)}."
        )
    try:
        if not warp.inverse:
            family.check_inverse()
    except NotImplementedError as cause:
        raise _checks.missing(
            f"{' and '.join(beside)} go where the inverse of the map puts them. {cause} Images and "
            "segmentation_masks need none; keras_stn.transforms.Affine has one."
        ) from cause


def _masks(warping: Warping, masks: Tensor, images: Tensor, params: Tensor) -> Tensor:
    """Label maps, with the axes of images or without that of channels: by nearest, and 0 outside."""
    masks = _checks.tensor("segmentation_masks", masks)
    # Labels have no mean.
    labels = dataclasses.replace(warping, interpolation="nearest", fill_value=0.0, antialias=False)
    if _checks.rank_of(masks) != len(images.shape) - 1:
        return apply(labels, WarpImages, images=masks, params=params)
    labels = dataclasses.replace(labels, data_format="channels_last")
    masks = keras.ops.expand_dims(masks, -1)
    return keras.ops.squeeze(apply(labels, WarpImages, images=masks, params=params), -1)


def _boxes(data: Any, bounding_box_format: str, warping: Warping, images: Tensor, params: Tensor) -> Any:
    """{"boxes", "labels", ...}, or boxes alone."""
    given = data if isinstance(data, Mapping) else {"boxes": data}
    operation = Move(**vars(warping), bounding_box_format=bounding_box_format)
    names = [name for name in ("boxes", "labels") if name in given]
    tensors = [_checks.tensor(name, given[name]) for name in names]
    outputs = _applied(operation, images, params, *tensors)
    if not isinstance(data, Mapping):
        return outputs
    return {**data, **dict(zip(names, outputs if len(names) > 1 else [outputs], strict=True))}


def _applied(operation: keras.Operation, *tensors: Tensor) -> Any:
    if any(isinstance(tensor, keras.KerasTensor) for tensor in tensors):
        return operation.symbolic_call(*tensors)
    return operation.call(*tensors)


@keras.saving.register_keras_serializable(package="keras_stn")
class Move(keras.Operation):
    """Points, or with a `bounding_box_format` boxes and their labels, from images into their warps."""

    def __init__(self, *, bounding_box_format=None, name=None, **settings):
        super().__init__(name=name)
        self.warping = Warping(**settings)
        self.bounding_box_format = bounding_box_format

    def call(self, images, params, places, labels=None):
        warping = self.warping
        self._batch(images, params, places, labels)
        _, *size, _ = _layout.shape_to_channels_last(grids.shape_of(images), warping.data_format)
        sizes: Any = (warping.output_size or tuple(size), tuple(size))  # of what comes out, and images
        align_corners = warping.align_corners
        family, params = warping.transform, tf.cast(params, grids.coordinate_dtype(params.dtype))
        if not warping.inverse:  # places go the other way than points are read
            family, params = family.inverted(params, *sizes[::-1], align_corners)
        if self.bounding_box_format is None:
            _checks.shape("points", places, (None, None, 2), "(batch, n, 2)")
            x, y = tf.split(tf.cast(places, params.dtype), 2, axis=-1)

            def put(points):
                return family.transform_points(params, points, sizes[0], align_corners)

            return tf.concat(boxes_of.moved(x, y, put, sizes[::-1], align_corners), axis=-1)
        boxes = family.transform_boxes(params, places, self.bounding_box_format, *sizes, align_corners)
        boxes, seen = boxes_of.clipped(boxes, self.bounding_box_format, sizes[0])
        return boxes if labels is None else (boxes, tf.where(seen, labels, -tf.ones_like(labels)))

    def compute_output_spec(self, images, params, places, labels=None):
        batch = self._batch(images, params, places, labels)
        dtype = grids.coordinate_dtype(params.dtype).name
        moved = keras.KerasTensor((batch, *places.shape[1:]), dtype)
        if labels is None:
            return moved
        return moved, keras.KerasTensor((batch, *labels.shape[1:]), labels.dtype)

    def _batch(self, images, params, places, labels):
        """That of places which have moved; raises where the tensors do not go together."""
        _checks.batch("params", params, "(batch of images, num_params)", "images", images)
        name, shape = ("points", "n, 2") if self.bounding_box_format is None else ("boxes", "n, 4")
        batch = _checks.batch(name, places, f"(batch of params, {shape})", "params", params)
        if labels is not None:
            _checks.shape("labels", labels, (None, places.shape[1]), "(batch, n), one for each box")
            _checks.batch("labels", labels, "(batch of boxes, n)", "boxes", places)
        return batch

    def get_config(self):
        transform = keras.saving.serialize_keras_object(self.warping.transform)
        settings = {**vars(self.warping), "transform": transform}
        return {**super().get_config(), **settings, "bounding_box_format": self.bounding_box_format}
