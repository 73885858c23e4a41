"""The demo: a real model is recorded, shipped if there is where to, explained, and served.

Mesa's Sugarscape with traders is instrumented from outside (`sugarscape`); some of its traders ask a language model
(`merchants`) that a small server on loopback stands in for (`llm`). `play` runs it, `report` says what was recorded.
"""

from __future__ import annotations

import os
from pathlib import Path

from otel_events.errors import MissingExtra

TURNS = 20
MERCHANTS = 6
PORT = 8000


def main(directory: str | os.PathLike[str] = "output", *, turns: int = TURNS, merchants: int = MERCHANTS) -> None:
    """Record the model into a new run below `directory` and explain a trade; at a terminal, serve until Ctrl-C.

    Raises MissingExtra where Mesa, networkx or the client of the language model is not installed.
    """
    try:
        from collector.demo.play import play
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(("collector", "otel_events")):
            raise
        raise MissingExtra("demo", "the demo") from error
    from collector.cli.render import console
    from collector.demo.report import report

    played = play(directory, turns=turns, merchants=merchants, console=console())
    report(played, Path(directory))
    if console().is_terminal:
        _serve(Path(directory))


def _serve(directory: Path) -> None:
    from collector.api import serve
    from collector.cli.render import show_line

    def announce(address: str) -> None:
        show_line(f"{address}/docs answers the same over HTTP; Ctrl-C ends")

    serve(directory, port=PORT, next_free=True, announce=announce)
