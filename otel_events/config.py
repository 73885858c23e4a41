"""What the environment and the `otlp=` argument say: where to ship, as whom, and whether prompts may leave.

The variables are those of OpenTelemetry's exporters (specification: protocol/exporter, sdk-environment-variables), as
Python's exporters read them: an empty value counts as unset, a signal's own variable wins over the common one,
time-outs are seconds. An argument in the program wins over the environment, except over OTEL_SDK_DISABLED.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple, cast
from urllib.parse import quote, unquote, urlsplit

from otel_events.errors import UnsupportedTransport
from otel_events.genai import Capture
from otel_events.mapping import MAPPING_VERSION

VERSION: Final = "0.1.0"
DEFAULT_ENDPOINT: Final = "http://localhost:4318"
DEFAULT_TIMEOUT_S: Final = 10.0
GRPC_PORT: Final = 4317
COMPRESSIONS: Final = ("gzip", "deflate", "none")
_CAPTURES: Final = ("no_content", "span_only", "event_only", "span_and_event")
_log = logging.getLogger("otel_events")

Signal = Literal["traces", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("traces", "logs")
Environ = Mapping[str, str]


class Target(NamedTuple):
    """One signal at one endpoint, and how to speak to it."""

    signal: Signal
    endpoint: str
    """The whole URL, the signal's path included."""
    headers: dict[str, str]
    timeout_s: float = DEFAULT_TIMEOUT_S
    compression: str = "gzip"
    certificate: str | None = None
    """File of the authorities to trust; None for the system's."""
    client_key: str | None = None
    client_certificate: str | None = None

    @property
    def key(self) -> str:
        """What its files are called: `traces-` and the start of the endpoint's hash."""
        return f"{self.signal}-{sha256(self.endpoint.encode()).hexdigest()[:12]}"


def targets(otlp: str | bool | None = None, environ: Environ = os.environ) -> list[Target]:
    """Where to ship: to `otlp` (a base URL, or True for the environment's or the default one), else to what the
    environment names, else nowhere. Raises UnsupportedTransport.
    """
    if otlp is False or disabled(environ):
        return []
    found = [_target(signal, otlp or None, environ) for signal in SIGNALS]
    return [target for target in found if target is not None]


def disabled(environ: Environ = os.environ) -> bool:
    """Whether OTEL_SDK_DISABLED switches all shipping off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def environ_of(chosen: Iterable[Target]) -> dict[str, str]:
    """The variables that make `targets` choose these again: how a shipper of its own is told where to ship."""
    found: dict[str, str] = {}
    for target in chosen:
        headers = ",".join(f"{quote(name)}={quote(value)}" for name, value in target.headers.items())
        settings = {
            "ENDPOINT": target.endpoint,
            "PROTOCOL": "http/protobuf",
            "HEADERS": headers,
            "TIMEOUT": str(target.timeout_s),
            "COMPRESSION": target.compression,
            "CERTIFICATE": target.certificate,
            "CLIENT_KEY": target.client_key,
            "CLIENT_CERTIFICATE": target.client_certificate,
        }
        prefix = f"OTEL_EXPORTER_OTLP_{target.signal.upper()}_"
        found.update({prefix + what: value for what, value in settings.items() if value})
    return found


def capture(environ: Environ = os.environ) -> Capture:
    """Where prompts and answers may go; nowhere unless the environment says so."""
    stated = environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower()
    if stated == "true":  # what the conventions' first version knew
        return "span_and_event"
    if stated in _CAPTURES:
        return cast(Capture, stated)
    if stated not in ("", "false"):
        _log.warning("content capture: expected one of %s, got %r; capturing none", ", ".join(_CAPTURES), stated)
    return "no_content"


def resource(name: str, run_id: str, environ: Environ = os.environ) -> dict[str, Any]:
    """The resource of what this program records of a run: its service is the run's name, the instance its id.

    Nothing of it depends on the process, so that two processes of one run, and a second shipping, say the same.
    """
    stated = dict(_pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    if service := environ.get("OTEL_SERVICE_NAME"):
        stated["service.name"] = service
    return {
        "service.name": name,
        "service.instance.id": run_id,
        "telemetry.sdk.name": "otel-events",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": VERSION,
        **stated,
        "sim.mapping.version": MAPPING_VERSION,
    }


def _pairs(text: str) -> Iterable[tuple[str, str]]:
    for item in text.split(",") if text else ():
        key, separator, value = item.partition("=")
        if separator:
            yield key.strip(), unquote(value.strip())
        else:
            _log.warning("OTEL_RESOURCE_ATTRIBUTES: expected key=value, got %r; left out", item)


def _target(signal: Signal, otlp: str | Literal[True] | None, environ: Environ) -> Target | None:
    endpoint = _endpoint(signal, otlp, environ)
    if endpoint is None:
        return None
    protocol = _setting(signal, "PROTOCOL", environ) or ("grpc" if _port(endpoint) == GRPC_PORT else "http/protobuf")
    if protocol != "http/protobuf":
        raise UnsupportedTransport(signal, endpoint, protocol)
    return Target(
        signal,
        endpoint,
        _headers(_setting(signal, "HEADERS", environ)),
        _timeout(_setting(signal, "TIMEOUT", environ)),
        _compression(_setting(signal, "COMPRESSION", environ)),
        _setting(signal, "CERTIFICATE", environ),
        _setting(signal, "CLIENT_KEY", environ),
        _setting(signal, "CLIENT_CERTIFICATE", environ),
    )


def _endpoint(signal: Signal, otlp: str | Literal[True] | None, environ: Environ) -> str | None:
    if isinstance(otlp, str):
        base = otlp if "://" in otlp else f"http://{otlp}"
        return f"{_without_path(base)}/v1/{signal}"
    if environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none":
        return None
    if own := environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return own
    common = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or (DEFAULT_ENDPOINT if otlp else None)
    return f"{common.removesuffix('/')}/v1/{signal}" if common else None


def _without_path(base: str) -> str:
    """The base of an endpoint that was given with a signal's path."""
    for signal in SIGNALS:
        base = base.removesuffix("/").removesuffix(f"/v1/{signal}")
    return base


def _setting(signal: Signal, what: str, environ: Environ) -> str | None:
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
    return own or environ.get(f"OTEL_EXPORTER_OTLP_{what}") or None


def _port(endpoint: str) -> int | None:
    try:
        return urlsplit(endpoint).port
    except ValueError:
        return None


def _headers(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    from opentelemetry.util.re import parse_env_headers

    return dict(parse_env_headers(text, liberal=True))


def _timeout(text: str | None) -> float:
    try:
        seconds = float(text or DEFAULT_TIMEOUT_S)
    except ValueError:
        seconds = 0
    if seconds > 0:
        return seconds
    _log.warning("OTLP time-out: expected seconds, got %r; using %s", text, DEFAULT_TIMEOUT_S)
    return DEFAULT_TIMEOUT_S


def _compression(text: str | None) -> str:
    stated = (text or "gzip").strip().lower()
    if stated in COMPRESSIONS:
        return stated
    _log.warning("OTLP compression: expected one of %s, got %r; using gzip", ", ".join(COMPRESSIONS), text)
    return "gzip"
