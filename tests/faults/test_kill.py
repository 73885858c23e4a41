"""`kill -9` at random moments: what `emit` returned as recorded is in the file, and nothing is glued or doubled."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from victims import ID_BYTES, Victim, a_recorder, in_child, named, repairs, torn_tails, whole_events

from otel_events import Recorder
from otel_events.parts import parts_of

KILLS_EACH = 50
LONG = "x" * 20_000


def _short(recorder, report):
    while True:
        handle = recorder.action("alice", "transfer", {"amount": 1})
        if handle.recorded:
            report(handle.event_id)


def _long(recorder, report):
    while True:
        handle = recorder.action("alice", "transfer", LONG)
        if handle.recorded:
            report(handle.event_id)


def _in_forked_children(recorder, report):
    recorder.action("alice", "transfer")
    for _ in range(2):
        if os.fork() == 0:
            break
    _short(recorder, report)


def _survivors(run, reported):
    kept = [event.event_id for event in whole_events(run)]
    assert len(kept) == len(set(kept)), "an id is in the run twice"
    assert set(reported) - set(kept) == set()


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("work", "settings"),
    [
        pytest.param(_short, {}, id="short lines"),
        pytest.param(_long, {}, id="inside a write of 20 KB"),
        pytest.param(_short, {"rotate": 2_000}, id="during rotation"),
        pytest.param(_in_forked_children, {"rotate": 100_000}, id="in forked children"),
    ],
)
def test_every_event_returned_as_recorded_survives_kill_9(tmp_path, work, settings):
    """200 kills in all. Each next opening finds whole lines after it has cut and kept what was torn."""
    dice = random.Random(7)
    torn = 0
    for number in range(KILLS_EACH):
        directory = tmp_path / str(number // 4)

        def record(report, directory=directory):
            with a_recorder(directory, **settings) as recorder:
                work(recorder, report)

        victim = Victim(record)
        victim.wait_for_first()
        time.sleep(dice.random() * 0.02)
        reported = victim.kill()
        assert all(len(event_id) == ID_BYTES for event_id in reported)
        tails = torn_tails(directory / "run")
        with a_recorder(directory, **settings) as recorder:
            recorder.action("bob", "goes on")
        assert recorder.stats().repaired == len(tails)
        assert tails.items() <= repairs(directory / "run").items()
        _survivors(directory / "run", reported)
        torn += len(tails)
    print(f"{torn} torn lines")


def test_a_torn_line_is_cut_off_kept_and_counted(tmp_path):
    """Each possible cut of the last line, short and longer than what is kept in the line itself."""
    for size, cut in ((10, 1), (10, 100), (20_000, 19_000)):
        run = tmp_path / f"{size}-{cut}" / "run"
        with a_recorder(run.parent) as recorder:
            recorder.action("alice", "transfer", "x" * size)
        path = run / "events.jsonl"
        with path.open("ab") as file:
            file.write(path.read_bytes().splitlines(keepends=True)[1][:cut])
        tails = torn_tails(run)
        assert len(tails) == 1
        with a_recorder(run.parent) as recorder:
            recorder.action("bob", "goes on")
            assert recorder.stats().repaired == 1
        assert repairs(run) == tails
        assert [event.name for event in whole_events(run)].count("action.goes_on") == 1


def test_a_run_that_was_killed_goes_on_in_the_same_part_and_knows_its_old_root(tmp_path):
    victim = Victim(lambda report: _run_for_ever(tmp_path, report))
    victim.wait_for_first()
    victim.kill()
    with a_recorder(tmp_path) as recorder:
        recorder.action("bob", "goes on")
    first, second = (event for event in named(tmp_path / "run", "run") if event.opens)
    assert list(second.links) == [first.event_id]
    assert second.details["resumed"] is True
    assert [part.name for part in parts_of(tmp_path / "run")] == ["events.jsonl"]


def _run_for_ever(directory, report):
    with a_recorder(directory) as recorder:
        _short(recorder, report)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_deadly_signal_loses_nothing_that_was_recorded(tmp_path, how):
    # whatever the tests were started with: `nohup` ignores SIGHUP, a shell's background jobs SIGINT
    victim = Victim(lambda report: (signal.signal(how, signal.SIG_DFL), _run_for_ever(tmp_path, report)))
    victim.wait_for_first()
    time.sleep(0.02)
    reported = victim.kill(how)
    assert os.WTERMSIG(victim.status) == how
    _survivors(tmp_path / "run", reported)


def test_a_handler_that_closes_and_exits_leaves_a_closed_run(tmp_path):
    """The usual SIGTERM handler: it interrupts an emit, closes the recorder and leaves by SystemExit."""
    for number in range(20):

        def work(report, directory=tmp_path / str(number)):
            recorder = Recorder(directory, simulation_id="run", otlp=False)

            def leave(*_):
                recorder.close()
                raise SystemExit(0)

            signal.signal(signal.SIGTERM, leave)
            _short(recorder, report)

        victim = Victim(work)
        victim.wait_for_first()
        time.sleep(0.002 * (number % 5))
        reported = victim.kill(signal.SIGTERM)
        run = tmp_path / str(number) / "run"
        _survivors(run, reported)
        assert [event.phase for event in named(run, "run")] == ["open", "close"]
        assert len(parts_of(run)) == 1


def test_leaving_by_os_exit_loses_nothing(tmp_path):
    """Also in a queued recorder after `flush`."""

    def work(report):
        recorder = Recorder(tmp_path, simulation_id="run", otlp=False)
        for _ in range(1000):
            report(recorder.action("alice", "transfer").event_id)
        os._exit(3)

    victim = Victim(work)
    reported = victim.wait()
    assert os.waitstatus_to_exitcode(victim.status) == 3
    assert len(reported) == 1000
    _survivors(tmp_path / "run", reported)


def test_an_exception_nobody_catches_closes_the_run_with_it(tmp_path):
    def work():
        with a_recorder(tmp_path) as recorder, recorder.turn(1):
            raise ValueError("the model is wrong")

    assert in_child(work) == 1
    errors = {event.name: event.error["type"] for event in whole_events(tmp_path / "run") if event.closes}
    assert errors == {"turn": "ValueError", "run": "ValueError"}
