"""The specification of the first vocabulary, taken at its word: its code blocks, examples and tables are run.

The document is not part of the project; without it these tests are skipped, and what it asks for is held by
`test_simulation` and `test_api`. Its import names are mapped to our modules here, and here is the small simulation
that it assumes.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import EventFilter, EventService, Run
from collector.api import DEFAULT_PORT
from otel_events import simulation
from otel_events.event import FIELDS
from otel_events.simulation import (
    EventWriter,
    VerbosityLevel,
    create_action_event,
    create_decision_event,
    create_milestone_event,
    create_state_event,
)

DATA = os.environ.get("OTEL_EVENTS_TEST_DATA")
DOCUMENT = Path(DATA or "") / ".." / "seeds" / "001_aac15666d50c9961.txt"
pytestmark = pytest.mark.skipif(
    DATA is None or not DOCUMENT.exists(), reason="the specification is not here (OTEL_EVENTS_TEST_DATA)"
)
TEXT = DOCUMENT.read_text() if DATA is not None and DOCUMENT.exists() else ""
RUN = "simulation-id"


def blocks(language: str) -> list[str]:
    """The code blocks of that language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def section(title: str) -> str:
    """What stands under a heading, up to the next one of its rank."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", TEXT, re.MULTILINE)
    assert heading is not None, f"the specification has no section {title!r}"
    rest = TEXT[heading.end() :]
    end = re.search(
        rf"^#{{1,{len(heading[1])}}} ", re.sub(r"```.*?```", lambda m: " " * len(m[0]), rest, flags=re.S), re.M
    )
    return rest[: end.start()] if end else rest


# --- the program that the document assumes ---------------------------------------------------------------------------


class SimulationConfig:
    """Settings of a simulation, one `key: value` a line."""

    def __init__(self, run_id: str, turns: int) -> None:
        self.run_id, self.turns = run_id, turns

    @classmethod
    def from_yaml(cls, path: str) -> SimulationConfig:
        fields = dict(line.split(": ") for line in Path(path).read_text().splitlines())
        return cls(fields["run_id"], int(fields["turns"]))


class SimulationOrchestrator:
    """A synchronous simulation: every agent decides, one acts on both decisions, a balance changes."""

    def __init__(self, config: SimulationConfig, output_root: Path, event_verbosity: VerbosityLevel) -> None:
        self.config = config
        self.event_writer = EventWriter(output_root, config.run_id, event_verbosity)

    def run(self) -> list[str]:
        return [self._turn(turn) for turn in range(1, self.config.turns + 1)]

    def _turn(self, turn: int) -> str:
        run, emit = self.config.run_id, self.event_writer.emit
        emit(start := create_milestone_event(run, turn, "turn_start", f"Turn {turn} started"))
        decisions = [
            create_decision_event(run, turn, agent, "savings_rate", 0.1, 0.2, caused_by=[start.event_id])
            for agent in ("agent_alice", "agent_bob")
        ]
        causes = [decision.event_id for decision in decisions]
        act = create_action_event(run, turn, "agent_alice", "transfer", {"to": "agent_bob"}, caused_by=causes)
        state = create_state_event(run, turn, "wealth", 50, 38, "agent_alice", "agent", caused_by=[act.event_id])
        for event in (*decisions, act, state, create_milestone_event(run, turn, "turn_end")):
            emit(event)
        return act.event_id


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with a configuration, in which the documented modules can be imported."""
    modules: dict[str, dict[str, Any]] = {
        "llm_sim": {},
        "llm_sim.orchestrator": {"SimulationOrchestrator": SimulationOrchestrator},
        "llm_sim.models": {},
        "llm_sim.models.config": {"SimulationConfig": SimulationConfig},
        "llm_sim.models.event_filter": {"EventFilter": EventFilter},
        "llm_sim.infrastructure": {},
        "llm_sim.infrastructure.events": {name: getattr(simulation, name) for name in simulation.__all__},
        "llm_sim.api": {},
        "llm_sim.api.services": {},
        "llm_sim.api.services.event_service": {"EventService": EventService},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "simulation.yaml").write_text(f"run_id: {RUN}\nturns: 12\n")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def namespace(program: None) -> Iterator[dict[str, Any]]:
    """What the first Python block leaves behind, with everything written."""
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    names["orchestrator"].event_writer.recorder.flush()
    yield names
    names["orchestrator"].event_writer.close()


# --- Python ----------------------------------------------------------------------------------------------------------


def test_the_quick_start_records_into_the_documented_file(namespace: dict[str, Any]):
    events = Path("output") / RUN / "events.jsonl"
    assert events.is_file()
    assert namespace["results"][0] in events.read_text()
    assert [event["event_type"] for event in map(json.loads, events.read_text().splitlines()[:5])] == [
        "MILESTONE", "MILESTONE", "DECISION", "DECISION", "ACTION",
    ]  # fmt: skip


