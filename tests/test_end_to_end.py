"""The whole way, with nothing replaced: a program records, another process ships, a third one asks."""

import gc
import json
import os
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from collector import Run
from collector.cli import app
from otel_events import InvalidParameter, Recorder
from otel_events.parts import parts_of, read_lines
from tests.receiver import Receiver

PROGRAM = """
from otel_events import Recorder
with Recorder("runs", simulation_id="far-away", verbosity="STATE") as rec:
    for number in range(1, 21):
        with rec.turn(number) as turn:
            decision = rec.decision("alice", "price", new_value=number, caused_by=turn)
            action = rec.action("alice", "offer", {"price": number}, caused_by=decision)
            rec.state("price", number - 1, number, caused_by=action)
"""


def test_a_backend_that_is_away_all_the_time_costs_nothing_and_gets_everything_later(tmp_path: Path):
    with socket.socket() as reserved:  # bound and not listening: whoever connects is refused
        reserved.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        began = time.monotonic()
        environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environ, check=True, timeout=60)
        assert time.monotonic() - began < 10
        lines = [line for part in parts_of(tmp_path / "runs/far-away") for line in read_lines(part)]
        assert len(lines) == 2 + 20 * 5

    with Receiver() as receiver:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.url
        program = "from collector.cli import main; main()"
        command = [sys.executable, "-c", program, "ship", "--dir", "runs"]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)

        assert done.returncode == 0, done.stderr
        assert len(receiver.log_records) == len(lines)
        assert len(receiver.spans) == 1 + 20 * 4


def test_an_unknown_type_with_unknown_fields_is_kept_found_traversed_and_shipped(tmp_path: Path):
    with Recorder(tmp_path, simulation_id="mixed", otlp=False) as recorder:
        before = recorder.action("alice", "wave")
    part = recorder.directory / "events.jsonl"
    known = orjson.loads(part.read_bytes().splitlines()[1])
    own_id = before.event_id[:-1] + "Z"
    foreign = {**known, "event_id": own_id, "event_type": "ENV", "name": "env.weather", "caused_by": [before.event_id]}
    foreign |= {"span_id": "00000000000000ff", "mood": {"level": 3}}
    with part.open("ab") as file:
        file.write(orjson.dumps(foreign) + b"\n")

    run = Run(recorder.directory)

    (found,) = run.find(name="weather")
    assert (found.event_type, found.extra) == ("ENV", {"mood": {"level": 3}})
    assert [event.event_id for event in run.causes(own_id)] == [before.event_id]
    with Receiver() as receiver:
        result = CliRunner().invoke(app, ["ship", "--dir", str(tmp_path), "--endpoint", receiver.url])
        assert result.exit_code == 0, result.output
        assert "env.weather" in {record.event_name for record in receiver.log_records}


def test_a_prompt_of_a_megabyte_stands_whole_in_the_file_once_and_leaves_it_only_when_asked(tmp_path: Path):
    prompt, secret = "x" * 1_000_000, "the-secret-of-the-prompt"
    recorder = Recorder(tmp_path, simulation_id="long", otlp=False)
    with recorder, recorder.llm_call("alice", model="m", input=prompt + secret) as call:
        call.finish(output="yes", input_tokens=250_000)
    events = [json.loads(line.text) for part in parts_of(recorder.directory) for line in read_lines(part)]
    opened, closed = (event for event in events if event["name"] == "llm.call")

    assert opened["details"]["input"] == prompt + secret
    assert len(closed["details"]["input"]) < 3000
    assert opened["event_id"] in closed["details"]["input"]
    with Receiver() as receiver:
        CliRunner().invoke(app, ["ship", "--dir", str(tmp_path), "--endpoint", receiver.url])
        assert len(receiver.spans) == 2
        assert all(b"xxxxxxxx" not in received.body for received in receiver.accepted)


def test_an_environment_that_names_an_unsupported_protocol_is_warned_about_and_recorded_all_the_same(
    tmp_path: Path, monkeypatch, caplog
):
    """What others set for their own exporters must not stop a program that records."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    with Recorder(tmp_path, simulation_id="quiet") as recorder:
        recorded = recorder.action("alice", "wave").recorded

    assert recorded
    assert "http://127.0.0.1:4317" in caplog.text


def test_a_closed_scope_is_remembered_as_a_cause_without_what_it_said(tmp_path: Path):
    """The last 65,536 events are known by id; with their prompts they would fill the memory."""

    class Prompt(str):
        """A string that a weak reference can watch."""

        __slots__ = ("__weakref__",)

    with Recorder(tmp_path, simulation_id="many", otlp=False) as recorder:
        prompt = Prompt("tell me")
        watched = weakref.ref(prompt)
        with recorder.llm_call("alice", model="m", input=prompt) as call:
            call.finish(output="no")
        del prompt
        gc.collect()

        assert watched() is None
        assert recorder.action("alice", "answer", caused_by=call.event_id).causes == (call.event_id,)


@pytest.mark.parametrize(("code", "failed"), [(None, False), (0, False), (3, True), ("no", True)])
def test_a_program_that_exits_with_success_inside_a_run_has_not_failed(tmp_path: Path, code: object, failed: bool):
    recorder = Recorder(tmp_path, simulation_id="ends", otlp=False)
    with pytest.raises(SystemExit), recorder, recorder.turn(1):
        sys.exit(code)

    closing = [event for event in Run(recorder.directory).find() if event.closes]
    assert [(event.name, event.error is not None) for event in closing] == [("turn", failed), ("run", failed)]


def test_turn_numbers_may_come_from_numpy(tmp_path: Path):
    with Recorder(tmp_path, simulation_id="np", otlp=False) as recorder, recorder.turn(np.int64(3)):
        recorder.action("alice", "wave", turn_number=np.uint8(4))
        with pytest.raises(InvalidParameter, match="an int ≥ 0"):
            recorder.turn(True)

    assert [event.turn_number for event in Run(recorder.directory).find()] == [0, 3, 4, 3, 0]
