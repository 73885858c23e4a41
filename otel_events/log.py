"""The writing end of a run's log: one part at a time, locked, append-only, one `write()` a line.

What holds, whatever happens to the process:
- a line is written by one `write()` and never rewritten; a short write is cut back;
- a part has one writer, the process that holds its `flock`; a forked child drops the descriptor and takes another part;
- what a killed writer left behind the last newline is cut off by the next owner, who gets the bytes;
- a part is never renamed, and its first line carries the resource.
Where there is no `flock`, a log always begins a part of its own.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import orjson

from otel_events import ids, lock, parts

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS
_TAIL_BYTES = 1 << 16
_END = b',"v":1}\n'

Rotation = int | Literal["day"] | None
"""A new part when one has so many bytes, by UTC day, or never."""


class Torn(NamedTuple):
    """Bytes that a killed writer left after the last newline of a part."""

    part: str
    offset: int
    data: bytes


class Taken(NamedTuple):
    """What `Log.take` found: whether the run had parts before, whether others hold one, the last id of the part
    (0 for a new one), and what was cut off."""

    existed: bool
    held: bool
    last_id: int
    torn: list[Torn]


class Log:
    """The writer of one part at a time. Not thread-safe: its owner's lock orders the lines."""

    works = True
    """Whether the last line was written, as far as `append` could not say so itself, as here it can."""
    refused_later = 0
    """Lines that `append` had accepted and that could not be written after all: here none."""

    def __init__(self, directory: Path, resource: dict[str, object], rotate: Rotation) -> None:
        self.directory = directory
        self.failure: OSError | None = None
        self.dropped = 0  # events that a full queue before this log refused
        self.lost = 0  # events that could not be written, or whose part lost its name
        self._resource = resource
        self._resource_bytes = b',"resource":' + orjson.dumps(resource)
        self._rotate = rotate
        self._max_size = rotate if isinstance(rotate, int) else sys.maxsize
        self._fd = -1
        self.has_part = False
        """Whether a part is owned: not before the first event, after `release`, or where none can be had."""
        self._failed_ns = -_SECOND_NS
        self._torn: list[Torn] = []
        self.forget()

    def forget(self) -> None:
        """Drop the part without touching it: what a forked child does with the descriptor of its parent."""
        if self._fd >= 0:
            try:
                os.close(self._fd)
            except OSError as error:  # as network file systems do: the descriptor is gone, and so is the chance to tell
                self.failure = error
        self._fd = -1  # invariant 2: the child must not write its parent's part
        self.has_part = False
        self._path = Path()
        self._size = 0
        self._day_end_ns = sys.maxsize
        self._check_ns = 0
        self._unchecked = 0
        self._dirty = False

    def take(self, ns: int) -> Taken | None:
        """Own a part: the first plain one that can be locked, has room and carries the same resource, else a new one.

        None when that is impossible; `failure` says why, and it is not tried again within a second.
        """
        if self._failed_just_now(ns):
            return None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            found = parts.parts_of(self.directory)
            last_id, held = self._go_on(found, ns)
            if self._fd < 0:
                held = self._begin(ns) or held
        except OSError as error:
            self._failed(error, ns)
            return None
        torn, self._torn = self._torn, []
        return Taken(bool(found) or self._path.name != parts.FIRST_PART, held, last_id, torn)

    def append(self, line: bytes, ns: int) -> bool:
        """Write one line that ends with `"v":1}\\n`; `ns` is the wall clock. False when it is lost: see `failure`."""
        try:
            if ns >= self._check_ns or ns < self._check_ns - _SECOND_NS:
                self.check(ns)
            if self._fd < 0 or self._size >= self._max_size or ns >= self._day_end_ns:
                if self._failed_just_now(ns):
                    self.lost += 1
                    return False
                self.release()
                self._begin(ns)
            if self._size == 0:
                line = line.removesuffix(_END) + self._resource_bytes + _END
            written = os.write(self._fd, line)  # invariant 2: one event, one line, one write
            if written != len(line):
                self._cut_back(written)
                raise OSError(28, f"only {written} of {len(line)} bytes could be written", str(self._path))
        except OSError as error:  # invariant 8: a full disk does not raise
            self.lost += 1  # invariant 6: and is counted
            self._failed(error, ns)
            return False
        self._size += written
        self._unchecked += 1
        self._dirty = True
        return True

    def append_now(self, line: bytes, ns: int) -> bool:
        """The same; a queue lets what waits go first."""
        return self.append(line, ns)

    def check(self, ns: int) -> None:
        """See whether the part still has its name; if not, what was written since the last look is lost."""
        self._check_ns = ns + _SECOND_NS
        if self._fd >= 0 and not _same_file(self._fd, self._path):
            self.lost += self._unchecked
            self.failure = FileNotFoundError(
                2, "the part was deleted or replaced while it was written", str(self._path)
            )
            self.release()
        self._unchecked = 0

    def sync(self) -> None:
        """Bring what was written to the disk itself. Raises OSError."""
        if self._dirty and self._fd >= 0:
            self._dirty = False
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def release(self) -> None:
        """Let the part go, for others to take."""
        self.forget()

    def _go_on(self, found: list[parts.Part], ns: int) -> tuple[int, bool]:
        """Cut what is torn of the parts that nobody holds, and own the first of them that is for us, if there is one.

        Its last id (0 if it is empty or there is none), and whether others hold a part.
        """
        last_id, held = 0, False
        for part in found:
            if part.compressed or not lock.available():
                continue
            try:
                fd = _lock(part.path)
            except BlockingIOError:
                held = True
                continue
            except (FileNotFoundError, PermissionError):  # just gone, or somebody else's: not for us
                continue
            cut = _cut(fd, part.path)
            if cut is not None:
                self._torn.append(cut)
            last = self._suitable(fd, part, ns)
            if last is not None and self._fd < 0:
                self._own(fd, part.path, ns)
                last_id = last
            else:
                os.close(fd)
        return last_id, held

    def _begin(self, ns: int) -> bool:
        """Create a part; whether another process created one at the same moment."""
        raced = False
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime(ns // _SECOND_NS))
        while self._fd < 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = parts.name_of_new_part(self.directory, stamp)
            try:
                fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raced = True
                continue
            if lock.try_lock(fd) and os.fstat(fd).st_size == 0:
                self._own(fd, path, ns)
            else:  # taken between our two calls, and perhaps let go again
                raced = True
                os.close(fd)
        return raced

    def _own(self, fd: int, path: Path, ns: int) -> None:
        self._fd, self._path, self._size = fd, path, os.fstat(fd).st_size
        self.has_part = True
        self._day_end_ns = (ns // _DAY_NS + 1) * _DAY_NS if self._rotate == "day" else sys.maxsize
        self._check_ns, self._unchecked = ns + _SECOND_NS, 0

    def _suitable(self, fd: int, part: parts.Part, ns: int) -> int | None:
        """The last id in a part that we may go on writing (0 if it is empty), None if it is not for us."""
        size = os.fstat(fd).st_size
        if size == 0:
            return 0
        if size >= self._max_size:
            return None
        first = parts.first_line(part)
        if first is None or not first.startswith(b'{"event_id":') or parts.resource_in(first) != self._resource:
            return None
        last = parts.id_in(_last_line(fd, size))
        if last is None or not ids.is_event_id(last):
            return None
        if self._rotate == "day" and ids.unix_ms(last) // 86_400_000 != ns // _DAY_NS:
            return None
        return ids.value(last)

    def _failed(self, error: OSError, ns: int) -> None:
        self.failure = error
        if self._fd < 0:
            self._failed_ns = ns

    def _failed_just_now(self, ns: int) -> bool:
        """Whether no part could be had within the last second, by a clock that may step back."""
        return abs(ns - self._failed_ns) < _SECOND_NS

    def _cut_back(self, written: int) -> None:
        """Remove the beginning of a line; where that fails, too, let the part go: its next owner cuts it."""
        try:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        except OSError:
            self.release()
            raise


class Syncer:
    """Brings a log to the disk every so many seconds, from a thread of its own: durability by group, not by event."""

    def __init__(self, sync: Callable[[], None], seconds: float) -> None:
        self._sync, self._seconds = sync, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-events-fsync", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._sync()


def _lock(path: Path) -> int:
    """A locked descriptor of an existing part. Raises BlockingIOError when another process holds it."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    if not lock.try_lock(fd):
        time.sleep(0.002)  # a reader that looks whether it is held has it for a moment
        if not lock.try_lock(fd):
            os.close(fd)
            raise BlockingIOError(f"{path} is being written by another process")
    if not _same_file(fd, path):
        os.close(fd)
        raise FileNotFoundError(f"{path} was replaced")
    return fd


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it cannot be looked at for now: no reason to leave a part that can be written
        return True


def _cut(fd: int, path: Path) -> Torn | None:
    """Cut off what stands behind the last newline; the bytes, or None when the part is whole."""
    size = end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end == size:
        return None
    data = os.pread(fd, size - end, end)
    os.ftruncate(fd, end)  # invariant 2: the next line must not be glued to a torn one
    return Torn(path.name, end, data)


def _last_line(fd: int, size: int) -> bytes:
    """The last line of a whole part."""
    start, data = size, b""
    while start > 0 and b"\n" not in data[:-1]:
        step = min(start, _TAIL_BYTES)
        start -= step
        data = os.pread(fd, step, start) + data
    return data[:-1].rpartition(b"\n")[2]
