"""What all tests share: no shipping, no settings of the machine's own, no recorder left open."""

from __future__ import annotations

import os

import pytest

from otel_events import recording


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    """What the developer's shell says about OpenTelemetry must not decide a test."""
    for name in list(os.environ):
        if name.startswith("OTEL_") and name != "OTEL_EVENTS_TEST_DATA":
            monkeypatch.delenv(name)
    monkeypatch.delenv("TRACEPARENT", raising=False)


@pytest.fixture(autouse=True)
def _no_recorder_left_open():
    yield
    for left in list(recording._open):
        left.close()
