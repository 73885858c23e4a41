"""Event ⇄ line."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.codec import decode, encode, encode_event, fields_of
from otel_events.errors import CorruptLine
from otel_events.event import FIELDS, Event
from otel_events.values import Normaliser

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)


@st.composite
def events(draw: st.DrawFn) -> Event:
    maybe = {
        "agent_id": TEXT,
        "caused_by": st.lists(TEXT, max_size=3),
        "description": TEXT,
        "details": OBJECT,
        "name": TEXT,
        "phase": st.sampled_from(["open", "close"]),
        "session_id": TEXT,
        "sim_time": NUMBER | TEXT,
        "started_at": TEXT,
        "error": OBJECT,
        "trace_id": TEXT,
        "span_id": TEXT,
        "parent_span_id": TEXT,
        "trace_flags": TEXT,
        "links": st.dictionaries(TEXT, st.none() | TEXT, max_size=3),
        "resource": OBJECT,
        "v": st.integers(1, 9),
        "src": OBJECT,
    }
    chosen = {name: draw(kind) for name, kind in maybe.items() if draw(st.booleans())}
    extra = draw(st.dictionaries(TEXT.filter(lambda key: key not in FIELDS), JSON, max_size=3))
    return Event(
        event_id=draw(TEXT.filter(bool)),
        timestamp=draw(TEXT),
        turn_number=draw(st.integers(0, 2**63)),
        event_type=draw(TEXT),
        simulation_id=draw(TEXT),
        extra=extra,
        **chosen,
    )


@given(events())
def test_any_event_round_trips_with_unknown_fields_and_types(event):
    line = encode_event(event)
    assert decode(line) == event
    assert encode_event(decode(line)) == line
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


@given(events())
def test_keys_stand_in_the_canonical_order(event):
    keys = [key for key in orjson.loads(encode_event(event)) if key in FIELDS]
    assert keys == sorted(keys, key=FIELDS.index)
    assert keys == [key for key in fields_of(event) if key in FIELDS]


GOOD = {"event_id": "x", "timestamp": "t", "turn_number": 0, "event_type": "ACTION", "simulation_id": "s"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turn_number": "1"}, "turn_number: expected an integer, got"),
        ({"turn_number": True}, "turn_number: expected an integer, got"),
        ({"turn_number": -1}, "turn_number: expected an integer ≥ 0, got -1"),
        ({"event_id": None}, "event_id: expected a string, got nothing"),
        ({"event_id": ""}, "event_id: expected a non-empty string"),
        ({"details": [1]}, "details: expected an object, got"),
        ({"caused_by": "x"}, "caused_by: expected a list of ids, got"),
        ({"caused_by": [1]}, "caused_by: expected a list of ids, got one with other values"),
        ({"links": {"a": 1}}, "links: expected strings or null"),
        ({"phase": "middle"}, "phase: expected open or close, got 'middle'"),
    ],
)
def test_a_line_of_the_wrong_kind_says_what_was_expected(change, said):
    with pytest.raises(CorruptLine) as caught:
        decode(orjson.dumps({**GOOD, **change}))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("line", [b"", b"{", b"[1]", b"null", b'{"a":1}{"b":2}', b"\xff"])
def test_what_is_no_object_is_corrupt(line):
    with pytest.raises(CorruptLine, match="expected a JSON object, got"):
        decode(line)


def test_null_counts_as_absent():
    assert decode(orjson.dumps({**GOOD, "agent_id": None})).agent_id is None


@pytest.mark.parametrize("redact", [None, str])
@pytest.mark.parametrize("odd", ["\ud800", 2**70])
def test_odd_values_anywhere_do_not_raise(redact, odd):
    """Also in fields that are ours: a lone surrogate in an id that a program names, a number beyond 64 bits."""
    line = encode({**GOOD, "caused_by": [odd], "links": {"a": odd}}, Normaliser(redact=redact))
    assert line.count(b"\n") == 1


def test_encoded_json_with_line_breaks_does_not_break_the_line():
    """orjson takes a Fragment as it is."""
    fragment = orjson.Fragment(b'{"a":\n1}')

    line = encode({"details": {"ready": fragment}}, Normaliser())

    assert line.count(b"\n") == 1
    assert orjson.loads(line)["details"]["ready"]["type"] == "orjson.Fragment"