def test_the_query_example_finds_and_explains(namespace: dict[str, Any]):
    act = namespace["results"][5]
    exec(blocks("python")[1].replace("event-id", act), namespace)
    assert [run["id"] for run in namespace["simulations"]] == [RUN]
    found = namespace["result"]["events"]
    assert {event["agent_id"] for event in found} == {"agent_alice"}
    assert sorted({event["turn_number"] for event in found}) == [5, 6, 7, 8, 9, 10]
    upstream = [event["details"] for event in namespace["chain"]["upstream"]]
    assert [details.get("decision_type") for details in upstream] == ["savings_rate", "savings_rate", None]


def test_causes_are_given_as_documented(namespace: dict[str, Any]):
    """The block leaves the other arguments out (`...`); they are filled in."""
    block = next(block for block in blocks("python") if "# Decision caused by turn start" in block)
    exec("from llm_sim.infrastructure.events import create_decision_event, create_action_event", namespace)
    arguments = f"simulation_id={RUN!r}, turn_number=1, agent_id='agent_alice',"
    for kind, more in (("decision", "decision_type='x',"), ("action", "action_type='y', action_payload={},")):
        block = block.replace(
            f"create_{kind}_event(\n    ...", f"{kind} = create_{kind}_event(\n    {arguments} {more}"
        )
    exec(block, namespace)
    assert namespace["decision"].caused_by == ["turn_start_event_id"]
    assert namespace["action"].caused_by == ["decision_1_id", "decision_2_id"]


def test_a_custom_event_is_emitted_as_documented(namespace: dict[str, Any]):
    block = next(block for block in blocks("python") if "create_system_event" in block)
    orchestrator = SimulationOrchestrator(SimulationConfig("loud", 0), Path("output"), VerbosityLevel.DETAIL)
    exec(block, {"sim_id": "loud", "current_turn": 4, "orchestrator": orchestrator})
    orchestrator.event_writer.close()
    event = Run("output/loud").find(event_type="SYSTEM")[0]
    assert (event.turn_number, event.description) == (4, "LLM API timed out, retrying")
    assert event.details == {
        "status": "warning", "error_type": "timeout", "retry_count": 2, "llm_model": "llama3", "timeout_ms": 5000,
    }  # fmt: skip


def test_the_analysis_example_counts_decisions(namespace: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    block = next(block for block in blocks("python") if "patterns" in block)
    exec(block, {"EventFilter": EventFilter, "service": EventService("output"), "sim_id": RUN})
    assert capsys.readouterr().out == "Agent alice decision patterns: {'savings_rate': 12}\n"


def test_the_schema_block_names_our_first_nine_fields_in_order():
    block = next(block for block in blocks("python") if "ULID" in block)
    assert tuple(re.findall(r'"(\w+)":', block)) == FIELDS[:9]


def test_every_python_block_is_run_here():
    assert len(blocks("python")) == 6


# --- JSON, tables, layout --------------------------------------------------------------------------------------------


def test_the_example_event_is_read_found_and_served_as_it_stands(tmp_path: Path):
    line = json.loads(section("MILESTONE Events").partition("```json")[2].partition("```")[0])
    (tmp_path / line["simulation_id"]).mkdir()
    (tmp_path / line["simulation_id"] / "events.jsonl").write_text(json.dumps(line) + "\n")
    service = EventService(tmp_path)
    assert service.get_event("sim-001", line["event_id"]) == line
    criteria = EventFilter(
        event_types=["MILESTONE"], start_timestamp=line["timestamp"], end_timestamp=line["timestamp"]
    )
    assert service.get_filtered_events("sim-001", criteria) == {"events": [line], "total": 1, "has_more": False}
    assert service.list_simulations()[0]["start_time"] == line["timestamp"]


def test_the_levels_are_those_of_the_table_and_the_default_is_marked():
    rows = re.findall(r"^\| \*\*(\w+)\*\* (⭐?)", section("Verbosity Levels"), re.MULTILINE)
    assert [name for name, _ in rows] == [level.value for level in VerbosityLevel]
    assert [name for name, star in rows if star] == [inspect.signature(EventWriter).parameters["verbosity"].default]


@pytest.mark.parametrize("kind", ["milestone", "decision", "action", "state", "detail", "system"])
def test_each_type_takes_its_documented_fields(kind: str):
    text = section(f"{kind.upper()} Events")
    fields = re.findall(r"`(\w+)`", text.partition("**Fields**")[2].partition("\n")[0])
    required = re.findall(r"`(\w+)`", text.partition("**Requires**")[2].partition("\n")[0])
    create = getattr(simulation, f"create_{kind}_event")
    parameters = inspect.signature(create).parameters
    assert fields
    assert [name for name in (*fields, *required) if name not in parameters] == []
    assert [name for name in required if parameters[name].default is not inspect.Parameter.empty] == []
    values = {"simulation_id": "s", "turn_number": 1, **dict.fromkeys(fields, "x"), **dict.fromkeys(required, "a")}
    assert set(fields) <= set(create(**values).details)


def test_parts_are_named_as_in_the_documented_tree(tmp_path: Path):
    tree = section("File Organization")
    documented = [re.sub(r"\d", r"\\d", name.replace(".", r"\.")) for name in re.findall(r"events[\w-]*\.jsonl", tree)]
    with EventWriter(tmp_path, "sim-001", max_file_size=2_000) as writer:
        for turn in range(20):
            writer.emit(create_milestone_event("sim-001", turn, "phase_transition"))
    names = sorted(path.name.removesuffix(".jsonl").partition("_2.")[0] for path in (tmp_path / "sim-001").glob("*"))
    assert names[0] == "events"
    for name in names:  # several parts of one second are numbered
        assert any(re.match(pattern.removesuffix(r"\.jsonl"), name) for pattern in documented)


# --- the service -----------------------------------------------------------------------------------------------------

SERVER = """
from pathlib import Path
from collector.api import serve
serve(Path("output"), port=0, announce=lambda address: print(address, flush=True))
"""


@pytest.fixture
def address(namespace: dict[str, Any]) -> Iterator[str]:
    """`python -m llm_sim.api.server`, on a free port."""
    command = next(block for block in blocks("bash") if "llm_sim.api.server" in block).splitlines()[0]
    assert command == "python -m llm_sim.api.server"
    package = Path("path/llm_sim/api")
    package.mkdir(parents=True)
    (package / "server.py").write_text(SERVER)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(["path", str(Path(__file__).parent.parent)])}
    server = subprocess.Popen([sys.executable, *command.split()[1:]], stdout=subprocess.PIPE, text=True, env=environ)
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    os.kill(server.pid, signal.SIGINT)
    server.communicate(timeout=20)


