"""One line, one span, one log record: held by golden vectors that a program in any language can check itself with."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events import ids, mapping, otlp
from otel_events.codec import decode
from otel_events.errors import Unmappable
from otel_events.event import Event
from otel_events.parts import parts_of, read_lines
from otel_events.schema import faults
from tests.golden.regenerate import SPANS, expected
from tests.handwriting import Handwriting

GOLDEN = SPANS.parent
VECTORS = json.loads(SPANS.read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["about"] for vector in VECTORS])
def test_a_line_becomes_the_golden_span_and_log_record(vector: dict[str, Any]) -> None:
    actual = expected(vector["line"], vector.get("capture", "no_content"))
    assert actual == {"span": vector["span"], "log": vector["log"]}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["about"] for vector in VECTORS])
def test_the_lines_of_the_golden_vectors_are_valid(vector: dict[str, Any]) -> None:
    assert faults(vector["line"].encode()) == []


@pytest.mark.parametrize("vector", json.loads((GOLDEN / "ids.json").read_text()))
def test_ids_are_derived_as_the_golden_file_says(vector: dict[str, Any]) -> None:
    event_id = vector["event_id"]
    derived = {"unix_ms": ids.unix_ms(event_id), "trace_id": ids.trace_id(event_id), "span_id": ids.span_id(event_id)}
    assert {"event_id": event_id, **derived} == vector


def test_a_program_in_another_language_can_write_a_run(tmp_path: Path) -> None:
    """The format's documentation is enough: 25 lines of JavaScript, nothing of ours."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the writer in another language cannot run")
    run = tmp_path / "walk-20261121-100000-node"
    subprocess.run([node, str(GOLDEN / "writer.mjs"), str(run)], check=True, timeout=30)
    lines = [line.text for part in parts_of(run) for line in read_lines(part)]
    assert [faults(line) for line in lines] == [[]] * len(lines)
    events = [decode(line) for line in lines]
    spans = [span for event in events if (span := mapping.span(event)) is not None]
    assert [span.name for span in spans] == ["action.walk", "turn", "invoke_workflow walk"]
    assert len({span.trace_id for span in spans}) == 2
    assert spans[0].parent_span_id == spans[1].span_id
    assert [mapping.log_record(event) is not None for event in events] == [True] * len(events)


def test_mapping_needs_nothing_but_the_line(tmp_path: Path) -> None:
    """Invariant 3: the same line gives the same bytes again, from its text alone."""
    for event in Handwriting(tmp_path / "run").economy():
        first, again = (_bytes(replace(event)) for _ in range(2))
        assert first == again


def test_a_scopes_span_comes_from_its_closing_line_alone(tmp_path: Path) -> None:
    hand = Handwriting(tmp_path / "run")
    turn = hand.opens("MILESTONE", "turn")
    call = hand.opens("SYSTEM", "llm.call", scope=turn, details={"model": "m"})
    assert mapping.span(call) is None
    span = mapping.span(hand.closes(call, details={"model": "m", "output_tokens": 3}))
    assert span is not None
    assert (span.name, span.kind, span.span_id.hex()) == ("chat m", 3, call.span_id)
    assert dict(span.attributes)["gen_ai.usage.output_tokens"] == 3


def test_no_span_links_to_its_parent_itself_or_what_came_later_in_its_trace(tmp_path: Path) -> None:
    """Every descendant came later; a link to one sends Jaeger's and Grafana's trees in circles."""
    hand = Handwriting(tmp_path / "run")
    turn = hand.opens("MILESTONE", "turn")
    before = hand.line("ACTION", "action.before", scope=turn)
    step = hand.opens("ACTION", "step", scope=turn)
    inside = hand.line("ACTION", "action.inside", scope=step)
    causes = [turn.event_id, before.event_id, step.event_id, inside.event_id]
    span = mapping.span(hand.closes(step, caused_by=causes))
    assert span is not None
    assert [link.span_id.hex() for link in span.links] == [before.span_id]
    assert dict(span.attributes)["sim.caused_by"] == causes


def test_a_cause_of_the_same_millisecond_is_linked_when_it_came_before(tmp_path: Path) -> None:
    """A closing line knows the low 64 bits of its opening id, not all 128."""
    hand = Handwriting(tmp_path / "run")
    turn = hand.opens("MILESTONE", "turn")
    before = hand.line("DECISION", "decision.x", scope=turn)
    hand.ms -= 1
    call = hand.opens("SYSTEM", "llm.call", scope=turn)
    hand.ms -= 1
    inside = hand.line("ACTION", "action.x", scope=call)
    assert ids.unix_ms(before.event_id) == ids.unix_ms(call.event_id) == ids.unix_ms(inside.event_id)
    span = mapping.span(hand.closes(call, caused_by=[before.event_id, inside.event_id]))
    assert span is not None
    assert [link.span_id.hex() for link in span.links] == [before.span_id]


def test_links_that_are_no_causes_are_related(tmp_path: Path) -> None:
    hand = Handwriting(tmp_path / "run")
    foreign = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    span = mapping.span(hand.line("MILESTONE", "turn", links={"traceparent": foreign}))
    assert span is not None
    assert [(link.trace_id.hex() + "-" + link.span_id.hex(), link.attributes) for link in span.links] == [
        (foreign, [("sim.link.type", "related")])
    ]


