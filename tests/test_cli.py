"""The command line: what each command prints, what it exits with, and that nothing ends in a traceback."""

from __future__ import annotations

import builtins
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receiver import Receiver, Reply
from strategies import event, numbered, scope, write
from typer.testing import CliRunner

from collector.cli import app
from collector.cli.render import fit
from collector.cli.summary import plain, summary
from otel_events.codec import decode, encode_event
from otel_events.testing import recording

GOLDEN = Path(__file__).parent / "golden"
PROGRAM = [sys.executable, "-c", "from collector.cli import main; main()"]
NAMES = ["run", "turn", "session", "step", "llm.call", "tool.call", "action.x", "state.x"]
KEYS = [
    "name",
    "model",
    "operation",
    "input_tokens",
    "tool_name",
    "arguments",
    "decision_type",
    "action_payload",
    "old_value",
    "output",
    "error",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
DETAILS = st.none() | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), VALUES, max_size=5)
OBJECTS = st.dictionaries(st.sampled_from(["type", "message", "stacktrace"]), VALUES)
COMMANDS = ["demo", "serve", "runs", "events", "show", "why", "effects", "path", "tail", "stats"]
COMMANDS += ["ship", "doctor", "export", "import"]


def otel_events(*arguments, **environment):
    """Run a command in this process; (exit code, stdout, stderr)."""
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], env=environment, prog_name="otel-events"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def answered(*arguments, **environment):
    code, out, err = otel_events(*arguments, **environment)
    assert (code, err) == (0, ""), out
    return out


@pytest.fixture
def economy(tmp_path, monkeypatch):
    """A directory with one run: two turns, a decision, a transfer, a call, a failed tool; ids and times count."""
    directory = tmp_path / "output"
    monkeypatch.setenv("OTEL_EVENTS_DIR", str(directory))
    with recording(directory, simulation_id="economy-1", name="economy") as rec:
        with rec.turn(1) as turn:
            decision = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2, caused_by=turn)
            with rec.because(decision):
                transfer = rec.action("alice", "transfer", {"to": "bob", "amount": 12.5})
                with rec.llm_call("alice", model="gpt-4o", provider="openai") as call:
                    call.finish(output="yes", input_tokens=120, output_tokens=9, finish_reason="stop")
            rec.state("wealth", 50, 37.5, agent_id="alice", caused_by=transfer)
        with rec.turn(2):
            accepts = rec.decision("bob", "accept", new_value=True, caused_by=[transfer, call])
            with pytest.raises(TimeoutError), rec.tool_call("bob", "search", {"q": "grain"}, caused_by=accepts):
                raise TimeoutError("no answer")
    return directory


def test_why_prints_the_tree_of_causes(economy):
    """The example of the design, letter by letter, but for the ids."""
    assert answered("why", "wealth").splitlines() == [
        "000007 STATE     wealth 50 → 37.5                alice",
        "└─ 000004 ACTION    transfer to=bob amount=12.5  alice",
        "   └─ 000003 DECISION  savings_rate 0.1 → 0.2    alice",
        "      └─ 000002 MILESTONE turn 1",
    ]


def test_effects_prints_the_tree_of_effects_with_turns_where_they_change_and_repeated_nodes_once(economy):
    assert answered("effects", "savings_rate").splitlines() == [
        "000003 DECISION  savings_rate 0.1 → 0.2                             alice  in turn 1",
        "├─ 000004 ACTION    transfer to=bob amount=12.5                     alice",
        "│  ├─ 000007 STATE     wealth 50 → 37.5                             alice",
        "│  └─ 00000A DECISION  accept → true                                bob  in turn 2",
        "│     └─ 00000B ACTION    search q=grain ✗ TimeoutError: no answer  bob",
        "└─ 000005 SYSTEM    chat gpt-4o 120→9 tokens                        alice",
        "   └─ 00000A DECISION  accept → true                                bob  shown above",
    ]


