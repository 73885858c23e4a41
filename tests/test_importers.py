"""Importing: every line of a source is kept, what it implies is true, and importing twice changes nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import queries
from collector.doctor import examine
from collector.importers import import_file, original, sources
from collector.importers.pidgin import conversation_of, events
from collector.runs import scan
from otel_events import ids, mapping
from otel_events.codec import decode, encode_event
from otel_events.errors import ImportConflict, NotImportable
from otel_events.schema import faults
from otel_events.timestamp import to_ns

GOLDEN = Path(__file__).parent / "golden"
FLAT, NESTED = GOLDEN / "pidgin_flat.jsonl", GOLDEN / "pidgin_nested.jsonl"
DATA = os.environ.get("OTEL_EVENTS_TEST_DATA")
REAL = sorted(Path(DATA).glob("pidgin-*/*/*events.jsonl")) if DATA else []
real = pytest.mark.parametrize(
    "path",
    REAL or [pytest.param(None, marks=pytest.mark.skip("OTEL_EVENTS_TEST_DATA names no directory with Pidgin logs"))],
    ids=lambda path: path.parent.name if path else "none",
)


def composed(path, lines=None, **options):
    """The events of a source, without writing them."""
    lines = path.read_bytes().split(b"\n") if lines is None else lines
    conversation = next(filter(None, map(conversation_of, lines)))
    options = {"simulation_id": conversation, "conversation": conversation, "name": None, "timezone": None, **options}
    return list(events(lines, **options))


def imported(path, directory, **options):
    return [event for _, event in scan(import_file(path, directory, **options).run)]


def restored(found):
    return [line for line in map(original, found) if line is not None]


def named(found, name, phase=None):
    return [event for event in found if event.name == name and event.phase == phase]


@pytest.mark.parametrize("path", [FLAT, NESTED], ids=["flat", "nested"])
def test_every_line_of_a_source_can_be_written_back_byte_for_byte(path, tmp_path):
    """Also the odd ones: spacing, 1.10, a decreasing time, a torn line, an alien one, an unknown type."""
    assert restored(imported(path, tmp_path)) == path.read_bytes().splitlines()


@real
def test_every_line_of_the_real_files_can_be_written_back_byte_for_byte(path, tmp_path):
    found = imported(path, tmp_path)

    assert restored(found) == path.read_bytes().splitlines()
    assert not any("raw" in event.src for event in found), "the fields alone should suffice here"


@real
def test_what_the_real_files_become_is_whole_valid_and_can_be_shipped(path, tmp_path):
    outcome = import_file(path, tmp_path)
    report = examine(outcome.run)

    assert outcome.rejected == 0
    assert [fault for fault in report.faults if fault.kind not in ("unclosed", "open")] == []
    for line, event in scan(outcome.run):
        assert faults(line.text) == []
        assert mapping.log_record(event) is not None
        assert event.phase == "open" or event.event_type in ("SYSTEM", "DETAIL") or mapping.span(event) is not None


@real
def test_scopes_end_as_often_as_the_source_says(path, tmp_path):
    """142825_lcvmj never ended: its run, its turn and its call stay open."""
    found = imported(path, tmp_path)
    ends = sum(b"ConversationEndEvent" in line for line in path.read_bytes().splitlines())

    assert len(named(found, "run", "close")) == min(ends, 1)
    assert len(named(found, "conversation.end")) == max(ends - 1, 0)
    for name in ("turn", "llm.call"):
        assert len(named(found, name, "open")) - len(named(found, name, "close")) == (0 if ends else 1)
    assert not any((event.details or {}).get("incomplete") for event in found)


@real
def test_tokens_agree_with_the_manifest_and_messages_with_the_transcript(path, tmp_path):
    """Two oracles that the source's own program wrote."""
    found = imported(path, tmp_path)
    said = [event.details["output"] for event in named(found, "llm.message")]
    if (manifest := path.parent / "manifest.json").exists():
        stated = json.loads(manifest.read_text())
        usage = next(iter(stated["conversations"].values()))["token_usage"]
        for agent in ("agent_a", "agent_b"):
            calls = [event.details for event in named(found, "llm.call", "close") if event.agent_id == agent]
            counted = [sum(call.get(f"{way}_tokens", 0) for call in calls) for way in ("input", "output")]
            assert counted == [usage[agent]["prompt_tokens"], usage[agent]["completion_tokens"]]
        assert found[0].details["name"] == stated["name"] == found[0].resource["service.name"]
    if (transcript := path.parent / "conversation.json").exists():
        messages = json.loads(transcript.read_text())["messages"]
        spoken = [(each["agent_id"], each["content"]) for each in messages if each["role"] == "assistant"]
        assert [(each["agent_id"], each["content"]) for each in said] == spoken


