"""From what a program gives as `caused_by` to the events behind it.

A handle knows its place. An id is looked up among the last 65,536 events, then by bisection in the run's plain parts;
one that is nowhere stays a cause without a place, written as `null` into `links` and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from otel_events import ids
from otel_events.codec import decode
from otel_events.errors import CorruptLine, InvalidParameter
from otel_events.event import Event
from otel_events.handle import Handle, from_text
from otel_events.parts import find_line, parts_of

Cause = Handle | Event | str | Iterable["Handle | Event | str"] | None
"""What `caused_by` takes: an event, an open scope, an id, a `ref`, or any number of them."""

REMEMBERED = 65_536


class Causes:
    """Resolves causes for one recorder; `sync` brings queued lines into the file before it is searched."""

    def __init__(self, directory: Path, sync: Callable[[], None]) -> None:
        self._directory, self._sync = directory, sync
        self.recent: dict[str, Handle] = {}
        self._older: dict[str, Handle] = {}

    def remember(self, event_id: str, handle: Handle) -> None:
        """Keep the handle for those who will name the event by its id."""
        self.recent[event_id] = handle
        if len(self.recent) >= REMEMBERED:
            self.age()

    def age(self) -> None:
        """Forget the older half, which keeps at least the last 65,536."""
        self._older, self.recent = self.recent, {}

    def resolve(self, caused_by: Cause, where: str) -> tuple[tuple[Handle, ...], int]:
        """The recorded events behind `caused_by`, each once, and how many were left out on the way.

        Raises InvalidParameter for anything that names no event.
        """
        if type(caused_by) is Handle:
            return (caused_by,), 0
        found: dict[str, Handle] = {}
        omitted = 0
        for handle in self._handles(caused_by, where):
            omitted += handle.omitted
            for cause in handle.as_causes:
                found.setdefault(cause.event_id or str(id(cause)), cause)
        return tuple(found.values()), omitted

    def _handles(self, caused_by: object, where: str) -> Iterable[Handle]:
        if isinstance(caused_by, Handle):
            return [caused_by]
        if isinstance(caused_by, str):
            return [handle if handle.trace_id else self._look_up(handle) for handle in from_text(caused_by)]
        if isinstance(caused_by, Event):
            place = caused_by.trace_id or "", caused_by.span_id or ""
            return [Handle.of(caused_by.event_id, *place, caused_by.caused_by or ())]
        if isinstance(caused_by, list | tuple | set | frozenset):
            return [handle for item in caused_by for handle in self._handles(item, where)]
        expected = "an event, an open scope, an id, a ref or a list of them"
        raise InvalidParameter(f"caused_by of {where}", expected, caused_by)

    def _look_up(self, handle: Handle) -> Handle:
        event_id = handle.event_id
        found = self.recent.get(event_id) or self._older.get(event_id)
        if found is not None or not ids.is_event_id(event_id):
            return found or handle
        try:
            self._sync()
            plain = (part for part in parts_of(self._directory) if not part.compressed)
            line = next((line for part in plain if (line := find_line(part, event_id))), None)
            event = None if line is None else decode(line.text)
        except (OSError, CorruptLine):  # then it is as unknown as an id that is nowhere, and counted as such
            return handle
        return handle if event is None else next(iter(self._handles(event, "")))
