"""The `error` field: `{type, message, stacktrace}` of an exception, or of whatever was given for one."""

from __future__ import annotations

import traceback
from typing import Any

MAX_STACKTRACE = 16_384


def failure(error: object) -> dict[str, Any]:
    """The `error` field. Names types as OpenTelemetry's `error.type` does: builtins bare, others with their module."""
    if isinstance(error, dict):
        return {"type": "error", "message": "", **error}
    if not isinstance(error, BaseException):
        return {"type": "error", "message": _message(error)}
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    fields = {"type": name, "message": _message(error)}
    if error.__traceback__ is not None:
        stacktrace = "".join(traceback.format_exception(error))
        if len(stacktrace) > MAX_STACKTRACE:  # by whole lines, so that a redaction hook sees no half of anything
            stacktrace = stacktrace[-MAX_STACKTRACE:].partition("\n")[2]
        fields["stacktrace"] = stacktrace
    return fields


def _message(error: object) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a hostile __str__ must not break the program that reports its error
        return f"(the text of this {type(error).__name__} fails)"
