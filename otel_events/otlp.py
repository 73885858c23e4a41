"""Spans and log records -> the bytes of an OTLP export request (opentelemetry-proto 1.x, protobuf wire format).

The same input gives the same bytes, always: fields in a fixed order, nothing from the clock or the process. The tests
hold these bytes against the generated messages and the SDK's encoder, which take several times as long.

One difference from the Python SDK is meant: `Span.flags` and `Link.flags` carry the W3C flags beside HAS_IS_REMOTE.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from otel_events.mapping import MAPPING_VERSION, Attribute, Link, LogRecord, Span

SCOPE_NAME: Final = "otel_events"
SCOPE_VERSION: Final = str(MAPPING_VERSION)
"""The mapping's version, not the package's: the same file gives the same bytes after an upgrade."""

_HAS_IS_REMOTE: Final = 0x100
_LINK_FLAGS: Final = b"\x35" + struct.pack("<I", _HAS_IS_REMOTE | 1)
_STATUS_UNSET: Final = b"\x7a\x00"
_STATUS_ERROR: Final = b"\x18\x02"
_span_times = struct.Struct("<BQBQ").pack
_span_flags = struct.Struct("<BBI").pack
_log_time = struct.Struct("<BQ").pack
_log_flags = struct.Struct("<BI").pack
_double = struct.Struct("<d").pack


def request(groups: Iterable[tuple[Mapping[str, Any], list[bytes]]]) -> bytes:
    """The export request of (resource attributes, encoded spans or encoded log records) pairs.

    Both signals number their fields alike. Empty groups are left out.
    """
    scope = _field(0x0A, _field(0x0A, SCOPE_NAME.encode()) + _field(0x12, SCOPE_VERSION.encode()))
    parts = []
    for resource, items in groups:
        if items:
            attributes = _field(0x0A, _attributes(0x0A, list(resource.items())))
            in_scope = scope + b"".join([_field(0x12, item) for item in items])
            parts.append(_field(0x0A, attributes + _field(0x12, in_scope)))
    return b"".join(parts)


def encode_span(span: Span) -> bytes:
    """The bytes of one `opentelemetry.proto.trace.v1.Span`."""
    parts = [b"\x0a\x10", span.trace_id, b"\x12\x08", span.span_id]
    if span.parent_span_id:
        parts += (b"\x22\x08", span.parent_span_id)
    parts += (
        _field(0x2A, span.name.encode()),
        b"\x30",
        _varint(span.kind),
        _span_times(0x39, span.start_ns, 0x41, span.end_ns),
        _attributes(0x4A, span.attributes),
    )
    if span.dropped_attributes:
        parts += (b"\x50", _varint(span.dropped_attributes))
    parts += [_field(0x6A, _link(link)) for link in span.links]
    if span.dropped_links:
        parts += (b"\x70", _varint(span.dropped_links))
    if span.failure is None:
        parts.append(_STATUS_UNSET)
    else:
        parts.append(_field(0x7A, (_field(0x12, span.failure.encode()) if span.failure else b"") + _STATUS_ERROR))
    parts.append(_span_flags(0x85, 0x01, _HAS_IS_REMOTE | span.flags))
    return b"".join(parts)


def encode_log_record(record: LogRecord) -> bytes:
    """The bytes of one `opentelemetry.proto.logs.v1.LogRecord`."""
    parts = [
        _log_time(0x09, record.time_ns),
        b"\x10",
        _varint(record.severity),
        _field(0x2A, _field(0x0A, record.body.encode())),
        _attributes(0x32, record.attributes),
    ]
    if record.dropped_attributes:
        parts += (b"\x38", _varint(record.dropped_attributes))
    if record.flags:
        parts.append(_log_flags(0x45, record.flags))
    if record.trace_id:
        parts += (b"\x4a\x10", record.trace_id)
    if record.span_id:
        parts += (b"\x52\x08", record.span_id)
    parts += (_log_time(0x59, record.observed_ns), _field(0x62, record.event_name.encode()))
    return b"".join(parts)


def _link(link: Link) -> bytes:
    ids = b"\x0a\x10" + link.trace_id + b"\x12\x08" + link.span_id
    return ids + _attributes(0x22, link.attributes) + _LINK_FLAGS


def _attributes(tag: int, attributes: list[Attribute]) -> bytes:
    """Each pair as a KeyValue in a field of that tag. Short pairs, which are nearly all, are one formatting each."""
    parts = []
    for key, value in attributes:
        start = _key(key)
        if type(value) is str:
            data = value.encode()
            size = len(data)
            total = len(start) + size + 4
            if total < 128:
                parts.append(b"%c%c%b\x12%c\x0a%c%b" % (tag, total, start, size + 2, size, data))
            else:
                parts.append(_field(tag, start + _field(0x12, _field(0x0A, data))))
        elif type(value) is int and 0 <= value < 128 and len(start) < 120:
            parts.append(b"%c%c%b\x12\x02\x18%c" % (tag, len(start) + 4, start, value))
        elif type(value) is float and len(start) < 116:
            parts.append(b"%c%c%b\x12\x09\x21%b" % (tag, len(start) + 11, start, _double(value)))
        else:
            parts.append(_field(tag, start + _field(0x12, _payload(value))))
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _key(key: str) -> bytes:
    return _field(0x0A, key.encode())


def _payload(value: Any) -> bytes:
    """The inside of an AnyValue: `value` is None, bool, int of 64 bits, float, str, or a list or dict of these."""
    kind = type(value)
    if kind is str:
        return _field(0x0A, value.encode())
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        return b"\x18" + _varint(value & 0xFFFFFFFFFFFFFFFF)
    if kind is float:
        return b"\x21" + _double(value)
    if kind is list:
        return _field(0x2A, b"".join([_field(0x0A, _payload(item)) for item in value]))
    return b"" if value is None else _field(0x32, _attributes(0x0A, list(value.items())))


def _field(tag: int, data: bytes) -> bytes:
    """A length-delimited field whose tag is one byte."""
    size = len(data)
    if size < 128:
        return b"%c%c%b" % (tag, size, data)
    return b"%c%b%b" % (tag, _varint(size), data)


def _varint(value: int) -> bytes:
    if value < 128:
        return b"%c" % value
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)
