"""What one event costs the thread that records it.

Every contender records the same action: eight attributes, its type, the run, who, in which turn, and one cause. Ours
is `rec.action(...)` with default settings: when it returns, the line is in the file. The SDK's span is started and
ended, with the cause as a link, behind a BatchSpanProcessor whose exporter does nothing; its log record likewise. The
loggers write a line of JSON to a file and flush it, as they do by default. Nothing is shipped by anybody.

All run in one process, in rounds: in every round each contender records a batch that fits the SDK's queue, so that it
drops nothing, and the order is rotated by one. Between batches, outside the clock, queues are flushed. A figure is the
median over the rounds of wall time divided by the size of the batch; the first round is thrown away. The SDK's worker
thread runs while the clock does, because it also does in a program. `ratio` is to `rec.action`.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from otel_events import Recorder
from tests.bench.action import RUN, attributes, payload
from tests.bench.table import Row

TITLE = "One event on the calling thread"

CAUSE = "01K0000000000000000000000A"
"""The cause, for loggers."""

Emit = Callable[[int], None]
"""Records one event; the number makes it differ from the one before."""


def nothing() -> None:
    """For contenders that have no queue."""


Contender = tuple[str, Emit, Callable[[], Any]]
"""Name, the call to measure, and what empties its queue."""


def rows(*, quick: bool) -> list[Row]:
    rounds, batch = (6, 200) if quick else (31, 1000)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        contenders: list[Contender] = []
        for contender in (ours, sdk, structured, standard, with_eliot, with_loguru, with_logfire):
            with suppress(ImportError):
                contenders += stack.enter_context(contender(directory))
        figures = _medians(contenders, rounds, batch)
    reference = figures["rec.action"]
    return [Row(name, figure, "µs", figure / reference) for name, figure in figures.items()]


def _medians(contenders: list[Contender], rounds: int, batch: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    for number in range(rounds):
        turned = number % len(contenders)
        for name, emit, flush in contenders[turned:] + contenders[:turned]:
            start = time.perf_counter()
            for index in range(batch):
                emit(index)
            times[name].append((time.perf_counter() - start) / batch * 1e6)
            flush()
    return {name: median(measured[1:]) for name, measured in times.items()}


@contextmanager
def ours(directory: Path) -> Iterator[list[Contender]]:
    with Recorder(directory, name="bench") as rec, rec.turn(7):
        cause = rec.decision("alice", "savings_rate", old_value=0.1, new_value=0.2)

        def action(index: int) -> None:
            rec.action("alice", "transfer", payload(index), caused_by=cause)

        def suppressed(index: int) -> None:
            rec.state("wealth", 50, index, agent_id="alice", caused_by=cause)

        yield [("rec.action", action, rec.flush), ("rec.state, suppressed by the level", suppressed, nothing)]


@contextmanager
def sdk(directory: Path) -> Iterator[list[Contender]]:
    from opentelemetry import trace
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    spans, logs = BatchSpanProcessor(_NoSpanExport()), BatchLogRecordProcessor(_NoLogExport())
    tracers, loggers = TracerProvider(), LoggerProvider()
    tracers.add_span_processor(spans)
    loggers.add_log_record_processor(logs)
    tracer, logger = tracers.get_tracer("bench"), loggers.get_logger("bench")
    turn, cause = tracer.start_span("turn"), tracer.start_span("decision").get_span_context()
    inside = trace.set_span_in_context(turn)

    def span(index: int) -> None:
        tracer.start_span(
            "action.transfer", context=inside, attributes=attributes(index), links=[trace.Link(cause)]
        ).end()

    def record(index: int) -> None:
        logger.emit(
            timestamp=time.time_ns(),
            context=inside,
            event_name="action.transfer",
            body="transfer",
            attributes={**attributes(index), "caused_by": CAUSE},
        )

    yield [
        ("OpenTelemetry SDK, span", span, spans.force_flush),
        ("OpenTelemetry SDK, log record", record, logs.force_flush),
    ]
    tracers.shutdown()
    loggers.shutdown()


class _NoSpanExport:
    def export(self, batch: object) -> Any:
        from opentelemetry.sdk.trace.export import SpanExportResult

        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        nothing()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class _NoLogExport(_NoSpanExport):
    def export(self, batch: object) -> Any:
        from opentelemetry.sdk._logs.export import LogRecordExportResult

        return LogRecordExportResult.SUCCESS


@contextmanager
def structured(directory: Path) -> Iterator[list[Contender]]:
    """As its documentation on performance recommends; run and turn are bound in the context, as ours are."""
    import structlog

    with (directory / "structlog.jsonl").open("wb") as file:
        logger = structlog.wrap_logger(
            structlog.BytesLogger(file),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(serializer=orjson.dumps),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        ).bind()
        structlog.contextvars.bind_contextvars(simulation_id=RUN, turn_number=7)

        def info(index: int) -> None:
            logger.info(
                "action.transfer", event_type="ACTION", agent_id="alice", caused_by=CAUSE, action=payload(index)
            )

        yield [("structlog with orjson", info, nothing)]
        structlog.contextvars.clear_contextvars()


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"timestamp": self.formatTime(record), "level": record.levelname, "message": record.getMessage()}
        return json.dumps({**fields, **record.fields})  # type: ignore[attr-defined]


@contextmanager
def standard(directory: Path) -> Iterator[list[Contender]]:
    handler = logging.FileHandler(directory / "logging.jsonl")
    handler.setFormatter(_JsonFormatter())
    logger = logging.getLogger("otel-events-bench")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)

    def info(index: int) -> None:
        fields = {"caused_by": CAUSE, **attributes(index)}
        logger.info("action.transfer", extra={"fields": fields})

    yield [("logging with a JSON formatter", info, nothing)]
    logger.removeHandler(handler)
    handler.close()


@contextmanager
def with_eliot(directory: Path) -> Iterator[list[Contender]]:
    import eliot

    with (directory / "eliot.jsonl").open("wb") as file:
        destination = eliot.FileDestination(file)
        eliot.add_destinations(destination)

        def message(index: int) -> None:
            eliot.log_message("action.transfer", caused_by=CAUSE, **attributes(index))

        with eliot.start_action(action_type="turn", turn_number=7):
            yield [("eliot", message, nothing)]
        eliot.remove_destination(destination)


@contextmanager
def with_loguru(directory: Path) -> Iterator[list[Contender]]:
    from loguru import logger

    logger.remove()
    sink = logger.add(directory / "loguru.jsonl", serialize=True)

    def info(index: int) -> None:
        logger.bind(caused_by=CAUSE, **attributes(index)).info("action.transfer")

    yield [("loguru, serialized", info, nothing)]
    logger.remove(sink)


@contextmanager
def with_logfire(directory: Path) -> Iterator[list[Contender]]:
    import logfire
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor: Any = BatchSpanProcessor(_NoSpanExport())
    local = logfire.configure(
        local=True, send_to_logfire=False, console=False, metrics=False, additional_span_processors=[processor]
    )

    def info(index: int) -> None:
        local.info("action.transfer", caused_by=CAUSE, **attributes(index))

    yield [("logfire", info, processor.force_flush)]
    local.shutdown()
