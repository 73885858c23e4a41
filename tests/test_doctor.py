"""Every kind of damage is found at its place, and nothing else is called damage."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from pathlib import Path

import pytest
from handwriting import Handwriting
from hypothesis import given
from hypothesis import strategies as st
from strategies import event, numbered, scope, write

from collector.doctor import KINDS, MAX_SHOWN, Report, examine
from otel_events.codec import encode_event
from otel_events.errors import RunNotFound
from otel_events.parts import Part


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A whole run of ours."""
    Handwriting(tmp_path / "economy-1").economy()
    return tmp_path / "economy-1"


def part(run: Path) -> Path:
    return run / "events.jsonl"


def add(run: Path, data: bytes) -> int:
    """Append to the first part; the byte at which it begins."""
    size = part(run).stat().st_size
    with part(run).open("ab") as file:
        file.write(data)
    return size


def found(report: Report) -> list[tuple[str, str, int | None]]:
    return [(fault.kind, fault.part, fault.offset) for fault in report.faults]


def test_a_whole_run_has_no_faults(run):
    report = examine(run)
    assert (found(report), report.counts, report.damaged) == ([], Counter(), False)
    assert (report.parts, report.lines, report.events) == (1, 28, 28)


def test_a_whole_run_in_the_nine_fields_of_another_program_has_no_faults(tmp_path):
    run = write(tmp_path / "sim-001", [event(0), event(1, caused_by=[numbered(0)])])
    assert (found(examine(run)), examine(run).events) == ([], 2)


def test_a_torn_tail_is_damage_unless_its_writer_is_writing_it(run):
    fcntl = pytest.importorskip("fcntl")
    at = add(run, b'{"event_id":"01')
    report = examine(run)
    assert (found(report), report.damaged) == ([("torn", "events.jsonl", at)], True)
    assert report.faults[0].reason == '15 bytes after the last whole line: \'{"event_id":"01\''
    with part(run).open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert found(examine(run)) == []


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"\0" * 100, "hole", "100 NUL bytes in a line of 100"),
        (b'{"event_id":"\xff"}', "encoding", "byte {13} is not UTF-8"),
        (b"no event", "line", "expected a JSON object, got 'no event'"),
        (b"", "line", "expected a JSON object, got ''"),
        (b'{"event_id":"x"}', "line", "timestamp: expected a string, got nothing"),
    ],
)
def test_a_line_that_is_no_event_is_found_at_its_byte(run, data, kind, reason):
    at = add(run, data + b"\n")
    (fault,) = examine(run).faults
    assert (fault.kind, fault.part, fault.offset, fault.severity) == (kind, "events.jsonl", at, "damage")
    assert fault.where == f"events.jsonl at byte {at}"
    assert reason.replace("{13}", str(at + 13)) in fault.reason


def test_a_line_that_breaks_the_schema_it_states_is_damage(run):
    odd = event(900, simulation_id="economy-1", v=1, name="x", trace_id="short", span_id="0" * 16)
    at = add(run, encode_event(odd))
    reasons = [fault.reason for fault in examine(run).faults if (fault.kind, fault.offset) == ("schema", at)]
    assert [reason.partition(":")[0] for reason in reasons] == ["timestamp", "trace_id"]


def test_an_id_that_occurs_twice_is_damage(run):
    first = part(run).read_bytes().splitlines(keepends=True)[0]
    at = add(run, first)
    report = examine(run)
    assert found(report) == [("duplicate", "events.jsonl", at)]
    assert (report.lines, report.events) == (29, 28)


def test_an_id_that_is_not_greater_is_damage_in_our_lines_and_a_note_in_others(run, tmp_path):
    lines = part(run).read_bytes().splitlines(keepends=True)
    lines[-1], lines[-2] = lines[-2], lines[-1]
    part(run).write_bytes(b"".join(lines))
    assert found(examine(run)) == [("order", "events.jsonl", sum(map(len, lines[:-1])))]
    other = examine(write(tmp_path / "sim-001", [event(1), event(0)]))
    assert ([fault.kind for fault in other.faults], other.damaged) == (["unsorted"], False)


def test_a_cause_outside_the_run_is_a_note_at_the_line_that_names_it(tmp_path):
    run = write(tmp_path / "sim-001", [event(0), *scope(1, 2, [numbered(700)])])
    report = examine(run)
    assert found(report) == [("unresolved", "events.jsonl", len(encode_event(event(0))))]
    assert not report.damaged


def test_events_that_cause_each_other_are_damage(tmp_path):
    run = write(tmp_path / "sim-001", [event(0, caused_by=[numbered(1)])], [event(1, caused_by=[numbered(0)])])
    report = examine(run)
    assert [(fault.kind, fault.offset) for fault in report.faults] == [("cycle", 0), ("cycle", 0)]
    assert report.damaged


