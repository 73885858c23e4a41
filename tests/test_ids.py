"""Ids: ULIDs that are trace and span ids, strictly increasing whatever the clock does."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ulid import ULID

from otel_events import ids
from otel_events.errors import InvalidParameter

MILLISECONDS = st.integers(0, (1 << 48) - 1)
VALUES = st.integers(0, (1 << 128) - 1)


@given(st.lists(st.tuples(MILLISECONDS, st.booleans()), min_size=2, max_size=200))
def test_ids_are_strictly_increasing_whatever_the_clock_does(calls):
    source = ids.IdGenerator()
    drawn = [source.next_trace(ms) if trace else source.next(ms) for ms, trace in calls if ms < (1 << 48) - 2]
    assert drawn == sorted(set(drawn))
    assert all(value & ((1 << 64) - 1) for value in drawn)


def test_an_id_carries_the_millisecond_of_a_clock_that_goes_on():
    source = ids.IdGenerator()
    assert [ids.unix_ms(ids.text(source.next(ms))) for ms in (5, 7, 6, 8)] == [5, 7, 7, 8]


def test_within_a_millisecond_an_event_adds_one_and_a_trace_draws_its_low_56_bits_afresh():
    """What the random flag of W3C Trace Context level 2 says of a trace id."""
    source = ids.IdGenerator()
    first = source.next(1)
    assert source.next(1) == first + 1
    low = [source.next_trace(1) & ((1 << 56) - 1) for _ in range(500)]
    assert len(set(low)) == 500
    ones = sum(value.bit_count() for value in low) / (500 * 56)
    assert 0.47 < ones < 0.53


def test_randomness_is_drawn_4_kib_at_a_time_and_dropped_by_forget():
    asked = []

    def randomness(size):
        asked.append(size)
        return bytes(range(1, 256)) * 20

    source = ids.IdGenerator(randomness)
    for ms in range(1, 400):
        source.next(ms)
    assert asked == [4096]
    source.forget()
    source.next(1)
    assert asked == [4096, 4096]


def test_the_global_random_is_neither_used_nor_disturbed():
    random.seed(7)
    state = random.getstate()
    one, other = ids.IdGenerator().next(1), ids.IdGenerator().next(1)
    assert one != other
    assert random.getstate() == state


def test_ids_go_on_after_a_given_one():
    source = ids.IdGenerator()
    source.after(9 << 80 | 5)
    assert source.next(3) == (9 << 80 | 5) + 1


def test_a_span_id_is_never_zero():
    source = ids.IdGenerator(bytes)
    assert ids.span_id(ids.text(source.next(1))) == "0000000000000001"


@given(VALUES)
def test_text_and_value_agree_with_python_ulid(value):
    text = ids.text(value)
    assert text == str(ULID.from_bytes(value.to_bytes(16, "big")))
    assert ids.value(text) == value == int(ULID.from_str(text))
    assert ids.is_event_id(text)
    assert ids.trace_id(text) == ULID.from_str(text).hex
    assert ids.span_id(text) == ULID.from_str(text).hex[16:]
    assert ids.event_of_trace(ids.trace_id(text)) == text
    assert ids.unix_ms(text) == ULID.from_str(text).milliseconds


@pytest.mark.parametrize("wrong", ["", "8" + "Z" * 25, "0" * 25, "0" * 27, "o" * 26, "0" * 25 + "U", "0" * 25 + "\n"])
def test_what_is_no_ulid_is_refused(wrong):
    assert not ids.is_event_id(wrong)
    with pytest.raises(InvalidParameter, match="event_id: expected a ULID of 26 letters"):
        ids.value(wrong)


def test_texts_made_by_threads_at_once_are_right():
    """They share the letters of the last prefix."""
    wrong = []

    def work(seed):
        for number in range(3_000):
            value = (seed + number % 3) << 90 | number
            if ids.value(ids.text(value)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
