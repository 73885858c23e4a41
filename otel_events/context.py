"""Where an event belongs: the innermost open scope and the cause that holds, kept in a context variable.

A frame is pushed by entering a scope or by `because`; it is inherited by tasks and by forked children. Plain threads
and executors do not inherit it: `carry` takes it along. An open scope also stands in the OpenTelemetry context, as a
sampled span, so that spans made inside by any instrumentation become its children.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace

if TYPE_CHECKING:
    from otel_events.handle import Handle

P = ParamSpec("P")
R = TypeVar("R")

RECORDED_FLAGS = 0x03  # W3C trace flags: sampled, random


class Trace:
    """A trace that this process writes into: `flags` is None for the usual `03`; `spans` counts what we put in."""

    __slots__ = ("flags", "spans", "trace_id")

    def __init__(self, trace_id: str, flags: str | None = None) -> None:
        self.trace_id, self.flags, self.spans = trace_id, flags, 0


class Place:
    """An open scope as the surroundings of other events; empty until its opening line is written.

    `last_turn` is the latest turn opened right inside it. `trace` and `span_id` are where new events go: they move on
    when a full trace is continued. `root` says that the scope opened its trace.
    """

    __slots__ = ("event_id", "last_turn", "root", "span_context", "span_id", "trace")

    def __init__(self, *, root: bool = False) -> None:
        self.root = root
        self.last_turn: Place | None = None
        self.fill("", Trace(""), "")

    def fill(self, event_id: str, trace: Trace, span_id: str) -> None:
        """Say where it is."""
        self.event_id, self.trace, self.span_id = event_id, trace, span_id
        self.span_context = f"{trace.trace_id}-{span_id}"


class Frame(NamedTuple):
    """What an event inherits from its surroundings."""

    owner: object
    """The recorder whose scope this is."""
    place: Place
    turn_number: int
    session_id: str | None
    causes: tuple[Handle, ...]
    """The causes of everything inside that names none."""


current: contextvars.ContextVar[Frame | None] = contextvars.ContextVar("otel_events_frame", default=None)


class Entered(NamedTuple):
    """What `enter` changed, for `leave`."""

    frame: contextvars.Token[Frame | None]
    outer: Frame | None
    span: contextvars.Token[otel_context.Context] | None


def enter(frame: Frame, *, span: bool) -> Entered:
    """Make `frame` the current one; with `span` its place becomes the current OpenTelemetry span, too."""
    outer = current.get()
    token = current.set(frame)
    return Entered(token, outer, attach(frame.place) if span and frame.place.event_id else None)


def leave(entered: Entered) -> None:
    """Undo `enter`; also where the context is another one by now, as when a generator is closed by the collector."""
    try:
        current.reset(entered.frame)
    except (ValueError, LookupError):  # LookupError: CPython, where a signal handler ran in a collection inside `reset`
        current.set(entered.outer)
    if entered.span is not None:
        otel_context.detach(entered.span)


def attach(place: Place) -> contextvars.Token[otel_context.Context]:
    """Make a place the current OpenTelemetry span, and nothing else."""
    flags = RECORDED_FLAGS if place.trace.flags is None else int(place.trace.flags, 16)
    trace_id, _, span_id = place.span_context.partition("-")
    span_context = otel_trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=otel_trace.TraceFlags(flags)
    )
    span = otel_trace.NonRecordingSpan(span_context)
    return otel_context.attach(otel_trace.set_span_in_context(span))


def foreign_span() -> str | None:
    """`<trace_id>-<span_id>` of the OpenTelemetry span that is current, if there is a valid one."""
    span_context = otel_trace.get_current_span().get_span_context()
    if not span_context.is_valid:
        return None
    return f"{span_context.trace_id:032x}-{span_context.span_id:016x}"


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """A function that runs in the context in which `carry` was called, in whatever thread and however often.

    `executor.submit(carry(work), …)` and `Thread(target=carry(work))` record into the scope that is open here.
    """
    here = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return here.copy().run(function, *args, **kwargs)

    return carried