def test_why_says_what_is_missing_and_what_the_depth_cut_off(tmp_path):
    chain = [event(number, caused_by=[numbered(number - 1)] if number else [numbered(900)]) for number in range(4)]
    run = write(tmp_path / "sim-001", chain)

    assert answered("why", numbered(3), "--run", run, "--depth", 2).splitlines() == [
        "000004 ACTION    action",
        "└─ 000003 ACTION    action",
        "   └─ 000002 ACTION    action",
        "      └─ … goes on: --depth 4",
    ]
    assert answered("why", numbered(0), "--run", run).splitlines() == [
        "000001 ACTION    action",
        f"└─ {numbered(900)} is missing: not in this run",
    ]


def test_a_cycle_ends_where_it_began(tmp_path):
    run = write(tmp_path / "sim-001", [event(0, caused_by=[numbered(1)]), event(1, caused_by=[numbered(0)])])

    assert answered("why", numbered(0), "--run", run).splitlines() == [
        "000001 ACTION    action",
        "└─ 000002 ACTION    action",
        "   └─ 000001 ACTION    action  shown above",
    ]


def test_a_chain_of_thousands_prints_without_recursing_into_it(tmp_path):
    """Everything is one step from the start, and everything causes its successor, too."""
    events = [event(0), *(event(n, caused_by=[numbered(0), numbered(n - 1)]) for n in range(1, 2_000))]
    run = write(tmp_path / "sim-001", events)

    assert len(answered("effects", numbered(0), "--run", run, "--depth", 20).splitlines()) == 2 * 2_000 - 2


def test_an_open_scope_is_shown_as_open(tmp_path):
    opening, _ = scope(0, 1, name="llm.call", details={"model": "gpt-4o"})
    run = write(tmp_path / "sim-001", [opening])

    assert answered("why", "call", "--run", run) == "000001 ACTION    chat gpt-4o (open)\n"


def test_path_prints_the_chain_whichever_comes_first_and_exits_1_without_one(economy):
    expected = [
        "  000003 DECISION  savings_rate 0.1 → 0.2       alice",
        "→ 000004 ACTION    transfer to=bob amount=12.5  alice",
        "→ 000007 STATE     wealth 50 → 37.5             alice",
    ]
    assert answered("path", "savings_rate", "wealth").splitlines() == expected
    assert answered("path", "wealth", "savings_rate").splitlines() == expected
    assert otel_events("path", "wealth", "run") == (1, "neither wealth nor run led to the other\n", "")
    assert otel_events("path", "wealth", "run", "--json")[:2] == (1, '{\n  "path": []\n}\n')


def test_events_lists_lines_in_columns_and_exits_1_without_a_match(economy):
    assert answered("events", "--agent", "alice").splitlines() == [
        "10:15:00.006 000003 DECISION  savings_rate 0.1 → 0.2                      alice",
        "10:15:00.007 000004 ACTION    transfer to=bob amount=12.5                 alice",
        "10:15:00.008 000005 SYSTEM    chat gpt-4o opens                           alice",
        "10:15:00.010 000006 SYSTEM    chat gpt-4o 120→9 tokens closes after 2 ms  alice",
        "10:15:00.012 000007 STATE     wealth 50 → 37.5                            alice",
    ]
    assert otel_events("events", "--agent", "nobody") == (1, "", "")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--type", "decision", "--type", "STATE"], ["decision.savings_rate", "state.wealth", "decision.accept"]),
        (["--name", "transfer"], ["action.transfer"]),
        (["--turn", "2", "--agent", "bob"], ["decision.accept", "tool.call", "tool.call"]),
        (["--turn", "-0"], ["run", "run"]),
        (["--turn", "2-", "--type", "DECISION"], ["decision.accept"]),
        (["--turn", "1-1", "--name", "turn"], ["turn", "turn"]),
        (["--since", "2026-11-21T10:15:00.021Z", "--name", "run"], ["run"]),
        (["--until", "2026-11-21 10:15:00.004"], ["run", "turn"]),
        (["--limit", "1", "--offset", "1", "--agent", "alice"], ["action.transfer"]),
    ],
)
def test_events_takes_filters_and_gives_the_lines_of_the_log_as_json(economy, filters, names):
    code, out, _ = otel_events("events", "--json", *filters)
    log = (economy / "economy-1" / "events.jsonl").read_text().splitlines()

    assert (code, [json.loads(line)["name"] for line in out.splitlines()]) == (0, names)
    assert set(out.splitlines()) <= set(log)


