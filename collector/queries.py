"""Every question to a run, one function each; REST, command line and Python only spell them differently.

- An answer about events carries the lines as they stand in the log, so that a front end hands on slices of it and
  never writes them anew.
- The events are the lines. A *node* of the causal graph is an event, or both lines of a scope, by the opener's id.
- What streams (find, timeline, stats, resolve) needs the memory of its answer only; what follows causes keeps the ids
  of the run, and when it is asked again reads only what was added.
- The functions take ids; `resolve` makes one of what a person types.
Each raises RunNotFound or EventNotFound where there is nothing, and InvalidParameter for what cannot be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from collector import causality
from collector.answers import (
    Calls,
    Chain,
    Durations,
    Entry,
    Found,
    Node,
    Page,
    RunSummary,
    Statistics,
    Timeline,
    duration_ns_of,
)
from collector.causality import Graph, Reach
from collector.lookup import fetch, fetch_sorted, graph_of
from collector.runs import Skipped, all_runs, count, first, lines, parts, scan
from otel_events import ids
from otel_events.errors import AmbiguousEvent, EventNotFound, RunNotFound
from otel_events.event import Event
from otel_events.filters import EventFilter, is_named
from otel_events.handle import from_text
from otel_events.parts import id_in

SHORTEST_ENDING: Final = 6
"""Letters of an id that listings show at least."""


def runs(directory: Path) -> list[RunSummary]:
    """Every run under a directory, the newest first. One that vanishes meanwhile is left out."""
    return [summary for run in all_runs(directory) if (summary := _summary(run)) is not None]


def find(run: Path, criteria: EventFilter | None = None) -> Page:
    """The page of events that a filter selects, in order."""
    criteria = criteria or EventFilter()
    page = range(criteria.offset, criteria.offset + criteria.limit)
    events, total, skipped = list[Found](), 0, Skipped()
    for line, event in scan(run, skipped):
        if criteria.matches(event):
            if total in page:
                events.append(Found(line, event))
            total += 1
    return Page(events, total, page.stop < total, skipped)


def get(run: Path, event_id: str) -> Found:
    """The event of that id; a closing id gives the closing line. Raises EventNotFound."""
    found = fetch(run, [event_id]).get(event_id)
    if found is None:
        raise EventNotFound(event_id, run.resolve().name)
    return found


def resolve(run: Path, text: str) -> str:
    """The id of the event that a person means by `text`, tried in this order: an id or a `ref`; a trace or span id (32
    or 16 hex digits), which means the event that opened it; a name or what follows a dot in it, which means the newest
    event of that name; the ending of an id, in either case of letters.

    Raises EventNotFound, and AmbiguousEvent for an ending that several ids share."""
    written = {text, *(handle.event_id for handle in from_text(text))}
    for event_id in fetch_sorted(run, written | {known for one in written if (known := ids.parse(one))}):
        return event_id
    return _searched(run, text)


def node(run: Path, event_id: str) -> Node:
    """The node that an id belongs to, with both lines of a scope."""
    found = get(run, event_id)
    if found.event.phase is None:
        return Node(event_id, found, None, 0)
    with graph_of(run, event_id) as graph:
        lines_of = {graph.node(event_id): graph.lines(event_id)}
    return _nodes(run, lines_of, {})[0]


def causes(run: Path, event_id: str, depth: int = causality.DEFAULT_DEPTH) -> Chain:
    """What led to an event, directly or not, up to `depth` steps (1 to 20)."""
    return _chain(run, event_id, depth, causality.causes)


def effects(run: Path, event_id: str, depth: int = causality.DEFAULT_DEPTH) -> Chain:
    """What an event led to, directly or not, up to `depth` steps (1 to 20)."""
    return _chain(run, event_id, depth, causality.effects)


def path(run: Path, one: str, other: str) -> list[Node]:
    """The shortest chain of causes between two events, from the cause to the effect, whichever of them it is; [] if
    neither led to the other."""
    with graph_of(run, one, other) as graph:
        chain = causality.path(graph, one, other) or causality.path(graph, other, one)
        lines_of = {event_id: graph.lines(event_id) for event_id in chain}
    return _nodes(run, lines_of, {event_id: step for step, event_id in enumerate(chain)}) if chain else []


def timeline(run: Path, criteria: EventFilter | None = None) -> Timeline:
    """Point events and scopes in the order in which they began. The filter looks at what began them."""
    criteria = criteria or EventFilter()
    page = range(criteria.offset, criteria.offset + criteria.limit)
    entries, total = list[Entry](), 0
    depths: dict[str, int] = {}  # of the scopes that are open
    places: dict[str, int] = {}  # of those that are in the answer
    for line, event in scan(run):
        span = event.span_id or ""
        if event.closes and span in depths:
            if span in places:
                place = places.pop(span)
                entries[place] = replace(entries[place], closing=Found(line, event))
            del depths[span]
            continue
        depth = depths.get(event.parent_span_id or span, -1) + 1
        if event.opens and span:
            depths[span] = depth
        if criteria.matches(event):
            if total in page:
                if event.opens and span:
                    places[span] = len(entries)
                entries.append(Entry(Found(line, event), None, depth))
            total += 1
    return Timeline(entries, total, page.stop < total)


def stats(run: Path) -> Statistics:
    """The run in numbers, in one pass."""
    found = Statistics()
    opened: dict[str, tuple[str, str]] = {}
    for _, event in scan(run, found.skipped):
        opener = opened.pop(event.span_id or "", None) if event.closes else None
        if event.opens and event.span_id:
            opened[event.span_id] = event.event_id, event.name or ""
        found.events += 1
        found.first = found.first or event.timestamp
        found.last = event.timestamp
        if opener is None:
            _count(found, event)
        if not event.opens:
            _measure(found, event)
    found.open_scopes = dict(opened.values())
    return found


def endings(run: Path, event_ids: Iterable[str]) -> dict[str, str]:
    """For each id the shortest ending that no other id of the run has: at least six letters."""
    needed = dict.fromkeys(event_ids, SHORTEST_ENDING)
    alike: dict[str, list[str]] = {}
    for event_id in needed:
        alike.setdefault(event_id[-SHORTEST_ENDING:], []).append(event_id)
    for part in parts(run):
        for line in lines(part):
            other = id_in(line.text) or ""
            for event_id in alike.get(other[-SHORTEST_ENDING:], ()):
                if event_id != other:
                    needed[event_id] = max(needed[event_id], _common_ending(event_id, other) + 1)
    return {event_id: event_id[-length:] for event_id, length in needed.items()}


def _chain(run: Path, event_id: str, depth: int, follow: Callable[[Graph, str, int], Reach]) -> Chain:
    with graph_of(run, event_id) as graph:
        reach = follow(graph, event_id, depth)
        lines_of = {node: graph.lines(node) for node in (reach.start, *reach.distances)}
    start, *nodes = _nodes(run, lines_of, reach.distances)
    return Chain(start, nodes, reach.links, reach.missing, reach.truncated)


def _nodes(run: Path, lines_of: dict[str, list[str]], distances: dict[str, int]) -> list[Node]:
    """The nodes with their lines. Raises EventNotFound for one whose line has vanished since."""
    found = fetch(run, (event_id for event_ids in lines_of.values() for event_id in event_ids[:2]))
    nodes = []
    for node_id, event_ids in lines_of.items():
        if node_id not in found:
            raise EventNotFound(node_id, run.resolve().name)
        closing = found.get(event_ids[1]) if len(event_ids) > 1 else None
        nodes.append(Node(node_id, found[node_id], closing, distances.get(node_id, 0)))
    return nodes


def _searched(run: Path, text: str) -> str:
    folded = text.casefold()
    exact = in_trace = in_span = named = closing = None
    alike = []
    sieve = folded.encode() if re.fullmatch(r"[\w.-]+", text, re.ASCII) else b""  # other text may stand escaped
    for _, event in scan(run, sieve=sieve):
        if event.event_id == text:
            exact = text
        if in_trace is None and event.trace_id == folded:
            in_trace = event.event_id
        if in_span is None and event.span_id == folded:
            in_span = event.event_id
        if is_named(event, (text,)):
            named, closing = (named, event.event_id) if event.closes else (event.event_id, closing)
        if event.event_id.casefold().endswith(folded):
            alike.append(event.event_id)
    chosen = exact or in_trace or in_span or named or closing
    if chosen is not None:
        return chosen
    if not text or not alike:
        raise EventNotFound(text, run.resolve().name)
    if len(alike) > 1:
        raise AmbiguousEvent(text, alike)
    return alike[0]


def _summary(run: Path) -> RunSummary | None:
    try:
        version = tuple((part.path, part.path.stat().st_size, part.path.stat().st_mtime_ns) for part in parts(run))
        begun, events = _counted(run, version)
    except (OSError, RunNotFound):
        return None
    name = run.resolve().name
    return RunSummary(name, _name_of(begun, name), begun.timestamp if begun else None, events, run)


@lru_cache(maxsize=1024)
def _counted(run: Path, version: tuple[object, ...]) -> tuple[Event | None, int]:
    """The first event and the number of events; `version` says whether the files are still the same."""
    return first(run), count(run)


def _name_of(begun: Event | None, run_id: str) -> str:
    stated = (begun.details or {}).get("name") if begun is not None and begun.name == "run" else None
    if stated is None and begun is not None:
        stated = (begun.resource or {}).get("service.name")
    return stated if isinstance(stated, str) else run_id.partition("-")[0]


def _count(found: Statistics, event: Event) -> None:
    found.types[event.event_type] += 1
    found.turns[event.turn_number] += 1
    if event.agent_id is not None:
        found.agents[event.agent_id] += 1
    if event.name is not None:
        found.names[event.name] += 1


def _measure(found: Statistics, event: Event) -> None:
    duration_ns = duration_ns_of(event) if event.closes else None
    if duration_ns is not None:
        found.durations.setdefault(event.name or "", Durations()).add(duration_ns)
    if event.error is not None:
        found.errors[str(event.error.get("type"))] += 1
    if event.name == "llm.call":
        details = event.details or {}
        calls = found.llm_calls.setdefault(str(details.get("model")), Calls())
        calls.count += 1
        calls.errors += event.error is not None
        calls.input_tokens += int(_number(details.get("input_tokens")))
        calls.output_tokens += int(_number(details.get("output_tokens")))
        calls.cost += _number(details.get("cost"))
        calls.duration_ns += duration_ns or 0


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _common_ending(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one[::-1], other[::-1], strict=False)) if a != b), len(one))
