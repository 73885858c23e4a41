"""A line of a Pidgin log, read and written back. Two formats, told apart by the line itself:

    pidgin-flat    {"conversation_id":"conv_1","turn_number":0,"timestamp":"…+00:00","event_type":"TurnStartEvent",…}
    pidgin-nested  {"timestamp": "…", "event_type": "TurnStartEvent", "data": {"conversation_id": "1", …}}

`original(event)` is the line, byte for byte: `src` says which fields it had, in which order, and how the time was
spelt; where that does not give the bytes back (odd spacing, escapes, numbers, doubled keys), it holds them itself.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Final

from otel_events.codec import decode, encode_event
from otel_events.event import Event
from otel_events.timestamp import to_ns

FLAT: Final = "pidgin-flat"
NESTED: Final = "pidgin-nested"
_MAPPED: Final = ("timestamp", "event_type", "conversation_id", "agent_id", "turn_number", "data")
_RENAMED: Final = {
    "MessageRequestEvent": {"conversation_history": "input"},
    "MessageChunkEvent": {"chunk": "delta"},
    "MessageCompleteEvent": {"message": "output"},
    "SystemPromptEvent": {"prompt": "system_instructions"},
    "ThinkingCompleteEvent": {"thinking_content": "thinking"},
}
_ASIDE: Final = {"ConversationStartEvent": "initial_prompt", "TurnCompleteEvent": "turn"}
"""Content that other events have as their own: it is kept in `src.rest`, for `original` only."""


@dataclass(frozen=True)
class SourceLine:
    """A line of the source that is understood: `ns` its time, `payload` what no field of an event holds."""

    number: int
    raw: bytes
    format: str
    type: str
    ns: int
    fields: dict[str, Any]
    payload: dict[str, Any]
    aside: dict[str, Any]
    src: dict[str, Any]

    @property
    def derived(self) -> dict[str, Any]:
        """The `src` of an event that shares this line with another one, which keeps it."""
        return {"format": self.format}

    @property
    def agent(self) -> str | None:
        agent = self.fields.get("agent_id")
        return agent if isinstance(agent, str) else None

    @property
    def turn(self) -> dict[str, int]:
        number = self.fields.get("turn_number")
        return {"turn_number": number + 1} if type(number) is int and 0 <= number < 1 << 63 else {}


def conversation_of(raw: bytes) -> str | None:
    """The id of the conversation that a line belongs to; None if it is not Pidgin's."""
    try:
        _, _, fields = _split(raw)
    except ValueError:
        return None
    conversation = fields.get("conversation_id")
    return conversation if isinstance(conversation, str) and conversation else None


def _split(raw: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(format, whole object, the object that has the fields). Raises ValueError, a sentence."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected a JSON object, got a torn or alien line ({error})") from None
    if not isinstance(line, dict) or not isinstance(line.get("event_type"), str):
        raise ValueError("event_type: expected the name of a Pidgin event, got none")
    nested = isinstance(line.get("data"), dict) and "conversation_id" not in line
    return (NESTED, line, line["data"]) if nested else (FLAT, line, line)


def parse(raw: bytes, number: int, conversation: str, timezone: tzinfo | None) -> SourceLine:
    """Read one line. Raises ValueError, a sentence, for a line that is no event of this conversation."""
    format_, line, fields = _split(raw)
    if fields.get("conversation_id") != conversation:
        raise ValueError(f"conversation_id: expected {conversation!r}, got {fields.get('conversation_id')!r}")
    text = line.get("timestamp")
    if not isinstance(text, str):
        raise ValueError(f"timestamp: expected an ISO 8601 time, got {text!r}")
    ns, zone = _time(text, timezone)
    renamed = _RENAMED.get(line["event_type"], {})
    aside = {key: fields[key] for key in (_ASIDE.get(line["event_type"]),) if key in fields}
    payload = {renamed.get(key, key): fields[key] for key in fields if key not in _MAPPED and key not in aside}
    src: dict[str, Any] = {"format": format_, "line": number, "type": line["event_type"], "ts": text, **zone}
    if isinstance(fields.get("event_id"), str):
        src["id"] = fields["event_id"]
    if aside:
        src["rest"] = aside
    src["keys"] = list(fields) if format_ == FLAT else [list(line), list(fields)]
    return SourceLine(number, raw, format_, line["event_type"], ns, fields, payload, aside, src)


def _time(text: str, timezone: tzinfo | None) -> tuple[int, dict[str, str]]:
    """Nanoseconds, and what `src` says of the zone: nothing where the source has one."""
    try:
        ns = to_ns(text)
    except ValueError as error:
        raise ValueError(f"timestamp: {error}") from None
    if re.search(r"([Zz]|[+-]\d\d:?\d\d)$", text):
        return ns, {}
    if timezone is None:
        return ns, {"tz": "assumed"}
    naive = datetime.fromisoformat(re.sub(r"[.,]\d+$", "", text))
    offset = naive.replace(tzinfo=timezone).utcoffset()
    return ns - int((offset.total_seconds() if offset else 0) * 1e9), {"tz": str(timezone)}


def original(event: Event) -> bytes | None:
    """The line of the source from which this event was made, without its newline; None for one that has none."""
    src = event.src or {}
    if "raw" in src:
        return src["raw"].encode() if isinstance(src["raw"], str) else base64.b64decode(src["raw"]["base64"])
    if "keys" not in src:
        return None
    renamed = _RENAMED.get(src["type"], {})
    rest = src.get("rest", {})
    payload = (event.details or {}).get("params", {}) if event.name == "run" and event.opens else event.details or {}

    def value(key: str) -> Any:
        mapped = {
            "timestamp": src["ts"],
            "event_type": src["type"],
            "conversation_id": event.simulation_id,
            "agent_id": event.agent_id,
            "turn_number": event.turn_number - 1,
        }
        if key in rest:
            return rest[key]
        return mapped[key] if key in mapped else payload[renamed.get(key, key)]

    if src["format"] == FLAT:
        line = {key: value(key) for key in src["keys"]}
        return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    outer, inner = src["keys"]
    data = {key: value(key) for key in inner}
    return json.dumps({key: data if key == "data" else value(key) for key in outer}).encode()


def sealed(event: Event, raw: bytes) -> Event:
    """The event whose `src` gives back `raw`: where the fields do not, the line itself is kept."""
    try:
        kept = original(decode(encode_event(event)))
    except (KeyError, TypeError, ValueError):
        kept = None
    if kept == raw:
        return event
    src = {key: value for key, value in (event.src or {}).items() if key not in ("keys", "rest")}
    return replace(event, src={**src, "raw": text_or_base64(raw)})


def text_or_base64(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
