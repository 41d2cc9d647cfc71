"""The steps of an export: in one order, for each format; parsed once, timed where that is asked for."""

import collections
import inspect

import keras
import numpy as np
import pytest
from common import EXPORTERS, raises, warp
from graph_file import GraphFile, export_graph

import keras_stn
from keras_stn import export
from keras_stn.export import _flatbuffer, _pipeline
from keras_stn.export.inspect import inspect_tflite

STEPS = ("accept", "default_samples", "trace", "convert", "check", "load", "describe", "latency_ms")


class Noted(GraphFile):
    """A format that writes down which of its steps are taken."""

    def __init__(self, fault=0.0):
        self.steps, self.fault = [], fault

    def __getattribute__(self, name):
        if name in STEPS:
            self.steps.append(name)
        return super().__getattribute__(name)

    def load(self, file):
        run = super().load(file)
        return lambda feed: {name: array + self.fault for name, array in run(feed).items()}


def test_a_format_takes_at_most_25_lines():
    lines = inspect.getsource(GraphFile).splitlines()
    assert len(lines) <= 25
    assert set(vars(GraphFile)) & set(STEPS) == {"convert", "load", "describe"}


def test_the_steps_are_taken_in_order_and_the_file_is_there_at_the_end(tmp_path):
    noted = Noted()
    report = _pipeline.export(noted, warp(size=(6, 7)), tmp_path / "warp.pb")
    in_order = (*STEPS[:6], "latency_ms", "describe")
    assert tuple(noted.steps) == in_order
    assert report.format == "GraphDef"
    assert report.size == (tmp_path / "warp.pb").stat().st_size
    assert report.ops["GatherV2"] == 4
    assert report.max_error <= 1e-6  # the same ops in TensorFlow, one by one and fused


def test_a_file_with_other_numbers_is_neither_described_nor_written(tmp_path):
    noted = Noted(fault=1e-3)
    with raises("give the same numbers in TensorFlow, within 1e-05", "an error of 0.001 in 'warped'"):
        _pipeline.export(noted, warp(size=(6, 7)), tmp_path / "warp.pb")
    assert tuple(noted.steps) == STEPS[:6]
    assert list(tmp_path.iterdir()) == []


def test_the_bounds_of_numbers_are_those_of_every_format(tmp_path):
    with raises("max_error must be a positive number", "Received: max_error=0"):
        export_graph(warp(), tmp_path / "warp.pb", max_error=0)
    assert _pipeline.export(Noted(1e-3), warp(), tmp_path / "w", max_error=2e-3).max_error >= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("exporter", [export.export_tflite, export.export_onnx])
def test_timed_files_are_so_unless_that_is_left_out(tmp_path, exporter):
    assert exporter(warp(), tmp_path / "warp", measure_latency=False).latency_ms is None
    report = exporter(warp(), tmp_path / "warp")
    assert report.latency_ms > 0
    assert "latency" in str(report)


def test_a_tflite_file_is_parsed_once(tmp_path, monkeypatch):
    parsed, parse = [], _flatbuffer.parse

    def noting(content):
        parsed.append(bytes(content))
        return parse(content)

    monkeypatch.setattr(_flatbuffer, "parse", noting)
    path = tmp_path / "warp.tflite"
    report = export.export_tflite(warp(size=(8, 12)), path)
    assert len(parsed) == 1  # what the converter made; what is written was put together from that
    for read in (export.check_tflite, export.min_runtime, inspect_tflite):
        parsed.clear()
        read(path)
        assert parsed == [path.read_bytes()], read
    # And the file says what its parts did.
    assert report.findings == export.check_tflite(path)
    assert report.min_runtime == export.min_runtime(path)
    names = [operator.name for operator in parse(path.read_bytes()).operators]
    assert report.ops == collections.Counter(names)


@pytest.mark.parametrize("to", EXPORTERS)
def test_a_model_is_written_in_every_format_after_it_was_fitted(tmp_path, to):
    """`fit` leaves a dictionary of the layers in the model, whose keys nobody can sort."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 23, 1)), keras_stn.SpatialTransformer()])
    model.compile("adam", "mse", jit_compile=False)
    images = np.random.default_rng(0).random((4, 20, 23, 1), "float32")
    model.fit(images, images, epochs=2, verbose=0)
    report = EXPORTERS[to](model, tmp_path / "model")
    assert report.max_error <= 1e-5  # convolutions that are added up in another order


@pytest.mark.parametrize("to", ["tflite", "onnx"])
def test_batch_normalization_of_the_default_network_costs_a_file_nothing(exported, to):
    """Folded into the convolutions. ONNX transposes an image of one channel where it reshaped it."""
    (_, plain), (_, normalized) = (
        exported(to, localized, {"batch_norm": given}, batch_size=1) for given in (False, True)
    )
    assert sum(normalized.ops.values()) == sum(plain.ops.values())
    assert set(normalized.ops) <= {*plain.ops, "Transpose"}
    assert abs(normalized.size - plain.size) <= 0.02 * plain.size
    assert normalized.max_error <= 1e-5


def localized(batch_norm):
    """A transformer with a normalized network whose statistics are not those it starts with."""
    network = keras_stn.localization.heatmap((20, 23), batch_norm=batch_norm)
    model = keras.Sequential([keras.Input((20, 23, 1)), keras_stn.SpatialTransformer(network)])
    for weight in model.weights:
        if weight.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight.assign(np.random.default_rng(0).uniform(0.5, 1.5, weight.shape))
    kernel = model.layers[0].localization.head.kernel
    kernel.assign(np.random.default_rng(0).normal(0, 0.1, kernel.shape))
    return model
