"""Ships the lines of a run to its targets, once, or for as long as the run is written.

Whatever the backend and the processes do, a line is acknowledged or still in the log, and what is sent twice is the
same bytes. A target has one shipper at a time: whoever holds its lock ships all parts of the run, whoever wrote them.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_events import config, cursor, lock
from otel_events.config import Target
from otel_events.follow import is_written, pending
from otel_events.sender import Sender

POLL_S: Final = 0.25
LINGER_S: Final = 60.0
"""How long a follower goes on trying after the last part was let go."""
PATIENCE_S: Final = 30.0
"""How long a single shipping goes on trying without a success."""
_log = logging.getLogger("otel_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStats:
    """What became of a run at one target; counts of lines, and of the spans or log records made of them."""

    signal: str
    endpoint: str
    lines: int
    """Complete lines of the run."""
    pending: int
    """Lines that the backend has not acknowledged."""
    shipped: int
    """Spans or log records that it accepted."""
    rejected: int
    """Those that it refused while accepting the rest of their request."""
    sampled_out: int
    unmappable: int
    corrupt: int
    last_error: str | None
    """Since the last success."""
    switched_off: str | None
    """Why nothing is sent to it any more."""

    @property
    def complete(self) -> bool:
        """Whether the backend has everything that it is to have."""
        return self.switched_off is not None or not (self.pending or self.rejected)


def target_stats(directory: Path, targets: Iterable[Target] = ()) -> list[TargetStats]:
    """What became of the run at every target that it was ever shipped to from here, and at these, also if never."""
    known = (*_COUNTS, "signal", "endpoint", "last_error", "switched_off")
    found, states = [], cursor.stored(directory)
    begun = {(state.signal, state.endpoint) for state in states}
    states += [cursor.Cursor(signal=new.signal, endpoint=new.endpoint) for new in targets if new[:2] not in begun]
    for state in states:
        left = pending(directory, state.offsets) if directory.is_dir() else 0
        values: dict[str, Any] = {name: getattr(state, name) for name in known}
        found.append(TargetStats(lines=state.lines + left, pending=left, **values))
    return found


_COUNTS: Final = ("shipped", "rejected", "sampled_out", "unmappable", "corrupt")


def ship(
    directory: Path,
    targets: Sequence[Target],
    *,
    follow: bool = False,
    say: Callable[[str], None] = _log.warning,
    patience_s: float | None = None,
) -> list[TargetStats]:
    """Ship what the run has; with `follow`, until nobody writes it any more. What a target refuses stays in the log.

    `say` gets a sentence about everything worth knowing. `patience_s` bounds the trying: it counts from the last
    success, with `follow` also from when the last part was let go. Raises OSError where no cursor can be kept.
    """
    shipment = Shipment(directory, targets, say)
    patience_s = patience_s or (LINGER_S if follow else PATIENCE_S)
    while shipment.run(follow, patience_s) and follow and is_written(directory):
        pass  # somebody began to write while the locks were being let go
    chosen = {(target.signal, target.endpoint) for target in targets}
    stats = [found for found in target_stats(directory) if (found.signal, found.endpoint) in chosen]
    for found in stats:
        if found.pending and not found.switched_off:
            why = f": {found.last_error}" if found.last_error else ""
            say(f"{found.signal} to {found.endpoint}: {found.pending} of {found.lines} lines are left to ship{why}")
    return stats


class Shipment:
    """Some targets of one run, shipped side by side from one loop."""

    def __init__(
        self,
        directory: Path,
        targets: Sequence[Target],
        say: Callable[[str], None],
        after_line: Callable[[], None] | None = None,
    ) -> None:
        self._directory, self._say, self._after_line = directory, say, after_line
        self._targets = sorted(targets, key=lambda target: target.signal != "traces")
        self._stop = threading.Event()
        self._stop_at = float("inf")

    def stopping(self, within_s: float) -> bool:
        """Whether it is asked to stop, now or within these seconds."""
        return self._stop.wait(within_s)

    def stop(self, at: float) -> None:
        """End when everything is shipped, at the monotonic time `at` at the latest."""
        self._stop_at = at
        self._stop.set()

    def run(self, follow: bool, patience_s: float) -> bool:
        """Ship; whether it ended because everything had been acknowledged."""
        state = cursor.state_directory(self._directory)
        capture = config.capture()
        with ExitStack() as stack:
            senders = []
            for target in self._targets:
                if self._held(stack, state / f"{target.key}.lock", follow):
                    senders.append(Sender(self._directory, target, state, capture, self._say, self._after_line))
                    stack.callback(senders[-1].close)
                elif not follow:
                    self._say(f"{target.signal} to {target.endpoint}: another process ships this run there just now")
            if not senders:
                return False
            return self._loop(senders, follow, patience_s)

    def _held(self, stack: ExitStack, path: Path, follow: bool) -> bool:
        """Whether we have the lock; a follower asks for it again for a moment, since its holder may be about to end."""
        for _ in range(8 if follow else 1):
            if stack.enter_context(lock.held(path)):
                return True
            if self._stop.wait(POLL_S if follow else 0):
                break
        return False

    def _loop(self, senders: list[Sender], follow: bool, patience_s: float) -> bool:
        quiet_since = time.monotonic()
        while True:
            written = follow and not self._stop.is_set() and is_written(self._directory)
            progress = False
            for sender in senders:
                before = sender.cursor
                worked = sender.step(self._time_left())
                progress = progress or (worked and sender.cursor is not before)
            self._settle(senders)
            now = time.monotonic()
            if written or progress:
                quiet_since = now
            if progress and now < self._stop_at:
                continue
            active = [sender for sender in senders if sender.active]
            if not active or (not written and all(sender.drained() for sender in active)):
                return bool(active)
            if now - quiet_since > patience_s or now > self._stop_at:
                return False
            self._stop.wait(POLL_S) if not self._stop.is_set() else time.sleep(0.05)

    def _time_left(self) -> float | None:
        return max(0.1, self._stop_at - time.monotonic()) if self._stop.is_set() else None

    def _settle(self, senders: list[Sender]) -> None:
        """Decide about targets that know no such path: where traces are accepted, logs are simply not taken there."""
        accepted = any(sender.target.signal == "traces" and sender.cursor.shipped for sender in senders)
        undecided = any(sender.target.signal == "traces" and sender.active for sender in senders)
        for sender in senders:
            if sender.unsupported is None or not sender.active:
                continue
            if sender.target.signal == "logs" and accepted:
                sender.switch_off(
                    f"{sender.target.endpoint} takes no logs, only traces are shipped: {sender.unsupported.words}"
                )
            elif sender.target.signal == "traces" or not undecided:
                sender.failed = True
                self._say(f"{sender.target.endpoint} takes no {sender.target.signal}: {sender.unsupported.words}")


class ShipperThread:
    """Ships from a thread of the recording program, for places without processes; it gives way after every line."""

    def __init__(self, directory: Path, targets: Sequence[Target]) -> None:
        self._shipment = Shipment(directory, targets, _log.warning, after_line=lambda: time.sleep(0))
        self._thread = threading.Thread(target=self._run, name="otel-events-shipper", daemon=True)
        self._pid = os.getpid()

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Ship what is left for at most `timeout` seconds. Does nothing in a forked child, which has no such thread."""
        if os.getpid() == self._pid and self._thread.is_alive():
            self._shipment.stop(time.monotonic() + timeout)
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            last = False
            while self._shipment.run(True, LINGER_S) and not last:
                last = self._shipment.stopping(POLL_S)  # if not, nobody holds a part just now, between two of them
        except OSError as error:
            _log.warning("shipping stopped, what is left stays in the log: %s", error)


