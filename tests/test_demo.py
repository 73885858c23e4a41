from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from collector import demo
from collector.demo import llm
from otel_events import codec, parts
from otel_events.errors import MissingExtra
from otel_events.event import Event
from tests.receiver import Receiver

openai = pytest.importorskip("openai", reason="the demo's extra is not installed")
pytest.importorskip("mesa.examples", reason="the demo's extra is not installed")

from collector.demo.play import SEED, Played, SugarscapeG1mt, play  # noqa: E402 - they need the extra
from collector.demo.sugarscape import Sugarscape, Trader, name_of  # noqa: E402

TURNS = 9
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("output"), turns=TURNS, merchants=4, console=Console(file=StringIO()))


@pytest.fixture(scope="module")
def events(played: Played) -> list[Event]:
    return [codec.decode(line.text) for part in parts.parts_of(played.directory) for line in parts.read_lines(part)]


@pytest.fixture(scope="module")
def by_id(events: list[Event]) -> dict[str, Event]:
    return {event.event_id: event for event in events}


@pytest.fixture
def client() -> Iterator[Any]:
    with (
        llm.LlmServer() as server,
        openai.OpenAI(
            base_url=server.base_url,
            api_key=llm.API_KEY,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False),
        ) as client,
    ):
        yield client


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


def end_of(model: Any) -> list[tuple[Any, ...]]:
    """Everything that the traders of a model are at its end."""
    return sorted((t.unique_id, t.sugar, t.spice, t.vision, t.cell.coordinate) for t in model.agents_by_type[Trader])


def test_a_trade_has_two_causes_the_offers_of_both_traders(events: list[Event], by_id: dict[str, Event]) -> None:
    """It happens when both are better off: neither offer alone is the reason."""
    trades = named(events, "action.trade")

    assert len(trades) > 500
    for trade in trades:
        offers = [by_id[cause] for cause in trade.caused_by or []]
        assert [offer.name for offer in offers] == ["decision.offer", "decision.offer"]
        seller, buyer = (offer.agent_id for offer in offers)
        assert (seller, buyer) == (trade.agent_id, trade.details["action_payload"]["to"])
        assert seller != buyer
        assert [offer.details["partner"] for offer in offers] == [buyer, seller]


def test_every_trade_changed_what_both_partners_hold(events: list[Event]) -> None:
    """Sugar one way, spice the other; nothing is made and nothing lost."""
    caused = defaultdict(list)
    for event in events:
        if event.event_type == "STATE" and event.caused_by:
            caused[event.caused_by[0]].append(event)
    for trade in named(events, "action.trade"):
        payload = trade.details["action_payload"]
        changes = {
            (event.agent_id, event.details["variable_name"]): event.details["new_value"] - event.details["old_value"]
            for event in caused[trade.event_id]
        }
        assert changes == {
            (trade.agent_id, "sugar"): payload["sugar"],
            (trade.agent_id, "spice"): -payload["spice"],
            (payload["to"], "sugar"): -payload["sugar"],
            (payload["to"], "spice"): payload["spice"],
        }
        assert payload["sugar"] > 0
        assert payload["spice"] > 0


def test_decisions_are_caused_by_what_the_trader_held_then_and_by_its_latest_advice(events: list[Event]) -> None:
    """A cause that was out of date, or another trader's, would be an invented one."""
    newest: dict[tuple[str | None, str], str] = {}
    for event in events:
        if event.event_type == "STATE":
            newest[event.agent_id, event.details["variable_name"]] = event.event_id
        elif event.name == "decision.vision":
            newest[event.agent_id, "vision"] = event.event_id
        elif event.name in ("decision.move", "decision.offer", "llm.call") and not event.closes:
            wealth = [newest[event.agent_id, "sugar"], newest[event.agent_id, "spice"]]
            advice = [newest[event.agent_id, "vision"]] if (event.agent_id, "vision") in newest else []
            allowed = [wealth, wealth + advice] if event.name == "decision.offer" else [wealth + advice]
            assert event.caused_by in allowed


