"""Transform families: params to source points, one family a file.

Ask for no more than the task needs: `translation` or `attention` for a crop, `rotation` or `similarity`
for things that lie askew, `affine` if they are also sheared, `projective` for a plane seen at a slant.
`lens_distortion` straightens what a lens has bent; `polar` and `log_polar` turn turns into shifts. Fewer
params learn faster.

A family is an object: it can hold arguments, and is saved with the model. Wherever a layer takes
`transform`, a name from `FAMILIES` gives the family with its default arguments.
"""

from keras_stn.transforms.affine import Affine
from keras_stn.transforms.attention import Attention
from keras_stn.transforms.base import FAMILIES, Transform
from keras_stn.transforms.bounded import Bounded
from keras_stn.transforms.diffeomorphic_affine import DiffeomorphicAffine
from keras_stn.transforms.displacement import Displacement
from keras_stn.transforms.lens_distortion import LensDistortion
from keras_stn.transforms.log_polar import LogPolar
from keras_stn.transforms.lookup import get
from keras_stn.transforms.matrix_transform import MatrixTransform
from keras_stn.transforms.polar import Polar
from keras_stn.transforms.projective import Projective
from keras_stn.transforms.rotation import Rotation
from keras_stn.transforms.similarity import Similarity
from keras_stn.transforms.thin_plate_spline import ThinPlateSpline
from keras_stn.transforms.translation import Translation
from keras_stn.transforms.velocity import Velocity

__all__ = [
    "FAMILIES",
    "Affine",
    "Attention",
    "Bounded",
    "DiffeomorphicAffine",
    "Displacement",
    "LensDistortion",
    "LogPolar",
    "MatrixTransform",
    "Polar",
    "Projective",
    "Rotation",
    "Similarity",
    "ThinPlateSpline",
    "Transform",
    "Translation",
    "Velocity",
    "get",
]
