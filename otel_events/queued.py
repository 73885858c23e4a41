"""The queued log: for slow disks, where `emit` must not wait for `write()`.

Bounded. A full queue either makes `emit` wait (`block`) or refuses the event (`drop`), which is counted and told.
What is still queued when the process is killed is lost: that is the price, and why it is not the default.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Literal

from otel_events.errors import InvalidParameter
from otel_events.log import Log, Taken

MAX_WAIT_S = 0.001
"""How long an event may wait for room before it is dropped."""


@dataclass(frozen=True, slots=True)
class Queue:
    """How many lines may wait to be written, and what happens to the next one."""

    size: int = 10_000
    policy: Literal["block", "drop"] = "block"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidParameter("queue.size", "an int ≥ 1", self.size)
        if self.policy not in ("block", "drop"):
            raise InvalidParameter("queue.policy", "'block' or 'drop'", self.policy)


class QueuedLog:
    """A `Log` behind a bounded queue, written by a thread of its own in the order of `append`."""

    def __init__(self, log: Log, queue: Queue) -> None:
        self._log, self._queue = log, queue
        self.works = True
        """Whether the last line was written."""
        self.refused_later = 0
        """Lines that were queued and could not be written."""
        self._reset()

    def _reset(self) -> None:
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._stuck = False
        self._taken = False
        self._thread: threading.Thread | None = None

    def forget(self) -> None:
        """In a forked child: what waits belongs to the parent."""
        self._log.forget()
        self._reset()
        self.works, self.refused_later = True, 0

    @property
    def has_part(self) -> bool:
        return self._taken or self._log.has_part

    def take(self, ns: int) -> Taken | None:
        self._drain()  # the log is used by one thread at a time
        taken = self._log.take(ns)
        self._taken = taken is not None
        return taken

    def append(self, line: bytes, ns: int) -> bool:
        """Queue one line. False when the policy is `drop` and the queue is full."""
        with self._changed:
            if self._thread is None:
                self._begin()
            if len(self._waiting) >= self._queue.size and not self._has_room():
                self._log.dropped += 1
                return False
            self._waiting.append((line, ns))
            self._changed.notify_all()
        return True

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="otel-events-log", daemon=True)
        self._thread.start()
        from multiprocessing.util import Finalize  # a tenth of the time that importing this package takes

        Finalize(self, _finish, (weakref.ref(self),), exitpriority=0)  # its workers end without what `atexit` knows

    def _has_room(self) -> bool:
        """Wait for room: as long as it takes, or, to drop, a millisecond, and not again before a line was written.

        Without that millisecond a burst loses lines although the disk is fast, because the writing thread has to share
        the GIL with the burst: 2,922 of 5,000 through a queue of 100.
        """
        timeout = None if self._queue.policy == "block" else 0.0 if self._stuck else MAX_WAIT_S
        room = self._changed.wait_for(lambda: len(self._waiting) < self._queue.size, timeout)
        self._stuck = not room
        return room

    def append_now(self, line: bytes, ns: int) -> bool:
        """Write one line right after those that wait. False when it is lost."""
        self._drain()
        return self._log.append(line, ns)

    def check(self, ns: int) -> None:
        """Wait until everything queued so far is written, then look after the part."""
        self._drain()
        self._log.check(ns)

    def sync(self) -> None:
        self._drain()
        self._log.sync()

    def release(self) -> None:
        """Write what waits, end the thread, let the part go."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._log.release()
        self._reset()

    def _drain(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if not self._waiting:
                    return
                line, ns = self._waiting[0]
            self.works = self._log.append(line, ns)
            self.refused_later += not self.works
            with self._changed:
                self._waiting.popleft()  # only now: a line being written still takes its place
                self._stuck = False
                self._changed.notify_all()


def _finish(queued: weakref.ref[QueuedLog]) -> None:
    """Write what waits when a worker of `multiprocessing` ends."""
    log = queued()
    if log is not None:
        log._drain()
