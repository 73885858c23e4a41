"""How far one target has come with one run: a small JSON file, replaced as a whole. Who moves it holds its lock.

It lies in `.otel-events/` of the run or, where the run cannot be written to, in the user's cache directory. It may be
deleted: then everything is shipped again, byte for byte the same.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from otel_events.parts import STATE_DIRECTORY


@dataclass(slots=True, kw_only=True)
class Cursor:
    """The state of one target. `offsets` is {identity of a part: plain bytes of it that the backend has accepted}."""

    signal: str
    endpoint: str
    mapping: str = ""
    """Version of the mapping, and the content capture, that made what was shipped."""
    resources: dict[str, str] = field(default_factory=dict)
    """Identity of a part -> hash of the resource with which it was shipped."""
    offsets: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    """Lines that the cursor has passed."""
    shipped: int = 0
    """Spans or log records that the backend accepted."""
    rejected: int = 0
    """Those that it took off the request and refused (partial success)."""
    sampled_out: int = 0
    unmappable: int = 0
    """Lines of other programs, without a trace, or with values that cannot be."""
    corrupt: int = 0
    """Lines that are no events."""
    last_error: str | None = None
    """In the server's words where it said any; None after a success."""
    switched_off: str | None = None
    """Why nothing is sent to this target any more."""


def load(path: Path) -> Cursor | None:
    """The cursor of that file; None where there is none or it cannot be understood, which means: from the start."""
    try:
        stored = orjson.loads(path.read_bytes())
        return Cursor(**{item.name: stored[item.name] for item in fields(Cursor) if item.name in stored})
    except (OSError, ValueError, TypeError):
        return None


def save(path: Path, cursor: Cursor) -> None:
    """Durably: after this call a crash of the machine finds either the old file or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(orjson.dumps(asdict(cursor), option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # a directory can be opened only where there is POSIX
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def state_directory(run: Path) -> Path:
    """Where the state of this run's targets is kept: in the run if that can be written to, else in the user's cache."""
    inside = run / STATE_DIRECTORY
    try:
        inside.mkdir(exist_ok=True)
        if os.access(inside, os.W_OK):
            return inside
    except OSError:
        pass  # a read-only or foreign directory: that is what the cache is for
    cache = cached_directory(run)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def cached_directory(run: Path) -> Path:
    """The place for a run that cannot be written to."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = run.resolve()
    return Path(base) / "otel-events" / f"{place.name}-{sha256(str(place).encode()).hexdigest()[:12]}"


def stored(run: Path) -> list[Cursor]:
    """The cursors of all targets that were ever shipped to from here, traces first, without creating anything."""
    places = (run / STATE_DIRECTORY, cached_directory(run))
    found = [path for place in places for path in sorted(place.glob("*.cursor"), reverse=True)]
    return [cursor for path in found if (cursor := load(path)) is not None]


def fingerprint(resource: dict[str, Any]) -> str:
    """Tells two resources apart."""
    return sha256(orjson.dumps(resource)).hexdigest()[:16]
