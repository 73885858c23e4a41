"""The two lines of a scope: the opening one, and the closing one that alone makes the span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_events import ids, timestamp
from otel_events.context import Frame, Place
from otel_events.emitter import Emitter
from otel_events.event import SCHEMA_VERSION
from otel_events.handle import Handle
from otel_events.naming import text_of
from otel_events.scope import Scope

MAX_REPEATED = 2048
"""Longest string that a closing line repeats from the opening one: the attribute limit of the mapping."""


def write_opening(emitter: Emitter, scope: Scope, frame: Frame, causes: tuple[Handle, ...], own_trace: bool) -> None:
    """Write the opening line and fill in the scope's place. Call it through `Emitter.run`."""
    now = emitter.clock.time_ns()
    if not emitter.log.has_part:
        emitter.take(now)
    outer, place = frame.place, scope.place
    if not own_trace:
        emitter.continue_if_full(frame, now)
    now, value = emitter.draw(now, opens_trace=own_trace)
    trace = emitter.new_trace(value) if own_trace else outer.trace
    trace.spans += 1
    scope.event_id, scope.span_id = ids.texts(value)
    scope.trace_id = trace.trace_id
    place.fill(scope.event_id, trace, scope.span_id)
    links = emitter.links_to(causes, trace.trace_id)
    if own_trace:
        links |= _links_outwards(scope, outer)
    scope.started = now, emitter.clock.monotonic_ns()
    scope.line = _opening_line(emitter, scope, now, causes, links, None if own_trace else outer.span_id)
    scope.causes = tuple(cause.event_id for cause in causes)
    emitter.append(scope, scope.line, now)


def _links_outwards(scope: Scope, outer: Place) -> dict[str, str | None]:
    """A scope with a trace of its own is linked to what encloses it, and a turn to the one before it."""
    links: dict[str, str | None] = {}
    if outer.event_id:
        links[outer.event_id] = outer.span_context
    if scope.kind.name == "turn":
        before, outer.last_turn = outer.last_turn, scope.place
        if before is not None:
            links[before.event_id] = before.span_context
    return links | scope.foreign


def _opening_line(
    emitter: Emitter,
    scope: Scope,
    now: int,
    causes: tuple[Handle, ...],
    links: dict[str, str | None],
    parent: str | None,
) -> dict[str, Any]:
    kind, frame = scope.kind, scope.frame
    line: dict[str, Any] = {
        "event_id": scope.event_id,
        "timestamp": timestamp.to_text(now),
        "turn_number": frame.turn_number,
        "event_type": kind.event_type,
        "simulation_id": emitter.simulation_id,
    }
    if scope.agent_id is not None:
        line["agent_id"] = text_of(scope.agent_id)
    if causes:
        line["caused_by"] = [cause.event_id for cause in causes]
    if scope.description is not None:
        line["description"] = text_of(scope.description)
    details = {"milestone_type": f"{kind.milestone}_start", **scope.details} if kind.milestone else scope.details
    if details:
        line["details"] = details
    line |= {"name": kind.name, "phase": "open"}
    if frame.session_id is not None:
        line["session_id"] = frame.session_id
    if scope.sim_time is not None:
        line["sim_time"] = scope.sim_time if type(scope.sim_time) in (int, float, str) else text_of(scope.sim_time)
    line |= {"trace_id": scope.trace_id, "span_id": scope.span_id}
    if parent is not None:
        line["parent_span_id"] = parent
    if scope.place.trace.flags is not None:
        line["trace_flags"] = scope.place.trace.flags
    if links:
        line["links"] = links
    line["v"] = SCHEMA_VERSION
    return line


def write_closing(emitter: Emitter, scope: Scope, error: dict[str, Any] | None) -> None:
    """Write the closing line. It repeats the opening one; what was said since wins. Call it through `Emitter.run`.

    It happened at the start plus the monotonic time since, so that no clock step makes a span negative. The closing
    line of a scope that the verbosity left out (it failed, so it is kept) is its only one, with ids of its own.
    """
    now = emitter.clock.time_ns()
    if not emitter.log.has_part:
        emitter.take(now)
    now, value = emitter.draw(now)
    if not scope.line:
        _adopt(emitter, scope, value, now)
    handle = Handle()
    handle.event_id, handle.trace_id, handle.span_id = ids.text(value), scope.trace_id, scope.span_id
    handle.is_span, handle.causes = False, scope.causes
    emitter.append(handle, _closing_line(emitter, scope, handle.event_id, error), now)
    emitter.causes.remember(handle.event_id, scope)  # as a cause, the closing line is its scope
    scope.line, scope.details, scope.updates = {}, {}, {}  # which is remembered without its prompts


_AFTER_SESSION = ("trace_id", "span_id", "parent_span_id", "trace_flags", "links", "v")


def _closing_line(emitter: Emitter, scope: Scope, event_id: str, error: dict[str, Any] | None) -> dict[str, Any]:
    opened, normalise = scope.line, emitter.normalise
    started_ns, started_monotonic = scope.started
    ended_ns = started_ns + max(0, emitter.clock.monotonic_ns() - started_monotonic)
    line: dict[str, Any] = {"event_id": event_id, "timestamp": timestamp.to_text(ended_ns)}
    for key in ("turn_number", "event_type", "simulation_id", "agent_id", "caused_by", "description"):
        if key in opened:
            line[key] = opened[key] if key != "description" else shortened(opened[key], scope.event_id, normalise)
    details = {key: shortened(item, scope.event_id, normalise) for key, item in opened.get("details", {}).items()}
    if scope.kind.milestone:
        details["milestone_type"] = f"{scope.kind.milestone}_end"
    if details or scope.updates:
        line["details"] = details | scope.updates
    line |= {"name": opened["name"], "phase": "close"}
    line |= {key: opened[key] for key in ("session_id", "sim_time") if key in opened}
    line["started_at"] = timestamp.to_text(started_ns)
    if error is not None:
        line["error"] = error
    return line | {key: opened[key] for key in _AFTER_SESSION if key in opened}


def _adopt(emitter: Emitter, scope: Scope, value: int, now: int) -> None:
    """Give a scope that was left out the ids of its closing line, since it has no opening one."""
    outer, causes = scope.outer.place, scope.as_causes
    scope.event_id, scope.span_id = ids.texts(value)
    scope.trace_id = outer.trace.trace_id
    scope.place.fill(scope.event_id, outer.trace, scope.span_id)
    scope.causes = tuple(cause.event_id for cause in causes)
    links = emitter.links_to(causes, scope.trace_id)
    scope.line = _opening_line(emitter, scope, now, causes, links, outer.span_id)


def shortened(value: Any, opener: str, normalise: Callable[[str], str] = str) -> Any:
    """A value as the closing line repeats it: long strings cut, with the id of the line that has them whole."""
    if isinstance(value, str):
        if len(value) > MAX_REPEATED:
            value = normalise(value)  # redacted before it is cut, not with half a secret at its end
        return value if len(value) <= MAX_REPEATED else f"{value[:MAX_REPEATED]}… [whole in {opener}]"
    if type(value) is dict:
        return {key: shortened(item, opener, normalise) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [shortened(item, opener, normalise) for item in value]
    return value
