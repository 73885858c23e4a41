"""Every line once, wherever its part lies and whatever becomes of it meanwhile."""

from __future__ import annotations

import fcntl
import gzip
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.follow import Follower, is_written, pending
from otel_events.parts import parts_of, read_lines
from tests.handwriting import Handwriting

RUN = "economy-20261121-100000-k3f9"
SECOND = "events_2026-11-21_10-00-01.jsonl"


@pytest.fixture
def hand(tmp_path: Path) -> Handwriting:
    return Handwriting(tmp_path / RUN)


def _texts(follower: Follower) -> list[bytes]:
    return [followed.line.text for followed in follower.lines()]


def _all(directory: Path) -> list[bytes]:
    return [line.text for part in parts_of(directory) for line in read_lines(part)]


def _compress(path: Path) -> None:
    with path.open("rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    path.unlink()


def test_a_pass_hands_out_what_is_new(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    assert _texts(follower) == _all(hand.directory)
    assert _texts(follower) == []
    hand.line("ACTION", "action.new")
    assert _texts(follower) == _all(hand.directory)[-1:]


def test_the_offsets_are_where_another_follower_goes_on(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    first = [next(lines).line.text for lines in [follower.lines()] for _ in range(5)]
    assert first + _texts(Follower(hand.directory, follower.offsets)) == _all(hand.directory)


def test_a_line_that_is_being_written_is_handed_out_when_it_is_whole(hand: Handwriting) -> None:
    hand.line("ACTION", "action.a")
    follower = Follower(hand.directory)
    _texts(follower)
    hand.append(b'{"half":')
    assert _texts(follower) == []
    hand.append(b"1}\n")
    assert _texts(follower) == [b'{"half":1}']


def test_parts_that_appear_later_are_followed(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    _texts(follower)
    Handwriting(hand.directory, SECOND, seed=50).line("ACTION", "action.other")
    hand.line("ACTION", "action.first_part")
    assert len(_texts(follower)) == 2
    assert len(follower.offsets) == 2


def test_a_part_that_is_compressed_meanwhile_goes_on_where_it_was(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    lines = follower.lines()
    first = [next(lines).line.text for _ in range(4)]
    everything = _all(hand.directory)
    lines.close()
    _compress(hand.path)
    other = Follower(hand.directory, follower.offsets)
    assert first + _texts(other) == everything
    assert other.notices == []
    assert _texts(Follower(hand.directory, other.offsets)) == []


def test_each_part_has_its_own_resource(hand: Handwriting) -> None:
    hand.economy()
    other = Handwriting(hand.directory, SECOND, name="other", seed=50)
    other.economy()
    follower = Follower(hand.directory)
    seen = {followed.part: follower.resource(followed.part) for followed in follower.lines()}
    assert list(seen.values()) == [hand.resource, other.resource]


def test_a_part_without_a_resource_is_of_the_service_named_like_the_directory(tmp_path: Path) -> None:
    hand = Handwriting(tmp_path / "sim-001")
    hand.append(b'{"event_id":"x-1"}\n')
    follower = Follower(hand.directory)
    assert [followed.part for followed in follower.lines()] == ["x-1"]
    assert follower.resource("x-1") == {"service.name": "sim-001"}


@pytest.mark.parametrize("compressed", [False, True])
def test_an_offset_beyond_the_end_means_from_the_start_and_is_told(compressed: bool, hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    everything = _texts(follower)
    (part,) = follower.offsets
    if compressed:
        _compress(hand.path)
    again = Follower(hand.directory, {part: 10_000_000})
    assert _texts(again) == everything
    assert "expected 10000000 bytes, got fewer; reading it again from its start" in again.notices[0]


def test_a_part_that_is_gone_is_told_once(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    _texts(follower)
    hand.path.unlink()
    Handwriting(hand.directory, SECOND, seed=50).line("ACTION", "action.other")
    assert len(_texts(follower)) == 1
    assert _texts(follower) == []
    assert [notice.endswith("is gone; it is skipped") for notice in follower.notices] == [True]


def test_a_new_part_under_an_old_name_is_read_from_its_start(hand: Handwriting) -> None:
    hand.economy()
    follower = Follower(hand.directory)
    _texts(follower)
    hand.path.unlink()
    other = Handwriting(hand.directory, seed=999)
    other.economy(turns=5)
    assert _texts(follower) == _all(hand.directory)


def test_whether_a_part_is_written_is_seen_without_disturbing_its_writer(hand: Handwriting) -> None:
    hand.economy()
    assert not is_written(hand.directory)
    with hand.path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_written(hand.directory)
    assert not is_written(hand.directory)
    with hand.path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_pending_counts_the_lines_beyond_the_offsets(hand: Handwriting) -> None:
    events = hand.economy()
    Handwriting(hand.directory, SECOND, seed=50).line("ACTION", "action.other")
    follower = Follower(hand.directory)
    lines = follower.lines()
    for _ in range(3):
        next(lines)
    assert pending(hand.directory, {}) == len(events) + 1
    assert pending(hand.directory, follower.offsets) == len(events) - 2
    _compress(hand.path)
    assert pending(hand.directory, follower.offsets) == len(events) - 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["write", "half", "part", "compress", "read 3", "read all", "restart"]), max_size=40))
def test_whatever_happens_every_line_is_handed_out_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, actions: list[str]
) -> None:
    """A model: a writer, a compressor and a follower that is restarted take turns."""
    hand = Handwriting(tmp_path_factory.mktemp("model") / RUN)
    follower, seen, torn, number = Follower(hand.directory), list[bytes](), False, 0
    for action in [*actions, "read all"]:
        if action == "write":
            hand.append(b"}\n" if torn else b"")
            torn = False
            for _ in range(5):
                hand.line("ACTION", "action.x")
        elif action == "half" and hand.path.exists() and not torn:
            hand.append(b'{"half":1')
            torn = True
        elif action in ("part", "compress") and hand.path.exists() and not torn:
            if action == "compress":
                _compress(hand.path)
            number += 1
            hand = Handwriting(hand.directory, f"events_2026-11-21_10-00-{number:02}.jsonl", seed=1000 * number)
        elif action == "read 3":
            lines = follower.lines()
            seen += [followed.line.text for _, followed in zip(range(3), lines, strict=False)]
            follower = Follower(hand.directory, dict(follower.offsets))
        elif action == "read all":
            seen += _texts(follower)
        elif action == "restart":
            follower = Follower(hand.directory, dict(follower.offsets))
    assert sorted(seen) == sorted(_all(hand.directory))
    assert follower.notices == []
