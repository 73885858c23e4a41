"""Any Python value -> a JSON value: one written rule for each kind, and nothing raises.

| value | in the line |
|---|---|
| None, bool, str, int of 64 bits, finite float, list, dict | themselves |
| NaN, ±infinity | `"NaN"`, `"Infinity"`, `"-Infinity"` (never `null`) |
| int beyond 64 bits | its decimal digits as a string |
| str with lone surrogates | each as the six characters `\\udXXX` |
| tuple, deque | list |
| set, frozenset | list, sorted by its encoded members |
| Enum | its value |
| dataclass, pydantic model, Mapping | object |
| datetime, date, time | ISO 8601 as it stands, `Z` for UTC |
| timedelta | seconds |
| Decimal, Fraction, UUID, Path | str(value) |
| numpy scalar, array | number, list |
| exception | `{"type", "message"}` |
| bytes up to 4 KiB | `{"base64", "size"}` |
| longer bytes | `{"blob": sha256, "size", "media_type"}`, the bytes themselves in `blobs/<sha256>` |
| a key that is no string | its JSON text; `~2`, `~3` … is appended where that text is taken |
| anything else, a cycle, more than 64 levels | `{"repr", "type"}`, and counted |
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import orjson

MAX_INLINE_BYTES = 4096
MAX_DEPTH = 64
MAX_REPR = 1000
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1
_MAGIC = (
    (b"RIFF", "audio/wav"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF", "application/pdf"),
)


class Normaliser:
    """Applies the table above; also the one place where strings are redacted.

    `store_blob(name, data)` keeps long bytes; without it they are described, not kept. `redact` maps every string,
    keys included; where it raises or returns no string, the value becomes `""` and is counted.
    """

    def __init__(
        self,
        store_blob: Callable[[str, bytes], None] | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._store_blob = store_blob
        self.redact = redact
        self.without_rule = 0
        self.redaction_failures = 0

    def __call__(self, value: object) -> Any:
        return self._plain(value, ())

    def _plain(self, value: object, within: tuple[int, ...]) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value)  # type: ignore[arg-type]
        if kind is int:
            return _integer(value)  # type: ignore[arg-type]
        if kind is float:
            return value if math.isfinite(value) else _not_finite(value)  # type: ignore[arg-type]
        try:
            if id(value) in within or len(within) >= MAX_DEPTH:
                return self._described(value)
            return self._compound(value, (*within, id(value)))
        except Exception:  # noqa: BLE001 - invariant 8: a hostile object must not break the program that records it
            return self._described(value)

    def _compound(self, value: object, within: tuple[int, ...]) -> Any:
        if isinstance(value, Enum):
            return self._plain(value.value, within)
        if isinstance(value, Mapping):
            return self._object(value.items(), within)
        if isinstance(value, list | tuple | deque):
            return [self._plain(item, within) for item in value]
        if isinstance(value, set | frozenset):
            return sorted((self._plain(item, within) for item in value), key=orjson.dumps)
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(bytes(value))
        return self._scalar(value, within)

    def _scalar(self, value: object, within: tuple[int, ...]) -> Any:
        if isinstance(value, datetime) and value.utcoffset() == timedelta(0) and value.tzinfo is UTC:
            return value.replace(tzinfo=None).isoformat() + "Z"
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, Decimal | Fraction | UUID | PurePath):
            return self._text(str(value))
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return _integer(int.__int__(value))
        if isinstance(value, float):
            return self._plain(float.__float__(value), within)
        if isinstance(value, BaseException):
            return {"type": type(value).__qualname__, "message": self._text(str(value))}
        return self._structured(value, within)

    def _structured(self, value: object, within: tuple[int, ...]) -> Any:
        if isinstance(value, type):
            return self._described(value)
        if dataclasses.is_dataclass(value):
            pairs = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            return self._object(pairs, within)
        if isinstance(dumped := _call(value, "model_dump"), dict):
            return self._object(dumped.items(), within)
        if type(value).__module__.partition(".")[0] == "numpy":
            return self._plain(_call(value, "tolist"), within)
        return self._described(value)

    def _object(self, pairs: Iterable[tuple[object, object]], within: tuple[int, ...]) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, item in pairs:
            text = taken = self._text(key) if type(key) is str else self._key(key, within)
            number = 2
            while text in plain:
                text, number = f"{taken}~{number}", number + 1
            plain[text] = self._plain(item, within)
        return plain

    def _key(self, key: object, within: tuple[int, ...]) -> str:
        plain = self._plain(key, within)
        return plain if isinstance(plain, str) else orjson.dumps(plain).decode()

    def _text(self, value: str) -> str:
        if self.redact is not None:
            value = self._redacted(value, self.redact)
        if value.isascii():
            return value
        return value.encode("utf-8", "backslashreplace").decode()

    def _redacted(self, value: str, redact: Callable[[str], str]) -> str:
        try:
            redacted: object = redact(value)
        except Exception:  # noqa: BLE001 - fail closed: rather no value than an unredacted one
            redacted = None  # invariant 7
        if isinstance(redacted, str):
            return str.__str__(redacted)
        self.redaction_failures += 1
        return ""

    def _bytes(self, value: bytes) -> dict[str, Any]:
        if len(value) <= MAX_INLINE_BYTES:
            return {"base64": base64.b64encode(value).decode(), "size": len(value)}
        name = hashlib.sha256(value).hexdigest()
        if self._store_blob is not None:
            self._store_blob(name, value)
        media_type = next((kind for magic, kind in _MAGIC if value.startswith(magic)), "application/octet-stream")
        return {"blob": name, "size": len(value), "media_type": media_type}

    def _described(self, value: object) -> dict[str, str]:
        self.without_rule += 1
        try:
            shown = repr(value)
        except Exception:  # noqa: BLE001 - see _plain
            shown = "(its repr fails)"
        kind = type(value)
        return {"repr": self._text(shown)[:MAX_REPR], "type": f"{kind.__module__}.{kind.__qualname__}"}


def _integer(value: int) -> int | str:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    try:
        return str(value)
    except ValueError:  # more digits than sys.set_int_max_str_digits allows
        return hex(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _call(value: object, method: str) -> object:
    function = getattr(value, method, None)
    return function() if callable(function) else None
