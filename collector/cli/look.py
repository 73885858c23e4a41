"""Commands that list and describe: runs, events, show, stats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.text import Text

from collector import queries
from collector.answers import Found, Statistics
from collector.cli import options
from collector.cli.render import counts, document, listing, note, raw, show_line, table, target_lines
from collector.cli.summary import phase, plain, summary
from collector.runs import locate, state_of
from otel_events.errors import RunNotFound


def runs(directory: options.Directory = Path("output"), json: options.Json = False) -> None:
    """List the runs, the newest first.

    A run is open while a process writes it, closed when it says so itself, and has never ended when neither is true:
    its program was killed.

    \b
    otel-events runs
    otel-events runs --dir /data/experiments --json
    """
    found = [(run, state_of(run.directory)) for run in queries.runs(directory)]
    if json:
        document({"runs": [{**run.public, "state": state} for run, state in found]})
    elif not found:
        raise RunNotFound("", directory)
    else:
        cells = [
            [run.id, run.name, (run.start_time or "")[:19].replace("T", " "), f"{run.event_count:,}", state]
            for run, state in found
        ]
        table(["ID", "NAME", "START", "EVENTS", "STATE"], cells, right=[3])


def events(
    run: options.Run = "",
    directory: options.Directory = Path("output"),
    types: options.Types = None,
    agents: options.Agents = None,
    names: options.Names = None,
    sessions: options.Sessions = None,
    turns: options.Turns = "",
    since: options.Since = None,
    until: options.Until = None,
    limit: Annotated[int, typer.Option("--limit", "-l", help="At most so many, up to 10,000.", metavar="N")] = 1000,
    offset: Annotated[int, typer.Option("--offset", help="Skip so many first.", metavar="N")] = 0,
    json: options.Json = False,
) -> None:
    """List the events of a run. Without a match the exit code is 1, as with grep.

    \b
    otel-events events --type DECISION --agent alice
    otel-events events --name wealth --turn 5-10
    otel-events events --json | jq .details
    """
    criteria = options.selection(types, agents, names, sessions, turns, since, until, limit=limit, offset=offset)
    directory = locate(directory, run)
    page = queries.find(directory, criteria)
    listing(directory, page.events, json)
    if page.has_more:
        note(f"{len(page.events):,} of {page.total:,} events; see the next with --offset {offset + len(page.events)}")
    if page.skipped.count:
        note(f"{page.skipped.count} lines are no events: `otel-events doctor {directory}` says which")
    if not page.events:
        raise typer.Exit(1)


def show(
    event: options.EventName,
    run: options.RunOption = "",
    directory: options.Directory = Path("output"),
    json: options.Json = False,
) -> None:
    """Show all that the log says of an event.

    Of a scope, how it opened and how it closed.

    \b
    otel-events show wealth
    otel-events show 9QK4TZ --json
    """
    directory = locate(directory, run)
    node = queries.node(directory, queries.resolve(directory, event))
    for found in filter(None, (node.opening, node.closing)):
        if json:
            raw(found.raw)
        else:
            _fields(found)
    if not json:
        show_line(f"Its causes: otel-events why {node.id}    its effects: otel-events effects {node.id}")


def stats(run: options.Run = "", directory: options.Directory = Path("output"), json: options.Json = False) -> None:
    """Show a run in numbers.

    Types, agents, names, turns, durations, LLM calls and their tokens, errors.

    \b
    otel-events stats
    otel-events stats --json | jq .llm_calls
    """
    directory = locate(directory, run)
    from otel_events.ship import target_stats

    found, state, targets = queries.stats(directory), state_of(directory), target_stats(directory)
    if json:
        document({"run": directory.resolve().name, "state": state, **_numbers(found), "targets": targets})
    else:
        _statistics(directory.resolve().name, state, found)
        for line in target_lines(targets):
            show_line(line)
    if found.skipped.count:
        note(f"{found.skipped.count} lines are no events: `otel-events doctor {directory}` says which")


def _fields(found: Found) -> None:
    event = found.event
    show_line(Text(plain(f"{event.event_type} {summary(event, phase=phase(event))}"), "bold"))
    fields = {**orjson.loads(found.raw), "at": found.line.where}
    width = max(len(plain(name)) for name in fields)
    for name, value in fields.items():
        for number, line in enumerate(_lines(name, value)):
            show_line(f"  {plain(name) if number == 0 else '':<{width}}  {plain(line)}")
    show_line("")


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split("\n")
    if name == "error" and isinstance(value, dict):
        stack = str(value.get("stacktrace") or "").rstrip().split("\n")
        return [f"{value.get('type')}: {value.get('message')}", *filter(None, stack)]
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().split("\n")


def _statistics(name: str, state: str, found: Statistics) -> None:
    show_line(Text(plain(f"{name}: {found.events:,} events, {state or 'no end stated'}"), "bold"))
    show_line(plain(f"{found.first or ''} … {found.last or ''}"))
    if turns := [turn for turn in found.turns if turn > 0]:
        show_line(f"turns {min(turns)} to {max(turns)}")
    counts("Types", found.types)
    counts("Agents", found.agents)
    counts("Names", found.names)
    counts("Errors", found.errors)
    took = sorted(found.durations.items())
    table(
        ["SCOPE", "COUNT", "MEAN ms", "MIN ms", "MAX ms"],
        [[name, f"{d.count:,}", *(f"{ns / 1e6:,.3f}" for ns in (d.mean_ns, d.min_ns, d.max_ns))] for name, d in took],
        right=[1, 2, 3, 4],
    )
    calls = sorted(found.llm_calls.items())
    table(
        ["MODEL", "CALLS", "ERRORS", "TOKENS IN", "TOKENS OUT"],
        [[model, *(f"{n:,}" for n in (c.count, c.errors, c.input_tokens, c.output_tokens))] for model, c in calls],
        right=[1, 2, 3, 4],
    )
    if found.open_scopes:
        show_line(f"{len(found.open_scopes):,} open: {plain(', '.join(sorted(set(found.open_scopes.values()))))}")


def _numbers(found: Statistics) -> dict[str, Any]:
    as_they_are = ("events", "first", "last", "types", "agents", "names", "turns", "errors", "llm_calls", "open_scopes")
    took = {
        name: {"count": d.count, "mean_ns": d.mean_ns, "min_ns": d.min_ns, "max_ns": d.max_ns}
        for name, d in found.durations.items()
    }
    return {**{key: getattr(found, key) for key in as_they_are}, "durations": took, "skipped": found.skipped.count}
