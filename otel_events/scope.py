"""Scopes: what takes time. Two lines of one span, and everything recorded in between lies inside.

A scope is entered by `with` or `async with`, or decorates a function (plain, async, generator, async generator), or is
opened and closed by hand where scopes overlap: `call = rec.llm_call(…).open()` … `call.close()`. By hand it sets no
context, and only the process that opened it can close it.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import ContextDecorator, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from otel_events import context
from otel_events.context import Entered, Frame, Place
from otel_events.errors import InvalidParameter
from otel_events.event import LEVELS, LLM_CALL_LEVEL
from otel_events.failure import failure
from otel_events.handle import Handle

if TYPE_CHECKING:
    from otel_events.recording import Recording

F = TypeVar("F", bound=Callable[..., Any])


class ScopeKind:
    """What distinguishes the scopes: whether they open a trace, their type and name, and the level that keeps them."""

    __slots__ = ("event_type", "level", "milestone", "name", "opens_trace")

    def __init__(
        self, name: str, event_type: str, level: int, *, opens_trace: bool = False, milestone: str | None = None
    ) -> None:
        self.name, self.event_type, self.level = name, event_type, level
        self.opens_trace, self.milestone = opens_trace, milestone


RUN = ScopeKind("run", "MILESTONE", 0, opens_trace=True, milestone="simulation")
TURN = ScopeKind("turn", "MILESTONE", 0, opens_trace=True, milestone="turn")
SESSION = ScopeKind("session", "MILESTONE", 0, opens_trace=True)
STEP = ScopeKind("step", "ACTION", LEVELS["ACTION"])
TOOL_CALL = ScopeKind("tool.call", "ACTION", LEVELS["ACTION"])
LLM_CALL = ScopeKind("llm.call", "SYSTEM", LLM_CALL_LEVEL)


class Scope(Handle):
    """A scope of a recorder. As a cause it is its opening event; one that the verbosity leaves out, its causes."""

    __slots__ = (
        "_entered", "_recorder", "_stands_for", "agent_id", "caused_by", "description", "details", "foreign", "frame",
        "kind", "line", "outer", "pid", "place", "session_id", "sim_time", "started", "state", "turn_number", "updates",
    )  # fmt: skip

    def __init__(
        self, recorder: Recording, kind: ScopeKind, *, agent_id: object = None, description: object = None,
        details: dict[str, Any] | None = None, caused_by: Any = None, turn_number: int | None = None,
        session_id: object = None, sim_time: object = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._recorder, self.kind = recorder, kind
        self.agent_id, self.description, self.caused_by = agent_id, description, caused_by
        self.details: dict[str, Any] = details or {}
        self.updates: dict[str, Any] = {}
        self.turn_number, self.session_id, self.sim_time = turn_number, session_id, sim_time
        self.state = "new"
        self._stands_for: Handle | None = None
        self._entered: list[Entered | None] = []
        self.place = Place(root=kind.opens_trace)
        self.frame = Frame(recorder, self.place, 0, None, ())
        """What lies inside sees this."""
        self.outer = self.frame
        """What it lies in, where the verbosity leaves it out."""
        self.foreign: dict[str, str | None] = {}
        """Links to spans of other programs."""
        self.line: dict[str, Any] = {}
        """The opening line, which the closing one repeats."""
        self.started = (0, 0)
        """Wall clock and monotonic clock when it opened, in nanoseconds."""
        self.pid = os.getpid()

    # --- life ----------------------------------------------------------------------------------------------------

    def open(self) -> Self:
        """Record the opening line, without making the scope the current one."""
        if self.state != "new":
            raise InvalidParameter(f"{self.kind.name} scope", "a scope that was not opened before", self.state)
        self._recorder._open_scope(self)
        return self

    def close(self, error: object = None) -> None:
        """Record the closing line, once; `error` marks it as failed. In another process than the opener's: nothing."""
        if self.state == "open" and self.pid == os.getpid():
            self.state = "closed"
            if self._stands_for is not None and error is None:
                return
            self._recorder._close_scope(self, None if error is None else failure(error))

    def set(self, **details: Any) -> Self:
        """Add to what the closing line says; later values win."""
        self.updates.update(details)
        return self

    def finish(self, output: object = None, **details: Any) -> Self:
        """The same for an LLM or tool call, with its answer: `output=`, `input_tokens=`, `finish_reason=` and so on."""
        if output is not None:
            self.updates["result" if self.kind.name == "tool.call" else "output"] = output
        return self.set(**details)

    def stand_for(self, suppressed: Handle) -> None:
        """The verbosity leaves this scope out."""
        self._stands_for = suppressed

    # --- as a cause ----------------------------------------------------------------------------------------------

    @property
    def as_causes(self) -> tuple[Handle, ...]:
        if self._stands_for is not None:
            return self._stands_for.as_causes
        return (self,) if self.state != "new" else ()

    @property
    def omitted(self) -> int:
        return 0 if self._stands_for is None else self._stands_for.omitted

    @property
    def ref(self) -> str:
        return super().ref if self._stands_for is None else self._stands_for.ref

    def __reduce__(self) -> tuple[object, ...]:
        return super().__reduce__() if self._stands_for is None else self._stands_for.__reduce__()

    # --- with ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self.state == "new":
            self.open()
        self._entered.append(self.activate())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deactivate(self._entered.pop())
        if not self._entered:
            self.close(None if is_control_flow(error) else error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def activate(self) -> Entered | None:
        """Make an open scope the current one; None where the verbosity leaves it out: then it changes no context."""
        return None if self._stands_for is not None else context.enter(self.frame, span=True)

    @contextmanager
    def held(self) -> Iterator[Self]:
        """Open and closed like `with`, but not the current scope in between."""
        self.open()
        try:
            yield self
        except BaseException as error:
            self.close(None if is_control_flow(error) else error)
            raise
        self.close()

    # --- as a decorator ------------------------------------------------------------------------------------------

    def again(self) -> Scope:
        """A new scope of the same description: what a decorated function opens for each call."""
        return Scope(
            self._recorder, self.kind, agent_id=self.agent_id, description=self.description, details=dict(self.details),
            caused_by=self.caused_by, turn_number=self.turn_number, session_id=self.session_id, sim_time=self.sim_time,
        )  # fmt: skip

    def __call__(self, function: F) -> F:
        wrapper: Any
        if inspect.isasyncgenfunction(function):
            wrapper = lambda *args, **kwargs: _drive_async(self.again(), function(*args, **kwargs))  # noqa: E731
        elif inspect.isgeneratorfunction(function):
            wrapper = lambda *args, **kwargs: _drive(self.again(), function(*args, **kwargs))  # noqa: E731
        elif inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                async with self.again():
                    return await function(*args, **kwargs)
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self.again():
                    return function(*args, **kwargs)

        return cast(F, functools.wraps(function)(wrapper))


def deactivate(entered: Entered | None) -> None:
    if entered is not None:
        context.leave(entered)


def is_control_flow(error: object) -> bool:
    """Whether what ends a scope is no failure: a generator that is closed early, a program that exits with 0."""
    return isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and error.code in (None, 0))


