"""A loopback OTLP/HTTP receiver: parses what it gets with opentelemetry-proto, keeps it, and misbehaves on demand."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

REQUESTS = {"/v1/traces": ExportTraceServiceRequest, "/v1/logs": ExportLogsServiceRequest}


class Received(NamedTuple):
    """One request: its path, headers, and the body as it was before compression."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        return REQUESTS[self.path].FromString(self.body)


class Reply(NamedTuple):
    """What to answer instead of a plain yes; `vanish` closes the connection without a word."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    vanish: bool = False


class Receiver:
    """A context manager. `misbehave(received, index)` is asked for every request and returns a Reply, or None for yes.

    A request that is answered with anything but 2xx is remembered in `refused`, the others in `accepted`.
    """

    def __init__(self, misbehave: Callable[[Received, int], Reply | None] | None = None, port: int = 0) -> None:
        self.accepted: list[Received] = []
        self.refused: list[Received] = []
        self.misbehave = misbehave
        self._lock = threading.Lock()
        self._port = port

    def __enter__(self) -> Receiver:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def of(self, path: str) -> list[Received]:
        with self._lock:
            return [received for received in self.accepted if received.path == path]

    @property
    def spans(self) -> list[Span]:
        groups = [group for received in self.of("/v1/traces") for group in received.message.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    @property
    def log_records(self) -> list[LogRecord]:
        groups = [group for received in self.of("/v1/logs") for group in received.message.resource_logs]
        return [record for group in groups for scope in group.scope_logs for record in scope.log_records]

    def answer(self, received: Received) -> Reply:
        with self._lock:
            index = len(self.accepted) + len(self.refused)
        reply = (self.misbehave(received, index) if self.misbehave else None) or Reply()
        with self._lock:
            (self.accepted if 200 <= reply.status < 300 and not reply.vanish else self.refused).append(received)
        return reply


def free_port() -> int:
    """A port of the loopback interface on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            plain = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(self.headers.get("Content-Encoding", ""))
            reply = receiver.answer(Received(self.path, dict(self.headers.items()), plain(body) if plain else body))
            if reply.vanish:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/x-protobuf", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
