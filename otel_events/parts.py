"""The parts of a run's log, for reading: their names, their order, and the lines in them.

    output/economy-20261121-101500-k3f9/
        events.jsonl                          the first part
        events_2026-11-21_14-25-00.jsonl      the next ones, by the UTC second in which they were begun,
        events_2026-11-21_14-25-00_2.jsonl    `_2` … when that name was taken
        events_2026-11-21_14-30-00.jsonl.gz   any of them may be compressed later
        blobs/<sha256>                        long binary values
        .otel-events/                         cursors, dead letters, index: derived, may be deleted

A line ends with `\\n`; what stands after the last one is still being written, or was torn by a crash, and is not read.
Offsets count plain (uncompressed) bytes. A part's identity is the `event_id` of its first line, which survives
compression and copying. Where a part lies both plain and compressed, the plain file is the part.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

FIRST_PART = "events.jsonl"
BLOBS = "blobs"
STATE_DIRECTORY = ".otel-events"
CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 40  # {"event_id":"…26 letters…"
_NAME = re.compile(r"events(?:_(\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)(?:_(\d+))?)?\.jsonl(\.gz)?")


class Part(NamedTuple):
    """One file of a run's log."""

    path: Path
    compressed: bool

    @property
    def name(self) -> str:
        """The file's name without `.gz`: what stays the same when the part is compressed."""
        return self.path.name.removesuffix(".gz")


class Line(NamedTuple):
    """One complete line and its place: `offset` is that of its first byte; `text` has no newline."""

    part: Part
    offset: int
    text: bytes

    @property
    def end(self) -> int:
        """Where the next line begins."""
        return self.offset + len(self.text) + 1

    @property
    def where(self) -> str:
        return f"{self.part.path} at byte {self.offset}"


def parts_of(directory: Path) -> list[Part]:
    """The parts of a run in the order in which they were begun; [] where there is none. Raises OSError."""
    found: dict[str, tuple[tuple[str, int], Part]] = {}
    for path in directory.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        stamp, number, gz = match.groups()
        part = Part(path, compressed=gz is not None)
        if part.name not in found or not part.compressed:
            found[part.name] = (stamp or "", int(number or 1)), part
    return [part for _, part in sorted(found.values(), key=lambda item: item[0])]


def is_run(directory: Path) -> bool:
    """Whether the directory holds the log of a run."""
    try:
        return any(_NAME.fullmatch(path.name) for path in directory.iterdir())
    except OSError:
        return False


def name_of_new_part(directory: Path, stamp: str) -> Path:
    """A free name for a part that begins now; `stamp` is `YYYY-MM-DD_HH-MM-SS` in UTC."""
    taken = {part.name for part in parts_of(directory)}
    if FIRST_PART not in taken:
        return directory / FIRST_PART
    names = (f"events_{stamp}{'' if number == 1 else f'_{number}'}.jsonl" for number in range(1, 1_000_000))
    return directory / next(name for name in names if name not in taken)


def read_lines(part: Part, start: int = 0) -> Iterator[Line]:
    """The complete lines from plain byte `start` on, which must be the beginning of a line.

    The end of the file is no error: call again later with the next offset. A compressed part that ends too early
    or is damaged yields what can be read.
    """
    with _opened(part, start) as file:
        offset, rest = start, b""
        while chunk := _chunk(file):
            *lines, rest = (rest + chunk).split(b"\n")  # invariant 1: what is no line yet is seen by nobody
            for text in lines:
                yield Line(part, offset, text)
                offset += len(text) + 1


def first_line(part: Part) -> bytes | None:
    """The first complete line, which identifies the part; None as long as there is none."""
    return next((line.text for line in read_lines(part)), None)


def identity(part: Part) -> str | None:
    """The `event_id` of the part's first line, or that line's beginning where it has none; None before there is one."""
    with _opened(part, 0) as file:
        found = _id_at_start(_chunk(file, _HEAD_BYTES))
    if found is not None:
        return found
    text = first_line(part)
    return None if text is None else id_in(text) or text[:64].decode("utf-8", "replace")


def id_in(text: bytes) -> str | None:
    """The `event_id` of a line, without reading the rest of it where it stands first; None if it has none."""
    found = _id_at_start(text)
    if found is None:
        event_id = _field_in(text, "event_id")
        found = event_id if isinstance(event_id, str) else None
    return found


def resource_in(text: bytes) -> dict[str, Any] | None:
    """The `resource` of a line, which the first one of a part has; None if it has none."""
    resource = _field_in(text, "resource")
    return resource if isinstance(resource, dict) else None


def count_lines(part: Part, start: int) -> int:
    """How many complete lines there are from plain byte `start` on, as far as the part can be read."""
    count = 0
    with _opened(part, start) as file:
        while chunk := _chunk(file):
            count += chunk.count(b"\n")
    return count


def ends_before(part: Part, offset: int) -> bool:
    """Whether the part has fewer plain bytes than that; no where it is damaged and nobody can tell."""
    if not part.compressed:
        return part.path.stat().st_size < offset
    with gzip.open(part.path) as file:
        try:
            return file.seek(offset) < offset
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return False


def find_line(part: Part, event_id: str) -> Line | None:
    """The line of that id. By bisection in a plain part, which is sorted by id; by reading in a compressed one."""
    if part.compressed:
        return next((line for line in read_lines(part) if id_in(line.text) == event_id), None)
    with part.path.open("rb") as file:
        low, high = 0, file.seek(0, 2)
        while low < high:
            middle = (low + high) // 2
            start, text = _line_at_or_after(file, middle, low)
            found = id_in(text) if text.endswith(b"\n") and start < high else None
            if found == event_id:
                return Line(part, start, text[:-1])
            if found is None or found > event_id:
                high = middle
            else:
                low = start + len(text)
    return None


def _line_at_or_after(file: IO[bytes], offset: int, low: int) -> tuple[int, bytes]:
    """The first line that begins at `offset` or later; `low` is known to be the beginning of a line."""
    if offset > low:
        file.seek(offset - 1)
        file.readline()
    else:
        file.seek(low)
    return file.tell(), file.readline()


def _id_at_start(text: bytes) -> str | None:
    """The id of a line that begins as we write them, from its first 40 bytes."""
    return text[13:39].decode("ascii", "replace") if text[:13] == b'{"event_id":"' and text[39:40] == b'"' else None


def _field_in(text: bytes, name: str) -> object:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return fields.get(name) if isinstance(fields, dict) else None


def _opened(part: Part, start: int) -> IO[bytes]:
    opener: Any = gzip.open if part.compressed else open
    file: IO[bytes] = opener(part.path, "rb")
    with suppress(EOFError, zlib.error, gzip.BadGzipFile):  # then there is nothing to read from there on
        file.seek(start)
    return file


def _chunk(file: IO[bytes], size: int = CHUNK_BYTES) -> bytes:
    try:
        return file.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return b""
