"""Localization networks: plain Keras models, images to features (batch, n)."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_stn import _checks
from keras_stn.localization.heatmap import heatmap
from keras_stn.localization.resize import Resize, pool_before

layers = keras.layers


def resized_conv(
    image_size: tuple[int | None, ...] = (None, None),
    filters: Sequence[int] = (16, 32, 32),
    units: int = 32,
    side: int = 32,
    *,
    dtype: Any = None,
) -> keras.Model:
    """Looks at the image at 32x32, through three strided convolutions.

    Where a thing is and how it lies shows at low resolution, so the network brings every image to
    `side` x `side` first. That gives it one cost, and weights of one shape, for images of any size.

    Args:
        image_size: (height, width) of the images, where they are known. Large images are then averaged
            down before they are resized, and no pixel is skipped.
        filters: Width of each 3x3 convolution of stride 2.
        units: Width of the dense layer at the end.
        side: Side of the square that the convolutions see.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, units).

    Example:
        >>> import keras_stn
        >>> network = keras_stn.localization.resized_conv((224, 320))
        >>> network.compute_output_shape((None, 224, 320, 3))
        (None, 32)
    """
    image_size = _checks.size_or_unknown("image_size", image_size)
    filters, units = _checks.counts("filters", filters), _checks.count("units", units)
    side, dtype = _checks.count("side", side), _checks.dtype_policy("dtype", dtype)
    pool = pool_before(image_size, side)
    # "same", so that images smaller than those it was built for are pooled to something.
    stack = [layers.AveragePooling2D(pool, padding="same", data_format="channels_last", dtype=dtype)]
    stack += [Resize((side, side))]
    stack += [_conv(width, 3, strides=2, dtype=dtype) for width in filters]
    stack += [_flatten(dtype), layers.Dense(units, activation="relu", dtype=dtype)]
    return keras.Sequential(stack, name="resized_conv")


def conv(filters: int = 20, kernel_size: int = 5, units: int = 20, *, dtype: Any = None) -> keras.Model:
    """The paper's convolutional localization network, for small images of one size.

    Two 5x5 convolutions of 20 filters on the image pooled by two, a max pooling after each, and a
    dense layer of 20.

    Args:
        filters: Width of both convolutions.
        kernel_size: Side of their kernels.
        units: Width of the dense layer.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, units); H and W must be static.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.conv().compute_output_shape((None, 42, 42, 1))
        (None, 20)

    Reference:
        ST-CNN in appendix A.1 of Jaderberg et al. (2015, arXiv:1506.02025).
    """
    filters, units = _checks.count("filters", filters), _checks.count("units", units)
    kernel_size = _checks.count("kernel_size", kernel_size)
    dtype = _checks.dtype_policy("dtype", dtype)
    stack = [_pool(layers.AveragePooling2D, dtype)]
    for _ in range(2):
        stack += [_conv(filters, kernel_size, dtype=dtype), _pool(layers.MaxPooling2D, dtype)]
    stack += [_flatten(dtype), layers.Dense(units, activation="relu", dtype=dtype)]
    return keras.Sequential(stack, name="conv")


def dense(units: Sequence[int] = (32, 32, 32), *, dtype: Any = None) -> keras.Model:
    """The paper's fully connected localization network, for small images of one size.

    Args:
        units: Width of each dense layer.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, units[-1]); H and W must be static.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.dense().compute_output_shape((None, 42, 42, 1))
        (None, 32)

    Reference:
        ST-FCN in appendix A.1 of Jaderberg et al. (2015, arXiv:1506.02025).
    """
    units, dtype = _checks.counts("units", units), _checks.dtype_policy("dtype", dtype)
    stack = [_flatten(dtype)]
    stack += [layers.Dense(width, activation="relu", dtype=dtype) for width in units]
    return keras.Sequential(stack, name="dense")


def strided_conv(
    widths: Sequence[int] = (64, 128, 256, 512),
    reduced: int = 256,
    units: int = 128,
    *,
    dtype: Any = None,
) -> keras.Model:
    """A deeper network for photographs, made for 512x512x3: strided blocks, then one map of attention.

    Blocks of 3x3 convolution (stride 2, padding 1), batch normalisation and ReLU; two 1x1 convolutions
    without bias, to `reduced` channels and to one; flattened into a dense layer with batch
    normalisation and ReLU. Convolutions start He-normal by fan-out; padding, momentum and epsilon are
    PyTorch's, so that weights can be carried over.

    Args:
        widths: Channels of each block.
        reduced: Channels between the two 1x1 convolutions.
        units: Width of the dense layer.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, H, W, channels) -> (batch, units); H and W must be static.

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.strided_conv().compute_output_shape((None, 512, 512, 3))
        (None, 128)

    Reference:
        The initial weights: eq. (14) of He et al., "Delving Deep into Rectifiers" (2015,
        arXiv:1502.01852).
    """
    widths, dtype = _checks.counts("widths", widths), _checks.dtype_policy("dtype", dtype)
    reduced, units = _checks.count("reduced", reduced), _checks.count("units", units)
    he_normal = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")

    def convolution(width, kernel_size, **kwargs):
        # A copy of the initializer for each layer: one object would draw the same numbers each time.
        return layers.Conv2D(
            width,
            kernel_size,
            kernel_initializer=he_normal.clone(),
            data_format="channels_last",
            dtype=dtype,
            **kwargs,
        )

    def normalised_relu():
        norm = layers.BatchNormalization(axis=-1, momentum=0.9, epsilon=1e-5, dtype=dtype)
        return [norm, layers.ReLU(dtype=dtype)]

    stack = []
    for width in widths:
        # "same" padding would be 0 before and 1 after on an even size: half a pixel off padding 1.
        stack += [layers.ZeroPadding2D(1, data_format="channels_last", dtype=dtype)]
        stack += [convolution(width, 3, strides=2), *normalised_relu()]
    stack += [convolution(reduced, 1, use_bias=False), convolution(1, 1, use_bias=False)]
    stack += [_flatten(dtype), layers.Dense(units, dtype=dtype), *normalised_relu()]
    return keras.Sequential(stack, name="strided_conv")


def field_conv(
    filters: Sequence[int] = (16, 32, 32, 32), *, ndim: int = 2, dtype: Any = None
) -> keras.Model:
    """The default for fields of params: fully convolutional, with a feature map a quarter as large.

    3x3 convolutions, the first two of stride 2: a point of an image of H x W sees 31 pixels across, and
    there are ceil(H / 4) x ceil(W / 4) of them, for images of any size.

    Args:
        filters: Width of each convolution, two or more.
        ndim: 2, or 3 for volumes.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, [D,] H, W, channels) -> (batch, [d,] h, w, filters[-1]).

    Example:
        >>> import keras_stn
        >>> keras_stn.localization.field_conv().compute_output_shape((None, 90, 120, 3))
        (None, 23, 30, 32)
    """
    filters, dtype = _checks.counts("filters", filters, least=2), _checks.dtype_policy("dtype", dtype)
    kind = {2: layers.Conv2D, 3: layers.Conv3D}[_checks.ndim("ndim", ndim)]
    stack = [
        _conv(width, 3, strides=2 if number < 2 else 1, dtype=dtype, kind=kind)
        for number, width in enumerate(filters)
    ]
    return keras.Sequential(stack, name="field_conv")


def volume_conv(
    image_size: tuple[int | None, ...] = (None, None, None),
    filters: Sequence[int] = (8, 16, 32),
    units: int = 32,
    side: int = 16,
    *,
    dtype: Any = None,
) -> keras.Model:
    """The default for volumes: three strided convolutions, the first of them down to 16 voxels a side.

    Made for volumes of one size. Where a size is not known the features are averaged over the volume,
    which tells less of where things are.

    Args:
        image_size: (depth, height, width) of the volumes, where they are known. The first convolution
            then takes large volumes in blocks, and no voxel is skipped.
        filters: Width of each convolution; of the second on they are 3x3x3 with stride 2.
        units: Width of the dense layer at the end.
        side: How many blocks there are along each axis, or somewhat more.
        dtype: Dtype policy of the layers; Keras' global one by default.

    Returns:
        A Keras model: (batch, D, H, W, channels) -> (batch, units).

    Example:
        >>> import keras_stn
        >>> network = keras_stn.localization.volume_conv((32, 64, 64))
        >>> network.compute_output_shape((None, 32, 64, 64, 1))
        (None, 32)
    """
    image_size = _checks.size_or_unknown("image_size", image_size, 3)
    filters, units = _checks.counts("filters", filters, least=1), _checks.count("units", units)
    side, dtype = _checks.count("side", side), _checks.dtype_policy("dtype", dtype)
    block = [max((size or 0) // side, 1) for size in image_size]
    kernels = [tuple(max(size, 3) for size in block), *[3] * (len(filters) - 1)]
    strides = [tuple(block), *[2] * (len(filters) - 1)]
    # Convolutions alone make it smaller: TFLite has no pooling of volumes.
    stack = [
        layers.Conv3D(
            width,
            kernel,
            strides=stride,
            padding="same",
            activation="relu",
            data_format="channels_last",
            dtype=dtype,
        )
        for width, kernel, stride in zip(filters, kernels, strides, strict=True)
    ]
    if None in image_size:
        stack.append(layers.GlobalAveragePooling3D(data_format="channels_last", dtype=dtype))
    else:
        stack.append(_flatten(dtype))
    stack.append(layers.Dense(units, activation="relu", dtype=dtype))
    return keras.Sequential(stack, name="volume_conv")


def _conv(filters, kernel_size, *, strides=1, dtype, kind=layers.Conv2D):
    return kind(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        activation="relu",
        data_format="channels_last",
        dtype=dtype,
    )


def _flatten(dtype):
    return layers.Flatten(data_format="channels_last", dtype=dtype)


def _pool(pooling, dtype):
    return pooling(2, padding="same", data_format="channels_last", dtype=dtype)


BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "heatmap": heatmap,
    "resized_conv": resized_conv,
    "conv": conv,
    "dense": dense,
    "strided_conv": strided_conv,
    "volume_conv": volume_conv,
    "field_conv": field_conv,
}

DEFAULTS = {2: "heatmap", 3: "volume_conv"}  # by the axes of an image

# The networks that look at the size of images, as `image_size`.
SIZED = "heatmap", "resized_conv", "volume_conv"
