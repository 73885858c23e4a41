"""What a program says and what stands in the file: points, scopes, causes, levels, traces, redaction, misuse."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys

import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import TracerProvider

import otel_events
from otel_events import (
    LEVELS,
    Handle,
    InvalidParameter,
    OtelEventsError,
    Queue,
    Recorder,
    RecorderClosed,
    RunExists,
    Scope,
    Stats,
    current,
    ids,
)
from otel_events.silent import SilentRecorder
from otel_events.testing import events, recording


def the(recorder, name):
    """The only event of that name, or the two lines of the only scope."""
    found = [event for event in events(recorder) if event.name == name]
    return found[0] if len(found) == 1 else tuple(found)


POINTS = {
    "milestone": ({"milestone_type": "phase_transition", "phase": 2}, "MILESTONE", "milestone.phase_transition"),
    "decision": (
        {"agent_id": "alice", "decision_type": "savings_rate", "old_value": None, "new_value": 0.2, "reason": "fear"},
        "DECISION",
        "decision.savings_rate",
    ),
    "action": (
        {"agent_id": "alice", "action_type": "transfer", "action_payload": {"to": "bob"}, "fee": 1},
        "ACTION",
        "action.transfer",
    ),
    "state": (
        {"variable_name": "wealth", "old_value": 50, "new_value": None, "scope": "agent", "agent_id": "alice"},
        "STATE",
        "state.wealth",
    ),
    "detail": ({"calculation_type": "tax", "intermediate_values": [1, 2], "rate": 0.1}, "DETAIL", "detail.tax"),
    "system": (
        {"status": "retry", "error_type": "Timeout", "retry_count": 2, "host": "a"},
        "SYSTEM",
        "system.retry",
    ),
}
COMMON = {"description": "why not", "turn_number": 7, "session_id": "s1", "sim_time": 1.5}


@pytest.mark.parametrize("method", POINTS)
def test_every_point_by_the_names_of_the_specification(recorder, method):
    """All named parameters go into details; the common ones stand in fields of their own."""
    said, event_type, name = POINTS[method]
    handle = getattr(recorder, method)(**said, **COMMON)
    event = the(recorder, name)
    details = {key: value for key, value in said.items() if key != "agent_id"}
    assert event.details == details
    assert (event.event_id, event.event_type, event.agent_id) == (handle.event_id, event_type, said.get("agent_id"))
    assert (event.description, event.turn_number, event.session_id, event.sim_time) == tuple(COMMON.values())
    assert event.v == 1
    is_span = event.span_id == ids.span_id(event.event_id)
    assert is_span == (event_type not in ("DETAIL", "SYSTEM"))
    assert (event.parent_span_id is not None) == is_span


def test_an_error_is_an_exception_or_a_text(recorder):
    try:
        raise KeyError("lost")
    except KeyError as error:
        recorder.error(error, agent_id="alice", attempt=2)
    recorder.error("out of tokens")
    first, second = the(recorder, "error")
    assert first.error["type"] == "KeyError"
    assert first.error["message"] == "'lost'"
    assert "raise KeyError" in first.error["stacktrace"]
    assert first.details == {"status": "failure", "attempt": 2}
    assert second.error == {"type": "error", "message": "out of tokens"}


@pytest.mark.parametrize("event_type", LEVELS)
def test_emit_takes_every_event_type(recorder, event_type):
    recorder.emit(event_type, "tts.first_audio", agent_id=3, details={"ms": 120}, error="late")
    event = the(recorder, "tts.first_audio")
    assert (event.event_type, event.agent_id, event.details) == (event_type, "3", {"ms": 120})
    assert event.error["message"] == "late"


SCOPES = {
    "turn": ({"number": 3, "session_id": "s", "sim_time": 2}, "MILESTONE", "turn"),
    "session": ({"session_id": 5, "voice": "x"}, "MILESTONE", "session"),
    "step": ({"agent_id": "alice", "energy": 2}, "ACTION", "step"),
    "llm_call": (
        {"agent_id": "alice", "model": "gpt-4o", "provider": "openai", "input": "hi", "temperature": 0.5},
        "SYSTEM",
        "llm.call",
    ),
    "tool_call": ({"agent_id": "alice", "tool_name": "search", "arguments": {"q": 1}}, "ACTION", "tool.call"),
    "scope": (
        {"name": "tts.synthesis", "event_type": "STATE", "agent_id": "alice", "voice": "x"},
        "STATE",
        "tts.synthesis",
    ),
}


@pytest.mark.parametrize("method", SCOPES)
def test_every_scope_is_two_lines_of_one_span(recorder, method):
    said, event_type, name = SCOPES[method]
    with getattr(recorder, method)(**said, description="long") as scope:
        scope.set(done=True)
        inside = recorder.action("bob", "waves")
    opening, closing = the(recorder, name)
    assert (opening.phase, closing.phase) == ("open", "close")
    assert opening.event_id == scope.event_id
    assert opening.event_type == closing.event_type == event_type
    assert opening.span_id == closing.span_id == ids.span_id(scope.event_id)
    assert (opening.agent_id, opening.description) == (closing.agent_id, closing.description)
    assert closing.started_at == opening.timestamp < closing.timestamp
    assert closing.details["done"] is True
    assert "done" not in (opening.details or {})
    waves = the(recorder, "action.waves")
    assert (waves.event_id, waves.parent_span_id, waves.trace_id) == (inside.event_id, scope.span_id, scope.trace_id)
    assert waves.caused_by is None  # containment is no cause
    if method == "turn":
        assert (opening.turn_number, waves.turn_number, waves.session_id) == (3, 3, "s")
        assert [event.details["milestone_type"] for event in (opening, closing)] == ["turn_start", "turn_end"]
    if method == "session":
        assert waves.session_id == "5"


def test_an_llm_call_says_what_came_back(recorder):
    with recorder.llm_call("alice", model="gpt-4o", input="x" * 5_000) as call:
        call.finish(output="fine", input_tokens=120, output_tokens=9, finish_reason="stop", cost=0.01)
    with recorder.tool_call("alice", "search") as tool:
        tool.finish({"hits": 3})
    opening, closing = the(recorder, "llm.call")
    assert opening.details == {"model": "gpt-4o", "operation": "chat", "input": "x" * 5_000}
    assert closing.details["input"] == "x" * 2_048 + f"… [whole in {call.event_id}]"
    assert closing.details["output"] == "fine"
    assert closing.details["input_tokens"] == 120
    assert the(recorder, "tool.call")[1].details["result"] == {"hits": 3}


def test_a_method_records_the_parameters_of_the_design_only():
    """Every typed method takes cause, turn, session and time by the same names."""
    for method in POINTS:
        names = inspect.signature(getattr(Recorder, method)).parameters
        assert {"caused_by", "description", "turn_number", "session_id", "sim_time"} <= set(names), method
    for method in SCOPES:
        assert {"caused_by", "description"} <= set(inspect.signature(getattr(Recorder, method)).parameters), method


# --- causes ----------------------------------------------------------------------------------------------------------


def test_caused_by_takes_an_event_a_scope_an_id_a_ref_or_a_list(recorder):
    with recorder.turn(1) as turn:
        one = recorder.decision("alice", "save")
        two = recorder.decision("alice", "spend")
        read_back = the(recorder, "decision.spend")
        for name, cause in {
            "handle": one,
            "scope": turn,
            "id": one.event_id,
            "ref": one.ref,
            "event": read_back,
            "list": [one, two.ref, turn, one.event_id],
        }.items():
            recorder.action("alice", name, caused_by=cause)
    expected = {"handle": [one], "scope": [turn], "id": [one], "ref": [one], "event": [two], "list": [one, two, turn]}
    for name, causes in expected.items():
        event = the(recorder, f"action.{name}")
        assert event.caused_by == [cause.event_id for cause in causes]
        assert event.links is None
    assert recorder.stats().unresolved == 0


def test_because_holds_for_everything_inside_that_names_no_cause(recorder):
    one, two = recorder.decision("a", "one"), recorder.decision("a", "two")
    with recorder.because(one):
        recorder.action("a", "first")
        with recorder.because([one, two]), recorder.step("a"):
            recorder.action("a", "second")
            recorder.action("a", "third", caused_by=two)
            recorder.action("a", "fourth", caused_by=[])
        recorder.action("a", "fifth")
    recorder.action("a", "sixth")
    found = {name: the(recorder, f"action.{name}").caused_by for name in ("first", "second", "third", "fifth", "sixth")}
    both = [one.event_id, two.event_id]
    assert found == {"first": both[:1], "second": both, "third": both[1:], "fifth": both[:1], "sixth": None}
    assert the(recorder, "action.fourth").caused_by is None
    assert the(recorder, "step")[0].caused_by == both


def test_an_unknown_cause_is_null_and_counted(recorder):
    recorder.action("alice", "transfer", caused_by=["01ARZ3NDEKTSV4RRFFQ69G5FAV", "an-id-of-another-program"])
    links = the(recorder, "action.transfer").links
    assert links == {"01ARZ3NDEKTSV4RRFFQ69G5FAV": None, "an-id-of-another-program": None}
    assert recorder.stats().unresolved == 2


def test_causes_in_another_trace_and_in_log_records_carry_their_place(recorder):
    with recorder.turn(1):
        before = recorder.action("a", "before")
    with recorder.turn(2) as turn:
        detail = recorder.detail("tax")
        recorder.action("a", "after", caused_by=[before, detail, turn])
    links = the(recorder, "action.after").links
    assert links == {
        before.event_id: f"{before.trace_id}-{before.span_id}",
        detail.event_id: f"{turn.trace_id}-{turn.span_id}",
    }


def test_a_cause_is_found_in_the_file_when_it_is_no_longer_remembered(tmp_path):
    with recording(tmp_path) as recorder:
        old = recorder.action("a", "old")
    with recording(tmp_path, resume=True) as recorder:
        recorder.action("a", "new", caused_by=old.event_id)
        assert recorder.stats().unresolved == 0
        assert the(recorder, "action.new").links == {old.event_id: f"{old.trace_id}-{old.span_id}"}


# --- levels ----------------------------------------------------------------------------------------------------------

KEPT = {
    "MILESTONE": {"milestone", "error"},
    "DECISION": {"milestone", "error", "decision", "llm"},
    "ACTION": {"milestone", "error", "decision", "llm", "action", "step"},
    "STATE": {"milestone", "error", "decision", "llm", "action", "step", "state"},
    "DETAIL": {"milestone", "error", "decision", "llm", "action", "step", "state", "detail", "system"},
}


@pytest.mark.parametrize("verbosity", KEPT)
def test_levels_are_cumulative_errors_stay_and_llm_calls_nearly_always(tmp_path, verbosity):
    with recording(tmp_path, verbosity=verbosity) as recorder:
        recorder.milestone("x")
        recorder.decision("a", "x")
        recorder.action("a", "x")
        recorder.state("x", 1, 2)
        recorder.detail("x")
        recorder.system("success")
        recorder.error("x")
        with recorder.llm_call("a", model="m"):
            pass
        with recorder.step("a"):
            pass
        stats = recorder.stats()
    kinds = {event.name.partition(".")[0] for event in events_of(tmp_path)} - {"run"}
    assert kinds == KEPT[verbosity]
    assert stats.suppressed == 9 - len(kinds)


def events_of(directory):
    with recording(directory, resume=True) as recorder:
        return events(recorder)[:-1]


def test_causality_survives_what_the_verbosity_leaves_out(tmp_path):
    """A chain over suppressed events and scopes reaches from the recorded action to the recorded decision."""
    with recording(tmp_path, verbosity="ACTION") as recorder:
        decision = recorder.decision("a", "x")
        state = recorder.state("wealth", 1, 2, caused_by=decision)
        detail = recorder.detail("tax", caused_by=state)
        with recorder.scope("thinking", event_type="DETAIL", caused_by=detail) as thinking:
            inside = recorder.action("a", "inside")
        action = recorder.action("a", "pays", caused_by=[detail, thinking])
        by_id = recorder.action("a", "by id", caused_by=detail.event_id)
        by_ref = recorder.action("a", "by ref", caused_by=detail.ref)
        assert not any(handle.recorded for handle in (state, detail, thinking))
        found = {event.event_id: event for event in events(recorder)}
    for handle in (action, by_id, by_ref):
        assert found[handle.event_id].caused_by == [decision.event_id]
    assert found[inside.event_id].parent_span_id == ids.span_id(events_of(tmp_path)[0].event_id)


def test_a_suppressed_event_stands_for_at_most_32_causes_the_newest_and_what_is_left_out_is_counted(tmp_path):
    with recording(tmp_path, verbosity="ACTION") as recorder:
        many = [recorder.action("a", "x") for _ in range(40)]
        recorder.action("a", "pays", caused_by=recorder.state("wealth", 1, 2, caused_by=many))
        event = the(recorder, "action.pays")
    assert event.caused_by == [handle.event_id for handle in reversed(many[8:])]
    assert event.details["causes_omitted"] == 8


def test_a_suppressed_event_does_not_name_what_another_of_its_causes_names(tmp_path):
    with recording(tmp_path, verbosity="ACTION") as recorder:
        one = recorder.action("a", "one")
        two = recorder.action("a", "two", caused_by=one)
        recorder.action("a", "three", caused_by=recorder.state("wealth", 1, 2, caused_by=[one, two]))
        assert the(recorder, "action.three").caused_by == [two.event_id]


def test_a_suppressed_scope_that_fails_is_kept_with_its_error(tmp_path):
    with recording(tmp_path, verbosity="DECISION") as recorder:
        with pytest.raises(ValueError, match="no"), recorder.step("alice"):
            raise ValueError("no")
        event = the(recorder, "step")
    assert (event.phase, event.error["type"], event.span_id) == ("close", "ValueError", ids.span_id(event.event_id))


# --- traces ----------------------------------------------------------------------------------------------------------


def test_run_and_turns_have_a_trace_each_linked_to_what_encloses_and_precedes_them(recorder):
    with recorder.turn(1) as one, recorder.step("alice") as step:
        pass
    with recorder.turn(2) as two:
        pass
    run = the(recorder, "run")
    assert one.trace_id == ids.trace_id(one.event_id) != two.trace_id
    assert step.trace_id == one.trace_id
    first, _, second, closing = the(recorder, "turn")
    root = {run.event_id: f"{run.trace_id}-{run.span_id}"}
    assert first.links == root
    assert second.links == closing.links == {**root, one.event_id: f"{one.trace_id}-{one.span_id}"}
    assert first.parent_span_id is None
    assert first.caused_by is None


def test_one_trace_for_the_whole_run(tmp_path):
    with recording(tmp_path, trace="run") as recorder:
        with recorder.turn(1) as turn, recorder.session("s") as session:
            recorder.action("alice", "transfer")
        found = events(recorder)
    assert len({event.trace_id for event in found}) == 1
    opened = {event.name: event for event in found if event.opens}
    assert opened["turn"].parent_span_id == opened["run"].span_id
    assert opened["session"].parent_span_id == turn.span_id
    assert opened["turn"].links is None
    assert session.trace_id == turn.trace_id


def test_a_full_trace_is_continued_in_a_new_one_linked_to_it(recorder):
    with recorder.turn(1) as turn:
        handles = [recorder.action("alice", "transfer") for _ in range(5_005)]
    event = the(recorder, "trace.continued")
    assert event.links == {turn.event_id: f"{turn.trace_id}-{turn.span_id}"}
    assert event.event_type == "MILESTONE"
    assert {handle.trace_id for handle in handles} == {turn.trace_id, event.trace_id}
    assert event.trace_id == ids.trace_id(event.event_id)
    assert [handle.trace_id for handle in handles].count(turn.trace_id) == 4_999
    assert the(recorder, "turn")[1].trace_id == turn.trace_id


def test_a_sampler_that_says_no_is_asked_once_a_trace_and_the_file_keeps_everything(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    with recording(tmp_path) as recorder:
        with recorder.turn(1), recorder.step("alice"):
            recorder.action("alice", "transfer")
            assert not otel_trace.get_current_span().get_span_context().trace_flags.sampled
        assert {event.trace_flags for event in events(recorder)} == {"02"}
        assert recorder.environ()["TRACEPARENT"].endswith("-02")


def test_a_span_of_any_instrumentation_becomes_a_child_of_the_open_scope(recorder):
    """With a stock TracerProvider: our trace id, that call as parent, and sampled."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with recorder.turn(1), recorder.llm_call("alice", model="m") as call:
        with tracer.start_as_current_span("GET /") as span:
            context = span.get_span_context()
            assert f"{context.trace_id:032x}" == call.trace_id
            assert f"{span.parent.span_id:016x}" == call.span_id
            assert context.trace_flags.sampled
            assert span.is_recording()
            inside = recorder.action("alice", "inside")
        assert the(recorder, "action.inside").parent_span_id == call.span_id
        assert inside.trace_id == call.trace_id


