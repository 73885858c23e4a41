"""The vocabulary of simulations: events made by `create_*_event` and written by an `EventWriter`.

    writer = EventWriter("output", "sim-001", verbosity=VerbosityLevel.STATE)
    await writer.start()
    turn = create_milestone_event("sim-001", 1, "turn_start")
    writer.emit(turn)
    writer.emit(create_decision_event("sim-001", 1, "alice", "savings_rate", 0.1, 0.2, caused_by=[turn.event_id]))
    await writer.stop()

A writer is a recorder behind a bounded queue. Its lines are canonical ones, with names, spans and links; what holds of
ids and causes stands in `ready`.

- `turn_start` opens a turn and `turn_end` closes it: the two lines of one span, and everything emitted in between lies
  inside. The next `turn_start` and `stop` close a turn that nobody has ended. A `turn_end` that names causes stays a
  point, since a turn cannot follow from what happened in it; the turn is closed after it.
- The run's own opening and closing lines are the recorder's; `simulation_start` and `simulation_end` are points.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from otel_events import timestamp
from otel_events.causes import Cause
from otel_events.errors import InvalidParameter
from otel_events.event import Event
from otel_events.handle import Handle
from otel_events.naming import event_name, text_of
from otel_events.queued import Queue
from otel_events.ready import ReadyEvent, ReadyRecorder
from otel_events.recording import check_turn
from otel_events.scope import TURN, Scope

__all__ = (
    "EventWriter",
    "VerbosityLevel",
    "create_action_event",
    "create_decision_event",
    "create_detail_event",
    "create_milestone_event",
    "create_state_event",
    "create_system_event",
)

DEFAULT_QUEUE_SIZE = 10_000
DEFAULT_FILE_SIZE = 500 * 1024 * 1024
_logger = logging.getLogger("otel_events")


class VerbosityLevel(StrEnum):
    """What is recorded; each level includes those before it. Fit for every `verbosity=`."""

    MILESTONE = "MILESTONE"
    DECISION = "DECISION"
    ACTION = "ACTION"
    STATE = "STATE"
    DETAIL = "DETAIL"


class EventWriter:
    """Writes the events of one simulation to `<output_dir>/<simulation_id>/`, or to `output_dir` if that is its name.

    `verbosity`: a VerbosityLevel. `max_queue_size`: events that may wait to be written; if there is no room within a
    millisecond, an event is dropped, counted, warned about and told in the log. `max_file_size`: bytes after which a
    new part begins. Further settings are those of `Recorder`. A simulation that exists already is continued.

    Works without an event loop, too: `with EventWriter(…) as writer`, or `emit` and `close`.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        simulation_id: str,
        verbosity: str = VerbosityLevel.ACTION,
        max_queue_size: int = DEFAULT_QUEUE_SIZE,
        max_file_size: int = DEFAULT_FILE_SIZE,
        **settings: Any,
    ) -> None:
        if not isinstance(simulation_id, str):
            raise InvalidParameter("simulation_id", "the id of a run", simulation_id)
        directory = Path(output_dir)
        self._root = directory.parent if directory.name == simulation_id else directory
        self._settings = {
            "simulation_id": simulation_id,
            "name": simulation_id.partition("-")[0] or simulation_id,
            "verbosity": str(verbosity),
            "queue": Queue(max_queue_size, "drop"),
            "rotate": max_file_size,
            "resume": True,
            **settings,
        }
        self.simulation_id = simulation_id
        self._lock = threading.RLock()  # orders what opens and closes turns
        self._turn: Scope | None = None
        self.recorder = ReadyRecorder(self._root, **self._settings)
        """For what has no `create_*_event`: LLM calls, tool calls, sessions."""

    @property
    def dropped_count(self) -> int:
        """Events that found the queue full."""
        return self.recorder.stats().dropped

    async def start(self) -> None:
        """Begin the run, or continue it. Without it, the first event does."""
        self.open()

    async def stop(self, timeout: float = 10.0) -> None:
        """Write everything that was emitted and close the run. What takes longer than `timeout` seconds goes on
        in the background, and is warned about."""
        try:
            await asyncio.wait_for(asyncio.to_thread(self.close), timeout)
        except TimeoutError:
            _logger.warning("run %s is still being written after %s s", self.simulation_id, timeout)

    def open(self) -> None:
        """The same as `start`, for programs without an event loop."""
        if self.recorder.closed:
            self.recorder = ReadyRecorder(self._root, **self._settings)
        self.recorder.begin()

    def close(self) -> None:
        """The same as `stop`, for programs without an event loop."""
        if self.recorder.closed:
            return
        self.recorder.flush()  # so that the closing lines find room in the queue
        with self._lock:
            self._close_turn()
        self.recorder.close()

    def emit(self, event: Event) -> Handle:
        """Record an event without waiting for the disk. Raises InvalidParameter for an event of another simulation,
        and RecorderClosed after `stop`."""
        if not isinstance(event, Event):
            raise InvalidParameter("event of emit", "an event, such as create_action_event makes", event)
        if event.simulation_id != self.simulation_id:
            raise InvalidParameter(f"simulation_id of {event.name}", repr(self.simulation_id), event.simulation_id)
        if event.event_type == "MILESTONE":
            with self._lock:
                return self._emit_milestone(event)
        return self.recorder.record(event, lambda: self._point(event))

    def _point(self, event: Event) -> Handle:
        return self.recorder.emit(
            event.event_type,
            event.name or event.event_type.lower(),
            agent_id=event.agent_id,
            details=event.details,
            description=event.description,
            caused_by=event.caused_by,
            turn_number=event.turn_number,
            session_id=event.session_id,
            sim_time=event.sim_time,
            error=event.error,
        )

    # --- turns -------------------------------------------------------------------------------------------------------

    def _emit_milestone(self, event: Event) -> Handle:
        kind = (event.details or {}).get("milestone_type")
        if kind == "turn_start":
            self._close_turn()
            self._turn = self._turn_of(event)
            return self.recorder.record(event, self._turn.open)
        turn = self._turn
        ends = kind == "turn_end" and turn is not None and turn.turn_number == event.turn_number
        if ends and turn is not None and turn.pid == os.getpid() and not event.caused_by:
            return self.recorder.record(event, lambda: self._close_turn(event))
        handle = self.recorder.record(event, lambda: self._point(event))
        if ends:
            self._close_turn()
        return handle

    def _turn_of(self, event: Event) -> Scope:
        return Scope(
            self.recorder,
            TURN,
            description=event.description,
            details=_without_type(event),
            caused_by=event.caused_by,
            turn_number=event.turn_number,
            session_id=event.session_id,
            sim_time=event.sim_time,
        )

    def _close_turn(self, event: Event | None = None) -> Handle:
        """Close the open turn, if there is one, by the line of this event or by one of its own."""
        turn, self._turn = self._turn, None
        if turn is None:
            return Handle()
        if event is not None:
            turn.updates.update(_without_type(event))
            if event.description is not None:
                turn.line["description"] = event.description
        turn.close(None if event is None else event.error)
        return turn

    # --- with --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _without_type(event: Event) -> dict[str, Any]:
    return {key: value for key, value in (event.details or {}).items() if key != "milestone_type"}


