"""Importers: logs of other programs become runs. Nothing of a source is lost, and importing twice changes nothing.

An importer is a module with three functions; `FORMATS` names them all:

    conversation_of(line) -> str | None       what the line belongs to: one conversation is one run
    events(lines, …) -> Iterator[Event]       deterministic; a prefix of the lines gives a prefix of the events
    original(event) -> bytes | None           the line that the event was made from, byte for byte
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from collector.importers import pidgin
from collector.importers.writer import write_run
from otel_events.config import resource
from otel_events.errors import NotImportable
from otel_events.event import Event

FORMATS: Final[dict[str, ModuleType]] = {"pidgin-flat": pidgin, "pidgin-nested": pidgin}
_PEEK: Final = 20
"""How many lines of a file are looked at to see what it is; of files that were found, not named, so much of each."""
_PEEK_BYTES: Final = 1 << 20


class Outcome(NamedTuple):
    """What became of one source."""

    source: Path
    run: Path
    name: str
    events: int
    """Events of the source; `new` of them were not in the run before, `rejected` are lines nobody understands."""
    new: int
    rejected: int

    @property
    def sentence(self) -> str:
        rejected = f", {self.rejected} lines rejected" if self.rejected else ""
        if self.new == 0:
            return f"{self.run.name}: already imported, {self.events} events{rejected}"
        return f"{self.run.name}: {self.new} of {self.events} events imported{rejected}"


def sources(paths: Sequence[Path]) -> Iterator[Path]:
    """The files to import: those named, and those in the named directories that an importer understands.

    Raises NotImportable for a named file that none does, and for a directory without any."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = [file for file in sorted(path.rglob("*.jsonl*")) if file.is_file() and _recognised(_first_lines(file))]
        if not found:
            raise NotImportable(path, "no file in it that is")
        yield from found


def import_file(path: Path, directory: Path, timezone: tzinfo | None = None) -> Outcome:
    """Import one file as a run under `directory`. Raises NotImportable, ImportConflict, OSError."""
    lines = _read(path).split(b"\n")
    recognised = _recognised(lines[:_PEEK])
    if recognised is None:
        raise NotImportable(path, f"a file that begins {lines[0][:40]!r}")
    importer, conversation = recognised
    run = directory / _safe(conversation)
    events: list[Event] = list(
        importer.events(
            lines, simulation_id=run.name, conversation=conversation, name=_experiment(path), timezone=timezone
        )
    )
    name = str((events[0].details or {}).get("name") or run.name)
    new = write_run(run, events, resource(name, run.name, {}))
    return Outcome(path, run, name, len(events), new, sum(event.name == "import.rejected" for event in events))


def original(event: Event) -> bytes | None:
    """The source's line that an imported event was made from, without its newline; None where it was made from none."""
    importer = FORMATS.get(str((event.src or {}).get("format")), pidgin)
    line: bytes | None = importer.original(event)
    return line


def _recognised(lines: Sequence[bytes]) -> tuple[ModuleType, str] | None:
    """(importer, conversation) of the first line that any importer understands."""
    for line in lines:
        for importer in dict.fromkeys(FORMATS.values()):
            conversation: str | None = importer.conversation_of(line)
            if conversation is not None:
                return importer, conversation
    return None


def _read(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NotImportable(path, f"a damaged gzip file ({error})") from None


def _first_lines(path: Path) -> list[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return [file.readline(_PEEK_BYTES).rstrip(b"\n") for _ in range(_PEEK)]
    except (OSError, EOFError, zlib.error):  # not ours to judge: it was not named, only found
        return []


def _safe(conversation: str) -> str:
    """The name of the run's directory: the conversation's id, where that is fit to be one."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", conversation).strip(".-")[:80]
    return safe if safe == conversation else f"{safe or 'run'}-{hashlib.sha256(conversation.encode()).hexdigest()[:8]}"


def _experiment(path: Path) -> str | None:
    """The name of the experiment, which a manifest beside the file states."""
    try:
        name = json.loads((path.parent / "manifest.json").read_bytes()).get("name")
    except (OSError, ValueError, AttributeError):  # no manifest, or no manifest of Pidgin
        return None
    return name if isinstance(name, str) and name else None
