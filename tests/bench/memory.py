"""A million events recorded and shipped: the resident size of the recording program and of its shipper on the way.

The program pauses at 10, 50 and 100 % of the events until the receiver has got them all; then both sizes are read
from /proc (Linux only). So both have done all the work so far, and nothing waits in a buffer. `ratio` is to the size
at 10 %: 1 is flat. The files are deleted afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.programs import TURN
from tests.bench.receiving import Receiving
from tests.bench.table import Row

TITLE = "Resident size while a million events are recorded and shipped"


def rows(*, quick: bool) -> list[Row]:
    if not Path("/proc/self/status").exists():
        return []
    turns = 100 if quick else 1000
    marks = [turns // 10, turns // 2, turns]
    sizes: list[tuple[int, float, float]] = []
    with Receiving() as receiving, tempfile.TemporaryDirectory() as directory:
        arguments = ["ours", receiving.url, directory, *map(str, [turns, *marks])]
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.programs", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        for mark in map(int, program.stdout):
            (shipper,) = _children(program.pid)
            _wait_for(receiving, mark * TURN)
            sizes.append((mark * TURN, _resident_mb(program.pid), _resident_mb(shipper)))
            program.stdin.write("\n")
            program.stdin.flush()
        _wait_for_end(shipper)
        if program.wait() != 0 or len(sizes) != len(marks):
            raise RuntimeError(f"the program ended with {program.returncode} after {sizes}")
    return [
        Row(f"{who} after {row[0]:,} events", row[column], "MB", row[column] / sizes[0][column])
        for column, who in ((1, "recording program"), (2, "shipper"))
        for row in sizes
    ]


def _wait_for(receiving: Receiving, events: int) -> None:
    for _ in range(6000):
        if min(receiving.counts()) >= events:
            return
        time.sleep(0.1)
    raise RuntimeError(f"expected {events} events within ten minutes, the receiver got {receiving.counts()}")


def _wait_for_end(pid: int) -> None:
    """Until then it keeps its cursor in the run's directory."""
    for _ in range(600):
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    raise RuntimeError(f"expected the shipper to end within a minute, process {pid} still runs")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no resident size")
