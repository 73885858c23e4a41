"""The command that says whether a run is whole: doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from collector.cli import options
from collector.cli.render import document, show_line, target_lines
from collector.cli.summary import plain
from collector.runs import locate

if TYPE_CHECKING:
    from collector.doctor import Report


def doctor(run: options.Run = "", directory: options.Directory = Path("output"), json: options.Json = False) -> None:
    """Check that a run is whole.

    Every fault is told with its place. On damage the exit code is 1.

    \b
    otel-events doctor
    otel-events doctor /backup/economy-20261121-101500-k3f9
    """
    from collector.doctor import examine
    from otel_events.ship import target_stats

    report = examine(locate(directory, run))
    targets = target_stats(report.run)
    if json:
        document({**_numbers(report), "targets": targets})
    else:
        _show(report)
        for line in target_lines(targets):
            show_line(line)
    if report.damaged:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    for fault in report.faults:
        line = Text(f"{fault.severity:<6}  {fault.kind:<13}  ", "bold red" if fault.severity == "damage" else "dim")
        show_line(line.append(plain(f"{fault.where}: {fault.reason}"), "not bold"))
    for kind, count in report.counts.items():
        more = count - sum(fault.kind == kind for fault in report.faults)
        if more:
            show_line(f"{'':<6}  {kind:<13}  … and {more:,} more")
    verdict = "damaged" if report.damaged else "whole"
    parts = f"{report.parts} part{'' if report.parts == 1 else 's'}"
    show_line(Text(plain(f"{report.run.resolve().name}: {verdict}, {report.events:,} events in {parts}"), "bold"))


def _numbers(report: Report) -> dict[str, object]:
    return {
        "run": report.run.resolve().name,
        "damaged": report.damaged,
        **{name: getattr(report, name) for name in ("parts", "lines", "events", "counts")},
        "faults": [{**asdict(fault), "severity": fault.severity} for fault in report.faults],
    }
