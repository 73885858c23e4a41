"""Which events are generative-AI operations, and how their details are called in OpenTelemetry's conventions.

Source: open-telemetry/semantic-conventions-genai, inference, execute_tool, invoke_agent, invoke_workflow.
Prompts, answers, tool arguments and results are *content*: they leave the file only where
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says so, whatever key of the event they stand under.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from otel_events.event import Event

Capture = Literal["no_content", "span_only", "event_only", "span_and_event"]
"""The values of OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT; an event is a log record here."""

INTERNAL: Final = 1
CLIENT: Final = 3


class Operation(NamedTuple):
    """One kind of operation: how to name its span, and where its details go."""

    name: str
    """gen_ai.operation.name, where the details do not state one."""
    span_kind: int
    subject: str
    """The attribute whose value follows the operation in the span's name."""
    keys: dict[str, str]
    """Detail -> attribute, in the order in which they are sent."""
    content: dict[str, str]
    """The same for content; an empty attribute means that the detail keeps its own name."""


_INFERENCE: Final = Operation(
    "chat",
    CLIENT,
    "gen_ai.request.model",
    {
        "operation": "gen_ai.operation.name",
        "provider": "gen_ai.provider.name",
        "model": "gen_ai.request.model",
        "conversation_id": "gen_ai.conversation.id",
        "output_type": "gen_ai.output.type",
        "choice_count": "gen_ai.request.choice.count",
        "seed": "gen_ai.request.seed",
        "stream": "gen_ai.request.stream",
        "top_k": "gen_ai.request.top_k",
        "max_tokens": "gen_ai.request.max_tokens",
        "temperature": "gen_ai.request.temperature",
        "top_p": "gen_ai.request.top_p",
        "frequency_penalty": "gen_ai.request.frequency_penalty",
        "presence_penalty": "gen_ai.request.presence_penalty",
        "stop_sequences": "gen_ai.request.stop_sequences",
        "reasoning_level": "gen_ai.request.reasoning.level",
        "response_id": "gen_ai.response.id",
        "response_model": "gen_ai.response.model",
        "finish_reason": "gen_ai.response.finish_reasons",
        "finish_reasons": "gen_ai.response.finish_reasons",
        "time_to_first_chunk": "gen_ai.response.time_to_first_chunk",
        "input_tokens": "gen_ai.usage.input_tokens",
        "output_tokens": "gen_ai.usage.output_tokens",
        "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
        "cache_write_tokens": "gen_ai.usage.cache_write.input_tokens",
        "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
        "server_address": "server.address",
        "server_port": "server.port",
    },
    {
        "system_instructions": "gen_ai.system_instructions",
        "input": "gen_ai.input.messages",
        "output": "gen_ai.output.messages",
        "tool_definitions": "gen_ai.tool.definitions",
        **dict.fromkeys(("system", "prompt", "messages", "completion", "response", "content", "text", "delta"), ""),
        **dict.fromkeys(("tools", "tool_calls", "reasoning", "thinking", "arguments", "result"), ""),
    },
)
_TOOL: Final = Operation(
    "execute_tool",
    INTERNAL,
    "gen_ai.tool.name",
    {
        "tool_name": "gen_ai.tool.name",
        "tool_type": "gen_ai.tool.type",
        "tool_description": "gen_ai.tool.description",
        "call_id": "gen_ai.tool.call.id",
    },
    {"arguments": "gen_ai.tool.call.arguments", "result": "gen_ai.tool.call.result"},
)
_AGENT: Final = Operation("invoke_agent", INTERNAL, "gen_ai.agent.name", {}, {})
_WORKFLOW: Final = Operation("invoke_workflow", INTERNAL, "gen_ai.workflow.name", {"name": "gen_ai.workflow.name"}, {})
_OPERATIONS: Final = {"llm.call": _INFERENCE, "tool.call": _TOOL, "step": _AGENT, "run": _WORKFLOW}
_LISTS: Final = ("gen_ai.response.finish_reasons", "gen_ai.request.stop_sequences")
_DOUBLES: Final = frozenset(
    f"gen_ai.{key}"
    for key in (
        "request.temperature",
        "request.top_p",
        "request.frequency_penalty",
        "request.presence_penalty",
        "response.time_to_first_chunk",
    )
)


def operation_of(event: Event) -> Operation | None:
    """The operation that this event is; None for everything else."""
    return _OPERATIONS.get(event.name or "")


def content_keys(event: Event) -> dict[str, str]:
    """The details of this event that are content. Every event named `llm.…` may carry some."""
    operation = operation_of(event)
    if operation is not None:
        return operation.content
    return _INFERENCE.content if event.name is not None and event.name.startswith("llm.") else {}


def attributes(event: Event, operation: Operation) -> dict[str, Any]:
    """The conventions' attributes of an operation, content apart, in fixed order; values as in the details."""
    details = event.details or {}
    found: dict[str, Any] = {"gen_ai.operation.name": details.get("operation") or operation.name}
    for key, attribute in operation.keys.items():
        value = details.get(key)
        if value is None:
            continue
        if attribute in _DOUBLES and type(value) is int:
            value = float(value)
        elif attribute in _LISTS and type(value) is not list:
            value = [value]
        found[attribute] = value
    if event.agent_id is not None:
        found["gen_ai.agent.name"] = event.agent_id
    return found


def messages(detail: str, value: Any) -> Any:
    """Content in the conventions' message form, where it is a text or a list of chat messages; else as it is."""
    if detail not in ("input", "output"):
        return value
    role = "user" if detail == "input" else "assistant"
    if isinstance(value, list):
        return [_message(item, role) for item in value]
    return [_message(value, role)] if isinstance(value, str | dict) else value


def _message(item: Any, role: str) -> Any:
    if isinstance(item, str):
        return {"role": role, "parts": [{"type": "text", "content": item}]}
    if isinstance(item, dict) and isinstance(item.get("content"), str) and "parts" not in item:
        rest = {key: value for key, value in item.items() if key not in ("role", "content")}
        return {"role": item.get("role", role), "parts": [{"type": "text", "content": item["content"]}], **rest}
    return item
