"""Everything that goes to a terminal or file: listings, trees, tables, lines, documents.

Colour only at a terminal, and not with NO_COLOR. Elsewhere it is 120 columns wide, always.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from collector import queries
from collector.answers import Found
from collector.cli.summary import phase, plain, summary
from otel_events.event import Event

if TYPE_CHECKING:
    from otel_events.ship import TargetStats

WIDTH = 120
"""Columns where the output is no terminal."""
_AGENT_WIDTH = 30

_COLOURS = {
    "MILESTONE": "bold blue",
    "DECISION": "magenta",
    "ACTION": "green",
    "STATE": "cyan",
    "DETAIL": "dim",
    "SYSTEM": "yellow",
}


class Row(NamedTuple):
    """A line of a listing or tree: `before` is the branch, `notes` stand behind the agent."""

    before: str
    id: str
    type: str
    summary: str
    agent: str
    notes: str = ""


class _Console(Console):
    """A console that leaves a closed pipe to the program: every command ends the same way then."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@cache
def console() -> Console:
    """Where answers go. Made once, when the first is printed."""
    colour = not os.environ.get("NO_COLOR") and sys.stdout.isatty()
    width = None if sys.stdout.isatty() else WIDTH
    return _Console(highlight=False, markup=False, emoji=False, width=width, color_system="auto" if colour else None)


def show_line(line: str | Text) -> None:
    """Print one line as it is: not wrapped, not cut."""
    console().print(line, soft_wrap=True)


def raw(line: bytes) -> None:
    """Print a line of the log as it stands there."""
    sys.stdout.flush()
    typer.get_binary_stream("stdout").write(line + b"\n")


def document(value: Any) -> None:
    """Print the one JSON document of an answer."""
    raw(orjson.dumps(value, str, orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))


def note(text: str) -> None:
    """Say something about the answer that is no part of it."""
    typer.echo(plain(text), err=True)


def listing(run: Path, found: Sequence[Found], json: bool) -> None:
    """Print events, one a line, with the shortest endings of their ids; as JSON, their lines."""
    if json:
        for item in found:
            raw(item.raw)
    elif found:
        endings = queries.endings(run, [item.event.event_id for item in found])
        rows(_event_row(item.event, endings[item.event.event_id]) for item in found)


def target_lines(stats: Iterable[TargetStats]) -> list[str]:
    """What became of a run at each target, a sentence each."""
    return [_target(found) for found in stats]


def _target(found: TargetStats) -> str:
    counted = f"{found.lines - found.pending:,} of {found.lines:,} lines shipped"
    noun = "spans" if found.signal == "traces" else "log records"
    odd = {f"{noun} rejected": found.rejected, "unmappable": found.unmappable, "no events": found.corrupt}
    parts = [counted, *(f"{number:,} {what}" for what, number in odd.items() if number)]
    why = found.switched_off or found.last_error
    return plain(f"{found.signal} to {found.endpoint}: {', '.join(parts)}{f'; {why}' if why else ''}")


def fit(text: str, width: int) -> str:
    """The text in at most so many columns; what is cut off is marked with …"""
    return text if cell_len(text) <= width else set_cell_size(text, max(width - 1, 0)).rstrip(" …") + "…"


def rows(found: Iterable[Row]) -> None:
    """Print rows with id, type, summary and agent in columns, within the width of the terminal.

    A row that ends with its summary has the whole width for it."""
    safe = [Row(row.before, *(plain(text) for text in row[1:])) for row in found]
    safe = [row._replace(agent=fit(row.agent, _AGENT_WIDTH)) for row in safe]
    last = max((cell_len(_ending(row)) for row in safe), default=0)
    heads = [f"{row.before}{row.id} {row.type:<9} " if row.type else f"{row.before}{row.id} " for row in safe]
    rooms = [console().width - (last + 2 if _ending(row) else 0) for row in safe]
    texts = [
        fit(row.summary, max(room - cell_len(head), 12)) for row, head, room in zip(safe, heads, rooms, strict=True)
    ]
    widths = [cell_len(head + text) for head, text in zip(heads, texts, strict=True)]
    column = max((width for row, width in zip(safe, widths, strict=True) if _ending(row)), default=0) + 2
    for row, text, width in zip(safe, texts, widths, strict=True):
        show_line(_row(row, text, column - width))


def _ending(row: Row) -> str:
    return "  ".join(filter(None, (row.agent, row.notes)))


def _row(row: Row, text: str, gap: int) -> Text:
    line = Text()
    line.append(row.before, "dim")
    line.append(row.id, "bold")
    line.append(f" {row.type:<9} " if row.type else " ", _COLOURS.get(row.type, ""))
    line.append(text, "red" if " ✗ " in text else "")
    if row.agent or row.notes:
        line.append(" " * gap)
        line.append(row.agent, "bold" if row.agent else "")
        line.append(f"{'  ' if row.agent and row.notes else ''}{row.notes}", "dim")
    return line


def _event_row(event: Event, ending: str) -> Row:
    """An event in a listing of lines: a scope's opening and closing are two."""
    time = event.timestamp[11:23] if event.timestamp[10:11] == "T" else event.timestamp[:12]
    words = summary(event, phase=phase(event))
    return Row(f"{plain(time)} ", ending, event.event_type, words, event.agent_id or "")


def table(head: Sequence[str], body: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print columns with a head, if there is anything to print; those in `right` are aligned at the right."""
    if not body:
        return
    cells = [[plain(cell) for cell in line] for line in body]
    widths = [max(cell_len(line[column]) for line in (list(head), *cells)) for column in range(len(head))]
    for number, line in enumerate((list(head), *cells)):
        padded = [
            " " * (width - cell_len(cell)) + cell if column in right else set_cell_size(cell, width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        show_line(Text(fit("  ".join(padded).rstrip(), console().width), "bold" if number == 0 else ""))


def counts(title: str, numbers: Mapping[str, int], most: int = 12) -> None:
    """Print a titled list of counts, the largest first, at most so many."""
    if not numbers:
        return
    show_line(Text(title, "bold"))
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    width = max(cell_len(plain(key)) for key, _ in ordered[:most])
    for key, number in ordered[:most]:
        show_line(f"  {set_cell_size(plain(key), width)}  {number:>8,}")
    if len(ordered) > most:
        show_line(f"  … and {len(ordered) - most} more")