def key_of(message):
    return json.dumps(message, sort_keys=True)


@real
def test_every_message_of_a_history_is_an_ancestor_of_the_call_that_had_it(path, tmp_path):
    """The causes are few, and what they imply is the whole history, no more: the oracle is the source's history."""
    run = import_file(path, tmp_path).run
    found = [event for _, event in scan(run)]
    of_message = {key_of(event.details["output"]): event.event_id for event in named(found, "llm.message")}
    for call in named(found, "llm.call", "open"):
        history = {of_message.get(key_of(entry)) for entry in call.details["input"]} - {None}
        names = {node.id: node.opening.event.name for node in queries.causes(run, call.event_id, 20).nodes}
        reached = {event_id for event_id, name in names.items() if name == "llm.message"}
        assert reached == history or (len(history) > 9 and reached < history)  # 20 steps reach ten messages back
        assert "llm.system_prompt" in names.values() or len(history) > 9


def test_the_golden_conversation_has_the_turns_causes_and_scopes_that_its_lines_imply():
    found = composed(FLAT)
    told = [
        (
            each.name,
            each.phase,
            each.agent_id,
            each.turn_number,
            [by_id(found, cause) for cause in each.caused_by or ()],
        )
        for each in found
    ]

    assert told == [
        ("run", "open", None, 0, []),
        ("llm.prompt", None, None, 0, []),
        ("llm.system_prompt", None, "agent_a", 0, []),
        ("llm.system_prompt", None, "agent_b", 0, []),
        ("turn", "open", None, 1, []),
        ("llm.call", "open", "agent_a", 1, ["llm.system_prompt agent_a", "llm.prompt None"]),
        ("llm.message", None, "agent_a", 1, ["llm.call agent_a"]),
        ("llm.call", "close", "agent_a", 1, ["llm.system_prompt agent_a", "llm.prompt None"]),
        ("llm.usage", None, "agent_a", 1, []),
        ("llm.call", "open", "agent_b", 1, ["llm.system_prompt agent_b", "llm.prompt None", "llm.message agent_a"]),
        ("llm.rate_limit", None, None, 1, []),
        ("llm.error", None, "agent_b", 1, []),
        ("llm.message", None, "agent_b", 1, ["llm.call agent_b"]),
        ("llm.call", "close", "agent_b", 1, ["llm.system_prompt agent_b", "llm.prompt None", "llm.message agent_a"]),
        ("llm.usage", None, "agent_b", 1, []),
        ("state.convergence_score", None, None, 1, ["llm.message agent_a", "llm.message agent_b"]),
        ("turn", "close", None, 1, []),
        ("pidgin.mood_measured", None, None, 0, []),
        ("turn", "open", None, 2, []),
        ("llm.call", "open", "agent_a", 2, ["llm.message agent_a", "llm.message agent_b"]),
        ("llm.message", None, "agent_a", 2, ["llm.call agent_a"]),
        ("llm.call", "close", "agent_a", 2, ["llm.message agent_a", "llm.message agent_b"]),
        ("turn", "close", None, 2, []),
        ("run", "close", None, 0, []),
        ("conversation.end", None, None, 0, []),
    ]


def by_id(found, event_id):
    return next(f"{event.name} {event.agent_id}" for event in found if event.event_id == event_id)


def test_a_closing_line_repeats_its_opening_line_and_no_span_is_negative():
    found = composed(FLAT)
    openers = {event.span_id: event for event in found if event.opens}
    for closing in filter(lambda event: event.closes, found):
        opening = openers[closing.span_id]
        assert (closing.started_at, closing.caused_by, closing.links) == (
            opening.timestamp,
            opening.caused_by,
            opening.links,
        )
        for key, value in (opening.details or {}).items():
            if key not in ("milestone_type", "model"):  # which the end of the scope knows better
                assert closing.details[key] == value
        assert to_ns(closing.timestamp) >= to_ns(closing.started_at)


def test_a_call_knows_its_tokens_model_provider_and_duration():
    calls = [event.details for event in named(composed(FLAT), "llm.call", "close")]

    keys = ("provider", "model", "operation", "input_tokens", "output_tokens", "duration_ms", "output")
    assert [[call.get(key) for key in keys] for call in calls] == [
        ["example", "model-small-1", "chat", 22, 9, 1400, "The sea, breathing — twice a day."],
        ["example", "model-large-1", "chat", 41, 14, 1499, "A bulge 🌊 that the moon drags along."],
        [None, "model-small", "chat", None, None, 1097, "And the sun helps."],
    ]


