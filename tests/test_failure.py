"""The `error` field."""

import pytest

from otel_events.failure import MAX_STACKTRACE, failure


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (ValueError("too small"), "ValueError", "too small"),
        (Hostile(), f"{__name__}.Hostile", "(the text of this Hostile fails)"),
        ("it broke", "error", "it broke"),
        ({"type": "timeout"}, "timeout", ""),
    ],
)
def test_whatever_is_given_for_an_error_has_a_type_and_a_message(given, kind, message):
    assert failure(given) == {"type": kind, "message": message}


def test_a_long_stack_trace_keeps_its_end_and_whole_lines():
    def fall(depth: int) -> None:
        if depth == 0:
            raise ValueError("the end")
        (fall if depth % 2 else lambda rest: fall(rest))(depth - 1)  # so that Python does not fold the repetition

    with pytest.raises(ValueError, match="the end") as caught:
        fall(400)
    stacktrace = failure(caught.value)["stacktrace"]

    assert len(stacktrace) <= MAX_STACKTRACE
    assert stacktrace.rstrip().endswith("ValueError: the end")
    assert stacktrace.startswith("  ")
