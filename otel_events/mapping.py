"""A line -> its span and its log record: a pure function of the event. No clock, no look-up, no environment.

- A closing line, and a point event whose `span_id` is the low 8 bytes of its `event_id`, is a span.
- Every event is a log record.
- What the sampler refused (`trace_flags` without bit 0) is neither: a trace and its logs go together.

Attributes come in fixed order, at most 128, each at most 2 KiB; a longer one is cut and says where the whole is.
The attributes have every cause; the links leave out those that would make a user interface walk in circles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from otel_events import genai, ids
from otel_events.errors import InvalidParameter, Unmappable
from otel_events.event import Event
from otel_events.genai import Capture
from otel_events.timestamp import to_ns

MAPPING_VERSION: Final = 1
MAX_ATTRIBUTES: Final = 128
MAX_LINKS: Final = 128
MAX_VALUE_BYTES: Final = 2048
MAX_LISTED_CAUSES: Final = 64  # 64 × 26 letters and their framing are just under MAX_VALUE_BYTES
POINT_NS: Final = 1_000
"""How long a point event lasts: Jaeger flags spans without duration."""

INFO, MILESTONE, DEBUG, WARN, ERROR = 9, 10, 5, 13, 17
_LOW_64 = (1 << 64) - 1
_INT64 = 1 << 63
_PLAIN = (str, int, float)

Attribute = tuple[str, Any]


class Link(NamedTuple):
    """A link to another span; ids are 16 and 8 bytes."""

    trace_id: bytes
    span_id: bytes
    attributes: list[Attribute]


class Span(NamedTuple):
    """What a backend keeps of a scope or point event. Times are Unix nanoseconds."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    """b"" for the root of a trace."""
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: list[Attribute]
    dropped_attributes: int
    links: list[Link]
    dropped_links: int
    failure: str | None
    """The error's message: status ERROR; None leaves the status unset."""
    flags: int
    """W3C trace flags."""


class LogRecord(NamedTuple):
    """What a backend keeps of any event. Times are Unix nanoseconds."""

    time_ns: int
    observed_ns: int
    severity: int
    body: str
    attributes: list[Attribute]
    dropped_attributes: int
    flags: int
    trace_id: bytes
    """b"" on a line of a program that knows no traces, as is `span_id`."""
    span_id: bytes
    event_name: str


def sampled(event: Event) -> bool:
    """Whether this event's trace is to be shipped. Raises Unmappable."""
    return bool(_flags(event) & 1)