def test_a_page_says_how_to_see_the_next(economy):
    code, out, err = otel_events("events", "--limit", 2)

    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "2 of 14 events; see the next with --offset 2\n"


def test_show_says_everything_about_both_lines_of_a_scope(economy):
    out = answered("show", "tool.call")

    assert "ACTION search q=grain opens" in out
    assert "ACTION search q=grain closes after 2 ms ✗ TimeoutError: no answer" in out
    assert "  error           TimeoutError: no answer\n                  Traceback (most recent call last):" in out
    assert f"{economy / 'economy-1' / 'events.jsonl'} at byte" in out
    assert [decode(line.encode()).phase for line in answered("show", "tool.call", "--json").splitlines()] == [
        "open",
        "close",
    ]


def test_runs_lists_the_newest_first_with_their_states(economy):
    """Closed: it says so. Never ended: it does not, and nobody writes it. Open: somebody does."""
    write(economy / "sim-001", [event(0, "MILESTONE", "run", phase="open", span_id="0" * 15 + "1")])
    write(economy / "foreign", [event(0)])
    with recording(economy, simulation_id="live", name="live"):
        out = answered("runs")
        as_json = json.loads(answered("runs", "--json"))
    assert [line.split() for line in out.splitlines()] == [
        ["ID", "NAME", "START", "EVENTS", "STATE"],
        ["live", "live", "2026-11-21", "10:15:00", "1", "open"],
        ["economy-1", "economy", "2026-11-21", "10:15:00", "14", "closed"],
        ["sim-001", "sim", "2026-11-21", "10:00:00", "1", "never", "ended"],
        ["foreign", "foreign", "2026-11-21", "10:00:00", "1"],
    ]
    assert [(run["id"], run["state"]) for run in as_json["runs"]] == [
        ("live", "open"),
        ("economy-1", "closed"),
        ("sim-001", "never ended"),
        ("foreign", ""),
    ]


def test_stats_counts_types_turns_calls_tokens_durations_and_errors(economy):
    out, found = answered("stats"), json.loads(answered("stats", "--json"))

    assert "economy-1: 14 events, closed" in out
    assert "turns 1 to 2" in out
    assert [line.split() for line in out.splitlines() if line.startswith("gpt-4o")] == [
        ["gpt-4o", "1", "0", "120", "9"]
    ]
    assert found["types"] == {"MILESTONE": 3, "DECISION": 2, "ACTION": 2, "SYSTEM": 1, "STATE": 1}
    assert found["llm_calls"]["gpt-4o"]["input_tokens"] == 120
    assert found["errors"] == {"TimeoutError": 1}
    assert found["durations"]["turn"]["count"] == 2


def test_tail_shows_the_end_of_a_closed_run_and_ends(economy):
    assert [line.split()[1] for line in answered("tail", "--lines", 2).splitlines()] == ["00000D", "00000E"]
    assert answered("tail", "--lines", 0) == ""
    assert [json.loads(line)["name"] for line in answered("tail", "--type", "STATE", "--json").splitlines()] == [
        "state.wealth"
    ]


def test_tail_follows_a_live_run_until_it_closes(tmp_path):
    with recording(tmp_path, simulation_id="live", name="live") as rec:
        follower = subprocess.Popen(
            [*PROGRAM, "tail", "--dir", str(tmp_path), "--json"], stdout=subprocess.PIPE, text=True
        )
        assert json.loads(follower.stdout.readline())["name"] == "run"
        rec.action("alice", "late")
        assert json.loads(follower.stdout.readline())["name"] == "action.late"
    rest, _ = follower.communicate(timeout=20)

    assert (follower.returncode, json.loads(rest)["phase"]) == (0, "close")


