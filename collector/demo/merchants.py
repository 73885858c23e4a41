"""Some of the traders are merchants: each turn they ask a language model how far to look, and do as it says.

The question is asked through the official `openai` client; every second merchant has the answer streamed. The answer
is the cause of a decision, and the decision sets the trader's `vision`, which the model then uses for its moves and
its trades: these decisions are all that makes this run differ from one without merchants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from collector.demo import llm
from collector.demo.sugarscape import name_of, plain

if TYPE_CHECKING:
    from mesa.examples.advanced.sugarscape_g1mt.agents import Trader  # type: ignore[import-untyped]  # Mesa ships no types
    from openai import OpenAI

    from collector.demo.sugarscape import Sugarscape
    from otel_events.handle import Handle

RULES = 'You advise a trader on Sugarscape. Answer as JSON: {"vision": cells to look, 1 to 6, "comment": one sentence}.'


class Reply(NamedTuple):
    """What is recorded of an answer."""

    output: str
    finish_reason: str | None
    input_tokens: int
    output_tokens: int
    response_id: str
    response_model: str


class Merchants:
    """The `size` oldest of the living traders, with the client through which they ask."""

    def __init__(self, sugarscape: Sugarscape, client: OpenAI, size: int) -> None:
        self._sugarscape, self._recorder = sugarscape, sugarscape.recorder
        self._client, self._size = client, size

    def decide(self) -> None:
        """Every merchant asks, and looks as far as the answer says."""
        for trader in self._sugarscape.traders()[: self._size]:
            self._decide(trader)

    def _decide(self, trader: Trader) -> None:
        known = self._sugarscape.known(trader)
        call, output = self._asked(trader, known.outlook)
        advice = orjson.loads(output)
        old, new = plain(trader.vision), int(advice["vision"])
        known.vision = self._recorder.decision(
            name_of(trader), "vision", old_value=old, new_value=new, caused_by=call, comment=advice["comment"]
        )
        trader.vision = new

    def _asked(self, trader: Trader, causes: list[Handle]) -> tuple[Any, str]:
        """The call, closed, and its answer. The question says just what the causes are: holdings and vision."""
        messages: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": _question(trader)}]
        stream = bool(trader.unique_id % 2)
        with self._recorder.llm_call(
            name_of(trader), model=llm.MODEL, provider="openai", input=messages, caused_by=causes, stream=stream
        ) as call:
            reply = streamed(self._client, messages) if stream else whole(self._client, messages)
            call.finish(**reply._asdict())
        return call, reply.output


def _question(trader: Trader) -> str:
    return (
        f"I am {name_of(trader)}. I hold {plain(trader.sugar)} sugar and {plain(trader.spice)} spice; a turn burns "
        f"{plain(trader.metabolism_sugar)} and {plain(trader.metabolism_spice)}. "
        f"I see {plain(trader.vision)} cells far. How far shall I look?"
    )


def whole(client: OpenAI, messages: list[Any]) -> Reply:
    """Ask and wait for the whole answer."""
    completion = client.chat.completions.create(model=llm.MODEL, messages=messages)
    choice, usage = completion.choices[0], completion.usage
    tokens = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return Reply(choice.message.content or "", choice.finish_reason, *tokens, completion.id, completion.model)


def streamed(client: OpenAI, messages: list[Any]) -> Reply:
    """Ask and put the answer together from its pieces; the last one has the token counts."""
    reply = Reply("", None, 0, 0, "", "")
    options: Any = {"include_usage": True}
    for chunk in client.chat.completions.create(
        model=llm.MODEL, messages=messages, stream=True, stream_options=options
    ):
        reply = reply._replace(response_id=chunk.id, response_model=chunk.model)
        for choice in chunk.choices:
            output = reply.output + (choice.delta.content or "")
            reply = reply._replace(output=output, finish_reason=choice.finish_reason or reply.finish_reason)
        if chunk.usage:
            reply = reply._replace(input_tokens=chunk.usage.prompt_tokens, output_tokens=chunk.usage.completion_tokens)
    return reply
