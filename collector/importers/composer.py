"""Builds the events of an imported run on the source's clock: ids, traces, scopes and links by the rules of a recorder.

Pure and deterministic: the same calls give the same events, and a prefix of the calls gives a prefix of the events.
Events come out in the order of the source, whose position breaks ties of time and overrules a clock that stepped back:
ids increase all the same, and the timestamp says what the source said. No span is negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from otel_events import ids
from otel_events.event import SCHEMA_VERSION, Event
from otel_events.scope_lines import shortened
from otel_events.timestamp import to_ns, to_text_ns


@dataclass
class Scope:
    """A scope: the event that opened it, and whether its closing line is written."""

    opener: Event
    closed: bool = False

    @property
    def id(self) -> str:
        return self.opener.event_id

    @property
    def format(self) -> dict[str, Any]:
        """The `src` of what is derived from it."""
        return {"format": (self.opener.src or {}).get("format")}


class Composer:
    """Composes the events of one run; `seed` decides its ids. `src.id` is kept as an event's id where it can be."""

    def __init__(self, simulation_id: str, seed: bytes) -> None:
        blocks = iter(range(1 << 62))
        self.simulation_id = simulation_id
        self._ids = ids.IdGenerator(lambda size: hashlib.shake_256(seed + b"%d" % next(blocks)).digest(size))
        self._last = 0
        self._contexts: dict[str, str] = {}

    def open(
        self, name: str, kind: str, ns: int, within: Scope | None, *, linked: Iterable[Scope] = (), **rest: Any
    ) -> Scope:
        """The opening line of a scope. One that is linked to others, or in none, opens a trace of its own."""
        linked = list(linked)
        own_trace = within is None or bool(linked)
        event_id = self._id(ns, rest.get("src"), trace=own_trace)
        trace_id, parent = (ids.trace_id(event_id), None) if own_trace else _place(within)
        event = self._event(event_id, name, kind, ns, within, trace_id, ids.span_id(event_id), parent, **rest)
        links = {scope.id: self._contexts[scope.id] for scope in linked}
        return Scope(replace(event, phase="open", links={**links, **(event.links or {})} or None))

    def close(self, scope: Scope, ns: int, details: dict[str, Any], src: dict[str, Any], **rest: Any) -> Event:
        """The closing line of a scope, which repeats what the opening line said; later values win."""
        opener = scope.opener
        scope.closed = True
        return replace(
            opener,
            event_id=self._id(ns, src),
            timestamp=to_text_ns(max(ns, to_ns(opener.timestamp))),
            phase="close",
            started_at=opener.timestamp,
            details={**shortened(opener.details or {}, opener.event_id), **details},
            src=src,
            **rest,
        )

    def point(self, name: str, kind: str, ns: int, within: Scope, **rest: Any) -> Event:
        """A point event: a log record in the scope's span for DETAIL and SYSTEM, else a span of its own in it."""
        event_id = self._id(ns, rest.get("src"))
        trace_id, parent = _place(within)
        if kind in ("DETAIL", "SYSTEM"):
            return self._event(event_id, name, kind, ns, within, trace_id, parent, None, **rest)
        return self._event(event_id, name, kind, ns, within, trace_id, ids.span_id(event_id), parent, **rest)

    def _event(
        self,
        event_id: str,
        name: str,
        kind: str,
        ns: int,
        within: Scope | None,
        trace_id: str,
        span_id: str,
        parent: str | None,
        *,
        caused_by: Iterable[str] = (),
        **rest: Any,
    ) -> Event:
        causes = list(dict.fromkeys(caused_by))
        contexts = {cause: self._contexts[cause] for cause in causes}
        links = {cause: at for cause, at in contexts.items() if at != f"{trace_id}-{ids.span_id(cause)}"}
        self._contexts[event_id] = f"{trace_id}-{span_id}"
        return Event(
            **{"turn_number": within.opener.turn_number if within else 0, **rest},
            event_id=event_id,
            timestamp=to_text_ns(ns),
            event_type=kind,
            simulation_id=self.simulation_id,
            caused_by=causes or None,
            name=name,
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=parent,
            links=links or None,  # type: ignore[arg-type]  # a dict of texts is one of texts or nulls
            v=SCHEMA_VERSION,
        )

    def _id(self, ns: int, src: dict[str, Any] | None, *, trace: bool = False) -> str:
        """The source's own id where it is a ULID that keeps the order of the part, else the next of our own."""
        own = (src or {}).get("id", "")
        if ids.is_event_id(own) and ids.value(own) > self._last:
            self._last = ids.value(own)
            self._ids.after(self._last)
        else:
            unix_ms = min(max(ns // 1_000_000, 0), (1 << 48) - 1)
            self._last = self._ids.next_trace(unix_ms) if trace else self._ids.next(unix_ms)
        return ids.text(self._last)


def _place(scope: Scope | None) -> tuple[str, str]:
    assert scope is not None
    assert scope.opener.trace_id is not None
    assert scope.opener.span_id is not None
    return scope.opener.trace_id, scope.opener.span_id
