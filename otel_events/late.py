"""Events that were made before others and are written after them, where each keeps the id that it was made with.

A part is sorted by `event_id`, so a late line goes to another part of the same run: the first one, of those begun for
late lines, whose last id is smaller. There are as many of them as events overtake one another at a time, at most 16;
where even these do not do, one of them is let go and the next part begun. The order of a run is the order of ids,
whichever part holds them.
"""

from __future__ import annotations

from otel_events import ids
from otel_events.log import Log, Taken

MAX_LATE_PARTS = 16
_ID = slice(len('{"event_id":"'), len('{"event_id":"') + 26)


class SortingLog(Log):
    """A log that takes lines in any order of their ids. Late lines cost a part; the others, one comparison."""

    _last = b""
    _late: tuple[SortingLog, ...] = ()  # by their last ids, the greatest first

    def take(self, ns: int) -> Taken | None:
        taken = super().take(ns)
        if taken is not None and taken.last_id:
            self._last = ids.text(taken.last_id).encode()
        return taken

    def append(self, line: bytes, ns: int) -> bool:
        event_id = line[_ID]
        if event_id <= self._last:
            return self._append_late(event_id, line, ns)
        written = super().append(line, ns)
        if written:
            self._last = event_id
        return written

    def _append_late(self, event_id: bytes, line: bytes, ns: int) -> bool:
        log = next((log for log in self._late if log._last < event_id), None)
        if log is None and len(self._late) < MAX_LATE_PARTS:
            log = SortingLog(self.directory, self._resource, self._rotate)
            self._late = (*self._late, log)
        elif log is None:
            log = self._late[-1]
            log.release()
        written = log.append(line, ns)
        self._count(log)
        return written

    def check(self, ns: int) -> None:
        super().check(ns)
        for log in self._late:
            log.check(ns)
            self._count(log)

    def sync(self) -> None:
        super().sync()
        for log in self._late:
            log.sync()

    def forget(self) -> None:
        super().forget()
        for log in self._late:
            log.forget()
        self._last, self._late = b"", ()

    def _count(self, log: SortingLog) -> None:
        """What a part for late lines lost is lost here."""
        if log.lost:
            self.lost, self.failure, log.lost = self.lost + log.lost, log.failure, 0
