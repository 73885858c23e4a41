"""From ids to lines and to the causal graph: what an index will replace.

- A line is found by bisection in a plain, sorted part, and by reading where that cannot work.
- The graphs of the latest four runs are kept; asked again, a graph takes in only what was added to the parts since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from collector.answers import Found
from collector.causality import Graph
from collector.runs import lines, parts
from otel_events import codec
from otel_events.errors import CorruptLine, EventNotFound
from otel_events.parts import Line, Part, find_line, id_in

_KEPT_GRAPHS: Final = 4
_BISECT_AT_MOST: Final = 500  # lines to find one by one; beyond, reading once is cheaper


def fetch(run: Path, event_ids: Iterable[str]) -> dict[str, Found]:
    """The lines of these ids, as far as they are in the run: by bisection where that works, else by reading."""
    wanted = set(event_ids)
    found = fetch_sorted(run, wanted) if len(wanted) <= _BISECT_AT_MOST else {}
    for part in parts(run):
        if wanted - found.keys():  # compressed, unsorted or unknown
            _keep(found, wanted, (line for line in lines(part) if id_in(line.text) in wanted))
    return found


def fetch_sorted(run: Path, wanted: set[str]) -> dict[str, Found]:
    """The same by bisection alone, in microseconds: what a plain part holds in its order."""
    found: dict[str, Found] = {}
    for part in parts(run):
        if not part.compressed:
            _keep(found, wanted, (_bisected(part, event_id) for event_id in wanted - found.keys()))
    return found


def _keep(found: dict[str, Found], wanted: set[str], candidates: Iterable[Line | None]) -> None:
    for line in candidates:
        if line is not None:
            with suppress(CorruptLine):
                event = codec.decode(line.text)
                if event.event_id in wanted:
                    found.setdefault(event.event_id, Found(line, event))


def _bisected(part: Part, event_id: str) -> Line | None:
    try:
        return find_line(part, event_id)
    except FileNotFoundError:  # compressed or removed just now: the reading that follows sees it
        return None


class _Loaded:
    """The causal graph of one run. The lock protects the graph and what was read of each part."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._graph = Graph()
        self._read: dict[str, tuple[str | None, int, bool]] = {}  # part -> identity, offset, compressed

    def refreshed(self, run: Path) -> Graph:
        """The graph with everything that has been added since; anew if a part is gone or another one."""
        found = {part.name: part for part in parts(run)}
        if any(name not in found or not _continues(found[name], *read) for name, read in self._read.items()):
            self._forget()
        for name, part in found.items():
            first, offset, was_compressed = self._read.get(name, (None, 0, False))
            if not was_compressed:
                offset = self._add(part, offset)
                self._read[name] = first or _identity(part), offset, part.compressed
        return self._graph

    def _add(self, part: Part, offset: int) -> int:
        for line in lines(part, offset):
            offset = line.end
            with suppress(CorruptLine):  # counted by the queries that read events
                self._graph.add(codec.decode(line.text))
        return offset


_graphs: OrderedDict[Path, _Loaded] = OrderedDict()  # the latest used at the end
_graphs_lock = threading.Lock()


@contextmanager
def graph_of(run: Path, *event_ids: str) -> Iterator[Graph]:
    """The graph of a run, up to date and for this caller alone; these ids are in it, or EventNotFound is raised."""
    with _graphs_lock:
        loaded = _graphs.setdefault(run.resolve(), _Loaded())
        _graphs.move_to_end(run.resolve())
        while len(_graphs) > _KEPT_GRAPHS:
            _graphs.popitem(last=False)
    with loaded.lock:
        graph = loaded.refreshed(run)
        for event_id in event_ids:
            if event_id not in graph:
                raise EventNotFound(event_id, run.resolve().name)
        yield graph


def _continues(part: Part, identity: str | None, offset: int, was_compressed: bool) -> bool:
    """Whether what was read of a part is still what stands in it."""
    if _identity(part) != identity:
        return False
    try:
        return part.compressed or part.path.stat().st_size >= offset
    except FileNotFoundError:  # compressed just now
        return True


def _identity(part: Part) -> str | None:
    first = next(lines(part), None)
    return None if first is None else id_in(first.text)
