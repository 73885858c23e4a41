"""Recompute what the vectors in spans.json expect of their lines: `python -m tests.golden.regenerate`; read the diff.

Spans and log records are in OTLP/JSON (specification: protocol/otlp, JSON Protobuf Encoding): ids in hex, 64-bit
integers as strings. `null` means that the line makes none.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_events import mapping, otlp
from otel_events.codec import decode
from otel_events.genai import Capture

NEXT = ",\n"
SPANS = Path(__file__).parent / "spans.json"


def expected(line: str, capture: Capture = "no_content") -> dict[str, Any]:
    """`{"span", "log"}` of a line."""
    event = decode(line.encode())
    span, record = mapping.span(event, capture), mapping.log_record(event, capture)
    return {
        "span": None if span is None else _json(Span.FromString(otlp.encode_span(span))),
        "log": None if record is None else _json(LogRecord.FromString(otlp.encode_log_record(record))),
    }


def _json(message: Any) -> Any:
    return _hex_ids(MessageToDict(message, use_integers_for_enums=True))


def _hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_hex_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId", "parentSpanId")
    return {key: base64.b64decode(item).hex() if key in ids else _hex_ids(item) for key, item in value.items()}


def _shown(vector: dict[str, Any]) -> str:
    """One line a key, so that a difference shows where it is."""
    pairs = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in vector.items()]
    return " {\n" + NEXT.join(pairs) + "\n }"


if __name__ == "__main__":
    vectors = json.loads(SPANS.read_text())
    for vector in vectors:
        vector.update(expected(vector["line"], vector.get("capture", "no_content")))
    SPANS.write_text(f"[\n{NEXT.join(map(_shown, vectors))}\n]\n")
