"""`keras-stn benchmark`: this package beside what one would use in its place, in one process."""

from keras_stn.benchmark.measure import SHAPES, Row, measure, rows, sweep
from keras_stn.benchmark.memory import Memory, memory
from keras_stn.benchmark.network import NETWORKS, Cost, costs
from keras_stn.benchmark.report import growth_table, memory_table, network_table, save, table

__all__ = [
    "NETWORKS",
    "SHAPES",
    "Cost",
    "Memory",
    "Row",
    "costs",
    "growth_table",
    "measure",
    "memory",
    "memory_table",
    "network_table",
    "rows",
    "save",
    "sweep",
    "table",
]
