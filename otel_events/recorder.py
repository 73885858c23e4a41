"""The recorder: what a program says about its run, one method for each kind of event.

    with Recorder(name="economy") as rec:
        with rec.turn(1) as turn:
            decision = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2, caused_by=turn)
            rec.action("alice", "transfer", {"to": "bob", "amount": 12.5}, caused_by=decision)

Misuse (a parameter of the wrong kind, a closed recorder) raises at the call; disks and backends never do.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from otel_events import config, parts
from otel_events.causes import Cause
from otel_events.emitter import Clock
from otel_events.errors import InvalidParameter, RunExists, UnsupportedTransport
from otel_events.event import LEVELS
from otel_events.handle import Handle
from otel_events.ids import IdGenerator, Ids
from otel_events.joining import Joining
from otel_events.log import Rotation
from otel_events.naming import event_name, new_run_id, program, run_directory, text_of
from otel_events.queued import Queue
from otel_events.recording import Recording, check_turn
from otel_events.scope import LLM_CALL, SESSION, STEP, TOOL_CALL, TURN, Because, Scope, ScopeKind
from otel_events.settings import Settings

if TYPE_CHECKING:
    from otel_events.subscribe import Subscription

DEFAULT_PART_BYTES = 500_000_000
DEFAULT_DIRECTORY = "output"

_logger = logging.getLogger("otel_events")
_HTTP = re.compile(r"(?i)https?://[^/]|(\[[0-9a-f:]+\]|[^/:]+)(:\d+)?(/|$)")  # a host alone is one of http
_MISSING: Any = object()  # so that None can be an old or a new value
_DECISION, _ACTION, _STATE, _DETAIL = LEVELS["DECISION"], LEVELS["ACTION"], LEVELS["STATE"], LEVELS["DETAIL"]


class Recorder(Recording):
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
        ids: Ids | None = None,
    ) -> None:
        ids = IdGenerator() if ids is None else ids
        joining = Joining.from_environ() if dir is None and simulation_id is None else None
        if joining is not None:
            if joining.redacts and redact is None:
                raise InvalidParameter("redact", "the hook that the run is redacted with", redact)
            joined = joining.settings(redact=redact, fsync=fsync, queue=queue, clock=clock, ids=ids)
            super().__init__(joined, joining)
            return
        name = program() if name is None else name
        simulation_id = new_run_id(name, clock.time_ns()) if simulation_id is None else simulation_id
        directory = run_directory(dir or os.environ.get("OTEL_EVENTS_DIR") or DEFAULT_DIRECTORY, simulation_id)
        _check("verbosity", verbosity, tuple(LEVELS))
        _check("shipper", shipper, ("process", "thread"))
        _check("trace", trace, ("scope", "run"))
        if rotate not in (None, "day") and (type(rotate) is not int or rotate < 1):
            raise InvalidParameter("rotate", "a number of bytes, 'day' or None", rotate)
        if not resume and parts.is_run(directory):
            raise RunExists(directory)
        super().__init__(
            Settings(
                directory=directory, name=name, params=params, verbosity=verbosity, trace=trace, rotate=rotate,
                fsync=fsync, queue=queue, redact=redact, clock=clock, ids=ids, targets=_targets(otlp),
                shipper=shipper,
            )
        )  # fmt: skip

    # --- points --------------------------------------------------------------------------------------------------

    def milestone(
        self, milestone_type: str, description: str | None = None, *, agent_id: object = None, caused_by: Cause = None,
        turn_number: int | None = None, session_id: object = None, sim_time: object = None, error: object = None,
        **details: Any,
    ) -> Handle:  # fmt: skip
        """A turning point that is no scope, such as `phase_transition`."""
        return self._point(
            "MILESTONE", event_name("milestone", milestone_type), True, agent_id,
            {"milestone_type": milestone_type, **details}, caused_by, description, turn_number, session_id, sim_time,
            error,
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
            "DECISION", event_name("decision", decision_type), True, agent_id, said, caused_by, description,
            turn_number, session_id, sim_time, error,
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
            "ACTION", event_name("action", action_type), True, agent_id, said, caused_by, description, turn_number,
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
            "STATE", event_name("state", variable_name), True, agent_id, said, caused_by, description, turn_number,
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
            "DETAIL", event_name("detail", calculation_type), False, agent_id, {**said, **details}, caused_by,
            description, turn_number, session_id, sim_time, error,
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
            "SYSTEM", event_name("system", status), False, agent_id, {**said, **details}, caused_by, description,
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
        """Any event: a type of `event.LEVELS`, and a name of your own (dotted, lower case, few distinct values)."""
        if not isinstance(event_type, str) or event_type not in LEVELS:
            raise InvalidParameter("event_type of emit", f"one of {', '.join(LEVELS)}", event_type)
        _check_name("emit", name)
        if details is not None and not isinstance(details, dict):
            raise InvalidParameter("details of emit", "a dict", details)
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
        number = check_turn(number, "turn")
        return Scope(
            self, TURN, description=description, details=details, caused_by=caused_by, turn_number=number,
            session_id=session_id, sim_time=sim_time,
        )  # fmt: skip

    def session(
        self, session_id: object, *, description: str | None = None, caused_by: Cause = None, **details: Any
    ) -> Scope:
        """A conversation, experiment or voice session; everything inside has its id."""
        return Scope(
            self, SESSION, description=description, details=details, caused_by=caused_by, session_id=text_of(session_id)
        )

    def step(
        self, agent_id: object, *, description: str | None = None, caused_by: Cause = None, sim_time: object = None,
        **details: Any,
    ) -> Scope:  # fmt: skip
        """What one agent does when it is its turn to act."""
        return Scope(
            self,
            STEP,
            agent_id=agent_id,
            description=description,
            details=details,
            caused_by=caused_by,
            sim_time=sim_time,
        )

    def llm_call(
        self, agent_id: object = None, *, model: str, provider: str | None = None, operation: str = "chat",
        input: Any = None, description: str | None = None, caused_by: Cause = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """One logical call of a language model; `finish(output=…, input_tokens=…, …)` says what came back."""
        said = {"model": model, "provider": provider, "operation": operation, "input": input}
        said = {key: value for key, value in said.items() if value is not None}
        return Scope(
            self, LLM_CALL, agent_id=agent_id, description=description, details={**said, **details}, caused_by=caused_by
        )

    def tool_call(
        self, agent_id: object, tool_name: str, arguments: Any = None, *, description: str | None = None,
        caused_by: Cause = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """One call of a tool; `finish(result)` says what came back."""
        said = {"tool_name": tool_name} if arguments is None else {"tool_name": tool_name, "arguments": arguments}
        return Scope(
            self,
            TOOL_CALL,
            agent_id=agent_id,
            description=description,
            details={**said, **details},
            caused_by=caused_by,
        )

    def scope(
        self, name: str, *, event_type: str = "ACTION", agent_id: object = None, description: str | None = None,
        caused_by: Cause = None, sim_time: object = None, **details: Any,
    ) -> Scope:  # fmt: skip
        """Anything else that takes time."""
        if not isinstance(event_type, str) or event_type not in LEVELS:
            raise InvalidParameter("event_type of scope", f"one of {', '.join(LEVELS)}", event_type)
        _check_name("scope", name)
        kind = ScopeKind(name, event_type, LEVELS[event_type])
        return Scope(
            self,
            kind,
            agent_id=agent_id,
            description=description,
            details=details,
            caused_by=caused_by,
            sim_time=sim_time,
        )

    def because(self, caused_by: Cause) -> Because:
        """`with rec.because(d):` makes `d` the cause of everything inside that names none."""
        return Because(self, caused_by)

    def subscribe(self, callback: Callable[..., None], **filters: Any) -> Subscription:
        """Call `callback(event)` for every line from now on that is on disk and passes `EventFilter(**filters)`.

        In a thread of its own; `stop()` of what is returned delivers what is there and ends it, and so does `close`.
        """
        from otel_events.subscribe import Subscription

        self._frame()
        subscription = Subscription(self.directory, callback, filters)
        self._subscriptions.append(subscription)
        return subscription


def _targets(otlp: str | bool | None) -> list[config.Target]:
    """Where to ship. What the environment says and we cannot do is warned about: it was not said to us alone."""
    if not (otlp is None or isinstance(otlp, bool) or (isinstance(otlp, str) and _HTTP.match(otlp))):
        raise InvalidParameter("otlp", "a URL that begins http:// or https://, True, False or None", otlp)
    try:
        return config.targets(otlp)
    except UnsupportedTransport as error:
        if otlp is not None:
            raise
        _logger.warning("events are recorded and not shipped: %s", error)
        return []


def _check_name(where: str, name: object) -> None:
    """An event without a name, or with another thing for one, could not be read again."""
    if not isinstance(name, str) or not name:
        raise InvalidParameter(f"name of {where}", "a string of at least one letter", name)


def _check(parameter: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidParameter(parameter, f"one of {', '.join(allowed)}", value)
