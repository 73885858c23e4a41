"""The reader over HTTP: the four endpoints of the simulations' specification.

| status | when |
|---|---|
| 404 | no such run or event; any path that leads out of the directory is no run |
| 422 | a parameter of the wrong type or out of its range: unknown event type, limit 0, depth 21 |
| 400 | parameters that are well formed each but mean nothing: a time that is none, an inverted range |
| 503 | the run is there but cannot be read |

Every error is `{"detail": …}`. Events are answered as they stand in the log. Reads only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson

from collector import queries
from collector.answers import Found, Node
from collector.causality import DEFAULT_DEPTH, MAX_DEPTH
from collector.runs import find_run
from otel_events.errors import EventNotFound, InvalidParameter, MissingExtra, RunNotFound
from otel_events.filters import DEFAULT_LIMIT, MAX_LIMIT, EventFilter
from otel_events.schema import json_schema

try:
    import uvicorn
    from fastapi import FastAPI, Query, Request, Response
    from fastapi.responses import JSONResponse
except ImportError as error:
    raise MissingExtra("reader", "serving a run over HTTP") from error

DEFAULT_PORT = 8000
_PORTS_TRIED = 100

EventType = Literal["MILESTONE", "DECISION", "ACTION", "STATE", "DETAIL", "SYSTEM"]
Types = Annotated[list[EventType], Query(default_factory=list, description="Any of these types; may be repeated")]
MoreTypes = Annotated[list[EventType], Query(default_factory=list, alias="event_types[]", include_in_schema=False)]
Texts = Annotated[list[str], Query(default_factory=list, description="Any of these; may be repeated")]
MoreAgents = Annotated[list[str], Query(default_factory=list, alias="agent_ids[]", include_in_schema=False)]
Turn = Annotated[int | None, Query(ge=0)]
Time = Annotated[str | None, Query(description="ISO 8601, inclusive; UTC unless it has a zone")]
Depth = Annotated[int, Query(ge=1, le=MAX_DEPTH, description="Steps to follow")]

_EVENT = json_schema()
_EVENTS = {"type": "array", "items": _EVENT}
_IDS = {"type": "array", "items": {"type": "string"}}
_RUNS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "name": {"type": "string"},
            "start_time": {"type": ["string", "null"], "description": "Timestamp of the run's first event"},
            "event_count": {"type": "integer"},
        },
    },
}


def create_app(directory: Path) -> FastAPI:
    """The service for the runs under a directory, or for the one run that it is."""
    app = FastAPI(title="otel-events reader", description=__doc__.partition("\n")[0])
    app.add_exception_handler(RunNotFound, _run_not_found)
    app.add_exception_handler(EventNotFound, _status(404))
    app.add_exception_handler(InvalidParameter, _status(400))
    app.add_exception_handler(OSError, _unreadable)

    @app.get("/health")
    def health() -> dict[str, str]:
        """Whether the service answers."""
        return {"status": "healthy"}

    @app.get("/simulations", responses=_answers(simulations=_RUNS))
    def simulations() -> Response:
        """Every run, the newest first."""
        return _json(orjson.dumps({"simulations": [run.public for run in queries.runs(directory)]}))

    @app.get(
        "/simulations/{sim_id}/events",
        responses=_answers(events=_EVENTS, total={"type": "integer"}, has_more={"type": "boolean"}),
    )
    def events(
        sim_id: str,
        event_types: Types,
        more_types: MoreTypes,
        agent_ids: Texts,
        more_agents: MoreAgents,
        names: Texts,
        session_ids: Texts,
        turn_start: Turn = None,
        turn_end: Turn = None,
        start_timestamp: Time = None,
        end_timestamp: Time = None,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """The events that the filters select, in order, a page at a time."""
        criteria = EventFilter(
            event_types=[*event_types, *more_types],
            agent_ids=[*agent_ids, *more_agents],
            names=names,
            session_ids=session_ids,
            turn_start=turn_start,
            turn_end=turn_end,
            start_timestamp=start_timestamp,
            end_timestamp=end_timestamp,
            limit=limit,
            offset=offset,
        )
        page = queries.find(find_run(directory, sim_id), criteria)
        rest = orjson.dumps({"total": page.total, "has_more": page.has_more})
        return _json(b'{"events":%s,%s' % (_array(page.events), rest[1:]))

    @app.get("/simulations/{sim_id}/events/{event_id}", responses=_answers(_EVENT))
    def event(sim_id: str, event_id: str) -> Response:
        """One event."""
        return _json(queries.get(_run_of(directory, sim_id, event_id), event_id).raw)

    @app.get(
        "/simulations/{sim_id}/causality/{event_id}",
        responses=_answers(
            event_id={"type": "string"},
            event=_EVENT,
            upstream=_EVENTS,
            downstream=_EVENTS,
            missing=_IDS,
            truncated={"type": "object", "properties": {"upstream": _IDS, "downstream": _IDS}},
        ),
    )
    def causality(sim_id: str, event_id: str, depth: Depth = DEFAULT_DEPTH) -> Response:
        """An event, all its causes (`upstream`) and all its effects (`downstream`), the nearest first. A scope is its
        opening event. `missing`: causes that are not in the run. `truncated`: events beyond which it would go on."""
        run = _run_of(directory, sim_id, event_id)
        found = queries.get(run, event_id)
        upstream, downstream = queries.causes(run, event_id, depth), queries.effects(run, event_id, depth)
        truncated = {"upstream": upstream.truncated, "downstream": downstream.truncated}
        return _json(
            b'{"event_id":%s,"event":%s,"upstream":%s,"downstream":%s,"missing":%s,"truncated":%s}'
            % (
                orjson.dumps(event_id),
                found.raw,
                _array(_openings(upstream.nodes)),
                _array(_openings(downstream.nodes)),
                orjson.dumps(upstream.missing),
                orjson.dumps(truncated),
            )
        )

    return app


def serve(
    directory: Path,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    next_free: bool = False,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C. `next_free` takes one of the next 100 ports where the port is in use; `announce` is told the
    address. Raises OSError when the port cannot be had."""
    listener = _listener(host, port, _PORTS_TRIED if next_free else 1)
    if announce is not None:
        announce(f"http://{'localhost' if host == '127.0.0.1' else host}:{listener.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(create_app(directory), log_level="warning", timeout_graceful_shutdown=2))
    with listener, suppress(KeyboardInterrupt):
        server.run(sockets=[listener])


def _listener(host: str, port: int, tries: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + tries):
        # asyncio switches Nagle's algorithm off only where the protocol is stated: it costs 40 ms an answer
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen()  # the address answers as soon as it is announced
        except OSError:
            listener.close()
            if candidate == port + tries - 1:
                raise
        else:
            return listener
    raise AssertionError("unreachable: the last try returns or raises")


def _answers(schema: dict[str, Any] | None = None, **fields: Any) -> dict[int | str, dict[str, Any]]:
    """What the documentation says of an endpoint; the answers themselves are slices of the log, not made from it."""
    described = {"type": "object", "properties": fields, "required": list(fields)} if schema is None else schema
    return {
        200: {"content": {"application/json": {"schema": described}}, "description": "Found"},
        404: {"description": "No such run or event"},
    }


def _run_of(directory: Path, sim_id: str, event_id: str) -> Path:
    try:
        return find_run(directory, sim_id)
    except RunNotFound:
        raise EventNotFound(event_id, sim_id) from None


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _array(found: list[Found]) -> bytes:
    return b"[%s]" % b",".join(event.raw for event in found)


def _openings(nodes: list[Node]) -> list[Found]:
    return [node.opening for node in nodes]


def _status(status: int) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": str(error)}, status)

    return answer


def _run_not_found(request: Request, error: Exception) -> Response:
    name = error.run if isinstance(error, RunNotFound) else ""
    return JSONResponse({"detail": f"Simulation {name} not found"}, 404)


def _unreadable(request: Request, error: Exception) -> Response:
    """Without the path: where the files lie is not the client's business."""
    reason = error.strerror if isinstance(error, OSError) else error
    return JSONResponse({"detail": f"The run cannot be read: {reason}"}, 503)
