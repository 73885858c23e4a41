"""One process's part in the recording of one run: opening, joining or continuing it, placing events, ending.

- Who creates the first part opens the run; who finds another process holding a part joins it; who finds the run
  unheld continues it with a new root, linked to the old one.
- An event belongs to the innermost scope of its context. Code without one (a plain thread, an executor) belongs to the
  innermost turn that is open here, else to the run.
- A forked child and a pickled copy in another process write parts of their own and never open or close the run.
"""

from __future__ import annotations

import atexit
import operator
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as otel_context

from otel_events import config, context, parts, sampling
from otel_events.causes import Cause
from otel_events.codec import decode
from otel_events.context import Frame, Place, Trace
from otel_events.emitter import Emitter
from otel_events.errors import CorruptLine, InvalidParameter, RecorderClosed
from otel_events.event import LEVELS, Event
from otel_events.failure import failure
from otel_events.handle import Handle, Suppressed
from otel_events.joining import VARIABLE, Joining
from otel_events.log import Log, Syncer
from otel_events.naming import text_of
from otel_events.scope import RUN, TURN, Scope, is_control_flow
from otel_events.scope_lines import write_closing, write_opening
from otel_events.settings import Settings
from otel_events.stats import Stats

if TYPE_CHECKING:
    from otel_events.ship import ShipperThread, TargetStats
    from otel_events.subscribe import Subscription

_current_frame = context.current.get
_open: list[Recording] = []  # those of this process that are not closed


