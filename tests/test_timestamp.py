"""RFC 3339 in UTC, to and from nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events import timestamp

NANOSECONDS = st.integers(0, 4_000_000_000 * 10**9)


@given(NANOSECONDS)
def test_six_digits_are_cut_never_rounded(ns):
    assert timestamp.to_ns(timestamp.to_text(ns)) == ns // 1000 * 1000


@given(NANOSECONDS)
def test_nine_digits_keep_everything(ns):
    assert timestamp.to_ns(timestamp.to_text_ns(ns)) == ns


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_the_text_is_that_of_the_standard_library(moment):
    ns = int(moment.replace(tzinfo=UTC).timestamp()) * 10**9 + moment.microsecond * 1000
    assert timestamp.to_text(ns) == moment.isoformat(timespec="microseconds") + "Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:15:00Z",
        "2026-11-21T10:15:00.000000Z",
        "2026-11-21 10:15:00",
        "2026-11-21T12:15:00+02:00",
        "2026-11-21T12:15:00 02:00",
        "2026-11-21T08:15:00.000-0200",
        "2026-11-21T10:15:00,000000000z",
    ],
)
def test_forms_of_one_moment(text):
    """A time without a zone is UTC; a space before an offset is what a query string makes of `+`."""
    assert timestamp.to_ns(text) == 1_795_256_100 * 10**9


@pytest.mark.parametrize("wrong", ["", "now", "2026-11-21", "2026-13-21T10:15:00Z", "1795256100"])
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValueError, match=r"time|month|format"):
        timestamp.to_ns(wrong)
