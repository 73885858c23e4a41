"""The canonical event: one line of a log, read back.

The first nine fields are the ones that simulations already write; a line that has only those is an event too.
New fields get defaults, meanings never change, unknown fields are kept in `extra`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

SCHEMA_VERSION: Final = 1

LEVELS: Final[dict[str, int]] = {"MILESTONE": 0, "DECISION": 1, "ACTION": 2, "STATE": 3, "DETAIL": 4, "SYSTEM": 4}
"""Event type -> the lowest verbosity that records it. Levels are cumulative; SYSTEM comes with DETAIL."""

LLM_CALL_LEVEL: Final = LEVELS["DECISION"]
"""LLM calls are recorded at every level but MILESTONE, although they are SYSTEM events."""


@dataclass(slots=True, kw_only=True)
class Event:
    """One event. Absent fields are None (or empty), never guessed.

    A value: nobody changes one. Only convention says so, since `frozen` would cost a third of the time of reading.
    """

    event_id: str
    """ULID, strictly increasing within a part."""
    timestamp: str
    """When it happened: RFC 3339, UTC, `Z`, six digits, nine where an imported source has them."""
    turn_number: int
    """Simulation turn; 0 before the first."""
    event_type: str
    """MILESTONE, DECISION, ACTION, STATE, DETAIL or SYSTEM: the class, which decides verbosity."""
    simulation_id: str
    """The run; equals the directory's name."""
    agent_id: str | None = None
    """Who."""
    caused_by: list[str] | None = None
    """Ids of the events that this one follows from."""
    description: str | None = None
    """For people."""
    details: dict[str, Any] | None = None
    """Type-specific data."""
    name: str | None = None
    """What: dotted, lower case, few distinct values, e.g. `action.transfer`."""
    phase: Literal["open", "close"] | None = None
    """`open` on the line that opens a scope, `close` on the line that closes it; absent on a point event."""
    session_id: str | None = None
    """Conversation, experiment or voice session inside the run."""
    sim_time: int | float | str | None = None
    """The simulation's own clock."""
    started_at: str | None = None
    """On a closing line: when the scope began."""
    error: dict[str, Any] | None = None
    """`{type, message, stacktrace}`, present if and only if it failed."""
    trace_id: str | None = None
    """32 hex digits."""
    span_id: str | None = None
    """16 hex digits: its own span, or the one it belongs to."""
    parent_span_id: str | None = None
    """16 hex digits: the scope that contains its span."""
    trace_flags: str | None = None
    """W3C trace flags, two hex digits; absent means `03` (sampled, random)."""
    links: dict[str, str | None] | None = None
    """Id -> `<trace_id>-<span_id>` of every cause whose span context does not follow from the line, and of
    the spans that this one is linked to without being caused by them; None where it is unknown."""
    resource: dict[str, Any] | None = None
    """On the first line of a part: resource attributes and mapping version, holding for the whole part."""
    v: int | None = None
    """Schema version; absent on a line that another program wrote in the nine fields."""
    src: dict[str, Any] | None = None
    """Provenance of an imported line."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that this version does not know, as they were."""

    @property
    def opens(self) -> bool:
        return self.phase == "open"

    @property
    def closes(self) -> bool:
        return self.phase == "close"


FIELDS: Final[tuple[str, ...]] = tuple(name for name in Event.__dataclass_fields__ if name != "extra")
"""The keys of a line, in their order."""