# --- events ----------------------------------------------------------------------------------------------------------


def create_milestone_event(
    simulation_id: str, turn_number: int, milestone_type: str, description: str | None = None, caused_by: Cause = None
) -> ReadyEvent:
    """`turn_start`, `turn_end`, `simulation_start`, `simulation_end`, `phase_transition`, or a name of your own."""
    details = {"milestone_type": milestone_type}
    name = event_name("milestone", milestone_type)
    return _event("MILESTONE", name, simulation_id, turn_number, None, details, description, caused_by)


def create_decision_event(
    simulation_id: str, turn_number: int, agent_id: object, decision_type: str, old_value: Any = None,
    new_value: Any = None, description: str | None = None, caused_by: Cause = None,
) -> ReadyEvent:  # fmt: skip
    """What an agent decided. One of the values may be None; where both are, none is kept."""
    details = {"decision_type": decision_type}
    if old_value is not None or new_value is not None:
        details |= {"old_value": old_value, "new_value": new_value}
    name, agent = event_name("decision", decision_type), _agent("create_decision_event", agent_id)
    return _event("DECISION", name, simulation_id, turn_number, agent, details, description, caused_by)


def create_action_event(
    simulation_id: str, turn_number: int, agent_id: object, action_type: str, action_payload: Any,
    description: str | None = None, caused_by: Cause = None,
) -> ReadyEvent:  # fmt: skip
    """What an agent did."""
    details = {"action_type": action_type, "action_payload": action_payload}
    name, agent = event_name("action", action_type), _agent("create_action_event", agent_id)
    return _event("ACTION", name, simulation_id, turn_number, agent, details, description, caused_by)


