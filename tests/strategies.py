"""Generated histories: the events of one run with arbitrary causes, in any order."""

from __future__ import annotations

from pathlib import Path

import networkx
from hypothesis import strategies as st

from otel_events import ids
from otel_events.codec import encode_event
from otel_events.event import Event

START_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def numbered(number: int) -> str:
    """The id of event `number`, one a millisecond."""
    return ids.text((START_MS + number) << 80 | number + 1)


def event(number: int, event_type: str = "ACTION", name: str | None = None, **fields: object) -> Event:
    """Event `number` of run `sim-001`, `number` milliseconds after ten o'clock, with the fields of another program."""
    known = {
        "event_id": numbered(number),
        "timestamp": f"2026-11-21T10:{number // 60_000:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}000+00:00",
        "turn_number": 0,
        "event_type": event_type,
        "simulation_id": "sim-001",
        "name": name,
    }
    return Event(**{**known, **fields})  # type: ignore[arg-type]


def scope(opening: int, closing: int, caused_by: list[str] | None = None, **fields: object) -> tuple[Event, Event]:
    """The two lines of a scope."""
    span_id = ids.span_id(numbered(opening))
    first = event(opening, phase="open", span_id=span_id, caused_by=caused_by, **fields)
    last = event(closing, phase="close", span_id=span_id, caused_by=caused_by, started_at=first.timestamp, **fields)
    return first, last


def write(run: Path, *parts: list[Event]) -> Path:
    """A run with one part for each list of events."""
    run.mkdir(parents=True, exist_ok=True)
    names = ["events.jsonl", *(f"events_2026-11-21_10-{minute:02d}-00.jsonl" for minute in range(1, len(parts)))]
    for name, events in zip(names, parts, strict=True):
        (run / name).write_bytes(b"".join(map(encode_event, events)))
    return run


@st.composite
def histories(draw: st.DrawFn, max_events: int = 24) -> list[Event]:
    """Points and scopes whose causes are earlier or later events, themselves, closing lines, or no events at all."""
    count = draw(st.integers(1, max_events))
    known = [numbered(number) for number in range(count)]
    causes = st.lists(st.sampled_from([*known, numbered(900), numbered(901)]), max_size=4)
    events: list[Event] = []
    opened: list[str] = []
    for number in range(count):
        kind = draw(st.sampled_from(["point", "point", "open", "close"]))
        fields: dict[str, object] = {"caused_by": draw(st.none() | causes)}
        if kind == "open":
            opened.append(ids.span_id(known[number]))
            fields |= {"phase": "open", "span_id": opened[-1]}
        elif kind == "close" and opened:
            fields |= {"phase": "close", "span_id": opened.pop(draw(st.integers(0, len(opened) - 1)))}
        events.append(event(number, **fields))
    return events


def as_networkx(events: list[Event]) -> tuple[networkx.DiGraph, dict[str, str]]:
    """The same causes (cause → effect) in the other library's words, and what node each id names."""
    opener = {event.span_id: event.event_id for event in events if event.opens}
    node = {event.event_id: opener[event.span_id] if event.closes else event.event_id for event in events}
    graph = networkx.DiGraph()
    graph.add_nodes_from(node.values())
    for effect in events:
        for cause in effect.caused_by or ():
            if cause in node and (node[cause] != node[effect.event_id] or cause == effect.event_id):
                graph.add_edge(node[cause], node[effect.event_id])
    return graph, node
