"""Runs the benches one after the other and prints their tables, with the command, the machine and the date."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
from datetime import UTC, datetime

from tests.bench.table import markdown

NAMES = ("emit", "pipeline", "memory", "startup")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which benches: {', '.join(NAMES)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work: does it run, what is the order of size"
    )
    chosen = parser.parse_args()
    for name in os.environ.copy():
        if name.startswith("OTEL_"):
            del os.environ[name]  # default settings means just that
    print(f"`python -m tests.bench{' --quick' if chosen.quick else ''}` on {_machine()}\n")
    for name in chosen.names or NAMES:
        bench = importlib.import_module(f"tests.bench.{name}")
        print(markdown(bench.TITLE, bench.rows(quick=chosen.quick)), end="\n\n", flush=True)


def _machine() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()}, {python}, {datetime.now(UTC).date()}"


if __name__ == "__main__":
    main()
