"""RFC 3339 in UTC with `Z`, to and from integer nanoseconds since the Unix epoch.

Six digits is the canonical form; nine are written where a source had them. Both are cut, never rounded,
so that a timestamp never names a later microsecond than the one it was taken in.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

_SECOND = 1_000_000_000
_FORM = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?(Z|z|[+-]\d\d:?\d\d)?")


_DIGITS = [f"{number:03d}" for number in range(1000)]
_latest: tuple[int, str] = (-1, "")  # the last second written and its text: one pair, so threads see both or none


def _second_text(seconds: int) -> str:
    global _latest
    known, text = _latest
    if known != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        _latest = (seconds, text)
    return text


@lru_cache(maxsize=1024)
def _second_value(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def to_text(ns: int) -> str:
    """`2026-11-21T10:15:00.000000Z` for nanoseconds since the epoch; the second's text is kept for the next call."""
    known, text = _latest
    seconds, rest = divmod(ns, _SECOND)
    if known != seconds:
        text = _second_text(seconds)
    return f"{text}{_DIGITS[rest // 1_000_000]}{_DIGITS[rest // 1000 % 1000]}Z"


def to_text_ns(ns: int) -> str:
    """The same with nine digits, when the last three say something."""
    return to_text(ns) if ns % 1000 == 0 else f"{_second_text(ns // _SECOND)}{ns % _SECOND:09d}Z"


def to_ns(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 or ISO 8601 time. A time without a zone is UTC.

    A space is taken for `+` before an offset, since that is what a query string makes of `+00:00`.
    Raises ValueError for anything else.
    """
    if len(text) == 27 and text[26] == "Z" and text[19] == "." and text[20:26].isdigit():
        return _second_value(text[:19]) * _SECOND + int(text[20:26]) * 1000
    match = _FORM.fullmatch(re.sub(r" (\d\d:?\d\d)$", r"+\1", text.strip()) if text.count(":") > 2 else text.strip())
    if match is None:
        raise ValueError(f"expected an ISO 8601 time such as 2026-11-21T10:15:00Z, got {text!r}")
    day, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in (None, 'Z', 'z') else zone}")
    return int(moment.timestamp()) * _SECOND + int((fraction or "0").ljust(9, "0"))
