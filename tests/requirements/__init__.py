"""The tables of what specifications ask for, each line with the tests that hold it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Requirement:
    """One line of a table: what is asked for, who holds it, and why nobody (or not all of it) is."""

    number: str
    says: str
    tests: tuple[str, ...]
    """Pytest node ids; one without parameters means all of them."""
    reason: str = ""


def tables() -> list[Path]:
    return sorted(Path(__file__).parent.glob("*.toml"))


def load(table: Path) -> list[Requirement]:
    """The lines of a table in its order, the faults of earlier implementations last."""
    rows = tomllib.loads(table.read_text("utf-8"))
    return [
        Requirement(row["number"], row["says"], tuple(row["tests"]), row.get("reason", ""))
        for kind in ("requirement", "fault")
        for row in rows.get(kind, [])
    ]
