"""Whether a run is whole: every fault with its part and byte. Reads only, and needs the memory of the run's ids.

*Damage* means that something recorded is lost or that the run breaks the format. A *note* is worth knowing and may be
as meant: a scope whose writer still works, a cause outside the run.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from collector.causality import Graph, cycles
from collector.runs import is_held, lines, parts
from otel_events import codec, schema
from otel_events.errors import CorruptLine
from otel_events.event import Event
from otel_events.parts import CHUNK_BYTES, Line, Part, parts_of

MAX_SHOWN: Final = 20

Severity = Literal["damage", "note"]

KINDS: Final[dict[str, Severity]] = {
    "torn": "damage",  # bytes after the last newline, and nobody is writing them
    "hole": "damage",  # NUL bytes: a crash of the machine left blocks unwritten
    "encoding": "damage",  # not UTF-8
    "line": "damage",  # a whole line that is no event
    "schema": "damage",
    "duplicate": "damage",  # an id that occurs before
    "order": "damage",  # an id that is not greater than the one before it in its part
    "unsorted": "note",  # the same in lines of another program, which promises no order
    "resource": "damage",  # the first line of a part does not say whose it is
    "simulation_id": "damage",  # not the directory's name
    "cycle": "damage",  # causes each other
    "unclosed": "damage",  # a scope whose writer has gone
    "open": "note",  # a scope whose writer still holds the part
    "unresolved": "note",  # a cause that is no event of the run
    "gzip": "damage",
    "permission": "damage",
    "read-only": "note",  # cursors and index go to the user's cache directory
    "outside": "note",  # a part that is a link out of the run: not read
}


@dataclass(frozen=True, slots=True)
class Fault:
    kind: str
    """A key of KINDS."""
    part: str
    """Name of the file, or of the run's directory."""
    offset: int | None
    """Byte in the plain part at which the line begins; for `torn` and `gzip`, where the whole lines end."""
    reason: str

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind]

    @property
    def where(self) -> str:
        return self.part if self.offset is None else f"{self.part} at byte {self.offset}"


