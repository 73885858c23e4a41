"""What we give to those who test programs that record; `recorder` is the fixture that the package brings."""

from __future__ import annotations

import pytest

from otel_events import current, ids, timestamp
from otel_events.testing import CountingIds, FakeClock, assert_caused, events, recording


def test_the_fixture_records_everything_with_a_clock_and_ids_that_count(recorder, tmp_path):
    recorder.detail("tax")
    assert recorder.directory == tmp_path / "test"
    assert current() is recorder
    assert [event.event_type for event in events(recorder)] == ["MILESTONE", "DETAIL"]


def test_the_same_program_gives_the_same_file(tmp_path):
    texts = []
    for number in range(2):
        with recording(tmp_path / str(number)) as recorder, recorder.turn(1) as turn:
            recorder.action("alice", "transfer", caused_by=turn)
        texts.append((recorder.directory / "events.jsonl").read_bytes())
    assert texts[0] == texts[1]


def test_the_fake_clock():
    clock = FakeClock("2026-11-21T10:15:00Z", step_ms=2)
    assert timestamp.to_text(clock.time_ns()) == "2026-11-21T10:15:00.002000Z"
    clock.advance(1.5)
    before = clock.monotonic_ns()
    clock.step_back(60)
    assert clock.monotonic_ns() - before == 2_000_000
    assert timestamp.to_text(clock.time_ns()).startswith("2026-11-21T10:14:01.5")


def test_counting_ids_increase_and_go_on():
    source = CountingIds()
    drawn = [source.next(5), source.next_trace(5), source.next(3)]
    assert drawn == sorted(set(drawn))
    assert ids.unix_ms(ids.text(drawn[0])) == 5
    source.after(1 << 120)
    assert source.next(5) > 1 << 120


def test_a_run_in_a_temporary_directory_goes_away():
    with recording() as recorder:
        assert recorder.directory.is_dir()
    assert not recorder.directory.exists()


def test_assert_caused_follows_chains_by_handle_id_and_name(recorder):
    one = recorder.decision("alice", "save")
    two = recorder.action("alice", "pays", caused_by=one)
    three = recorder.action("alice", "eats", caused_by=two)
    assert_caused(one, three)
    assert_caused("decision.save", "action.eats", recorder)
    assert_caused(one.event_id, two.event_id)
    with pytest.raises(AssertionError, match=r"to follow from .*, got only: decision\.save"):
        assert_caused(three, two)
    with pytest.raises(AssertionError, match="got only: no cause at all"):
        assert_caused(two, one)
    with pytest.raises(AssertionError, match="no cause at all"):
        assert_caused("decision.save", "nothing of that name")
