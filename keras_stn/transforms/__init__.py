"""Transform families: params to source points, one family a file.

Ask for no more than the task needs: `translation` or `attention` for a crop, `rotation` or `similarity`
for things that lie askew, `affine` if they are also sheared. Fewer params learn faster.

A family is an object: it can hold arguments, and is saved with the model. Wherever a layer takes
`transform`, a name from `FAMILIES` gives the family with its default arguments.
"""

from keras_stn.transforms.affine import Affine
from keras_stn.transforms.attention import Attention
from keras_stn.transforms.base import FAMILIES, Transform
from keras_stn.transforms.bounded import Bounded
from keras_stn.transforms.lookup import get
from keras_stn.transforms.matrix_transform import MatrixTransform
from keras_stn.transforms.rotation import Rotation
from keras_stn.transforms.similarity import Similarity
from keras_stn.transforms.translation import Translation

__all__ = [
    "FAMILIES",
    "Affine",
    "Attention",
    "Bounded",
    "MatrixTransform",
    "Rotation",
    "Similarity",
    "Transform",
    "Translation",
    "get",
]
