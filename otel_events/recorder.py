"""The recorder: what a program says about its run, one method for each kind of event.

    with Recorder(name="economy") as rec:
        with rec.turn(1) as turn:
            decision = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2, caused_by=turn)
            rec.action("alice", "transfer", {"to": "bob", "amount": 12.5}, caused_by=decision)

Misuse (a parameter of the wrong kind, a closed recorder) raises at the call; disks and backends never do.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from time import gmtime, strftime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from otel_events import config, context, ids, parts, sampling
from otel_events.causes import Cause
from otel_events.codec import decode
from otel_events.context import Frame, Place, Trace
from otel_events.emitter import Clock, Emitter, text_of
from otel_events.errors import CorruptLine, InvalidParameter, RecorderClosed, RunExists
from otel_events.event import LEVELS, LLM_CALL_LEVEL, Event
from otel_events.failure import failure
from otel_events.handle import Handle, Suppressed
from otel_events.joining import VARIABLE, Joining
from otel_events.log import Log, Rotation, Syncer
from otel_events.queued import Queue, QueuedLog
from otel_events.scope import Because, Scope, ScopeKind
from otel_events.scope_lines import write_closing, write_opening
from otel_events.stats import Stats

if TYPE_CHECKING:
    from otel_events.ship import ShipperThread
    from otel_events.subscribe import Subscription

DEFAULT_PART_BYTES = 500_000_000
DEFAULT_DIRECTORY = "output"

_MISSING: Any = object()  # so that None can be an old or a new value
_DECISION, _ACTION, _STATE, _DETAIL = LEVELS["DECISION"], LEVELS["ACTION"], LEVELS["STATE"], LEVELS["DETAIL"]
_RUN = ScopeKind("run", "MILESTONE", 0, opens_trace=True, milestone="simulation")
_TURN = ScopeKind("turn", "MILESTONE", 0, opens_trace=True, milestone="turn")
_SESSION = ScopeKind("session", "MILESTONE", 0, opens_trace=True)
_STEP = ScopeKind("step", "ACTION", _ACTION)
_TOOL_CALL = ScopeKind("tool.call", "ACTION", _ACTION)
_LLM_CALL = ScopeKind("llm.call", "SYSTEM", LLM_CALL_LEVEL)

_open: dict[str, Recorder] = {}  # by directory: the recorders of this process that are not closed


class Recorder:
    """Records one run into `<dir>/<simulation_id>/`. Thread-safe; forked children and pickled copies join the run.

    `dir`: where runs lie (OTEL_EVENTS_DIR, else `output`). `name`: of the kind of run, the program's by default.
    `simulation_id`: `<name>-<yyyymmdd-hhmmss>-<4 characters>` unless given; an existing one raises RunExists unless
    `resume`. `params`: the experiment's settings, kept in the opening event. `verbosity`: a key of `event.LEVELS`.
    `otlp`: a base URL to ship to, True for the default one, False for none; by default what the environment says.
    `shipper`: in a process of its own, or in a thread. `trace`: one trace a scope (run, session, turn) or one a run.
    `rotate`: a new part at so many bytes, by "day" (UTC), or None. `fsync`: bring the log to the disk every so many
    seconds. `queue`: write from a thread of its own, through a bounded queue. `redact`: maps every string before it is
    written. `clock` and `ids`: for tests.
    """

    def __init__(
        self,
        dir: str | os.PathLike[str] | None = None,
        *,
        simulation_id: str | None = None,
        name: str | None = None,
        params: dict[str, Any] | None = None,
        verbosity: str = "ACTION",
        resume: bool = False,
        otlp: str | bool | None = None,
        shipper: Literal["process", "thread"] = "process",
        trace: Literal["scope", "run"] = "scope",
        rotate: Rotation = DEFAULT_PART_BYTES,
        fsync: float | None = None,
        queue: Queue | None = None,
        redact: Callable[[str], str] | None = None,
        clock: Clock = time,
        ids: ids.Ids | None = None,
    ) -> None:
        joining = Joining.from_environ() if dir is None and simulation_id is None else None
        if joining is not None:
            if joining.redacts and redact is None:
                raise InvalidParameter("redact", "the hook that the run is redacted with", redact)
            self._set_up_joined(joining, redact, fsync=fsync, queue=queue, clock=clock, ids=ids)
            return
        name = _program() if name is None else name
        simulation_id = _new_id(name, clock) if simulation_id is None else simulation_id
        directory = _run_directory(dir or os.environ.get("OTEL_EVENTS_DIR") or DEFAULT_DIRECTORY, simulation_id)
        _check("verbosity", verbosity, LEVELS)
        _check("shipper", shipper, ("process", "thread"))
        _check("trace", trace, ("scope", "run"))
        if rotate not in (None, "day") and (type(rotate) is not int or rotate < 1):
            raise InvalidParameter("rotate", "a number of bytes, 'day' or None", rotate)
        if not resume and parts.is_run(directory):
            raise RunExists(directory)
        self._set_up(directory, name, params, verbosity, trace, rotate, fsync, queue, redact, clock, ids)
        self._ship_to(config.targets(otlp), shipper)

    def _set_up(
        self, directory: Path, name: str, params: dict[str, Any] | None, verbosity: str, trace: Literal["scope", "run"],
        rotate: Rotation, fsync: float | None, queue: Queue | None, redact: Callable[[str], str] | None, clock: Clock,
        source: ids.Ids | None,
    ) -> None:  # fmt: skip
        self.directory, self.simulation_id, self.name = directory, directory.name, name
        self.params, self.verbosity, self.trace = params, verbosity, trace
        self._level = LEVELS[verbosity]
        self._rotate, self._fsync, self._redact, self._clock = rotate, fsync, redact, clock
        self._ship_to([], "process")
        self._run: Scope | None = Scope(self, _RUN)
        self._base = self._run.frame
        log = Log(directory, config.resource(name, self.simulation_id), rotate)
        self._emitter = Emitter(
            self.simulation_id, log if queue is None else QueuedLog(log, queue), ids.IdGenerator() if source is None else source, clock, redact,
            sampling.configured(), self._base,
        )  # fmt: skip
        self._starting = threading.RLock()
        self._start_begun = self._started = self._closed = False
        self._suppressed = 0
        self._turns: list[Scope] = []
        self._subscriptions: list[Subscription] = []
        self._shipper: ShipperThread | None = None
        self._syncer: Syncer | None = None
        _open[str(directory.absolute())] = self

    def _ship_to(self, targets: list[config.Target], shipper: str) -> None:
        self._targets, self._shipper_kind = targets, shipper

    def _set_up_joined(
        self, joining: Joining, redact: Callable[[str], str] | None, *, fsync: float | None = None,
        queue: Queue | None = None, clock: Clock = time, ids: ids.Ids | None = None,
    ) -> None:  # fmt: skip
        """A recorder that neither opens the run nor closes it: its events belong where the text says."""
        self._set_up(
            joining.path, joining.name, None, joining.verbosity, joining.trace, joining.rotate, fsync, queue, redact,
            clock, ids,
        )  # fmt: skip
        self._run = None
        self._base = self._emitter.ground = joining.frame(self)
        self._start_begun = self._started = True

    # --- points --------------------------------------------------------------------------------------------------

    def milestone(
        self, milestone_type: str, description: str | None = None, *, agent_id: object = None, caused_by: Cause = None,
        turn_number: int | None = None, session_id: object = None, sim_time: object = None, error: object = None,
        **details: Any,
    ) -> Handle:  # fmt: skip
        """A turning point that is no scope, such as `phase_transition`."""
        return self._point(
            "MILESTONE", dotted("milestone", milestone_type), True, agent_id,
            {"milestone_type": milestone_type, **details}, caused_by, description, turn_number, session_id, sim_time, error,
        )  # fmt: skip

    def decision(
        self, agent_id: object, decision_type: str, old_value: Any = _MISSING, new_value: Any = _MISSING, *,
        description: str | None = None, caused_by: Cause = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None, error: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """What an agent decided; `old_value` and `new_value` where it changed a setting."""
        if self._level < _DECISION and error is None:
            return self._suppress(caused_by)
        said: dict[str, Any] = {"decision_type": decision_type}
        if old_value is not _MISSING:
            said["old_value"] = old_value
        if new_value is not _MISSING:
            said["new_value"] = new_value
        if details:
            said |= details
        return self._point(
            "DECISION", dotted("decision", decision_type), True, agent_id, said, caused_by, description, turn_number,
            session_id, sim_time, error,
        )  # fmt: skip

    def action(
        self, agent_id: object, action_type: str, action_payload: Any = None, *, description: str | None = None,
        caused_by: Cause = None, turn_number: int | None = None, session_id: object = None, sim_time: object = None,
        error: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """What an agent did."""
        if self._level < _ACTION and error is None:
            return self._suppress(caused_by)
        said: dict[str, Any] = {"action_type": action_type}
        if action_payload is not None:
            said["action_payload"] = action_payload
        if details:
            said |= details
        return self._point(
            "ACTION", dotted("action", action_type), True, agent_id, said, caused_by, description, turn_number,
            session_id, sim_time, error,
        )  # fmt: skip

    def state(
        self, variable_name: str, old_value: Any, new_value: Any, *, agent_id: object = None, scope: str | None = None,
        description: str | None = None, caused_by: Cause = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None, error: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """A variable that changed; `scope` is `agent` where there is an agent, else `global`."""
        if self._level < _STATE and error is None:
            return self._suppress(caused_by)
        said = {
            "variable_name": variable_name,
            "old_value": old_value,
            "new_value": new_value,
            "scope": ("global" if agent_id is None else "agent") if scope is None else scope,
        }
        if details:
            said |= details
        return self._point(
            "STATE", dotted("state", variable_name), True, agent_id, said, caused_by, description, turn_number,
            session_id, sim_time, error,
        )  # fmt: skip

    def detail(
        self, calculation_type: str, intermediate_values: Any = None, *, agent_id: object = None,
        description: str | None = None, caused_by: Cause = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None, error: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """A calculation behind a decision or a state."""
        if self._level < _DETAIL and error is None:
            return self._suppress(caused_by)
        said: dict[str, Any] = {"calculation_type": calculation_type}
        if intermediate_values is not None:
            said["intermediate_values"] = intermediate_values
        return self._point(
            "DETAIL", dotted("detail", calculation_type), False, agent_id, {**said, **details}, caused_by, description,
            turn_number, session_id, sim_time, error,
        )  # fmt: skip

    def system(
        self, status: str, *, error_type: str | None = None, retry_count: int | None = None, agent_id: object = None,
        description: str | None = None, caused_by: Cause = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None, error: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """What happened to the machinery: `status` is `success`, `failure`, `retry` or `warning`."""
        if self._level < _DETAIL and error is None:
            return self._suppress(caused_by)
        said = {"status": status, "error_type": error_type, "retry_count": retry_count}
        said = {key: value for key, value in said.items() if value is not None}
        return self._point(
            "SYSTEM", dotted("system", status), False, agent_id, {**said, **details}, caused_by, description,
            turn_number, session_id, sim_time, error,
        )  # fmt: skip

    def error(
        self, error: object, *, agent_id: object = None, description: str | None = None, caused_by: Cause = None,
        turn_number: int | None = None, session_id: object = None, sim_time: object = None, **details: Any,
    ) -> Handle:  # fmt: skip
        """Something failed: an exception or a text. Kept at every verbosity."""
        return self._point(
            "SYSTEM", "error", False, agent_id, {"status": "failure", **details}, caused_by, description, turn_number,
            session_id, sim_time, error,
        )  # fmt: skip

    def emit(
        self, event_type: str, name: str, *, agent_id: object = None, details: dict[str, Any] | None = None,
        description: str | None = None, caused_by: Cause = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None, error: object = None,
    ) -> Handle:  # fmt: skip
        """Any event: a type of `event.LEVELS` and a name of your own, dotted and lower case, with few distinct values."""
        if not isinstance(event_type, str) or event_type not in LEVELS:
            raise InvalidParameter("event_type of emit", f"one of {', '.join(LEVELS)}", event_type)
        if self._level < LEVELS[event_type] and error is None:
            return self._suppress(caused_by)
        return self._point(
            event_type, name, LEVELS[event_type] < _DETAIL, agent_id, details, caused_by, description, turn_number,
            session_id, sim_time, error,
        )  # fmt: skip

    # --- scopes --------------------------------------------------------------------------------------------------

    def turn(
        self, number: int, *, description: str | None = None, caused_by: Cause = None, session_id: object = None,
        sim_time: object = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """A turn of the simulation; everything inside has its number."""
        _check_turn(number, "turn")
        return Scope(
            self, _TURN, description=description, details=details, caused_by=caused_by, turn_number=number,
            session_id=session_id, sim_time=sim_time,
        )  # fmt: skip

    def session(
        self, session_id: object, *, description: str | None = None, caused_by: Cause = None, **details: Any
    ) -> Scope:
        """A conversation, experiment or voice session; everything inside has its id."""
        return Scope(
            self, _SESSION, description=description, details=details, caused_by=caused_by, session_id=text_of(session_id)
        )

    def step(
        self, agent_id: object, *, description: str | None = None, caused_by: Cause = None, sim_time: object = None,
        **details: Any,
    ) -> Scope:  # fmt: skip
        """What one agent does when it is its turn to act."""
        return Scope(
            self, _STEP, agent_id=agent_id, description=description, details=details, caused_by=caused_by, sim_time=sim_time
        )

    def llm_call(
        self, agent_id: object = None, *, model: str, provider: str | None = None, operation: str = "chat",
        input: Any = None, description: str | None = None, caused_by: Cause = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """One logical call of a language model; `finish(output=…, input_tokens=…, …)` says what came back."""
        said = {"model": model, "provider": provider, "operation": operation, "input": input}
        said = {key: value for key, value in said.items() if value is not None}
        return Scope(
            self, _LLM_CALL, agent_id=agent_id, description=description, details={**said, **details}, caused_by=caused_by
        )

    def tool_call(
        self, agent_id: object, tool_name: str, arguments: Any = None, *, description: str | None = None,
        caused_by: Cause = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """One call of a tool; `finish(result)` says what came back."""
        said = {"tool_name": tool_name} if arguments is None else {"tool_name": tool_name, "arguments": arguments}
        return Scope(
            self, _TOOL_CALL, agent_id=agent_id, description=description, details={**said, **details}, caused_by=caused_by
        )

    def scope(
        self, name: str, *, event_type: str = "ACTION", agent_id: object = None, description: str | None = None,
        caused_by: Cause = None, sim_time: object = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """Anything else that takes time."""
        if event_type not in LEVELS:
            raise InvalidParameter("event_type of scope", f"one of {', '.join(LEVELS)}", event_type)
        kind = ScopeKind(name, event_type, LEVELS[event_type])
        return Scope(
            self, kind, agent_id=agent_id, description=description, details=details, caused_by=caused_by, sim_time=sim_time
        )

    def because(self, caused_by: Cause) -> Because:
        """`with rec.because(d):` makes `d` the cause of everything inside that names none."""
        return Because(self, caused_by)

    # --- the run -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._frame()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def flush(self) -> Stats:
        """Wait until everything recorded so far is written (and, with `fsync`, on the disk)."""
        log = self._emitter.log
        self._emitter.run(log.check, self._clock.time_ns())
        if self._fsync is not None:
            self._sync()
        return self.stats()

    def close(self, error: object = None) -> Stats:
        """Close the run (where this process opened it), write everything, let the part go. Further calls change nothing."""
        if self._closed:
            return self.stats()
        if self._run is not None:
            self._run.close(error)
        self._closed = True
        stats = self.flush()
        if self._syncer is not None:
            self._syncer.stop()
        self._emitter.log.release()
        for subscription in self._subscriptions:
            subscription.stop()
        if self._shipper is not None:
            self._shipper.stop()
        _open.pop(str(self.directory), None)
        return stats

    def stats(self) -> Stats:
        """What became of the events so far."""
        emitter, normalise = self._emitter, self._emitter.normalise
        targets: tuple[Any, ...] = ()
        if self._targets:
            from otel_events.ship import target_stats

            targets = tuple(target_stats(self.directory))
        return Stats(
            recorded=emitter.recorded, suppressed=self._suppressed, lost=emitter.log.log.lost,
            dropped=emitter.log.dropped, repaired=emitter.repaired, unresolved=emitter.unresolved,
            without_rule=normalise.without_rule, redaction_failures=normalise.redaction_failures, targets=targets,
        )  # fmt: skip

    def subscribe(self, callback: Callable[..., None], **filters: Any) -> Subscription:
        """Call `callback(event)` for every line of the run from now on that is on disk and passes `EventFilter(**filters)`.

        In a thread of its own; `stop()` of what is returned delivers what is there and ends it, and so does `close`.
        """
        from otel_events.subscribe import Subscription

        self._frame()
        subscription = Subscription(self.directory, callback, filters)
        self._subscriptions.append(subscription)
        return subscription

    def environ(self) -> dict[str, str]:
        """For the environment of a child process: its `Recorder()` joins this run, here; other SDKs join the trace."""
        joining = self._joining_here()
        flags = f"{context.RECORDED_FLAGS:02x}" if joining.trace_flags is None else joining.trace_flags
        return {VARIABLE: joining.to_text(), "TRACEPARENT": f"00-{joining.trace_id}-{joining.span_id}-{flags}"}

    # --- pickling and forking ------------------------------------------------------------------------------------

    def _joining_here(self) -> Joining:
        frame = self._frame()
        place = frame.place
        return Joining(
            str(self.directory.absolute()), self.name, self.verbosity, self.trace, self._rotate,
            self._redact is not None, place.event_id, place.trace.trace_id, place.span_id, place.trace.flags,
            frame.turn_number, frame.session_id,
        )  # fmt: skip

    def __reduce__(self) -> tuple[object, ...]:
        return _joined, (self._joining_here(), self._redact, os.getpid())

    def _after_fork(self) -> None:
        """In a forked child: a recorder that has joined the run."""
        self._emitter.after_fork()
        self._starting = threading.RLock()
        self._run, self._shipper, self._syncer = None if self._started else self._run, None, None
        self._start_begun = self._started
        self._suppressed, self._targets, self._subscriptions = 0, [], []
        if self._fsync is not None:
            self._syncer = Syncer(self._sync, self._fsync)

    # --- starting ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Open the run, join it, or continue it, whichever the parts on disk call for."""
        with self._starting:
            if self._start_begun:  # by this thread, which is interrupted in the middle of it
                return
            self._start_begun = True
            self._emitter.run(self._find_place)
            self._start_helpers()
            self._started = True

    def _find_place(self) -> None:
        taken = self._emitter.take(self._clock.time_ns())
        existed, held = taken or (False, False)
        opener = _opener_of(self.directory, wait=held) if existed else None
        if held and opener is not None:
            self._run = None
            self._base.place.fill(opener.event_id, opener.trace, opener.span_id)
            return
        scope = self._run = Scope(self, _RUN, details=self._opening_details(resumed=existed))
        scope.place, scope.frame, scope.state = self._base.place, self._base, "open"
        foreign = context.foreign_span() or _traceparent()
        if foreign is not None:
            scope.foreign = {foreign: foreign}
        surroundings = Frame(self, opener or Place(), 0, None, ())
        write_opening(self._emitter, scope, surroundings, (), own_trace=True)

    def _opening_details(self, *, resumed: bool) -> dict[str, Any]:
        details: dict[str, Any] = {"name": self.name}
        if self.params is not None:
            details["params"] = self.params
        if resumed:
            details["resumed"] = True
        return details

    def _start_helpers(self) -> None:
        if self._fsync is not None:
            self._syncer = Syncer(self._sync, self._fsync)
        if self._targets and self._run is not None:
            from otel_events import ship

            if self._shipper_kind == "thread":
                self._shipper = ship.ShipperThread(self.directory, self._targets)
                self._shipper.start()
            else:
                ship.spawn(self.directory, self._targets)

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
        frame, emitter = self._frame(), self._emitter
        if turn_number is not None:
            _check_turn(turn_number, name)
        if caused_by is None:
            causes = frame.causes
        else:
            causes, omitted = emitter.causes.resolve(caused_by, name)
            if omitted:
                details = {**(details or {}), "causes_omitted": omitted}
        handle = Handle()
        emitter.run(
            emitter.write_point, handle, frame, event_type, name, is_span, agent_id, details, causes, description,
            turn_number, session_id, sim_time, None if error is None else failure(error),
        )  # fmt: skip
        return handle

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
        frame = context.current.get()
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
        own_trace = kind.opens_trace and (self.trace == "scope" or kind is _RUN)
        scope.place.root = own_trace
        emitter.run(write_opening, emitter, scope, frame, causes, own_trace)
        if kind is _TURN:
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


