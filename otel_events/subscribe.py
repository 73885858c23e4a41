"""Subscriptions: a callback for every line of a run that is on disk.

Nothing is published that is not a line first: a subscriber reads the files, like everybody else, and therefore also
sees what other processes of the run record. Within a part lines come in order, each once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from otel_events.codec import decode
from otel_events.errors import CorruptLine
from otel_events.event import Event
from otel_events.filters import EventFilter
from otel_events.follow import Follower

POLL_S = 0.05
_logger = logging.getLogger("otel_events")


class Subscription:
    """Delivers to one callback, from a daemon thread, until `stop`."""

    def __init__(self, directory: Path, callback: Callable[[Event], object], filters: dict[str, Any]) -> None:
        self.failures = 0
        """How often the callback raised; the event counts as delivered, and the next one follows."""
        self.skipped = 0
        """Lines that are no events."""
        self._callback, self._filter = callback, EventFilter(**filters)
        self._follower = Follower(directory)
        self._stop = threading.Event()
        for _ in self._follower.lines():
            pass  # what is there already came before the subscription
        self._thread = threading.Thread(target=self._run, name="otel-events-subscription", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Deliver what is on disk by now, and end; give up waiting for a slow callback after `timeout_s`."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            last = self._stop.is_set()
            try:
                self._deliver()
            except OSError as error:
                _logger.warning("a subscription to %s cannot read it: %s", self._follower.directory, error)
                self._stop.wait(1.0)
            if last:
                return
            self._stop.wait(POLL_S)

    def _deliver(self) -> None:
        for followed in self._follower.lines():
            time.sleep(0)  # polite: the program that records shares the interpreter with us
            try:
                event = decode(followed.line.text)
            except CorruptLine:
                self.skipped += 1
                continue
            if self._filter.matches(event):
                self._call(event)

    def _call(self, event: Event) -> None:
        try:
            self._callback(event)
        except Exception:
            self.failures += 1
            if self.failures == 1:
                _logger.exception("a subscriber to %s failed; it goes on getting events", self._follower.directory)