class _Detached(subprocess.Popen[bytes]):
    """Outlives its parent on purpose, so it is not to be warned about."""

    def __del__(self) -> None:
        pass


def spawn(directory: Path, targets: Iterable[Target]) -> subprocess.Popen[bytes]:
    """Start what `python -m otel_events.ship DIRECTORY --follow` does as a process of its own that nobody waits for.

    It gets the targets through its environment, and finds this package wherever the caller found it. What it has to
    say goes to `ship.log` beside the cursors. Raises OSError.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_EXPORTER_OTLP_")}
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER"):
        environ.pop(name, None)
    root = str(Path(__file__).resolve().parent.parent)
    program = f"import sys; {root!r} in sys.path or sys.path.insert(0, {root!r}); from otel_events import ship; "
    return _Detached(
        [sys.executable, "-P", "-c", f"{program}ship.main()", str(directory.resolve()), "--follow", "--log"],
        env={**environ, **config.environ_of(targets)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m otel_events.ship RUN [--follow]`, which `spawn` starts. Exits 1 where something is left to ship."""
    about = "Ship a run to where the OTEL_EXPORTER_OTLP_* variables say."
    parser = argparse.ArgumentParser(prog="python -m otel_events.ship", description=about)
    parser.add_argument("run", type=Path, help="the run's directory")
    parser.add_argument("--follow", action="store_true", help="go on until nobody writes the run any more")
    parser.add_argument("--log", action="store_true", help="write messages to ship.log beside the cursors")
    options = parser.parse_args(arguments)
    if options.log:
        log = cursor.state_directory(options.run) / "ship.log"
        handler = logging.FileHandler(log, delay=True)  # no file as long as there is nothing to say
        logging.basicConfig(handlers=[handler], format="%(asctime)s %(message)s")
    try:
        stats = ship(options.run, config.targets(), follow=options.follow)
    except OSError as error:
        _log.error("shipping stopped, what is left stays in the log: %s", error)
        sys.exit(1)
    sys.exit(0 if all(found.complete for found in stats) else 1)


if __name__ == "__main__":
    main()