def test_a_foreign_span_becomes_a_link_of_the_root(tmp_path):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("web request") as span, recording(tmp_path) as recorder:
        context = span.get_span_context()
        place = f"{context.trace_id:032x}-{context.span_id:016x}"
        assert the(recorder, "run").links == {place: place}
        assert the(recorder, "run").trace_id != f"{context.trace_id:032x}"


def test_a_foreign_traceparent_becomes_a_link_of_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEPARENT", f"00-{'a' * 32}-{'b' * 16}-01")
    with recording(tmp_path) as recorder:
        assert list(the(recorder, "run").links) == [f"{'a' * 32}-{'b' * 16}"]


# --- the run ---------------------------------------------------------------------------------------------------------


def test_the_opening_event_carries_params_and_the_first_line_the_resource(tmp_path):
    with recording(tmp_path, name="economy", params={"agents": 3}) as recorder:
        run = the(recorder, "run")
    assert run.details == {"milestone_type": "simulation_start", "name": "economy", "params": {"agents": 3}}
    assert run.resource["service.name"] == "economy"
    assert run.resource["service.instance.id"] == "test"
    assert recorder.directory == tmp_path / "test"


def test_an_existing_run_is_not_overwritten_but_can_be_continued(tmp_path):
    with recording(tmp_path) as recorder:
        pass
    with pytest.raises(RunExists, match="simulation_id: expected a new run, got 'test'") as caught:
        Recorder(tmp_path, simulation_id="test")
    assert isinstance(caught.value, OtelEventsError)
    with recording(tmp_path, resume=True) as recorder:
        first, _, second = the(recorder, "run")
    assert second.links == {first.event_id: f"{first.trace_id}-{first.span_id}"}
    assert second.details["resumed"] is True