def test_states_follow_one_another_without_a_gap(events: list[Event], played: Played) -> None:
    """What is recorded accounts for every grain: old values are the last new ones, the last ones are the model's."""
    held: dict[tuple[str | None, str], float] = {}
    for event in events:
        if event.event_type == "STATE":
            key = event.agent_id, event.details["variable_name"]
            assert event.details["old_value"] == held.get(key)
            held[key] = event.details["new_value"]

    for trader in played.model.agents_by_type[Trader]:
        assert (held[name_of(trader), "sugar"], held[name_of(trader), "spice"]) == (trader.sugar, trader.spice)


def test_deaths_are_caused_by_the_holdings_that_ran_out(
    events: list[Event], by_id: dict[str, Event], played: Played
) -> None:
    deaths = named(events, "milestone.death")
    living = {name_of(trader) for trader in played.model.agents_by_type[Trader]}

    assert {death.agent_id for death in deaths} == {f"trader-{number}" for number in range(1, 201)} - living
    assert deaths
    for death in deaths:
        holdings = [by_id[cause] for cause in death.caused_by or []]
        assert holdings
        assert all(event.agent_id == death.agent_id and event.details["new_value"] <= 0 for event in holdings)


def test_the_models_answer_is_the_cause_of_the_decision_that_follows_it(
    events: list[Event], by_id: dict[str, Event]
) -> None:
    closed = {event.span_id: event for event in named(events, "llm.call") if event.closes}
    decisions = named(events, "decision.vision")

    assert len(decisions) == len(closed) == 4 * TURNS
    for decision in decisions:
        (cause,) = decision.caused_by or []
        call = closed[by_id[cause].span_id]
        assert orjson.loads(call.details["output"])["vision"] == decision.details["new_value"]
        assert (call.agent_id, call.details["finish_reason"]) == (decision.agent_id, "stop")
        assert call.details["input_tokens"] > 0
        assert call.details["output_tokens"] > 0
    assert {call.details["stream"] for call in closed.values()} == {True, False}


def test_an_instrumented_model_ends_like_one_that_is_not(tmp_path: Path) -> None:
    """The wrappers draw no random number and change nothing."""
    bare = SugarscapeG1mt(seed=SEED)
    bare.run_model(TURNS)

    instrumented = play(tmp_path, turns=TURNS, merchants=0, console=Console(file=StringIO())).model

    assert end_of(instrumented) == end_of(bare)


def test_the_recorded_decisions_explain_all_that_merchants_changed(played: Played, events: list[Event]) -> None:
    """Given back to a bare model, turn by turn, they lead it to the same end."""
    told = defaultdict(list)
    for decision in named(events, "decision.vision"):
        told[decision.turn_number].append((decision.agent_id, decision.details["new_value"]))
    bare = SugarscapeG1mt(seed=SEED)
    for turn in range(1, TURNS + 1):
        traders = {name_of(trader): trader for trader in bare.agents_by_type[Trader]}
        for agent_id, vision in told[turn]:
            traders[agent_id].vision = vision
        bare.step()

    assert end_of(bare) == end_of(played.model)
    untold = SugarscapeG1mt(seed=SEED)
    untold.run_model(TURNS)
    assert end_of(untold) != end_of(played.model)


def test_the_models_methods_are_its_own_again_afterwards() -> None:
    methods = dict(vars(Trader))
    sugarscape = Sugarscape(_Silent(), SugarscapeG1mt(seed=SEED))

    def interrupted() -> None:
        with sugarscape.installed():
            assert dict(vars(Trader)) != methods
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        interrupted()
    assert dict(vars(Trader)) == methods


class _Silent:
    """Records nothing."""

    def state(self, *args: object, **kwargs: object) -> None:
        return None


def test_the_same_demo_tells_the_same_story_twice(tmp_path: Path) -> None:
    """Seed and answers are fixed: only ids, times and the numbers of requests differ."""

    def story(directory: Path) -> list[Any]:
        run = play(directory, turns=2, merchants=2, console=Console(file=StringIO())).directory
        lines = [codec.decode(line.text) for line in parts.read_lines(parts.parts_of(run)[0])]
        return [(e.turn_number, e.name, e.agent_id, {**(e.details or {}), "response_id": ""}) for e in lines]

    assert story(tmp_path / "one") == story(tmp_path / "two")


