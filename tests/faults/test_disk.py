"""A disk that fails: the program goes on; every loss is counted, warned about, told by the first write that works."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from victims import a_recorder, in_child, named, repairs, torn_tails, until, whole_events

from otel_events import Queue, Recorder, log
from otel_events.parts import parts_of
from otel_events.testing import FakeClock, recording

NOBODY = 65_534


class Os:
    """The `os` module, but for `write` and what else a test names."""

    def __init__(self, **replaced):
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(os, name)


@contextmanager
def faulty_disk(**replaced):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "os", Os(**replaced))
        yield


def told(run):
    return sum(event.details["count"] for event in named(run, "log.lost"))


FAULTS = st.sampled_from(["works", "works", "nothing", "ENOSPC", "EIO"]) | st.integers(1, 300)


@given(st.lists(FAULTS, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_write_does_the_file_has_exactly_the_recorded_events(tmp_path_factory, faults):
    """A write that fails, or writes only some bytes. Nothing torn, nothing glued, every loss counted and told."""
    plan = []

    def write(fd, data):
        fault = plan.pop(0) if plan else "works"
        if fault == "works":
            return os.write(fd, data)
        if fault in ("ENOSPC", "EIO"):
            raise OSError(getattr(errno, fault), fault)
        return os.write(fd, data[: 0 if fault == "nothing" else min(fault, len(data) - 1)])

    directory = tmp_path_factory.mktemp("runs")
    with faulty_disk(write=write), recording(directory) as recorder:
        plan += faults
        handles = [recorder.action("alice", "transfer", number) for number in range(len(faults))]
        plan.clear()
        handles.append(recorder.action("alice", "transfer"))
        stats = recorder.flush()
    kept = {event.event_id for event in whole_events(directory / "test")}
    assert [handle.recorded for handle in handles] == [handle.event_id in kept for handle in handles]
    assert stats.lost == sum(not handle.recorded for handle in handles)
    assert stats.recorded == len(kept) - 1  # the closing line came after
    assert told(directory / "test") == stats.lost


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_a_queued_log_tells_its_losses_as_well(tmp_path, policy):
    broken = [True]

    def write(fd, data):
        if broken[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(fd, data)

    with a_recorder(tmp_path, queue=Queue(policy=policy)) as recorder:
        recorder.flush()
        with faulty_disk(write=write):
            for _ in range(20):
                recorder.action("alice", "transfer")
                recorder.flush()
            broken[0] = False
            for _ in range(3):
                recorder.action("alice", "transfer")
                recorder.flush()
        assert recorder.stats().lost >= 20
    assert told(tmp_path / "run") == recorder.stats().lost


def test_a_cut_back_that_fails_leaves_no_glued_line(tmp_path):
    """Then the torn part is let go, and cut by whoever takes it next."""
    plan, clock = ["short"], FakeClock()

    def write(fd, data):
        return os.write(fd, data[:50] if plan and plan.pop() else data)

    def ftruncate(fd, size):
        raise OSError(errno.EIO, "Input/output error")

    with recording(tmp_path, clock=clock) as recorder:
        recorder.action("alice", "transfer")
        with faulty_disk(write=write, ftruncate=ftruncate):
            assert not recorder.action("alice", "lost").recorded
        assert len(torn_tails(tmp_path / "test")) == 1
        clock.advance(1)
        assert recorder.action("alice", "goes on").recorded
        assert recorder.stats().repaired == 1
    assert len(named(tmp_path / "test", "action.goes_on")) == 1
    assert told(tmp_path / "test") == 1


def test_a_torn_line_that_is_cut_while_no_part_can_be_had_is_still_told(tmp_path):
    """The torn part is another program's, so a new one is needed, and there is no room for it at first."""
    with recording(tmp_path, name="one") as recorder:
        recorder.action("alice", "transfer")
    path = tmp_path / "test" / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-20])

    def full(path, flags, mode=0o777):
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.open(path, flags, mode)

    clock = FakeClock()
    with faulty_disk(open=full), recording(tmp_path, name="two", resume=True, clock=clock) as recorder:
        assert not recorder.action("alice", "transfer").recorded
        log.os = os
        clock.advance(1)
        recorder.action("alice", "transfer")
        assert recorder.stats().repaired == 1
    assert list(repairs(tmp_path / "test")) == [("events.jsonl", path.stat().st_size)]


