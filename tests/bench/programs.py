"""The programs that `pipeline` and `memory` measure.

    python -m tests.bench.programs ours|sdk URL DIRECTORY TURNS [MARK …]

Both record the same: turns of 1,000 actions with eight attributes each, caused by the decision of the turn, as spans
and as log records, and send them to URL by OTLP over HTTP with gzip. After turn MARK the program says so on standard
output and waits for a line on standard input.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.bench.action import attributes, payload

TURN = 1000
"""Events a turn."""

Turn = Callable[[int], None]
"""Records the turn of that number."""


@contextmanager
def ours(url: str, directory: str, turns: int) -> Iterator[Turn]:
    from otel_events import Recorder

    with Recorder(directory, name="bench", otlp=url) as rec:

        def turn(number: int) -> None:
            with rec.turn(number):
                cause = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2)
                for index in range(TURN):
                    rec.action("alice", "transfer", payload(index), caused_by=cause)

        yield turn


@contextmanager
def sdk(url: str, directory: str, turns: int) -> Iterator[Turn]:
    """With queues that hold everything: by default the SDK would drop most of what is recorded at this speed."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import Link, use_span

    tracers, loggers = TracerProvider(), LoggerProvider()
    room = 2 * turns * TURN
    spans = OTLPSpanExporter(f"{url}/v1/traces", compression=Compression.Gzip)
    logs = OTLPLogExporter(f"{url}/v1/logs", compression=Compression.Gzip)
    tracers.add_span_processor(BatchSpanProcessor(spans, max_queue_size=room))
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs, max_queue_size=room))
    tracer, logger = tracers.get_tracer("bench"), loggers.get_logger("bench")

    def turn(number: int) -> None:
        with tracer.start_as_current_span("turn"):
            with tracer.start_as_current_span("decision.savings_rate") as decision:
                cause = decision.get_span_context()
            for index in range(TURN):
                said = attributes(index)
                span = tracer.start_span("action.transfer", attributes=said, links=[Link(cause)])
                with use_span(span, end_on_exit=True):
                    logger.emit(
                        timestamp=time.time_ns(), event_name="action.transfer", body="transfer", attributes=said
                    )

    yield turn
    tracers.shutdown()
    loggers.shutdown()


def main() -> None:
    kind, url, directory, turns, *marks = sys.argv[1:]
    pauses = set(map(int, marks))
    with {"ours": ours, "sdk": sdk}[kind](url, directory, int(turns)) as turn:
        for number in range(1, int(turns) + 1):
            turn(number)
            if number in pauses:
                print(number, flush=True)
                sys.stdin.readline()


if __name__ == "__main__":
    main()