def test_a_turn_has_its_own_trace_linked_to_the_run_and_to_the_turn_before():
    found = composed(FLAT)
    run, (first, second) = named(found, "run", "open")[0], named(found, "turn", "open")

    for opener in (run, first, second):
        assert opener.trace_id == ids.trace_id(opener.event_id)
    assert list(first.links) == [run.event_id]
    assert list(second.links) == [run.event_id, first.event_id]
    assert second.caused_by is None


@pytest.mark.parametrize("path", [FLAT, NESTED, *REAL], ids=lambda path: path.parent.name)
def test_a_line_says_where_its_causes_are(path):
    """A cause that is no span of the same trace stands in `links`, with the span that it is or lies in."""
    found = composed(path)
    places = {event.event_id: f"{event.trace_id}-{event.span_id}" for event in found}
    for event in found:
        inferred = {cause: f"{event.trace_id}-{ids.span_id(cause)}" for cause in event.caused_by or ()}
        assert {cause: (event.links or {}).get(cause, inferred[cause]) for cause in inferred} == {
            cause: places[cause] for cause in inferred
        }
        assert not {cause for cause, place in inferred.items() if (event.links or {}).get(cause) == place}


def test_a_trace_that_opens_in_a_busy_millisecond_has_seven_random_bytes():
    """The first turn begins in the millisecond of the prompts: its id is not just the next number."""
    found = composed(FLAT)
    turn = found.index(named(found, "turn", "open")[0])
    before, opener = (ids.value(event.event_id) for event in found[turn - 1 : turn + 1])

    assert before >> 80 == opener >> 80
    assert abs((opener & (1 << 56) - 1) - (before & (1 << 56) - 1)) > 1


def test_an_answer_that_is_older_than_its_request_makes_no_negative_span():
    lines = FLAT.read_bytes().replace(b"09:00:01.400300", b"08:59:59.000000").splitlines()
    found = composed(FLAT, lines)
    closing, message = named(found, "llm.call", "close")[0], named(found, "llm.message")[0]

    assert closing.timestamp == closing.started_at == "2026-03-01T09:00:00.000300Z"
    assert message.timestamp == "2026-03-01T08:59:59.000000Z"


def test_what_a_conversation_left_open_is_closed_when_it_ends_and_says_so():
    left = [event for event in composed(FLAT) if (event.details or {}).get("incomplete")]

    assert [(event.name, event.turn_number, event.closes) for event in left] == [("turn", 2, True)]


def test_equal_and_decreasing_times_keep_the_order_of_the_source():
    """The clock of the source stepped back before the rate limit; its time is kept, its place is, too."""
    for path in (FLAT, NESTED):
        found = composed(path)
        assert [event.event_id for event in found] == sorted({event.event_id for event in found})
        numbers = [event.src["line"] for event in found if "line" in event.src]
        assert numbers == sorted(numbers)
    limit = named(composed(FLAT), "llm.rate_limit")[0]
    assert limit.timestamp == "2026-03-01T09:00:01.300000Z"


