"""The simulation of the demo, from the first turn to the last, recorded into a run of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import openai
from mesa.examples import SugarscapeG1mt  # type: ignore[import-untyped]  # Mesa ships no types
from rich.console import Console
from rich.progress import track

from collector.demo.llm import API_KEY, LlmServer
from collector.demo.merchants import Merchants
from collector.demo.sugarscape import Sugarscape
from otel_events import Recorder

SEED = 42


class Played(NamedTuple):
    """What there is afterwards: the run, the model at its end, and the id of a trade to explain."""

    directory: Path
    model: SugarscapeG1mt
    example: str


def play(directory: str | os.PathLike[str], *, turns: int, merchants: int, console: Console) -> Played:
    """Let the model run for so many turns, with so many of its traders asking the language model."""
    params = {"turns": turns, "merchants": merchants, "seed": SEED, "model": "mesa.examples.SugarscapeG1mt"}
    model = SugarscapeG1mt(seed=SEED)
    with (
        LlmServer() as server,
        # whatever proxy the environment names, loopback is not behind it
        openai.OpenAI(
            base_url=server.base_url, api_key=API_KEY, http_client=openai.DefaultHttpxClient(trust_env=False)
        ) as client,
        Recorder(directory, name="sugarscape", params=params, verbosity="STATE") as recorder,
    ):
        sugarscape = Sugarscape(recorder, model)
        asking = Merchants(sugarscape, client, merchants)
        numbers = range(1, turns + 1)
        with sugarscape.installed():
            for number in track(numbers, "Sugarscape", console=console, disable=not console.is_terminal):
                with recorder.turn(number):
                    asking.decide()
                    model.step()
        example = sugarscape.example.event_id if sugarscape.example else ""
    return Played(recorder.directory, model, example)
