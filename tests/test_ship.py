"""From the log to the backend: nothing missing, nothing different the second time, whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from google.rpc.status_pb2 import Status
from opentelemetry import context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_events import Recorder, config, cursor, lock, mapping, sender, ship
from otel_events.config import Target
from otel_events.cursor import STATE_DIRECTORY
from otel_events.delivery import retry_after
from tests.handwriting import Handwriting
from tests.receiver import Received, Receiver, Reply, free_port

RUN = "economy-20261121-100000-k3f9"


@pytest.fixture
def hand(tmp_path: Path) -> Handwriting:
    return Handwriting(tmp_path / RUN)


def _targets(url: str, *signals: str) -> list[Target]:
    return [target for target in config.targets(url, {}) if not signals or target.signal in signals]


def _cursor(run: Path, signal_name: str = "traces") -> dict[str, object]:
    (path,) = (run / STATE_DIRECTORY).glob(f"{signal_name}-*.cursor")
    found: dict[str, object] = json.loads(path.read_text())
    return found


def _delete_cursors(run: Path) -> None:
    for path in (run / STATE_DIRECTORY).glob("*.cursor"):
        path.unlink()


def _wait(condition: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not come true in time"
        time.sleep(0.02)


def test_every_line_arrives_as_span_and_log_record_in_its_resource(hand: Handwriting) -> None:
    events = hand.economy()
    with Receiver() as receiver:
        stats = ship.ship(hand.directory, _targets(receiver.url))
        assert [record.event_name for record in receiver.log_records] == [event.name for event in events]
        expected = [span for event in events if (span := mapping.span(event)) is not None]
        assert [span.span_id for span in receiver.spans] == [span.span_id for span in expected]
        (traces,) = receiver.of("/v1/traces")
        attributes = traces.message.resource_spans[0].resource.attributes
        assert {item.key for item in attributes} == set(hand.resource)
        assert traces.headers["Content-Encoding"] == "gzip"
    assert [(found.signal, found.lines, found.pending, found.shipped) for found in stats] == [
        ("traces", len(events), 0, len(expected)),
        ("logs", len(events), 0, len(events)),
    ]
    assert ship.target_stats(hand.directory) == stats
    assert all(found.complete for found in stats)


def test_shipping_the_same_run_again_sends_identical_requests(
    hand: Handwriting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 4. Backends drop identical spans and show changed ones twice."""
    monkeypatch.setattr(sender, "MAX_LINES", 7)
    hand.economy(turns=3)
    Handwriting(hand.directory, "events_2026-11-21_10-00-01.jsonl", seed=90).economy()
    bodies = []
    for _ in range(2):
        with Receiver() as receiver:
            ship.ship(hand.directory, _targets(receiver.url))
            bodies.append([(received.path, received.body) for received in receiver.accepted])
        _delete_cursors(hand.directory)
    assert len(bodies[0]) > 8
    assert bodies[0] == bodies[1]


def test_nothing_is_sent_twice_when_nothing_went_wrong(hand: Handwriting) -> None:
    with Receiver() as receiver:
        hand.economy()
        ship.ship(hand.directory, _targets(receiver.url))
        before = len(receiver.accepted)
        ship.ship(hand.directory, _targets(receiver.url))
        assert len(receiver.accepted) == before
        hand.line("ACTION", "action.late")
        ship.ship(hand.directory, _targets(receiver.url))
        assert [span.name for span in receiver.spans][-1] == "action.late"
        assert len(receiver.accepted) == before + 2