def test_an_event_that_causes_itself_is_damage(tmp_path):
    assert found(examine(write(tmp_path / "sim-001", [event(0, caused_by=[numbered(0)])]))) == [
        ("cycle", "events.jsonl", 0)
    ]


def test_an_open_scope_is_damage_only_if_its_writer_has_gone(run):
    fcntl = pytest.importorskip("fcntl")
    whole = part(run).read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    part(run).write_bytes(whole.removesuffix(last))
    report = examine(run)
    assert (found(report), report.damaged) == ([("unclosed", "events.jsonl", 0)], True)
    assert report.faults[0].reason == "the scope run was never closed, and its writer has gone"
    with part(run).open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        report = examine(run)
    assert (found(report), report.damaged) == ([("open", "events.jsonl", 0)], False)


def test_a_renamed_directory_is_found_once_for_each_name(run):
    other = run.rename(run.parent / "backup")
    report = examine(other)
    assert found(report) == [("simulation_id", "events.jsonl", 0)]
    assert report.faults[0].reason == "the line says 'economy-1', the directory 'backup'"


def test_the_first_line_of_each_part_needs_its_resource(run):
    lines = part(run).read_bytes().splitlines(keepends=True)
    (run / "events_2026-11-21_11-00-00.jsonl").write_bytes(b"".join(lines[10:]))
    part(run).write_bytes(b"".join(lines[:10]))
    assert found(examine(run)) == [("resource", "events_2026-11-21_11-00-00.jsonl", 0)]


@pytest.mark.parametrize("cut", [0.5, 0.99])
def test_a_gzip_file_that_ends_too_early_is_damage(run, cut):
    data = gzip.compress(part(run).read_bytes())
    part(run).unlink()
    (run / "events.jsonl.gz").write_bytes(data[: int(len(data) * cut)])
    report = examine(run)
    assert report.counts["gzip"] == 1
    assert report.damaged
    (run / "events.jsonl.gz").write_bytes(data)
    assert found(examine(run)) == []


def test_a_torn_tail_is_found_in_a_gzip_file_too(run):
    data = part(run).read_bytes()
    part(run).unlink()
    (run / "events.jsonl.gz").write_bytes(gzip.compress(data + b"torn"))
    assert found(examine(run)) == [("torn", "events.jsonl", len(data))]


def test_no_gzip_file_at_all_is_damage(run):
    (run / "events_2026-11-21_11-00-00.jsonl.gz").write_bytes(b"no gzip")
    assert found(examine(run)) == [("gzip", "events_2026-11-21_11-00-00.jsonl", 0)]


def test_files_that_may_not_be_read_are_damage_and_a_directory_that_may_not_be_written_a_note(run, monkeypatch):
    def refuse(part: Part) -> bool:
        raise PermissionError(13, "Permission denied", str(part.path))

    monkeypatch.setattr("collector.doctor.is_held", refuse)  # the first to open a part; root may open everything
    monkeypatch.setattr(os, "access", lambda *_: False)
    report = examine(run)
    assert found(report) == [("read-only", "economy-1", None), ("permission", "events.jsonl", None)]
    assert report.faults[1].reason == "cannot be read: Permission denied"
    assert report.damaged


def test_a_part_that_is_a_link_out_of_the_run_is_a_note(run, tmp_path):
    (tmp_path / "elsewhere.jsonl").write_bytes(part(run).read_bytes())
    (run / "events_2026-11-21_11-00-00.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    report = examine(run)
    assert (report.counts, report.damaged) == (Counter(outside=1), False)


def test_all_faults_are_counted_and_the_first_of_each_kind_shown(run):
    add(run, b"no event\n" * 500)
    report = examine(run)
    assert (report.counts["line"], len(report.faults)) == (500, MAX_SHOWN)


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunNotFound):
        examine(tmp_path)


@given(st.data())
def test_a_run_that_was_cut_anywhere_is_damaged(tmp_path_factory, data):
    """Its last line closes it: without that, it was not finished."""
    run = tmp_path_factory.mktemp("out") / "economy-1"
    Handwriting(run).economy(turns=1, actions=1)
    whole = part(run).read_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    part(run).write_bytes(whole[:cut])
    report = examine(run)
    assert report.damaged
    assert (report.counts["torn"] == 1) == (whole[cut - 1 : cut] != b"\n")


@given(st.data())
def test_no_byte_can_be_broken_so_that_examining_fails(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("out") / "economy-1"
    Handwriting(run).economy(turns=1, actions=1)
    broken = bytearray(part(run).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    part(run).write_bytes(broken)
    report = examine(run)
    assert set(report.counts) <= set(KINDS)
    assert sum(report.counts.values()) >= len(report.faults)
