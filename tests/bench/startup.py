"""What starting costs: wall time of whole processes, from exec to exit.

The programs run in turn, so that all see the same machine; one round to warm the file cache is thrown away. Figures are
medians over ten rounds. `ratio` is to an interpreter that does nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from tests.bench.table import Row

TITLE = "Start-up"

_PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import otel_events": ["-c", "import otel_events"],
    "import opentelemetry.sdk.trace": ["-c", "import opentelemetry.sdk.trace"],
    "otel-events --help": ["-c", "from collector.cli import main; main()", "--help"],
}


def rows(*, quick: bool) -> list[Row]:
    times: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for _ in range(1 + (3 if quick else 10)):
        for name, arguments in _PROGRAMS.items():
            times[name].append(_wall_ms(arguments))
    figures = {name: median(measured[1:]) for name, measured in times.items()}
    return [Row(name, figure, "ms", figure / figures["python -c pass"]) for name, figure in figures.items()]


def _wall_ms(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000