def _drive(scope: Scope, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run a generator inside its scope: the scope is current while the body runs, not while its consumer does."""
    step: Callable[[], Any] = functools.partial(next, generator)
    with scope.held():
        while True:
            entered = scope.activate()
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
            finally:
                deactivate(entered)
            try:
                sent = yield item
                step = functools.partial(generator.send, sent)
            except GeneratorExit:
                generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - thrown in by the consumer: it belongs to the generator
                step = functools.partial(generator.throw, error)


async def _drive_async(scope: Scope, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    """The same for an asynchronous generator."""
    step: Callable[[], Any] = functools.partial(anext, generator)
    with scope.held():
        while True:
            entered = scope.activate()
            try:
                item = await step()
            except StopAsyncIteration:
                return
            finally:
                deactivate(entered)
            try:
                sent = yield item
                step = functools.partial(generator.asend, sent)
            except GeneratorExit:
                await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - see _drive
                step = functools.partial(generator.athrow, error)


class Because(ContextDecorator):
    """`with rec.because(d):` makes `d` the cause of everything inside that names none."""

    def __init__(self, recorder: Recording, caused_by: Any) -> None:
        self._recorder, self._caused_by = recorder, caused_by
        self._entered: list[Entered] = []

    def __enter__(self) -> Self:
        self._entered.append(context.enter(self._recorder._frame_because(self._caused_by), span=False))
        return self

    def __exit__(self, *failed: object) -> None:
        context.leave(self._entered.pop())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *failed: object) -> None:
        self.__exit__()
