"""Runs under a directory, and the events of a run in order.

- A name leads to a run directly below the directory or nowhere: no spelling of it reaches another place, and a part
  that is a link out of its run is not read.
- The order of a run is the order of `event_id` over all its parts; a part that is not sorted keeps its own order.
- A line that is no event is skipped and counted with its place; an id that occurs twice is read once.
- Whether a run is open, and how many events it has, is said without decoding the lines that look like a recorder's.
- Reading never writes and never waits.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from otel_events import codec, lock, timestamp
from otel_events.errors import CorruptLine, RunNotFound
from otel_events.event import Event
from otel_events.follow import is_written
from otel_events.parts import Line, Part, is_run, parts_of, read_lines

MAX_PLACES: Final = 20
_RECORDED: Final = re.compile(rb'\{"event_id":"[0-9A-Z]{26}","timestamp":".*\}', re.DOTALL)
_RUN_PHASE: Final = b'"name":"run","phase":"'

Entry = tuple[Line, Event]


@dataclass
class Skipped:
    """The lines of a scan that are no events."""

    count: int = 0
    places: list[str] = field(default_factory=list)
    """Part, byte and reason of the first 20."""

    def add(self, line: Line, error: CorruptLine) -> None:
        self.count += 1
        if len(self.places) < MAX_PLACES:
            self.places.append(f"{line.where}: {error.reason}")


def all_runs(directory: Path) -> list[Path]:
    """The runs under a directory, the newest first; the directory itself if it is a run; [] if there is none."""
    if is_run(directory):
        return [directory]
    try:
        found = [path for path in directory.iterdir() if is_run(path) and _inside(path, directory)]
    except OSError:  # no such directory: it has no runs
        return []
    return sorted(found, key=_begun, reverse=True)


def newest_run(directory: Path) -> Path:
    """The run that began last; the directory itself if it is a run. Raises RunNotFound."""
    newest = next(iter(all_runs(directory)), None)
    if newest is None:
        raise RunNotFound("", directory)
    return newest


def find_run(directory: Path, name: str) -> Path:
    """The run of that name directly under the directory, or the directory itself. Raises RunNotFound."""
    if is_run(directory) and directory.resolve().name == name:
        return directory
    path = directory / name
    if not {"/", "\\"}.isdisjoint(name) or not (_inside(path, directory) and is_run(path)):
        raise RunNotFound(name, directory)
    return path


def locate(directory: Path, run: str = "") -> Path:
    """The run that a person means: by its name under the directory or by its path, the newest one for "".
    Only for people at their own machine, since a path may lead anywhere. Raises RunNotFound."""
    if not run:
        return newest_run(directory)
    try:
        return find_run(directory, run)
    except RunNotFound:
        if is_run(Path(run)):
            return Path(run)
        raise


def parts(run: Path) -> list[Part]:
    """The parts of a run that lie in it. Raises RunNotFound when the directory is no run (any more)."""
    try:
        found = [part for part in parts_of(run) if _inside(part.path, run)]
    except (FileNotFoundError, NotADirectoryError):
        found = []
    if not found:
        raise RunNotFound(run.name, run.parent)
    return found


def lines(part: Part, start: int = 0) -> Iterator[Line]:
    """The complete lines of a part; none if it was removed, and those of the compressed file if it was compressed."""
    try:
        yield from read_lines(part, start)
    except FileNotFoundError:
        compressed = Part(part.path.with_name(f"{part.name}.gz"), compressed=True)
        if not part.compressed and compressed.path.is_file():
            yield from read_lines(compressed, start)


def scan(run: Path, skipped: Skipped | None = None, sieve: bytes = b"") -> Iterator[Entry]:
    """Every event of the run and its line, in order. Memory does not grow with a run whose parts are sorted.

    With a `sieve`, in lower case, only lines that contain it in either case of letters: a tenth of the time."""
    found = parts(run)
    skipped = Skipped() if skipped is None else skipped
    yield from _once(_merged(found, skipped, sieve), lambda: _merged(found, Skipped(), sieve))


def first(run: Path) -> Event | None:
    """The event that began the run, whichever part holds it."""
    return next((event for _, event in scan(run)), None)


def count(run: Path) -> int:
    """How many lines are events: one that begins and ends as a recorder's is taken for one, any other is decoded.

    So damage in the middle of a line and an id that occurs twice do not show here, as they do in `scan`."""
    return sum(bool(_RECORDED.fullmatch(line.text)) or _is_event(line) for part in parts(run) for line in lines(part))


def state_of(run: Path) -> str:
    """open, closed, never ended; empty for a log whose program does not say where it begins and ends."""
    opens = closes = 0  # a run that was continued was opened twice
    for part in parts(run):
        for line in lines(part):
            if _RUN_PHASE in line.text:
                opens += _RUN_PHASE + b'open"' in line.text
                closes += _RUN_PHASE + b'close"' in line.text
    if closes >= opens:
        return "closed" if opens else ""
    return "open" if is_written(run) else "never ended"


def is_held(part: Part) -> bool:
    """Whether a process has the part open for writing. Raises OSError."""
    return not part.compressed and lock.is_held(part.path)


def _inside(path: Path, directory: Path) -> bool:
    try:
        return directory.resolve() in path.resolve().parents
    except (OSError, ValueError, RuntimeError):  # too long, an odd byte, a loop of links: no such place
        return False


def _begun(run: Path) -> tuple[int, str]:
    try:
        event = first(run)
        return (timestamp.to_ns(event.timestamp) if event else 0), run.name
    except (OSError, RunNotFound, ValueError):  # it cannot be read: the oldest of all
        return 0, run.name


def _is_event(line: Line) -> bool:
    try:
        codec.decode(line.text)
    except CorruptLine:
        return False
    return True


def _decoded(part: Part, skipped: Skipped, sieve: bytes) -> Iterator[Entry]:
    for line in lines(part):
        if sieve and sieve not in line.text.lower():
            continue
        try:
            event = codec.decode(line.text)
        except CorruptLine as error:
            skipped.add(line, error)
        else:
            yield line, event


def _merged(found: list[Part], skipped: Skipped, sieve: bytes) -> Iterator[Entry]:
    if len(found) == 1:
        return _decoded(found[0], skipped, sieve)
    return heapq.merge(*(_decoded(part, skipped, sieve) for part in found), key=lambda entry: entry[1].event_id)


def _once(entries: Iterator[Entry], again: Callable[[], Iterator[Entry]]) -> Iterator[Entry]:
    """Without the repetitions of an id. As long as ids rise, none can be one; the first that does not makes us
    remember all before it."""
    newest, seen = "", None
    for position, entry in enumerate(entries):
        event_id = entry[1].event_id
        if event_id > newest:
            newest = event_id
        elif seen is None:
            seen = {event.event_id for _, event in islice(again(), position)}
        if seen is not None:
            if event_id in seen:
                continue
            seen.add(event_id)
        yield entry