def test_a_generated_id_is_the_name_the_time_and_four_characters(tmp_path):
    with Recorder(tmp_path, name="my economy", otlp=False) as recorder:
        assert current() is recorder
    assert re.fullmatch(r"my_economy-\d{8}-\d{6}-[0-9a-z]{4}", recorder.simulation_id)


def test_a_closed_recorder_raises_and_says_how_to_go_on(tmp_path):
    recorder = Recorder(tmp_path, simulation_id="test", otlp=False)
    recorder.action("alice", "transfer")
    stats = recorder.close()
    assert (
        recorder.close()
        == stats
        == Stats(
            recorded=3, suppressed=0, lost=0, dropped=0, repaired=0, unresolved=0, without_rule=0, redaction_failures=0
        )
    )
    assert stats.complete
    for call in (lambda: recorder.action("a", "b"), lambda: recorder.turn(1).open(), lambda: recorder.state("a", 1, 2)):
        with pytest.raises(RecorderClosed, match="open it again with Recorder"):
            call()


def test_a_failed_run_says_so(tmp_path):
    with pytest.raises(ZeroDivisionError), recording(tmp_path):
        1 / 0  # noqa: B018
    assert events_of(tmp_path)[1].error["type"] == "ZeroDivisionError"


async def _async_with(recorder):
    async with recorder, recorder.turn(1), recorder.because(recorder.decision("a", "x")):
        return recorder.action("alice", "transfer")


