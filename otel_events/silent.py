"""The recorder that records nothing, and how a program finds the one that does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from otel_events import context
from otel_events.causes import Cause
from otel_events.context import Frame, Place
from otel_events.errors import InvalidParameter
from otel_events.handle import Handle, Suppressed
from otel_events.recorder import Recorder
from otel_events.recording import only_open
from otel_events.scope import Scope
from otel_events.stats import Stats


class SilentRecorder(Recorder):
    """Records nothing, whatever it is asked: what `current()` gives where no recorder is open."""

    def __init__(self) -> None:
        self.directory, self.simulation_id, self.name = Path(os.devnull), "", ""
        self._level = -1
        self._frame_of_nothing = Frame(self, Place(), 0, None, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        return None

    def _point(self, *said: Any) -> Handle:
        return Suppressed((), 0, None)

    def _suppress(self, caused_by: Cause) -> Suppressed:
        return Suppressed((), 0, None)

    def _frame(self) -> Frame:
        return self._frame_of_nothing

    def _frame_because(self, caused_by: Cause) -> Frame:
        return context.current.get() or self._frame_of_nothing

    def _open_scope(self, scope: Scope) -> None:
        scope.state = "open"
        scope.stand_for(Suppressed((), 0, None))

    def _close_scope(self, scope: Scope, error: dict[str, Any] | None) -> None:
        return None

    def flush(self) -> Stats:
        return self.stats()

    def close(self, error: object = None) -> Stats:
        return self.stats()

    def stats(self) -> Stats:
        return Stats(
            recorded=0, suppressed=0, lost=0, dropped=0, repaired=0, unresolved=0, without_rule=0, redaction_failures=0
        )

    def subscribe(self, callback: Callable[..., None], **filters: Any) -> Any:
        raise InvalidParameter("subscribe", "an open recorder", self)

    def environ(self) -> dict[str, str]:
        return {}

    def __reduce__(self) -> tuple[object, ...]:
        return SilentRecorder, ()


_SILENT = SilentRecorder()


def current() -> Recorder:
    """The recorder of the current scope, else the only open one of this process, else one that records nothing."""
    frame = context.current.get()
    if frame is not None and isinstance(frame.owner, Recorder) and not frame.owner._closed:
        return frame.owner
    found = only_open()
    return found if isinstance(found, Recorder) else _SILENT
