"""Names: of runs, of their directories, of events."""

from __future__ import annotations

import os
import re
import secrets
import sys
from functools import lru_cache
from pathlib import Path
from time import gmtime, strftime

from otel_events import ids
from otel_events.errors import InvalidParameter

_NOT_PLAIN = re.compile(r"[^\w.-]")


def text_of(value: object) -> str:
    """The text of something that should have been a string: an int becomes its decimal."""
    try:
        return value if type(value) is str else str(value)
    except Exception:  # noqa: BLE001 - a hostile __str__ must not break the program that records it
        return f"({type(value).__name__})"


def program() -> str:
    """The name of the running program: its file's, or its folder's for `python -m package`."""
    path = Path(sys.argv[0] if sys.argv else "")
    return _NOT_PLAIN.sub("_", path.parent.name if path.stem == "__main__" else path.stem) or "run"


def new_run_id(name: str, now_ns: int) -> str:
    """`<name>-<yyyymmdd-hhmmss>-<4 characters>`, in UTC."""
    if not isinstance(name, str):
        raise InvalidParameter("name", "a string", name)
    begun = strftime("%Y%m%d-%H%M%S", gmtime(now_ns // 1_000_000_000))
    letters = "".join(secrets.choice(ids.ALPHABET.lower()) for _ in range(4))
    return f"{_NOT_PLAIN.sub('_', name)[:150]}-{begun}-{letters}"


def run_directory(directory: str | os.PathLike[str], simulation_id: str) -> Path:
    """Where the run lies. Raises InvalidParameter for an id that cannot be the name of a directory."""
    plain = isinstance(simulation_id, str) and simulation_id not in ("", ".", "..")
    if not plain or re.search(r"[/\\\x00-\x1f\x7f\ud800-\udfff]", simulation_id) or len(_encoded(simulation_id)) > 200:
        raise InvalidParameter("simulation_id", "a directory name of 1 to 200 bytes", simulation_id)
    return Path(directory) / simulation_id


def event_name(prefix: str, kind: object) -> str:
    """`action.transfer` for ("action", "transfer"): lower case, no spaces, bounded."""
    return _dotted(prefix, kind if type(kind) is str else text_of(getattr(kind, "value", kind)))


@lru_cache(maxsize=4096)
def _dotted(prefix: str, kind: str) -> str:
    letters = (letter if letter.isalnum() or letter in "._-" else "_" for letter in kind.strip().lower()[:80])
    return f"{prefix}.{''.join(letters)}" if kind.strip() else prefix


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
