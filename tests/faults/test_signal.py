"""An `emit` that interrupts another one: from a signal handler, a finaliser, or a value that is being encoded."""

from __future__ import annotations

import functools
import gc
import signal
import threading
import weakref
from collections import Counter
from contextlib import contextmanager

import pytest
from victims import a_recorder, in_child, named, whole_events

from otel_events import Queue, Recorder
from otel_events.parts import parts_of

EVENTS = 20_000


@contextmanager
def ticking(handler, seconds):
    """Call `handler` so long after it has returned, so that on a slow machine handlers do not pile up."""

    def tick(*_):
        handler()
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # first, since a handler sets the timer anew
        signal.setitimer(signal.ITIMER_REAL, 0)


def forked(test):
    """Run a test in a child: the real timer that it uses is the one that ends tests which take too long.

    Without hypothesis' callback on every collection: CPython 3.11 loses the state of a context variable when a signal
    handler that sets it runs in Python code that a collection runs inside the variable's own `set` or `reset`.
    """

    def alone(arguments):
        gc.callbacks.clear()
        test(**arguments)

    @functools.wraps(test)
    def wrapper(**arguments):
        assert in_child(lambda: alone(arguments)) == 0

    return wrapper


@pytest.mark.parametrize("queue", [None, Queue(), Queue(size=10)])
@forked
def test_an_emit_in_a_signal_handler_is_written_right_after_the_interrupted_one(tmp_path, queue):
    """A timer of 0.2 ms, so that hundreds of emits are interrupted: no deadlock, no loss, no id out of order."""
    handles = []
    with a_recorder(tmp_path, queue=queue) as recorder:

        def handler(*_):
            cause = recorder.action("timer", "tick")
            handles.append(recorder.action("timer", "tock", caused_by=cause))

        recorder.flush()
        with ticking(handler, 0.0002):
            mine = [recorder.action("alice", "transfer") for _ in range(EVENTS)]
    assert len(handles) > 20
    assert all(handle.recorded for handle in [*mine, *handles])
    events = {event.event_id: event for event in whole_events(tmp_path / "run")}
    names = Counter(event.name for event in events.values())
    assert names["action.transfer"] == EVENTS
    assert names["action.tick"] == names["action.tock"] == len(handles)
    assert [event.event_id for event in events.values()] == sorted(events)
    for handle in handles:
        (cause,) = events[handle.event_id].caused_by
        assert events[cause].name == "action.tick"


@forked
def test_a_signal_handler_may_be_the_first_to_record(tmp_path):
    """It opens the run, also where it interrupts the opening."""
    for number in range(40):
        recorder = Recorder(tmp_path, simulation_id=str(number), otlp=False)
        signal.signal(signal.SIGALRM, lambda *_, recorder=recorder: recorder.action("timer", "tick"))
        signal.setitimer(signal.ITIMER_REAL, 0.00001 * (number + 1))
        recorder.action("alice", "transfer")
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        recorder.close()
        names = [event.name for event in whole_events(tmp_path / str(number))]
        assert names[0] == "run"
        assert names.count("run") == 2
        assert len(parts_of(tmp_path / str(number))) == 1


@forked
def test_scopes_in_a_signal_handler_nest_like_others(tmp_path):
    with a_recorder(tmp_path) as recorder:

        def handler(*_):
            with recorder.scope("tick") as scope:
                recorder.action("timer", "inside", caused_by=scope)

        recorder.flush()
        with ticking(handler, 0.0005):
            for _ in range(EVENTS // 4):
                with recorder.step("alice"):
                    recorder.action("alice", "transfer")
    scopes = {event.span_id: event for event in named(tmp_path / "run", "tick") if event.opens}
    assert len(scopes) > 5
    for event in named(tmp_path / "run", "action.inside"):
        assert event.parent_span_id in scopes
        assert event.caused_by == [scopes[event.parent_span_id].event_id]


def test_an_emit_in_a_finaliser_is_written_right_after_the_interrupted_one(tmp_path):
    """Finalisers run wherever the last reference goes, or the collector passes: also in the middle of an emit."""

    class Agent:
        def __init__(self):
            self.itself = self

    with a_recorder(tmp_path) as recorder:
        gc.set_threshold(50)
        try:
            for number in range(5_000):
                weakref.finalize(Agent(), recorder.action, "agent", "dies")
                recorder.action("alice", "transfer", {"number": number, "nested": [[number]]})
        finally:
            gc.set_threshold(700)
        gc.collect()
    assert len(named(tmp_path / "run", "action.dies")) == 5_000
    assert len(named(tmp_path / "run", "action.transfer")) == 5_000


def test_a_value_that_records_while_it_is_encoded_is_written_right_after(tmp_path):
    class Loud:
        def model_dump(self):
            inner.append(recorder.action("value", "is looked at"))
            return {"read": len(inner)}

    inner = []
    with a_recorder(tmp_path) as recorder:
        outer = recorder.action("alice", "transfer", Loud())
    assert inner[0].recorded
    assert outer.event_id < inner[0].event_id
    assert named(tmp_path / "run", "action.transfer")[0].details["action_payload"] == {"read": 1}


def test_a_redaction_hook_that_records_does_not_lock_up(tmp_path):
    seen = []

    def hook(text):
        if text == "secret" and not seen:
            seen.append(recorder.action("hook", "found one"))
        return text

    with a_recorder(tmp_path, redact=hook) as recorder:
        recorder.action("alice", "transfer", "secret")
    assert len(named(tmp_path / "run", "action.found_one")) == 1


@forked
def test_an_exception_out_of_a_signal_handler_leaves_a_recorder_that_works(tmp_path):
    """As KeyboardInterrupt does, wherever in an emit it comes."""

    class Interrupted(BaseException):
        pass

    def handler(*_):
        raise Interrupted

    interruptions = 0
    handles = []
    with a_recorder(tmp_path) as recorder:
        recorder.flush()
        signal.signal(signal.SIGALRM, handler)
        for number in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.00002 + 0.000002 * (number % 100))
                for _ in range(1_000):
                    handles.append(recorder.action("alice", "transfer"))
            except Interrupted:
                interruptions += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        last = recorder.action("alice", "goes on")
    assert interruptions > 300  # the others came where Python cannot raise
    kept = {event.event_id for event in whole_events(tmp_path / "run")}
    assert {handle.event_id for handle in [*handles, last]} <= kept


def test_threads_that_end_while_the_interpreter_does_keep_what_was_recorded(tmp_path):
    """A daemon thread that records until the very end."""

    def work():
        recorder = Recorder(tmp_path, simulation_id="run", otlp=False)

        def endlessly():
            while True:
                recorder.action("thread", "works")

        recorder.action("alice", "transfer")
        threading.Thread(target=endlessly, daemon=True).start()
        while recorder.stats().recorded < 1_000:
            pass

    assert in_child(work) == 0
    assert len(named(tmp_path / "run", "action.works")) >= 998