def test_the_server_answers_the_official_client_in_whole_and_in_pieces(client: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How far shall I look?"}]

    whole = client.chat.completions.create(model=llm.MODEL, messages=messages)
    chunks = list(
        client.chat.completions.create(
            model=llm.MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )

    assert whole.choices[0].message.content == llm.answer("How far shall I look?")
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == llm.answer("How far shall I look?")
    assert whole.choices[0].finish_reason == chunks[-2].choices[0].finish_reason == "stop"
    assert whole.usage == chunks[-1].usage
    assert whole.usage.prompt_tokens == 7
    assert {chunk.id for chunk in chunks} == {chunks[0].id} != {whole.id}


def test_the_server_cuts_an_answer_at_the_limit_of_tokens(client: Any) -> None:
    messages = [{"role": "user", "content": "How far shall I look?"}]

    cut = client.chat.completions.create(model=llm.MODEL, messages=messages, max_tokens=2)

    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 2)


def test_the_server_lists_its_model_and_refuses_in_the_protocols_words(client: Any) -> None:
    messages = [{"role": "user", "content": "?"}]

    assert [model.id for model in client.models.list()] == [client.models.retrieve(llm.MODEL).id] == [llm.MODEL]
    with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
        client.chat.completions.create(model="gpt-0", messages=messages)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.chat.completions.create(model=llm.MODEL, messages=[])
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.chat.completions.create(model=llm.MODEL, messages=messages, max_tokens="many")
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        client.embeddings.create(model=llm.MODEL, input="?")


def _command(directory: Path) -> list[str]:
    return [sys.executable, "-c", f"from collector.demo import main; main({str(directory)!r}, turns=2, merchants=2)"]


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")} | {"TERM": "xterm"}


def test_without_a_terminal_the_demo_explains_a_trade_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        _command(tmp_path), cwd=ROOT, env=_environ(), capture_output=True, text=True, timeout=50, check=True
    )

    (run,) = tmp_path.iterdir()
    (trade,) = re.findall(r"^(\w+) ACTION +trade to=(trader-\d+) .*(trader-\d+)", done.stdout, re.M)
    offers = re.findall(r"^[├└]─ \w+ DECISION +offer .*(trader-\d+)", done.stdout, re.M)
    assert offers == [trade[2], trade[1]]
    assert f"otel-events why {trade[0]} --depth 20 --dir {tmp_path}" in done.stdout
    assert f"/simulations/{run.name}/causality/" in done.stdout
    assert done.stderr == ""


def test_with_an_endpoint_in_the_environment_the_demo_ships_as_well(tmp_path: Path) -> None:
    """Every line becomes a log record; the demo does not wait for it."""
    with Receiver() as receiver:
        environ = {**_environ(), "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        done = subprocess.run(
            _command(tmp_path), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=50, check=True
        )
        (run,) = tmp_path.iterdir()
        lines = sum(1 for part in parts.parts_of(run) for _ in parts.read_lines(part))
        deadline = time.monotonic() + 30
        while (shipped := len(receiver.log_records)) < lines and time.monotonic() < deadline:
            time.sleep(0.3)

    assert f"Shipped to {receiver.url}/v1/traces and {receiver.url}/v1/logs" in done.stdout
    assert shipped == lines
    assert {span.name for span in receiver.spans} >= {"turn", "decision.offer", "action.trade", "state.sugar"}


def test_at_a_terminal_the_demo_serves_until_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        _command(tmp_path), cwd=ROOT, env=_environ(), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        shown = _read_until(ours, rb"(http://\S+?)/docs answers", seconds=45)
        with urllib.request.urlopen(f"{shown[1].decode()}/health", timeout=10) as answer:
            assert orjson.loads(answer.read()) == {"status": "healthy"}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(terminal: int, pattern: bytes, seconds: float) -> re.Match[bytes]:
    text, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65536)
        if found := re.search(pattern, text):
            return found
    raise AssertionError(f"expected {pattern!r} within {seconds} s, got {text[-2000:]!r}")


def test_without_its_extra_the_demo_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "collector.demo.play")
    monkeypatch.setitem(sys.modules, "openai", None)

    with pytest.raises(MissingExtra, match=r"pip install 'otel-events\[demo\]'"):
        demo.main(tmp_path)
