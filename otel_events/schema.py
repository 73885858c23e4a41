"""The JSON Schema of a line, made from the `Event` class and its docstrings, and the strict check behind `doctor`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from otel_events import ids
from otel_events.event import Event

_ULID: Final = f"^[0-7][{ids.ALPHABET}]{{25}}$"
_UTC: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.(\d{6}|\d{9})Z$"
_PATTERNS: Final = {
    "event_id": _ULID,
    "timestamp": _UTC,
    "started_at": _UTC,
    "trace_id": "^[0-9a-f]{32}$",
    "span_id": "^[0-9a-f]{16}$",
    "parent_span_id": "^[0-9a-f]{16}$",
    "trace_flags": "^[0-9a-f]{2}$",
}
_OURS: Final = ("name", "trace_id", "span_id")
"""Required of a line that states the schema version; lines of other programs may have the nine fields only."""


@cache
def _adapter() -> TypeAdapter[Event]:
    config = ConfigDict(use_attribute_docstrings=True, extra="ignore", strict=True)
    Event.__pydantic_config__ = config  # type: ignore[attr-defined]  # how pydantic configures a stdlib dataclass
    return TypeAdapter(Event)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one line. Unknown fields are allowed; absent ones are left out, not null."""
    schema = _adapter().json_schema()
    schema["properties"].pop("extra")
    for name, rules in schema["properties"].items():
        rules.pop("default", None)
        if name in _PATTERNS:
            rules["pattern"] = _PATTERNS[name]
    schema["properties"]["turn_number"]["minimum"] = 0
    return schema


def faults(line: bytes) -> list[str]:
    """What this line breaks of the schema, a sentence each; [] for a good one."""
    try:
        event = _adapter().validate_json(line)
    except ValidationError as error:
        return [f"{'.'.join(map(str, fault['loc'])) or 'line'}: {fault['msg']}" for fault in error.errors()]
    found = []
    if event.v is not None:
        found += [f"{name}: expected a value, got none" for name in _OURS if getattr(event, name) is None]
        for name, pattern in _PATTERNS.items():
            text = getattr(event, name)
            if text is not None and not re.search(pattern, text):
                found.append(f"{name}: expected {pattern}, got {text!r}")
    if event.turn_number < 0:
        found.append(f"turn_number: expected an integer ≥ 0, got {event.turn_number}")
    return found
