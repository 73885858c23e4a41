"""Our wire format against the two oracles: the generated messages, and the SDK's own encoder."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord as SdkLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link as SdkLink
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_events import otlp
from otel_events.mapping import Link, LogRecord, Span

RESOURCE = {"service.name": "economy", "sim.mapping.version": 1}
SCOPE = InstrumentationScope(otlp.SCOPE_NAME, otlp.SCOPE_VERSION)
KINDS = {1: SpanKind.INTERNAL, 3: SpanKind.CLIENT}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
keys = st.text(min_size=1, max_size=150)
scalars = texts | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False)
values = scalars | st.lists(texts, max_size=4)
nested = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(keys, values, max_size=6).map(lambda found: list(found.items()))
moments = st.integers(1, (1 << 63) - 1)
counts = st.integers(0, 1 << 31)
trace_ids = st.binary(min_size=16, max_size=16).filter(any)
span_ids = st.binary(min_size=8, max_size=8).filter(any)
spans = st.builds(
    Span,
    trace_ids,
    span_ids,
    st.just(b"") | span_ids,
    texts,
    st.sampled_from([1, 3]),
    moments,
    moments,
    attributes,
    counts,
    st.lists(st.builds(Link, trace_ids, span_ids, attributes), max_size=3),
    counts,
    st.none() | texts,
    st.sampled_from([1, 3]),
)
log_records = st.builds(
    LogRecord,
    moments,
    moments,
    st.sampled_from([5, 9, 10, 13, 17]),
    texts,
    st.dictionaries(keys, nested, max_size=6).map(lambda found: list(found.items())),
    st.just(0),
    st.sampled_from([1, 3]),
    trace_ids,
    span_ids,
    texts,
)


@given(spans)
def test_a_span_parses_to_what_the_sdk_encodes(span: Span) -> None:
    """The oracle of the wire format. Only the W3C bits of the flags differ, which the SDK leaves out."""
    ours = ExportTraceServiceRequest.FromString(otlp.request([(RESOURCE, [otlp.encode_span(span)])]))
    parsed = ours.resource_spans[0].scope_spans[0].spans[0]
    assert parsed.flags == 0x100 | span.flags
    parsed.flags &= 0x300
    for link in parsed.links:
        assert link.flags == 0x101
        link.flags &= 0x300
    assert ours == encode_spans([_sdk_span(span)])


@given(log_records)
def test_a_log_record_parses_to_what_the_sdk_encodes(record: LogRecord) -> None:
    ours = ExportLogsServiceRequest.FromString(otlp.request([(RESOURCE, [otlp.encode_log_record(record)])]))
    assert ours == encode_logs([_sdk_log_record(record)])


@given(st.lists(spans, max_size=4))
def test_a_request_groups_spans_by_resource_and_leaves_empty_groups_out(batch: list[Span]) -> None:
    encoded = [otlp.encode_span(span) for span in batch]
    parsed = ExportTraceServiceRequest.FromString(
        otlp.request([(RESOURCE, encoded), ({"a": 1}, encoded[:1]), ({}, [])])
    )
    sizes = [len(group.scope_spans[0].spans) for group in parsed.resource_spans]
    assert sizes == ([len(batch), 1] if batch else [])


def test_counts_of_dropped_items_are_sent_for_logs_too() -> None:
    """The SDK's constructor offers no way to say it, so the generated message is the oracle here."""
    record = LogRecord(1, 2, 9, "body", [], 300, 3, b"t" * 16, b"s" * 8, "name")
    parsed = ExportLogsServiceRequest.FromString(otlp.request([(RESOURCE, [otlp.encode_log_record(record)])]))
    assert parsed.resource_logs[0].scope_logs[0].log_records[0].dropped_attributes_count == 300


def _sdk_span(span: Span) -> ReadableSpan:
    links: BoundedList = BoundedList.from_seq(len(span.links), [_sdk_link(link) for link in span.links])
    links.dropped = span.dropped_links
    return ReadableSpan(
        span.name,
        context=_context(span.trace_id, span.span_id),
        parent=_context(span.trace_id, span.parent_span_id) if span.parent_span_id else None,
        resource=Resource(RESOURCE),
        attributes=_bounded(span.attributes, span.dropped_attributes),
        links=links,
        kind=KINDS[span.kind],
        status=Status(StatusCode.UNSET) if span.failure is None else Status(StatusCode.ERROR, span.failure),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=SCOPE,
    )


def _sdk_link(link: Link) -> SdkLink:
    return SdkLink(_context(link.trace_id, link.span_id), _bounded(link.attributes, 0))


def _sdk_log_record(record: LogRecord) -> ReadableLogRecord:
    log_record = SdkLogRecord(
        timestamp=record.time_ns,
        observed_timestamp=record.observed_ns,
        trace_id=int.from_bytes(record.trace_id, "big"),
        span_id=int.from_bytes(record.span_id, "big"),
        trace_flags=TraceFlags(record.flags),
        severity_number=SeverityNumber(record.severity),
        body=record.body,
        attributes=dict(record.attributes),
        event_name=record.event_name,
    )
    return ReadableLogRecord(log_record, Resource(RESOURCE), SCOPE)


def _bounded(pairs: list[tuple[str, Any]], dropped: int) -> BoundedAttributes:
    bounded = BoundedAttributes(attributes=dict(pairs), immutable=False)
    bounded.dropped = dropped
    return bounded


def _context(trace_id: bytes, span_id: bytes) -> SpanContext:
    return SpanContext(int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big"), is_remote=False)
