"""One filter for all front ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from strategies import event

from otel_events.errors import InvalidParameter
from otel_events.filters import EventFilter


def selected(criteria: EventFilter, *events) -> list[bool]:
    return [criteria.matches(each) for each in events]


def test_without_criteria_everything_is_selected():
    assert selected(EventFilter(), event(0), event(1, "CUSTOM", agent_id="x")) == [True, True]
    assert selected(EventFilter(event_types=[], agent_ids=[], names=[], session_ids=[]), event(0)) == [True]


def test_every_given_criterion_must_hold():
    criteria = EventFilter(event_types=["DECISION", "ACTION"], agent_ids=["agent_alice"], turn_start=5, turn_end=10)
    good = {"agent_id": "agent_alice", "turn_number": 7}
    assert selected(
        criteria,
        event(0, "ACTION", **good),
        event(1, "DECISION", **good),
        event(2, "STATE", **good),
        event(3, "ACTION", **{**good, "agent_id": "agent_bob"}),
        event(4, "ACTION", **{**good, "agent_id": None}),
        event(5, "ACTION", **{**good, "turn_number": 4}),
        event(6, "ACTION", **{**good, "turn_number": 11}),
    ) == [True, True, False, False, False, False, False]


def test_the_ends_of_ranges_belong_to_them():
    at = event(5).timestamp
    assert EventFilter(start_timestamp=at, end_timestamp=at, turn_start=0, turn_end=0).matches(event(5))
    assert not EventFilter(start_timestamp=at).matches(event(4))
    assert not EventFilter(end_timestamp=at).matches(event(6))


def test_a_name_is_the_whole_or_what_follows_a_dot():
    names = ["decision.savings_rate", "savings_rate", "savings", "rate", "decision.tax.savings_rate", None]
    events = [event(number, name=name) for number, name in enumerate(names)]
    assert selected(EventFilter(names=["savings_rate"]), *events) == [True, True, False, False, True, False]
    assert selected(EventFilter(names="decision.savings_rate"), *events) == [True, *[False] * 5]


def test_sessions_are_told_apart():
    assert selected(EventFilter(session_ids=["a", "b"]), *(event(0, session_id=s) for s in ("a", "c", None))) == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00.005000Z",
        "2026-11-21T10:00:00.005",  # naive is UTC
        "2026-11-21 10:00:00.005",
        "2026-11-21T10:00:00.005+00:00",
        "2026-11-21T10:00:00.005 00:00",  # `+` of a query string that was not escaped
        "2026-11-21T12:00:00.005000000+02:00",
        "2026-11-21T12:00:00.005 02:00",
        datetime(2026, 11, 21, 10, 0, 0, 5000),
        datetime(2026, 11, 21, 10, 0, 0, 5000, tzinfo=UTC),
        datetime(2026, 11, 21, 5, 0, 0, 5000, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_every_spelling_of_a_time_means_the_same(text):
    """The original failed with a naive time and with `+00:00`."""
    criteria = EventFilter(start_timestamp=text, end_timestamp=text)
    assert selected(criteria, event(4), event(5), event(6)) == [False, True, False]


def test_a_day_and_a_minute_are_times():
    assert EventFilter(start_timestamp="2026-11-21", end_timestamp="2026-11-21T10:01").matches(event(5))


def test_an_event_whose_time_cannot_be_read_is_in_no_range():
    odd = event(0, timestamp="yesterday")
    assert selected(EventFilter(), odd) == [True]
    assert selected(EventFilter(start_timestamp="1970-01-01"), odd) == [False]


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"event_types": ["action"]}, "event_types: expected one of MILESTONE, .* got 'action'"),
        ({"event_types": 5}, "event_types: expected a text or a list of texts, got 5"),
        ({"agent_ids": ["a", 1]}, "agent_ids: expected a text or a list of texts"),
        ({"turn_start": -1}, "turn_start: expected an integer ≥ 0, got -1"),
        ({"turn_start": 1.5}, "turn_start: expected an integer"),
        ({"turn_start": 5, "turn_end": 4}, r"turn_end: expected a turn not before turn_start \(5\), got 4"),
        ({"start_timestamp": "soon"}, "start_timestamp: expected an ISO 8601 time"),
        ({"end_timestamp": "2026-13-45T10:00:00Z"}, "end_timestamp: expected an ISO 8601 time"),
        ({"end_timestamp": 1_700_000_000}, "end_timestamp: expected an ISO 8601 time"),
        ({"start_timestamp": "2026-11-22", "end_timestamp": "2026-11-21"}, "end_timestamp: expected a time not before"),
        ({"limit": 0}, "limit: expected 1 to 10000, got 0"),
        ({"limit": 10_001}, "limit: expected 1 to 10000"),
        ({"limit": True}, "limit: expected 1 to 10000"),
        ({"offset": -1}, "offset: expected an integer ≥ 0"),
    ],
)
def test_what_cannot_select_anything_is_refused(criteria, message):
    with pytest.raises(InvalidParameter, match=message):
        EventFilter(**criteria)


def test_lists_can_be_given_in_the_singular():
    assert EventFilter.of(event_type="DECISION", agent_id="alice", name="tax", session_id="s", limit=5) == EventFilter(
        event_types=["DECISION"], agent_ids=["alice"], names=["tax"], session_ids=["s"], limit=5
    )


@pytest.mark.parametrize("criteria", [{"agent": "alice"}, {"start_ns": 5}, {"agent_id": "a", "agent_ids": ["a"]}])
def test_unknown_and_doubled_keywords_are_refused(criteria):
    with pytest.raises(InvalidParameter):
        EventFilter.of(**criteria)


def test_filters_are_values():
    assert len({EventFilter(names=["a"]), EventFilter(names=("a",)), EventFilter(names="a")}) == 1
