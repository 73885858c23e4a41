"""Mesa's Sugarscape with traders, recorded from outside: the model's code is not touched, its methods are wrapped.

What is recorded of each trader, and what it is caused by:

    state sugar, spice     what it holds              first nothing; then the move to where it ate, or the trade
    decision move          the cell that it chooses   what it holds, and how far it looks (a merchant's last decision)
    action move            going there                that decision; nothing is recorded when it stays
    decision offer         what it gives and wants    what it holds; for the one who came along, also how far it looks
    action trade           one exchange               both traders' offers
    milestone death        it starved                 the holdings that ran out

The wrappers only read what the model computes and call its pure functions again; they draw no random number. So the
model ends in the state in which it ends without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from mesa.examples.advanced.sugarscape_g1mt.agents import Trader  # type: ignore[import-untyped]  # Mesa ships no types

if TYPE_CHECKING:
    from mesa.examples import SugarscapeG1mt  # type: ignore[import-untyped]  # as above

    from otel_events import Recorder
    from otel_events.handle import Handle

GOODS = ("sugar", "spice")


def name_of(trader: Trader) -> str:
    return f"trader-{trader.unique_id}"


def plain(amount: Any) -> int | float:
    """A numpy number as Python's own, whole where it is whole."""
    number = float(amount)
    return int(number) if number.is_integer() else number


class Known:
    """The newest events about one trader: the causes of what it does next."""

    def __init__(self, sugar: Handle, spice: Handle) -> None:
        self.holdings = {"sugar": sugar, "spice": spice}
        self.vision: Handle | None = None
        self.arrival: Handle | None = None
        self.traded = False

    @property
    def wealth(self) -> list[Handle]:
        return list(self.holdings.values())

    @property
    def outlook(self) -> list[Handle]:
        """What it holds and, where somebody decided that, how far it looks."""
        return self.wealth if self.vision is None else [*self.wealth, self.vision]


