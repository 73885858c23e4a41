"""Handles: what recording an event returns, and what `caused_by` takes.

A handle knows its event's place in the traces, so that a later event can link to it without looking anything up.
It pickles, and `ref` is its text form: `<event_id>-<trace_id>-<span_id>`, several joined by `,`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from otel_events import ids

MAX_STANDS_FOR = 32
_REF = re.compile(r"([^\s,]+)-([0-9a-f]{32})-([0-9a-f]{16})")


class Handle:
    """One recorded event, as a cause of others.

    `recorded` is False when the line was lost or dropped (and counted). An event that was emitted from a signal
    handler or finaliser in the middle of another emit has an empty `event_id` until that emit has returned.
    """

    __slots__ = ("__weakref__", "causes", "event_id", "is_span", "recorded", "span_id", "trace_id")

    event_id: str
    trace_id: str
    span_id: str
    is_span: bool
    recorded: bool
    causes: tuple[str, ...]

    def __init__(self) -> None:
        self.event_id = self.trace_id = self.span_id = ""
        self.is_span, self.recorded, self.causes = True, False, ()

    @classmethod
    def of(cls, event_id: str, trace_id: str, span_id: str, causes: Iterable[str] = ()) -> Handle:
        """The handle of an event that somebody else recorded; empty trace and span ids if they are unknown."""
        handle = cls()
        handle.event_id, handle.trace_id, handle.span_id = event_id, trace_id, span_id
        handle.is_span = ids.is_event_id(event_id) and ids.span_id(event_id) == span_id
        handle.recorded, handle.causes = bool(trace_id), tuple(causes)
        return handle

    @property
    def ref(self) -> str:
        """A text that names this event to another process: pass it as `caused_by` there."""
        return f"{self.event_id}-{self.trace_id}-{self.span_id}" if self.trace_id else self.event_id

    @property
    def as_causes(self) -> tuple[Handle, ...]:
        """The recorded events that this one stands for: itself."""
        return (self,)

    @property
    def omitted(self) -> int:
        """How many causes were left out of `as_causes` for want of room."""
        return 0

    def __repr__(self) -> str:
        return f"<event {self.event_id or '(not yet written)'}>"

    def __reduce__(self) -> tuple[object, ...]:
        return Handle.of, (self.event_id, self.trace_id, self.span_id, self.causes)


class Suppressed(Handle):
    """An event that the verbosity left out. As a cause it stands for the recorded causes that it had itself.

    Nothing is drawn or written for it; an id is made when somebody reads `event_id`.
    """

    __slots__ = ("_causes", "_id", "_name_it", "_omitted")

    def __init__(self, causes: tuple[Handle, ...], omitted: int, name_it: Callable[[Suppressed], str] | None) -> None:
        self._causes, self._omitted = causes, omitted
        self._name_it, self._id = name_it, ""
        self.trace_id = self.span_id = ""
        self.is_span = self.recorded = False
        self.causes = ()

    @property
    def event_id(self) -> str:  # type: ignore[override]  # drawn when it is read
        if not self._id and self._name_it is not None:
            self._id = self._name_it(self)
        return self._id

    @property
    def ref(self) -> str:
        return ",".join(cause.ref for cause in self._causes)

    @property
    def as_causes(self) -> tuple[Handle, ...]:
        return self._causes

    @property
    def omitted(self) -> int:
        return self._omitted

    def __repr__(self) -> str:
        return f"<event left out by the verbosity, standing for {len(self._causes)} causes>"

    def __reduce__(self) -> tuple[object, ...]:
        return Suppressed, (self._causes, self._omitted, None)


def from_text(text: str) -> list[Handle]:
    """The handles of a `ref`; a bare id gives a handle without a place. Empty text is no cause."""
    handles = []
    for item in text.split(","):
        match = _REF.fullmatch(item)
        if item:
            handles.append(Handle.of(*match.groups()) if match else Handle.of(item, "", ""))
    return handles


def reduced(causes: Iterable[Handle]) -> tuple[tuple[Handle, ...], int]:
    """The causes that a suppressed event stands for, and how many were left out.

    Without doubles, without those that another of them already names, at most 32, newest first.
    """
    distinct = {cause.event_id: cause for cause in causes}
    named = {name for cause in distinct.values() for name in cause.causes}
    kept = [cause for cause in distinct.values() if cause.event_id not in named]
    if not kept:  # they name each other in a circle
        kept = list(distinct.values())
    kept.sort(key=lambda cause: cause.event_id, reverse=True)
    return tuple(kept[:MAX_STANDS_FOR]), max(0, len(kept) - MAX_STANDS_FOR)
