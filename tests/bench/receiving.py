"""The loopback receiver in a process of its own, which parses every request, counts, and remembers nothing.

with Receiving() as receiving:
    ...                                  # send to receiving.url
    receiving.counts()                   # Counts(spans=..., log_records=...)
"""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple, Self

from tests.receiver import Received, Receiver, Reply


class Counts(NamedTuple):
    spans: int
    log_records: int


class Receiving:
    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.receiving"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.url = self._answer()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.communicate(timeout=30)  # it ends with its standard input

    def counts(self) -> Counts:
        assert self._process.stdin is not None
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        return Counts(*map(int, self._answer().split()))

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class _Counter(Receiver):
    """Parses and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = {"/v1/traces": 0, "/v1/logs": 0}

    def answer(self, received: Received) -> Reply:
        message, count = received.message, 0
        for group in message.resource_spans if received.path == "/v1/traces" else message.resource_logs:
            for scope in group.scope_spans if received.path == "/v1/traces" else group.scope_logs:
                count += len(scope.spans if received.path == "/v1/traces" else scope.log_records)
        with self._lock:
            self.totals[received.path] += count
        return Reply()


def main() -> None:
    with _Counter() as counter:
        print(counter.url, flush=True)
        for _ in sys.stdin:
            print(*counter.totals.values(), flush=True)


if __name__ == "__main__":
    main()
