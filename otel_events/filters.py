"""One filter for everything that selects events: queries, REST, command line, subscribers.

- A criterion that is None or empty selects everything; the given ones must all hold.
- Both ends of a range belong to it. A time without a zone is UTC.
- What cannot select anything (an unknown type, an inverted range, no time at all) raises InvalidParameter here, once,
  so that no front end needs a check of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from otel_events import timestamp
from otel_events.errors import InvalidParameter
from otel_events.event import LEVELS, Event

DEFAULT_LIMIT: Final = 1_000
MAX_LIMIT: Final = 10_000
_SINGULAR: Final = {
    "event_type": "event_types",
    "agent_id": "agent_ids",
    "name": "names",
    "session_id": "session_ids",
}


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events, and which page of them. A single text is taken for a list of one."""

    event_types: Sequence[str] | None = None
    """MILESTONE, DECISION, ACTION, STATE, DETAIL, SYSTEM."""
    agent_ids: Sequence[str] | None = None
    names: Sequence[str] | None = None
    """Whole names or what stands after a dot in them: `decision.savings_rate` or `savings_rate`."""
    session_ids: Sequence[str] | None = None
    turn_start: int | None = None
    turn_end: int | None = None
    start_timestamp: str | datetime | None = None
    """ISO 8601; `+00:00` may have become ` 00:00` in a query string."""
    end_timestamp: str | datetime | None = None
    limit: int = DEFAULT_LIMIT
    """Most events in one answer, 1 to 10,000."""
    offset: int = 0
    """How many selected events to skip first."""
    start_ns: int | None = field(init=False, repr=False, compare=False)
    end_ns: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = {name: _texts(name, getattr(self, name)) for name in _SINGULAR.values()}
        for event_type in known["event_types"] or ():
            if event_type not in LEVELS:
                raise InvalidParameter("event_types", f"one of {', '.join(LEVELS)}", event_type)
        for name in ("turn_start", "turn_end"):
            if getattr(self, name) is not None:
                _integer(name, getattr(self, name), 0, None)
        _integer("limit", self.limit, 1, MAX_LIMIT)
        _integer("offset", self.offset, 0, None)
        times = {
            "start_ns": _nanoseconds("start_timestamp", self.start_timestamp),
            "end_ns": _nanoseconds("end_timestamp", self.end_timestamp),
        }
        for name, value in {**known, **times}.items():
            object.__setattr__(self, name, value)
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.turn_start is not None and self.turn_end is not None and self.turn_end < self.turn_start:
            raise InvalidParameter("turn_end", f"a turn not before turn_start ({self.turn_start})", self.turn_end)
        if self.start_ns is not None and self.end_ns is not None and self.end_ns < self.start_ns:
            raise InvalidParameter(
                "end_timestamp", f"a time not before start_timestamp ({self.start_timestamp})", self.end_timestamp
            )

    @classmethod
    def of(cls, **criteria: Any) -> EventFilter:
        """The same by keywords, each list also in the singular: `EventFilter.of(event_type="DECISION")`."""
        named: dict[str, Any] = {}
        for key, value in criteria.items():
            name = _SINGULAR.get(key, key)
            if name in named:
                raise InvalidParameter(key, f"either {key} or {name}", "both")
            if name not in cls.__dataclass_fields__ or not cls.__dataclass_fields__[name].init:
                raise InvalidParameter("filter", f"one of {', '.join([*_SINGULAR, *_criteria()])}", key)
            named[name] = value
        return cls(**named)

    def matches(self, event: Event) -> bool:
        """Whether the event is selected; limit and offset play no part. An event whose time cannot be read is not
        in any range of time."""
        return (
            (not self.event_types or event.event_type in self.event_types)
            and (not self.agent_ids or event.agent_id in self.agent_ids)
            and (not self.session_ids or event.session_id in self.session_ids)
            and (self.turn_start is None or event.turn_number >= self.turn_start)
            and (self.turn_end is None or event.turn_number <= self.turn_end)
            and (not self.names or is_named(event, self.names))
            and ((self.start_ns is None and self.end_ns is None) or self._in_time(event))
        )

    def _in_time(self, event: Event) -> bool:
        try:
            ns = timestamp.to_ns(event.timestamp)
        except ValueError:
            return False
        return (self.start_ns is None or ns >= self.start_ns) and (self.end_ns is None or ns <= self.end_ns)


def is_named(event: Event, names: Sequence[str]) -> bool:
    """Whether one of the names is the event's, or follows a dot in it."""
    own = event.name
    return own is not None and any(own == name or own.endswith(f".{name}") for name in names)


def _criteria() -> list[str]:
    return [name for name, declared in EventFilter.__dataclass_fields__.items() if declared.init]


def _texts(where: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise InvalidParameter(where, "a text or a list of texts", value)
    return tuple(value)


def _integer(where: str, value: object, least: int, most: int | None) -> None:
    if type(value) is not int or value < least or (most is not None and value > most):
        raise InvalidParameter(where, f"an integer ≥ {least}" if most is None else f"{least} to {most}", value)


def _nanoseconds(where: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str | datetime):
        raise InvalidParameter(where, "an ISO 8601 time such as 2026-11-21T10:15:00Z", value)
    try:
        return _of_time(value)
    except (ValueError, OverflowError):
        raise InvalidParameter(where, "an ISO 8601 time such as 2026-11-21T10:15:00Z", value) from None


def _of_time(value: str | datetime) -> int:
    if isinstance(value, str):
        try:
            return timestamp.to_ns(value)
        except ValueError:  # a date alone, or a time without seconds
            value = datetime.fromisoformat(value)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return timestamp.to_ns(value.isoformat())
