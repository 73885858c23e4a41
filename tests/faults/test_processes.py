"""Several processes in one run: each writes parts of its own, and causes cross between them."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from victims import Victim, a_recorder, in_child, named, whole_events

import otel_events
from collector import Run
from otel_events import InvalidParameter, Queue, Recorder
from otel_events.parts import parts_of
from otel_events.testing import FakeClock

PROCESSES, EVENTS = 8, 10_000


@pytest.mark.timeout(90)
def test_eight_processes_record_80_000_whole_lines_and_causes_cross_them(tmp_path):
    """Each process is caused by what the one before it reported through a pipe."""
    run = tmp_path / "run"
    with a_recorder(tmp_path) as recorder:
        first = recorder.action("parent", "begins")
        reader, writer = os.pipe()

        def work(number, report):
            for step in range(EVENTS - 2):
                handle = recorder.action(f"worker {number}", "transfer", {"step": step})
                if step == 0:
                    report(handle.event_id)
            with os.fdopen(os.dup(reader), "r") as previous:
                cause = recorder.action(f"worker {number}", "takes over", caused_by=previous.readline().strip())
            last = recorder.action(f"worker {number}", "hands over", caused_by=cause)
            os.write(writer, f"{last.ref}\n".encode())

        children = [Victim(lambda report, number=number: work(number, report)) for number in range(PROCESSES)]
        for child in children:
            child.wait_for_first()
        os.write(writer, f"{first.ref}\n".encode())
        for child in children:
            child.wait()
            assert os.waitstatus_to_exitcode(child.status) == 0
        with os.fdopen(reader) as previous:
            recorder.action("parent", "ends", caused_by=previous.readline().strip())
        os.close(writer)
        assert recorder.stats().unresolved == 0
    events = whole_events(run)
    assert sum("worker" in (event.agent_id or "") for event in events) == PROCESSES * EVENTS
    assert len({event.event_id for event in events}) == len(events)
    spans = [event.span_id for event in events if event.agent_id]
    assert len(set(spans)) == len(spans)
    assert len(parts_of(run)) == PROCESSES + 1
    causes = Run(run).causes("action.ends", depth=20)
    names = [cause.name for cause in causes]
    assert names == ["action.hands_over", "action.takes_over"] * PROCESSES + ["action.begins"]
    assert len({cause.agent_id for cause in causes}) == PROCESSES + 1


def test_a_forked_child_writes_a_part_of_its_own_in_the_scope_it_was_forked_in(tmp_path):
    """And closes neither the scope nor the run, which are its parent's."""
    with a_recorder(tmp_path) as recorder, recorder.turn(3) as turn:

        def work():
            assert recorder.stats().recorded == 0
            recorder.action("child", "works", caused_by=turn)
            turn.close()
            recorder.close()

        assert in_child(work) == 0
        recorder.action("parent", "works")
    first, second = (part.path.read_bytes().splitlines() for part in parts_of(tmp_path / "run"))
    assert (len(first), len(second)) == (5, 1)
    (event,) = named(tmp_path / "run", "action.works")[1:]
    assert (event.agent_id, event.turn_number) == ("child", 3)
    assert (event.trace_id, event.parent_span_id) == (turn.trace_id, turn.span_id)
    assert event.caused_by == [turn.event_id]


def test_a_child_forked_while_threads_record_is_neither_locked_nor_glued(tmp_path):
    with a_recorder(tmp_path) as recorder:
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                recorder.action("thread", "works")

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(8):
                assert in_child(lambda: [recorder.action("child", "works") for _ in range(50)]) == 0
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert sum(event.agent_id == "child" for event in whole_events(tmp_path / "run")) == 400


def test_a_child_forked_before_the_first_event_and_its_parent_open_one_run(tmp_path):
    recorder = Recorder(tmp_path, simulation_id="run", otlp=False)
    children = [Victim(lambda report: recorder.action("child", "works")) for _ in range(4)]
    recorder.action("parent", "works")
    for child in children:
        child.wait()
        assert os.waitstatus_to_exitcode(child.status) == 0
    recorder.close()
    roots = [event for event in named(tmp_path / "run", "run") if event.opens]
    assert len({event.trace_id for event in named(tmp_path / "run", "action.works")}) == len(roots)
    assert len(named(tmp_path / "run", "action.works")) == 5


def test_two_recorders_of_one_run_in_one_process_both_survive_a_fork(tmp_path):
    """The second joins the first; a child writes neither's part."""
    with a_recorder(tmp_path) as one, a_recorder(tmp_path) as other:

        def work():
            one.action("child", "one")
            other.action("child", "other")

        one.action("parent", "one")
        other.action("parent", "other")
        assert in_child(work) == 0
        one.action("parent", "one")
        other.action("parent", "other")
    assert len(whole_events(tmp_path / "run")) == 8
    assert [len(part.path.read_bytes().splitlines()) for part in parts_of(tmp_path / "run")] == [4, 2, 1, 1]