def test_the_same_with_async_with(tmp_path):
    handle = asyncio.run(_async_with(Recorder(tmp_path, simulation_id="test", otlp=False)))
    found = {event.event_id: event for event in events_of(tmp_path)}
    assert found[handle.event_id].turn_number == 1
    assert len(found[handle.event_id].caused_by) == 1


def test_current_is_the_contexts_recorder_else_the_only_open_one_else_one_that_records_nothing(tmp_path):
    assert isinstance(current(), SilentRecorder)
    with recording(tmp_path / "a") as one:
        assert current() is one
        with recording(tmp_path / "b") as other:
            assert isinstance(current(), SilentRecorder)
            with one.turn(1):
                assert current() is one
                with other.turn(1):
                    assert current() is other
        assert current() is one


def test_the_silent_recorder_takes_everything_and_records_nothing():
    silent = current()
    with silent, silent.turn(1) as turn, silent.because(turn), silent.llm_call("a", model="m") as call:
        call.finish(output="x")
        for method, (said, _, _) in POINTS.items():
            assert not getattr(silent, method)(**said, caused_by=turn).recorded
        assert not silent.error("x").recorded
        assert not silent.emit("ACTION", "x").recorded
    assert silent.flush() == silent.close() == silent.stats()
    assert silent.stats().recorded == 0
    assert silent.environ() == {}


