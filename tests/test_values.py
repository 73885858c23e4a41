"""Every Python value has one written rule, nothing raises, and nothing silently becomes null."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from uuid import UUID

import numpy
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.codec import decode, encode
from otel_events.values import MAX_DEPTH, MAX_INLINE_BYTES, Normaliser


class Colour(enum.Enum):
    RED = "red"


class Rank(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: float
    tags: set[str] = dataclasses.field(default_factory=set)


class Model(pydantic.BaseModel):
    when: datetime
    ratio: float


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> object:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


class Plain:
    def __repr__(self) -> str:
        return "<plain>"


ZONE = timezone(timedelta(hours=2))

TABLE = [
    (None, None),
    (True, True),
    ("ä", "ä"),
    (2**64 - 1, 2**64 - 1),
    (-(2**63), -(2**63)),
    (1.5, 1.5),
    ([1, [2]], [1, [2]]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
    (2**64, "18446744073709551616"),
    (-(2**63) - 1, "-9223372036854775809"),
    (10**5000, hex(10**5000)),
    ("\ud800x", "\\ud800x"),
    ((1, 2), [1, 2]),
    (deque([1]), [1]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (Colour.RED, "red"),
    (Rank.HIGH, 3),
    (Point(1.5, {"b", "a"}), {"x": 1.5, "tags": ["a", "b"]}),
    (Point(math.nan), {"x": "NaN", "tags": []}),
    (
        Model(when=datetime(2026, 1, 2, tzinfo=UTC), ratio=math.inf),
        {"when": "2026-01-02T00:00:00Z", "ratio": "Infinity"},
    ),
    (MappingProxyType({"a": 1}), {"a": 1}),
    (OrderedDict(a=1), {"a": 1}),
    (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
    (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
    (datetime(2026, 1, 2, 3, 4, 5, tzinfo=ZONE), "2026-01-02T03:04:05+02:00"),
    (date(2026, 1, 2), "2026-01-02"),
    (time(3, 4), "03:04:00"),
    (timedelta(minutes=1, milliseconds=5), 60.005),
    (Decimal("1.10"), "1.10"),
    (Fraction(1, 3), "1/3"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (PurePosixPath("/a"), "/a"),
    (numpy.float32(0.5), 0.5),
    (numpy.float64("nan"), "NaN"),
    (numpy.int64(3), 3),
    (numpy.bool_(True), True),
    (numpy.str_("a"), "a"),
    (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (numpy.array([1.0, math.nan]), [1.0, "NaN"]),
    (numpy.datetime64("2026-01-02"), "2026-01-02"),
    (ValueError("wrong"), {"type": "ValueError", "message": "wrong"}),
    (b"\x00\x01", {"base64": "AAE=", "size": 2}),
    (bytearray(b"a"), {"base64": "YQ==", "size": 1}),
    (memoryview(b"a"), {"base64": "YQ==", "size": 1}),
    (Text("a"), "a"),
    (Whole(7), 7),
    (Real(0.5), 0.5),
    ({1: "a", None: "b", (1, 2): "c", 1.5: "d"}, {"1": "a", "null": "b", "[1,2]": "c", "1.5": "d"}),
    ({"1": "a", 1: "b"}, {"1": "a", "1~2": "b"}),
    ({date(2026, 1, 2): 1}, {"2026-01-02": 1}),
    ({math.nan: 1}, {"NaN": 1}),
]


def line_of(value: object, normalise: Normaliser | None = None) -> object:
    """The value as it stands in the line, read back."""
    line = encode({"details": {"value": value}, "v": 1}, normalise or Normaliser())
    assert line.count(b"\n") == 1
    return orjson.loads(line)["details"]["value"]


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=lambda value: type(value).__name__)
def test_every_row_of_the_table(value, expected):
    """By both ways through the codec: alone in a line that orjson can write, and in one that it cannot."""
    normalise = Normaliser()
    assert normalise(value) == expected
    assert line_of(value) == expected
    assert line_of([math.nan, value]) == ["NaN", expected]
    assert normalise.without_rule == 0


@pytest.mark.parametrize("value", [Plain(), object, len, Plain, Ellipsis, (n for n in ())], ids=repr)
def test_whatever_has_no_rule_is_described_and_counted(value):
    normalise = Normaliser()
    described = line_of(value, normalise)
    assert described["repr"] == repr(value)
    assert described["type"] == f"{type(value).__module__}.{type(value).__qualname__}"
    assert normalise.without_rule == 1


def test_a_hostile_object_is_described_and_counted():
    normalise = Normaliser()
    expected = {"repr": "(its repr fails)", "type": "test_values.Hostile"}
    assert line_of({"a": Hostile(), "b": 1}, normalise) == {"a": expected, "b": 1}
    assert normalise.without_rule == 1


def test_a_long_repr_is_cut():
    class Long:
        def __repr__(self) -> str:
            return "x" * 5_000

    assert len(line_of(Long())["repr"]) == 1_000


def test_a_cycle_and_a_depth_beyond_the_limit_are_described():
    cycle: list[object] = [1]
    cycle.append(cycle)
    normalise = Normaliser()
    assert line_of(cycle, normalise) == [1, {"repr": "[1, [...]]", "type": "builtins.list"}]
    assert normalise.without_rule == 1
    deep: object = "bottom"
    for _ in range(1_000):
        deep = [deep]
    shown, levels = line_of(deep), 0
    while isinstance(shown, list):
        (shown,), levels = shown, levels + 1
    assert levels <= MAX_DEPTH
    assert shown["type"] == "builtins.list"


def test_the_same_object_twice_is_no_cycle():
    shared = {"a": math.nan}
    assert line_of([shared, shared]) == [{"a": "NaN"}, {"a": "NaN"}]


def test_a_count_is_made_once_even_where_the_line_is_encoded_twice():
    normalise = Normaliser()
    line_of([Plain(), math.nan], normalise)
    assert normalise.without_rule == 1


@pytest.mark.parametrize(("size", "kept"), [(MAX_INLINE_BYTES, False), (MAX_INLINE_BYTES + 1, True)])
def test_bytes_beyond_4_kib_are_stored_under_their_hash(size, kept):
    stored: dict[str, bytes] = {}
    data = b"RIFF" + bytes(size - 4)
    value = line_of(data, Normaliser(stored.__setitem__))
    name = hashlib.sha256(data).hexdigest()
    assert stored == ({name: data} if kept else {})
    if kept:
        assert value == {"blob": name, "size": size, "media_type": "audio/wav"}


@pytest.mark.parametrize("hook", [lambda text: 1 / 0, lambda text: None, lambda text: b"x"])
def test_a_redaction_hook_that_fails_blanks_the_value_and_is_counted(hook):
    normalise = Normaliser(redact=hook)
    assert normalise({"key": ["secret", 1]}) == {"": ["", 1]}
    assert normalise.redaction_failures == 2


def test_redaction_sees_whole_strings_even_where_they_are_cut_afterwards():
    """A secret across the cut must not leave its first half."""

    class Long:
        def __repr__(self) -> str:
            return "x" * 995 + "secret"

    shown = Normaliser(redact=lambda text: text.replace("secret", "***"))(Long())["repr"]
    assert "s" not in shown


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()))
    | st.binary(max_size=50)
    | st.sampled_from([Plain(), Colour.RED, Point(math.nan), numpy.float32(1), object, b"x" * 5_000])
    | st.builds(Hostile)
    | st.datetimes()
    | st.timedeltas()
    | st.decimals()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none() | st.floats(), inner, max_size=4)
        | st.builds(Point, inner)
        | st.builds(deque, st.lists(inner, max_size=3))
    ),
    max_leaves=12,
)


@given(ODD)
def test_no_value_raises_and_none_but_none_becomes_null(value):
    line = encode({"details": {"value": value}}, Normaliser())
    assert line.count(b"\n") == 1
    assert count_null(orjson.loads(line)) == count_none(value)


def count_none(value: object) -> int:
    if value is None:
        return 1
    if isinstance(value, Point):
        return count_none(value.x)
    if isinstance(value, dict):
        return sum(count_none(item) for item in value.values())
    return sum(map(count_none, value)) if isinstance(value, list | tuple | deque) else 0


def count_null(value: object) -> int:
    if isinstance(value, dict):
        return sum(map(count_null, value.values()))
    return sum(map(count_null, value)) if isinstance(value, list) else int(value is None)


@given(ODD)
def test_whatever_is_in_details_the_line_is_an_event(value):
    fields = {
        "event_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "timestamp": "2026-11-21T10:15:00.000000Z",
        "turn_number": 0,
        "event_type": "ACTION",
        "simulation_id": "run",
        "details": {"value": value},
    }
    for redact in (None, str):
        assert decode(encode(fields, Normaliser(redact=redact))).details is not None
