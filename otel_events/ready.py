"""Ready-made events: made first, handed to a recorder later, and named as causes in between.

- An event keeps the time that it was made at, and its id. The id is drawn when somebody reads it, at the latest when
  the event is recorded, from one source for the whole process; so in a program that records in the order in which it
  reads ids, which is nearly every one, parts are written straight through. An event whose id was read and that others
  overtake goes to a part for late lines: every part stays sorted, every id unique, every cause resolvable.
- An event that was recorded before is a new event the second time, and so is one that was not made here.
- What the verbosity or a full queue leaves out stands, as a cause, for the causes that it had itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from otel_events import ids, timestamp
from otel_events.emitter import Made
from otel_events.errors import InvalidParameter
from otel_events.event import Event
from otel_events.handle import Handle, Suppressed
from otel_events.late import SortingLog
from otel_events.recorder import Recorder


class ReadyEvent(Event):
    """An event that is made before it is recorded. Its id is drawn when it is read, or when it is recorded."""

    __slots__ = ("_handle", "drawn_id", "recorded")

    drawn_id: str
    """Its id as far as it is known without drawing one."""
    recorded: bool
    """Whether it was handed to a recorder."""
    _handle: Handle | None

    @property
    def event_id(self) -> str:
        if not self.drawn_id:
            written = "" if self._handle is None else self._handle.event_id
            object.__setattr__(self, "drawn_id", written or ids.text(IDS.next_trace(time.time_ns() // 1_000_000)))
        return self.drawn_id

    @event_id.setter
    def event_id(self, event_id: str) -> None:  # by Event's own __init__, and in unpickling
        for name, value in (("drawn_id", event_id), ("recorded", False), ("_handle", None)):
            object.__setattr__(self, name, value)

    def settle(self, event_id: str, handle: Handle) -> None:
        """Say which id it got, if any yet, and the handle that will have it."""
        object.__setattr__(self, "drawn_id", self.drawn_id or event_id)
        object.__setattr__(self, "_handle", handle)

    def claim(self) -> bool:
        """Whether it is recorded for the first time."""
        first = not self.recorded
        object.__setattr__(self, "recorded", True)
        return first


class ReadyRecorder(Recorder):
    """A recorder that also takes ready-made events."""

    log_type = SortingLog

    def __init__(self, dir: str | os.PathLike[str], **settings: Any) -> None:
        super().__init__(dir, ids=IDS, **settings)

    @property
    def closed(self) -> bool:
        return self._closed

    def begin(self) -> None:
        """Open the run now and not with its first event."""
        self._frame()

    def record(self, event: Event, write: Callable[[], Handle]) -> Handle:
        """Call `write`, which records one line, so that the line gets the event's id and time."""
        self._frame()  # the run's own line gets neither
        first = isinstance(event, ReadyEvent) and event.claim()
        known = event.drawn_id if isinstance(event, ReadyEvent) else event.event_id
        made = Made(_ns(event), ids.value(known) if first and known else 0)
        handle = self._emitter.record_made(made, write)
        if isinstance(event, ReadyEvent) and first:
            event.settle(ids.text(made.value) if made.value else "", handle)
        if first or not isinstance(event, ReadyEvent):
            self._name(known, handle, event)
        return handle

    def _name(self, known: str, handle: Handle, event: Event) -> None:
        """Let the id that the program knows stand for what became of the event."""
        causes = self._emitter.causes
        if isinstance(handle, Suppressed):
            if known:
                causes.remember(known, handle)
            return
        if handle.event_id and not handle.recorded:
            handle_of_causes, omitted = causes.resolve(event.caused_by or (), event.name or "event")
            stand_in = self._emitter.suppressed(handle_of_causes, omitted)
            causes.remember(known or handle.event_id, stand_in)
        elif known and known != handle.event_id:
            causes.remember(known, handle)


class _SharedIds:
    """One source for all recorders of ready-made events, and for the events themselves."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.RLock()
        self._source = ids.IdGenerator()

    def after(self, value: int) -> None:
        with self._lock:
            self._source.after(value)

    def next(self, unix_ms: int) -> int:
        with self._lock:
            return self._source.next(unix_ms)

    def next_trace(self, unix_ms: int) -> int:
        with self._lock:
            return self._source.next_trace(unix_ms)


def _ns(event: Event) -> int:
    try:
        return timestamp.to_ns(event.timestamp)
    except ValueError:
        raise InvalidParameter(f"timestamp of {event.name}", "an ISO 8601 time", event.timestamp) from None


IDS = _SharedIds()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IDS.forget)