def test_a_torn_and_an_alien_line_are_rejected_counted_and_kept(tmp_path):
    outcome = import_file(NESTED, tmp_path)
    rejected = named([event for _, event in scan(outcome.run)], "import.rejected")

    assert outcome.rejected == len(rejected) == 3
    assert [event.details["line"] for event in rejected] == [8, 9, 11]
    assert "timestamp" in rejected[2].details["reason"]
    assert outcome.sentence == "090000_tides: 13 of 13 events imported, 3 lines rejected"


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00", b"[" * 100_000, b'{"event_type":1}', b"null", b"\r", b'{"a":NaN}'])
def test_no_line_breaks_an_import(junk, tmp_path):
    """At the beginning, where the run is not open yet, in the middle and at the end; a blank one is no line."""
    lines = FLAT.read_bytes().splitlines()
    path = tmp_path / "conv_events.jsonl"
    path.write_bytes(b"\n".join([junk, *lines[:5], junk, *lines[5:], junk]))
    found = imported(path, tmp_path / "out")

    assert sorted(restored(found)) == sorted([*lines, *([junk] * 3 if junk.strip() else [])])
    assert found[0].name == "run"


def test_odd_values_of_a_known_event_are_kept_and_never_fatal():
    """Every field of every line replaced by every odd value, one at a time."""
    lines = [line for line in FLAT.read_bytes().splitlines() if b'"weight"' not in line]
    for number, line in enumerate(lines):
        for key in json.loads(line):
            for odd in (None, 0, -1, 1 << 80, 1.5, "", "x", [], ["x"], {}, {"content": 1}, float("nan")):
                changed = json.dumps({**json.loads(line), key: odd}, ensure_ascii=False, separators=(",", ":")).encode()
                altered = [*lines[:number], changed, *lines[number + 1 :]]
                if number == 0 and key == "conversation_id":
                    continue
                read_back = [decode(encode_event(event)) for event in composed(FLAT, altered)]
                assert sorted(restored(read_back)) == sorted(altered), (key, odd)


def test_a_valid_ulid_of_the_source_is_kept_where_it_keeps_the_order():
    lines = [json.loads(line) for line in FLAT.read_bytes().splitlines()]
    own = ids.text((to_ns("2026-03-01T09:00:00Z") // 1_000_000 << 80) + (0xFFFF << 64) + 5)
    lines[3]["event_id"] = own
    lines[4]["event_id"] = ids.text(1)
    found = composed(FLAT, [json.dumps(line).encode() for line in lines])
    turn, call = named(found, "turn", "open")[0], named(found, "llm.call", "open")[0]

    assert turn.event_id == own == turn.src["id"]
    assert call.event_id > own
    assert call.src["id"] == ids.text(1)


def test_a_time_without_a_zone_is_utc_and_marked_unless_a_zone_is_given():
    assumed, given_zone = composed(NESTED)[0], composed(NESTED, timezone=ZoneInfo("America/New_York"))[0]

    assert (assumed.timestamp, assumed.src["tz"]) == ("2026-03-01T09:00:00.000000Z", "assumed")
    assert (given_zone.timestamp, given_zone.src["tz"]) == ("2026-03-01T14:00:00.000000Z", "America/New_York")
    assert "tz" not in composed(FLAT, timezone=ZoneInfo("America/New_York"))[0].src


@given(st.integers(1, 19), st.sampled_from([FLAT, NESTED]))
def test_the_events_of_the_first_lines_are_the_first_events(count, path):
    """What lets a source grow: nothing that comes later changes what was imported."""
    lines = path.read_bytes().splitlines()

    assert composed(path, lines[:count]) == composed(path)[: len(composed(path, lines[:count]))]


def test_importing_twice_changes_nothing(tmp_path, monkeypatch):
    """Not even in another environment: the bytes are a function of the source."""
    run = import_file(FLAT, tmp_path).run
    before = (run / "events.jsonl").read_bytes()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "another")
    again = import_file(FLAT, tmp_path)
    elsewhere = import_file(FLAT, tmp_path / "elsewhere")

    assert (again.new, again.sentence) == (0, "conv_0a1b2c3d: already imported, 25 events")
    assert (run / "events.jsonl").read_bytes() == before == (elsewhere.run / "events.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv_0a1b2c3d", "elsewhere"]


@pytest.mark.parametrize("count", range(1, 19))
def test_a_source_that_grew_is_continued(count, tmp_path):
    """Whatever line it ended with at first; the result is that of importing it whole."""
    lines, growing = FLAT.read_bytes().splitlines(keepends=True), tmp_path / "growing.jsonl"
    growing.write_bytes(b"".join(lines[:count]))
    first = import_file(growing, tmp_path / "grown")
    growing.write_bytes(b"".join(lines))
    second = import_file(growing, tmp_path / "grown")
    whole = import_file(growing, tmp_path / "whole")

    assert first.new + second.new == whole.new
    assert (second.run / "events.jsonl").read_bytes() == (whole.run / "events.jsonl").read_bytes()


def test_a_source_whose_torn_line_was_completed_is_an_error(tmp_path):
    """The torn line is in the run already, and nothing there is rewritten."""
    growing, data = tmp_path / "growing.jsonl", FLAT.read_bytes()
    growing.write_bytes(data[: data.index(b"MessageCompleteEvent")])
    assert import_file(growing, tmp_path / "out").rejected == 1
    growing.write_bytes(data)

    with pytest.raises(ImportConflict, match="nothing was changed"):
        import_file(growing, tmp_path / "out")


def test_an_append_that_was_cut_short_is_completed(tmp_path):
    run = import_file(FLAT, tmp_path).run
    whole = (run / "events.jsonl").read_bytes()
    (run / "events.jsonl").write_bytes(whole[: len(whole) // 2])

    assert import_file(FLAT, tmp_path).new > 0
    assert (run / "events.jsonl").read_bytes() == whole


def test_a_source_that_changed_is_an_error_and_changes_nothing(tmp_path):
    path = tmp_path / "conv.jsonl"
    path.write_bytes(FLAT.read_bytes())
    run = import_file(path, tmp_path / "out").run
    before = (run / "events.jsonl").read_bytes()
    path.write_bytes(FLAT.read_bytes().replace(b"What is a tide?", b"What is a wave?"))

    with pytest.raises(ImportConflict, match="nothing was changed"):
        import_file(path, tmp_path / "out")
    with pytest.raises(ImportConflict, match="same settings"):
        import_file(NESTED, import_file(NESTED, tmp_path / "out").run.parent, ZoneInfo("Asia/Tokyo"))
    assert (run / "events.jsonl").read_bytes() == before


def test_a_run_that_somebody_writes_is_left_alone(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(b"".join(FLAT.read_bytes().splitlines(keepends=True)[:6]))
    run = import_file(growing, tmp_path / "out").run
    with (run / "events.jsonl").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ImportConflict, match="another process"):
            import_file(FLAT, tmp_path / "out")


def test_a_compressed_run_is_recognised_as_imported_but_cannot_grow(tmp_path):
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(b"".join(FLAT.read_bytes().splitlines(keepends=True)[:6]))
    part = import_file(growing, tmp_path / "out").run / "events.jsonl"
    part.with_suffix(".jsonl.gz").write_bytes(gzip.compress(part.read_bytes()))
    part.unlink()

    assert import_file(growing, tmp_path / "out").new == 0
    with pytest.raises(ImportConflict, match="compressed"):
        import_file(FLAT, tmp_path / "out")


def test_a_run_is_there_completely_or_not_at_all(tmp_path, monkeypatch):
    """A full disk in the middle of writing leaves nothing behind."""
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        import_file(FLAT, tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_of_two_importers_at_once_one_writes_the_run(tmp_path):
    program = (
        "import sys; from pathlib import Path; from collector.importers import import_file;"
        "print(import_file(Path(sys.argv[1]), Path(sys.argv[2])).new)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(FLAT), str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    new = sorted(int(process.communicate()[0]) for process in started)

    assert new == [0, 0, 0, 25]
    assert [path.name for path in tmp_path.iterdir()] == ["conv_0a1b2c3d"]


@pytest.mark.parametrize("conversation", ["../../etc", ".hidden", "a/b", "", "x" * 300, "名前", "con v", "a\x00b", "."])
def test_no_conversation_id_leads_out_of_the_directory(conversation, tmp_path):
    """The run's directory is named after it as far as that is safe, and no two share one."""
    line = {"timestamp": "2026-03-01T09:00:00", "event_type": "TurnStartEvent", "conversation_id": conversation}
    path, out = tmp_path / "x.jsonl", tmp_path / "out"
    path.write_text(json.dumps(line))
    if not conversation:
        with pytest.raises(NotImportable):
            import_file(path, out)
        return
    run = import_file(path, out).run

    assert [each.name for each in out.iterdir()] == [run.name]
    assert run.parent == out
    assert restored([event for _, event in scan(run)]) == [path.read_bytes()]
    assert {event.simulation_id for _, event in scan(run)} == {run.name}


def test_a_directory_is_searched_and_what_is_no_conversation_is_left_alone(tmp_path):
    shutil.copy(FLAT, tmp_path / "a_events.jsonl")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "events.jsonl.gz").write_bytes(gzip.compress(NESTED.read_bytes()))
    (tmp_path / "deep" / "notes.jsonl").write_text('{"event_type": "unrelated"}\n')
    (tmp_path / "deep" / "broken.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    found = list(sources([tmp_path]))

    assert [path.name for path in found] == ["a_events.jsonl", "events.jsonl.gz"]
    assert [import_file(path, tmp_path / "out").events for path in found] == [25, 13]
    assert list(sources([tmp_path])) == found, "our own runs are no conversations"


def test_what_is_no_conversation_is_an_error_that_says_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.jsonl").write_text('{"hello": "world"}\n')

    with pytest.raises(NotImportable, match="pidgin-flat or pidgin-nested"):
        import_file(tmp_path / "other.jsonl", tmp_path)
    with pytest.raises(NotImportable, match="no file in it"):
        list(sources([tmp_path / "empty"]))
    with pytest.raises(FileNotFoundError):
        import_file(tmp_path / "absent.jsonl", tmp_path)


def test_prompts_and_answers_are_withheld_when_shipping():
    """Content stands only where the mapping knows it as content."""
    for path in (FLAT, NESTED):
        for event in composed(path):
            if event.name in ("run", "import.rejected"):
                continue
            spans = [mapping.span(event)] if event.phase != "open" else []
            for shipped in filter(None, [mapping.log_record(event), *spans]):
                text = repr(shipped)
                assert "What is a tide" not in text
                assert "breathing" not in text
                assert "one sentence" not in text