class SilentRecorder(Recorder):
    """Records nothing, whatever it is asked: what `current()` gives where no recorder is open."""

    def __init__(self) -> None:
        self.directory, self.simulation_id, self.name = Path(os.devnull), "", ""
        self.verbosity, self.trace, self.params = "MILESTONE", "scope", None
        self._level = -1
        self._frame_of_nothing = Frame(self, Place(), 0, None, ())

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
    return next(iter(_open.values())) if len(_open) == 1 else _SILENT


def _joined(joining: Joining, redact: Callable[[str], str] | None, pid: int) -> Recorder:
    """Unpickle: this process's recorder of the run, placed where it was pickled; where it was pickled, itself."""
    known = _open.get(joining.directory)
    if known is not None and pid == os.getpid():
        return known
    if known is None:
        known = Recorder.__new__(Recorder)
        known._set_up_joined(joining, redact)
    elif known._run is None:
        known._base = known._emitter.ground = joining.frame(known)
    return known


def _program() -> str:
    """The name of the running program: its file's, or its folder's for `python -m package`."""
    path = Path(sys.argv[0] if sys.argv else "")
    stem = path.parent.name if path.stem == "__main__" else path.stem
    return re.sub(r"[^\w.-]", "_", stem) or "run"


def _new_id(name: str, clock: Clock) -> str:
    if not isinstance(name, str):
        raise InvalidParameter("name", "a string", name)
    begun = strftime("%Y%m%d-%H%M%S", gmtime(clock.time_ns() // 1_000_000_000))
    letters = "".join(secrets.choice(ids.ALPHABET.lower()) for _ in range(4))
    plain = re.sub(r"[^\w.-]", "_", name)[:150]
    return f"{plain}-{begun}-{letters}"


def _run_directory(directory: str | os.PathLike[str], simulation_id: str) -> Path:
    plain = isinstance(simulation_id, str) and simulation_id not in ("", ".", "..")
    if not plain or len(os.fsencode(simulation_id)) > 200 or not re.fullmatch(r"[^/\\\x00-\x1f\x7f]+", simulation_id):
        raise InvalidParameter("simulation_id", "a directory name of 1 to 200 bytes", simulation_id)
    return Path(directory) / simulation_id


def _check(parameter: str, value: object, allowed: Iterable[str]) -> None:
    if value not in tuple(allowed):
        raise InvalidParameter(parameter, f"one of {', '.join(allowed)}", value)


def _check_turn(number: object, where: str) -> None:
    if type(number) is not int or number < 0:
        raise InvalidParameter(f"turn_number of {where}", "an int ≥ 0", number)


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


@lru_cache(maxsize=4096)
def _dotted(prefix: str, kind: str) -> str:
    letters = (letter if letter.isalnum() or letter in "._-" else "_" for letter in kind.strip().lower()[:80])
    return f"{prefix}.{''.join(letters)}" if kind.strip() else prefix


def dotted(prefix: str, kind: object) -> str:
    """The name of an event: `action.transfer` for ("action", "transfer"); lower case, no spaces, bounded."""
    return _dotted(prefix, kind if type(kind) is str else text_of(getattr(kind, "value", kind)))


def _close_all() -> None:
    for recorder in list(_open.values()):
        recorder.close()


def _after_fork() -> None:
    for recorder in list(_open.values()):
        recorder._after_fork()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
