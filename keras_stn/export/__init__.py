"""Exporters: a Keras model as a file that runs without Keras, checked before it is written."""

from keras_stn.export.check import check_tflite, min_runtime
from keras_stn.export.onnx import export_onnx
from keras_stn.export.report import Accuracy, Finding, Report
from keras_stn.export.saved_model import export_saved_model
from keras_stn.export.tflite import export_tflite

__all__ = [
    "Accuracy",
    "Finding",
    "Report",
    "check_tflite",
    "export_onnx",
    "export_saved_model",
    "export_tflite",
    "min_runtime",
]
