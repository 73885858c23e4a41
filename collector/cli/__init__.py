"""The command line, `otel-events`. Exit codes: 0 yes, 1 no or different, 2 usage, 3 could not ask.

Every error is one sentence on stderr that names the next command to try. What a command needs is loaded when it runs.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from collector.cli import causes, examine, look, move, start, tail
from collector.cli.summary import plain
from otel_events.config import VERSION
from otel_events.errors import (
    AmbiguousEvent,
    EventNotFound,
    InvalidParameter,
    NotImportable,
    OtelEventsError,
    RunNotFound,
)

_NEXT = {
    EventNotFound: "see `otel-events events` for what there is",
    AmbiguousEvent: "see `otel-events events`, which prints what is enough",
    InvalidParameter: "see `otel-events {command} --help`",
    NotImportable: "see `otel-events import --help`",
}


class _Program(TyperGroup):
    """The commands, in the order in which one needs them, and what an error says and exits with."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()  # here a closed pipe can be handled, at exit it cannot
            return answer
        except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except (OtelEventsError, OSError) as error:
            typer.echo(f"otel-events: {_sentence(error, ctx.invoked_subcommand)}", err=True)
            raise typer.Exit(2 if isinstance(error, InvalidParameter | AmbiguousEvent) else 3) from None


def _sentence(error: Exception, command: str | None) -> str:
    if isinstance(error, OSError) and not isinstance(error, OtelEventsError):
        if error.filename is None:
            return plain(f"{error.strerror or error}; see `otel-events {command} --help`")
        return plain(f"{error.filename}: {error.strerror or error}; is the path right, and may you read it?")
    if isinstance(error, RunNotFound) and not error.run:
        return plain(f"no run in {error.directory}: make one with `otel-events demo`, or say --dir where yours are")
    further = next((text for kind, text in _NEXT.items() if isinstance(error, kind)), "")
    return plain(f"{error}{'; ' if further else ''}{further.format(command=command)}")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"otel-events {VERSION}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Record every event of a run, and ask why it happened.

    \b
    otel-events demo            record something and look at it
    otel-events runs            what was recorded
    otel-events events          what happened in the newest run
    otel-events why EVENT       what led to it, and what led to that
    otel-events COMMAND --help  examples of each

    Exit codes: 0 yes, 1 no or different, 2 wrong usage, 3 could not ask.
    """


app = typer.Typer(
    cls=_Program,
    callback=_program,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: list[Callable[..., None]] = [
    *(start.demo, start.serve),
    *(look.runs, look.events, look.show, causes.why, causes.effects, causes.path, tail.tail, look.stats),
    *(move.ship, examine.doctor, move.export, move.import_),
]
for _command in _COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)


def main() -> None:
    """The entry point. Where the output's encoding lacks a letter, its code is printed."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="otel-events")
