"""The whole way: record, and ship spans and log records to a receiver that parses them; events per CPU second.

The CPU time is user and system time of everything on the sending side, from start to end: interpreter, imports, the
recording program and, with us, the process that ships. The receiver is a process of its own and is not counted; what
it counts must be all that was recorded, or the bench fails. Both send OTLP over HTTP with gzip, in batches of their
default size. The SDK records into queues that hold everything, since it would drop events at this speed, and so does
everything in one process. Our figure includes the file: every event is a line in it first.

Each program runs three times, in turn with the other; the figures are medians. `ratio` is to the SDK.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from statistics import median

from tests.bench.programs import TURN
from tests.bench.receiving import Counts, Receiving
from tests.bench.table import Row

TITLE = "Recording and shipping, events per CPU second"


def rows(*, quick: bool) -> list[Row]:
    turns, rounds = (5, 1) if quick else (100, 3)
    speeds: dict[str, list[float]] = {"ours": [], "sdk": []}
    for _ in range(rounds):
        for kind, measured in speeds.items():
            measured.append(turns * TURN / _cpu_seconds(kind, turns))
    ours, sdk = median(speeds["ours"]), median(speeds["sdk"])
    return [
        Row("otel-events: Recorder and its shipper", ours, "events/s", ours / sdk),
        Row("OpenTelemetry SDK and OTLP/HTTP exporters", sdk, "events/s", 1.0),
    ]


def _cpu_seconds(kind: str, turns: int) -> float:
    program = [sys.executable, "-m", "tests.bench.programs", kind]
    with Receiving() as receiving, tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.measured", *program, receiving.url, directory, str(turns)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        _check_all_arrived(receiving.counts(), turns * TURN)
    return float(done.stdout)


def _check_all_arrived(counts: Counts, events: int) -> None:
    if min(counts) < events:
        raise RuntimeError(f"expected {events} events as spans and log records, the receiver got {counts}")
