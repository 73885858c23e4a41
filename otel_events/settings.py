"""How a run is recorded: what `Recorder` was given, checked and complete."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from otel_events.config import Target
from otel_events.emitter import Clock
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
