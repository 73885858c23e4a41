"""The service as a client sees it: the four endpoints, and that nothing makes it fail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event, numbered, scope, write

from collector import queries
from collector.api import _listener, create_app
from otel_events.codec import encode_event


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Six events of `sim-001` in two parts; the second was begun by the first event of the run."""
    causes = {1: [0], 2: [0], 3: [1, 2], 4: [3]}
    types = ["MILESTONE", "DECISION", "DECISION", "ACTION", "STATE"]
    events = [
        event(
            number,
            types[number],
            turn_number=number,
            agent_id="agent_alice" if number % 2 else None,
            caused_by=[numbered(cause) for cause in causes.get(number, ())] or None,
            details={"n": number},
        )
        for number in range(5)
    ]
    write(tmp_path / "output" / "sim-001", [*events[2:], event(5, name="state.wealth", session_id="s1")], events[:2])
    write(tmp_path / "secret", [event(0, description="nobody may read this")])
    return tmp_path / "output"


@pytest.fixture
def client(output: Path) -> Iterator[TestClient]:
    with TestClient(create_app(output), raise_server_exceptions=False) as client:
        yield client


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["event_id"] for each in answer.json()["events"]]


def ids_of(*order: int) -> list[str]:
    return [numbered(number) for number in order]


def test_health_and_docs(client):
    assert client.get("/health").json() == {"status": "healthy"}
    assert client.get("/docs").status_code == 200
    assert sorted(client.get("/openapi.json").json()["paths"]) == [
        "/health",
        "/simulations",
        "/simulations/{sim_id}/causality/{event_id}",
        "/simulations/{sim_id}/events",
        "/simulations/{sim_id}/events/{event_id}",
    ]