def test_the_cursor_moves_only_after_the_backend_has_said_yes(
    hand: Handwriting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 5, seen from the backend: while a request waits for its answer, the file still has the old offset."""
    monkeypatch.setattr(sender, "MAX_LINES", 3)
    hand.economy()
    seen: list[tuple[object, int, int]] = []

    def look(received: Received, index: int) -> None:
        state = _cursor(hand.directory)
        offset = sum(dict(state["offsets"]).values())  # type: ignore[call-overload]
        seen.append((state["shipped"], len(receiver.spans), offset))

    with Receiver(look) as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
    assert len(seen) > 2
    assert [shipped for shipped, _, _ in seen] == [accepted for _, accepted, _ in seen]
    assert seen[0] == (0, 0, 0)
    assert sum(dict(_cursor(hand.directory)["offsets"]).values()) == hand.path.stat().st_size  # type: ignore[call-overload]


def test_a_backend_that_dies_between_request_and_answer_gets_the_same_bytes_again(
    hand: Handwriting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "FIRST_BACKOFF_S", 0.01)
    hand.economy()
    with Receiver(lambda received, index: Reply(vanish=True) if index == 0 else None) as receiver:
        (stats,) = ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert receiver.refused == receiver.accepted
    assert (stats.pending, stats.last_error) == (0, None)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_overloaded_backend_is_tried_again(status: int, hand: Handwriting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_BACKOFF_S", 0.01)
    hand.economy()
    with Receiver(lambda received, index: Reply(status, b"busy") if index < 3 else None) as receiver:
        (stats,) = ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert (len(receiver.refused), len(receiver.accepted), stats.pending) == (3, 1, 0)


def test_retry_after_is_waited_for(hand: Handwriting) -> None:
    hand.economy()
    times: list[float] = []

    def busy(received: Received, index: int) -> Reply | None:
        times.append(time.monotonic())
        return Reply(503, headers={"Retry-After": "1"}) if index == 0 else None

    with Receiver(busy) as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
    assert times[1] - times[0] >= 0.9


def test_retry_after_is_a_number_of_seconds_or_a_date() -> None:
    assert retry_after({"Retry-After": "120"}, 0) == 120
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 10) == 50
    assert retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 100) == 0
    assert [retry_after(headers, 0) for headers in ({}, {"Retry-After": "soon"}, {"Retry-After": "inf"})] == [None] * 3


@pytest.mark.parametrize("status", [302, 304, 400, 401, 413, 500])
def test_a_refusal_stops_the_target_loudly_and_leaves_its_cursor(status: int, hand: Handwriting) -> None:
    """The SDK's exporters call 302 and 304 a success, and lose the batch."""
    events = hand.economy()
    said: list[str] = []
    words = Status(message="bad span id").SerializeToString()
    with Receiver(lambda received, index: Reply(status, words)) as receiver:
        (stats,) = ship.ship(hand.directory, _targets(receiver.url, "traces"), say=said.append)
        assert len(receiver.refused) == 1
    assert (stats.pending, stats.shipped) == (len(events), 0)
    assert stats.last_error is not None
    assert stats.last_error.startswith(str(status))
    assert ("bad span id" in stats.last_error) == (status != 304)  # which has no body
    assert "refused a batch" in said[0]
    assert f"{len(events)} of {len(events)} lines are left" in said[1]


def test_a_partial_success_is_a_yes_whose_rejections_are_counted(hand: Handwriting) -> None:
    hand.economy()
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "too old"
    with Receiver(lambda received, index: Reply(body=response.SerializeToString())) as receiver:
        (stats,) = ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert (stats.rejected, stats.shipped) == (2, len(receiver.spans) - 2)
    assert (stats.pending, stats.last_error, stats.complete) == (0, "too old", False)
    assert _cursor(hand.directory)["rejected"] == 2


def test_a_backend_without_logs_gets_traces_only_and_one_sentence(hand: Handwriting) -> None:
    """Jaeger takes no logs."""
    hand.economy()
    said: list[str] = []
    with Receiver(lambda received, index: Reply(404, b"not here") if received.path == "/v1/logs" else None) as receiver:
        for _ in range(2):
            stats = ship.ship(hand.directory, _targets(receiver.url), say=said.append)
        assert len(receiver.refused) == 1
        assert receiver.spans
    assert len(said) == 1
    assert "takes no logs, only traces are shipped" in said[0]
    assert [found.switched_off is None for found in stats] == [True, False]


def test_a_missing_path_for_traces_is_no_reason_to_go_on(hand: Handwriting) -> None:
    hand.economy()
    said: list[str] = []
    with Receiver(lambda received, index: Reply(404)) as receiver:
        stats = ship.ship(hand.directory, _targets(receiver.url), say=said.append)
    assert [found.shipped for found in stats] == [0, 0]
    assert "takes no traces: 404" in said[0]


def test_a_backend_that_is_away_costs_its_patience_and_is_caught_up_with_later(hand: Handwriting) -> None:
    events = hand.economy()
    port = free_port()
    targets = _targets(f"http://127.0.0.1:{port}")
    began = time.monotonic()
    stats = ship.ship(hand.directory, targets, patience_s=0.5)
    assert time.monotonic() - began < 5
    assert [found.pending for found in stats] == [len(events)] * 2
    assert all("refused" in (found.last_error or "") for found in stats)
    with Receiver(port=port) as receiver:
        assert [found.pending for found in ship.ship(hand.directory, targets)] == [0, 0]
        assert len(receiver.log_records) == len(events)


def test_lines_that_make_nothing_are_passed_and_counted(hand: Handwriting) -> None:
    hand.line("ACTION", "action.seen")
    hand.line("ACTION", "action.unseen", trace_flags="02")
    hand.append(
        b'{"event_id":"x","timestamp":"2025-01-15T10:30:00+00:00","turn_number":1,"event_type":"STATE","simulation_id":"s"}\n'
    )
    hand.append(b"no json\n")
    hand.append(b'{"torn')
    with Receiver() as receiver:
        traces, logs = ship.ship(hand.directory, _targets(receiver.url))
        assert [span.name for span in receiver.spans] == ["action.seen"]
        assert [record.event_name for record in receiver.log_records] == ["action.seen", "state"]
    assert (traces.lines, traces.shipped, traces.sampled_out, traces.unmappable, traces.corrupt) == (4, 1, 1, 1, 1)
    assert (logs.lines, logs.shipped, logs.sampled_out, logs.unmappable, logs.corrupt) == (4, 2, 1, 0, 1)


def test_another_mapping_goes_on_and_says_what_may_show_twice(
    hand: Handwriting, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.economy()
    said: list[str] = []
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"), say=said.append)
        monkeypatch.setattr(mapping, "MAPPING_VERSION", 2)
        hand.line("ACTION", "action.new")
        ship.ship(hand.directory, _targets(receiver.url, "traces"), say=said.append)
        assert receiver.spans[-1].name == "action.new"
    assert len(said) == 1
    assert "the mapping was '1 no_content' and is '2 no_content' now" in said[0]


def test_one_shipper_a_target_at_a_time(hand: Handwriting) -> None:
    hand.economy()
    said: list[str] = []
    with Receiver() as receiver:
        targets = _targets(receiver.url, "traces")
        with lock.held(cursor.state_directory(hand.directory) / f"{targets[0].key}.lock") as ours:
            assert ours
            ship.ship(hand.directory, targets, say=said.append)
            assert receiver.accepted == []
        assert "another process ships this run there" in said[0]
        ship.ship(hand.directory, targets)
        assert len(receiver.accepted) == 1


def test_a_killed_shipper_is_continued_without_a_gap_and_its_doubles_are_identical(hand: Handwriting) -> None:
    """SIGKILL while the backend holds a request, five times: twice it had taken it, three times it had not."""
    for number in range(7):
        Handwriting(hand.directory, f"events_2026-11-21_10-{number:02}-00.jsonl", seed=100 * number + 7).economy(20, 10)
    expected = Counter[bytes]()
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        expected.update(_spans(receiver))
    _delete_cursors(hand.directory)
    running: list[subprocess.Popen[bytes]] = []

    def kill(received: Received, index: int) -> Reply | None:
        if index in (0, 2, 5, 6, 9):
            os.kill(running[-1].pid, signal.SIGKILL)
        return Reply(vanish=True) if index in (0, 5, 9) else None

    with Receiver(kill) as receiver:
        for _ in range(5):
            running.append(ship.spawn(hand.directory, _targets(receiver.url, "traces")))
            assert running[-1].wait(20) == -signal.SIGKILL
        (stats,) = ship.ship(hand.directory, _targets(receiver.url, "traces"))
        arrived = Counter(_spans(receiver))
    assert stats.pending == 0
    assert arrived.keys() == expected.keys()
    assert 0 < sum((arrived - expected).values()) <= 2 * sender.MAX_LINES


def _spans(receiver: Receiver) -> list[bytes]:
    return [span.SerializeToString(deterministic=True) for span in receiver.spans]


def test_a_process_of_its_own_follows_a_writer_and_ends_when_it_lets_go(hand: Handwriting, tmp_path: Path) -> None:
    """It finds the package by itself, is told the targets through its environment, and needs nobody to wait for it."""
    hand.opens("MILESTONE", "run", details={"name": "economy"})
    with (
        Receiver() as receiver,
        subprocess.Popen([sys.executable, "-c", _HOLDER, str(hand.path)], stdin=-1, stdout=-1) as holder,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        process = ship.spawn(hand.directory, _targets(receiver.url))
        _wait(lambda: receiver.log_records)
        hand.line("ACTION", "action.later")
        Handwriting(hand.directory, "events_2026-11-21_10-00-01.jsonl", seed=50).line("ACTION", "action.other_part")
        _wait(lambda: len(receiver.spans) == 2)
        assert process.poll() is None
        holder.communicate()
        assert process.wait(20) == 0
        assert {span.name for span in receiver.spans} == {"action.later", "action.other_part"}


_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_thread_ships_while_the_program_runs_and_stops_within_its_bound(hand: Handwriting) -> None:
    import fcntl

    hand.economy()
    with Receiver() as receiver, hand.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        thread = ship.ShipperThread(hand.directory, _targets(receiver.url))
        thread.start()
        _wait(lambda: receiver.spans and receiver.log_records)
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(3 * ship.POLL_S)
        hand.line("ACTION", "action.last")
        began = time.monotonic()
        thread.stop(timeout=2.0)
        assert time.monotonic() - began < 2.5
        assert receiver.spans[-1].name == "action.last"


def test_a_thread_gives_up_in_time_when_the_backend_is_away(hand: Handwriting) -> None:
    hand.economy()
    thread = ship.ShipperThread(hand.directory, _targets(f"http://127.0.0.1:{free_port()}"))
    thread.start()
    began = time.monotonic()
    thread.stop(timeout=0.5)
    assert time.monotonic() - began < 1.5
    assert all(found.pending for found in ship.target_stats(hand.directory))


@pytest.mark.parametrize("shipper", ["process", "thread"])
def test_what_a_recorder_records_arrives_with_its_causes_as_links(
    shipper: Literal["process", "thread"], tmp_path: Path
) -> None:
    with Receiver() as receiver:
        rec = Recorder(tmp_path, name="economy", verbosity="SYSTEM", otlp=receiver.url, shipper=shipper)
        with rec, rec.turn(1) as turn:
            decision = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2, caused_by=turn)
            action = rec.action("alice", "transfer", {"to": "bob", "amount": 12.5}, caused_by=decision)
            rec.detail("tax", {"rate": 0.1}, caused_by=action)
        _wait(lambda: len(receiver.log_records) == 7 and len(receiver.spans) == 4)
        _wait(lambda: [found.pending for found in rec.stats().targets] == [0, 0])
        spans = {span.name: span for span in receiver.spans}
    assert list(spans) == ["decision.savings_rate", "action.transfer", "turn", "invoke_workflow economy"]
    assert [link.span_id for link in spans["action.transfer"].links] == [spans["decision.savings_rate"].span_id]
    assert [link.span_id for link in spans["turn"].links] == [spans["invoke_workflow economy"].span_id]
    assert spans["decision.savings_rate"].parent_span_id == spans["turn"].span_id


def test_processes_of_one_run_need_one_shipper_a_target(tmp_path: Path) -> None:
    """Each worker's recorder starts a shipper; whoever has the lock ships everybody's parts."""
    with Receiver() as receiver, Recorder(tmp_path, name="economy", otlp=receiver.url) as rec:
        rec.action("parent", "walk")
        environ = {**os.environ, **rec.environ(), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        workers = [subprocess.Popen([sys.executable, "-c", _WORKER], env=environ) for _ in range(3)]
        assert [worker.wait(30) for worker in workers] == [0, 0, 0]
        _wait(lambda: len(receiver.spans) == 31)
        assert len({span.span_id for span in receiver.spans}) == 31


_WORKER = """
from otel_events import Recorder
with Recorder() as rec:
    for number in range(10):
        rec.action("worker", "walk")
"""


def test_a_follower_that_cannot_deliver_ends_when_nobody_writes_and_says_what_is_left(hand: Handwriting) -> None:
    events = hand.economy()
    said: list[str] = []
    began = time.monotonic()
    targets = _targets(f"http://127.0.0.1:{free_port()}", "logs")
    ship.ship(hand.directory, targets, follow=True, say=said.append, patience_s=0.5)
    assert 0.5 <= time.monotonic() - began < 5
    assert "takes nothing now and is tried again" in said[0]
    assert f"{len(events)} of {len(events)} lines are left to ship" in said[-1]


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
def test_headers_and_compression_are_those_of_the_environment(compression: str, hand: Handwriting) -> None:
    hand.economy()
    with Receiver() as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20a",
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        }
        ship.ship(hand.directory, config.targets(None, environ))
        for received in receiver.accepted:
            assert received.headers["authorization"] == "Bearer a"
            assert received.headers["Content-Type"] == "application/x-protobuf"
            assert received.headers.get("Content-Encoding", "none") == compression
        assert receiver.spans


def test_our_own_requests_are_not_instrumented(hand: Handwriting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an instrumented `requests` makes spans of them, which are shipped, which makes spans of them …"""
    hand.economy()
    seen: list[object] = []
    post = requests.Session.post

    def spying(*arguments: Any, **options: Any) -> requests.Response:
        seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
        return post(*arguments, **options)

    monkeypatch.setattr(requests.Session, "post", spying)
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url))
    assert seen == [True, True]
    assert context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY) is None


def test_a_forked_child_does_not_keep_the_locks_of_its_parent(tmp_path: Path) -> None:
    """A flock lives as long as any copy of its descriptor, in whatever process."""
    program = """
import os, sys, time
from pathlib import Path
from otel_events import lock
path = Path(sys.argv[1])
with lock.held(path):
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    time.sleep(0.3)
with lock.held(path) as ours:
    print(ours)
os.kill(child, 9)
os.wait()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == "True\n"


def test_a_run_that_cannot_be_written_to_has_its_cursors_in_the_users_cache(
    hand: Handwriting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hand.economy()
    (hand.directory / STATE_DIRECTORY).write_text("in the way")
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert [found.pending for found in ship.target_stats(hand.directory)] == [0]
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert len(receiver.accepted) == 1
    assert len(list((tmp_path / "cache" / "otel-events").glob(f"{RUN}-*/traces-*.cursor"))) == 1


def test_a_cursor_that_cannot_be_read_means_from_the_start(hand: Handwriting) -> None:
    hand.economy()
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        (path,) = (hand.directory / STATE_DIRECTORY).glob("*.cursor")
        path.write_text("{")
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        assert receiver.accepted[0].body == receiver.accepted[1].body


def test_a_batch_is_bounded_in_items_and_bytes(hand: Handwriting) -> None:
    turn = hand.opens("MILESTONE", "turn")
    details = {f"key_{number:03}": "x" * 2000 for number in range(100)}
    for _ in range(60):
        hand.line("ACTION", "action.big", scope=turn, details=details)
    for _ in range(1200):
        hand.line("ACTION", "action.small", scope=turn)
    with Receiver() as receiver:
        ship.ship(hand.directory, _targets(receiver.url, "traces"))
        sizes = [len(received.body) for received in receiver.accepted]
        counts = [len(received.message.resource_spans[0].scope_spans[0].spans) for received in receiver.accepted]
    assert sum(counts) == 1260
    assert max(counts) == 512
    assert 3_500_000 < max(sizes) < 4 * 1024 * 1024


def test_loading_the_shipper_loads_neither_requests_nor_protobuf() -> None:
    """The recorder's process asks it for counts."""
    heavy = ("requests", "google.protobuf", "grpc", "pydantic")
    loaded = f"import sys, otel_events.ship; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, timeout=30)
    assert result.stdout == "[]\n"
