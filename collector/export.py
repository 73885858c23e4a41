"""A run in one stream: the lines of all its parts in order as JSON Lines, as a table, or in the words of its source.

- `jsonl` gives the bytes of the log. Exporting changes nothing in them.
- `csv` has one row an event and one column a field; objects and lists are JSON text. A text that a spreadsheet would
  take for a formula (it begins with `=`, `+`, `-`, `@`, tab or return) gets an apostrophe in front.
- `source` gives back the lines that an importer read, byte for byte, without those of events that it added.
Everything streams.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from collector.importers import original
from collector.runs import Skipped, scan
from otel_events.event import FIELDS, Event
from otel_events.filters import EventFilter

_COLUMNS: Final = (*FIELDS, "extra")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def export(run: Path, form: str, criteria: EventFilter, skipped: Skipped) -> Iterator[bytes]:
    """The pieces of the export, a line or row each. `form` is a key of FORMS; limit and offset of the filter play
    no part. Raises RunNotFound."""
    selected = ((line.text, event) for line, event in scan(run, skipped) if criteria.matches(event))
    return FORMS[form](selected)


def _jsonl(events: Iterator[tuple[bytes, Event]]) -> Iterator[bytes]:
    return (text + b"\n" for text, _ in events)


def _csv(events: Iterator[tuple[bytes, Event]]) -> Iterator[bytes]:
    row = io.StringIO()
    writer = csv.writer(row)
    for cells in _rows(events):
        writer.writerow(cells)
        yield row.getvalue().encode("utf-8", "backslashreplace")
        row.seek(0)
        row.truncate()


def _rows(events: Iterator[tuple[bytes, Event]]) -> Iterator[list[str]]:
    yield list(_COLUMNS)
    for _, event in events:
        yield [_cell(getattr(event, column)) for column in _COLUMNS]


def _cell(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return orjson.dumps(value).decode()


def _source(events: Iterator[tuple[bytes, Event]]) -> Iterator[bytes]:
    return (line + b"\n" for _, event in events if (line := original(event)) is not None)


FORMS: Final[dict[str, Callable[[Iterator[tuple[bytes, Event]]], Iterator[bytes]]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "source": _source,
}