def test_the_documentation_names_parameters_and_fields(client):
    paths = client.get("/openapi.json").json()["paths"]
    events = paths["/simulations/{sim_id}/events"]["get"]
    assert [each["name"] for each in events["parameters"]] == [
        "sim_id",
        "event_types",
        "agent_ids",
        "names",
        "session_ids",
        "turn_start",
        "turn_end",
        "start_timestamp",
        "end_timestamp",
        "limit",
        "offset",
    ]
    schema = events["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["events", "total", "has_more"]
    assert "caused_by" in schema["properties"]["events"]["items"]["properties"]


def test_simulations_start_with_their_first_event_whichever_part_holds_it(client):
    """The original took the time of the newest part as soon as there were two."""
    assert client.get("/simulations").json() == {
        "simulations": [{"id": "sim-001", "name": "sim", "start_time": event(0).timestamp, "event_count": 6}]
    }


def test_events_come_in_order_from_all_parts(client):
    answer = client.get("/simulations/sim-001/events")
    assert found(answer) == ids_of(0, 1, 2, 3, 4, 5)
    assert {key: answer.json()[key] for key in ("total", "has_more")} == {"total": 6, "has_more": False}


def test_events_are_the_bytes_of_the_log(client, output):
    line = encode_event(event(3, "ACTION", details={"n": 3}, agent_id="agent_alice", turn_number=3)).rstrip()
    (output / "sim-001" / "events.jsonl").write_bytes(line.replace(b":3", b": 3.0e0") + b"\n")
    answer = client.get("/simulations/sim-001/events?event_types=ACTION")
    assert line.replace(b":3", b": 3.0e0") not in answer.content  # 3.0 is no turn number
    (output / "sim-001" / "events.jsonl").write_bytes(line.replace(b'"n":3', b'"n" : 3.0e0') + b"\n")
    assert line.replace(b'"n":3', b'"n" : 3.0e0') in client.get("/simulations/sim-001/events").content


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("event_types=MILESTONE&event_types=ACTION", (0, 3, 5)),
        ("event_types[]=MILESTONE&event_types[]=ACTION", (0, 3, 5)),
        ("event_types%5B%5D=STATE", (4,)),
        ("agent_ids=agent_alice", (1, 3)),
        ("agent_ids[]=agent_alice&event_types=DECISION", (1,)),
        ("turn_start=2&turn_end=3", (2, 3)),
        ("limit=2&offset=1", (1, 2)),
        ("names=wealth", (5,)),
        ("session_ids=s1", (5,)),
        ("start_timestamp=2026-11-21T10:00:00.002Z&end_timestamp=2026-11-21T10:00:00.003Z", (2, 3)),
        ("start_timestamp=2026-11-21T10:00:00.004+00:00", (4, 5)),  # the plus becomes a space
        ("start_timestamp=2026-11-21T10:00:00.004%2B00:00", (4, 5)),
        ("start_timestamp=2026-11-21T10:00:00.004", (4, 5)),
        ("end_timestamp=2026-11-21T12:00:00.001%2B02:00", (0, 1)),
        ("agent_ids=", ()),
        ("agent_ids=%00%ff", ()),
        ("offset=99999999999999999999999999", ()),
    ],
)
def test_filters(client, query, expected):
    """The original answered naive times and `+00:00` with status 500."""
    assert found(client.get(f"/simulations/sim-001/events?{query}")) == ids_of(*expected)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=10001",
        "limit=many",
        "limit=1e3",
        "offset=-1",
        "turn_start=-1",
        "turn_end=x",
        "event_types=decision",
        "event_types=NOTHING",
        "event_types[]=NOTHING",
    ],
)
def test_parameters_of_the_wrong_type_or_range_are_422(client, query):
    answer = client.get(f"/simulations/sim-001/events?{query}")
    assert (answer.status_code, list(answer.json())) == (422, ["detail"])


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("start_timestamp=soon", "start_timestamp: expected an ISO 8601 time"),
        ("start_timestamp=2026-02-31T00:00:00Z", "start_timestamp: expected an ISO 8601 time"),
        ("end_timestamp=", "end_timestamp: expected an ISO 8601 time"),
        ("end_timestamp=%00", "end_timestamp: expected an ISO 8601 time"),
        ("turn_start=3&turn_end=2", "turn_end: expected a turn not before turn_start (3), got 2"),
        ("start_timestamp=2026-11-22&end_timestamp=2026-11-21", "end_timestamp: expected a time not before"),
    ],
)
def test_times_that_are_none_and_inverted_ranges_are_400(client, query, detail):
    answer = client.get(f"/simulations/sim-001/events?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(detail)


def test_one_event(client):
    answer = client.get(f"/simulations/sim-001/events/{numbered(3)}")
    assert (answer.status_code, answer.json()["details"]) == (200, {"n": 3})


def test_causality_is_followed_to_the_end_in_both_directions(client):
    """The original answered one level of effects."""
    answer = client.get(f"/simulations/sim-001/causality/{numbered(0)}").json()
    assert list(answer) == ["event_id", "event", "upstream", "downstream", "missing", "truncated"]
    assert (answer["event_id"], answer["event"]["event_id"]) == (numbered(0), numbered(0))
    assert [each["event_id"] for each in answer["downstream"]] == ids_of(1, 2, 3, 4)
    answer = client.get(f"/simulations/sim-001/causality/{numbered(4)}?depth=2").json()
    assert [each["event_id"] for each in answer["upstream"]] == ids_of(3, 1, 2)
    assert answer["truncated"] == {"upstream": ids_of(1, 2), "downstream": []}


def test_the_causality_of_a_scope_is_that_of_both_its_lines(client, output):
    events = [*scope(10, 12, [numbered(77)]), event(13, caused_by=[numbered(12)])]
    with (output / "sim-001" / "events.jsonl").open("ab") as file:
        file.writelines(map(encode_event, events))
    for event_id in ids_of(10, 12):
        answer = client.get(f"/simulations/sim-001/causality/{event_id}").json()
        assert (answer["event_id"], answer["event"]["event_id"]) == (event_id, event_id)
        assert [each["event_id"] for each in answer["downstream"]] == ids_of(13)
        assert answer["missing"] == [numbered(77)]


@pytest.mark.parametrize("depth", ["0", "21", "-1", "deep", "1.5"])
def test_a_depth_outside_1_to_20_is_422(client, depth):
    assert client.get(f"/simulations/sim-001/causality/{numbered(0)}?depth={depth}").status_code == 422


@pytest.mark.parametrize("place", ["events", "causality"])
@pytest.mark.parametrize("run", ["sim-001", "sim-002"])
def test_an_unknown_event_or_run_is_404_in_the_original_words(client, place, run):
    answer = client.get(f"/simulations/{run}/{place}/nothing")
    assert (answer.status_code, answer.json()) == (404, {"detail": f"Event nothing not found in simulation {run}"})


def test_an_unknown_run_is_404(client):
    """The original answered an unknown run with status 200 and no events."""
    answer = client.get("/simulations/sim-002/events")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Simulation sim-002 not found"})


@pytest.mark.parametrize(
    "name",
    [
        "%2e%2e",
        "%2e%2e%2fsecret",
        "..%2fsecret",
        "%2e%2e%5csecret",
        "%252e%252e%252fsecret",
        "....//secret",
        "%2e",
        "sim-001%00",
        "%00",
        "%ff%fe",
        "sim-001%2f..%2f..%2fsecret",
        "x" * 5000,
        "%f0%9f%92%a9",
        "link",
    ],
)
@pytest.mark.parametrize("rest", ["events", f"events/{numbered(0)}", f"causality/{numbered(0)}"])
def test_no_path_leads_out_of_the_directory(client, output, name, rest):
    """The original read the parent directory as `%2e%2e`."""
    (output / "link").symlink_to(output.parent / "secret")
    write(output.parent, [event(0, description="nobody may read this")])
    answer = client.get(f"/simulations/{name}/{rest}")
    assert answer.status_code == 404, answer.text
    assert "nobody" not in answer.text


@pytest.mark.parametrize("event_id", ["%00", "%ff", "%22%7d", "x" * 5000, "%0a", "state.wealth", numbered(0)[-6:]])
def test_odd_event_ids_are_404(client, event_id):
    assert client.get(f"/simulations/sim-001/events/{event_id}").status_code == 404


def test_torn_and_alien_lines_do_not_stop_an_answer(client, output):
    """One line without the fields made every query of the original fail."""
    alien = [b"{}", b"null", b'{"timestamp": 5}', b"\xff\xfe", b"\0" * 99, b'{"event_id":"x","caused_by":[[]]}', b"{{"]
    odd = event(6, timestamp="yesterday", caused_by=[numbered(6), "nothing"])
    with (output / "sim-001" / "events.jsonl").open("ab") as file:
        file.write(b"\n".join(alien) + b"\n" + encode_event(odd) + b'{"event_id":"torn')
    assert found(client.get("/simulations/sim-001/events")) == ids_of(0, 1, 2, 3, 4, 5, 6)
    assert found(client.get("/simulations/sim-001/events?start_timestamp=2026-11-21")) == ids_of(0, 1, 2, 3, 4, 5)
    answer = client.get(f"/simulations/sim-001/causality/{numbered(6)}").json()
    assert (answer["upstream"], answer["missing"]) == ([], ["nothing"])
    assert client.get("/simulations").json()["simulations"][0]["event_count"] == 7


def test_a_cycle_ends(client, output):
    write(output / "sim-001", [event(0, caused_by=[numbered(1)]), event(1, caused_by=[numbered(0)])])
    answer = client.get(f"/simulations/sim-001/causality/{numbered(0)}?depth=20").json()
    assert [each["event_id"] for each in answer["upstream"]] == ids_of(1)


def test_a_run_that_vanishes_during_a_request_is_404(client, output, monkeypatch):
    causes = queries.causes

    def causes_of_a_vanished_run(*asked):
        shutil.rmtree(output / "sim-001")
        return causes(*asked)

    monkeypatch.setattr(queries, "causes", causes_of_a_vanished_run)
    assert client.get(f"/simulations/sim-001/causality/{numbered(0)}").status_code == 404
    assert client.get("/simulations/sim-001/events").status_code == 404
    assert client.get("/simulations").json() == {"simulations": []}


def test_a_run_that_cannot_be_read_is_503_and_does_not_show_its_path(client, output, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(output))

    monkeypatch.setattr(queries, "find", refuse)
    answer = client.get("/simulations/sim-001/events")
    assert (answer.status_code, answer.json()) == (503, {"detail": "The run cannot be read: Permission denied"})


def test_other_origins_are_not_invited(client):
    """The original allowed every origin, with credentials."""
    answer = client.get("/simulations", headers={"Origin": "https://example.com"})
    assert not [header for header in answer.headers if header.startswith("access-control")]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.dictionaries(st.text(max_size=12), st.text(max_size=12)))
