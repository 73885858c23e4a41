"""Conversations between two language models, as Pidgin logs them: one file, one conversation, one run.

| source | event | follows from |
|---|---|---|
| ConversationStart, ConversationEnd | run opens, closes; a second end is a milestone | |
| ConversationStart's initial prompt | `llm.prompt` | |
| TurnStart, TurnComplete | turn opens, closes; Pidgin counts turns from 0, we from 1 | |
| MessageRequest | `llm.call` opens | the messages of its history that the agent's last request had not |
| MessageComplete | `llm.message`; `llm.call` closes | the call |
| TokenUsage | `llm.usage`; its tokens stand on the call's closing line, too | |
| TurnComplete's score | `state.convergence_score` | the two messages that it names |
| MessageChunk, SystemPrompt, everything else | log records in the span of the call, turn or run they belong to | |

Events with content are named `llm.…` and hold it under names that are withheld when shipping. A message of a history is
recognised by all of its fields, a prompt by its text. The call's closing line waits for the next line of the source,
which may bring the tokens. What is still open when a conversation ends is closed with `details.incomplete`; a
conversation without an end stays open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final

from collector.importers.composer import Composer, Scope
from collector.importers.pidgin_lines import SourceLine, conversation_of, original, parse, sealed, text_or_base64
from otel_events.event import Event

__all__ = ("conversation_of", "events", "original")

_POINTS: Final = {
    "ConversationStartEvent": ("MILESTONE", "conversation.start"),
    "ConversationEndEvent": ("MILESTONE", "conversation.end"),
    "ConversationPausedEvent": ("MILESTONE", "conversation.paused"),
    "ConversationResumedEvent": ("MILESTONE", "conversation.resumed"),
    "ConversationBranchedEvent": ("MILESTONE", "conversation.branched"),
    "InterruptRequestEvent": ("MILESTONE", "conversation.interrupt"),
    "TurnCompleteEvent": ("MILESTONE", "turn.complete"),
    "SystemPromptEvent": ("SYSTEM", "llm.system_prompt"),
    "MessageChunkEvent": ("DETAIL", "llm.chunk"),
    "ThinkingCompleteEvent": ("DETAIL", "llm.thinking"),
    "TokenUsageEvent": ("SYSTEM", "llm.usage"),
    "RateLimitPaceEvent": ("SYSTEM", "llm.rate_limit"),
    "APIErrorEvent": ("SYSTEM", "llm.error"),
    "ProviderTimeoutEvent": ("SYSTEM", "llm.timeout"),
    "ContextTruncationEvent": ("SYSTEM", "llm.context_truncated"),
    "ContextLimitEvent": ("SYSTEM", "llm.context_limit"),
}


def events(
    lines: Iterable[bytes], *, simulation_id: str, conversation: str, name: str | None, timezone: tzinfo | None
) -> Iterator[Event]:
    """The events of one conversation. `lines` have no newline; blank ones are skipped. Every other line is in them."""
    numbered = [(number, raw) for number, raw in enumerate(lines, 1) if raw.strip()]
    conversion = _Conversion(Composer(simulation_id, numbered[0][1]), conversation, name, timezone)
    for number, raw in numbered:
        yield from conversion.line(number, raw)


@dataclass
class _Conversion:
    """One pass through a conversation: what is open, and who said what."""

    compose: Composer
    conversation: str
    name: str | None
    timezone: tzinfo | None
    run: Scope | None = None
    turn: Scope | None = None
    last_turn: Scope | None = None
    calls: dict[str | None, Scope] = field(default_factory=dict)
    """Agent -> its call, the last one where none is open."""
    answered: tuple[Scope, int, dict[str, Any]] | None = None
    """(call, time, details) that is complete but for the tokens that the next line may bring."""
    said: dict[str, str] = field(default_factory=dict)
    """A message, or a prompt, as text -> the id of the event that first had it."""
    asked: dict[str | None, set[str]] = field(default_factory=dict)
    """Agent -> the messages that its last request had in its history."""
    models: dict[str | None, Any] = field(default_factory=dict)
    score: Any = None
    held: list[tuple[int, bytes, str]] = field(default_factory=list)
    """Rejected lines from before the first good one, which says when the run began."""
    ns: int = 0

    def line(self, number: int, raw: bytes) -> Iterator[Event]:
        try:
            source = parse(raw, number, self.conversation, self.timezone)
        except ValueError as error:
            if self.run is None:
                self.held.append((number, raw, str(error)))
            else:
                yield from self._settle(None)
                yield self._rejected(self.run, number, raw, str(error))
            return
        self.ns = source.ns
        yield from self._settle(source)
        for event in self._begin(source) if self.run is None else self._step(source):
            yield sealed(event, raw) if event.src is source.src else event

    def _step(self, source: SourceLine) -> Iterator[Event]:
        return _STEPS.get(source.type, _Conversion._point)(self, source)

    def _begin(self, source: SourceLine) -> Iterator[Event]:
        """Open the run: with the source's first line, or before it where that is no ConversationStart."""
        starts = source.type == "ConversationStartEvent"
        params = source.payload if starts else {}
        names = [params.get(f"agent_{which}_display_name") for which in "ab"]
        name = self.name or " & ".join(name for name in names if isinstance(name, str)) or self.conversation
        self.models = {f"agent_{which}": params.get(f"agent_{which}_model") for which in "ab"}
        details = {"milestone_type": "simulation_start", "name": name, "params": params}
        src = source.src if starts else source.derived
        self.run = self.compose.open("run", "MILESTONE", source.ns, None, details=details, src=src)
        yield self.run.opener
        for held in self.held:
            yield self._rejected(self.run, *held)
        if not starts:
            yield from self._step(source)
        elif isinstance(prompt := source.aside.get("initial_prompt"), str):
            details = {"action_type": "prompt", "input": prompt}
            event = self.compose.point("llm.prompt", "ACTION", source.ns, self.run, details=details, src=source.derived)
            self.said[prompt] = event.event_id
            yield event

    def _turn_start(self, source: SourceLine) -> Iterator[Event]:
        yield from self._abandon(self.turn, source.ns)
        linked = [scope for scope in (self.run, self.last_turn) if scope is not None]
        rest = {"details": {"milestone_type": "turn_start", **source.payload}, "src": source.src, **source.turn}
        self.turn = self.compose.open("turn", "MILESTONE", source.ns, self.run, linked=linked, **rest)
        self.last_turn = self.turn
        yield self.turn.opener

    def _turn_complete(self, source: SourceLine) -> Iterator[Event]:
        turn, score = self.turn, source.payload.get("convergence_score")
        if turn is None:
            yield from self._point(source)
            return
        if score is not None:
            yield self._scored(source, turn, score)
        yield from self._abandon_calls(source.ns)
        yield self.compose.close(turn, source.ns, {"milestone_type": "turn_end", **source.payload}, source.src)
        self.turn = None

    def _scored(self, source: SourceLine, turn: Scope, score: Any) -> Event:
        messages = source.aside.get("turn")
        keys = map(_key, messages.values() if isinstance(messages, dict) else ())
        causes = [self.said[key] for key in keys if key in self.said]
        change = {"variable_name": "convergence_score", "old_value": self.score, "new_value": score, "scope": "global"}
        self.score = score
        rest = {"details": change, "src": source.derived, "caused_by": causes}
        return self.compose.point("state.convergence_score", "STATE", source.ns, turn, **rest)

    def _request(self, source: SourceLine) -> Iterator[Event]:
        yield from self._abandon(self.calls.get(source.agent), source.ns)
        history, model = source.payload.get("input"), self.models.get(source.agent)
        entries = {_key(entry): entry for entry in history} if isinstance(history, list) else {}
        known = self.asked.get(source.agent, set())
        causes = [self._origin(key, entry, source.agent) for key, entry in entries.items() if key not in known]
        self.asked[source.agent] = set(entries)
        details = {**({"model": model} if isinstance(model, str) else {}), "operation": "chat", **source.payload}
        rest: dict[str, Any] = {"details": details, "src": source.src, "agent_id": source.agent, **source.turn}
        rest["caused_by"] = [cause for cause in causes if cause is not None]
        call = self.compose.open("llm.call", "SYSTEM", source.ns, self.turn or self.run, **rest)
        self.calls[source.agent] = call
        yield call.opener

    def _origin(self, key: str, entry: Any, agent: str | None) -> str | None:
        """The event that brought this entry of a history."""
        if key in self.said or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            return self.said.get(key)
        if entry.get("role") == "system":
            return self.said.get(f"{agent} {entry['content']}")
        return self.said.get(re.sub(r"^\[\w+\]: ", "", entry["content"]))

    def _complete(self, source: SourceLine) -> Iterator[Event]:
        payload, call = source.payload, self.calls.get(source.agent)
        open_call = None if call is None or call.closed else call
        rest = {"details": {"action_type": "message", **payload}, "agent_id": source.agent, **source.turn}
        causes = [] if open_call is None else [open_call.id]
        scope = self._scope(None)
        event = self.compose.point("llm.message", "ACTION", source.ns, scope, caused_by=causes, src=source.src, **rest)
        self.said.setdefault(_key(payload.get("output")), event.event_id)
        if open_call is not None:
            output = payload["output"].get("content") if isinstance(payload.get("output"), dict) else None
            found = {"output": output, "duration_ms": payload.get("duration_ms"), **_tokens(payload)}
            self.answered = open_call, source.ns, {key: value for key, value in found.items() if value is not None}
        yield event

    def _settle(self, following: SourceLine | None) -> Iterator[Event]:
        """Close the call that has its answer, with the tokens of the line that follows if it brings them."""
        if self.answered is None:
            return
        (call, ns, details), self.answered = self.answered, None
        if following is not None and following.type == "TokenUsageEvent" and following.agent == call.opener.agent_id:
            details = {**_named(following.payload), **details, **_tokens(following.payload)}
        yield self.compose.close(call, ns, details, call.format)

    def _conversation_end(self, source: SourceLine) -> Iterator[Event]:
        run, payload = self.run, source.payload
        if run is None or run.closed:
            yield from self._point(source)
            return
        yield from self._abandon_calls(source.ns)
        yield from self._abandon(self.turn, source.ns)
        self.turn = None
        error = _error(payload.get("status"), payload.get("error"))
        yield self.compose.close(
            run, source.ns, {"milestone_type": "simulation_end", **payload}, source.src, error=error
        )

    def _point(self, source: SourceLine) -> Iterator[Event]:
        """Everything that opens and closes nothing, and every type that we do not know."""
        kind, name = _POINTS.get(source.type, ("SYSTEM", f"pidgin.{_snake(source.type)}"))
        rest = {"details": source.payload or None, "src": source.src, "agent_id": source.agent, **source.turn}
        error = _error(source.payload.get("error_type"), source.payload.get("error_message"))
        event = self.compose.point(name, kind, source.ns, self._scope(source.agent), error=error, **rest)
        if source.type == "SystemPromptEvent":
            self.said.setdefault(f"{source.agent} {source.payload.get('system_instructions')}", event.event_id)
        yield event

    def _scope(self, agent: str | None) -> Scope:
        """The innermost scope that an event of this agent belongs to."""
        call = self.calls.get(agent) if agent is not None else None
        return next(scope for scope in (call, self.turn, self.run) if scope is not None)

    def _rejected(self, run: Scope, number: int, raw: bytes, reason: str) -> Event:
        rest = {
            "details": {"reason": reason, "line": number, "size": len(raw)},
            "src": {**run.format, "line": number, "raw": text_or_base64(raw)},
        }
        return self.compose.point("import.rejected", "SYSTEM", self.ns, self.turn or run, **rest)

    def _abandon(self, scope: Scope | None, ns: int) -> Iterator[Event]:
        """Close what the source left open, and say so."""
        if scope is not None and not scope.closed:
            yield self.compose.close(scope, ns, {"incomplete": True}, scope.format)

    def _abandon_calls(self, ns: int) -> Iterator[Event]:
        for call in self.calls.values():
            yield from self._abandon(call, ns)
        self.calls.clear()


