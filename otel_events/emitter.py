"""From a call to a line: id, time, causes, surroundings and bytes, under one lock and in one order.

Id, timestamp and `write()` happen under the lock, so a part is sorted by `event_id`. An emit that interrupts another
one of the same thread (a signal handler, a finaliser) is put off until that one's line is written: no deadlock, and
no id out of order. What is lost is counted, warned about once a minute, and told in the log by the first write that
works. Nothing in here raises because of the disk.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from otel_events import ids, timestamp
from otel_events.causes import REMEMBERED, Causes
from otel_events.codec import encode
from otel_events.context import Frame, Trace
from otel_events.event import SCHEMA_VERSION
from otel_events.handle import Handle, Suppressed, reduced
from otel_events.log import Log, Torn
from otel_events.naming import text_of
from otel_events.parts import BLOBS
from otel_events.queued import Queue, QueuedLog
from otel_events.values import Normaliser

MAX_TRACE_SPANS = 5_000
"""A trace with so many spans is continued in a new one: UIs tire beyond, and Tempo refuses traces over 5 MB."""

_WARN_EVERY_NS = 60_000_000_000
_logger = logging.getLogger("otel_events")


class Clock(Protocol):
    """The two clocks that a recorder reads, in nanoseconds. The standard library's `time` module is one."""

    def time_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class Made:
    """The time of an event that was made before it is recorded, and its id; 0 as long as nobody has asked for one."""

    __slots__ = ("ns", "value")

    def __init__(self, ns: int, value: int) -> None:
        self.ns, self.value = ns, value


