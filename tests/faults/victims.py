"""What the fault tests share: children that record until they are killed, and what must hold of a run afterwards."""

from __future__ import annotations

import base64
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from otel_events import Event, Recorder
from otel_events.codec import decode
from otel_events.parts import BLOBS, parts_of, read_lines

ID_BYTES = 26
MAX_CPU_S = 30
START_S = 10.0
"""A child that reports nothing for so long has failed."""


class Victim:
    """A forked process group that reports the id of every event whose emit returned as recorded, through a pipe."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            _limit()
            try:
                work(lambda event_id: os.write(writer, event_id.encode()))
            finally:
                os._exit(0)
        os.close(writer)
        self._reported = b""

    def wait_for_first(self) -> None:
        """Return once the first id is there."""
        self._reported += os.read(self._reader, ID_BYTES)

    def kill(self, how: int = signal.SIGKILL) -> list[str]:
        """End the whole group; every id that was reported."""
        os.killpg(self.pid, how)
        return self.wait()

    def wait(self) -> list[str]:
        """Wait for its end; every id that was reported. The pipe ends when the last process of the group has."""
        while data := os.read(self._reader, 1 << 16):
            self._reported += data
        os.close(self._reader)
        _, self.status = os.waitpid(self.pid, 0)
        text = self._reported.decode()
        return [text[start : start + ID_BYTES] for start in range(0, len(text), ID_BYTES)]


def _limit() -> None:
    """A child that does not end is ended: nobody else would."""
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; its exit status, 1 where it raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _limit()
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - told by the exit status
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def a_recorder(directory: Path, **settings: object) -> Iterator[Recorder]:
    """A recorder of the run `run`, whether it exists or not; nothing is shipped."""
    with Recorder(directory, simulation_id="run", resume=True, otlp=False, **settings) as recorder:
        yield recorder


def whole_events(run: Path) -> list[Event]:
    """All events of a run. Fails unless every part has whole lines only, each a good event, sorted by id."""
    events: list[Event] = []
    for part in parts_of(run):
        text = part.path.read_bytes()
        assert text.endswith(b"\n") or not text, f"{part.path} ends with a torn line: {text[-80:]!r}"
        assert b"\0" not in text
        here = [decode(line.text) for line in read_lines(part)]  # raises CorruptLine for a glued one
        ids = [event.event_id for event in here]
        assert ids == sorted(set(ids)), f"{part.path} is not strictly sorted"
        events += here
    return events


def torn_tails(run: Path) -> dict[tuple[str, int], bytes]:
    """What stands behind the last newline, by (part, offset)."""
    tails = {}
    for part in parts_of(run):
        text = part.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            tails[part.name, whole] = text[whole:]
    return tails


def repairs(run: Path) -> dict[tuple[str, int], bytes]:
    """What the `log.repaired` events of a run have kept, by (part, offset)."""
    found = {}
    for event in whole_events(run):
        if event.name == "log.repaired":
            torn = event.details["torn"]
            data = base64.b64decode(torn["base64"]) if "base64" in torn else (run / BLOBS / torn["blob"]).read_bytes()
            assert len(data) == torn["size"]
            found[event.details["part"], event.details["offset"]] = data
    return found


def named(run: Path, name: str) -> list[Event]:
    return [event for event in whole_events(run) if event.name == name]


def until(condition: Callable[[], bool], seconds: float = START_S) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)