class Recording:
    """The machinery behind `Recorder`."""

    log_type: type[Log] = Log

    def __init__(self, settings: Settings, joining: Joining | None = None) -> None:
        self._settings = settings
        self.directory = settings.directory.absolute()  # the program may go elsewhere
        self.simulation_id, self.name = settings.directory.name, settings.name
        self._level = LEVELS[settings.verbosity]
        self._clock = settings.clock
        run = Scope(self, RUN)
        self._run = None if joining else run
        self._base = joining.frame(self) if joining else run.frame
        log = self.log_type(self.directory, config.resource(self.name, self.simulation_id), settings.rotate)
        self._emitter = Emitter(
            self.simulation_id,
            log,
            settings.queue,
            settings.ids,
            settings.clock,
            settings.redact,
            sampling.configured(),
            self._base,
        )
        self._starting = threading.RLock()
        self._start_begun = self._started = joining is not None
        self._closed = False
        self._suppressed = 0
        self._turns: list[Scope] = []
        self._subscriptions: list[Subscription] = []
        self._shipper: ShipperThread | None = None
        self._syncer: Syncer | None = None
        self._span_token: Any = None
        _open.append(self)

    # --- the run ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._frame()
        self._span_token = context.attach(self._base.place)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._span_token is not None:
            otel_context.detach(self._span_token)
        self.close(None if is_control_flow(error) else error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.__exit__(kind, error, trace)

    def flush(self) -> Stats:
        """Wait until everything recorded so far is written (and, with `fsync`, on the disk)."""
        self._emitter.run(self._emitter.look_after)
        if self._settings.fsync is not None:
            self._sync()
        return self.stats()

    def close(self, error: object = None) -> Stats:
        """Close the run (where this process opened it), write everything, let the part go. Twice is as good as once."""
        if self._closed:
            return self.stats()
        if self._run is not None:
            if self._settings.queue is not None:
                self.flush()  # so that a full queue does not refuse the closing line
            self._run.close(error)
        self._closed = True
        stats = self.flush()
        if self._syncer is not None:
            self._syncer.stop()
        self._emitter.run(self._emitter.log.release)
        for subscription in self._subscriptions:
            subscription.stop()
        if self._shipper is not None:
            self._shipper.stop()
        _open.remove(self)
        return stats

    def stats(self) -> Stats:
        """What became of the events so far."""
        emitter, normalise = self._emitter, self._emitter.normalise
        return Stats(
            recorded=emitter.recorded - emitter.log.refused_later,
            suppressed=self._suppressed,
            lost=emitter.counts.lost,
            dropped=emitter.counts.dropped,
            repaired=emitter.repaired,
            unresolved=emitter.unresolved,
            without_rule=normalise.without_rule,
            redaction_failures=normalise.redaction_failures,
            ask_targets=self._target_stats,
        )

    def _target_stats(self) -> Sequence[TargetStats]:
        if not self._settings.targets:
            return ()
        from otel_events.ship import target_stats

        return target_stats(self.directory, self._settings.targets)

    def environ(self) -> dict[str, str]:
        """For the environment of a child process: its `Recorder()` joins this run, here; other SDKs join the trace."""
        joining = self._joining_here()
        flags = f"{context.RECORDED_FLAGS:02x}" if joining.trace_flags is None else joining.trace_flags
        return {VARIABLE: joining.to_text(), "TRACEPARENT": f"00-{joining.trace_id}-{joining.span_id}-{flags}"}

    # --- pickling and forking ------------------------------------------------------------------------------------

    def _joining_here(self) -> Joining:
        frame, settings = self._frame(), self._settings
        place = frame.place
        return Joining(
            directory=str(self.directory),
            name=self.name,
            verbosity=settings.verbosity,
            trace=settings.trace,
            rotate=settings.rotate,
            redacts=settings.redact is not None,
            event_id=place.event_id,
            trace_id=place.trace.trace_id,
            span_id=place.span_id,
            trace_flags=place.trace.flags,
            turn_number=frame.turn_number,
            session_id=frame.session_id,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return _joined, (type(self), self._joining_here(), self._settings.redact, os.getpid())

    def _after_fork(self) -> None:
        """In a forked child: one more process that has joined the run."""
        self._emitter.after_fork()
        self._starting = threading.RLock()
        self._start_begun = self._started
        self._run = None if self._started else self._run
        self._suppressed, self._subscriptions, self._shipper = 0, [], None
        self._syncer = self._new_syncer() if self._started else None

    # --- starting ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Open the run, join it, or continue it, whichever the parts on disk call for."""
        with self._starting:
            if self._start_begun:  # by this thread, which is interrupted in the middle of it
                return
            self._emitter.run(self._find_place)
            if not self._started:
                self._start_helpers()
                self._started = True

    def _find_place(self) -> None:
        if self._start_begun:  # by a signal handler, just before
            return
        self._start_begun = True
        taken = self._emitter.take(self._clock.time_ns())
        existed, held = taken or (False, False)
        opener = _opener_of(self.directory, wait=held) if existed else None
        if held and opener is not None:
            self._run = None
            self._base.place.fill(opener.event_id, opener.trace, opener.span_id)
            return
        scope = self._run
        assert scope is not None  # who joins by text or fork has its place already
        scope.details, scope.state, scope.pid = self._opening_details(resumed=existed), "open", os.getpid()
        foreign = context.foreign_span() or _traceparent()
        if foreign is not None:
            scope.foreign = {foreign: foreign}
        surroundings = Frame(self, opener or Place(), 0, None, ())
        write_opening(self._emitter, scope, surroundings, (), own_trace=True)

    def _opening_details(self, *, resumed: bool) -> dict[str, Any]:
        details: dict[str, Any] = {"name": self.name}
        if self._settings.params is not None:
            details["params"] = self._settings.params
        if resumed:
            details["resumed"] = True
        return details

    def _start_helpers(self) -> None:
        self._syncer = self._new_syncer()
        if self._settings.targets and self._run is not None:
            from otel_events import ship

            if self._settings.shipper == "thread":
                self._shipper = ship.ShipperThread(self.directory, self._settings.targets)
                self._shipper.start()
            else:
                self._spawn_shipper()

    def _spawn_shipper(self) -> None:
        from otel_events import ship

        try:
            ship.spawn(self.directory, self._settings.targets)
        except OSError as error:
            later = f"otel-events ship {self.directory} does it later"
            self._emitter.warn(
                "ship", f"no process could be started that ships run {self.simulation_id} ({later}): {error}"
            )

    def _new_syncer(self) -> Syncer | None:
        return None if self._settings.fsync is None else Syncer(self._sync, self._settings.fsync)

    def _sync(self) -> None:
        try:
            self._emitter.log.sync()
        except OSError as error:
            self._emitter.warn("fsync", f"run {self.simulation_id} could not be brought to the disk: {error}")

    # --- recording -----------------------------------------------------------------------------------------------

    def _point(
        self, event_type: str, name: str, is_span: bool, agent_id: object, details: dict[str, Any] | None,
        caused_by: Cause, description: object, turn_number: int | None, session_id: object, sim_time: object,
        error: object,
    ) -> Handle:  # fmt: skip
        emitter = self._emitter
        frame = _current_frame()
        if frame is None or frame.owner is not self or self._closed:
            frame = self._frame()
        if turn_number is not None:
            turn_number = check_turn(turn_number, name)
        if caused_by is None:
            causes = frame.causes
        elif type(caused_by) is Handle:
            causes = (caused_by,)
        else:
            causes, omitted = emitter.causes.resolve(caused_by, name)
            if omitted:
                details = {**(details or {}), "causes_omitted": omitted}
        return emitter.point(
            frame, event_type, name, is_span, agent_id, details, causes, description, turn_number, session_id, sim_time,
            None if error is None else failure(error),
        )  # fmt: skip

    def _suppress(self, caused_by: Cause) -> Suppressed:
        frame = self._frame()
        self._suppressed += 1
        causes, omitted = (frame.causes, 0) if caused_by is None else self._emitter.causes.resolve(caused_by, "event")
        return self._emitter.suppressed(causes, omitted)

    def _frame(self) -> Frame:
        """The surroundings of what is recorded now: the context's, else the innermost open turn's, else the run's."""
        if self._closed:
            raise RecorderClosed(self.simulation_id, "record")
        if not self._started:
            self._start()
        frame = _current_frame()
        return frame if frame is not None and frame.owner is self else self._emitter.ground

    def _frame_because(self, caused_by: Cause) -> Frame:
        causes, _ = self._emitter.causes.resolve(caused_by, "because")
        return self._frame()._replace(causes=causes)

    def _open_scope(self, scope: Scope) -> None:
        frame, emitter, kind = self._frame(), self._emitter, scope.kind
        causes, omitted = frame.causes, 0
        if scope.caused_by is not None:
            causes, omitted = emitter.causes.resolve(scope.caused_by, kind.name)
        if omitted:
            scope.details["causes_omitted"] = omitted
        turn = frame.turn_number if scope.turn_number is None else scope.turn_number
        session = frame.session_id if scope.session_id is None else text_of(scope.session_id)
        scope.frame = Frame(self, scope.place, turn, session, frame.causes)
        scope.state, scope.pid = "open", os.getpid()
        if self._level < kind.level:
            self._leave_out(scope, frame, emitter.suppressed(causes, omitted))
            return
        own_trace = kind.opens_trace and (self._settings.trace == "scope" or kind is RUN)
        scope.place.root = own_trace
        emitter.run(write_opening, emitter, scope, frame, causes, own_trace)
        if kind is TURN:
            self._turns.append(scope)
            emitter.ground = scope.frame

    def _leave_out(self, scope: Scope, frame: Frame, stands_for: Suppressed) -> None:
        self._suppressed += 1
        scope.stand_for(stands_for)
        scope.started = self._clock.time_ns(), self._clock.monotonic_ns()
        scope.outer = frame

    def _close_scope(self, scope: Scope, error: dict[str, Any] | None) -> None:
        if self._closed:
            return
        self._emitter.run(write_closing, self._emitter, scope, error)
        if scope in self._turns:
            self._turns.remove(scope)
            self._emitter.ground = self._turns[-1].frame if self._turns else self._base


def _joined(kind: type[Recording], joining: Joining, redact: Callable[[str], str] | None, pid: int) -> Recording:
    """Unpickle: this process's recording of the run, placed where it was pickled; where it was pickled, itself."""
    known = next((one for one in reversed(_open) if str(one.directory) == joining.directory), None)
    if known is None:
        known = kind.__new__(kind)
        Recording.__init__(known, joining.settings(redact=redact), joining)
    elif known._run is None and pid != os.getpid():
        known._base = known._emitter.ground = joining.frame(known)
    return known


def check_turn(number: object, where: str) -> int:
    """The int ≥ 0 that it is, numpy's included. Raises InvalidParameter."""
    try:
        value = -1 if isinstance(number, bool) else operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        value = -1
    if not 0 <= value < 1 << 63:
        raise InvalidParameter(f"turn_number of {where}", "an int ≥ 0", number)
    return value


def _opener_of(directory: Path, *, wait: bool) -> Place | None:
    """The place of the run's opening line. With `wait`, another process may be about to write it: up to a second."""
    for _ in range(100 if wait else 1):
        for part in parts.parts_of(directory):
            line = parts.first_line(part)
            event = None if line is None else _decoded(line)
            if event is not None and event.name == "run" and event.opens and event.trace_id and event.span_id:
                place = Place(root=True)
                place.fill(event.event_id, Trace(event.trace_id, event.trace_flags), event.span_id)
                return place
        if wait:
            time.sleep(0.01)
    return None


def _decoded(line: bytes) -> Event | None:
    try:
        return decode(line)
    except CorruptLine:
        return None


def _traceparent() -> str | None:
    """`<trace_id>-<span_id>` of a TRACEPARENT that a foreign parent process left us."""
    match = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", os.environ.get("TRACEPARENT", ""))
    return "-".join(match.groups()) if match else None


def _close_all() -> None:
    for recording in list(_open):
        recording.close()


def _after_fork() -> None:
    for recording in list(_open):
        recording._after_fork()


def only_open() -> Recording | None:
    """The only recording that is open in this process."""
    return _open[0] if len(_open) == 1 else None


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