_STEPS: Final[dict[str, Callable[[_Conversion, SourceLine], Iterator[Event]]]] = {
    "TurnStartEvent": _Conversion._turn_start,
    "TurnCompleteEvent": _Conversion._turn_complete,
    "MessageRequestEvent": _Conversion._request,
    "MessageCompleteEvent": _Conversion._complete,
    "ConversationEndEvent": _Conversion._conversation_end,
}


def _named(usage: dict[str, Any]) -> dict[str, str]:
    """Provider and model, as the conventions spell them."""
    provider, model = usage.get("provider"), usage.get("model")
    named = {"provider": provider.lower()} if isinstance(provider, str) else {}
    return named | ({"model": model} if isinstance(model, str) else {})


def _tokens(payload: dict[str, Any]) -> dict[str, int]:
    counts = {"input_tokens": payload.get("prompt_tokens"), "output_tokens": payload.get("completion_tokens")}
    return {key: count for key, count in counts.items() if type(count) is int}


def _error(kind: Any, message: Any) -> dict[str, str] | None:
    return {"type": str(kind or "error"), "message": message} if isinstance(message, str) else None


def _key(message: Any) -> str:
    return json.dumps(message, sort_keys=True)


def _snake(type_: str) -> str:
    """`TurnStartEvent` -> `turn_start`, `APIErrorEvent` -> `api_error`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type_.removesuffix("Event"))
    return re.sub(r"[^a-z0-9_]+", "_", words.lower()).strip("_") or "unknown"
