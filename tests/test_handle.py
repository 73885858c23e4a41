"""Handles and their text."""

from __future__ import annotations

import pickle

import pytest

from otel_events.handle import MAX_STANDS_FOR, Handle, from_text, reduced
from otel_events.testing import recording


def test_a_ref_carries_id_and_place(recorder):
    handle = recorder.action("alice", "transfer")
    (found,) = from_text(handle.ref)
    assert handle.ref == f"{handle.event_id}-{handle.trace_id}-{handle.span_id}"
    assert (found.event_id, found.trace_id, found.span_id) == (handle.event_id, handle.trace_id, handle.span_id)
    assert found.is_span
    assert repr(handle) == f"<event {handle.event_id}>"


def test_a_bare_id_and_an_empty_text():
    assert [handle.event_id for handle in from_text("one,two,")] == ["one", "two"]
    assert from_text("") == []
    assert from_text("one")[0].ref == "one"


@pytest.mark.parametrize("kind", ["point", "scope", "suppressed", "suppressed scope"])
def test_handles_pickle_and_go_on_being_causes(tmp_path, kind):
    with recording(tmp_path, verbosity="DECISION") as recorder:
        cause = recorder.decision("alice", "save")
        handle = {
            "point": lambda: recorder.decision("alice", "spend", caused_by=cause),
            "scope": lambda: recorder.turn(1).open(),
            "suppressed": lambda: recorder.action("alice", "pays", caused_by=cause),
            "suppressed scope": lambda: recorder.step("alice", caused_by=cause).open(),
        }[kind]()
        copy = pickle.loads(pickle.dumps(handle))
        expected = cause if kind.startswith("suppressed") else handle
        assert [found.event_id for found in copy.as_causes] == [expected.event_id]
        assert copy.ref == handle.ref == expected.ref
        assert copy.recorded == (not kind.startswith("suppressed"))


def test_a_suppressed_event_gets_an_id_only_when_somebody_reads_it(tmp_path):
    with recording(tmp_path, verbosity="MILESTONE") as recorder:
        one = recorder.action("a", "x")
        assert one._id == ""
        assert repr(one) == "<event left out by the verbosity, standing for 0 causes>"
        assert one.event_id == one.event_id != recorder.action("a", "x").event_id


def test_reduced_keeps_the_newest_32_without_those_that_others_name():
    handles = [Handle.of(f"{number:03}", "t" * 32, "s" * 16) for number in range(50)]
    named = Handle.of("999", "t" * 32, "s" * 16, causes=["049", "048"])
    kept, omitted = reduced([*handles, named, named])
    assert [handle.event_id for handle in kept] == ["999", *(f"{number:03}" for number in range(47, 16, -1))]
    assert (len(kept), omitted) == (MAX_STANDS_FOR, 17)


def test_causes_that_name_each_other_in_a_circle_are_kept():
    one, two = Handle.of("1", "", "", ["2"]), Handle.of("2", "", "", ["1"])
    assert {handle.event_id for handle in reduced([one, two])[0]} == {"1", "2"}
