"""A small server on loopback that speaks OpenAI's chat protocol. Its answers are canned, the protocol is not.

    GET  /v1/models            the list, with the one model `MODEL`
    GET  /v1/models/{model}    that model, or 404
    POST /v1/chat/completions  one completion; with `stream: true` as server-sent events that end with `[DONE]`

Every answer follows from the last user message alone, so a run is the same run every time. Errors have OpenAI's shape,
`{"error": {"message", "type", "param", "code"}}`, so that the official client raises its own exceptions for them.
Token counts are those of the words: this server has no tokeniser.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

import orjson

MODEL = "canned-merchant-1"
API_KEY = "demo"
_COMMENTS = (
    "Sugar is dear today, look for spice to give away",
    "Prices drift apart, a wider view finds better partners",
    "Stay close to the hill and let the others come",
    "The neighbours are poor, walk on",
    "Enough in store, trade only for what is scarce",
    "Spice is running out, search further",
)


def answer(prompt: str) -> str:
    """The canned answer to a prompt: how far to look, from 1 to 6 cells, and a remark. A function of its letters."""
    digest = hashlib.sha256(prompt.encode()).digest()
    chosen = {"vision": 1 + digest[0] % 6, "comment": _COMMENTS[digest[1] % len(_COMMENTS)]}
    return orjson.dumps(chosen).decode()


class LlmServer:
    """The server, running inside `with`. `base_url` is what `openai.OpenAI` wants; the port is a free one."""

    def __init__(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up after `[DONE]`
            super().handle_error(request, client_address)


class _Refused(Exception):
    """A request that gets an error for an answer."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


_numbers = count(1)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "otel-events-demo"
    disable_nagle_algorithm = True  # the client waits for every answer; 40 ms each would be the better part of the demo

    def do_GET(self) -> None:
        self._answered(self._models)

    def do_POST(self) -> None:
        self._answered(self._completion)

    def _answered(self, route: Callable[[bytes], None]) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            if not (self.headers.get("authorization") or "").startswith("Bearer "):
                raise _Refused(401, "You didn't provide an API key.", code="invalid_api_key")
            route(body)
        except _Refused as refused:
            self._send(refused.status, refused.body)

    def _models(self, body: bytes) -> None:
        model = {"id": MODEL, "object": "model", "created": 1700000000, "owned_by": "otel-events"}
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [model]})
        elif self.path == f"/v1/models/{MODEL}":
            self._send(200, model)
        elif self.path.startswith("/v1/models/"):
            raise _no_such_model(self.path.removeprefix("/v1/models/"))
        else:
            raise _Refused(404, f"Invalid URL (GET {self.path})")

    def _completion(self, body: bytes) -> None:
        if self.path != "/v1/chat/completions":
            raise _Refused(404, f"Invalid URL (POST {self.path})")
        request = _checked(body)
        completion = _Completion(request)
        if request.get("stream"):
            self._stream(completion.chunks())
        else:
            self._send(200, completion.whole())

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = orjson.dumps(answer)
        self._head(status, "application/json", ("content-length", str(len(body))))
        self.wfile.write(body)

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self._head(200, "text/event-stream", ("transfer-encoding", "chunked"))
        for chunk in chunks:
            self.wfile.write(_frame(b"data: %b\n\n" % orjson.dumps(chunk)))
        self.wfile.write(_frame(b"data: [DONE]\n\n") + _frame(b""))

    def _head(self, status: int, media_type: str, length: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("x-request-id", f"req_{next(_numbers):06d}")
        self.send_header(*length)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: standard error belongs to the demo's progress bar."""


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Completion:
    """The answer to one checked request, as one object or as the chunks of a stream."""

    def __init__(self, request: dict[str, Any]) -> None:
        messages = request["messages"]
        prompt = next((str(message.get("content")) for message in reversed(messages) if message["role"] == "user"), "")
        words = answer(prompt).split(" ")
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or len(words)
        self._words = words[:limit]
        self._finish = "stop" if limit >= len(words) else "length"
        self._read = sum(len(str(message.get("content")).split()) for message in messages)
        self._with_usage = (request.get("stream_options") or {}).get("include_usage", False)
        self._id = f"chatcmpl-{hashlib.sha256(prompt.encode()).hexdigest()[:16]}{next(_numbers):06d}"

    def whole(self) -> dict[str, Any]:
        message = {"role": "assistant", "content": " ".join(self._words), "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        return {**self._envelope("chat.completion"), "choices": [choice], "usage": self._usage()}

    def chunks(self) -> Iterator[dict[str, Any]]:
        yield self._chunk({"role": "assistant", "content": ""})
        for position, word in enumerate(self._words):
            yield self._chunk({"content": f" {word}" if position else word})
        yield self._chunk({}, self._finish)
        if self._with_usage:
            yield {**self._envelope("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def _chunk(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._envelope("chat.completion.chunk"), "choices": [choice]}

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": int(time.time()), "model": MODEL, "system_fingerprint": None}

    def _usage(self) -> dict[str, int]:
        written = len(self._words)
        return {"prompt_tokens": self._read, "completion_tokens": written, "total_tokens": self._read + written}


def _checked(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Refused(400, f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list) or not request["messages"]:
        raise _Refused(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not all(isinstance(message, dict) and "role" in message for message in request["messages"]):
        raise _Refused(400, "Missing required parameter: 'messages[].role'.", param="messages")
    for limit in ("max_tokens", "max_completion_tokens"):
        if type(request.get(limit, 1)) not in (int, type(None)):
            raise _Refused(400, f"Invalid type for '{limit}': expected an integer.", param=limit, code="invalid_type")
    if request.get("model") != MODEL:
        raise _no_such_model(request.get("model"))
    return request


def _no_such_model(model: object) -> _Refused:
    return _Refused(
        404, f"The model `{model}` does not exist; this server has `{MODEL}`.", param="model", code="model_not_found"
    )
