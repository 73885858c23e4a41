"""Who caused whom: the graph of one run, as functions of ids alone.

- A node is an event; a scope (opening and closing line of one `span_id`) is one node, named by the opener's id, and
  the closing id is another name of it.
- The order in which lines are added does not matter, and neither do cycles.
- Breadth first: a node's distance is that of the shortest way, so a limit of depth never hides what is near.
- Nothing but ids and numbers is kept: about 300 bytes an event.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from otel_events.errors import InvalidParameter
from otel_events.event import Event

DEFAULT_DEPTH: Final = 5
MAX_DEPTH: Final = 20
MAX_NODES: Final = 10_000
_NAMED, _POINT, _OPENS, _CLOSES = range(4)  # what is known of an id: only named as a cause, or the phase of its line


class _Links:
    """Edges by source: for each node the head of a chain through `_next`. Grows, is never sorted."""

    def __init__(self) -> None:
        self._first, self._next, self._target = array("i"), array("i"), array("i")

    def add_node(self) -> None:
        self._first.append(-1)

    def add(self, source: int, target: int) -> None:
        self._next.append(self._first[source])
        self._first[source] = len(self._target)
        self._target.append(target)

    def of(self, source: int) -> Iterator[int]:
        edge = self._first[source]
        while edge >= 0:
            yield self._target[edge]
            edge = self._next[edge]


class Graph:
    """The causes and effects among the events of a run."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._ids: list[str] = []
        self._kind = bytearray()
        self._causes, self._effects = _Links(), _Links()
        self._span: dict[int, str] = {}  # of the lines that open or close a scope
        self._opener: dict[str, int] = {}
        self._closers: dict[str, list[int]] = {}
        self._suspects: list[int] = []  # lines that might be part of a cycle: all others have only older causes

    def add(self, event: Event) -> bool:
        """Take in an event; False if its id is there already, and then nothing changes."""
        line = self._numbered(event.event_id)
        if self._kind[line] != _NAMED:
            return False
        self._kind[line] = _POINT
        if event.phase is not None and event.span_id is not None:
            self._add_scope(line, event.span_id, event.opens)
        for cause in event.caused_by or ():
            self._causes.add(line, self._numbered(cause))
            self._effects.add(self._number[cause], line)
        if event.caused_by and (event.closes or max(event.caused_by) >= event.event_id):
            self._suspects.append(line)
        return True

    def _add_scope(self, line: int, span: str, opens: bool) -> None:
        self._kind[line] = _OPENS if opens else _CLOSES
        self._span[line] = span
        if not opens:
            self._closers.setdefault(span, []).append(line)
        elif span not in self._opener or self._ids[line] < self._ids[self._opener[span]]:
            self._opener[span] = line

    def __contains__(self, event_id: str) -> bool:
        return self._kind[self._number[event_id]] != _NAMED if event_id in self._number else False

    def node(self, event_id: str) -> str:
        """The id of the node that this id names: the opener's for a closing id, else itself. KeyError if unknown."""
        return self._ids[self._canonical(self._number[event_id])]

    def lines(self, event_id: str) -> list[str]:
        """The ids of the node's lines, the opener's first, then those of its closing lines."""
        return [self._ids[line] for line in self._lines(self._canonical(self._number[event_id]))]

    def causes(self, event_id: str) -> list[str]:
        """The nodes that the node names as its causes, sorted, missing ones included, itself excluded."""
        return self._neighbours(self._causes, event_id)

    def effects(self, event_id: str) -> list[str]:
        """The nodes that name this one as a cause, sorted, itself excluded."""
        return self._neighbours(self._effects, event_id)

    def missing(self) -> Iterator[str]:
        """The ids that are named as causes but are no events of the run."""
        return (event_id for event_id, kind in zip(self._ids, self._kind, strict=True) if kind == _NAMED)

    def open_scopes(self) -> Iterator[str]:
        """The openers of scopes that no line closes."""
        return (self._ids[line] for span, line in self._opener.items() if span not in self._closers)

    def suspects(self) -> Iterator[str]:
        """Nodes of which every cycle contains at least one: those with a cause that is not older."""
        for line in self._suspects:
            node = self._ids[self._canonical(line)]
            if any(self._ids[self._canonical(cause)] >= node for cause in self._causes.of(line)):
                yield node

    def causes_itself(self, event_id: str) -> bool:
        """Whether a line of the node names its own id as a cause."""
        return any(line in self._causes.of(line) for line in self._lines(self._number[event_id]))

    def _numbered(self, event_id: str) -> int:
        number = self._number.get(event_id)
        if number is None:
            number = self._number[event_id] = len(self._ids)
            self._ids.append(event_id)
            self._kind.append(_NAMED)
            self._causes.add_node()
            self._effects.add_node()
        return number

    def _canonical(self, line: int) -> int:
        return self._opener.get(self._span[line], line) if self._kind[line] == _CLOSES else line

    def _lines(self, node: int) -> list[int]:
        if self._kind[node] != _OPENS or self._opener[self._span[node]] != node:
            return [node]
        return [node, *sorted(self._closers.get(self._span[node], ()), key=self._ids.__getitem__)]

    def _neighbours(self, links: _Links, event_id: str) -> list[str]:
        node = self._canonical(self._number[event_id])
        found = {self._canonical(other) for line in self._lines(node) for other in links.of(line)}
        return sorted(self._ids[other] for other in found - {node})


