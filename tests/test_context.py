"""Where an event belongs, across threads, executors and tasks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from otel_events import carry
from otel_events.context import current
from otel_events.testing import events


def place_of(recorder, name):
    """(name of the enclosing scope, turn, causes) of that action."""
    scopes = {event.span_id: event.name for event in events(recorder) if event.opens}
    (event,) = [event for event in events(recorder) if event.name == f"action.{name}"]
    return scopes[event.parent_span_id], event.turn_number, event.caused_by


@pytest.mark.parametrize("carried", [False, True])
def test_a_thread_belongs_to_the_innermost_turn_unless_its_context_is_carried(recorder, carried):
    """Plain threads and executors inherit no context; `carry` takes it along."""
    with recorder.turn(3), recorder.step("alice") as step, recorder.because(step):
        record = carry(recorder.action) if carried else recorder.action
        thread = threading.Thread(target=record, args=("a", "thread"))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            pool.submit(record, "a", "pool").result()
            list(pool.map(record, ["a", "a"], ["mapped", "mapped too"]))
    expected = ("step", 3, [step.event_id]) if carried else ("turn", 3, None)
    for name in ("thread", "pool", "mapped", "mapped_too"):
        assert place_of(recorder, name) == expected


def test_code_without_a_context_belongs_to_the_run_when_no_turn_is_open(recorder):
    with recorder.turn(1):
        pass
    with recorder.step("alice"):
        contextvars.Context().run(recorder.action, "a", "elsewhere")
    assert place_of(recorder, "elsewhere") == ("run", 0, None)


def test_carry_keeps_name_result_and_exceptions_and_works_in_many_threads_at_once(recorder):
    def work(number: int) -> int:
        recorder.action("a", f"number {number}")
        return number // (number - 3)

    with recorder.step("alice"):
        carried = carry(work)
    assert carried.__name__ == "work"
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(carried, number) for number in range(8)]
    assert [future.result() for number, future in enumerate(futures) if number != 3] == [0, -1, -2, 4, 2, 2, 1]
    with pytest.raises(ZeroDivisionError):
        futures[3].result()
    assert {place_of(recorder, f"number_{number}")[0] for number in range(8)} == {"step"}
    assert current.get() is None


async def _tasks(recorder):
    async def agent(name):
        with recorder.step(name):
            await asyncio.sleep(0)
            recorder.action(name, f"acts {name}")
            await asyncio.sleep(0)

    with recorder.turn(2) as turn, recorder.because(turn):
        await asyncio.gather(*(agent(name) for name in "abc"))
        await asyncio.to_thread(recorder.action, "a", "in a thread of asyncio")
    return turn


def test_tasks_inherit_the_context_and_do_not_disturb_each_other(recorder):
    turn = asyncio.run(_tasks(recorder))
    for name in "abc":
        assert place_of(recorder, f"acts_{name}") == ("step", 2, [turn.event_id])
    assert place_of(recorder, "in_a_thread_of_asyncio") == ("turn", 2, [turn.event_id])
    steps = [event for event in events(recorder) if event.name == "step" and event.opens]
    assert {event.parent_span_id for event in steps} == {turn.span_id}


def test_turns_of_several_threads_each_hold_their_own(recorder):
    """A turn that is closed gives way to the one that is still open."""
    one = recorder.turn(1).open()
    two = recorder.turn(2).open()
    recorder.action("a", "first")
    two.close()
    recorder.action("a", "second")
    one.close()
    recorder.action("a", "third")
    assert [place_of(recorder, name)[:2] for name in ("first", "second", "third")] == [
        ("turn", 2),
        ("turn", 1),
        ("run", 0),
    ]


def test_a_generator_that_another_context_closes_leaves_no_frame_behind(recorder):
    """As when the garbage collector does it."""

    def steps():
        with recorder.step("alice"):
            yield

    generator = steps()
    contextvars.copy_context().run(next, generator)
    generator.close()
    assert current.get() is None