def create_state_event(
    simulation_id: str, turn_number: int, variable_name: str, old_value: Any, new_value: Any, agent_id: object = None,
    scope: str = "global", description: str | None = None, caused_by: Cause = None,
) -> ReadyEvent:  # fmt: skip
    """A variable that changed; `scope` is `global` or `agent`."""
    details = {"variable_name": variable_name, "old_value": old_value, "new_value": new_value, "scope": scope}
    name, agent = event_name("state", variable_name), None if agent_id is None else text_of(agent_id)
    return _event("STATE", name, simulation_id, turn_number, agent, details, description, caused_by)


def create_detail_event(
    simulation_id: str, turn_number: int, calculation_type: str, intermediate_values: Any,
    description: str | None = None, caused_by: Cause = None,
) -> ReadyEvent:  # fmt: skip
    """A calculation behind a decision or a state."""
    details = {"calculation_type": calculation_type, "intermediate_values": intermediate_values}
    name = event_name("detail", calculation_type)
    return _event("DETAIL", name, simulation_id, turn_number, None, details, description, caused_by)


def create_system_event(
    simulation_id: str, turn_number: int, status: str, error_type: str | None = None, retry_count: int | None = None,
    description: str | None = None, caused_by: Cause = None, **extra_details: Any,
) -> ReadyEvent:  # fmt: skip
    """What happened to the machinery: `status` is `success`, `failure`, `retry` or `warning`."""
    said = {"status": status, "error_type": error_type, "retry_count": retry_count}
    details = {key: value for key, value in said.items() if value is not None} | extra_details
    name = event_name("system", status)
    return _event("SYSTEM", name, simulation_id, turn_number, None, details, description, caused_by)


def _event(
    event_type: str, name: str, simulation_id: str, turn_number: int, agent_id: str | None, details: dict[str, Any],
    description: str | None, caused_by: Cause,
) -> ReadyEvent:  # fmt: skip
    if not isinstance(simulation_id, str) or not simulation_id:
        raise InvalidParameter(f"simulation_id of {name}", "the id of a run", simulation_id)
    turn_number = check_turn(turn_number, name)
    return ReadyEvent(
        event_id="",
        timestamp=timestamp.to_text(time.time_ns()),
        turn_number=turn_number,
        event_type=event_type,
        simulation_id=simulation_id,
        agent_id=agent_id,
        caused_by=None if caused_by is None else list(_cause_ids(caused_by, name)),
        description=None if description is None else text_of(description),
        details=details,
        name=name,
    )


def _agent(where: str, agent_id: object) -> str:
    if agent_id is None or agent_id == "":
        raise InvalidParameter(f"agent_id of {where}", "the name of an agent", agent_id)
    return text_of(agent_id)


def _cause_ids(caused_by: object, name: str) -> Iterable[str]:
    if isinstance(caused_by, str):
        return [caused_by]
    if isinstance(caused_by, Event):
        return [caused_by.event_id]
    if isinstance(caused_by, Handle):
        return [cause.event_id for cause in caused_by.as_causes]
    if isinstance(caused_by, list | tuple | set | frozenset):
        return [event_id for item in caused_by for event_id in _cause_ids(item, name)]
    raise InvalidParameter(f"caused_by of {name}", "an event, an id or a list of them", caused_by)
