"""What the commands take, spelt once: where the runs are, which run, which events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from otel_events.errors import InvalidParameter
from otel_events.filters import EventFilter

Directory = Annotated[
    Path,
    typer.Option("--dir", envvar="OTEL_EVENTS_DIR", help="Where the runs are; may itself be a run.", metavar="DIR"),
]
Run = Annotated[
    str, typer.Argument(help="A run's id under --dir, or its path; the newest if left out.", metavar="[RUN]")
]
RunOption = Annotated[
    str, typer.Option("--run", "-r", help="A run's id or path; the newest if left out.", metavar="RUN")
]
EventName = Annotated[
    str,
    typer.Argument(
        help="The ending of its id, a span or trace id, or its name or the name's last part: the newest one.",
        metavar="EVENT",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON: events as their lines, all else as one document.")]
Depth = Annotated[int, typer.Option("--depth", "-d", help="How many steps to follow, 1 to 20.", metavar="N")]
Types = Annotated[
    list[str] | None, typer.Option("--type", "-t", help="MILESTONE, DECISION …; repeat for more.", metavar="TYPE")
]
Agents = Annotated[list[str] | None, typer.Option("--agent", "-a", help="Who; repeat for more.", metavar="AGENT")]
Names = Annotated[
    list[str] | None, typer.Option("--name", "-n", help="A name or its last part; repeat for more.", metavar="NAME")
]
Sessions = Annotated[list[str] | None, typer.Option("--session", help="A session's id; repeat for more.", metavar="ID")]
Turns = Annotated[str, typer.Option("--turn", help="A turn or a range of turns: 7, 5-10, 5- or -10.", metavar="TURNS")]
Since = Annotated[
    str | None, typer.Option("--since", help="The first moment, ISO 8601; UTC unless it says.", metavar="TIME")
]
Until = Annotated[str | None, typer.Option("--until", help="The last moment, ISO 8601.", metavar="TIME")]


def selection(
    types: list[str] | None,
    agents: list[str] | None,
    names: list[str] | None,
    sessions: list[str] | None,
    turns: str = "",
    since: str | None = None,
    until: str | None = None,
    **page: Any,
) -> EventFilter:
    """The filter that the options state. Raises InvalidParameter."""
    first, last = _range(turns)
    return EventFilter(
        event_types=[event_type.upper() for event_type in types or ()],
        agent_ids=agents,
        names=names,
        session_ids=sessions,
        turn_start=first,
        turn_end=last,
        start_timestamp=since,
        end_timestamp=until,
        **page,
    )


def _range(turns: str) -> tuple[int | None, int | None]:
    first, dash, last = turns.partition("-")
    if not all((text.isascii() and text.isdigit()) or not text for text in (first, last)) or turns == "-":
        raise InvalidParameter("--turn", "a turn or a range such as 7, 5-10, 5- or -10", turns)
    start = int(first) if first else None
    return start, (int(last) if last else None) if dash else start
