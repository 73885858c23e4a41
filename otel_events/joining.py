"""How a worker finds the run that it belongs to: the text that `rec.environ()` and a pickled recorder carry."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from otel_events.context import Frame, Place, Trace
from otel_events.errors import InvalidParameter
from otel_events.settings import Settings

VARIABLE = "OTEL_EVENTS_RUN"


@dataclass(frozen=True, slots=True)
class Joining:
    """The run and the place in it where the worker's events belong."""

    directory: str
    name: str
    verbosity: str
    trace: Literal["scope", "run"]
    rotate: int | Literal["day"] | None
    redacts: bool
    """Whether the run redacts: then a worker that joins by environment must bring the hook itself."""
    event_id: str
    trace_id: str
    span_id: str
    trace_flags: str | None
    turn_number: int
    session_id: str | None

    def frame(self, owner: object) -> Frame:
        """The surroundings of the worker's events."""
        place = Place(root=True)
        place.fill(self.event_id, Trace(self.trace_id, self.trace_flags), self.span_id)
        return Frame(owner, place, self.turn_number, self.session_id, ())

    def settings(self, **own: Any) -> Settings:
        """How the worker records: as the run says, with the worker's `own` hooks, clock, queue and ids."""
        return Settings(
            directory=Path(self.directory), name=self.name, verbosity=self.verbosity, trace=self.trace,
            rotate=self.rotate, **own,
        )  # fmt: skip

    def to_text(self) -> str:
        return orjson.dumps(self).decode()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Joining | None:
        """What the environment says, if anything. Raises InvalidParameter for a text that is not ours."""
        text = environ.get(VARIABLE)
        if not text:
            return None
        try:
            return cls(**orjson.loads(text))
        except (orjson.JSONDecodeError, TypeError):
            raise InvalidParameter(VARIABLE, "what Recorder.environ() gave", text) from None