def test_tail_waits_for_the_other_processes_of_a_run_that_has_closed(economy):
    """The process that began the run may end before its workers do: their parts are still held."""
    fcntl = pytest.importorskip("fcntl")
    part = economy / "economy-1" / "events_2026-11-21_10-15-01.jsonl"
    with part.open("wb", buffering=0) as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        follower = subprocess.Popen([*PROGRAM, "tail", "--lines", "0", "--json"], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            follower.wait(1.5)
        worker.write(encode_event(event(7_777_777, name="late")))
    out, _ = follower.communicate(timeout=20)

    assert (follower.returncode, [json.loads(line)["name"] for line in out.splitlines()]) == (0, ["late"])


def test_tail_ends_quietly_with_ctrl_c(tmp_path):
    with recording(tmp_path, simulation_id="live", name="live"):
        follower = subprocess.Popen(
            [*PROGRAM, "tail", "--dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        _, err = follower.communicate(timeout=20)

    assert (follower.returncode, err) == (0, "")


def test_ship_delivers_says_what_it_did_and_stats_and_doctor_repeat_it(economy):
    with Receiver() as receiver:
        out = answered("ship", "--endpoint", receiver.url)
        again = answered("ship", "--endpoint", receiver.url)
    lines = [
        f"logs to {receiver.url}/v1/logs: 14 of 14 lines shipped",
        f"traces to {receiver.url}/v1/traces: 14 of 14 lines shipped",
    ]
    assert sorted(out.splitlines()) == lines
    assert sorted(again.splitlines()) == lines
    assert len(receiver.spans) == 9
    assert sorted(answered("doctor").splitlines())[1:] == lines
    assert set(lines) <= set(answered("stats").splitlines())
    assert json.loads(answered("stats", "--json"))["targets"][0]["pending"] == 0


def test_ship_exits_1_where_something_is_left_and_2_without_an_endpoint(economy, monkeypatch):
    monkeypatch.setattr("otel_events.ship.PATIENCE_S", 0.2)
    with Receiver(lambda request, index: Reply(503)) as receiver:
        code, out, err = otel_events("ship", "--json", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
    assert (code, [target["pending"] for target in json.loads(out)["targets"]]) == (1, [14, 14])
    assert "14 of 14 lines are left to ship" in err
    code, _, err = otel_events("ship", OTEL_EXPORTER_OTLP_ENDPOINT="")
    assert (code, "OTEL_EXPORTER_OTLP_ENDPOINT" in err) == (2, True)
    assert otel_events("ship", "--endpoint", "grpc://localhost:4317")[0] in (2, 3)


def test_ship_says_so_where_the_environment_switches_shipping_off(economy):
    code, _, err = otel_events("ship", "--endpoint", "http://localhost:4318", OTEL_SDK_DISABLED="true")
    assert (code, "OTEL_SDK_DISABLED: expected it unset or false" in err) == (2, True)


def test_serve_announces_its_address_answers_and_ends_with_ctrl_c(economy):
    server = subprocess.Popen([*PROGRAM, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[0].removesuffix("/docs")
        with urllib.request.urlopen(f"{address}/simulations", timeout=20) as response:
            found = json.load(response)
    finally:
        server.send_signal(signal.SIGINT)
    server.communicate(timeout=20)

    assert ([run["id"] for run in found["simulations"]], server.returncode) == (["economy-1"], 0)


def test_a_port_that_is_taken_is_one_sentence(economy):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = otel_events("serve", "--port", taken.getsockname()[1])

    assert (code, len(err.splitlines())) == (3, 1)
    assert "in use" in err
    assert "see `otel-events serve --help`" in err


def test_demo_records_below_the_directory(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("collector.demo.main", called.append)

    assert answered("demo", "--dir", tmp_path) == ""
    assert called == [tmp_path]


def test_doctor_is_content_with_a_whole_run_and_exits_1_on_damage(economy):
    log = economy / "economy-1" / "events.jsonl"
    assert answered("doctor") == "economy-1: whole, 14 events in 1 part\n"

    log.write_bytes(log.read_bytes() + b"no event\ntorn")
    code, out, _ = otel_events("doctor")
    size = log.stat().st_size
    assert code == 1
    assert f"damage  line           events.jsonl at byte {size - 13}: " in out
    assert f"damage  torn           events.jsonl at byte {size - 4}: " in out
    assert out.endswith("economy-1: damaged, 14 events in 1 part\n")
    code, out, _ = otel_events("doctor", "--json")
    assert (code, json.loads(out)["damaged"], json.loads(out)["counts"]) == (1, True, {"line": 1, "torn": 1})
    assert "1 lines are no events: `otel-events doctor" in otel_events("events")[2]


def _umask():
    os.umask(mask := os.umask(0))
    return mask


def test_export_writes_to_stdout_or_as_a_whole_to_a_file(economy, tmp_path):
    log = (economy / "economy-1" / "events.jsonl").read_text()
    target = tmp_path / "run.jsonl"

    assert answered("export") == log
    assert otel_events("export", "economy-1", "--output", target)[::2] == (0, f"{target}\n")
    assert target.read_text() == log
    assert answered("export", "--format", "csv", "--type", "STATE").count("\n") == 2
    assert os.stat(target).st_mode & 0o777 == 0o666 & ~_umask()
    absent = tmp_path / "no" / "such" / "file"
    code, _, err = otel_events("export", "--output", absent)
    assert (code, err.startswith(f"otel-events: {absent}: ")) == (3, True)
    assert otel_events("export", "--format", "pdf")[0] == 2
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_import_makes_runs_and_says_when_there_is_nothing_new(tmp_path):
    out = tmp_path / "out"
    assert answered(
        "import", GOLDEN / "pidgin_flat.jsonl", GOLDEN / "pidgin_nested.jsonl", "--dir", out
    ).splitlines() == [
        "conv_0a1b2c3d: 25 of 25 events imported",
        "090000_tides: 13 of 13 events imported, 3 lines rejected",
    ]
    assert "already imported" in answered("import", GOLDEN / "pidgin_flat.jsonl", "--dir", out)
    assert (
        json.loads(answered("import", GOLDEN / "pidgin_flat.jsonl", "--dir", out, "--json"))["imported"][0]["new"] == 0
    )
    assert (
        answered("export", "--dir", out / "conv_0a1b2c3d", "--format", "source")
        == (GOLDEN / "pidgin_flat.jsonl").read_text()
    )


def test_a_conflict_stops_the_import_of_that_conversation_only(tmp_path):
    out, changed = tmp_path / "out", tmp_path / "changed.jsonl"
    changed.write_text((GOLDEN / "pidgin_flat.jsonl").read_text().replace("a tide", "a wave"))
    answered("import", changed, "--dir", out)
    code, printed, err = otel_events("import", GOLDEN, "--dir", out)

    assert (code, printed) == (1, "090000_tides: 13 of 13 events imported, 3 lines rejected\n")
    assert "nothing was changed, import into another directory with --dir" in err
    code, printed, _ = otel_events("import", GOLDEN, "--dir", out, "--json")
    assert (code, len(json.loads(printed)["imported"]), len(json.loads(printed)["conflicts"])) == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["why", "nothing"], 3, "Event nothing not found in simulation economy-1; see `otel-events events`"),
        (["why", "wealth", "--depth", "21"], 2, "see `otel-events why --help`"),
        (["why", "wealth", "--run", "absent"], 3, "see `otel-events runs --dir"),
        (["why", "wealth", "--run", "../output/economy-1"], 0, ""),
        (["why", ""], 3, "see `otel-events events`"),
        (["why"], 2, "Missing argument"),
        (["events", "absent"], 3, "no run 'absent'"),
        (["events", "--type", "FOO"], 2, "MILESTONE, DECISION, ACTION"),
        (["events", "--limit", "0"], 2, "limit: expected 1 to 10000"),
        (["events", "--turn", "x"], 2, "5-10"),
        (["events", "--turn", "7-5"], 2, "turn_end"),
        (["events", "--since", "yesterday"], 2, "ISO 8601"),
        (["runs", "--dir", "/no/such"], 3, "`otel-events demo`"),
        (["tail", "absent"], 3, "see `otel-events runs"),
        (["export", "absent"], 3, "see `otel-events runs"),
        (["doctor", "absent"], 3, "see `otel-events runs"),
        (["stats", "absent"], 3, "see `otel-events runs"),
        (["ship", "absent"], 3, "see `otel-events runs"),
        (["import", "/no/such"], 3, "No such file"),
        (["import", str(GOLDEN / "pidgin_flat.jsonl"), "--timezone", "Mars/Olympus"], 2, "Europe/Berlin"),
        (["import", str(GOLDEN / "pidgin_flat.jsonl"), "--timezone", "../../etc/passwd"], 2, "Europe/Berlin"),
        (["import", str(Path(__file__))], 3, "pidgin-flat or pidgin-nested"),
        (["import", str(Path(__file__).parent / "golden" / "absent")], 3, "No such file"),
        (["nonsense"], 2, "No such command"),
        (["events", "--nonsense"], 2, "No such option"),
    ],
)
def test_every_error_is_one_sentence_that_names_the_next_command(economy, monkeypatch, arguments, code, says):
    monkeypatch.chdir(economy)
    given_code, _, err = otel_events(*arguments)

    assert given_code == code, err
    assert says in err
    assert "Traceback" not in err
    if code == 3:
        assert len(err.splitlines()) == 1
        assert err.startswith("otel-events: ")


@pytest.mark.parametrize("ending", ["000007", "07", "95C0000000000000007", "01m7ysm95c0000000000000007"])
def test_an_event_is_named_by_any_unambiguous_ending_of_its_id(economy, ending):
    assert answered("why", ending).startswith("000007 STATE     wealth")


def test_an_ending_that_several_ids_share_asks_for_more_letters(tmp_path):
    """And listings print what is enough: here seven letters."""
    alike = [event(0, event_id=f"01M7YSM95C000000000{letter}DEATHS") for letter in "AB"]
    run = write(tmp_path / "sim-001", alike)
    code, _, err = otel_events("why", "--run", run, "deaths")

    assert (code, "give more letters" in err) == (2, True)
    assert [line.split()[1] for line in answered("events", "--dir", run).splitlines()] == ["ADEATHS", "BDEATHS"]


def test_an_event_is_named_by_its_span_or_trace_and_a_run_by_its_path_or_as_the_directory(economy):
    assert answered("why", "0000000000000007") == answered("why", "wealth", "--run", economy / "economy-1")
    opener = json.loads(answered("show", "turn", "--json").splitlines()[0])
    assert answered("why", opener["trace_id"]).endswith("MILESTONE turn 2\n")
    assert answered("why", "wealth", "--dir", economy / "economy-1") == answered("why", "wealth")
    assert answered("runs", "--dir", economy / "economy-1") == answered("runs")


def test_why_json_is_one_document_with_the_lines_of_the_log(economy):
    found = json.loads(answered("why", "wealth", "--json"))

    assert [cause["event"]["name"] for cause in found["causes"]] == ["action.transfer", "decision.savings_rate", "turn"]
    assert found["causes"][-1]["closing"]["phase"] == "close"
    assert (found["event"]["distance"], found["missing"], found["truncated"]) == (0, [], [])
    assert found["links"][found["event"]["id"]] == [found["causes"][0]["id"]]


def test_nothing_in_a_log_can_move_the_cursor_of_a_terminal(tmp_path):
    """Escape sequences, returns and reversed text in names and values are shown, not done."""
    hostile = "\x1b[2J\rok\u202edlo\n"
    odd = event(
        0,
        hostile,
        name=hostile,
        agent_id=hostile,
        details={hostile: hostile},
        description=hostile,
        error={"type": hostile},
    )
    run = write(tmp_path / "sim-001", [odd, event(1, caused_by=[numbered(0), hostile])])
    for arguments in (
        ["events"],
        ["show", numbered(0)],
        ["why", numbered(1)],
        ["stats"],
        ["runs"],
        ["tail", "--lines", "1"],
    ):
        out = "".join(otel_events(*arguments, "--dir", run)[1:]) if arguments[0] != "tail" else ""
        assert not set(out) & set("\x1b\r\u202e")


def test_hostile_ids_are_only_names(economy):
    for name in ("../../etc/passwd", "\x00", "\ud800", "x" * 10_000, "--", "%s", "a\nb"):
        code, _, err = otel_events("why", "--", name)
        assert code in (2, 3)
        assert "\n" not in err.rstrip("\n")


def test_an_empty_directory_is_no_error_of_the_program(tmp_path):
    for command in (["runs"], ["events"], ["stats"], ["doctor"], ["tail"], ["export"], ["why", "x"]):
        code, out, err = otel_events(*command, "--dir", tmp_path)
        assert (code, out) == (3, "")
        assert "make one with `otel-events demo`" in err
    assert json.loads(answered("runs", "--dir", tmp_path, "--json")) == {"runs": []}


def test_a_directory_that_may_not_be_read_is_one_sentence(economy, monkeypatch):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", str(economy))

    monkeypatch.setattr("collector.queries.find", denied)
    assert otel_events("events") == (
        3,
        "",
        f"otel-events: {economy}: Permission denied; is the path right, and may you read it?\n",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_examples(command):
    code, out, _ = otel_events(command, "--help")

    assert code == 0
    assert f"otel-events {command}" in out.partition("Usage:")[2].partition("\n")[2]


def test_the_program_lists_its_commands_and_its_version():
    out = answered("--help")
    commands = [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines() if line.strip()]

    assert commands == COMMANDS
    assert "Exit codes: 0 yes, 1 no or different, 2 wrong usage, 3 could not ask." in out
    assert answered("--version") == "otel-events 0.1.0\n"
    assert otel_events()[0] == 2


@pytest.mark.parametrize(("command", "module", "extra"), [("serve", "fastapi", "reader"), ("demo", "mesa", "demo")])
def test_a_missing_extra_is_one_sentence_with_the_pip_command(economy, monkeypatch, command, module, extra):
    for name in [name for name in sys.modules if name.startswith((module, f"collector.{command}", "collector.api"))]:
        monkeypatch.delitem(sys.modules, name)
    importing = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importing(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    code, out, err = otel_events(command)

    assert (code, out) == (3, "")
    assert f"needs the extra `{extra}`: pip install 'otel-events[{extra}]'" in err
    assert len(err.splitlines()) == 1


def test_head_ends_the_program_without_a_word(economy):
    """A reader that has had enough is no error; neither in the middle of much output nor at the end of little."""
    write(economy / "long", [event(number) for number in range(5_000)])
    for arguments in ("events long --limit 10000", "export long", "why wealth"):
        program = f"{sys.executable} -c 'from collector.cli import main; main()'"
        piped = f"{program} {arguments} | head -n 1; echo ${{PIPESTATUS[0]}}"
        result = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, check=True)
        assert (result.stdout.splitlines()[-1], result.stderr) == ("0", "")


def test_a_reader_that_is_gone_before_the_first_word_is_no_error_either(economy):
    with subprocess.Popen([*PROGRAM, "why", "wealth"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdout.close()

        assert (program.stderr.read(), program.wait(20)) == (b"", 0)


def test_colour_is_for_terminals_only_and_not_with_no_color(economy):
    def on_terminal(**environment):
        leader, follower = pty.openpty()
        variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
        subprocess.run([*PROGRAM, "why", "wealth"], stdout=follower, env=variables, check=True)
        os.close(follower)
        with os.fdopen(leader, "rb") as terminal:
            return terminal.read1(65536).decode()

    assert "\x1b[" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in answered("why", "wealth")


def test_lines_fit_the_width_and_what_is_cut_is_marked(tmp_path):
    """120 columns where the output is no terminal, whatever COLUMNS says; wide characters count twice."""
    run = write(
        tmp_path / "sim-001", [event(0, agent_id="爱丽丝", details={"text": "字" * 300}), event(1, agent_id="b")]
    )
    lines = answered("events", "--dir", run, COLUMNS="40").splitlines()

    from rich.cells import cell_len

    assert [cell_len(line) <= 120 for line in lines] == [True, True]
    assert "…" in lines[0]
    assert lines[0].endswith("  爱丽丝")
    assert cell_len(lines[0][: lines[0].index("爱丽丝")]) == cell_len(lines[1][: lines[1].rindex("b")])
    assert (fit("abcdef", 4), fit("abc", 4), fit("字字字", 4)) == ("abc…", "abc", "字…")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"event_type": "DECISION", "name": "decision.move", "details": {"decision_type": "move"}}, "move"),
        ({"event_type": "DECISION", "details": {"decision_type": "tax", "old_value": 1, "new_value": 2}}, "tax 1 → 2"),
        (
            {"event_type": "ACTION", "name": "action.buy", "details": {"action_payload": {"n": 3}, "why": "a b"}},
            'buy n=3 why="a b"',
        ),
        (
            {"event_type": "STATE", "details": {"variable_name": "w", "old_value": {"a": 1}, "new_value": []}},
            'w {"a":1} → []',
        ),
        (
            {"event_type": "SYSTEM", "name": "llm.call", "details": {"model": "m", "output_tokens": 3}},
            "chat m ?→3 tokens",
        ),
        ({"event_type": "SYSTEM", "name": "llm.call"}, "chat"),
        (
            {"event_type": "ACTION", "name": "tool.call", "details": {"tool_name": "grep", "arguments": {"q": 1}}},
            "grep q=1",
        ),
        ({"event_type": "ACTION", "name": "step", "description": "think"}, "step think"),
        ({"event_type": "MILESTONE", "name": "turn"}, "turn 0"),
        ({"event_type": "MILESTONE", "name": "session", "session_id": "s"}, "session s"),
        ({"event_type": "MILESTONE", "description": "Turn 1 started"}, "milestone Turn 1 started"),
        ({"event_type": "DETAIL", "name": "llm.chunk", "details": {"delta": "Hi"}}, "llm.chunk Hi"),
        ({"event_type": "SYSTEM", "name": "x", "error": {"type": "T"}}, "x ✗ T"),
        (
            {"event_type": "ACTION", "name": "a", "details": {"wait": 0.2788980007171631, "n": None}},
            "a wait=0.2788980007",
        ),
        ({"event_type": "WEIRD"}, "weird"),
    ],
)
def test_the_summary_says_what_happened_in_a_few_words(fields, expected):
    assert summary(event(0, **fields)) == expected


def test_plain_text_stays_and_control_characters_are_spelt_out():
    assert plain("héllo 字 🌊 – ok") == "héllo 字 🌊 – ok"
    assert plain("a\x1b[31m\n\u202e") == "a\\x1b[31m\\n\\u202e"


@given(
    event_type=st.text(max_size=9), name=st.none() | st.sampled_from(NAMES), details=DETAILS, error=st.none() | OBJECTS
)
def test_any_event_has_a_printable_summary(event_type, name, details, error):
    """Whatever a program has put into its details, under the names that mean something here."""
    odd = event(0, event_type, name, details=details, error=error)

    assert summary(odd).isprintable()
    assert summary(odd, odd, "(open)").isprintable()


def test_an_output_that_lacks_a_letter_shows_its_code(economy):
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    shown = subprocess.run([*PROGRAM, "why", "wealth"], env=variables, capture_output=True, check=True)

    assert b"wealth 50 \\u2192 37.5" in shown.stdout


def test_help_loads_none_of_the_heavy_packages_and_starts_quickly():
    """A command line that thinks for a second before it answers is not used."""
    program = (
        "import sys, time; sys.argv = ['otel-events', '--help']\n"
        "from collector.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = 'fastapi duckdb numpy requests pydantic google.protobuf grpc uvicorn mesa openai'.split()\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stderr.strip() == "[]"
    assert time.monotonic() - began < 5, "normally 0.2 s"


def test_shell_completion_is_there():
    assert shutil.which("bash")
    shown = subprocess.run(
        [*PROGRAM, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env={**os.environ, "SHELL": "/bin/bash"},
    )
    assert "otel-events" in shown.stdout or "otel_events" in shown.stdout
