"""Commands that bring events in and out: import, export, ship."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from collector.cli import options
from collector.cli.render import document, note, show_line, target_lines
from collector.cli.summary import plain
from collector.runs import Skipped, locate
from otel_events.errors import ImportConflict, InvalidParameter


def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="Files, or directories to search for conversations.", metavar="PATH...")
    ],
    directory: options.Directory = Path("output"),
    timezone: Annotated[
        str,
        typer.Option(
            "--timezone", help="Of times without a zone, e.g. Europe/Berlin; UTC if left out.", metavar="ZONE"
        ),
    ] = "",
    json: options.Json = False,
) -> None:
    """Make runs of the logs of other programs.

    So far: Pidgin's conversations, one file one run, in both its formats.

    Importing again changes nothing; what a file has gained since is added. Nothing is lost: `export --format source`
    gives the lines back, byte for byte, and a line that nobody understands becomes an `import.rejected` event. Where
    a run exists and does not continue into its file, it stays as it is and the exit code is 1.

    \b
    otel-events import pidgin_output/
    otel-events import conv_318b4e2f_events.jsonl --timezone America/Los_Angeles
    """
    from collector.importers import import_file, sources

    zone = _zone(timezone)
    outcomes, conflicts = [], []
    for source in sources(paths):
        try:
            outcomes.append(import_file(source, directory, zone))
        except ImportConflict as error:
            conflicts.append(str(error))
            note(f"otel-events: {error}")
        else:
            if not json:
                show_line(plain(outcomes[-1].sentence))
    if json:
        document({"imported": [outcome._asdict() for outcome in outcomes], "conflicts": conflicts})
    if conflicts:
        raise typer.Exit(1)


def export(
    run: options.Run = "",
    directory: options.Directory = Path("output"),
    form: Annotated[
        Literal["jsonl", "csv", "source"],
        typer.Option("--format", "-f", help="The lines of the log, a table, or the lines that were imported."),
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a file.", metavar="FILE", dir_okay=False)
    ] = None,
    types: options.Types = None,
    agents: options.Agents = None,
    names: options.Names = None,
    sessions: options.Sessions = None,
    turns: options.Turns = "",
    since: options.Since = None,
    until: options.Until = None,
) -> None:
    """Write a run as one stream.

    All its parts, compressed ones too, in the order of events.

    \b
    otel-events export > run.jsonl
    otel-events export --format csv --type STATE --output states.csv
    """
    from collector.export import export as exported

    criteria = options.selection(types, agents, names, sessions, turns, since, until)
    directory, skipped = locate(directory, run), Skipped()
    pieces = exported(directory, form, criteria, skipped)
    if output is None:
        stdout = typer.get_binary_stream("stdout")
        for piece in pieces:
            stdout.write(piece)
        stdout.flush()
    else:
        _write(output, pieces)
    if skipped.count:
        note(f"{skipped.count} lines are no events and were left out: `otel-events doctor {directory}` says which")


def ship(
    run: options.Run = "",
    directory: options.Directory = Path("output"),
    follow: Annotated[bool, typer.Option("--follow", help="Go on for as long as the run is written.")] = False,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", help="An OTLP endpoint; else OTEL_EXPORTER_OTLP_ENDPOINT.", metavar="URL"),
    ] = None,
    json: options.Json = False,
) -> None:
    """Send a run to Jaeger, Tempo, Loki or a Collector.

    It goes on where it stopped. Where something is left, the exit code is 1.

    \b
    otel-events ship --endpoint http://localhost:4318
    otel-events ship economy-20261121-101500-k3f9 --follow
    """
    from otel_events import config
    from otel_events.ship import ship as shipped

    directory = locate(directory, run)
    targets = config.targets(endpoint)
    if not targets:
        if config.disabled():
            raise InvalidParameter("OTEL_SDK_DISABLED", "it unset or false: it switches shipping off", "true")
        raise InvalidParameter("--endpoint", "an OTLP endpoint, here or in OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    stats = shipped(directory, targets, follow=follow, say=note)
    if json:
        document({"run": directory.resolve().name, "targets": stats})
    else:
        for line in target_lines(stats):
            show_line(line)
    if not all(found.complete for found in stats):
        raise typer.Exit(1)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (OSError, ValueError, KeyError):  # a directory, a path that leads out, an unknown name
        raise InvalidParameter("--timezone", "a name such as Europe/Berlin", name) from None


def _write(output: Path, pieces: Iterator[bytes]) -> None:
    """Write the file as a whole or not at all."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as file:  # with the permissions of any new file, which a temporary one has not
            file.writelines(pieces)
        os.replace(temporary, output)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(output)  # what the user has named
        raise
    print(output, file=sys.stderr)
