"""The environment decides as it does for OpenTelemetry's own exporters, which are the oracle where they can be."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector

from otel_events import config
from otel_events.config import capture, resource, targets
from otel_events.errors import UnsupportedTransport

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def _endpoints(otlp: str | bool | None = None, **environ: str) -> dict[str, str]:
    return {target.signal: target.endpoint for target in targets(otlp, environ)}


def test_nothing_is_shipped_unless_somebody_names_an_endpoint() -> None:
    assert targets(None, {}) == []
    assert targets(None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}) == []


def test_the_common_endpoint_makes_one_target_a_signal() -> None:
    expected = {"traces": "http://collector:4318/v1/traces", "logs": "http://collector:4318/v1/logs"}
    assert _endpoints(**BASE) == expected
    assert _endpoints(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318/") == expected
    assert _endpoints("http://collector:4318", OTEL_EXPORTER_OTLP_ENDPOINT="http://other:4318") == expected
    assert _endpoints("collector:4318") == expected
    assert _endpoints("http://collector:4318/v1/traces") == expected


def test_a_signals_own_endpoint_is_taken_as_it_is_and_alone() -> None:
    assert _endpoints(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://t/custom/") == {"traces": "http://t/custom/"}


def test_true_means_the_default_endpoint() -> None:
    assert _endpoints(True) == {"traces": "http://localhost:4318/v1/traces", "logs": "http://localhost:4318/v1/logs"}


def test_false_and_a_disabled_sdk_ship_nothing() -> None:
    assert _endpoints(False, **BASE) == {}
    assert _endpoints("http://collector:4318", OTEL_SDK_DISABLED="true") == {}
    assert _endpoints(OTEL_SDK_DISABLED="false", **BASE) != {}


def test_an_exporter_set_to_none_switches_its_signal_off_unless_the_program_names_the_endpoint() -> None:
    assert list(_endpoints(OTEL_LOGS_EXPORTER="none", **BASE)) == ["traces"]
    assert list(_endpoints("http://collector:4318", OTEL_LOGS_EXPORTER="none")) == ["traces", "logs"]


def test_a_signals_own_setting_wins_over_the_common_one() -> None:
    environ = {
        **BASE,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20a,x-b=2",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-c=3",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
        "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
    }
    traces, logs = targets(None, environ)
    assert traces.headers == {"authorization": "Bearer a", "x-b": "2"}
    assert logs.headers == {"x-c": "3"}
    assert (traces.timeout_s, logs.timeout_s) == (2.5, 2.5)
    assert (traces.compression, logs.compression) == ("none", "gzip")
    assert traces.certificate == "/ca.pem"


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/base/"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/x"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""},
    ],
)
def test_endpoint_and_timeout_are_those_of_the_sdks_exporter(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {**environ, "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    exporter = OTLPSpanExporter()
    target = targets(None, environ)[0]
    assert (target.endpoint, target.timeout_s) == (exporter._endpoint, exporter._client._timeout)


def test_targets_survive_the_way_through_the_environment_of_another_process() -> None:
    environ = {**BASE, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20a%2Cb", "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
    chosen = targets(None, environ)
    assert targets(None, config.environ_of(chosen)) == chosen
    assert targets(None, config.environ_of(chosen[:1])) == chosen[:1]


def test_grpc_is_refused_with_the_port_to_use_instead() -> None:
    """A stated protocol wins; else port 4317 means gRPC."""
    for environ in (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"},
        {**BASE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {**BASE, "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"},
    ):
        with pytest.raises(UnsupportedTransport, match=r"got (grpc|http/json), which is not supported yet.*:4318"):
            targets(None, environ)
    stated = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    assert len(targets(None, stated)) == 2


def test_a_setting_that_makes_no_sense_is_warned_about_and_its_default_taken(caplog: pytest.LogCaptureFixture) -> None:
    environ = {**BASE, "OTEL_EXPORTER_OTLP_TIMEOUT": "soon", "OTEL_EXPORTER_OTLP_COMPRESSION": "lzma"}
    assert [(target.timeout_s, target.compression) for target in targets(None, environ)] == [(10, "gzip")] * 2
    assert "expected seconds, got 'soon'" in caplog.text


def test_content_is_captured_only_where_the_environment_says_so() -> None:
    variable = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    stated = {
        "": "no_content",
        "SPAN_ONLY": "span_only",
        "true": "span_and_event",
        "event_only": "event_only",
        "yes": "no_content",
    }
    assert {value: capture({variable: value}) for value in stated} == stated
    assert capture({}) == "no_content"


def test_the_resource_names_the_run_and_nothing_of_the_process() -> None:
    assert resource("economy", "economy-1", {}) == {
        "service.name": "economy",
        "service.instance.id": "economy-1",
        "telemetry.sdk.name": "otel-events",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": "0.1.0",
        "sim.mapping.version": 1,
    }


def test_the_environments_resource_attributes_are_read_as_the_sdk_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=lab%20a, team = x=y ,broken",
        "OTEL_SERVICE_NAME": "winner",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = {**resource("economy", "economy-1", {}), **OTELResourceDetector().detect().attributes}
    assert resource("economy", "economy-1", environ) == expected
    assert expected["service.name"] == "winner"


def test_the_version_is_the_packages() -> None:
    stated = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
    assert stated == config.VERSION
