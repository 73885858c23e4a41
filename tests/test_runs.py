"""Finding runs, and reading their events in order."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import event, numbered, write

from collector.runs import Skipped, all_runs, count, find_run, first, is_held, locate, newest_run, parts, scan, state_of
from otel_events.codec import encode_event
from otel_events.errors import RunNotFound
from otel_events.event import Event


def numbers(run: Path, skipped: Skipped | None = None) -> list[str]:
    return [each.event_id for _, each in scan(run, skipped)]


def ids_of(*order: int) -> list[str]:
    return [numbered(number) for number in order]


def test_the_order_is_that_of_event_id_over_all_parts(tmp_path):
    """Rotation by name sorts `events.jsonl` first, by whatever clock the names were made."""
    run = write(tmp_path / "sim-001", [event(1), event(4)], [event(0), event(5)], [event(2), event(3)])
    assert numbers(run) == ids_of(0, 1, 2, 3, 4, 5)


def test_the_first_event_is_that_of_the_run_and_not_of_the_newest_part(tmp_path):
    """The original took the file that sorts first; after its rotation that is the newest."""
    run = write(tmp_path / "sim-001", [event(7)], [event(3)])
    assert first(run) == event(3)


def test_compressed_parts_are_read_like_plain_ones(tmp_path):
    run = write(tmp_path / "sim-001", [event(0), event(2)], [event(1), event(3)])
    plain = run / "events.jsonl"
    (run / "events.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    both = [line.offset for line, _ in scan(run)]
    plain.unlink()
    assert numbers(run) == ids_of(0, 1, 2, 3)
    assert [line.offset for line, _ in scan(run)] == both


def test_a_part_compressed_between_listing_and_reading_is_read(tmp_path, monkeypatch):
    run = write(tmp_path / "sim-001", [event(0)], [event(1)])
    listed = parts(run)
    (run / "events.jsonl.gz").write_bytes(gzip.compress((run / "events.jsonl").read_bytes()))
    (run / "events.jsonl").unlink()
    monkeypatch.setattr("collector.runs.parts", lambda _: listed)
    assert numbers(run) == ids_of(0, 1)


def test_a_part_removed_between_listing_and_reading_is_left_out(tmp_path, monkeypatch):
    run = write(tmp_path / "sim-001", [event(0)], [event(1)])
    listed = parts(run)
    (run / "events.jsonl").unlink()
    monkeypatch.setattr("collector.runs.parts", lambda _: listed)
    assert numbers(run) == ids_of(1)


def test_lines_that_are_no_events_are_skipped_and_counted_with_their_place(tmp_path):
    """The original answered every query with status 500 as long as one such line was there."""
    run = write(tmp_path / "sim-001", [event(0), event(1)])
    good = (run / "events.jsonl").read_bytes()
    alien = [b"{}", b'{"event_id":5}', b"[]", b"", b"\0\0\0", b'{"event_id":"x"', b"\xff", b'{"a":1}']
    (run / "events.jsonl").write_bytes(b"\n".join(alien) + b"\n" + good + b'{"event_id":"torn')
    skipped = Skipped()
    assert numbers(run, skipped) == ids_of(0, 1)
    assert skipped.count == len(alien)
    assert skipped.places[1] == (f"{run / 'events.jsonl'} at byte 3: event_id: expected a string, got '5'")


def test_only_lines_that_are_events_count(tmp_path):
    """Those of another program, which look different, do; torn, alien and empty ones do not."""
    run = write(tmp_path / "sim-001", [event(0), event(1)], [event(2)])
    foreign = (
        b'{"timestamp": "2026-11-21", "event_id": "x", "turn_number": 0, "event_type": "STATE", "simulation_id": "s"}'
    )
    recorded = encode_event(event(3))
    with (run / "events.jsonl").open("ab") as file:
        file.write(b"\n".join([foreign, b"{}", b"", b"\0\0", recorded[:60], recorded]) + recorded[:60])
    assert count(run) == 5


def test_only_the_first_twenty_places_are_kept(tmp_path):
    run = write(tmp_path / "sim-001", [])
    (run / "events.jsonl").write_bytes(b"x\n" * 50)
    skipped = Skipped()
    assert (numbers(run, skipped), skipped.count, len(skipped.places)) == ([], 50, 20)


def test_a_torn_last_line_is_read_once_it_is_complete(tmp_path):
    run = write(tmp_path / "sim-001", [event(0)])
    line = encode_event(event(1))
    for size in (1, len(line) - 1):
        write(run, [event(0)])
        with (run / "events.jsonl").open("ab") as file:
            file.write(line[:size])
        assert numbers(run) == ids_of(0)
        with (run / "events.jsonl").open("ab") as file:
            file.write(line[size:])
        assert numbers(run) == ids_of(0, 1)


def test_a_copied_part_is_read_once(tmp_path):
    run = write(tmp_path / "sim-001", [event(0), event(1)], [event(0), event(1), event(2)])
    assert numbers(run) == ids_of(0, 1, 2)


@given(st.lists(st.lists(st.integers(0, 12), max_size=8), min_size=1, max_size=3))
def test_every_id_is_read_exactly_once_whatever_the_order(tmp_path_factory, order):
    run = write(tmp_path_factory.mktemp("out") / "sim-001", *([event(number) for number in part] for part in order))
    assert sorted(numbers(run)) == ids_of(*sorted({number for part in order for number in part}))


@given(st.lists(st.lists(st.integers(0, 40), max_size=8, unique=True).map(sorted), min_size=1, max_size=4))
def test_sorted_parts_give_a_sorted_run(tmp_path_factory, order):
    run = write(tmp_path_factory.mktemp("out") / "sim-001", *([event(number) for number in part] for part in order))
    assert numbers(run) == sorted(set(numbers(run)))


def test_a_part_that_is_not_sorted_keeps_its_order(tmp_path):
    assert numbers(write(tmp_path / "sim-001", [event(3), event(1), event(2), event(1)])) == ids_of(3, 1, 2)


def test_runs_are_listed_newest_first_and_nothing_else_is_a_run(tmp_path):
    write(tmp_path / "b-old", [event(1)])
    write(tmp_path / "a-new", [event(9)])
    write(tmp_path / "c-empty", [])
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "events.txt").write_text("no run")
    assert [run.name for run in all_runs(tmp_path)] == ["a-new", "b-old", "c-empty"]
    assert newest_run(tmp_path) == locate(tmp_path) == tmp_path / "a-new"


def test_a_directory_may_itself_be_a_run(tmp_path):
    run = write(tmp_path / "sim-001", [event(0)])
    assert all_runs(run) == [run]
    assert find_run(run, "sim-001") == newest_run(run) == run


def test_no_run_at_all_says_where_it_looked(tmp_path):
    with pytest.raises(RunNotFound, match=r"no run at all in .*nowhere"):
        newest_run(tmp_path / "nowhere")


@pytest.fixture
def output(tmp_path):
    """A directory of runs beside one that nobody may reach from it."""
    write(tmp_path / "output" / "sim-001", [event(0)])
    write(tmp_path / "secret", [event(0)])
    write(tmp_path / "output" / "sim-001" / "inner", [event(0)])
    (tmp_path / "output" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "output" / "up").symlink_to("..")
    (tmp_path / "output" / "loop").symlink_to("loop")
    return tmp_path / "output"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "../output/sim-001",
        "./sim-001",
        "sim-001/",
        "sim-001/inner",
        "sim-001/../sim-001",
        "sim-001\\..\\..\\secret",
        "..\\secret",
        "%2e%2e",
        "link",
        "up",
        "up/secret",
        "loop",
        "sim-001\0",
        "\0",
        "x" * 5000,
        "\ud800",
        "sim-002",
    ],
)
def test_no_spelling_of_a_name_leads_out_of_the_directory(output, name):
    """The original read `/simulations/%2e%2e/events`."""
    with pytest.raises(RunNotFound):
        find_run(output, name)


def test_an_absolute_path_is_no_name_but_a_person_may_use_it(output):
    secret = output.parent / "secret"
    with pytest.raises(RunNotFound):
        find_run(output, str(secret))
    assert locate(output, str(secret)) == secret


def test_links_out_of_the_directory_are_not_listed(output):
    assert [run.name for run in all_runs(output)] == ["sim-001"]


def test_a_link_to_a_run_beside_it_is_a_run(output):
    (output / "latest").symlink_to("sim-001")
    assert numbers(find_run(output, "latest")) == ids_of(0)


def test_a_part_that_is_a_link_out_of_its_run_is_not_read(output):
    run = output / "sim-001"
    (run / "events_2026-11-21_11-00-00.jsonl").symlink_to(output.parent / "secret" / "events.jsonl")
    assert [part.name for part in parts(run)] == ["events.jsonl"]


def run_line(number: int, phase: str) -> Event:
    return event(number, "MILESTONE", "run", phase=phase)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([event(0)], ""),
        ([run_line(0, "open"), event(1)], "never ended"),
        ([run_line(0, "open"), run_line(1, "close")], "closed"),
        ([run_line(0, "open"), run_line(1, "close"), run_line(2, "open")], "never ended"),
    ],
)
def test_a_run_that_nobody_writes_is_closed_if_it_says_so(tmp_path, lines, expected):
    """The last one was continued, and its program killed."""
    assert state_of(write(tmp_path / "sim-001", lines)) == expected


def test_a_part_is_held_while_its_writer_has_the_lock(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (part,) = parts(write(tmp_path / "sim-001", [event(0)]))
    with part.path.open("ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert is_held(part)
    assert not is_held(part)


def test_a_run_that_may_not_be_read_is_listed_last(tmp_path, monkeypatch):
    write(tmp_path / "a", [event(1)])
    write(tmp_path / "b", [event(9)])

    def refuse_b(run: Path):
        if run.name == "b":
            raise PermissionError(13, "Permission denied")
        return first(run)

    monkeypatch.setattr("collector.runs.first", refuse_b)  # the modes of a file do not stop root
    assert [run.name for run in all_runs(tmp_path)] == ["a", "b"]