# --- misuse ----------------------------------------------------------------------------------------------------------

MISUSE = [
    (lambda rec: rec.emit("THING", "x"), "event_type of emit: expected one of MILESTONE, DECISION"),
    (lambda rec: rec.emit(["ACTION"], "x"), "event_type of emit: expected one of"),
    (lambda rec: rec.scope("x", event_type="THING"), "event_type of scope: expected one of"),
    (lambda rec: rec.scope("x", event_type=["ACTION"]), "event_type of scope: expected one of"),
    (lambda rec: rec.scope(None), "name of scope: expected a string"),
    (lambda rec: rec.emit("ACTION", 3), "name of emit: expected a string"),
    (lambda rec: rec.emit("ACTION", ""), "name of emit: expected a string"),
    (lambda rec: rec.turn(-1), "turn_number of turn: expected an int"),
    (lambda rec: rec.turn("1"), "turn_number of turn: expected an int"),
    (lambda rec: rec.action("a", "b", turn_number=1.5), "turn_number of action.b: expected an int"),
    (lambda rec: rec.action("a", "b", turn_number=2**70), "turn_number of action.b: expected an int"),
    (lambda rec: rec.action("a", "b", caused_by=7), "caused_by of action.b: expected an event, an open scope"),
    (lambda rec: rec.action("a", "b", caused_by=[object()]), "caused_by of action.b: expected an event"),
    (lambda rec: rec.because(None).__enter__(), "caused_by of because: expected"),
    (lambda rec: rec.emit("ACTION", "x", details=[1]), "details of emit: expected a dict"),
    (lambda rec: rec.step("a").open().open(), "step scope: expected a scope that was not opened before"),
]


