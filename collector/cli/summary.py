"""What happened, in a few words: the summary of an event in listings and trees. Pure; never has a control character."""

from __future__ import annotations

import json
from typing import Any

from otel_events.event import Event
from otel_events.timestamp import to_ns

_SCOPE_NAMES = ("run", "turn", "session", "step", "llm.call", "tool.call")
_TYPED = ("decision_type", "action_type", "variable_name", "calculation_type", "milestone_type")
_SAID_ELSEWHERE = ("action_payload", "old_value", "new_value", "scope", "intermediate_values", *_TYPED)
_CONTENT = ("output", "input", "system_instructions", "delta", "text")
_MAX_VALUE = 60
_MAX_FLOAT = 12


def summary(event: Event, closing: Event | None = None, phase: str = "") -> str:
    """`savings_rate 0.1 → 0.2`, `transfer to=bob amount=12.5`, `turn 1`, `chat gpt-4o 120→9 tokens`.

    For a scope, `event` is what opened it and `closing` what closed it, whose details win. `phase` is said after it."""
    details = {**(event.details or {}), **((closing.details if closing is not None else None) or {})}
    error = (closing or event).error
    words = _scope(event, details) if event.name in _SCOPE_NAMES else _point(event, details)
    words = f"{words} {phase}".rstrip()
    if error is not None:
        words = f"{words} ✗ {error.get('type') or 'error'}: {error.get('message') or ''}".rstrip(": ")
    return plain(words)


def phase(event: Event) -> str:
    """What the line does to its scope: `opens`, `closes after 2 ms`; empty for a point event."""
    if event.closes:
        return f"closes after {_duration(event)}".removesuffix(" after ")
    return "opens" if event.opens else ""


def _duration(closing: Event) -> str:
    """How long a closed scope took, in the unit that suits it; empty where a time cannot be read."""
    try:
        ns = to_ns(closing.timestamp) - to_ns(closing.started_at or closing.timestamp)
    except ValueError:
        return ""
    if ns < 1_000_000:
        return f"{ns / 1_000:.0f} µs"
    if ns < 1_000_000_000:
        return f"{ns / 1_000_000:.0f} ms"
    seconds = ns / 1_000_000_000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def plain(text: str) -> str:
    """The text on one line: what moves the cursor, hides or reorders text is shown, not done."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def value(item: Any) -> str:
    """A value in a listing: texts as they are, everything else as JSON, at most 60 characters."""
    text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    if isinstance(item, float) and len(text) > _MAX_FLOAT:
        text = f"{item:.10g}"
    if isinstance(item, str) and (not text or " " in text):
        text = json.dumps(text, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"


def _scope(event: Event, details: dict[str, Any]) -> str:
    if event.name == "turn":
        return f"turn {event.turn_number}"
    if event.name == "run":
        return f"run {details.get('name') or event.simulation_id}"
    if event.name == "session":
        return f"session {event.session_id or ''}".rstrip()
    if event.name == "tool.call":
        return f"{details.get('tool_name') or 'tool'} {_pairs(details.get('arguments'))}".rstrip()
    if event.name == "llm.call":
        return _llm_call(details)
    return f"{event.name} {event.description or ''}".rstrip()


def _llm_call(details: dict[str, Any]) -> str:
    words = [str(details.get("operation") or "chat"), str(details.get("model") or "")]
    read, written = details.get("input_tokens"), details.get("output_tokens")
    if read is not None or written is not None:
        words.append(f"{'?' if read is None else read}→{'?' if written is None else written} tokens")
    return " ".join(word for word in words if word)


def _point(event: Event, details: dict[str, Any]) -> str:
    typed = next((details[key] for key in _TYPED if isinstance(details.get(key), str)), None)
    what = typed or (event.name or event.event_type.lower()).removeprefix(f"{event.event_type.lower()}.")
    if "old_value" in details or "new_value" in details:
        old, new = details.get("old_value"), details.get("new_value")
        return f"{what} → {value(new)}" if old is None else f"{what} {value(old)} → {value(new)}"
    content = next((details[key] for key in _CONTENT if details.get(key) is not None), None)
    if content is not None:
        return f"{what} {value(content.get('content', content) if isinstance(content, dict) else content)}"
    payload = details.get("action_payload", details.get("intermediate_values"))
    rest = {key: item for key, item in details.items() if key not in _SAID_ELSEWHERE}
    pairs = " ".join(filter(None, (_pairs(payload), _pairs(rest))))
    return f"{what} {pairs or event.description or ''}".rstrip()


def _pairs(details: Any) -> str:
    if not isinstance(details, dict):
        return "" if details is None else value(details)
    return " ".join(f"{key}={value(item)}" for key, item in details.items() if item is not None)