@dataclass(frozen=True)
class Reach:
    """What can be reached from one node in one direction. All ids are those of nodes."""

    start: str
    distances: dict[str, int]
    """Node -> length of the shortest way from the start, nearest first; without the start."""
    links: dict[str, list[str]]
    """The start and every node reached -> its neighbours in that direction, as far as they are in the answer."""
    missing: list[str]
    """Causes named by these nodes that are no events of the run."""
    truncated: list[str]
    """The nodes of the answer from which it would go on: cut off by the depth or by the bound of nodes."""


def causes(graph: Graph, start: str, depth: int = DEFAULT_DEPTH, limit: int = MAX_NODES) -> Reach:
    """What led to an event, directly or not. `depth` is 1 to 20. KeyError for an id that the graph does not know."""
    return _reach(graph, graph.causes, start, _checked(depth), limit)


def effects(graph: Graph, start: str, depth: int = DEFAULT_DEPTH, limit: int = MAX_NODES) -> Reach:
    """What an event led to, directly or not; as `causes`."""
    return _reach(graph, graph.effects, start, _checked(depth), limit)


def path(graph: Graph, cause: str, effect: str) -> list[str]:
    """The shortest chain from a cause to its effect, both included; [] if the one did not lead to the other."""
    first, last = graph.node(cause), graph.node(effect)
    before: dict[str, str] = {first: first}
    level = [first]
    while level and last not in before:
        found = []
        for node in level:
            for other in graph.effects(node):
                if other not in before:
                    before[other] = node
                    found.append(other)
        level = found
    return _chain(before, last) if last in before else []


def cycles(graph: Graph) -> list[list[str]]:
    """The groups of nodes that cause each other, each sorted: what is wrong with them is the same for all."""
    found = [group for group in _components(graph, graph.suspects()) if len(group) > 1 or graph.causes_itself(group[0])]
    return sorted(sorted(group) for group in found)


def _checked(depth: int) -> int:
    if type(depth) is not int or not 1 <= depth <= MAX_DEPTH:
        raise InvalidParameter("depth", f"1 to {MAX_DEPTH}", depth)
    return depth


def _reach(graph: Graph, neighbours: Callable[[str], list[str]], start: str, depth: int, limit: int) -> Reach:
    node = graph.node(start)
    distances, links, missing = {node: 0}, dict[str, list[str]](), set[str]()
    level = [node]
    for distance in range(1, depth + 2):  # one level more than is wanted, to see where the chain would go on
        found = []
        for source in level:
            named = neighbours(source)
            missing.update(other for other in named if other not in graph)
            links[source] = [other for other in named if other in graph]
            for other in links[source]:
                if distance <= depth and other not in distances and len(distances) <= limit:
                    distances[other] = distance
                    found.append(other)
        level = found
    truncated = [source for source, others in links.items() if any(other not in distances for other in others)]
    links = {source: [other for other in others if other in distances] for source, others in links.items()}
    del distances[node]
    return Reach(node, distances, links, sorted(missing), truncated)


def _chain(before: dict[str, str], last: str) -> list[str]:
    chain = [last]
    while before[chain[-1]] != chain[-1]:
        chain.append(before[chain[-1]])
    return chain[::-1]


def _components(graph: Graph, starts: Iterable[str]) -> Iterator[list[str]]:
    """The strongly connected components that can be reached from these nodes: Tarjan's algorithm without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    place: dict[str, int] = {}  # of the nodes on the stack
    for start in starts:
        work = [(start, iter(graph.effects(start)))] if start not in index else []
        while work:
            node, others = work[-1]
            if node not in index:
                index[node] = low[node] = len(index)
                place[node] = len(stack)
                stack.append(node)
            for other in others:
                if other not in index:
                    work.append((other, iter(graph.effects(other))))
                    break
                if other in place:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = stack[place[node] :]
                    del stack[place[node] :]
                    for member in component:
                        del place[member]
                    yield component