def span(event: Event, capture: Capture = "no_content") -> Span | None:
    """The span of this line; None where it makes none. Raises Unmappable where it would, but says too little."""
    flags = _flags(event)
    if event.phase == "open" or not flags & 1:
        return None
    trace_id = _id(event, "trace_id", event.trace_id, 16)
    span_id = _id(event, "span_id", event.span_id, 8)  # invariant 4: what the line says, never drawn here
    if not trace_id or not span_id:
        raise Unmappable(event.event_id, "trace_id and span_id", "a line without them")
    own = _ulid(event.event_id)
    if event.phase is None and (own is None or own & _LOW_64 != int.from_bytes(span_id, "big")):
        return None
    end_ns = _ns(event, "timestamp")
    start_ns = _ns(event, "started_at") if event.started_at else end_ns  # invariant 3: from the closing line alone
    links, unresolved = _links(event, start_ns // 1_000_000 if own is None or event.phase else own >> 80)
    operation = genai.operation_of(event)
    attributes = _attributes(
        event, operation, unresolved, as_span=True, content=capture in ("span_only", "span_and_event")
    )
    name = event.name or event.event_type.lower()
    return Span(
        trace_id,
        span_id,
        _id(event, "parent_span_id", event.parent_span_id, 8),
        name if operation is None else _operation_name(attributes, operation),
        genai.INTERNAL if operation is None else operation.span_kind,
        start_ns,
        max(end_ns, start_ns + POINT_NS),
        attributes[:MAX_ATTRIBUTES],
        max(0, len(attributes) - MAX_ATTRIBUTES),
        links[:MAX_LINKS],
        max(0, len(links) - MAX_LINKS),
        None if event.error is None else _cut(str(event.error.get("message") or ""), event.event_id),
        flags,
    )


def log_record(event: Event, capture: Capture = "no_content") -> LogRecord | None:
    """The log record of this line; None where the sampler refused it. Raises Unmappable for a time that is none."""
    flags = _flags(event)
    if not flags & 1:
        return None
    content = capture in ("event_only", "span_and_event")
    own = _ulid(event.event_id)
    time_ns = _ns(event, "timestamp")
    unresolved = [cause for cause in event.caused_by or () if _target(event, cause) is None]
    attributes = _attributes(event, genai.operation_of(event), unresolved, as_span=False, content=content)
    trace_id = _id(event, "trace_id", event.trace_id, 16)
    return LogRecord(
        time_ns,
        time_ns if own is None else min((own >> 80) * 1_000_000, _INT64 - 1),
        _severity(event),
        _cut(event.description or _sentence(event, content), event.event_id),
        attributes[:MAX_ATTRIBUTES],
        max(0, len(attributes) - MAX_ATTRIBUTES),
        flags if trace_id else 0,
        trace_id,
        _id(event, "span_id", event.span_id, 8) if trace_id else b"",
        event.name or event.event_type.lower(),
    )


def _attributes(
    event: Event, operation: genai.Operation | None, unresolved: list[str], *, as_span: bool, content: bool
) -> list[Attribute]:
    uid = event.event_id
    found: list[Attribute] = [] if as_span else [("log.record.uid", uid)]
    found += [
        ("sim.event.id", uid),
        ("sim.event.type", event.event_type),
        ("sim.run.id", event.simulation_id),
        ("session.id", _cut(event.session_id or event.simulation_id, uid)),
        ("sim.turn.number", event.turn_number),
    ]
    if event.agent_id is not None:
        found.append(("sim.agent.id", _cut(event.agent_id, uid)))
    if event.sim_time is not None:
        found.append(("sim.time", _value(event.sim_time, uid)))
    if as_span and event.description is not None:
        found.append(("sim.event.description", _cut(event.description, uid)))
    if as_span and operation is not None:
        found.append(("sim.event.name", event.name))
    if not as_span and event.phase is not None:
        found.append(("sim.event.phase", event.phase))
    if event.caused_by:
        found.append(("sim.caused_by", _listed(event.caused_by, uid)))
    if unresolved:
        found.append(("sim.caused_by.unresolved", _listed(unresolved, uid)))
    if event.error is not None:
        found += _error(event.error, uid)
    if operation is not None:
        found += [(key, _operand(value, uid)) for key, value in genai.attributes(event, operation).items()]
    if event.details:
        found += _details(event, operation, as_span, content)
    return found


def _details(event: Event, operation: genai.Operation | None, as_span: bool, content: bool) -> list[Attribute]:
    """The details that no convention names, sorted, and the content where it may leave; null counts as absent."""
    uid, details = event.event_id, event.details or {}
    named = operation.keys if operation is not None else {}
    withheld = genai.content_keys(event)
    found = []
    for key in sorted(details):
        value = details[key]
        if value is None or key in named or (key in withheld and not content):
            continue
        if attribute := withheld.get(key):
            found.append((attribute, _content(genai.messages(key, value), uid, as_text=as_span)))
        else:
            found.append((f"sim.details.{key}", _value(value, uid)))
    return found


def _error(error: dict[str, Any], uid: str) -> list[Attribute]:
    kind = _cut(str(error.get("type") or "_OTHER"), uid)
    found: list[Attribute] = [("error.type", kind), ("exception.type", kind)]
    for key in ("message", "stacktrace"):
        if error.get(key):
            found.append((f"exception.{key}", _cut(str(error[key]), uid)))
    return found


def _operation_name(attributes: list[Attribute], operation: genai.Operation) -> str:
    known = dict(attributes)
    subject = known.get(operation.subject)
    return f"{known['gen_ai.operation.name']} {subject}" if subject else str(known["gen_ai.operation.name"])


def _links(event: Event, began_ms: int) -> tuple[list[Link], list[str]]:
    """The links of a span, causes first, and the causes whose span nobody knows."""
    causes = dict.fromkeys(event.caused_by or ())
    links, unresolved = [], []
    for cause in causes:
        target = _target(event, cause)
        if target is None:
            unresolved.append(cause)
        elif _may_link(event, cause, target, began_ms):
            links.append(_link(target, "caused_by", cause))
    for other in event.links or ():
        if other not in causes and (target := _target(event, other)) and _may_link(event, other, target, began_ms):
            links.append(_link(target, "related", other))
    return links, unresolved


def _target(event: Event, cause: str) -> str | None:
    """`<trace_id>-<span_id>` of a cause; None where it is unknown. One that `links` lacks is a span of this trace."""
    if event.links is not None and cause in event.links:
        context = event.links[cause]
        return context if context is not None and len(context) == 49 and context[32] == "-" else None
    value = _ulid(cause)
    return None if value is None else f"{event.trace_id}-{value & _LOW_64:016x}"


def _may_link(event: Event, other: str, target: str, began_ms: int) -> bool:
    """Not to itself, not to its parent, and within one trace not to what came after its own beginning.

    Every descendant came after it, and a link to a descendant makes Jaeger's and Grafana's trees endless. A closing
    line knows of its opening id the time and the low 64 bits, which order the ids of one millisecond.
    """
    if target[:32] != event.trace_id:
        return True
    if target[33:] in (event.span_id, event.parent_span_id):
        return False
    value = _ulid(other)
    return value is None or (value >> 80, value & _LOW_64) < (began_ms, int(event.span_id or "0", 16))


def _link(target: str, kind: str, other: str) -> Link:
    attributes: list[Attribute] = [("sim.link.type", kind)]
    if _ulid(other) is not None:
        attributes.append(("sim.event.id", other))
    trace_id, span_id = _bytes(target[:32], 16), _bytes(target[33:], 8)
    if not trace_id or not span_id:
        raise Unmappable(other, "links of hexadecimal ids", target)
    return Link(trace_id, span_id, attributes)


def _severity(event: Event) -> int:
    if event.error is not None:
        return ERROR
    if event.event_type == "MILESTONE":
        return MILESTONE
    if event.event_type == "DETAIL":
        return DEBUG
    if event.event_type == "SYSTEM" and event.phase is None:
        details = event.details or {}
        troubled = (event.name or "").startswith("log.") or details.get("error_type") or details.get("retry_count")
        return WARN if troubled else INFO
    return INFO


def _sentence(event: Event, content: bool) -> str:
    """`name agent key=value …`, for people, without content."""
    withheld = {} if content else genai.content_keys(event)
    words = [event.name or event.event_type.lower()]
    if event.agent_id is not None:
        words.append(event.agent_id)
    for key, value in (event.details or {}).items():
        if key not in withheld:
            words.append(f"{key}={value if type(value) in _PLAIN else orjson.dumps(value).decode()}")
    if event.error is not None:
        words.append(f"{event.error.get('type')}: {event.error.get('message')}")
    return " ".join(words)


def _value(value: Any, uid: str) -> Any:
    """An attribute's value: scalars as they are, everything else as JSON with sorted keys."""
    kind = type(value)
    if kind is str:
        return _cut(value, uid)
    if kind is bool or kind is float:
        return value
    if kind is int:
        return value if -_INT64 <= value < _INT64 else str(value)
    return _cut(_json(value), uid)


def _operand(value: Any, uid: str) -> Any:
    return [_cut(str(item), uid) for item in value[:MAX_LISTED_CAUSES]] if type(value) is list else _value(value, uid)


def _content(value: Any, uid: str, *, as_text: bool) -> Any:
    """Messages: JSON on spans, structured on log records as long as they are within the limit."""
    text = value if type(value) is str else _json(value)
    return _cut(text, uid) if as_text or len(text.encode()) > MAX_VALUE_BYTES else value


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _cut(text: str, uid: str) -> str:
    if len(text) * 4 <= MAX_VALUE_BYTES:
        return text
    encoded = text.encode()
    if len(encoded) <= MAX_VALUE_BYTES:
        return text
    mark = f"… [cut: {len(encoded)} bytes in {uid}]"
    return encoded[: MAX_VALUE_BYTES - len(mark.encode())].decode(errors="ignore") + mark


def _listed(causes: list[str], uid: str) -> list[str]:
    rest = len(causes) - MAX_LISTED_CAUSES
    return causes if rest <= 0 else [*causes[:MAX_LISTED_CAUSES], f"… [cut: {rest} more in {uid}]"]


def _flags(event: Event) -> int:
    try:
        return 3 if event.trace_flags is None else int(event.trace_flags, 16) & 0xFF
    except ValueError:
        raise Unmappable(event.event_id, "trace_flags of two hex digits", event.trace_flags) from None


def _id(event: Event, field: str, text: str | None, size: int) -> bytes:
    value = _bytes(text, size)
    if value is None:
        raise Unmappable(event.event_id, f"{field} of {2 * size} hex digits, not all zero", text)
    return value


@lru_cache(maxsize=4096)  # the spans of a trace share its id, those of a scope their parent's
def _bytes(text: str | None, size: int) -> bytes | None:
    if text is None:
        return b""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    return value if len(value) == size and any(value) else None


def _ns(event: Event, field: str) -> int:
    try:
        ns = to_ns(getattr(event, field))
    except ValueError:
        ns = -1
    if not 0 <= ns < _INT64:
        raise Unmappable(event.event_id, f"{field} of ISO 8601 between 1970 and 2262", getattr(event, field))
    return ns


@lru_cache(maxsize=4096)  # an event is soon a cause, of several others, on two signals
def _ulid(event_id: str) -> int | None:
    try:
        return ids.value(event_id)
    except InvalidParameter:
        return None
