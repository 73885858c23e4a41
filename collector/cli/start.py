"""Commands that need an extra: serve, demo. It is imported when they are called, not before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from collector.cli import options


def serve(
    directory: options.Directory = Path("output"),
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; loopback, unless you say otherwise.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", help="The port to listen on.", min=0, max=65535)] = 8000,
) -> None:
    """Answer the same questions over HTTP.

    Until Ctrl-C: /simulations, /simulations/{id}/events and so on; /docs has them all.

    \b
    otel-events serve
    otel-events serve --dir /data/experiments --port 9000
    """
    from collector.api import serve as serving

    serving(
        directory, host, port, announce=lambda address: typer.echo(f"{address}/docs serves {directory}, Ctrl-C ends")
    )


def demo(directory: options.Directory = Path("output")) -> None:
    """Record a simulation and look at it.

    Traders exchange goods and ask a language model; then one trade is explained. Takes under a minute.

    \b
    otel-events demo
    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-events demo
    """
    from collector.demo import main

    main(directory)
