"""The JSON Schema of a line and the strict check."""

from __future__ import annotations

import orjson
import pytest

from otel_events.event import FIELDS
from otel_events.schema import faults, json_schema
from otel_events.testing import recording

LINE = {
    "event_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "timestamp": "2026-11-21T10:15:00.000000Z",
    "turn_number": 0,
    "event_type": "ACTION",
    "simulation_id": "run",
    "name": "action.transfer",
    "trace_id": "a" * 32,
    "span_id": "b" * 16,
    "v": 1,
}


def test_the_schema_has_every_field_with_its_description_in_order():
    schema = json_schema()
    assert tuple(schema["properties"]) == FIELDS
    assert all(rules["description"] for rules in schema["properties"].values())
    assert schema["required"] == list(FIELDS[:5])
    assert schema["properties"]["turn_number"]["minimum"] == 0


def test_what_the_recorder_writes_has_no_faults(tmp_path):
    with recording(tmp_path) as recorder, recorder.turn(1) as turn, recorder.llm_call("a", model="m") as call:
        recorder.action("a", "x", {"y": 1}, caused_by=[turn, call, "unknown"], sim_time=1.5, session_id="s")
        recorder.detail("x")
        recorder.error("x")
    lines = (tmp_path / "test" / "events.jsonl").read_bytes().splitlines()
    assert [fault for line in lines for fault in faults(line)] == []


def test_a_line_of_another_program_may_have_the_nine_fields_only():
    nine = {key: LINE[key] for key in ("event_id", "timestamp", "turn_number", "event_type", "simulation_id")}
    assert faults(orjson.dumps({**nine, "timestamp": "2026-11-21T10:15:00+00:00", "unknown": 1})) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"turn_number": "1"}, "turn_number"),
        ({"turn_number": -1}, "turn_number"),
        ({"event_id": "x"}, "event_id"),
        ({"timestamp": "2026-11-21T10:15:00Z"}, "timestamp"),
        ({"trace_id": "A" * 32}, "trace_id"),
        ({"span_id": None}, "span_id"),
        ({"name": None}, "name"),
        ({"phase": "middle"}, "phase"),
        ({"caused_by": [1]}, "caused_by"),
        ({"trace_flags": "3"}, "trace_flags"),
    ],
)
def test_each_fault_is_a_sentence_that_begins_with_the_field(change, where):
    (fault,) = faults(orjson.dumps({**LINE, **change}))
    assert fault.startswith(where)
    assert faults(orjson.dumps(LINE)) == []


def test_what_is_no_json_is_one_fault():
    assert len(faults(b"{")) == 1
