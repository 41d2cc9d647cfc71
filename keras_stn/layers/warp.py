"""The layer `Warp`."""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_stn import _checks, _layout, transforms
from keras_stn.layers import _reach, _together
from keras_stn.ops._warp import Warping
from keras_stn.sampler import Sampling, settings
from keras_stn.transforms.boxes import checked_format

Tensor = Any


@keras.saving.register_keras_serializable(package="keras_stn")
class Warp(keras.layers.Layer):
    """Warps images by the parameters of a transform: images and params -> warped images.

    The grid generator and the sampler of a spatial transformer. Use it where you have the params, or
    need them for something else; `keras_stn.SpatialTransformer` predicts them itself. Call it as
    `warp(images, params)` or as `warp([images, params])`: both are the same in every model and every
    file. `keras_stn.ops.warp` is the same as a function.

    Convention:
        A transform maps target to source, in normalised coordinates: the output pixel at p shows the
        input at transform(p). -1 and 1 are the outer edges of the corner pixels, or their centres with
        `align_corners=True`. Params that are NaN or infinite put all points outside the image: the
        output is finite wherever the images are, and other images of the batch do not change. At the
        centre of a pixel the derivative by a coordinate is the one from the right.

    Args:
        transform: The transform family: a name from `keras_stn.transforms.FAMILIES` or a
            `keras_stn.transforms.Transform`.
        output_size: (height, width) of the output, or (depth, height, width) under a transform of
            volumes; the size of the images by default.
        interpolation: `"nearest"` (ties to even; gives no gradient to the params), `"bilinear"` or
            `"bicubic"`.
        fill_mode: What stands outside the image: `"constant"`, `"nearest"`, `"reflect"`, `"mirror"` or
            `"wrap"`, as in `keras_stn.ops.grid_sample`; or one for each axis, ([of depth,] of rows, of
            columns).
        fill_value: A number, or one for each channel, for `fill_mode="constant"`.
        align_corners: Which points of the corner pixels -1 and 1 are.
        data_format: `"channels_last"` or `"channels_first"`; Keras' setting by default.
        antialias: Whether to average where the map shrinks the image, as in
            `keras_stn.ops.grid_sample`.
        inverse: Whether to read by the inverses of the maps: that puts what another Warp has made back
            where it was, with the size of that one's images for output_size. The family must define
            `inverse`.
        bounding_box_format: One of Keras', such as `"xyxy"`, where a dictionary has bounding boxes.
        reach: How far the gradient to params sees, in pixels, where the layer is called with
            `training=True`. By itself the gradient of a sampler knows the neighbours of a pixel only: a
            digit that lies 10 pixels beside its target finds it in 2 of 100 runs. With `reach=8` it
            does in all, for the gradient is that of images which are blurred by 8 pixels. The output
            does not change by a bit.
        **kwargs: Arguments of `keras.layers.Layer`.

    Input shape:
        images (batch, H, W, channels), or (batch, channels, H, W) for channels_first: floating point, or
        whole numbers with `interpolation="nearest"`, as labels are; params (batch, num_params), one row
        for each image. Any height and width from 1 up, static or not; the batch may be empty. A batch of
        1 goes with any other, and no image is copied: one image at many poses, one map for many images.
        In a model's input it must be known to be 1, by `keras.Input(..., batch_size=1)`.

        Many maps of each image: params (batch, maps, num_params), and no image is copied. Videos: images
        (batch, frames, H, W, channels), with params (batch, num_params), one map for all frames, or
        (batch, frames, num_params), one for each.

        Volumes (batch, D, H, W, channels) take a transform of volumes: `transforms.Affine(ndim=3)`.

        A dictionary instead of the images, as Keras' own layers take it: `"images"`, and with them
        `"bounding_boxes"` of `bounding_box_format` ({"boxes": (batch, n, 4), "labels": (batch, n)}),
        `"segmentation_masks"` (batch, H, W[, channels]), `"points"` (batch, n, 2), x and y in pixels.
        Boxes and points count pixels from the outer edge of the first one, as Keras does. Other keys
        stay as they are.

    Output shape:
        (batch, [d,] h, w, channels) with (h, w) = output_size, in the layer's compute dtype;
        channels_first as the input. Of many maps it is (batch, maps, h, w, channels), and of videos
        (batch, frames, h, w, channels). Whole numbers keep their dtype, and so labels keep their values
        under every policy: in floats, half precision would round them. Coordinates and weights are
        float32 at least, whatever the dtype policy.

        Of a dictionary the same with all moved: label maps by `"nearest"` and with 0 outside; boxes and
        points to where the inverse of the map puts them. Boxes are cut to the output, and those of which
        nothing is left have the label -1, as in Keras; boxes of -1 stay as they are.

    Raises:
        ValueError: if an argument is none of the above, or a shape or dtype does not fit.
        NotImplementedError: if the family does not define the inverse that is asked for.

    Example:
        >>> import numpy as np, keras_stn
        >>> image = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)
        >>> shift = np.array([[0.5, 0.0]], "float32")  # one pixel of four: half of -1 to 1 is two
        >>> keras_stn.Warp("translation", fill_mode="wrap")([image, shift]).numpy().ravel().tolist()
        [1.0, 2.0, 3.0, 0.0]

    Reference:
        Sections 3.2 and 3.3 of Jaderberg et al., "Spatial Transformer Networks" (2015,
        arXiv:1506.02025).
    """

    def __init__(
        self,
        transform: str | transforms.Transform = "affine",
        output_size: tuple[int, ...] | None = None,
        *,
        interpolation: str = "bilinear",
        fill_mode: str | Sequence[str] = "constant",
        fill_value: float | Sequence[float] = 0.0,
        align_corners: bool = False,
        data_format: str | None = None,
        antialias: bool = False,
        inverse: bool = False,
        bounding_box_format: str | None = None,
        reach: float = 0.0,
        **kwargs: Any,
    ):
        # Keras would cast the params to the compute dtype, and so coordinates to half precision.
        super().__init__(**{"autocast": False, **kwargs})
        self.transform = transforms.get(transform)
        if output_size is not None:
            output_size = _checks.size("output_size", output_size, self.transform.ndim)
        self.output_size = output_size
        sampling = Sampling(interpolation, fill_mode, fill_value, antialias)  # checks them
        self.interpolation = interpolation
        self.fill_mode = sampling.fill_mode
        self.fill_value = settings.fill_value(fill_value)
        self.align_corners = _checks.boolean("align_corners", align_corners)
        self.data_format = _layout.data_format(data_format)
        self.antialias = _checks.boolean("antialias", antialias)
        self.inverse = _checks.boolean("inverse", inverse)
        if inverse:
            self.transform.check_inverse()
        self.bounding_box_format = bounding_box_format
        if bounding_box_format is not None:
            self.bounding_box_format = checked_format(bounding_box_format)
        self.reach = _checks.not_negative("reach", reach)
        if reach and interpolation == "nearest":
            raise _checks.error(
                "reach must be 0 with interpolation='nearest', which gives no gradient to the params. "
                f"Received: reach={reach!r}."
            )
        least = self.transform.ndim + 2, self.transform.params_ndim  # an axis more: frames, many maps
        self.input_spec = [keras.layers.InputSpec(min_ndim=n, max_ndim=n + 1) for n in least]

    def __call__(self, images: Tensor, params: Tensor = None, **kwargs: Any) -> Tensor:
        """Call the layer on images and params, two arguments or a list of the two."""
        inputs = _pair(images, params)
        if isinstance(inputs[0], Mapping):
            return _together.move(self, *inputs, **kwargs)
        # Keras builds, checks and saves a layer by its first argument: let it be all there is.
        return super().__call__(inputs, **kwargs)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> Tensor:
        images, params = inputs
        images, warping = tf.cast(images, self._dtype_of(images)), self.warping()
        if not (training and self.reach and images.dtype.is_floating):
            return warping(images, params)
        return _reach.read(warping, images, params, self.reach, self._axes(len(images.shape)))

    def warping(self) -> Warping:
        """The settings as they are now, for they may have been changed."""
        return Warping(
            transform=self.transform,
            output_size=self.output_size,
            interpolation=self.interpolation,
            fill_mode=self.fill_mode,
            fill_value=self.fill_value,
            align_corners=self.align_corners,
            data_format=self.data_format,
            antialias=self.antialias,
            inverse=self.inverse,
        )

    def _axes(self, rank: int) -> range:
        """Those of an image, among the axes of images."""
        end = rank - (self.data_format == "channels_last")
        return range(end - self.transform.ndim, end)

    def _dtype_of(self, images: Tensor) -> str:
        """Of the output: labels are never cast, for half precision has no label of 257."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        return self.compute_dtype if "float" in dtype else dtype

    def compute_output_shape(self, input_shape):
        images, params = (keras.KerasTensor(shape) for shape in input_shape)
        return self.warping().output_shape(images, params)

    def compute_output_spec(self, inputs):
        images, params = inputs
        shape = self.warping().output_shape(images, params)
        return keras.KerasTensor(shape, dtype=self._dtype_of(images))

    def get_config(self):
        return {
            **super().get_config(),
            "transform": keras.saving.serialize_keras_object(self.transform),
            "output_size": self.output_size,
            "interpolation": self.interpolation,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "align_corners": self.align_corners,
            "data_format": self.data_format,
            "antialias": self.antialias,
            "inverse": self.inverse,
            "bounding_box_format": self.bounding_box_format,
            "reach": self.reach,
        }


def _pair(images: Any, params: Any) -> list[Tensor]:
    """[images, params], of either form of a call."""
    inputs = images if params is None else [images, params]
    nested = (list, tuple)
    if isinstance(inputs, (list, tuple)) and len(inputs) == 2 and not isinstance(inputs[0], nested):
        return list(inputs)
    came = f"a dictionary of {list(inputs)}" if isinstance(inputs, Mapping) else reprlib.repr(inputs)
    raise _checks.error(
        "A Warp must be called on images and params: warp(images, params) or warp([images, params]). "
        f"Received: {came}."
    )