def test_no_request_makes_the_service_fail(tmp_path_factory, run, event_id, query):
    directory = tmp_path_factory.mktemp("output")
    write(directory / "sim-001", [event(0)])
    with TestClient(create_app(directory), raise_server_exceptions=False) as client:
        quoted = [urllib.request.quote(each.encode("utf-8", "replace"), safe="") for each in (run, event_id)]
        for path in ("/simulations/{}/events", "/simulations/{}/events/{}", "/simulations/{}/causality/{}"):
            assert client.get(path.format(*quoted), params=query).status_code < 500
        assert client.get("/simulations/sim-001/events", params=query).status_code in (200, 400, 422)


def test_without_its_extra_the_service_says_what_to_install():
    code = "import sys; sys.modules['fastapi'] = None; import collector.api"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith(
        "serving a run over HTTP needs the extra `reader`: pip install 'otel-events[reader]'"
    )


SERVER = """
import sys
from pathlib import Path
from collector.api import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), next_free=True, announce=lambda url: print(url, flush=True))
print("ended")
"""


def start(output: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(output), str(port)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def end(server: subprocess.Popen[str]) -> tuple[str, int]:
    os.kill(server.pid, signal.SIGINT)
    rest, _ = server.communicate(timeout=20)
    return rest, server.returncode


def test_the_server_listens_on_loopback_takes_the_next_free_port_and_ends_with_ctrl_c(output):
    """The original listened on all addresses."""
    first, address = start(output, 18_431)
    second, other = start(output, 18_431)
    try:
        assert address.startswith("http://localhost:184")
        assert int(other.rpartition(":")[2]) > int(address.rpartition(":")[2])
        for url in (address, other):
            assert found(httpx.get(f"{url}/simulations/sim-001/events?limit=1")) == ids_of(0)
        # a client that takes `..` literally, which httpx and curl do not
        raw = httpx.get(httpx.URL(f"{address}/simulations/", raw_path=b"/simulations/../events"))
        assert raw.status_code == 404
    finally:
        ends = [end(first), end(second)]
    assert ends == [("ended\n", 0)] * 2


def test_connections_state_their_protocol():
    """Without it asyncio leaves Nagle's algorithm on, and every answer takes 40 ms more."""
    with _listener("127.0.0.1", 0, 1) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP
