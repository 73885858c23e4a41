"""What the demo prints: what was recorded, why one trade happened, and how to look further."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from rich.text import Text

from collector import queries
from collector.answers import Statistics
from collector.cli.causes import why
from collector.cli.render import counts, show_line
from collector.demo.play import Played
from otel_events import config, parts

EXPLAINED = 4
"""Steps back in the printed tree: trade ← offers ← holdings and vision ← moves, earlier trades, and LLM calls."""


def report(played: Played, directory: Path) -> None:
    """Print it all. `directory` is where the runs are, for the commands."""
    found = queries.stats(played.directory)
    _recorded(played, found)
    _shipping(played)
    if played.example:
        _heading("Why this trade? Both traders wanted it, each for reasons of its own:")
        why(played.example, directory=played.directory, depth=EXPLAINED)
    _further(played, directory)


def _recorded(played: Played, found: Statistics) -> None:
    files = [part.path for part in parts.parts_of(played.directory)]
    size = sum(file.stat().st_size for file in files)
    _heading(f"Recorded: {found.events:,} events of {len(found.agents):,} traders in {max(found.turns):,} turns")
    show_line(f"{', '.join(map(str, files))}, {size / 1e6:,.1f} MB, one line an event")
    counts("Types", found.types)
    for model, calls in found.llm_calls.items():
        tokens = f"{calls.input_tokens:,} tokens read, {calls.output_tokens:,} written"
        show_line(f"LLM calls\n  {calls.count:,} of {model}: {tokens}")


def _shipping(played: Played) -> None:
    endpoints = " and ".join(target.endpoint for target in config.targets())
    if endpoints:
        show_line(f"Shipped to {endpoints}, in the background")
        show_line(f"  What they do not take now is delivered by: otel-events ship {played.directory}")


def _further(played: Played, directory: Path) -> None:
    default = os.environ.get("OTEL_EVENTS_DIR") or "output"
    where = "" if directory == Path(default) else f" --dir {shlex.quote(str(directory))}"
    _heading("Look further")
    commands = {
        **(_about(played) if played.example else {}),
        "stats": "the run in numbers",
        "serve": f"http://localhost:8000/simulations/{played.directory.name}/causality/{played.example}",
    }
    width = max(map(len, commands)) + len(where)
    for command, purpose in commands.items():
        show_line(f"  otel-events {command + where:<{width}}  {purpose}")


def _about(played: Played) -> dict[str, str]:
    """Commands about the trade that was explained."""
    chain = queries.causes(played.directory, played.example, EXPLAINED)
    ending = queries.endings(played.directory, [node.id for node in (chain.start, *chain.nodes)])
    trade = ending[chain.start.id]
    calls = [ending[node.id] for node in chain.nodes if node.opening.event.name == "llm.call"]
    return {
        f"why {trade} --depth 20": "as far back as it goes",
        f"effects {trade}": "what came of it",
        **{f"path {call} {trade}": "from the language model's answer to the trade" for call in calls[:1]},
        f"events --agent {chain.start.opening.event.agent_id} --name offer": "what this trader offered",
    }


def _heading(text: str) -> None:
    show_line("")
    show_line(Text(text, "bold"))
