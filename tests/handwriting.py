"""Runs written line by line, without a recorder: fixed ids and times, one millisecond an event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otel_events import ids
from otel_events.codec import encode_event
from otel_events.event import Event
from otel_events.timestamp import to_text

START_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z


class Handwriting:
    """Writes one part of a run; `line` and friends return the Event that they wrote."""

    def __init__(self, directory: Path, part: str = "events.jsonl", *, name: str = "economy", seed: int = 7) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.path, self.name = directory, directory / part, name
        self.ms = START_MS + seed
        self._ids = ids.IdGenerator(lambda size: bytes((seed + index * 37) % 256 for index in range(size)))
        self._began: dict[str, Event] = {}
        self.resource = {"service.name": name, "service.instance.id": directory.name, "sim.mapping.version": 1}

    def line(self, event_type: str, name: str, *, scope: Event | None = None, **fields: Any) -> Event:
        """A point in `scope`; without one it opens a trace."""
        self.ms += 1
        event_id = ids.text(self._ids.next(self.ms) if scope else self._ids.next_trace(self.ms))
        span_id = fields.pop("span_id", ids.span_id(event_id))
        if scope is not None and span_id != scope.span_id:
            fields.setdefault("parent_span_id", scope.span_id)
        known: dict[str, Any] = {
            "timestamp": to_text(self.ms * 1_000_000),
            "turn_number": 1,
            "simulation_id": self.directory.name,
            "trace_id": scope.trace_id if scope else ids.trace_id(event_id),
            "resource": None if self.path.exists() else self.resource,
            "v": 1,
        }
        event = Event(event_id=event_id, event_type=event_type, name=name, span_id=span_id, **{**known, **fields})
        self.append(encode_event(event))
        return event

    def opens(self, event_type: str, name: str, *, scope: Event | None = None, **fields: Any) -> Event:
        return self.line(event_type, name, scope=scope, phase="open", **fields)

    def closes(self, opening: Event, **fields: Any) -> Event:
        repeated = {
            name: value
            for name in ("agent_id", "caused_by", "details", "links", "parent_span_id", "trace_flags")
            if (value := getattr(opening, name)) is not None
        }
        fields = {**repeated, **fields, "span_id": opening.span_id, "trace_id": opening.trace_id}
        fields["started_at"] = opening.timestamp
        return self.line(opening.event_type, opening.name or "", scope=opening, phase="close", **fields)

    def append(self, text: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(text)

    def economy(self, turns: int = 2, actions: int = 3) -> list[Event]:
        """A small run: a trace for itself and one a turn, each with decisions, actions, an LLM call, a detail."""
        run = self.opens("MILESTONE", "run", details={"milestone_type": "simulation_start", "name": self.name})
        events = [run]
        for number in range(1, turns + 1):
            links = {run.event_id: f"{run.trace_id}-{run.span_id}"}
            turn = self.opens("MILESTONE", "turn", turn_number=number, links=links)
            events.append(turn)
            for index in range(actions):
                why = {"agent_id": f"agent_{index}", "turn_number": number}
                decision = self.line(
                    "DECISION",
                    "decision.rate",
                    scope=turn,
                    caused_by=[turn.event_id],
                    details={"new_value": 0.2},
                    **why,
                )
                action = self.line(
                    "ACTION",
                    "action.transfer",
                    scope=turn,
                    caused_by=[decision.event_id],
                    details={"amount": index},
                    **why,
                )
                detail = self.line("DETAIL", "detail.tax", scope=turn, span_id=turn.span_id, **why)
                events += [decision, action, detail]
            call = self.opens("SYSTEM", "llm.call", scope=turn, details={"model": "gpt-4o", "input": "secret"})
            events += [call, self.closes(call, details={"model": "gpt-4o", "input": "secret", "output": "hidden"})]
            events.append(self.closes(turn, turn_number=number))
        events.append(self.closes(run))
        return events
