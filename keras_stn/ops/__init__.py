"""The grid generator, the sampler and its adjoint, and generator and sampler in one, as functions.

They take tensors, arrays or the symbolic tensors of a Functional model. The model then holds, saves and
exports the call as one operation. Images have Keras' data format, or the one that a call names.
"""

from keras_stn.ops._affine_grid import affine_grid
from keras_stn.ops._grid_sample import grid_sample
from keras_stn.ops._grid_splat import grid_splat
from keras_stn.ops._valid_mask import valid_mask
from keras_stn.ops._warp import warp

__all__ = ["affine_grid", "grid_sample", "grid_splat", "valid_mask", "warp"]