def test_a_program_may_change_its_directory_while_it_records(tmp_path, monkeypatch):
    """The run stays where it was begun: nothing is taken for lost, and new parts lie beside the old ones."""
    monkeypatch.chdir(tmp_path)
    clock = FakeClock()
    with Recorder("output", simulation_id="run", otlp=False, rotate=700, clock=clock) as recorder:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        for _ in range(10):
            recorder.action("alice", "transfer")
            clock.advance(1)
        assert recorder.flush().lost == 0
        assert otel_events.current() is recorder
    assert otel_events.current() is not recorder
    assert len(named(tmp_path / "output" / "run", "action.transfer")) == 10
    assert len(parts_of(tmp_path / "output" / "run")) > 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_processes_that_begin_at_once_make_one_run(tmp_path):
    """Who creates the first part opens the run; the others join it."""
    for number in range(6):
        directory, gate = tmp_path / str(number), os.pipe()

        def work(report, directory=directory, gate=gate):
            recorder = Recorder(directory, simulation_id="run", resume=True, otlp=False)
            recorder.action("worker", "works")
            os.read(gate[0], 1)  # all hold their parts until the last has recorded
            recorder.close()

        children = [Victim(work) for _ in range(4)]
        while sum(part.path.stat().st_size > 0 for part in _parts(directory)) < 4:
            time.sleep(0.005)
        os.write(gate[1], b"....")
        for child in children:
            child.wait()
        os.close(gate[0])
        os.close(gate[1])
        opened = [event for event in named(directory / "run", "run") if event.opens]
        assert len(opened) == 1
        assert {event.trace_id for event in whole_events(directory / "run")} == {opened[0].trace_id}


def _parts(directory):
    return parts_of(directory / "run") if (directory / "run").is_dir() else []


def _work_in_pool(recorder, number):
    handle = recorder.action("worker", "works", number)
    return handle, handle.ref, os.getpid()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_recorder_pickles_into_workers_and_handles_pickle_back(tmp_path, method):
    """Each worker records into parts of its own, in the turn in which it was given the work."""
    with a_recorder(tmp_path) as recorder, recorder.turn(2) as turn:
        workers = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=workers) as pool:
            done = list(pool.map(_work_in_pool, [recorder] * 6, range(6)))
        recorder.action("parent", "collects", caused_by=[handle for handle, _, _ in done])
        assert recorder.stats().unresolved == 0
    assert os.getpid() not in {pid for _, _, pid in done}
    worked = named(tmp_path / "run", "action.works")
    assert {event.parent_span_id for event in worked} == {turn.span_id}
    assert {event.turn_number for event in worked} == {2}
    (collected,) = named(tmp_path / "run", "action.collects")
    assert set(collected.caused_by) == {event.event_id for event in worked}
    assert len([event for event in named(tmp_path / "run", "run") if event.opens]) == 1


def _queued_worker(recorder):
    for number in range(100):
        recorder.action("worker", "works", number)


def test_a_queue_in_a_forked_worker_is_written_before_the_worker_ends(tmp_path):
    """Workers of `multiprocessing` end without running what `atexit` knows."""
    with a_recorder(tmp_path, queue=Queue()) as recorder:
        worker = multiprocessing.get_context("fork").Process(target=_queued_worker, args=(recorder,))
        worker.start()
        worker.join()
    assert len(named(tmp_path / "run", "action.works")) == 100


def test_a_pickled_recorder_is_itself_where_it_was_pickled(tmp_path):
    with a_recorder(tmp_path) as recorder:
        assert pickle.loads(pickle.dumps(recorder)) is recorder


CHILD = """
import sys
from otel_events import Recorder
with Recorder(otlp=False, **eval(sys.argv[1])) as recorder:
    print(recorder.action("child", "works", "the secret").ref)
"""


def _child(environ, **settings):
    environ = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(
        [sys.executable, "-c", CHILD, repr(settings)], env=environ, capture_output=True, text=True, timeout=30
    )


def test_a_child_process_joins_by_the_environment(tmp_path):
    """Its `Recorder()` needs no argument; it opens no run and closes none."""
    with a_recorder(tmp_path, verbosity="DECISION") as recorder:
        with recorder.turn(4) as turn:
            joined = _child(recorder.environ())
            assert joined.stderr == ""
            assert recorder.environ()["TRACEPARENT"] == f"00-{turn.trace_id}-{turn.span_id}-03"
        assert joined.stdout == "\n"  # the verbosity is the run's
    with a_recorder(tmp_path) as recorder, recorder.turn(5) as turn:
        joined = _child(recorder.environ())
        recorder.action("parent", "goes on", caused_by=joined.stdout.strip())
        assert recorder.stats().unresolved == 0
    (event,) = named(tmp_path / "run", "action.works")
    assert (event.turn_number, event.trace_id, event.parent_span_id) == (5, turn.trace_id, turn.span_id)
    (goes_on,) = named(tmp_path / "run", "action.goes_on")
    assert goes_on.caused_by == [event.event_id]
    assert len(named(tmp_path / "run", "run")) == 4


def test_a_child_of_a_redacted_run_must_bring_the_hook(tmp_path):
    with a_recorder(tmp_path, redact=str.upper) as recorder:
        joined = _child(recorder.environ())
        assert "redact: expected the hook that the run is redacted with, got None" in joined.stderr
        assert named(tmp_path / "run", "action.works") == []


def test_an_environment_that_is_not_ours_is_refused(monkeypatch):
    monkeypatch.setenv("OTEL_EVENTS_RUN", json.dumps({"directory": "/tmp"}))
    with pytest.raises(InvalidParameter, match=r"OTEL_EVENTS_RUN: expected what Recorder\.environ"):
        Recorder()


def test_a_fresh_interpreter_finds_the_only_open_recorder(tmp_path):
    with a_recorder(tmp_path) as recorder:
        assert otel_events.current() is recorder
        assert in_child(lambda: otel_events.current().action("child", "works")) == 0
    assert len(named(tmp_path / "run", "action.works")) == 1
