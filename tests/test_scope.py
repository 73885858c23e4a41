"""Scopes: entered, opened by hand, and as decorators of all kinds of functions."""

from __future__ import annotations

import asyncio
import inspect
import os

import pytest
from opentelemetry import trace as otel_trace

from otel_events import Recorder
from otel_events.context import current
from otel_events.testing import events


def named(recorder, name):
    return [event for event in events(recorder) if event.name == name]


def phases(recorder, name="work"):
    return [(event.phase, None if event.error is None else event.error["type"]) for event in named(recorder, name)]


def inside(recorder):
    """The names of the scopes that the `action.inside` events lie in."""
    scopes = {event.span_id: event.name for event in events(recorder) if event.opens}
    return [scopes[event.parent_span_id] for event in named(recorder, "action.inside")]


def test_scopes_nest_and_leave_the_context_as_it_was(recorder):
    with recorder.scope("outer") as outer, recorder.scope("work") as work:
        recorder.action("a", "inside")
    recorder.action("a", "inside")
    assert inside(recorder) == ["work", "run"]
    assert named(recorder, "work")[0].parent_span_id == outer.span_id
    assert work.trace_id == outer.trace_id
    assert current.get() is None


def test_scopes_opened_by_hand_may_overlap_and_set_no_context(recorder):
    """As speech does: the second begins before the first ends."""
    first, second = recorder.scope("work", voice=1).open(), recorder.scope("work", voice=2).open()
    recorder.action("a", "inside")
    first.close()
    second.set(words=3).close("interrupted")
    second.close()
    assert [event.details["voice"] for event in named(recorder, "work")] == [1, 2, 1, 2]
    assert phases(recorder) == [("open", None), ("open", None), ("close", None), ("close", "error")]
    assert inside(recorder) == ["run"]


def test_a_scope_left_by_an_exception_says_so_and_lets_it_through(recorder):
    with pytest.raises(LookupError) as caught, recorder.scope("work"):
        raise LookupError("nothing there")
    assert str(caught.value) == "nothing there"
    closing = named(recorder, "work")[1]
    assert closing.error["message"] == "nothing there"
    assert "LookupError: nothing there" in closing.error["stacktrace"]


def test_a_plain_function(recorder):
    @recorder.scope("work", agent_id="alice")
    def work(number: int) -> int:
        """Doubles."""
        recorder.action("a", "inside")
        return work(number - 1) if number else 7

    assert (work.__name__, work.__doc__) == ("work", "Doubles.")
    assert work(1) == 7
    assert phases(recorder) == [("open", None), ("open", None), ("close", None), ("close", None)]
    assert inside(recorder) == ["work", "work"]
    with pytest.raises(RecursionError):
        work(-1)


def test_a_coroutine_function(recorder):
    @recorder.step("alice")
    async def work(fail: bool) -> int:
        await asyncio.sleep(0)
        recorder.action("a", "inside")
        if fail:
            raise ValueError("no")
        return 7

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(False)) == 7
    with pytest.raises(ValueError, match="no"):
        asyncio.run(work(True))
    assert phases(recorder, "step") == [("open", None), ("close", None), ("open", None), ("close", "ValueError")]
    assert inside(recorder) == ["step", "step"]


def generator_of(recorder, log):
    @recorder.scope("work")
    def work():
        try:
            recorder.action("a", "inside")
            while True:
                try:
                    log.append((yield len(log)))
                except KeyError:
                    log.append("thrown in")
                if log[-1] == "stop":
                    return "returned"
        finally:
            recorder.action("a", "inside")
            log.append("cleaned up")

    return work


def test_a_generator_is_in_its_scope_only_while_it_runs(recorder):
    """What its consumer does in between is not inside."""
    log = []
    generator = generator_of(recorder, log)()
    assert next(generator) == 0
    recorder.action("a", "between")
    assert current.get() is None
    assert generator.send("sent") == 1
    assert generator.throw(KeyError("x")) == 2
    with pytest.raises(StopIteration) as stopped:
        generator.send("stop")
    assert stopped.value.value == "returned"
    assert log == ["sent", "thrown in", "stop", "cleaned up"]
    assert inside(recorder) == ["work", "work"]
    assert phases(recorder) == [("open", None), ("close", None)]
    assert named(recorder, "action.between")[0].parent_span_id == named(recorder, "run")[0].span_id


@pytest.mark.parametrize("how", ["close", "throw", "break"])
def test_a_generator_that_is_left_early_is_closed(recorder, how):
    """An early exit is no failure; an exception thrown in and not caught is one."""
    log = []
    generator = generator_of(recorder, log)()
    if how == "break":
        for _ in generator:
            break
        del generator
    else:
        next(generator)
    if how == "close":
        generator.close()
    if how == "throw":
        with pytest.raises(ValueError, match="x"):
            generator.throw(ValueError("x"))
    assert log == ["cleaned up"]
    assert phases(recorder) == [("open", None), ("close", "ValueError" if how == "throw" else None)]


async def _async_generator(recorder, how):
    log = []

    @recorder.scope("work")
    async def work():
        try:
            while True:
                recorder.action("a", "inside")
                await asyncio.sleep(0)
                try:
                    log.append((yield len(log)))
                except KeyError:
                    log.append("thrown in")
        finally:
            log.append("cleaned up")

    generator = work()
    assert inspect.isasyncgen(generator)
    assert await anext(generator) == 0
    assert current.get() is None
    assert await generator.asend("sent") == 1
    assert await generator.athrow(KeyError("x")) == 2
    if how == "close":
        await generator.aclose()
    else:
        with pytest.raises(ValueError, match="x"):
            await generator.athrow(ValueError("x"))
    return log


@pytest.mark.parametrize("how", ["close", "throw"])
def test_an_async_generator(recorder, how):
    assert asyncio.run(_async_generator(recorder, how)) == ["sent", "thrown in", "cleaned up"]
    assert phases(recorder) == [("open", None), ("close", "ValueError" if how == "throw" else None)]
    assert inside(recorder) == ["work"] * 3


def test_a_suppressed_scope_changes_no_context(tmp_path):
    with Recorder(tmp_path, simulation_id="run", verbosity="DECISION", otlp=False) as recorder:
        before = otel_trace.get_current_span()
        with recorder.turn(1) as turn, recorder.step("alice") as step:
            here = otel_trace.get_current_span().get_span_context()
            assert f"{here.span_id:016x}" == turn.span_id
            recorder.decision("a", "inside")
        assert otel_trace.get_current_span() is before
        assert not step.recorded
        (decision,) = named(recorder, "decision.inside")
    assert decision.parent_span_id == turn.span_id
    assert phases(recorder, "step") == []


def test_only_the_process_that_opened_a_scope_closes_it(recorder):
    scope = recorder.scope("work").open()
    scope.pid = os.getpid() + 1
    scope.close()
    assert phases(recorder) == [("open", None)]


def test_no_clock_step_makes_a_scope_negative(recorder):
    with recorder.scope("work"):
        recorder._clock.step_back(3_600)
    opening, closing = named(recorder, "work")
    assert closing.started_at == opening.timestamp < closing.timestamp
