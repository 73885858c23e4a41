"""The reader: what happened in a run and why, from its files.

    from collector import Run

    run = Run("output/sim-001")
    for event in run.find(event_type="DECISION", agent_id="alice"):
        print(event.timestamp, event.details)
    for cause in run.causes("wealth"):  # the newest event of that name
        print(cause.event_id, cause.name)

`EventService` and `EventFilter` answer for all runs of a directory, in dictionaries, as the simulations' specification
has it. Importing this package loads no web framework; the service for others is `collector.api`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson

from collector import queries
from collector.answers import Chain, Found, Page, Statistics, Timeline
from collector.causality import DEFAULT_DEPTH
from collector.runs import find_run, newest_run
from otel_events.errors import EventNotFound, RunNotFound
from otel_events.event import Event
from otel_events.filters import EventFilter

__all__ = ["Event", "EventFilter", "EventNotFound", "EventService", "Run", "RunNotFound"]


class Run:
    """One run, by the path of its directory; the newest run in a directory that is none itself.

    An event is named by its id or as `collector.queries.resolve` has it. Filters are the fields of `EventFilter`, lists
    also in the singular: `event_type="DECISION"`. Every call reads what is on disk now."""

    def __init__(self, directory: str | os.PathLike[str] = "output") -> None:
        self.directory = newest_run(Path(directory))

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"

    def find(self, **criteria: Any) -> list[Event]:
        """The events that the filters select, in order; at most `limit`, which is 1,000 unless given."""
        return [found.event for found in self.page(**criteria).events]

    def page(self, **criteria: Any) -> Page:
        """The same with their lines and how many there are in all."""
        return queries.find(self.directory, EventFilter.of(**criteria))

    def get(self, event: str) -> Event:
        """One event. Raises EventNotFound, AmbiguousEvent."""
        return queries.get(self.directory, self._id(event)).event

    def causes(self, event: str, depth: int = DEFAULT_DEPTH) -> list[Event]:
        """What led to it, directly or not, the nearest first; a scope is its opening event."""
        return _events(queries.causes(self.directory, self._id(event), depth))

    def effects(self, event: str, depth: int = DEFAULT_DEPTH) -> list[Event]:
        """What it led to, directly or not, the nearest first; a scope is its opening event."""
        return _events(queries.effects(self.directory, self._id(event), depth))

    def path(self, one: str, other: str) -> list[Event]:
        """The shortest chain of causes between two events, from cause to effect; [] if there is none."""
        nodes = queries.path(self.directory, self._id(one), self._id(other))
        return [node.opening.event for node in nodes]

    def timeline(self, **criteria: Any) -> Timeline:
        """Points and scopes in the order in which they began."""
        return queries.timeline(self.directory, EventFilter.of(**criteria))

    def stats(self) -> Statistics:
        """The run in numbers."""
        return queries.stats(self.directory)

    def _id(self, event: str) -> str:
        return queries.resolve(self.directory, event)


class EventService:
    """The runs under a directory; events are dictionaries, as they stand in the log.

    Raises RunNotFound and EventNotFound (both LookupError) where there is nothing."""

    def __init__(self, output_root: str | os.PathLike[str]) -> None:
        self.output_root = Path(output_root)

    def list_simulations(self) -> list[dict[str, Any]]:
        """`id`, `name`, `start_time` and `event_count` of every run, the newest first."""
        return [run.public for run in queries.runs(self.output_root)]

    def get_filtered_events(self, simulation_id: str, event_filter: EventFilter | None = None) -> dict[str, Any]:
        """`events`, `total` and `has_more`."""
        page = queries.find(find_run(self.output_root, simulation_id), event_filter)
        return {"events": [_dict(found) for found in page.events], "total": page.total, "has_more": page.has_more}

    def get_event(self, simulation_id: str, event_id: str) -> dict[str, Any]:
        """One event by its id."""
        return _dict(queries.get(find_run(self.output_root, simulation_id), event_id))

    def get_causality_chain(self, simulation_id: str, event_id: str, depth: int = DEFAULT_DEPTH) -> dict[str, Any]:
        """`event_id`, `event`, `upstream` (all its causes) and `downstream` (all its effects), the nearest first."""
        run = find_run(self.output_root, simulation_id)
        return {
            "event_id": event_id,
            "event": _dict(queries.get(run, event_id)),
            "upstream": [_dict(node.opening) for node in queries.causes(run, event_id, depth).nodes],
            "downstream": [_dict(node.opening) for node in queries.effects(run, event_id, depth).nodes],
        }


def _events(chain: Chain) -> list[Event]:
    return [node.opening.event for node in chain.nodes]


def _dict(found: Found) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(found.raw)
    return fields
