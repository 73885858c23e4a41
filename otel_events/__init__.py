"""Record what happens in a simulation or agent run, see it in a tracing backend, and ask why it happened.

Recorder ── one write() a line ──► output/<run>/events.jsonl ──► shipper ── OTLP ──► Jaeger, Tempo, Collector
                                                          └────► queries: otel-events why …, REST, Python

from otel_events import Recorder

with Recorder(name="economy", verbosity="STATE") as rec:
    with rec.turn(1) as turn:
        decision = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2, caused_by=turn)
        action = rec.action("alice", "transfer", {"to": "bob", "amount": 12.5}, caused_by=decision)
        rec.state("wealth", 50, 37.5, agent_id="alice", caused_by=action)
"""

from otel_events.context import carry
from otel_events.errors import (
    CorruptLine,
    InvalidParameter,
    OtelEventsError,
    RecorderClosed,
    RunExists,
)
from otel_events.event import LEVELS, Event
from otel_events.handle import Handle
from otel_events.queued import Queue
from otel_events.recorder import Recorder
from otel_events.scope import Scope
from otel_events.silent import current
from otel_events.stats import Stats

__all__ = (
    "LEVELS",
    "CorruptLine",
    "Event",
    "Handle",
    "InvalidParameter",
    "OtelEventsError",
    "Queue",
    "Recorder",
    "RecorderClosed",
    "RunExists",
    "Scope",
    "Stats",
    "carry",
    "current",
)