class Emitter:
    """Writes the lines of one recorder in one process. Thread-safe, fork-safe, re-entrant."""

    def __init__(
        self, simulation_id: str, log: Log, queue: Queue | None, source: ids.Ids, clock: Clock,
        redact: Callable[[str], str] | None, sampled: Callable[[int], str | None], ground: Frame,
    ) -> None:  # fmt: skip
        self.simulation_id, self.ids, self.clock = simulation_id, source, clock
        self.log = log if queue is None else QueuedLog(log, queue)
        self.counts = log
        """What is written to in the end, and counts what is lost and dropped on the way."""
        self.ground = ground
        """Where code without a context belongs: the innermost open turn, else the run."""
        self.normalise = Normaliser(self._store_blob, redact)  # invariant 7: the one choke point
        self.causes = Causes(log.directory, self.log.sync)
        self._time_ns = clock.time_ns
        self.recorded = self.repaired = self.unresolved = 0
        self._sampled = sampled
        self._torn: list[Torn] = []
        self._lost_told = self._dropped_told = 0
        self._warned_ns: dict[str, int] = {}
        self._reset_lock()

    def _reset_lock(self) -> None:
        """The lock and what it guards: in a forked child, no other thread is in the middle of anything."""
        self._lock = threading.RLock()
        self._made: Made | None = None
        self._writing = False
        self._deferred: list[Callable[[], object]] = []

    def after_fork(self) -> None:
        """In a forked child: a part, ids and locks of its own; what the parent counted is the parent's."""
        self.log.forget()
        self.ids.forget()
        self._reset_lock()
        self._torn = []
        self.recorded = self.repaired = self.unresolved = 0
        self.counts.lost = self.counts.dropped = self._lost_told = self._dropped_told = 0
        self.normalise.without_rule = self.normalise.redaction_failures = 0

    def run(self, write: Callable[..., object], *arguments: Any) -> None:
        """Call `write` under the lock; right after the current line if this thread is in the middle of one."""
        with self._lock:
            if self._writing:  # this thread is: the lock lets nobody else in
                self._deferred.append(partial(write, *arguments))
                return
            self._writing = True
            try:
                write(*arguments)
            finally:
                self._end_writing()

    def _end_writing(self) -> None:
        """Write what was put off, also where a signal handler recorded something and then left by an exception."""
        try:
            while self._deferred:
                self._deferred.pop(0)()
        finally:
            self._writing = False

    def point(
        self, frame: Frame, event_type: str, name: str, is_span: bool, agent_id: object,
        details: dict[str, Any] | None, causes: tuple[Handle, ...], description: object, turn_number: int | None,
        session_id: object, sim_time: object, error: dict[str, Any] | None,
    ) -> Handle:  # fmt: skip
        """Record a point event. What `run` does, written out: this is the path on which every call counts."""
        handle = Handle()
        with self._lock:
            if self._writing:
                self._deferred.append(
                    partial(
                        self._write_point, handle, frame, event_type, name, is_span, agent_id, details, causes,
                        description, turn_number, session_id, sim_time, error,
                    )
                )  # fmt: skip
                return handle
            self._writing = True
            try:
                self._write_point(
                    handle, frame, event_type, name, is_span, agent_id, details, causes, description, turn_number,
                    session_id, sim_time, error,
                )  # fmt: skip
            finally:
                if self._deferred:
                    self._end_writing()
                self._writing = False
        return handle

    def _write_point(
        self, handle: Handle, frame: Frame, event_type: str, name: str, is_span: bool, agent_id: object,
        details: dict[str, Any] | None, causes: tuple[Handle, ...], description: object, turn_number: int | None,
        session_id: object, sim_time: object, error: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        """Write the line of a point event and make `handle` name it."""
        now = self._time_ns()
        if not self.log.has_part:
            self.take(now)
        place = frame.place
        trace = place.trace
        if trace.spans >= MAX_TRACE_SPANS:
            self.continue_if_full(frame, now)
            trace = place.trace
        if self._made is None:
            value = self.ids.next(now // 1_000_000)
        else:
            now, value = self.draw(now)
        event_id, span_id = ids.texts(value)
        handle.event_id = event_id
        handle.trace_id = trace_id = trace.trace_id
        line: dict[str, Any] = {
            "event_id": event_id,
            "timestamp": timestamp.to_text(now),
            "turn_number": frame.turn_number if turn_number is None else turn_number,
            "event_type": event_type,
            "simulation_id": self.simulation_id,
        }
        if agent_id is not None:
            line["agent_id"] = agent_id if type(agent_id) is str else text_of(agent_id)
        if causes:
            named = (causes[0].event_id,) if len(causes) == 1 else tuple([cause.event_id for cause in causes])
            line["caused_by"] = handle.causes = named
        if description is not None:
            line["description"] = text_of(description)
        if details:
            line["details"] = details
        line["name"] = name
        if session_id is not None or frame.session_id is not None:
            line["session_id"] = frame.session_id if session_id is None else text_of(session_id)
        if sim_time is not None:
            line["sim_time"] = sim_time if type(sim_time) in (int, float, str) else text_of(sim_time)
        if error is not None:
            line["error"] = error
        line["trace_id"] = trace_id
        handle.is_span = is_span
        if is_span:
            trace.spans += 1
            line["span_id"] = handle.span_id = span_id
            line["parent_span_id"] = place.span_id
        else:
            line["span_id"] = handle.span_id = place.span_id
        if trace.flags is not None:
            line["trace_flags"] = trace.flags
        for cause in causes:
            if cause.trace_id != trace_id or not cause.is_span:
                line["links"] = self.links_to(causes, trace_id)
                break
        line["v"] = SCHEMA_VERSION
        self.append(handle, line, now)

    def draw(self, now: int, *, opens_trace: bool = False) -> tuple[int, int]:
        """Time and id of the line that is being written: of now, or of the event that was made before."""
        made, self._made = self._made, None
        if made is not None and made.value:
            return made.ns, made.value
        now = now if made is None else made.ns
        value = (self.ids.next_trace if opens_trace else self.ids.next)(now // 1_000_000)
        if made is not None:
            made.value = value
        return now, value

    def record_made(self, made: Made, write: Callable[[], Handle]) -> Handle:
        """Call `write`, which records one event; its line gets the time and the id of `made`."""
        with self._lock:
            self._made = made
            try:
                return write()
            finally:
                self._made = None

    def links_to(self, causes: Iterable[Handle], trace_id: str) -> dict[str, str | None]:
        """The causes whose span context does not follow from a line of this trace."""
        links: dict[str, str | None] = {}
        for cause in causes:
            if not cause.trace_id:
                links[cause.event_id] = None
                self.unresolved += 1
            elif cause.trace_id != trace_id or not cause.is_span:
                links[cause.event_id] = f"{cause.trace_id}-{cause.span_id}"
        return links

    def append(self, handle: Handle, line: dict[str, Any], ns: int) -> None:
        """Encode and write one line, remember it as a cause, and tell what was lost before it."""
        handle.recorded = written = self.log.append(encode(line, self.normalise), ns)
        if written:
            self.recorded += 1
            recent = self.causes.recent  # what `remember` does, without the call
            recent[line["event_id"]] = handle
            if len(recent) >= REMEMBERED:
                self.causes.age()
        counts = self.counts
        if counts.lost != self._lost_told or counts.dropped != self._dropped_told or self._torn:
            self._tell_losses(written)

    def take(self, ns: int) -> tuple[bool, bool] | None:
        """Own a part; the ids go on after its last one. Whether the run existed, and whether others write it."""
        taken = self.log.take(ns)
        if taken is None:
            return None  # the write that follows fails, and counts and tells it
        self.ids.after(taken.last_id)
        self._torn += taken.torn
        return taken.existed, taken.held

    # --- traces --------------------------------------------------------------------------------------------------

    def new_trace(self, value: int) -> Trace:
        """The trace that the event of this id opens; the sampler is asked here, once."""
        return Trace(f"{value:032x}", self._sampled(value))

    def continue_if_full(self, frame: Frame, now: int) -> None:
        """Where a trace's root has too many spans in it, go on in a new trace.

        It is opened by a `trace.continued` event, which is linked to the trace before. Scopes further in stay where
        they are.
        """
        place = frame.place
        if not place.root or place.trace.spans < MAX_TRACE_SPANS:
            return
        before, before_span = place.trace, place.span_id
        value = self.ids.next_trace(now // 1_000_000)
        place.trace, place.span_id = Trace(f"{value:032x}", before.flags), ids.texts(value)[1]
        links: dict[str, str | None] = {ids.event_of_trace(before.trace_id): f"{before.trace_id}-{before_span}"}
        details = {"milestone_type": "phase_transition", "spans": before.spans}
        self._append_own(value, now, frame, "MILESTONE", "trace.continued", details, links, self.log.append)

    def _append_own(
        self, value: int, now: int, frame: Frame, event_type: str, name: str, details: dict[str, Any],
        links: dict[str, str | None], append: Callable[[bytes, int], bool],
    ) -> bool:  # fmt: skip
        """Write an event of the recorder itself into a place, whatever the verbosity."""
        line: dict[str, Any] = {
            "event_id": ids.text(value),
            "timestamp": timestamp.to_text(now),
            "turn_number": frame.turn_number,
            "event_type": event_type,
            "simulation_id": self.simulation_id,
            "details": details,
            "name": name,
            "trace_id": frame.place.trace.trace_id,
            "span_id": frame.place.span_id,
        }
        if frame.place.trace.flags is not None:
            line["trace_flags"] = frame.place.trace.flags
        if links:
            line["links"] = links
        line["v"] = SCHEMA_VERSION
        written = append(encode(line, self.normalise), now)
        self.recorded += written
        return written

    # --- what the verbosity leaves out ---------------------------------------------------------------------------

    def suppressed(self, causes: tuple[Handle, ...], omitted: int) -> Suppressed:
        """The handle of an event that the verbosity leaves out."""
        if len(causes) > 1:
            causes, more = reduced(causes)
            omitted += more
        return Suppressed(causes, omitted, self._name_suppressed)

    def _name_suppressed(self, handle: Suppressed) -> str:
        with self._lock:
            event_id = ids.text(self.ids.next(self.clock.time_ns() // 1_000_000))
            self.causes.remember(event_id, handle)
        return event_id

    # --- losses --------------------------------------------------------------------------------------------------

    def look_after(self) -> None:
        """See whether everything is where it belongs, and tell what is not. Call it through `run`."""
        self.log.check(self.clock.time_ns())
        if self.counts.lost != self._lost_told or self.counts.dropped != self._dropped_told:
            self._tell_losses(True)

    def _tell_losses(self, written: bool) -> None:
        """Warn about what was lost since the last time and, when the disk works again, put it into the log."""
        log = self.counts
        lost, dropped = log.lost - self._lost_told, log.dropped - self._dropped_told
        if lost:
            self.warn("lost", f"{log.lost} events of run {self.simulation_id} are lost so far: {log.failure}")
        if dropped:
            all_dropped = f"{log.dropped} events of run {self.simulation_id} were dropped so far"
            self.warn("dropped", f"{all_dropped}: the queue is full")
        if not (written and self.log.works):
            return
        if lost and self._tell("log.lost", {"count": lost, "reason": str(log.failure or "")}):  # invariant 6
            self._lost_told += lost
        if dropped and self._tell("log.dropped", {"count": dropped}):
            self._dropped_told += dropped
        while self._torn:
            torn = self._torn[0]
            if not self._tell("log.repaired", {"part": torn.part, "offset": torn.offset, "torn": torn.data}):
                return
            self._torn.pop(0)
            self.repaired += 1

    def _tell(self, name: str, details: dict[str, Any]) -> bool:
        """Write one of the log's own events; that it fails is no further loss. A dropping queue is not waited for."""
        now, log = self.clock.time_ns(), self.counts
        dropped = log.dropped
        append = self.log.append if name == "log.dropped" else self.log.append_now
        value = self.ids.next(now // 1_000_000)
        if self._append_own(value, now, self.ground, "SYSTEM", name, {"status": "warning", **details}, {}, append):
            return True
        if log.dropped > dropped:
            log.dropped -= 1
        else:
            log.lost -= 1
        return False

    def warn(self, kind: str, message: str) -> None:
        """Log a warning, each kind at most once a minute."""
        now = self.clock.time_ns()
        if abs(now - self._warned_ns.get(kind, -_WARN_EVERY_NS)) >= _WARN_EVERY_NS:  # also after a clock step back
            self._warned_ns[kind] = now
            _logger.warning(message)

    def _store_blob(self, name: str, data: bytes) -> None:
        """Keep long bytes once, under their hash, complete before the line that names them."""
        directory = self.counts.directory / BLOBS
        target = directory / name
        try:
            if target.exists():
                return
            directory.mkdir(parents=True, exist_ok=True)
            temporary = directory / f".{name}.{os.getpid()}.{threading.get_ident()}"
            try:
                temporary.write_bytes(data)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            self.counts.lost, self.counts.failure = self.counts.lost + 1, error
            self.warn("blob", f"a value of {len(data)} bytes of run {self.simulation_id} is lost: {error}")
