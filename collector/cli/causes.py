"""Commands about causality: why, effects, path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import typer

from collector import queries
from collector.answers import Chain, Node
from collector.causality import MAX_DEPTH
from collector.cli import options
from collector.cli.render import document, rows, show_line
from collector.cli.summary import plain
from collector.cli.tree import node_row, tree
from collector.runs import locate


def why(
    event: options.EventName,
    run: options.RunOption = "",
    directory: options.Directory = Path("output"),
    depth: options.Depth = 5,
    json: options.Json = False,
) -> None:
    """Show what led to an event.

    Its causes, their causes and so on, each under what it caused.

    \b
    otel-events why wealth              the newest event of that name in the newest run
    otel-events why 9QK4TZ --depth 20   as far back as it goes, by the ending of its id
    """
    _answer("causes", queries.causes, locate(directory, run), event, depth, json)


def effects(
    event: options.EventName,
    run: options.RunOption = "",
    directory: options.Directory = Path("output"),
    depth: options.Depth = 5,
    json: options.Json = False,
) -> None:
    """Show what an event led to.

    Its effects, their effects and so on, each under what caused it.

    \b
    otel-events effects savings_rate
    otel-events effects 9QK4TX --run economy-20261121-101500-k3f9 --json
    """
    _answer("effects", queries.effects, locate(directory, run), event, depth, json)


def path(
    one: options.EventName,
    other: options.EventName,
    run: options.RunOption = "",
    directory: options.Directory = Path("output"),
    json: options.Json = False,
) -> None:
    """Show the chain between two events.

    The shortest chain of causes, whichever came first. Where neither led to the other, the exit code is 1.

    \b
    otel-events path savings_rate wealth
    """
    directory = locate(directory, run)
    nodes = queries.path(directory, queries.resolve(directory, one), queries.resolve(directory, other))
    if json:
        document({"path": [_node(node) for node in nodes]})
    elif nodes:
        endings = queries.endings(directory, [node.id for node in nodes])
        rows(node_row(node, "→ " if node.distance else "  ", endings) for node in nodes)
    else:
        show_line(plain(f"neither {one} nor {other} led to the other"))
    if not nodes:
        raise typer.Exit(1)


def _answer(
    direction: str, ask: Callable[[Path, str, int], Chain], run: Path, event: str, depth: int, json: bool
) -> None:
    chain = ask(run, queries.resolve(run, event), depth)
    if json:
        document(
            {
                "event": _node(chain.start),
                direction: [_node(node) for node in chain.nodes],
                "links": chain.links,
                "missing": chain.missing,
                "truncated": chain.truncated,
            }
        )
        return
    endings = queries.endings(run, [node.id for node in (chain.start, *chain.nodes)])
    deeper = f"goes on: --depth {min(2 * depth, MAX_DEPTH)}" if depth < MAX_DEPTH else f"goes on: more {direction}"
    rows(tree(chain, endings, deeper))


def _node(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = {"id": node.id, "distance": node.distance, "event": orjson.Fragment(node.opening.raw)}
    return found | ({"closing": orjson.Fragment(node.closing.raw)} if node.closing else {})
