"""The tree of an event's causes or effects, as rows.

A node with several ways to it is shown once, at the end of the shortest, and only named elsewhere. `in turn 7` is
containment: it is said where the turn changes, unless that turn is a node of the tree itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.answers import Chain, Node
from collector.cli.render import Row
from collector.cli.summary import summary


def tree(chain: Chain, endings: dict[str, str], deeper: str) -> list[Row]:
    """The rows, the event that was asked about first. `deeper` says how to see what was cut off."""
    drawing = _Drawing(chain, endings, deeper)
    drawing.add(chain.start, "", "", 0)
    return drawing.rows


def node_row(node: Node, before: str, endings: dict[str, str]) -> Row:
    """An event, or a scope as one: what it did in all, and whether it is still open."""
    event, closing = node.opening.event, node.closing.event if node.closing else None
    words = summary(event, closing, "(open)" if event.opens and closing is None else "")
    return Row(before, endings[node.id], event.event_type, words, event.agent_id or "")


class _Drawing:
    def __init__(self, chain: Chain, endings: dict[str, str], deeper: str) -> None:
        self.rows: list[Row] = []
        self._chain, self._endings, self._deeper = chain, endings, deeper
        self._nodes = {node.id: node for node in (chain.start, *chain.nodes)}
        self._missing, self._truncated = set(chain.missing), set(chain.truncated)
        self._shown = set[str]()
        events = [node.opening.event for node in self._nodes.values()]
        self._turns = {event.turn_number for event in events if event.name == "turn"} | {0}

    def add(self, node: Node, branch: str, below: str, outer_turn: int) -> None:
        """Draw a node and, each one step further to the right, what leads on from it: at most `depth` steps."""
        turn = node.opening.event.turn_number
        notes = "" if turn == outer_turn or turn in self._turns else f"in turn {turn}"
        self.rows.append(node_row(node, branch, self._endings)._replace(notes=notes))
        self._shown.add(node.id)
        children: list[Node | Row] = [
            *(self._nodes[child] for child in self._chain.links.get(node.id, ())),
            *self._ends(node),
        ]
        for child in children:
            here, further = ("└─ ", "   ") if child is children[-1] else ("├─ ", "│  ")
            if isinstance(child, Row):
                self.rows.append(child._replace(before=below + here))
            elif child.distance == node.distance + 1 and child.id not in self._shown:
                self.add(child, below + here, below + further, turn)
            else:
                where = "shown above" if child.id in self._shown else "shown below"
                self.rows.append(node_row(child, below + here, self._endings)._replace(notes=where))

    def _ends(self, node: Node) -> Iterable[Row]:
        lines = filter(None, (node.opening, node.closing))
        for cause in dict.fromkeys(cause for line in lines for cause in line.event.caused_by or ()):
            if cause in self._missing:
                yield Row("", cause, "", "is missing: not in this run", "")
        if node.id in self._truncated:
            yield Row("", "…", "", self._deeper, "")
