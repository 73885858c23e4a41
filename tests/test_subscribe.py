"""Subscribers get what is on disk, all of it, once, filtered, whatever their callbacks do."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from otel_events import Event, InvalidParameter, Recorder
from otel_events.parts import parts_of, read_lines
from otel_events.testing import recording


def wait_for(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_every_event_after_the_subscription_is_delivered_once_in_order(recorder: Recorder):
    recorder.action("alice", "before")
    seen: list[Event] = []
    subscription = recorder.subscribe(seen.append)
    recorded = [recorder.action("alice", "wave", {"number": number}).event_id for number in range(500)]

    subscription.stop()

    assert [event.event_id for event in seen] == recorded


def test_an_event_is_on_disk_before_a_subscriber_sees_it(recorder: Recorder):
    """Nothing is published that is not a line first."""
    missing: list[str] = []

    def look(event: Event) -> None:
        lines = [line.text for part in parts_of(recorder.directory) for line in read_lines(part)]
        if not any(event.event_id.encode() in line for line in lines):
            missing.append(event.event_id)

    recorder.subscribe(look)
    for number in range(50):
        recorder.action("alice", "wave", {"number": number})
    recorder.close()

    assert missing == []


def test_filters_select_what_is_delivered(recorder: Recorder):
    seen: list[Event] = []
    recorder.subscribe(seen.append, event_types=["DECISION"], agent_ids=["alice"])
    recorder.decision("alice", "save")
    recorder.decision("bob", "save")
    recorder.action("alice", "wave")
    recorder.close()

    assert [(event.agent_id, event.event_type) for event in seen] == [("alice", "DECISION")]


def test_a_filter_that_cannot_select_anything_raises_at_the_call(recorder: Recorder):
    with pytest.raises(InvalidParameter, match="event_types"):
        recorder.subscribe(print, event_types=["NONSENSE"])


def test_a_callback_that_raises_is_counted_and_goes_on_getting_events(recorder: Recorder, caplog):
    seen: list[str | None] = []

    def fragile(event: Event) -> None:
        seen.append(event.name)
        raise RuntimeError("no")

    subscription = recorder.subscribe(fragile)
    recorder.action("alice", "wave")
    recorder.action("alice", "nod")
    with caplog.at_level(logging.CRITICAL):
        subscription.stop()

    assert seen == ["action.wave", "action.nod"]
    assert subscription.failures == 2


def test_what_another_process_records_into_the_run_is_delivered_too(tmp_path: Path):
    with recording(tmp_path, redact=None) as recorder:
        seen: list[str | None] = []
        recorder.subscribe(lambda event: seen.append(event.name))
        child = "from otel_events import Recorder\nwith Recorder() as rec: rec.action('bob', 'join')"
        subprocess.run([sys.executable, "-c", child], env=_environment(recorder), check=True, timeout=30)

        wait_for(lambda: "action.join" in seen)


def _environment(recorder: Recorder) -> dict[str, str]:
    return {**os.environ, **recorder.environ()}
