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


def randomness(seed: bytes) -> Any:
    """A source of bytes like os.urandom whose stream is decided by `seed`."""
    blocks = iter(range(1 << 62))
    return lambda size: hashlib.shake_256(seed + next(blocks).to_bytes(8, "big")).digest(size)


@dataclass
class Scope:
    """An open scope: the event that opened it, and whether its closing line is written."""

    opener: Event
    closed: bool = False

    @property
    def id(self) -> str:
        return self.opener.event_id

    @property
    def span_context(self) -> str:
        return f"{self.opener.trace_id}-{self.opener.span_id}"


class Composer:
    """Composes the events of one run; `seed` decides its ids."""

    def __init__(self, simulation_id: str, seed: bytes) -> None:
        self.simulation_id = simulation_id
        self._ids = ids.IdGenerator(randomness(seed))
        self._last = 0
        self._contexts: dict[str, str] = {}

    def open(
        self,
        name: str,
        event_type: str,
        ns: int,
        *,
        within: Scope | None,
        trace: bool = False,
        linked: Iterable[Scope] = (),
        caused_by: Iterable[str] = (),
        **fields: Any,
    ) -> Scope:
        """The opening line of a scope; with `trace` it opens a trace of its own, linked to the `linked` scopes."""
        event_id = self._id(ns, fields.pop("source_id", None), trace=trace or within is None)
        starts_trace = trace or within is None
        trace_id = ids.trace_id(event_id) if starts_trace else within.opener.trace_id  # type: ignore[union-attr]
        causes = [cause for cause in dict.fromkeys(caused_by) if cause in self._contexts]
        links: dict[str, str | None] = {scope.id: scope.span_context for scope in linked}
        event = Event(
            **{"turn_number": within.opener.turn_number if within else 0, **fields},
            event_id=event_id,
            timestamp=to_text_ns(ns),
            event_type=event_type,
            simulation_id=self.simulation_id,
            name=name,
            phase="open",
            trace_id=trace_id,
            span_id=ids.span_id(event_id),
            parent_span_id=None if starts_trace else within.opener.span_id,  # type: ignore[union-attr]
            caused_by=causes or None,
            links={**links, **self._links(causes, trace_id)} or None,
            v=SCHEMA_VERSION,
        )
        self._contexts[event_id] = f"{trace_id}-{event.span_id}"
        return Scope(event)

    def close(self, scope: Scope, ns: int, *, details: dict[str, Any], **fields: Any) -> Event:
        """The closing line of a scope, which repeats what the opening line said; later values win."""
        opener = scope.opener
        scope.closed = True
        repeated: dict[str, Any] = shortened(opener.details or {}, opener.event_id)
        return replace(
            opener,
            event_id=self._id(ns, fields.pop("source_id", None)),
            timestamp=to_text_ns(max(ns, to_ns(opener.timestamp))),
            phase="close",
            started_at=opener.timestamp,
            details={**repeated, **details},
            resource=None,
            **{"src": None, **fields},
        )

    def point(
        self,
        name: str,
        event_type: str,
        ns: int,
        *,
        within: Scope,
        span: bool,
        caused_by: Iterable[str] = (),
        **fields: Any,
    ) -> Event:
        """A point event: a span of its own inside the scope, or a log record in the scope's span."""
        event_id = self._id(ns, fields.pop("source_id", None))
        trace_id = within.opener.trace_id
        causes = [cause for cause in dict.fromkeys(caused_by) if cause in self._contexts]
        span_id = ids.span_id(event_id) if span else within.opener.span_id
        self._contexts[event_id] = f"{trace_id}-{span_id}"
        return Event(
            **{"turn_number": within.opener.turn_number, **fields},
            event_id=event_id,
            timestamp=to_text_ns(ns),
            event_type=event_type,
            simulation_id=self.simulation_id,
            name=name,
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=within.opener.span_id if span else None,
            caused_by=causes or None,
            links=self._links(causes, trace_id) or None,
            v=SCHEMA_VERSION,
        )

    def _id(self, ns: int, source_id: object, *, trace: bool = False) -> str:
        """The source's own id where it is a ULID that keeps the order of the part, else the next of our own."""
        if isinstance(source_id, str) and ids.is_event_id(source_id) and ids.value(source_id) > self._last:
            self._last = ids.value(source_id)
            self._ids.after(self._last)
        else:
            unix_ms = min(max(ns // 1_000_000, 0), (1 << 48) - 1)
            self._last = self._ids.next_trace(unix_ms) if trace else self._ids.next(unix_ms)
        return ids.text(self._last)

    def _links(self, causes: list[str], trace_id: str | None) -> dict[str, str | None]:
        """The span contexts of those causes for which they do not follow from the line."""
        contexts = {cause: self._contexts[cause] for cause in causes}
        return {cause: context for cause, context in contexts.items() if context != f"{trace_id}-{ids.span_id(cause)}"}
