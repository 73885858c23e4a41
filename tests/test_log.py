"""The writing end of a log: one part at a time, locked, one write a line."""

from __future__ import annotations

import fcntl
import gzip
import os
import time

import pytest

from otel_events import ids, lock, log
from otel_events.log import Log, Syncer
from otel_events.parts import parts_of, read_lines
from otel_events.testing import FakeClock, recording

SECOND = 10**9
NOW = 1_795_256_100 * SECOND
RESOURCE = {"service.name": "economy"}


def line(number: int, text: str = "") -> bytes:
    return f'{{"event_id":"{ids.text(NOW // 1_000_000 << 80 | number)}","x":"{text}","v":1}}\n'.encode()


def lines_of(directory):
    return [found.text + b"\n" for part in parts_of(directory) for found in read_lines(part)]


def test_an_event_is_one_write(tmp_path, monkeypatch):
    """Whatever its size: a second one could be torn off by a kill, or land behind another process's line."""
    sizes = []

    class Os:
        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, fd, data):
            sizes.append(len(data))
            return os.write(fd, data)

    with recording(tmp_path) as recorder:
        monkeypatch.setattr(log, "os", Os())
        for size in (1, 4_096, 100_000, 3_000_000):
            recorder.action("alice", "transfer", "x" * size)
        monkeypatch.undo()
    written = [len(found) for found in lines_of(tmp_path / "test")[1:-1]]
    assert sizes == written


def test_the_first_line_of_each_part_carries_the_resource(tmp_path):
    here = Log(tmp_path, RESOURCE, rotate=100)
    here.take(NOW)
    for number in range(6):
        here.append(line(number, "x" * 30), NOW)
    assert len(parts_of(tmp_path)) > 2
    for part in parts_of(tmp_path):
        first, *rest = read_lines(part)
        assert b'"resource":{"service.name":"economy"},"v":1}' in first.text
        assert not any(b"resource" in other.text for other in rest)
    here.release()


def test_a_part_is_locked_as_long_as_it_is_written(tmp_path):
    here = Log(tmp_path, RESOURCE, None)
    assert not here.has_part
    assert here.take(NOW).existed is False
    here.append(line(1), NOW)
    with (tmp_path / "events.jsonl").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        here.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        pytest.param({}, True, id="free, with room, same resource"),
        pytest.param({"resource": {"service.name": "other"}}, False, id="another resource"),
        pytest.param({"rotate": 10}, False, id="no room"),
        pytest.param({"rotate": "day", "later": 86_400 * SECOND}, False, id="another day"),
        pytest.param({"rotate": "day", "later": SECOND}, True, id="the same day"),
    ],
)
def test_the_first_part_that_fits_is_taken_over(tmp_path, change, same):
    """And the ids go on after its last one."""
    first = Log(tmp_path, RESOURCE, None)
    first.take(NOW)
    first.append(line(1), NOW)
    first.append(line(2), NOW)
    first.release()
    second = Log(tmp_path, change.get("resource", RESOURCE), change.get("rotate"))
    later = NOW + change.get("later", 0)
    taken = second.take(later)
    assert (taken.existed, taken.held) == (True, False)
    assert taken.last_id == (NOW // 1_000_000 << 80 | 2 if same else 0)
    second.append(line(3), later)
    assert len(parts_of(tmp_path)) == (1 if same else 2)
    second.release()


def test_a_part_that_another_log_holds_is_left_alone(tmp_path):
    first, second = Log(tmp_path, RESOURCE, None), Log(tmp_path, RESOURCE, None)
    first.take(NOW)
    first.append(line(1), NOW)
    assert second.take(NOW).held is True
    second.append(line(2), NOW)
    first.append(line(3), NOW)
    assert [len(list(read_lines(part))) for part in parts_of(tmp_path)] == [2, 1]
    first.release()
    second.release()


def test_compressed_parts_and_foreign_files_are_never_written(tmp_path):
    (tmp_path / "events.jsonl.gz").write_bytes(gzip.compress(line(1)))
    (tmp_path / "events_2026-01-01_00-00-00.jsonl").write_bytes(b'{"some":"other program"}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    here = Log(tmp_path, RESOURCE, None)
    assert here.take(NOW).existed
    here.append(line(2), NOW)
    here.release()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert len(parts_of(tmp_path)) == 3


def test_without_flock_a_log_always_begins_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    for number in range(3):
        here = Log(tmp_path, RESOURCE, None)
        here.take(NOW)
        here.append(line(number), NOW)
        here.release()
    assert [len(list(read_lines(part))) for part in parts_of(tmp_path)] == [1, 1, 1]


def test_fsync_comes_by_group_and_in_flush(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    with recording(tmp_path, fsync=0.02, clock=time) as recorder:
        recorder.action("alice", "transfer")
        end = time.monotonic() + 5
        while not synced and time.monotonic() < end:
            time.sleep(0.005)
        assert synced
        recorder.action("alice", "transfer")
        count = len(synced)
        recorder.flush()
        assert len(synced) > count


def test_a_syncer_stops(tmp_path):
    syncer = Syncer(lambda: None, 0.001)
    syncer.stop()
    assert not syncer._thread.is_alive()


def test_an_empty_part_that_a_killed_process_left_is_used(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "events.jsonl").touch()
    with recording(tmp_path, resume=True, clock=FakeClock()) as recorder:
        recorder.action("alice", "transfer")
    assert len(lines_of(tmp_path / "test")) == 3
    assert len(parts_of(tmp_path / "test")) == 1


def test_a_part_that_others_took_and_filled_before_we_locked_it_is_theirs(tmp_path, monkeypatch):
    """Between creating a part and locking it, another process may take it, write into it and let it go."""
    here, other = Log(tmp_path, RESOURCE, None), Log(tmp_path, RESOURCE, None)
    locked = lock.try_lock

    def late(fd):
        monkeypatch.setattr(lock, "try_lock", locked)
        other.take(NOW)
        other.append(line(9), NOW)
        other.release()
        return locked(fd)

    monkeypatch.setattr(lock, "try_lock", late)
    assert here.take(NOW).held is True
    here.append(line(3), NOW)
    assert [len(list(read_lines(part))) for part in parts_of(tmp_path)] == [1, 1]
    here.release()
