"""What is made from the code: `python -m tests.reference` writes collector/REFERENCE.md and the JSON Schema of a line.

A test compares the two, so that every method, field, command, option, route and error that exists is documented.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer.main

import collector
import otel_events
from collector.api import create_app
from collector.cli import app
from otel_events import errors, event, schema, simulation, testing, values
from otel_events.filters import EventFilter
from otel_events.recorder import Recorder
from otel_events.scope import Scope
from otel_events.stats import Stats

PAGE = Path(collector.__file__).parent / "REFERENCE.md"
SCHEMA = Path(otel_events.__file__).parent / "event.schema.json"
ENVIRONMENT = {
    "OTEL_EVENTS_DIR": "where runs lie, for the recorder and the command line; default `output`",
    "OTEL_EVENTS_RUN": "what `Recorder.environ()` gives to child processes: the run and the place that they join",
    "TRACEPARENT": "a foreign parent: becomes a link of the run's root",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "base URL to ship to; `/v1/traces` and `/v1/logs` are appended",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, …_LOGS_ENDPOINT": "whole URL for one signal; it wins",
    "OTEL_EXPORTER_OTLP_HEADERS, …_TIMEOUT, …_COMPRESSION, …_CERTIFICATE, …_CLIENT_KEY, …_CLIENT_CERTIFICATE": (
        "as the exporters read them, each also with `_TRACES_` or `_LOGS_`; time-outs in seconds"
    ),
    "OTEL_TRACES_EXPORTER, OTEL_LOGS_EXPORTER": "`none` switches a signal off",
    "OTEL_SDK_DISABLED": "`true` ships nothing; the file is written all the same",
    "OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES": "the resource; by default the run's name is the service",
    "OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG": "asked once, when a trace is opened; the file keeps everything",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": (
        "`no_content` (default), `span_only`, `event_only`, `span_and_event`: where prompts and answers may go"
    ),
    "NO_COLOR": "no colours on a terminal",
}


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield "Made from the code by `python -m tests.reference`; a test holds the two together."
    yield from _class("Recorder", Recorder)
    yield from _class("Scope", Scope, only=("open", "close", "set", "finish", "ref"))
    yield from _class("Run, in `collector`", collector.Run)
    yield from _class("EventService, in `collector`", collector.EventService)
    yield from _class("EventWriter, in `otel_events.simulation`", simulation.EventWriter)
    created = [function for name, function in vars(simulation).items() if name.startswith("create_")]
    yield from _functions("Module `otel_events.simulation`", created)
    yield from _functions("Module `otel_events`", [otel_events.carry, otel_events.current])
    yield from _fields("Stats", Stats)
    yield from _functions("Module `otel_events.testing`", [testing.recording, testing.events, testing.assert_caused])
    yield from _event()
    yield from _values()
    yield from _fields("EventFilter", EventFilter)
    yield from _commands()
    yield from _routes()
    yield from _table("Environment variables", ("variable", "meaning"), list(ENVIRONMENT.items()))
    yield from _table("Errors", ("class", "meaning"), [(name, _first(kind)) for name, kind in _errors()])


def _table(title: str, head: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "", f"| {head[0]} | {head[1]} |", "|---|---|")
    for name, meaning in rows:
        yield f"| `{name}` | {meaning} |".replace("\n", " ")


def _class(title: str, kind: type, only: tuple[str, ...] | None = None) -> Iterator[str]:
    yield from ("", f"## {title}", "", _paragraphs(kind.__doc__))
    if only is None:
        yield from ("", "```python", f"{kind.__name__}{_signature(kind.__init__)}", "```")
    rows = []
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or (only is not None and name not in only):
            continue
        if isinstance(member, property):
            rows.append((name, _first(member)))
        if inspect.isclass(member) or not callable(member):
            continue
        rows.append((f"{name}{_signature(member)}", _first(member)))
    yield from ("", "| method | meaning |", "|---|---|")
    for call, meaning in rows:
        escaped = call.replace(" | ", " \\| ")
        yield f"| `{escaped}` | {meaning} |".replace("\n", " ")


def _functions(title: str, functions: list[Any]) -> Iterator[str]:
    yield from _table(title, ("function", "meaning"), [(_call(function), _first(function)) for function in functions])


def _call(function: Any) -> str:
    return f"{function.__name__}({', '.join(inspect.signature(function).parameters)})"


def _fields(title: str, kind: type) -> Iterator[str]:
    source = inspect.getsource(kind)
    found = re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', source, re.DOTALL | re.MULTILINE)
    fields = [(name, " ".join(text.split())) for name, text in found if not name.startswith("ask_")]
    derived = [(name, _first(member)) for name, member in vars(kind).items() if isinstance(member, property)]
    yield from _table(title, ("field", "meaning"), fields + derived)


def _event() -> Iterator[str]:
    properties = schema.json_schema()["properties"]
    rows = [(name, f"{properties[name].get('description', '')}") for name in event.FIELDS]
    yield from _table("The fields of a line, in their order", ("field", "meaning"), rows)
    levels = [(kind, f"recorded from verbosity {_first_level(kind)} on") for kind in event.LEVELS]
    yield from _table("Event types", ("type", "level"), levels)


def _first_level(kind: str) -> str:
    return next(name for name, level in event.LEVELS.items() if level == event.LEVELS[kind])


def _values() -> Iterator[str]:
    table = [line for line in (values.__doc__ or "").splitlines() if line.startswith("|")]
    yield from ("", "## What becomes of odd values", "", *table)


def _commands() -> Iterator[str]:
    program = typer.main.get_command(app)
    assert isinstance(program, click.Group) or hasattr(program, "commands")
    yield from ("", "## Command line")
    for name, command in program.commands.items():
        yield from ("", f"### otel-events {name}", "", (command.help or "").split("\n\n")[0].strip(), "")
        for parameter in command.params:
            names = ", ".join(getattr(parameter, "opts", [parameter.name])) or parameter.name
            if parameter.name != "help":
                yield f"- `{names}` {' '.join((getattr(parameter, 'help', '') or '').split())}".rstrip()


def _routes() -> Iterator[str]:
    paths = create_app(Path(".")).openapi()["paths"]
    rows = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            asked = ", ".join(f"`{item['name']}`" for item in operation.get("parameters", []) if item["in"] == "query")
            rows.append((f"{method.upper()} {path}", f"{operation.get('summary', '')}{': ' if asked else ''}{asked}"))
    yield from _table("REST", ("route", "answer: query parameters"), rows)


def _errors() -> list[tuple[str, type]]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return [(name, kind) for name, kind in classes if kind.__module__ == errors.__name__]


def _signature(member: Any) -> str:
    text = str(inspect.signature(member)).replace("(self, ", "(").replace("(self)", "()")
    return re.sub(r" -> .*$", "", re.sub(r"<[^>]*>", "…", text)).replace("'", "")


def _paragraphs(text: str | None) -> str:
    return inspect.cleandoc(text or "")


def _first(documented: Any) -> str:
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def schema_text() -> str:
    """The JSON Schema of a line, as other programs read it."""
    return json.dumps(schema.json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    print(f"{PAGE.name} and {SCHEMA.name} are up to date")
