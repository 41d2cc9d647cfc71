"""Exports are not timed, which takes 0.3 s each, but in tests whose name says so."""

import pytest

from keras_stn.export import _pipeline


@pytest.fixture(autouse=True)
def _untimed(request, monkeypatch):
    if "timed" not in request.node.name:
        monkeypatch.setattr(_pipeline, "median_ms", lambda *_: None)