def test_the_warning_comes_at_most_once_a_minute(tmp_path, caplog):
    clock = FakeClock()

    def write(fd, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with recording(tmp_path, clock=clock) as recorder:
        recorder.action("alice", "transfer")
        with faulty_disk(write=write), caplog.at_level(logging.WARNING, "otel_events"):
            for _ in range(180):
                recorder.action("alice", "transfer")
                clock.advance(1)
    assert 3 <= len(caplog.records) <= 4
    assert "1 events of run test are lost so far: [Errno 28] No space left on device" in caplog.text


@contextmanager
def tmpfs(path, size):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize("queue", [None, Queue()])
def test_a_full_disk_loses_only_what_has_no_room(tmp_path, queue):
    with tmpfs(tmp_path, "256k") as disk:
        (disk / "somebody else's").write_bytes(bytes(100_000))
        with a_recorder(disk, queue=queue) as recorder:
            for number in range(3_000):
                recorder.action("alice", "transfer", "x" * (number % 700))
            stats = recorder.flush()
            assert stats.lost > 1_000
            whole_events(disk / "run")
            (disk / "somebody else's").unlink()
            for _ in range(3):
                recorder.action("alice", "transfer")
                recorder.flush()
            stats = recorder.flush()
        assert told(disk / "run") == stats.lost
        if queue is None:
            assert stats.recorded == len(whole_events(disk / "run")) - 1


def test_a_disk_that_is_full_from_the_start_is_used_once_it_has_room(tmp_path):
    """There is no room for even the run's opening line; the clock passes by a second between the attempts."""
    with tmpfs(tmp_path, "64k") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(disk).free))
        clock = FakeClock(step_ms=400)
        with recording(disk, clock=clock) as recorder:
            assert not recorder.action("alice", "transfer").recorded
            filler.unlink()
            for _ in range(10):
                recorder.action("alice", "transfer")
            stats = recorder.flush()
        assert 2 <= stats.lost <= 5
        assert told(disk / "test") == stats.lost


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    def work():
        with a_recorder(tmp_path) as recorder:
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
            handles = [recorder.action("alice", "transfer") for _ in range(100)]
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            recorder.action("alice", "transfer")
            assert recorder.stats().lost == sum(not handle.recorded for handle in handles) > 50

    assert in_child(work) == 0
    assert 50 < told(tmp_path / "run") < 100


def test_a_read_only_directory_breaks_nothing(tmp_path, caplog):
    """Recorded as somebody who may not write there."""
    if os.geteuid() != 0:
        pytest.skip("becoming somebody else needs root")
    tmp_path.chmod(0o555)
    for parent in list(tmp_path.parents)[:3]:
        if parent.stat().st_uid == 0 and "pytest" in str(parent):
            parent.chmod(0o755)

    def work():
        os.setuid(NOBODY)
        with a_recorder(tmp_path) as recorder:
            assert not recorder.action("alice", "transfer").recorded
            assert isinstance(recorder._emitter.log.failure, PermissionError)
        assert recorder.stats().lost == 3
        assert recorder.stats().recorded == 0

    assert in_child(work) == 0
    assert not (tmp_path / "run").exists()


def test_a_directory_that_is_a_file_breaks_nothing(tmp_path):
    (tmp_path / "run").write_text("not a directory")
    with a_recorder(tmp_path) as recorder:
        assert not recorder.action("alice", "transfer").recorded
    assert recorder.stats().lost == 3
    assert (tmp_path / "run").read_text() == "not a directory"


@pytest.mark.parametrize("queue", [None, Queue()])
def test_a_directory_deleted_under_the_recorder_is_begun_anew(tmp_path, queue):
    clock = FakeClock()
    with recording(tmp_path, clock=clock, queue=queue) as recorder:
        recorder.flush()
        for _ in range(10):
            recorder.action("alice", "transfer")
        if queue:
            until(lambda: (tmp_path / "test/events.jsonl").read_bytes().count(b"\n") == 11)
        shutil.rmtree(tmp_path / "test")
        for _ in range(5):
            recorder.action("alice", "transfer")
        clock.advance(1)
        for _ in range(3):
            recorder.action("alice", "transfer")
        stats = recorder.flush()
    assert stats.lost == 15  # the run's opening line was looked after by the first flush
    assert told(tmp_path / "test") == 15
    assert len(named(tmp_path / "test", "action.transfer")) == 3


