"""What can go wrong, one class per thing that a caller can do about it.

Every class composes its own sentence (expected, got, where) and keeps the parts as attributes.
This module imports nothing of the project; everything else may import it.
"""

from __future__ import annotations

from pathlib import Path


class OtelEventsError(Exception):
    """The root of all errors that this project raises on purpose."""


class InvalidParameter(OtelEventsError, ValueError):
    """A named parameter of the wrong kind. Correct the call."""

    def __init__(self, where: str, expected: str, got: object) -> None:
        super().__init__(f"{where}: expected {expected}, got {_shown(got)}")
        self.where, self.expected, self.got = where, expected, got


class RecorderClosed(OtelEventsError, RuntimeError):
    """Something was recorded after `close()`. Record earlier, or open a new Recorder with `resume=True`."""

    def __init__(self, simulation_id: str, where: str) -> None:
        super().__init__(
            f"{where}: expected an open recorder, got the closed one of run {simulation_id}; "
            f"open it again with Recorder(simulation_id={simulation_id!r}, resume=True)"
        )
        self.simulation_id, self.where = simulation_id, where


class RunExists(OtelEventsError):
    """The run's directory already holds events. Choose another id, or continue it with `resume=True`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"simulation_id: expected a new run, got {directory.name!r}, which already has events in {directory}; "
            "choose another id or pass resume=True to continue it"
        )
        self.directory = directory


class CorruptLine(OtelEventsError):
    """A complete line that is not an event. Recoverable: count it, skip it, go on."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason, self.where = reason, where


class RunNotFound(OtelEventsError, LookupError):
    """No run of that name, or none at all. List what there is with `otel-events runs`."""

    def __init__(self, run: str, directory: Path) -> None:
        wanted = f"no run {run!r}" if run else "no run at all"
        super().__init__(
            f"{wanted} in {directory}: expected a directory with an events.jsonl; "
            f"see `otel-events runs --dir {directory}`"
        )
        self.run, self.directory = run, directory


class EventNotFound(OtelEventsError, LookupError):
    """The run has no event of that id. The words are those of the REST interface, which clients match."""

    def __init__(self, event: str, run: str) -> None:
        super().__init__(f"Event {event} not found in simulation {run}")
        self.event, self.run = event, run


class AmbiguousEvent(OtelEventsError, LookupError):
    """An id's ending that several events share. Give more of its letters."""

    def __init__(self, event: str, candidates: list[str]) -> None:
        shown = ", ".join(candidates[:5]) + (", …" if len(candidates) > 5 else "")
        super().__init__(f"{event!r} names {len(candidates)} events ({shown}): give more letters of the id's end")
        self.event, self.candidates = event, candidates


class MissingExtra(OtelEventsError, ImportError):
    """A command needs an optional part that is not installed."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra `{extra}`: pip install 'otel-events[{extra}]'")
        self.extra, self.needed_for = extra, needed_for


class Unmappable(OtelEventsError, ValueError):
    """An event that cannot become a span or log record: it says too little or wrong. Count it, skip it, go on."""

    def __init__(self, event_id: str, expected: str, got: object) -> None:
        super().__init__(f"event {event_id}: expected {expected}, got {_shown(got)}")
        self.event_id, self.expected, self.got = event_id, expected, got


class UnsupportedTransport(OtelEventsError, ValueError):
    """An OTLP endpoint that this version cannot speak to. Name another endpoint or protocol."""

    def __init__(self, signal: str, endpoint: str, protocol: str) -> None:
        super().__init__(
            f"{signal} at {endpoint or 'the default endpoint'}: expected OTLP over HTTP with protobuf, got {protocol}, "
            "which is not supported yet; use the HTTP port, e.g. OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318"
        )
        self.signal, self.endpoint, self.protocol = signal, endpoint, protocol


class NotImportable(OtelEventsError, ValueError):
    """A file that no importer understands. Name a Pidgin log, or a directory that holds some."""

    def __init__(self, path: Path, got: str) -> None:
        super().__init__(f"{path}: expected a conversation in pidgin-flat or pidgin-nested lines, got {got}")
        self.path, self.got = path, got


class ImportConflict(OtelEventsError):
    """The run exists and does not continue into this source. Import into another directory."""

    def __init__(self, run: Path, got: str) -> None:
        super().__init__(
            f"{run}: expected a run imported from an earlier state of this source with the same settings, got {got}; "
            "nothing was changed, import into another directory with --dir"
        )
        self.run, self.got = run, got


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile __repr__ must not hide the error that we are reporting
        text = "something whose repr fails"
    return f"{text if len(text) <= 80 else text[:77] + '…'} ({type(value).__name__})"
