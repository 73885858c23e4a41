"""What the queries answer: values that every front end spells in its own way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from collector.runs import Skipped
from otel_events import timestamp
from otel_events.event import Event
from otel_events.parts import Line


@dataclass(frozen=True, slots=True)
class Found:
    """An event and its line, as it stands in the log."""

    line: Line
    event: Event

    @property
    def raw(self) -> bytes:
        """The bytes of the line, without newline."""
        return self.line.text


@dataclass(frozen=True, slots=True)
class RunSummary:
    id: str
    name: str
    """The run's own name, where its opening event or its resource has one; else its id up to the first `-`."""
    start_time: str | None
    """Timestamp of the first event of the run, as written; None for a run without events."""
    event_count: int
    """As `runs.count` has it: damage in the middle of a line does not show in it."""
    directory: Path

    @property
    def public(self) -> dict[str, str | int | None]:
        """What every front end says of it: where it lies is not a client's business."""
        return {"id": self.id, "name": self.name, "start_time": self.start_time, "event_count": self.event_count}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the events that a filter selects."""

    events: list[Found]
    total: int
    """Selected events on all pages."""
    has_more: bool
    skipped: Skipped
    """Lines that are no events."""


@dataclass(frozen=True, slots=True)
class Node:
    """An event as part of the causal graph."""

    id: str
    opening: Found
    """The line that opened the scope; the event itself where it is none."""
    closing: Found | None
    """The line that closed the scope; None while it is open, and for a point event."""
    distance: int
    """Steps from the event that was asked about."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The causes or the effects of one event, the nearest first."""

    start: Node
    nodes: list[Node]
    links: dict[str, list[str]]
    """Node -> its own causes (or effects) within the answer; the start has an entry, too."""
    missing: list[str]
    """Causes that these events name but the run does not hold."""
    truncated: list[str]
    """Nodes of the answer beyond which it would go on: cut off by `depth`, or after 10,000 nodes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a timeline: a point event, or a scope from opening to closing."""

    opening: Found
    closing: Found | None
    depth: int
    """How many scopes of its trace contain it."""

    @property
    def is_open(self) -> bool:
        """Whether it is a scope that was never closed."""
        return self.opening.event.opens and self.closing is None

    @property
    def duration_ns(self) -> int | None:
        """None for a point event, an open scope, and where a time cannot be read."""
        return None if self.closing is None else duration_ns_of(self.closing.event, self.opening.event)


@dataclass(frozen=True, slots=True)
class Timeline:
    entries: list[Entry]
    total: int
    has_more: bool


@dataclass(slots=True)
class Durations:
    """Of the closed scopes of one name, in nanoseconds."""

    count: int = 0
    total_ns: int = 0
    min_ns: int = 0
    max_ns: int = 0

    def add(self, ns: int) -> None:
        self.min_ns = ns if self.count == 0 else min(self.min_ns, ns)
        self.max_ns = max(self.max_ns, ns)
        self.count += 1
        self.total_ns += ns

    @property
    def mean_ns(self) -> int:
        return self.total_ns // self.count if self.count else 0


@dataclass(slots=True)
class Calls:
    """The LLM calls to one model; tokens and cost as recorded."""

    count: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    duration_ns: int = 0


@dataclass(slots=True)
class Statistics:
    """A run in numbers. A scope counts once."""

    events: int = 0
    """Lines that are events: a closed scope has two."""
    first: str | None = None
    last: str | None = None
    types: Counter[str] = field(default_factory=Counter)
    agents: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    turns: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """By the error's type."""
    durations: dict[str, Durations] = field(default_factory=dict)
    """By the scope's name."""
    llm_calls: dict[str, Calls] = field(default_factory=dict)
    """By model."""
    open_scopes: dict[str, str] = field(default_factory=dict)
    """Opener's id -> name."""
    skipped: Skipped = field(default_factory=Skipped)


def duration_ns_of(closing: Event, opening: Event | None = None) -> int | None:
    """How long a scope took; None where its times are absent or cannot be read."""
    began = closing.started_at or (opening.timestamp if opening else None)
    try:
        return None if began is None else timestamp.to_ns(closing.timestamp) - timestamp.to_ns(began)
    except ValueError:
        return None
