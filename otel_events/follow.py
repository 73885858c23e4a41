"""Reads a run's log as it grows: every complete line of every part, once, from where the offsets say.

Parts may be plain or compressed, may appear later, and may be compressed meanwhile; a part is known by the `event_id`
of its first line. Nothing is read past the last newline. Offsets that make no sense lead to reading again from the
part's start: twice is harmless, never is not.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import orjson

from otel_events import cursor
from otel_events.parts import CHUNK_BYTES, Line, Part, first_line, id_in, parts_of, read_lines

_HEAD_BYTES = 40  # {"event_id":"…26 letters…"


class Followed(NamedTuple):
    """A line and the identity of its part."""

    line: Line
    part: str


class Follower:
    """One reader of one run. `offsets` is where it stands: the plain bytes of each part that it has handed out."""

    def __init__(self, directory: Path, offsets: Mapping[str, int] = {}) -> None:
        self.directory = directory
        self.offsets = dict(offsets)
        self.notices: list[str] = []
        """What somebody should be told; whoever tells it empties the list."""
        self._resources: dict[str, dict[str, Any]] = {}
        self._read: dict[Path, tuple[int, int, int]] = {}  # what was read to its end, and has not changed since
        self._missing: set[str] = set()

    def lines(self) -> Iterator[Followed]:
        """One pass over what there is now. The caller may pause it for as long as it likes; then ask for the next.

        Raises OSError when the run's directory cannot be read.
        """
        present = set()
        for part in parts_of(self.directory):
            try:
                state = part.path.stat()
                signature = (state.st_ino, state.st_size, state.st_mtime_ns)
                identity = _identity(part)
                if identity is None:
                    continue
                present.add(identity)
                if self._read.get(part.path) == signature:
                    continue
                yield from self._new(part, identity, state.st_size)
                self._read[part.path] = signature
            except FileNotFoundError:
                continue  # deleted or compressed since we looked: the next pass sees what is there
        self._tell_missing(present)

    def resource(self, part: str) -> dict[str, Any]:
        """The resource of a part that a line came from; without one, the directory's name is the service."""
        return self._resources[part]

    def _new(self, part: Part, identity: str, size: int) -> Iterator[Followed]:
        """The part's lines from its offset on; of a growing part those that were there at the beginning of the pass."""
        start = self.offsets.get(identity, 0)
        if start and _ends_before(part, start, size):
            self.notices.append(f"{part.path}: expected {start} bytes, got fewer; reading it again from its start")
            start = 0
        if identity not in self._resources:
            self._resources[identity] = _resource(first_line(part)) or {"service.name": self.directory.name}
        for line in read_lines(part, start):
            self.offsets[identity] = line.offset + len(line.text) + 1
            yield Followed(line, identity)
            if not part.compressed and self.offsets[identity] >= size:
                return

    def _tell_missing(self, present: set[str]) -> None:
        for identity in self.offsets.keys() - present - self._missing:
            self._missing.add(identity)
            self.notices.append(f"{self.directory}: the part that begins with {identity} is gone; it is skipped")


def is_written(directory: Path) -> bool:
    """Whether some process holds a part of this run for writing."""
    try:
        return any(cursor.is_written(part.path) for part in parts_of(directory) if not part.compressed)
    except FileNotFoundError:
        return False


def pending(directory: Path, offsets: Mapping[str, int]) -> int:
    """How many complete lines lie beyond those offsets."""
    count = 0
    for part in parts_of(directory):
        identity = _identity(part)
        if identity is not None:
            with _plain(part) as file:
                count += _newlines(file, offsets.get(identity, 0))
    return count


def _plain(part: Part) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(part.path)) if part.compressed else part.path.open("rb")


def _newlines(file: IO[bytes], start: int) -> int:
    count = 0
    try:
        file.seek(start)
        while chunk := file.read(CHUNK_BYTES):
            count += chunk.count(b"\n")
    except (EOFError, OSError, zlib.error):  # a damaged compressed part: what can be read
        pass
    return count


def _identity(part: Part) -> str | None:
    with _plain(part) as file:
        try:
            head = file.read(_HEAD_BYTES)
        except (EOFError, OSError):  # a compressed part that is still being written
            return None
    if head.startswith(b'{"event_id":"') and head[39:40] == b'"':
        return head[13:39].decode("ascii", "replace")
    text = first_line(part)
    return None if text is None else id_in(text) or text[:64].decode("utf-8", "replace")


def _ends_before(part: Part, offset: int, size: int) -> bool:
    if not part.compressed:
        return size < offset
    with gzip.open(part.path) as file:
        try:
            return file.seek(offset) < offset
        except (EOFError, OSError):  # damaged: read what can be read
            return False


def _resource(line: bytes | None) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(line or b"")
    except orjson.JSONDecodeError:
        return None
    found = fields.get("resource") if isinstance(fields, dict) else None
    return found if isinstance(found, dict) else None