def test_a_scope_always_lasts_and_never_ends_before_it_began(tmp_path: Path) -> None:
    hand = Handwriting(tmp_path / "run")
    turn = hand.opens("MILESTONE", "turn")
    backwards = replace(hand.closes(turn), started_at="2027-01-01T00:00:00.000000Z")
    span = mapping.span(backwards)
    assert span is not None
    assert span.end_ns - span.start_ns == mapping.POINT_NS


def test_attributes_and_links_are_bounded_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    hand = Handwriting(tmp_path / "run")
    earlier = [hand.line("ACTION", "action.x") for _ in range(200)]
    links = {event.event_id: f"{event.trace_id}-{event.span_id}" for event in earlier}
    details = {f"key_{number:03}": "é" * 2000 for number in range(200)}
    event = hand.line("ACTION", "action.y", caused_by=list(links), links=links, details=details)
    span = mapping.span(event)
    assert span is not None
    assert (len(span.links), span.dropped_links) == (128, 72)
    assert (len(span.attributes), span.dropped_attributes) == (128, 78)
    assert dict(span.attributes)["sim.caused_by"][64] == f"… [cut: 136 more in {event.event_id}]"
    texts = [value for _, value in span.attributes if isinstance(value, str)]
    assert max(len(text.encode()) for text in texts) <= mapping.MAX_VALUE_BYTES
    assert texts[-1].endswith(f"é… [cut: 4000 bytes in {event.event_id}]")


@pytest.mark.parametrize("name", ["llm.call", "llm.delta", "tool.call"])
def test_prompts_and_answers_stay_in_the_file_by_default(name: str, tmp_path: Path) -> None:
    """Neither on the span nor on the log record, neither as a convention's attribute, a detail, nor in the body."""
    hand = Handwriting(tmp_path / "run")
    keys = (
        ("arguments", "result") if name == "tool.call" else ("input", "output", "messages", "prompt", "text", "tools")
    )
    details = {"model": "m", "tool_name": "t", **dict.fromkeys(keys, "SECRET")}
    event = hand.closes(hand.opens("SYSTEM", name, details=details))
    assert b"SECRET" not in _bytes(event)
    assert b"SECRET" in otlp.encode_span(mapping.span(event, "span_only") or pytest.fail("no span"))
    assert b"SECRET" not in otlp.encode_log_record(mapping.log_record(event, "span_only") or pytest.fail("no log"))
    assert b"SECRET" in otlp.encode_log_record(mapping.log_record(event, "event_only") or pytest.fail("no log"))


def test_a_line_of_the_nine_fields_is_a_log_record_and_no_span() -> None:
    line = b'{"event_id":"x-1","timestamp":"2025-01-15T10:30:00+00:00","turn_number":1,'
    event = decode(line + b'"event_type":"STATE","simulation_id":"s"}')
    record = mapping.log_record(event)
    assert record is not None
    assert (record.event_name, record.trace_id, record.observed_ns) == ("state", b"", record.time_ns)
    with pytest.raises(Unmappable, match="expected trace_id and span_id"):
        mapping.span(event)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("trace_id", "zz"),
        ("trace_id", "0" * 32),
        ("span_id", "12"),
        ("trace_flags", "xx"),
        ("timestamp", "yesterday"),
        ("timestamp", "1969-12-31T23:59:59Z"),
        ("links", {"a": "x" * 32 + "-" + "y" * 16}),
    ],
)
def test_a_line_that_says_something_impossible_is_unmappable(field: str, value: Any, tmp_path: Path) -> None:
    event = replace(Handwriting(tmp_path / "run").line("ACTION", "action.x"), **{field: value})
    with pytest.raises(Unmappable, match=event.event_id if field != "links" else "event a"):
        mapping.span(event)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.text(max_size=8) | st.sampled_from(
    ["model", "input", "finish_reason", "temperature", "operation", "tool_name", "name"]
)


@given(
    st.dictionaries(keys, json_values, max_size=8),
    st.sampled_from(["llm.call", "tool.call", "run", "step", "action.x", None]),
    st.sampled_from([None, "close"]),
    st.none() | st.dictionaries(st.text(max_size=8), json_values, max_size=3),
    st.sampled_from(["no_content", "span_and_event"]),
)
def test_whatever_the_details_are_the_mapping_and_its_bytes_exist(
    details: dict[str, Any], name: str | None, phase: Any, error: Any, capture: Any
) -> None:
    event_id = "01M7YRRT8AXC83APKZMK4YW4SR"
    event = Event(
        event_id=event_id,
        timestamp="2026-11-21T10:00:00.000000Z",
        turn_number=1,
        event_type="SYSTEM",
        simulation_id="s",
        details=details,
        name=name,
        phase=phase,
        error=error,
        trace_id=ids.trace_id(event_id),
        span_id=ids.span_id(event_id),
    )
    assert _bytes(event, capture)


def _bytes(event: Event, capture: Any = "no_content") -> bytes:
    span, record = mapping.span(event, capture), mapping.log_record(event, capture)
    return (otlp.encode_span(span) if span else b"") + (otlp.encode_log_record(record) if record else b"")
