"""Event ids: ULIDs that are trace and span ids at the same time.

A ULID is 128 bits: 48 of Unix milliseconds, 80 of randomness. So

- a trace's id *is* the 16 bytes of the ULID of the event that opened it;
- a span's id is the low 8 bytes of the ULID of the event that opened it.

Within one part ids are strictly increasing, whatever the clock does. In one millisecond an event adds 1. An event
that opens a trace adds 1 to bits 56-79 and draws bits 0-55 afresh: the right-most seven bytes of its trace id are
uniformly random, which is what the random flag of W3C Trace Context level 2 (section "random-trace-id-flag") says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Protocol

from otel_events.errors import InvalidParameter

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]  # ten bits -> two letters
_TO_BASE32HEX = str.maketrans(ALPHABET, "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_FORM = re.compile(f"[0-7][{ALPHABET}]{{25}}")
_LOW_64 = (1 << 64) - 1
_POOL_BYTES = 4096


class Ids(Protocol):
    """What a recorder needs of an id source. Values are 128-bit integers; `text` makes the ULID."""

    def next(self, unix_ms: int) -> int:
        """The next id, greater than every one before."""

    def next_trace(self, unix_ms: int) -> int:
        """The next id, fit to be a trace id whose random flag is true."""

    def after(self, value: int) -> None:
        """Every further id is greater than `value`."""

    def forget(self) -> None:
        """Start anew: called in a forked child, which writes a part of its own."""


class IdGenerator:
    """The default source: monotonic ULIDs, randomness drawn from the system 4 KiB at a time.

    Not safe for concurrent use: a recorder calls it under the lock that also orders its lines.
    """

    def __init__(self, randomness: Callable[[int], bytes] = os.urandom) -> None:
        self._randomness = randomness
        self.forget()

    def forget(self) -> None:
        self._value = 0
        self._ms = -1
        self._pool = b""
        self._used = 0

    def after(self, value: int) -> None:
        self._value = max(self._value, value)
        self._ms = self._value >> 80

    def next(self, unix_ms: int) -> int:
        if unix_ms > self._ms:
            self._ms = unix_ms
            value = unix_ms << 80 | self._random(10)
        else:
            value = self._value + 1
            self._ms = value >> 80  # only an overflow of all 80 bits changes it
        return self._kept(value)

    def next_trace(self, unix_ms: int) -> int:
        if unix_ms > self._ms:
            return self.next(unix_ms)
        value = (self._value >> 56) + 1 << 56 | self._random(7)
        self._ms = value >> 80
        return self._kept(value)

    def _kept(self, value: int) -> int:
        if not value & _LOW_64:
            value += 1  # an all-zero span id is invalid
        self._value = value
        return value

    def _random(self, size: int) -> int:
        if self._used + size > len(self._pool):
            self._pool, self._used = self._randomness(_POOL_BYTES), 0
        self._used += size
        return int.from_bytes(self._pool[self._used - size : self._used], "big")


_HEX = [f"{byte:02x}" for byte in range(256)]  # eight bits -> two digits
_latest: tuple[int, str, str] = (-1, "", "")  # the last 112 high bits, their 22 letters and 12 digits: one object


def texts(value: int) -> tuple[str, str]:
    """The 26 letters of a 128-bit id, and the 16 hex digits of the span that it opens.

    Neighbours share all but their last letters, so what the high bits say is kept from one call to the next.
    """
    global _latest
    high, letters, digits = _latest
    if value >> 16 != high:
        high = value >> 16
        letters = "".join([_PAIRS[value >> shift & 1023] for shift in range(120, 19, -10)])
        digits = f"{value >> 16 & 0xFFFFFFFFFFFF:012x}"
        _latest = (high, letters, digits)
    event_id = f"{letters}{_PAIRS[value >> 10 & 1023]}{_PAIRS[value & 1023]}"
    return event_id, f"{digits}{_HEX[value >> 8 & 255]}{_HEX[value & 255]}"


def text(value: int) -> str:
    """The 26 letters of a 128-bit id."""
    return texts(value)[0]


def is_event_id(candidate: str) -> bool:
    """Whether the text is a canonical ULID: 26 capital letters of Crockford's alphabet, at most 128 bits."""
    return _FORM.fullmatch(candidate) is not None


def parse(written: str) -> str | None:
    """The event id that a person or a backend wrote: a ULID in either case of letters, the 32 hex digits of the trace
    that the event opened, a UUID. None for anything else."""
    from ulid import ULID  # knows every spelling; too slow, and not needed, where ids are made

    try:
        return str(ULID.parse(written))
    except ValueError:
        return None


def value(event_id: str) -> int:
    """The 128 bits of a canonical ULID. Raises InvalidParameter for anything else."""
    if not is_event_id(event_id):
        raise InvalidParameter("event_id", "a ULID of 26 letters", event_id)
    return int(event_id.translate(_TO_BASE32HEX), 32)


def span_id(event_id: str) -> str:
    """16 hex digits: the id of the span that this event opens."""
    return f"{value(event_id) & _LOW_64:016x}"


def trace_id(event_id: str) -> str:
    """32 hex digits: the id of the trace that this event opens."""
    return f"{value(event_id):032x}"


def event_of_trace(trace: str) -> str:
    """The event that opened a trace of ours: the inverse of `trace_id`."""
    return text(int(trace, 16))


def unix_ms(event_id: str) -> int:
    """The wall-clock millisecond in which the id was drawn."""
    return value(event_id) >> 80
