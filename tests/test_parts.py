"""Parts: their names, their order, and finding a line by bisection."""

from __future__ import annotations

import gzip
import os

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events import ids
from otel_events.parts import (
    Part,
    find_line,
    first_line,
    id_in,
    identity,
    is_run,
    name_of_new_part,
    parts_of,
    read_lines,
)


def test_parts_stand_in_the_order_in_which_they_were_begun(tmp_path):
    names = [
        "events.jsonl",
        "events_2026-11-21_14-25-00.jsonl",
        "events_2026-11-21_14-25-00_2.jsonl",
        "events_2026-11-21_14-25-00_10.jsonl",
        "events_2026-11-21_14-30-00.jsonl.gz",
    ]
    for name in [*reversed(names), "events.txt", "events_x.jsonl", "my_events.jsonl"]:
        (tmp_path / name).touch()
    (tmp_path / "events_2026-11-21_14-31-00.jsonl").mkdir()
    assert [part.path.name for part in parts_of(tmp_path)] == names
    assert [part.compressed for part in parts_of(tmp_path)] == [False] * 4 + [True]


def test_where_a_part_lies_plain_and_compressed_the_plain_one_counts(tmp_path):
    (tmp_path / "events.jsonl").write_bytes(b"{}\n")
    (tmp_path / "events.jsonl.gz").touch()
    assert parts_of(tmp_path) == [Part(tmp_path / "events.jsonl", compressed=False)]


def test_names_of_new_parts(tmp_path):
    stamp = "2026-11-21_14-25-00"
    made = []
    for _ in range(4):
        path = name_of_new_part(tmp_path, stamp)
        path.touch()
        made.append(path.name)
    assert made == ["events.jsonl", f"events_{stamp}.jsonl", f"events_{stamp}_2.jsonl", f"events_{stamp}_3.jsonl"]


def test_a_compressed_first_part_is_not_begun_again(tmp_path):
    (tmp_path / "events.jsonl.gz").touch()
    assert name_of_new_part(tmp_path, "2026-11-21_14-25-00").name == "events_2026-11-21_14-25-00.jsonl"


def test_a_directory_is_a_run_when_it_holds_a_part(tmp_path):
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "nothing")
    (tmp_path / "events.jsonl.gz").touch()
    assert is_run(tmp_path)


LINES = st.lists(st.integers(0, 3_000), min_size=0, max_size=60)


def _written(path, sizes, torn):
    texts = [
        b'{"event_id":"%s","x":"%s"}' % (ids.text((number + 1) << 70).encode(), b"x" * size)
        for number, size in enumerate(sizes)
    ]
    path.write_bytes(b"".join(text + b"\n" for text in texts) + torn)
    return texts


@given(LINES, st.sampled_from([b"", b'{"event_id":"7ZZZZZ', b"x" * 2_000]))
def test_every_line_is_found_by_its_id_and_no_other(tmp_path_factory, sizes, torn):
    """By bisection in a plain part, also with a torn tail; by reading in a compressed one."""
    directory = tmp_path_factory.mktemp("run")
    texts = _written(directory / "events.jsonl", sizes, torn)
    part = Part(directory / "events.jsonl", compressed=False)
    for number, text in enumerate(texts):
        line = find_line(part, ids.text((number + 1) << 70))
        assert line is not None
        assert line.text == text
        assert next(read_lines(part, line.offset)) == line
        assert find_line(part, ids.text(((number + 1) << 70) + 1)) is None
    assert find_line(part, ids.text(0)) is None
    assert find_line(part, ids.text((1 << 128) - 1)) is None
    assert [line.text for line in read_lines(part)] == texts
    compressed = Part(directory / "events.jsonl.gz", compressed=True)
    compressed.path.write_bytes(gzip.compress(part.path.read_bytes()))
    assert list(read_lines(compressed)) == [line._replace(part=compressed) for line in read_lines(part)]
    if texts:
        assert find_line(compressed, ids.text(1 << 70)).text == texts[0]
        assert identity(part) == identity(compressed) == ids.text(1 << 70)


def test_a_part_without_a_whole_line_has_no_identity(tmp_path):
    path = tmp_path / "events.jsonl"
    for text in (b"", b'{"event_id":"0'):
        path.write_bytes(text)
        assert first_line(Part(path, compressed=False)) is None
        assert identity(Part(path, compressed=False)) is None


@pytest.mark.parametrize("cut", [5, 30])
def test_a_compressed_part_that_ends_too_early_yields_what_can_be_read(tmp_path, cut):
    path = tmp_path / "events.jsonl.gz"
    lines = b"".join(orjson.dumps({"event_id": os.urandom(8).hex()}) + b"\n" for _ in range(300))
    path.write_bytes(gzip.compress(lines)[:-cut])
    found = [line.text for line in read_lines(Part(path, compressed=True))]
    assert found == lines.splitlines()[: len(found)]


def test_the_id_of_a_line_is_found_wherever_it_stands():
    assert id_in(b'{"event_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","a":1}') == "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    assert id_in(b'{"a":1,"event_id":"short"}') == "short"
    assert [id_in(text) for text in (b"", b"[]", b'{"event_id":1}', b"{")] == [None] * 4
