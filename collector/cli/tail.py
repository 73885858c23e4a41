"""The command that follows a run: tail."""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer

from collector.answers import Found
from collector.cli import options
from collector.cli.render import listing
from collector.runs import lines, locate, parts
from otel_events import codec
from otel_events.errors import CorruptLine
from otel_events.filters import EventFilter
from otel_events.follow import is_written
from otel_events.parts import Line, Part, id_in

_POLL_S: Final = 0.2


def tail(
    run: options.Run = "",
    directory: options.Directory = Path("output"),
    types: options.Types = None,
    agents: options.Agents = None,
    names: options.Names = None,
    sessions: options.Sessions = None,
    last: Annotated[int, typer.Option("--lines", "-l", help="Begin with the last N events.", metavar="N", min=0)] = 10,
    json: options.Json = False,
) -> None:
    """Follow a run while it is recorded. Ends when the run closes, or with Ctrl-C.

    \b
    otel-events tail
    otel-events tail --type DECISION --json
    """
    criteria = options.selection(types, agents, names, sessions)
    directory = locate(directory, run)
    with suppress(KeyboardInterrupt):
        _follow(directory, criteria, last, json)


def _follow(run: Path, criteria: EventFilter, last: int, json: bool) -> None:
    offsets: dict[str, int] = {}
    lines_of_run = Counter[str | None]()
    over, first = False, True
    while not over:
        over = lines_of_run["close"] >= lines_of_run["open"] > 0 and not is_written(run)
        found: deque[Found] = deque(maxlen=last if first else None)
        for item in _added(run, offsets):
            if item.event.name == "run":
                lines_of_run[item.event.phase] += 1
            if criteria.matches(item.event):
                found.append(item)
        listing(run, list(found), json)
        sys.stdout.flush()
        if not (over or first):
            time.sleep(_POLL_S)
        first = False


def _added(run: Path, offsets: dict[str, int]) -> Iterator[Found]:
    """What the parts have gained since `offsets`, which moves on; in the order of ids."""
    added = [_new_lines(part, offsets) for part in parts(run)]
    for line in heapq.merge(*added, key=lambda line: id_in(line.text) or ""):
        with suppress(CorruptLine):  # `doctor` tells about it
            yield Found(line, codec.decode(line.text))


def _new_lines(part: Part, offsets: dict[str, int]) -> Iterator[Line]:
    for line in lines(part, offsets.get(part.name, 0)):
        offsets[part.name] = line.end
        yield line
