"""The queued log: bounded, in order, and honest about what it refused."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from otel_events import Queue, log
from otel_events.testing import events, recording


class SlowOs:
    """A disk that writes one line for each permission."""

    def __init__(self):
        self.permissions = threading.Semaphore(0)

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, fd, data):
        self.permissions.acquire(timeout=10)
        return os.write(fd, data)


def test_lines_are_written_in_the_order_of_emit(tmp_path):
    with recording(tmp_path, queue=Queue(size=3)) as recorder:
        handles = [recorder.action("alice", "transfer", number) for number in range(500)]
        found = [event for event in events(recorder) if event.name == "action.transfer"]
    assert [event.event_id for event in found] == [handle.event_id for handle in handles]
    assert [event.details["action_payload"] for event in found] == list(range(500))


def test_a_full_queue_drops_counts_warns_and_tells(tmp_path, monkeypatch, caplog):
    disk = SlowOs()
    caplog.set_level(logging.WARNING, "otel_events")
    with recording(tmp_path, queue=Queue(size=5, policy="drop")) as recorder:
        recorder.flush()
        monkeypatch.setattr(log, "os", disk)
        handles = [recorder.action("alice", "transfer") for _ in range(20)]
        dropped = sum(not handle.recorded for handle in handles)
        assert dropped == recorder.stats().dropped == 15
        disk.permissions.release(1_000)
        recorder.flush()
        recorder.action("alice", "goes on")
        told = [event.details["count"] for event in events(recorder) if event.name == "log.dropped"]
        assert sum(told) == recorder.stats().dropped == 15
        assert not recorder.stats().complete
    assert "events of run test were dropped so far: the queue is full" in caplog.text


def test_a_full_queue_that_blocks_loses_nothing(tmp_path, monkeypatch):
    disk = SlowOs()
    with recording(tmp_path, queue=Queue(size=2)) as recorder:
        recorder.flush()
        monkeypatch.setattr(log, "os", disk)
        threading.Timer(0.1, disk.permissions.release, (1_000,)).start()
        assert all(recorder.action("alice", "transfer").recorded for _ in range(50))
        assert recorder.flush().dropped == 0
        assert len([event for event in events(recorder) if event.name == "action.transfer"]) == 50


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_close_writes_what_waits(tmp_path, policy):
    with recording(tmp_path, queue=Queue(size=10_000, policy=policy)) as recorder:
        for _ in range(2_000):
            recorder.action("alice", "transfer")
    assert (tmp_path / "test" / "events.jsonl").read_bytes().count(b"\n") == 2_002
    assert recorder.stats().recorded == 2_002


def test_the_defaults_are_those_of_the_design():
    assert Queue() == Queue(size=10_000, policy="block")
