"""The questions that can be asked of a run, and the Python interface to them."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from strategies import as_networkx, event, histories, numbered, scope, write
from ulid import ULID

from collector import EventFilter, EventService, Run, queries
from otel_events import Recorder, codec, ids
from otel_events.codec import decode, encode_event
from otel_events.errors import AmbiguousEvent, EventNotFound, InvalidParameter, RunNotFound
from otel_events.testing import recording


@pytest.fixture
def run(tmp_path):
    """A turn in which a decision causes an action and an LLM call, which cause a state; one scope stays open."""
    turn = scope(0, 8, event_type="MILESTONE", name="turn", turn_number=1)
    call = scope(
        3,
        5,
        [numbered(1)],
        event_type="SYSTEM",
        name="llm.call",
        turn_number=1,
        agent_id="alice",
        details={"model": "gpt-4o", "input_tokens": 120, "output_tokens": 9, "cost": 0.25},
        parent_span_id=ids.span_id(numbered(0)),
    )
    events = [
        turn[0],
        event(
            1,
            "DECISION",
            "decision.rate",
            caused_by=[numbered(0)],
            agent_id="alice",
            turn_number=1,
            details={"decision_type": "rate"},
        ),
        event(2, "ACTION", "action.transfer", caused_by=[numbered(1)], agent_id="alice", turn_number=1),
        call[0],
        event(4, "ACTION", "action.transfer", agent_id="bob", turn_number=1, error={"type": "ValueError"}),
        call[1],
        event(6, "STATE", "state.wealth", caused_by=[numbered(2), numbered(5)], turn_number=1),
        event(7, "STATE", "state.wealth", caused_by=[numbered(700)], turn_number=1),
        turn[1],
        scope(9, 10, event_type="MILESTONE", name="turn", turn_number=2)[0],
    ]
    return write(tmp_path / "sim-001", events[:4], events[4:])


def found(events) -> list[str]:
    return [each.event_id for each in events]


def ids_of(*order: int) -> list[str]:
    return [numbered(number) for number in order]


def test_answers_are_the_lines_of_the_log(run):
    """Duplicate keys, odd spacing and long numbers come out as they are."""
    odd = (
        b'{ "event_id": "%s", "timestamp":"2026-11-21T10:00:01Z", "turn_number":0, "event_type":"DETAIL", '
        % (numbered(99).encode())
        + b'"simulation_id":"sim-001", "details": {"n": 1.10, "n": 123456789012345678901234567890} }'
    )
    with (run / "events.jsonl").open("ab") as file:
        file.write(odd + b"\n")
    assert queries.get(run, numbered(99)).raw == odd
    assert queries.find(run, EventFilter(event_types=["DETAIL"])).events[0].raw == odd


def test_pages_follow_each_other(run):
    pages = [queries.find(run, EventFilter(limit=4, offset=offset)) for offset in (0, 4, 8, 12)]
    assert [found(each.event for each in page.events) for page in pages] == [
        ids_of(0, 1, 2, 3),
        ids_of(4, 5, 6, 7),
        ids_of(8, 9),
        [],
    ]
    assert not queries.find(run, EventFilter(limit=5, offset=5)).has_more
    assert [(page.total, page.has_more) for page in pages] == [(10, True), (10, True), (10, False), (10, False)]


def test_skipped_lines_are_counted_in_the_answer(run):
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"no event\n")
    assert queries.find(run).skipped.count == 1
    assert queries.stats(run).skipped.count == 1


def test_run_finds_events_by_filters(run):
    assert found(Run(run).find(event_type="DECISION", agent_id="alice")) == ids_of(1)
    assert found(Run(run).find(name="wealth", limit=1)) == ids_of(6)
    assert Run(run).page(name="wealth", limit=1).total == 2


def test_run_answers_causes_and_effects_and_the_path_between(run):
    assert found(Run(run).causes("wealth")) == []
    assert found(Run(run).causes(numbered(6))) == ids_of(2, 3, 1, 0)
    assert found(Run(run).causes(numbered(6), depth=1)) == ids_of(2, 3)
    assert found(Run(run).effects(numbered(0))) == ids_of(1, 2, 3, 6)
    assert found(Run(run).path(numbered(0), numbered(6))) == ids_of(0, 1, 2, 6)
    assert found(Run(run).path(numbered(6), numbered(0))) == ids_of(0, 1, 2, 6)
    assert Run(run).path(numbered(6), numbered(4)) == []


def test_a_chain_says_what_is_missing_and_how_far_it_goes(run):
    assert queries.causes(run, numbered(7)).missing == [numbered(700)]
    chain = queries.causes(run, numbered(6), depth=1)
    assert chain.truncated == ids_of(2, 3)
    assert chain.links == {numbered(6): ids_of(2, 3), numbered(2): [], numbered(3): []}
    assert [node.distance for node in chain.nodes] == [1, 1]


def test_a_scope_in_a_chain_has_both_lines(run):
    (call,) = (node for node in queries.causes(run, numbered(6)).nodes if node.id == numbered(3))
    assert (call.opening.event.phase, call.closing.event.phase) == ("open", "close")
    assert queries.node(run, numbered(5)) == queries.node(run, numbered(3))
    assert queries.node(run, numbered(9)).closing is None


def test_what_a_person_types_names_an_event(run):
    opener, closing = numbered(3), numbered(5)
    assert queries.resolve(run, closing) == closing
    assert queries.resolve(run, ids.span_id(opener)) == opener
    assert queries.resolve(run, ids.trace_id(opener).upper()) == opener
    assert queries.resolve(run, "wealth") == numbered(7)
    assert queries.resolve(run, "state.wealth") == numbered(7)
    assert queries.resolve(run, "turn") == numbered(9)
    assert queries.resolve(run, "call") == opener
    assert queries.resolve(run, closing[-6:].lower()) == closing


def test_an_id_goes_before_a_name_also_where_it_cannot_be_bisected(tmp_path):
    run = write(tmp_path / "sim-001", [event(0, event_id="step"), event(1, name="step")])
    (run / "events.jsonl.gz").write_bytes(gzip.compress((run / "events.jsonl").read_bytes()))
    (run / "events.jsonl").unlink()
    assert queries.resolve(run, "step") == "step"


@pytest.mark.parametrize("text", ["", "nothing", "0" * 32, "f" * 16, numbered(700), "\0", "\ud800", "*" * 9999])
def test_what_names_no_event_is_not_found(run, text):
    with pytest.raises(EventNotFound, match="not found in simulation sim-001"):
        queries.resolve(run, text)


def test_an_ending_of_several_ids_asks_for_more_letters(run):
    write(run, [event(1), event(33)])
    assert numbered(1)[-1] == numbered(33)[-1]
    with pytest.raises(AmbiguousEvent, match="names 2 events"):
        queries.resolve(run, numbered(1)[-1])


def test_endings_are_the_shortest_that_no_other_id_has(tmp_path):
    known = ["01AAAAAAAAAAAAAAAAAAAAAAAA", "01BBBBBBBBBBBBBBBBBBAAAAAA", "01BBBBBBBBBBBBBBBBBBCCCCCC", "short"]
    run = write(tmp_path / "sim-001", [event(n, event_id=each) for n, each in enumerate(known)])
    assert queries.endings(run, known) == {
        known[0]: "AAAAAAA",
        known[1]: "BAAAAAA",
        known[2]: "CCCCCC",
        known[3]: "short",
    }
    assert all(queries.resolve(run, ending) == each for each, ending in queries.endings(run, known).items())


def test_a_timeline_pairs_the_lines_of_scopes_and_knows_what_contains_what(run):
    entries = queries.timeline(run).entries
    assert [(each.opening.event.event_id, each.depth, each.is_open) for each in entries][2:5] == [
        (numbered(2), 0, False),
        (numbered(3), 1, False),
        (numbered(4), 0, False),
    ]
    assert [each.duration_ns for each in entries if each.closing] == [8_000_000, 2_000_000]
    assert [each.opening.event.event_id for each in entries if each.is_open] == [numbered(9)]
    assert queries.timeline(run).total == 8


def test_a_page_of_a_timeline_still_closes_its_scopes(run):
    page = queries.timeline(run, EventFilter(limit=1))
    assert (page.entries[0].duration_ns, page.total, page.has_more) == (8_000_000, 8, True)


def test_statistics_count_a_scope_once(run):
    stats = Run(run).stats()
    assert (stats.events, sum(stats.types.values())) == (10, 8)
    assert stats.types == {"MILESTONE": 2, "DECISION": 1, "ACTION": 2, "SYSTEM": 1, "STATE": 2}
    assert stats.agents == {"alice": 3, "bob": 1}
    assert stats.turns == {1: 7, 2: 1}
    assert stats.names["action.transfer"] == 2
    assert stats.errors == {"ValueError": 1}
    assert stats.durations["turn"].mean_ns == 8_000_000
    assert stats.open_scopes == {numbered(9): "turn"}
    call = stats.llm_calls["gpt-4o"]
    assert (call.count, call.input_tokens, call.output_tokens, call.cost) == (1, 120, 9, 0.25)


def test_numbers_that_are_none_are_not_added(tmp_path):
    details = {"model": None, "input_tokens": "many", "output_tokens": True, "cost": None}
    run = write(tmp_path / "sim-001", [event(0, "SYSTEM", "llm.call", details=details)])
    call = queries.stats(run).llm_calls["None"]
    assert (call.count, call.input_tokens, call.output_tokens, call.cost) == (1, 0, 0, 0)


def test_a_graph_grows_with_its_run(run):
    assert found(Run(run).effects(numbered(6))) == []
    with (run / "events.jsonl").open("ab") as file:
        file.write(encode_event(event(20, caused_by=[numbered(6)])))
    assert found(Run(run).effects(numbered(6))) == ids_of(20)


def test_a_graph_is_made_anew_for_another_run_in_the_same_place(run):
    assert found(Run(run).effects(numbered(0))) == ids_of(1, 2, 3, 6)
    others = [event(40), *(event(n, caused_by=[numbered(40)], description="x" * 999) for n in range(41, 61))]
    write(run, others, others)
    with pytest.raises(EventNotFound):
        queries.causes(run, numbered(6))
    assert found(Run(run).effects(numbered(40))) == ids_of(*range(41, 61))


def test_a_second_question_reads_only_what_was_added_and_what_it_answers(tmp_path, monkeypatch):
    """The original read and decoded the whole run for every request."""
    run = write(tmp_path / "sim-001", [event(n, caused_by=[numbered(0)] if n < 3 else None) for n in range(500)])
    assert found(Run(run).effects(numbered(0))) == ids_of(1, 2)
    with (run / "events.jsonl").open("ab") as file:
        file.write(encode_event(event(600, caused_by=[numbered(2)])))
    decoded = []
    monkeypatch.setattr(codec, "decode", lambda line: decoded.append(line) or decode(line))
    assert [node.id for node in queries.effects(run, numbered(0)).nodes] == ids_of(1, 2, 600)
    assert len(decoded) == 1 + 4


def test_a_graph_forgets_what_was_cut_off(run):
    part = run / "events_2026-11-21_10-01-00.jsonl"
    assert found(Run(run).effects(numbered(1), depth=1)) == ids_of(2, 3)
    assert found(Run(run).effects(numbered(2))) == ids_of(6)
    part.write_bytes(b"".join(part.read_bytes().splitlines(keepends=True)[:2]))
    assert found(Run(run).effects(numbered(2))) == []


def test_a_graph_survives_the_compression_of_a_part(run):
    before = found(Run(run).causes(numbered(6)))
    part = run / "events.jsonl"
    (run / "events.jsonl.gz").write_bytes(gzip.compress(part.read_bytes()))
    part.unlink()
    assert found(Run(run).causes(numbered(6))) == before
    assert found([Run(run).get(numbered(2))]) == ids_of(2)


def test_one_graph_may_be_asked_by_many_threads_while_it_grows(tmp_path):
    run = write(tmp_path / "sim-001", [event(0)])

    def grow_and_ask(number: int) -> int:
        with (run / "events.jsonl").open("ab") as file:
            file.write(encode_event(event(number, caused_by=[numbered(0)])))
        return len(queries.effects(run, numbered(0)).nodes)

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(grow_and_ask, range(1, 101))) == 100


@given(histories())
def test_queries_over_any_history_agree_with_networkx(tmp_path_factory, history):
    run = write(tmp_path_factory.mktemp("out") / "sim-001", history[::2], history[1::2])
    theirs, node = as_networkx(history)
    for each in history:
        start = node[each.event_id]
        assert {step.id for step in queries.effects(run, each.event_id, 20).nodes} <= set(theirs) - {start}
        assert queries.get(run, each.event_id).event == each
        assert queries.node(run, each.event_id).id == start
    assert queries.stats(run).events == len(history)
    assert queries.timeline(run).total == sum(queries.stats(run).types.values())


def test_a_run_can_be_read_while_it_is_written_and_rotated(tmp_path):
    """What was read once stays where it was, and nothing half written is seen."""
    run, enough, before = tmp_path / "sim-001", Event(), list[str]()

    def write_on() -> int:
        for number in range(9_000):
            recorder.action("alice", "go", {"n": number}, caused_by=first)
            if enough.wait(0.0001):
                return number + 1
        return 9_000

    with (
        Recorder(tmp_path, simulation_id="sim-001", otlp=False, rotate=50_000) as recorder,
        ThreadPoolExecutor(1) as pool,
    ):
        first = recorder.action("alice", "begin")
        writing = pool.submit(write_on)
        while len(list(run.glob("events*.jsonl"))) < 4:
            page = queries.find(run, EventFilter(names=["go"], limit=10_000))
            now = found(each.event for each in page.events)
            assert now[: len(before)] == before
            assert page.skipped.count == 0
            assert len(queries.effects(run, first.event_id).nodes) >= len(now)
            before = now
        enough.set()
        writing.result()
    assert Run(run).page(name="go").total == writing.result()


def test_the_memory_of_a_query_is_that_of_its_answer(tmp_path):
    run = write(tmp_path / "sim-001", [event(n, name="action.go", details={"text": "x" * 1_000}) for n in range(9_000)])
    assert (run / "events.jsonl").stat().st_size > 10_000_000
    tracemalloc.start()
    try:
        assert queries.find(run, EventFilter(limit=10)).total == 9_000
        assert queries.stats(run).events == 9_000
        assert queries.resolve(run, "go") == numbered(8_999)
        assert len(queries.endings(run, ids_of(1, 2))) == 2
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_unknown_events_and_runs_are_told_apart(run, tmp_path):
    with pytest.raises(EventNotFound, match=f"Event {numbered(700)} not found in simulation sim-001"):
        queries.causes(run, numbered(700))
    with pytest.raises(RunNotFound):
        queries.find(tmp_path / "nowhere")
    with pytest.raises(InvalidParameter, match="depth"):
        queries.causes(run, numbered(6), depth=21)


def test_runs_have_the_name_that_they_state(tmp_path):
    opening = event(0, "MILESTONE", "run", phase="open", details={"name": "economy"})
    write(tmp_path / "economy-20261121-101500-k3f9", [event(7)], [opening])
    write(tmp_path / "sim-001", [event(1)])
    write(tmp_path / "voice-1", [event(2, resource={"service.name": "voice"})])
    assert [(each.name, each.event_count) for each in queries.runs(tmp_path)] == [
        ("voice", 1),
        ("sim", 1),
        ("economy", 2),
    ]


def test_the_service_answers_in_dictionaries(run):
    service = EventService(run.parent)
    assert service.list_simulations() == [
        {"id": "sim-001", "name": "sim", "start_time": event(0).timestamp, "event_count": 10}
    ]
    result = service.get_filtered_events("sim-001", EventFilter(event_types=["DECISION"], agent_ids=["alice"]))
    assert [each["details"]["decision_type"] for each in result["events"]] == ["rate"]
    assert (result["total"], result["has_more"]) == (1, False)
    assert service.get_event("sim-001", numbered(1)) == result["events"][0]
    chain = service.get_causality_chain("sim-001", numbered(1))
    assert list(chain) == ["event_id", "event", "upstream", "downstream"]
    assert [each["event_id"] for each in chain["downstream"]] == ids_of(2, 3, 6)


def test_the_service_tells_of_a_simulation_that_is_not_there(run):
    """The original answered with no events."""
    with pytest.raises(RunNotFound):
        EventService(run.parent).get_filtered_events("sim-002", EventFilter())
    with pytest.raises(RunNotFound):
        EventService(run.parent).get_filtered_events("", EventFilter())


def test_reading_loads_no_web_framework():
    code = "import sys, collector; print(*{'fastapi', 'pydantic', 'numpy', 'grpc', 'requests'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "\n"


def test_an_event_is_known_by_every_spelling_of_its_id(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        turn = recorder.turn(1).open()
        action = recorder.action("alice", "wave")
        recorder.flush()
        run = recorder.directory

        for handle in (turn, action):
            assert queries.resolve(run, handle.event_id.lower()) == handle.event_id
            assert queries.resolve(run, handle.ref) == handle.event_id
            assert queries.resolve(run, handle.span_id) == handle.event_id
            assert queries.resolve(run, str(ULID.from_str(handle.event_id).to_uuid())) == handle.event_id
        assert queries.resolve(run, turn.trace_id.upper()) == turn.event_id
