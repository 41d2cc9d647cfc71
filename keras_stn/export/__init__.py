"""Exporters: a Keras model as a file that runs without Keras."""

from keras_stn.export.onnx import export_onnx
from keras_stn.export.report import Report

__all__ = ["Report", "export_onnx"]
