"""One row of a bench and the Markdown table of several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Row(NamedTuple):
    """`ratio` is the figure divided by that of the row which the bench compares with, None where there is none."""

    name: str
    figure: float
    unit: str
    ratio: float | None = None


def markdown(title: str, rows: Iterable[Row]) -> str:
    lines = [f"### {title}", "", "| what | figure | ratio |", "|---|--:|--:|"]
    lines += [f"| {row.name} | {_number(row.figure)} {row.unit} | {_ratio(row.ratio)} |" for row in rows]
    return "\n".join(lines)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} ×"
