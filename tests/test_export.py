"""Exporting: the lines as they are, a table that no spreadsheet runs, and the source again."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import event, write

from collector.export import export
from collector.importers import import_file
from collector.runs import Skipped
from otel_events.errors import RunNotFound
from otel_events.event import FIELDS
from otel_events.filters import EventFilter

GOLDEN = Path(__file__).parent / "golden"


def exported(run, form, **criteria):
    return b"".join(export(run, form, EventFilter.of(**criteria), Skipped()))


def table(run, **criteria):
    return list(csv.DictReader(io.StringIO(exported(run, "csv", **criteria).decode(), newline="")))


def test_jsonl_has_the_bytes_of_all_parts_in_the_order_of_events(tmp_path):
    """Also of a compressed part, and of two that were written at the same time."""
    run = write(tmp_path / "sim-001", [event(0), event(2)], [event(1), event(3)])
    lines = sorted(b"".join(path.read_bytes() for path in run.iterdir()).splitlines(keepends=True))
    second = run / "events_2026-11-21_10-01-00.jsonl"
    second.with_suffix(".jsonl.gz").write_bytes(gzip.compress(second.read_bytes()))
    second.unlink()

    assert exported(run, "jsonl") == b"".join(lines)


def test_only_what_the_filter_selects_is_exported_and_no_limit_holds(tmp_path):
    run = write(tmp_path / "sim-001", [event(number, "STATE" if number % 2 else "ACTION") for number in range(2_200)])

    assert exported(run, "jsonl", event_type="STATE").count(b"\n") == 1_100
    assert len(table(run, event_type="STATE")) == 1_100


def test_csv_has_a_row_an_event_and_a_column_a_field(tmp_path):
    fields = {"details": {"k": [1, None]}, "caused_by": ["A", "B"], "agent_id": 'al,ice\n"x"', "sim_time": -1.5}
    run = write(tmp_path / "sim-001", [event(0, **fields, extra={"mood": "calm"})])
    (row,) = table(run)

    assert list(row) == [*FIELDS, "extra"]
    assert (orjson.loads(row["details"]), orjson.loads(row["caused_by"])) == ({"k": [1, None]}, ["A", "B"])
    assert (row["agent_id"], row["sim_time"], row["turn_number"]) == ('al,ice\n"x"', "-1.5", "0")
    assert (row["description"], orjson.loads(row["extra"])) == ("", {"mood": "calm"})


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1))
def test_no_text_is_a_formula_and_every_text_comes_back(text):
    """A spreadsheet runs what begins with = + - @, tab or return: `=HYPERLINK(…)` in an agent's name is an attack."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as directory:
        run = write(Path(directory) / "sim-001", [event(0, agent_id=text)])
        (row,) = table(run)

    assert not row["agent_id"].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert row["agent_id"].removeprefix("'" if row["agent_id"] != text else "") == text


@pytest.mark.parametrize("name", ["pidgin_flat.jsonl", "pidgin_nested.jsonl"])
def test_source_gives_back_the_imported_file(name, tmp_path):
    run = import_file(GOLDEN / name, tmp_path).run

    assert exported(run, "source") == (GOLDEN / name).read_bytes()


def test_what_is_no_event_is_left_out_and_counted(tmp_path):
    run = write(tmp_path / "sim-001", [event(0)])
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"no event\n")
    skipped = Skipped()

    assert len(list(export(run, "jsonl", EventFilter(), skipped))) == 1
    assert skipped.count == 1


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunNotFound):
        exported(tmp_path / "absent", "csv")