@dataclass(slots=True)
class Report:
    """What is wrong with a run."""

    run: Path
    parts: int = 0
    lines: int = 0
    events: int = 0
    """Lines that are events and have an id of their own."""
    faults: list[Fault] = field(default_factory=list)
    """The first 20 of each kind."""
    counts: Counter[str] = field(default_factory=Counter)
    """All, by kind."""

    @property
    def damaged(self) -> bool:
        return any(KINDS[kind] == "damage" for kind in self.counts)

    def add(self, kind: str, part: str, offset: int | None, reason: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= MAX_SHOWN:
            self.faults.append(Fault(kind, part, offset, reason))


def examine(run: Path) -> Report:
    """Every fault of a run. Raises RunNotFound."""
    report, graph = Report(run), Graph()
    found = parts(run)
    if not os.access(run, os.W_OK):
        report.add("read-only", run.name, None, "the directory cannot be written to")
    for part in set(parts_of(run)) - set(found):
        report.add("outside", part.name, None, f"is a link to {part.path.resolve()}")
    strangers: set[str] = set()
    for part in found:
        report.parts += 1
        try:
            _examine_part(report, graph, part, strangers)
        except OSError as error:
            report.add("permission", part.name, None, f"cannot be read: {error.strerror}")
    _examine_graph(report, graph, found)
    return report


def _examine_part(report: Report, graph: Graph, part: Part, strangers: set[str]) -> None:
    held, end, last = is_held(part), 0, ""
    for line in lines(part):
        end = line.end
        report.lines += 1
        event = _event(report, line)
        if event is None:
            continue
        _examine_line(report, graph, line, event, last)
        if event.simulation_id != report.run.resolve().name and event.simulation_id not in strangers:
            strangers.add(event.simulation_id)
            reason = f"the line says {event.simulation_id!r}, the directory {report.run.resolve().name!r}"
            report.add("simulation_id", part.name, line.offset, reason)
        if line.offset == 0 and event.v is not None and event.resource is None:
            report.add("resource", part.name, 0, "the first line of a part has no resource")
        last = max(last, event.event_id)
    if part.compressed:
        _examine_gzip(report, part, end)
    elif not held:
        with part.path.open("rb") as file:
            file.seek(end)
            _examine_tail(report, part, end, file.read(CHUNK_BYTES))


def _event(report: Report, line: Line) -> Event | None:
    try:
        return codec.decode(line.text)
    except CorruptLine as error:
        kind, reason = "line", error.reason
    if b"\0" in line.text:
        kind, reason = "hole", f"{line.text.count(0)} NUL bytes in a line of {len(line.text)}"
    else:
        try:
            line.text.decode()
        except UnicodeDecodeError as error:
            kind, reason = "encoding", f"byte {line.offset + error.start} is not UTF-8"
    report.add(kind, line.part.name, line.offset, reason)
    return None


def _examine_line(report: Report, graph: Graph, line: Line, event: Event, last: str) -> None:
    place = line.part.name, line.offset
    for reason in schema.faults(line.text):
        report.add("schema", *place, reason)
    if not graph.add(event):
        report.add("duplicate", *place, f"the id {event.event_id} occurs before")
        return
    report.events += 1
    if event.event_id < last:
        kind = "unsorted" if event.v is None else "order"
        report.add(kind, *place, f"the id {event.event_id} is smaller than {last} before it")


def _examine_tail(report: Report, part: Part, end: int, tail: bytes) -> None:
    if tail and b"\n" not in tail:  # with one, lines have been added since we read
        shown = tail[:60].decode("utf-8", "backslashreplace")
        report.add("torn", part.name, end, f"{len(tail)} bytes after the last whole line: {shown!r}")


def _examine_gzip(report: Report, part: Part, end: int) -> None:
    """Read to the end once more, since reading lines takes what it can get of a damaged file."""
    offset, tail = 0, b""
    with gzip.open(part.path, "rb") as file:
        try:
            while chunk := file.read(CHUNK_BYTES):
                offset += len(chunk)
                tail = (tail + chunk)[-max(0, offset - end) :] if offset > end else b""
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            report.add("gzip", part.name, end, f"what follows cannot be decompressed: {error}")
            return
    _examine_tail(report, part, end, tail)


def _examine_graph(report: Report, graph: Graph, found: list[Part]) -> None:
    """What shows only in the whole run. The lines are read again for its places, and only if there is something."""
    wanted = _Wanted(graph)
    if not (wanted.missing or wanted.unclosed or wanted.circles):
        return
    for part in found:
        try:
            held = is_held(part)
            for line in lines(part):
                wanted.look_at(report, line, held)
        except OSError:  # reported when it was read for the first time
            continue


class _Wanted:
    """The faults of a graph whose places are not known yet."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.missing = set(graph.missing())
        self.unclosed = set(graph.open_scopes())
        self.circles = {event_id: circle for circle in cycles(graph) for event_id in circle}
        self._named: set[tuple[str, str]] = set()  # the closing line of a scope repeats its causes

    def look_at(self, report: Report, line: Line, held: bool) -> None:
        try:
            event = codec.decode(line.text)
        except CorruptLine:  # reported when it was read for the first time
            return
        place = line.part.name, line.offset
        if event.event_id in self.unclosed:
            self.unclosed.discard(event.event_id)
            state = "is open" if held else "was never closed, and its writer has gone"
            report.add("open" if held else "unclosed", *place, f"the scope {event.name or event.event_id} {state}")
        if circle := self.circles.pop(event.event_id, None):
            report.add("cycle", *place, f"{event.event_id} is its own cause, by way of {', '.join(circle[:5])}")
        for cause in event.caused_by or ():
            self._look_at_cause(report, place, event, cause)

    def _look_at_cause(self, report: Report, place: tuple[str, int], event: Event, cause: str) -> None:
        if cause not in self.missing or event.event_id not in self.graph:  # not there: written since the first reading
            return
        named = cause, self.graph.node(event.event_id)
        if named not in self._named:
            self._named.add(named)
            report.add("unresolved", *place, f"{event.event_id} names the cause {cause}, which is not in the run")
