"""For tests of programs that record: a clock and ids that count, a run in a temporary directory, and `assert_caused`.

def test_a_transfer_follows_from_the_decision(recorder):        # the fixture comes with the package
    run_my_simulation(recorder)
    assert_caused("decision.savings_rate", "action.transfer")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from otel_events import timestamp
from otel_events.codec import decode
from otel_events.event import Event
from otel_events.handle import Handle
from otel_events.parts import parts_of, read_lines
from otel_events.recorder import Recorder
from otel_events.silent import current

try:
    import pytest
except ImportError:  # the rest of this module works without it
    pytest = None  # type: ignore[assignment]


class FakeClock:
    """Time that passes by `step_ms` at every look, and by `advance`. `step_back` moves the wall clock only."""

    def __init__(self, start: str = "2026-11-21T10:15:00Z", step_ms: int = 1) -> None:
        self._wall, self._monotonic, self._step = timestamp.to_ns(start), 0, step_ms * 1_000_000

    def advance(self, seconds: float) -> None:
        self._wall += int(seconds * 1_000_000_000)
        self._monotonic += int(seconds * 1_000_000_000)

    def step_back(self, seconds: float) -> None:
        self._wall -= int(seconds * 1_000_000_000)

    def time_ns(self) -> int:
        self._pass()
        return self._wall

    def monotonic_ns(self) -> int:
        self._pass()
        return self._monotonic

    def _pass(self) -> None:
        self._wall += self._step
        self._monotonic += self._step


class CountingIds:
    """Ids that count: the clock's millisecond and a running number, so that the same program gets the same ids."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._last = self._count = 0

    def after(self, value: int) -> None:
        self._last = max(self._last, value)

    def next(self, unix_ms: int) -> int:
        self._count += 1
        self._last = max(self._last + 1, unix_ms << 80 | self._count)
        return self._last

    next_trace = next


@contextmanager
def recording(directory: Path | None = None, **settings: Any) -> Iterator[Recorder]:
    """A recorder of a run called `test`, at full verbosity, shipping nothing, in a directory that goes away."""
    with TemporaryDirectory(prefix="otel-events-") as temporary:
        defaults: dict[str, Any] = {"simulation_id": "test", "verbosity": "DETAIL", "otlp": False}
        defaults |= {"clock": FakeClock(), "ids": CountingIds()}
        with Recorder(directory or temporary, **(defaults | settings)) as recorder:
            yield recorder


def events(recorder: Recorder) -> list[Event]:
    """All events of a run so far, part by part."""
    recorder.flush()
    return [decode(line.text) for part in parts_of(recorder.directory) for line in read_lines(part)]


def assert_caused(cause: Handle | str, effect: Handle | str, recorder: Recorder | None = None) -> None:
    """Fail unless `effect` follows from `cause`, directly or over other events. Each is a handle, an id or a name.

    `recorder` is the one whose run they belong to; the current one by default.
    """
    known = events(current() if recorder is None else recorder)
    starts, wanted = _ids_of(known, effect), _ids_of(known, cause)
    causes_of = {event.event_id: event.caused_by or [] for event in known}
    reached, frontier = set(starts), list(starts)
    while frontier:
        found = [cause_id for event_id in frontier for cause_id in causes_of.get(event_id, [])]
        frontier = [cause_id for cause_id in dict.fromkeys(found) if cause_id not in reached]
        reached.update(frontier)
    if not starts or not wanted or not (reached - starts) & wanted:
        chain = ", ".join(event.name or event.event_id for event in known if event.event_id in reached - starts)
        raise AssertionError(f"expected {effect!r} to follow from {cause!r}, got only: {chain or 'no cause at all'}")


def _ids_of(known: list[Event], named: Handle | str) -> set[str]:
    if isinstance(named, Handle):
        return {named.event_id}
    return {event.event_id for event in known if named in (event.event_id, event.name)}


if pytest is not None:

    @pytest.fixture(name="recorder")
    def _recorder(tmp_path: Path) -> Iterator[Recorder]:
        """A recorder in the test's own directory, with a clock and ids that count."""
        with recording(tmp_path) as recorder:
            yield recorder
