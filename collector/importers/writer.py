"""Writes imported runs. What is there is never rewritten: a run is new as a whole, or unchanged, or longer than before.

A new run is written in a hidden directory beside its place, synced, and renamed: it is there completely or not at all,
and of two importers one wins. Events that a source has gained since are appended under the part's lock; an append that
was cut short is completed by the next one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from otel_events import lock, parts
from otel_events.codec import encode_event
from otel_events.errors import ImportConflict
from otel_events.event import Event


def write_run(directory: Path, events: Sequence[Event], resource: dict[str, object]) -> int:
    """Make the run's directory hold these events; how many of them are new. Raises ImportConflict, OSError."""
    if parts.is_run(directory):
        return _extend(directory, events)
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        _write(temporary / "unfinished", _lines(events, resource))
        os.rename(temporary / "unfinished", temporary / parts.FIRST_PART)  # only now is it a run to anybody else
        os.rename(temporary, directory)  # fails where another importer was faster: a run's directory is never empty
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and parts.is_run(directory):
            return _extend(directory, events)
        raise
    _sync_directory(directory.parent)
    return len(events)


def _extend(directory: Path, events: Sequence[Event]) -> int:
    """Append what the run does not have yet, if what it has is where these events begin."""
    part = parts.parts_of(directory)[0]
    first = parts.first_line(part)
    lines = _lines(events, parts.resource_in(first or b"") or {})
    kept = b"".join(line.text + b"\n" for line in parts.read_lines(part))
    if lines == kept and (part.compressed or part.path.stat().st_size == len(lines)):
        return 0
    if part.compressed:
        raise ImportConflict(directory, f"{part.path.name}, which is compressed and cannot grow with its source")
    with part.path.open("rb+") as file:
        if not lock.try_lock(file.fileno()):
            raise ImportConflict(directory, f"{part.path.name}, which another process is writing")
        there = file.read()
        if not lines.startswith(there):
            raise ImportConflict(directory, "events that this source does not begin with")
        file.write(lines[len(there) :])
        file.flush()
        os.fsync(file.fileno())
    return lines.count(b"\n") - there.count(b"\n")


def _lines(events: Sequence[Event], resource: dict[str, object]) -> bytes:
    first = replace(events[0], resource=resource)
    return b"".join(encode_event(event) for event in (first, *events[1:]))


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
