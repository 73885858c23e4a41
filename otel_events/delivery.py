"""One export request to one target, and what the answer means (specification: protocol/otlp, OTLP/HTTP response).

`accepted` moves a cursor, `retry` means later, `unsupported` that this server takes no such signal, and `refused` that
somebody has to look. Redirects are refused: following one would send the headers' secrets elsewhere, and calling one a
success, as the SDK's exporters do, loses the batch.
"""

from __future__ import annotations

import gzip
import math
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Final, Literal, NamedTuple

import requests
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # nor does this
from opentelemetry import context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_events.config import VERSION, Target

_RETRYABLE: Final = frozenset((429, 502, 503, 504))
_UNSUPPORTED: Final = frozenset((404, 405))
_MISCONFIGURED: Final = (requests.exceptions.SSLError, requests.exceptions.ProxyError)
_TRANSIENT: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_MAX_WORDS: Final = 500
_PROTOBUF: Final = "application/x-protobuf"


class Answer(NamedTuple):
    """What became of one request."""

    kind: Literal["accepted", "retry", "unsupported", "refused"]
    words: str = ""
    """The server's, or those of what stood between."""
    rejected: int = 0
    """How many items an accepted request had that the server refused."""
    retry_after_s: float | None = None


class Delivery:
    """A connection to one target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._session = requests.Session()
        if target.certificate:
            self._session.verify = target.certificate
        if target.client_certificate:
            self._session.cert = (
                (target.client_certificate, target.client_key) if target.client_key else target.client_certificate
            )
        self._session.headers.update({"Content-Type": _PROTOBUF, "User-Agent": f"otel-events/{VERSION}"})
        self._compression = Compression(target.compression)
        if self._compression is not Compression.NoCompression:
            self._session.headers["Content-Encoding"] = self._compression.value
        self._session.headers.update(target.headers)

    def post(self, body: bytes, timeout_s: float | None = None) -> Answer:
        """Send one encoded export request and wait for its answer."""
        timeout_s = min(self._target.timeout_s, timeout_s or math.inf)
        try:
            with _not_instrumented():
                response = self._session.post(
                    self._target.endpoint, self._compressed(body), timeout=timeout_s, allow_redirects=False
                )
        except _MISCONFIGURED as error:
            return Answer("refused", _reason(error))
        except _TRANSIENT as error:
            return Answer("retry", _reason(error))
        except requests.RequestException as error:
            return Answer("refused", _reason(error))
        return self._answer(response)

    def close(self) -> None:
        self._session.close()

    def _compressed(self, body: bytes) -> bytes:
        if self._compression is Compression.Gzip:
            return gzip.compress(body, compresslevel=1, mtime=0)
        return zlib.compress(body) if self._compression is Compression.Deflate else body

    def _answer(self, response: requests.Response) -> Answer:
        status = response.status_code
        if 200 <= status < 300:
            rejected, words = self._partial_success(response)
            return Answer("accepted", words, rejected)
        words = f"{status} {response.reason}: {_words(response)}".removesuffix(": ")
        if status in _RETRYABLE:
            return Answer("retry", words, retry_after_s=retry_after(response.headers, time.time()))
        return Answer("unsupported" if status in _UNSUPPORTED else "refused", words)

    def _partial_success(self, response: requests.Response) -> tuple[int, str]:
        traces = self._target.signal == "traces"
        message = ExportTraceServiceResponse() if traces else ExportLogsServiceResponse()
        try:
            message.ParseFromString(response.content)
        except DecodeError:
            return 0, ""  # a 2xx is a yes, whatever a proxy put into its body
        partial = message.partial_success
        rejected = partial.rejected_spans if traces else partial.rejected_log_records
        return rejected, partial.error_message[:_MAX_WORDS]


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a Retry-After header asks for, as number or date; None where it says nothing usable."""
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _reason(error: requests.RequestException) -> str:
    """The innermost sentence of what urllib3 wraps several times."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    return str(inner).partition(": ")[2] or str(error)


def _words(response: requests.Response) -> str:
    """The message of a google.rpc.Status, else the text of the body."""
    if response.headers.get("Content-Type", "").startswith(_PROTOBUF):
        try:
            return str(Status.FromString(response.content).message)[:_MAX_WORDS]
        except DecodeError:
            return ""
    return response.text[:_MAX_WORDS].strip()


@contextmanager
def _not_instrumented() -> Iterator[None]:
    """Without this an instrumented `requests` would make spans of our own requests, and they would be shipped."""
    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        context.detach(token)
