"""`keras-stn benchmark`: this package beside what one would use in its place, in one process.

Beside it stand scripts that README.md tells of: the same on a GPU without TensorFlow, and one checkout
beside another.
"""

from keras_stn.benchmark.contenders import TASKS
from keras_stn.benchmark.measure import SHAPES, Row, measure
from keras_stn.benchmark.memory import Memory, memory
from keras_stn.benchmark.report import load, memory_table, save, table

__all__ = [
    "SHAPES",
    "TASKS",
    "Memory",
    "Row",
    "load",
    "measure",
    "memory",
    "memory_table",
    "save",
    "table",
]