def get(command: str) -> Any:
    """What a documented curl command prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(
        ["curl", "-sS", "--globoff", *command.split()[1:]], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_documented_port_is_our_default():
    assert f"http://localhost:{DEFAULT_PORT}" in TEXT


def test_the_six_curl_commands_answer(namespace: dict[str, Any], address: str):
    act = namespace["results"][3]
    commands = [
        line.replace('"', "")
        .replace("{sim_id}", RUN)
        .replace("{event_id}", act)
        .replace("http://localhost:8000", address)
        for line in "\n".join(blocks("bash")).splitlines()
        if line.startswith("curl ")
    ]
    runs, all_events, by_type, by_agent, by_turn, causes = [get(command) for command in commands]
    assert [run["id"] for run in runs["simulations"]] == [RUN]
    assert (all_events["total"], all_events["has_more"], len(all_events["events"])) == (61, False, 61)
    assert {event["event_type"] for event in by_type["events"]} == {"MILESTONE", "DECISION"}
    assert {event["agent_id"] for event in by_agent["events"]} == {"agent_alice"}
    assert {event["turn_number"] for event in by_turn["events"]} == {5, 6, 7, 8, 9, 10}
    assert [event["event_type"] for event in causes["upstream"]] == ["DECISION", "DECISION", "MILESTONE"]


def test_the_answers_have_the_documented_shapes(namespace: dict[str, Any], address: str):
    endpoints = re.findall(r"^### GET (\S+)$", TEXT, re.MULTILINE)
    assert len(endpoints) == 4
    for endpoint in endpoints:
        answer = get("curl " + address + endpoint.format(sim_id=RUN, event_id=namespace["results"][0]))
        example = section(f"GET {endpoint}").partition("```json")[2].partition("```")[0]
        if not example:  # "Single event object"
            assert (answer["event_id"], answer["event_type"]) == (namespace["results"][0], "ACTION")
            continue
        shape = json.loads(re.sub(r"#.*", "", example).replace("[...]", "[]").replace("{...}", "{}"))
        assert shape.keys() <= answer.keys()
        for key in shape:
            assert type(answer[key]) is type(shape[key])
        if "simulations" in shape:
            assert [each.keys() for each in answer["simulations"]] == [each.keys() for each in shape["simulations"]]


def test_the_documented_parameters_have_the_documented_bounds(address: str):
    paths = get(f"curl {address}/openapi.json")["paths"]
    assert get(f"curl -o /dev/null -w %{{http_code}} {address}/docs") == 200
    for endpoint in ("/simulations/{sim_id}/events", "/simulations/{sim_id}/causality/{event_id}"):
        ours = {each["name"]: each["schema"] for each in paths[endpoint]["get"]["parameters"]}
        for name, text in re.findall(r"^- `(\w+)`: (.*)$", section(f"GET {endpoint}"), re.MULTILINE):
            assert name in ours
            bounds = dict(re.findall(r"(default|max) (\d+)", text))
            assert {key: int(value) for key, value in bounds.items()} == {
                key: ours[name][known] for key, known in (("default", "default"), ("max", "maximum")) if key in bounds
            }
