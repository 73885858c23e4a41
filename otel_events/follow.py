"""Reads a run's log as it grows: every complete line of every part, once, from where the offsets say.

Parts may be plain or compressed, may appear later, and may be compressed meanwhile; a part is known by the `event_id`
of its first line. Nothing is read past the last newline. Offsets that make no sense lead to reading again from the
part's start: twice is harmless, never is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from otel_events import lock, parts
from otel_events.parts import Line, Part, first_line, parts_of, read_lines


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
        self._read: dict[Path, tuple[tuple[int, int, int], str]] = {}
        """Parts that were read to their end: what would change if they did, and their identity."""
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
                read, known = self._read.get(part.path, (None, None))
                identity = known if read == signature else parts.identity(part)
                if identity is None:
                    continue
                present.add(identity)
                if read == signature:
                    continue
                yield from self._new(part, identity, state.st_size)
                self._read[part.path] = signature, identity
            except FileNotFoundError:
                continue  # deleted or compressed since we looked: the next pass sees what is there
        self._tell_missing(present)

    def resource(self, part: str) -> dict[str, Any]:
        """The resource of a part that a line came from; without one, the directory's name is the service."""
        return self._resources[part]

    def _new(self, part: Part, identity: str, size: int) -> Iterator[Followed]:
        """The part's lines from its offset on; of a growing part those that were there at the beginning of the pass."""
        start = self.offsets.get(identity, 0)
        if start and parts.ends_before(part, start):
            self.notices.append(f"{part.path}: expected {start} bytes, got fewer; reading it again from its start")
            start = 0
        if identity not in self._resources:
            stated = parts.resource_in(first_line(part) or b"")
            self._resources[identity] = stated or {"service.name": self.directory.name}
        for line in read_lines(part, start):
            self.offsets[identity] = line.end
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
        return any(lock.is_held(part.path) for part in parts_of(directory) if not part.compressed)
    except FileNotFoundError:
        return False


def pending(directory: Path, offsets: Mapping[str, int]) -> int:
    """How many complete lines lie beyond those offsets."""
    return sum(parts.count_lines(part, offsets.get(parts.identity(part) or "", 0)) for part in parts_of(directory))