@pytest.mark.parametrize(("call", "said"), MISUSE)
def test_a_parameter_of_the_wrong_kind_raises_at_the_call(recorder, call, said):
    with pytest.raises(InvalidParameter) as caught:
        call(recorder)
    assert str(caught.value).startswith(said)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"simulation_id": "../x"}, "simulation_id: expected a directory name"),
        ({"simulation_id": ""}, "simulation_id: expected a directory name"),
        ({"simulation_id": 5}, "simulation_id: expected a directory name"),
        ({"simulation_id": "a\nb"}, "simulation_id: expected a directory name"),
        ({"simulation_id": "x" * 201}, "simulation_id: expected a directory name"),
        ({"simulation_id": "\udcff"}, "simulation_id: expected a directory name"),
        ({"name": 5}, "name: expected a string"),
        ({"verbosity": "LOUD"}, "verbosity: expected one of MILESTONE"),
        ({"trace": "turn"}, "trace: expected one of scope, run"),
        ({"shipper": "pigeon"}, "shipper: expected one of process, thread"),
        ({"rotate": 0}, "rotate: expected a number of bytes"),
        ({"rotate": "hour"}, "rotate: expected a number of bytes"),
        ({"fsync": 0}, "fsync: expected a number of seconds above 0"),
        ({"fsync": "1"}, "fsync: expected a number of seconds above 0"),
        ({"fsync": float("inf")}, "fsync: expected a number of seconds above 0"),
        ({"queue": 5}, "queue: expected a Queue or None"),
        ({"redact": "secret"}, "redact: expected a function"),
        ({"otlp": 4318}, "otlp: expected a URL"),
        ({"otlp": ""}, "otlp: expected a URL"),
        ({"otlp": "ftp://collector"}, "otlp: expected a URL"),
    ],
)
def test_a_setting_of_the_wrong_kind_raises_at_the_constructor(tmp_path, setting, said):
    with pytest.raises(InvalidParameter) as caught:
        Recorder(tmp_path, **{"otlp": False, **setting})
    assert str(caught.value).startswith(said)
    with pytest.raises(InvalidParameter, match=r"queue\.policy"):
        Queue(policy="wait")
    with pytest.raises(InvalidParameter, match=r"queue\.size"):
        Queue(size=0)


