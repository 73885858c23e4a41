"""From what a program gives as `caused_by` to the events behind it."""

from __future__ import annotations

import gzip

import pytest

from otel_events import ids
from otel_events.causes import REMEMBERED, Causes
from otel_events.errors import InvalidParameter
from otel_events.handle import Handle
from otel_events.testing import recording


def test_at_least_65_536_events_are_remembered_and_memory_is_bounded(tmp_path):
    causes = Causes(tmp_path, lambda: None)
    for number in range(3 * REMEMBERED):
        causes.remember(str(number), Handle.of(str(number), "t", "s"))
    newest = 3 * REMEMBERED - 1
    for number in (newest, newest - REMEMBERED + 1):
        assert causes.resolve(str(number), "")[0][0].trace_id == "t"
    assert causes.resolve("0", "")[0][0].trace_id == ""


def test_doubles_are_named_once_in_the_order_given(recorder):
    one, two = recorder.action("a", "x"), recorder.action("a", "y")
    found, omitted = recorder._emitter.causes.resolve([two, one.event_id, [two.ref, one]], "test")
    assert [handle.event_id for handle in found] == [two.event_id, one.event_id]
    assert omitted == 0


@pytest.mark.parametrize("wrong", [7, 1.5, object(), {"a": 1}, [None], b"x"])
def test_anything_else_raises(tmp_path, wrong):
    with pytest.raises(InvalidParameter, match="caused_by of x: expected an event, an open scope"):
        Causes(tmp_path, lambda: None).resolve(wrong, "x")


def test_a_closing_line_is_its_scope(recorder):
    with recorder.turn(1) as turn:
        pass
    closing = (recorder.directory / "events.jsonl").read_bytes().splitlines()[-1][13:39].decode()
    assert closing != turn.event_id
    assert recorder._emitter.causes.resolve(closing, "test")[0] == (turn,)


def test_a_run_with_damaged_or_compressed_parts_is_searched_as_far_as_it_goes(tmp_path):
    """An id that is nowhere costs no exception; compressed parts are not searched."""
    with recording(tmp_path) as recorder:
        old = recorder.action("a", "old")
    part = tmp_path / "test" / "events.jsonl"
    (tmp_path / "test" / "events_2026-01-01_00-00-00.jsonl").write_bytes(b"\xff\xfe\n[]\n")
    causes = Causes(tmp_path / "test", lambda: None)
    assert causes.resolve(old.event_id, "")[0][0].trace_id == old.trace_id
    assert causes.resolve(ids.text(1 << 100), "")[0][0].trace_id == ""
    (tmp_path / "test" / "events.jsonl.gz").write_bytes(gzip.compress(part.read_bytes()))
    part.unlink()
    assert causes.resolve(old.event_id, "")[0][0].trace_id == ""
    assert Causes(tmp_path / "nowhere", lambda: None).resolve(old.event_id, "")[0][0].trace_id == ""
