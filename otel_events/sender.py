"""One target of one run on its way: the next batch, its delivery, and the cursor, which moves after the answer.

A batch is what up to 512 lines make, at most 3.5 MiB, in the order of the log; so both signals of one endpoint go
through the log in step, and each line is decoded once for the two. The same lines give the same batches
byte for byte as long as the log is complete; where it grows, only the boundaries between batches differ.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_events import cursor, mapping, otlp
from otel_events.codec import decode
from otel_events.config import Target
from otel_events.cursor import Cursor
from otel_events.errors import CorruptLine, Unmappable
from otel_events.follow import Followed, Follower
from otel_events.genai import Capture

if TYPE_CHECKING:
    from otel_events.delivery import Answer, Delivery

MAX_LINES: Final = 512
MAX_BYTES: Final = 3_670_016  # 3.5 MiB: gRPC servers refuse more than 4
MAX_KEPT_BYTES: Final = 8_192
"""Lines up to this length are kept for the other signal."""
FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
_jitter = random.SystemRandom()  # never the global generator: a simulation's seed is its own


_decoded = lru_cache(maxsize=2 * MAX_LINES)(decode)


class Batch(NamedTuple):
    """What one request carries, and where the cursor stands once it is accepted."""

    body: bytes
    items: int
    after: Cursor


class Sender:
    """Ships one run to one target. Its owner holds the target's lock and calls `step` again and again."""

    def __init__(
        self,
        directory: Path,
        target: Target,
        state: Path,
        capture: Capture,
        say: Callable[[str], None],
        after_line: Callable[[], None] | None = None,
    ) -> None:
        self.target = target
        self.failed = False
        """Whether it has stopped for good: the server refused, and somebody has to look."""
        self.unsupported: Answer | None = None
        """The answer of a server that does not know this signal."""
        self.wait_until = 0.0
        """Monotonic time of the next attempt."""
        self._path = state / f"{target.key}.cursor"
        self._capture, self._say, self._after_line = capture, say, after_line
        self._made_by = f"{mapping.MAPPING_VERSION} {capture}"
        self.cursor = self._loaded()
        self.follower = Follower(directory, self.cursor.offsets)
        self._pass: Iterator[Followed] | None = None
        self._batch: Batch | None = None
        self._attempts = 0
        self._delivery: Delivery | None = None

    @property
    def active(self) -> bool:
        """Whether there is any point in calling `step` again."""
        return not self.failed and self.cursor.switched_off is None

    def step(self, timeout_s: float | None = None) -> bool:
        """Send the batch that waits, or the next one; False when nothing is there to be sent now."""
        if not self.active or time.monotonic() < self.wait_until:
            return False
        if self._batch is None:
            self._batch = self._next_batch()
        if self._batch is None:
            return False
        if self._batch.items == 0:
            self._move(self._batch.after)
            return True
        if self._delivery is None:
            from otel_events.delivery import Delivery  # loads requests and protobuf, which recording does not need

            self._delivery = Delivery(self.target)
        self._act_on(self._delivery.post(self._batch.body, timeout_s), self._batch)
        return True

    def drained(self) -> bool:
        """Whether everything that the log had at the last look is acknowledged."""
        return self._batch is None and self._pass is None

    def switch_off(self, why: str) -> None:
        """Send this signal to this endpoint no more, and remember it."""
        self.cursor.switched_off = why
        cursor.save(self._path, self.cursor)
        self._say(why)

    def close(self) -> None:
        if self._delivery is not None:
            self._delivery.close()

    def _act_on(self, answer: Answer, batch: Batch) -> None:
        self.unsupported = answer if answer.kind == "unsupported" else None
        if answer.kind == "accepted":
            self._attempts = 0
            batch.after.shipped += batch.items - answer.rejected
            batch.after.rejected += answer.rejected  # invariant 6: what the server took off the request is counted
            batch.after.last_error = answer.words or None
            if answer.rejected:
                self._say(f"{self._name()} rejected {answer.rejected} of {batch.items}: {answer.words}")
            self._move(batch.after)  # invariant 5: after the answer, and only if it was a yes
            return
        if answer.words != self.cursor.last_error:
            self.cursor.last_error = answer.words
            cursor.save(self._path, self.cursor)
        if answer.kind == "refused":
            self.failed = True
            self._say(f"{self._name()} refused a batch; it stops there, the rest stays in the log: {answer.words}")
            return
        if self._attempts == 0 and answer.kind == "retry":
            self._say(f"{self._name()} takes nothing now and is tried again: {answer.words}")
        backoff = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**self._attempts)
        self._attempts = min(self._attempts + 1, 16)
        self.wait_until = time.monotonic() + (answer.retry_after_s or _jitter.uniform(0, backoff))

    def _move(self, after: Cursor) -> None:
        cursor.save(self._path, after)
        self.cursor, self._batch = after, None

    def _next_batch(self) -> Batch | None:
        """The next lines as a batch; None where there are none now."""
        after = _copy(self.cursor)
        groups: list[tuple[dict[str, Any], list[bytes]]] = []
        items = size = lines = 0
        part = None
        while lines < MAX_LINES and size < MAX_BYTES:
            followed = self._next_line()
            if followed is None:
                break
            lines += 1
            if followed.part != part:
                part = followed.part
                groups.append((self._resource(part, after), []))
            item = self._item(followed, after)
            after.offsets[part] = followed.line.end
            if item is not None:
                groups[-1][1].append(item)
                items, size = items + 1, size + len(item)
            if self._after_line is not None:
                self._after_line()
        if lines == 0:
            return None
        after.lines += lines
        return Batch(otlp.request(groups), items, after)

    def _next_line(self) -> Followed | None:
        """The next line of the pass that is under way, or of a new one."""
        if self._pass is None:
            self._pass = self.follower.lines()
        try:
            followed = next(self._pass, None)
        except FileNotFoundError:  # the run's directory does not exist yet
            followed = None
        for notice in self.follower.notices:
            self._say(notice)
        self.follower.notices.clear()
        if followed is None:
            self._pass = None
        return followed

    def _item(self, followed: Followed, counts: Cursor) -> bytes | None:
        """The line as an encoded span or log record; None, and counted, where it makes none."""
        try:
            text = followed.line.text
            event = _decoded(text) if len(text) <= MAX_KEPT_BYTES else decode(text)
            if not mapping.sampled(event):
                counts.sampled_out += 1
                return None
            if self.target.signal == "logs":
                record = mapping.log_record(event, self._capture)
                return None if record is None else otlp.encode_log_record(record)
            span = mapping.span(event, self._capture)
            return None if span is None else otlp.encode_span(span)
        except CorruptLine:
            counts.corrupt += 1
        except Unmappable:
            counts.unmappable += 1
        return None

    def _resource(self, part: str, after: Cursor) -> dict[str, Any]:
        resource = self.follower.resource(part)
        found = cursor.fingerprint(resource)
        if after.resources.setdefault(part, found) != found:
            self._say(f"{self._name()}: the resource of the part that begins with {part} has changed; {_TWICE}")
            after.resources[part] = found
        return resource

    def _loaded(self) -> Cursor:
        found = cursor.load(self._path) or Cursor(signal=self.target.signal, endpoint=self.target.endpoint)
        if found.lines and found.mapping != self._made_by:
            self._say(f"{self._name()}: the mapping was {found.mapping!r} and is {self._made_by!r} now; {_TWICE}")
        found.mapping = self._made_by
        cursor.save(self._path, found)
        return found

    def _name(self) -> str:
        return f"{self.target.signal} to {self.target.endpoint}"


_TWICE = "the one batch that was not acknowledged may show twice"


def _copy(source: Cursor) -> Cursor:
    values = {name: getattr(source, name) for name in source.__slots__}
    return Cursor(**{**values, "resources": dict(source.resources), "offsets": dict(source.offsets)})