# --- redaction -------------------------------------------------------------------------------------------------------


def test_redaction_reaches_every_string_that_the_program_said(tmp_path):
    with recording(tmp_path, redact=lambda text: text.replace("secret", "***"), params={"key": "secret"}) as recorder:
        recorder.action(
            "agent secret", "x", {"secret": ["secret", {"deep": "secret"}]}, description="secret", sim_time="secret"
        )
        recorder.error(ValueError("secret"), session_id="secret")
        call = recorder.llm_call("secret", model="secret", input="secret").open()
        call.finish(output="a secret", note=Exception("secret")).close(KeyError("secret"))
        with recorder.session("secret"), recorder.scope("the secret"):
            pass
        with recorder.llm_call(model="m", input="x" * 2_045 + "secret"):
            pass
    text = (tmp_path / "test" / "events.jsonl").read_text()
    assert "secret" not in text
    assert "xsec" not in text
    assert text.count("***") > 15


def test_a_redaction_hook_that_raises_blanks_and_counts(tmp_path):
    def hook(text):
        raise RuntimeError(text)

    with recording(tmp_path, redact=hook) as recorder:
        recorder.action("alice", "transfer", {"to": "bob"})
        assert recorder.stats().redaction_failures > 0
    assert "bob" not in (tmp_path / "test" / "events.jsonl").read_text()


def test_values_without_a_rule_are_counted(recorder):
    recorder.action("alice", "transfer", object())
    assert recorder.stats().without_rule == 1


def test_long_bytes_lie_beside_the_log(recorder):
    recorder.action("alice", "speaks", b"RIFF" + bytes(10_000))
    payload = the(recorder, "action.speaks").details["action_payload"]
    assert (payload["size"], payload["media_type"]) == (10_004, "audio/wav")
    assert (recorder.directory / "blobs" / payload["blob"]).read_bytes() == b"RIFF" + bytes(10_000)


# --- names -----------------------------------------------------------------------------------------------------------


def test_every_exported_name_is_there():
    assert all(getattr(otel_events, name) is not None for name in otel_events.__all__)
    assert len(set(otel_events.__all__)) == len(otel_events.__all__)
    assert issubclass(Scope, Handle)


def test_a_program_that_never_closes_leaves_a_closed_run(tmp_path):
    code = "import sys; from otel_events import Recorder as R; R(sys.argv[1], simulation_id='test').action('a', 'b')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert [event.name for event in events_of(tmp_path)][:3] == ["run", "action.b", "run"]
