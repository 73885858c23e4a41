"""How a run is recorded: what `Recorder` was given, checked and complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from otel_events.config import Target
from otel_events.emitter import Clock
from otel_events.errors import InvalidParameter
from otel_events.ids import IdGenerator, Ids
from otel_events.log import Rotation
from otel_events.queued import Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run is recorded. `Recorder` documents the fields."""

    directory: Path
    name: str
    params: dict[str, Any] | None = None
    verbosity: str = "ACTION"
    trace: Literal["scope", "run"] = "scope"
    rotate: Rotation = None
    fsync: float | None = None
    queue: Queue | None = None
    redact: Callable[[str], str] | None = None
    clock: Clock = time
    ids: Ids = field(default_factory=IdGenerator)
    targets: list[Target] = field(default_factory=list)
    shipper: Literal["process", "thread"] = "process"

    def __post_init__(self) -> None:
        """Raise InvalidParameter here for what would fail later, in a thread or at some call."""
        fsync = self.fsync
        if fsync is not None and not (type(fsync) in (int, float) and 0 < fsync <= threading.TIMEOUT_MAX):
            raise InvalidParameter("fsync", "a number of seconds above 0, or None", fsync)
        if not (self.queue is None or isinstance(self.queue, Queue)):
            raise InvalidParameter("queue", "a Queue or None", self.queue)
        if not (self.redact is None or callable(self.redact)):
            raise InvalidParameter("redact", "a function from a string to a string, or None", self.redact)