class Sugarscape:
    """The recording of one model. `trades` counts the exchanges; `example` is one worth explaining."""

    def __init__(self, recorder: Recorder, model: SugarscapeG1mt) -> None:
        self.recorder, self.model = recorder, model
        self.trades = 0
        self.example: Handle | None = None
        self._initiator: Trader | None = None
        self._known = {trader: self._endowed(trader) for trader in self.traders()}

    def traders(self) -> list[Trader]:
        """Those who are alive, in the order in which they were created."""
        return sorted(self.model.agents_by_type[Trader], key=lambda trader: int(trader.unique_id))

    def known(self, trader: Trader) -> Known:
        return self._known[trader]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Record what the traders of this model do inside the block; afterwards the class is as it was."""
        wrappers = (self._move, self._eat, self._maybe_die, self._sell_spice, self._trade_with_neighbors)
        with ExitStack() as undo:
            for wrapper in wrappers:
                undo.callback(setattr, Trader, *self._wrap(wrapper))
            yield

    def _wrap(self, wrapper: Callable[..., None]) -> tuple[str, Callable[..., None]]:
        """Put the wrapper in the place of the method of its name; the name and what was there before."""
        name = wrapper.__name__.removeprefix("_")
        original: Callable[..., None] = getattr(Trader, name)

        def wrapped(trader: Trader, *args: Any) -> None:
            if trader.model is self.model:
                wrapper(original, trader, *args)
            else:
                original(trader, *args)

        setattr(Trader, name, wrapped)
        return name, original

    def _endowed(self, trader: Trader) -> Known:
        return Known(*(self._holds(trader, good, None, metabolism=self._burns(trader, good)) for good in GOODS))

    def _burns(self, trader: Trader, good: str) -> int | float:
        return plain(getattr(trader, f"metabolism_{good}"))

    def _holds(self, trader: Trader, good: str, before: Any, cause: Handle | None = None, **details: Any) -> Handle:
        old, new = None if before is None else plain(before), plain(getattr(trader, good))
        return self.recorder.state(good, old, new, agent_id=name_of(trader), caused_by=cause, **details)

    def _move(self, move: Callable[..., None], trader: Trader) -> None:
        known, start = self._known[trader], trader.cell
        welfare = trader.calculate_welfare(trader.sugar, trader.spice)
        move(trader)
        old, new = [int(x) for x in start.coordinate], [int(x) for x in trader.cell.coordinate]
        expected = trader.calculate_welfare(trader.sugar + trader.cell.sugar, trader.spice + trader.cell.spice)
        known.arrival = self.recorder.decision(
            name_of(trader),
            "move",
            old_value=old,
            new_value=new,
            caused_by=known.outlook,
            vision=plain(trader.vision),
            welfare=round(float(welfare), 3),
            welfare_expected=round(float(expected), 3),
        )
        if old != new:
            payload = {"from": old, "to": new}
            known.arrival = self.recorder.action(name_of(trader), "move", payload, caused_by=known.arrival)

    def _eat(self, eat: Callable[..., None], trader: Trader) -> None:
        known = self._known[trader]
        before = {good: getattr(trader, good) for good in GOODS}
        found = {good: plain(getattr(trader.cell, good)) for good in GOODS}
        eat(trader)
        for good in GOODS:
            details = {"harvested": found[good], "burnt": self._burns(trader, good)}
            known.holdings[good] = self._holds(trader, good, before[good], known.arrival, **details)
        known.traded = False

    def _maybe_die(self, maybe_die: Callable[..., None], trader: Trader) -> None:
        starved, known = trader.is_starved(), self._known[trader]
        maybe_die(trader)
        if starved:
            gone = [good for good in GOODS if getattr(trader, good) <= 0]
            causes = [known.holdings[good] for good in gone]
            self.recorder.milestone("death", agent_id=name_of(trader), caused_by=causes, out_of=gone)

    def _trade_with_neighbors(self, trade_with_neighbors: Callable[..., None], trader: Trader) -> None:
        self._initiator = trader
        try:
            trade_with_neighbors(trader)
        finally:
            self._initiator = None

    def _sell_spice(
        self, sell_spice: Callable[..., None], seller: Trader, buyer: Trader, sugar: float, spice: float
    ) -> None:
        """One exchange: the seller gives spice and gets sugar. The model calls this when both want it."""
        amounts = {"sugar": plain(sugar), "spice": plain(spice)}
        offers = [self._offers(seller, buyer, "spice", amounts), self._offers(buyer, seller, "sugar", amounts)]
        before = [(trader, good, getattr(trader, good)) for trader in (seller, buyer) for good in GOODS]
        payload = {"to": name_of(buyer), **amounts}
        trade = self.recorder.action(name_of(seller), "trade", payload, caused_by=offers)
        sell_spice(seller, buyer, sugar, spice)
        for trader, good, old in before:
            self._known[trader].holdings[good] = self._holds(trader, good, old, trade)
        self.trades += 1
        self._consider(trade, self._known[seller], self._known[buyer])

    def _consider(self, trade: Handle, *partners: Known) -> None:
        """The best example is a merchant's, the first of this turn for both: its reasons are near. Else any."""
        advised = self._initiator is not None and self._known[self._initiator].vision is not None
        if self.example is None or (advised and not any(partner.traded for partner in partners)):
            self.example = trade
        for partner in partners:
            partner.traded = True

    def _offers(self, trader: Trader, partner: Trader, gives: str, amounts: dict[str, int | float]) -> Handle:
        known, wants = self._known[trader], GOODS[1 - GOODS.index(gives)]
        return self.recorder.decision(
            name_of(trader),
            "offer",
            new_value=f"{amounts[gives]} {gives} for {amounts[wants]} {wants}",
            caused_by=known.outlook if trader is self._initiator else known.wealth,
            partner=name_of(partner),
            marginal_rate_of_substitution=round(float(trader.calculate_MRS(trader.sugar, trader.spice)), 3),
        )