@pytest.mark.parametrize("replaced", [False, True])
def test_a_part_deleted_or_replaced_is_noticed_by_flush(tmp_path, replaced):
    with a_recorder(tmp_path) as recorder:
        recorder.flush()
        recorder.action("alice", "transfer")
        path = tmp_path / "run" / "events.jsonl"
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        assert recorder.flush().lost == 1
        recorder.action("alice", "goes on")
    assert told(tmp_path / "run") == 1
    assert len(named(tmp_path / "run", "action.goes_on")) == 1


def test_a_directory_replaced_by_a_file_breaks_nothing(tmp_path):
    with a_recorder(tmp_path) as recorder:
        recorder.flush()
        recorder.action("alice", "transfer")
        shutil.rmtree(tmp_path / "run")
        (tmp_path / "run").write_text("")
        assert recorder.flush().lost == 1
        assert not recorder.action("alice", "transfer").recorded
    assert recorder.stats().lost == 3


def test_a_part_that_cannot_be_looked_at_is_written_on(tmp_path):
    """No permission to search the directory any more, or a network file system that is away: the descriptor is good."""

    def same(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    class Path:
        samestat = staticmethod(same)

    with a_recorder(tmp_path) as recorder, faulty_disk(path=Path):
        assert recorder.action("alice", "transfer").recorded
        assert recorder.flush().lost == 0


def test_a_close_that_fails_breaks_nothing(tmp_path, caplog):
    """As network file systems report a full disk. The lines themselves were accepted by `write`."""
    recorder = Recorder(tmp_path, simulation_id="run", otlp=False)
    recorder.action("alice", "transfer")

    def close(fd):
        os.close(fd)
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with faulty_disk(close=close):
        recorder.close()


def test_an_fsync_that_fails_is_warned_about(tmp_path, caplog):
    def fdatasync(fd):
        raise OSError(errno.EIO, "Input/output error")

    with faulty_disk(fdatasync=fdatasync), a_recorder(tmp_path, fsync=60) as recorder:
        recorder.action("alice", "transfer")
        assert recorder.flush().lost == 0
    assert "run run could not be brought to the disk: [Errno 5] Input/output error" in caplog.text


def test_a_blob_that_cannot_be_kept_is_warned_about_and_leaves_nothing_behind(tmp_path, caplog):
    with tmpfs(tmp_path, "256k") as disk, a_recorder(disk) as recorder:
        assert recorder.action("alice", "speaks", bytes(1_000_000)).recorded
        recorder.flush()
        assert list((disk / "run" / "blobs").iterdir()) == []
    assert "a value of 1000000 bytes of run run is lost: [Errno 28] No space left on device" in caplog.text


@pytest.mark.parametrize("queue", [None, Queue()])
def test_a_clock_that_steps_back_changes_no_order_and_no_duration(tmp_path, queue):
    clock = FakeClock()
    with recording(tmp_path, clock=clock, queue=queue) as recorder:
        with recorder.turn(1) as turn:
            before = recorder.action("alice", "transfer")
            clock.step_back(3_600)
            after = recorder.action("alice", "transfer")
        assert before.event_id < after.event_id
    for event in whole_events(tmp_path / "test"):
        if event.closes:
            assert event.timestamp > event.started_at
    assert turn.recorded


def test_a_clock_that_steps_back_does_not_put_off_the_next_attempt(tmp_path, caplog):
    """Nor the next warning."""
    clock = FakeClock()
    directory = tmp_path / "test"
    directory.write_text("in the way")
    caplog.set_level(logging.WARNING, "otel_events")
    with recording(tmp_path, clock=clock) as recorder:
        assert not recorder.action("alice", "transfer").recorded
        warned = len(caplog.records)
        clock.step_back(86_400)
        assert not recorder.action("alice", "transfer").recorded
        directory.unlink()
        clock.advance(2)
        assert recorder.action("alice", "transfer").recorded
    assert len(caplog.records) > warned


def test_rotation_by_size_and_by_day_makes_parts_that_name_their_second(tmp_path):
    clock = FakeClock(start="2026-11-21T23:59:59Z")
    with recording(tmp_path, clock=clock, rotate="day") as recorder:
        recorder.action("alice", "transfer")
        clock.advance(10)
        recorder.action("alice", "transfer")
    assert [part.name for part in parts_of(tmp_path / "test")] == ["events.jsonl", "events_2026-11-22_00-00-09.jsonl"]
