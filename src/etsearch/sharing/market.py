"""The market of one engine's KV cache."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, final

from etsearch.boundary.numbers import LONGEST_S, MOST_TOKENS, MOST_WEIGHT, MOST_WIDTH, check_number, check_whole
from etsearch.errors import ConfigError
from etsearch.sharing.clearing import clearing_place
from etsearch.sharing.demand import Demand, DepthDemand, FirstDemand
from etsearch.sharing.grid import DEAREST, FREE, price_at
from etsearch.sharing.lengths import FIRST_STEP_TOKENS, Lengths
from etsearch.sharing.queue import LEAST_WEIGHT, MOST_OVERTAKEN, AdmissionQueue, Order, Waiting
from etsearch.strategies import Frontier, Selection, Strategy
from etsearch.strategies.base import BuysWidth
from etsearch.strategies.kv_limits import expected_step
from etsearch.types import EngineStats

LEAST_WIDTH: Final = 24
"""How narrow a search is made for the sake of others, by default."""
SMOOTHING_S: Final = 1.0
"""Seconds in which the price makes two thirds of its way, by default."""
MEASURING_S: Final = 5.0
"""The same for the correction by what the engine measures."""
LONGEST_LOOK_S: Final = 1.0
"""For how long one look at the engine may stand: after a pause it says little of what was."""
LEAST_CORRECTION, MOST_CORRECTION = 0.5, 2.0
"""What the engine holds, over what was predicted, is taken to be within these bounds."""
PREEMPTED: Final = 1.25
"""By how much the correction rises when the engine throws sequences out."""


@dataclass(frozen=True, slots=True)
class MarketFigures:
    """How a market stands.

    Attributes:
        price: of a KV token, where all reward of a search of weight 1 is worth 1.
        cache_tokens: that the engine holds; None as long as it did not tell.
        predicted_tokens: that the searches are expected to hold at most, each in its depth under way, corrected by what
            the engine measured.
        correction: what the engine measured over what was predicted, smoothed, 0.5 to 2.
        num_running: searches that hold something.
        num_waiting: searches that wait, for their first depth or between two.
    """

    price: float
    cache_tokens: int | None
    predicted_tokens: float
    correction: float
    num_running: int
    num_waiting: int


@dataclass(eq=False, slots=True)
class _Request:
    """A search that asks for its next depth, and the place of the price at which it gets it."""

    holder: "_Holder"
    demand: Demand
    granted: "asyncio.Future[int]"


@dataclass(eq=False)
class Market:
    """All searches of one engine buy what they hold of its cache here, at one price.

    The price is the lowest at which the searches together would hold no more than there is: those under way by what
    they last wanted at each price, and those that wait. Where all fits as it is, it is 0, and every search is as wide
    as it wants. No search pays more than the price at which it is ``least_width`` wide: from there on searches wait. A
    search is let in, and goes on from depth to depth, when what it then holds fits beside what the others hold;
    a dearer price than the common one is its own where only that makes it fit. One that is alone never waits.
    Between depths a search holds nothing: what it had may be thrown out, and is computed again.

    Not for use from several threads.

    Attributes:
        cache_tokens: what the engine's cache holds, 1 to 2^30; None takes what the engine tells.
        order: who is next of those that wait, ``fair`` or ``short_first``; see ``queue``.
        most_overtaken: how many later ones may be let in before one that waits, 0 to 1e9.
        least_width: how narrow a search is made for the sake of others, 1 to 65,536; one that asked for less keeps it.
        most_running: searches that may hold something at once, 1 to 65,536.
        smoothing_s: seconds in which the price makes two thirds of its way, 0 to a year.
        step_tokens: what a step is expected to have before any was seen, above 0.
        block_tokens: tokens in a block of the cache, in whole ones of which a sequence has its room, 1 to 2^30; None
            takes what the engine tells, or 1.
        clock: seconds, from any point on.
    """

    cache_tokens: int | None = None
    order: Order = "fair"
    most_overtaken: int = MOST_OVERTAKEN
    least_width: int = LEAST_WIDTH
    most_running: int = MOST_WIDTH
    smoothing_s: float = SMOOTHING_S
    step_tokens: float = FIRST_STEP_TOKENS
    block_tokens: int | None = None
    clock: Callable[[], float] = time.monotonic
    _holders: "set[_Holder]" = field(default_factory=set, init=False)
    _level: float = field(default=float(FREE), init=False)
    """The place of the price, smoothed."""
    _priced_at: float = field(default=-math.inf, init=False)
    _correction: float = field(default=1.0, init=False)
    _measured_at: float | None = field(default=None, init=False)
    _num_preemptions: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        for name in ("cache_tokens", "block_tokens"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1, MOST_TOKENS)
        for name in ("least_width", "most_running"):
            check_whole(name, getattr(self, name), 1, MOST_WIDTH)
        check_number("smoothing_s", self.smoothing_s, 0, LONGEST_S)
        self._lengths = Lengths(self.step_tokens)
        self._queue: AdmissionQueue[_Request] = AdmissionQueue(self.order, self.most_overtaken)

    def share(self, key: str = "", weight: float = 1.0) -> "_Holder":
        """A place for one search.

        Args:
            key: whose it is; keys get what they wait for by their weights.
            weight: what its worth counts, against others, 1e-6 to 1e9: at weight 2 a token costs it half.
        """
        check_number("the weight", weight, LEAST_WEIGHT, MOST_WEIGHT)
        return _Holder(self, key, weight)

    def observe(self, stats: EngineStats) -> None:
        """Takes what the engine tells: the size of its cache, and what of it is in use beside what was predicted."""
        if self.cache_tokens is None:
            self.cache_tokens = stats.cache_capacity_tokens
        if self.block_tokens is None:
            self.block_tokens = stats.block_tokens
        predicted = self.predicted_tokens
        now, before = self.clock(), self._measured_at
        if stats.cache_use is not None and stats.cache_capacity_tokens and predicted > 0:
            self._measured_at = now
            measured = stats.cache_use * stats.cache_capacity_tokens / predicted
            seconds = 0.0 if before is None else min(now - before, LONGEST_LOOK_S)
            share = 1.0 - math.exp(-seconds / MEASURING_S)
            self._correct(self._correction + share * (measured - self._correction))
        if stats.num_preemptions is not None:
            last, self._num_preemptions = self._num_preemptions, stats.num_preemptions
            if last is not None and stats.num_preemptions > last:
                self._correct(self._correction * PREEMPTED)

    def _correct(self, correction: float) -> None:
        self._correction = min(max(correction, LEAST_CORRECTION), MOST_CORRECTION)

    @property
    def predicted_tokens(self) -> float:
        """KV tokens that the searches are expected to hold at most, each in its depth under way."""
        return math.fsum(holder.tokens for holder in self._holders)

    @property
    def figures(self) -> MarketFigures:
        """How it stands now."""
        return MarketFigures(
            price=price_at(round(self._level)),
            cache_tokens=self.cache_tokens,
            predicted_tokens=self.predicted_tokens * self._correction,
            correction=self._correction,
            num_running=len(self._running),
            num_waiting=len(self._queue),
        )

    @property
    def _running(self) -> "list[_Holder]":
        return [holder for holder in self._holders if holder.tokens > 0]

    @property
    def _capacity(self) -> float:
        """Predicted tokens that fit into the cache."""
        return (self.cache_tokens or 0) / self._correction

    def _check_cache(self) -> None:
        if self.cache_tokens is None:
            raise ConfigError("this engine does not tell the size of its KV cache; give the market cache_tokens")

    async def take(self, holder: "_Holder", demand: Demand, depth: int) -> int:
        """Waits until a search may hold what it demands, and gives the place of the price at which it does."""
        self._check_cache()
        holder.give_back(demand)
        self._holders.add(holder)
        request = _Request(holder, demand, asyncio.get_running_loop().create_future())
        work = demand.at(FREE) * self._lengths.remaining_depths(depth)
        waiting = Waiting(request, holder.key, holder.weight, work, is_under_way=depth > 0)
        self._queue.add(waiting)
        try:
            self.serve()
            return await request.granted
        finally:
            self._queue.discard(waiting)

    def serve(self) -> None:
        """Lets in all those that are next and find room; one whose strategy fails hears of that itself."""
        while (waiting := self._queue.first()) is not None:
            request = waiting.item
            try:
                place = self._place_for(request)
            except Exception as error:  # noqa: BLE001 - whatever its strategy raises is its own, not of who serves it
                self._queue.discard(waiting)
                request.granted.set_exception(error)
                continue
            if place is None:
                return
            request.holder.tokens = request.demand.at(place)
            self._queue.let_in(waiting)
            request.granted.set_result(place)

    def _place_for(self, request: _Request) -> int | None:
        """The place of the price at which a search finds room; None if it finds none now."""
        running = self._running
        if len(running) >= self.most_running:
            return None
        common = self._common_place(request.demand)
        common = min(common, request.demand.ceiling(self.least_width))
        own = request.demand.least_place(self._capacity - self.predicted_tokens, start=common)
        if running:
            return None if own is None or own > request.demand.ceiling(self.least_width) else max(common, own)
        return DEAREST if own is None else max(common, own)

    def _common_place(self, asking: Demand) -> int:
        """The place of the common price now, smoothed on its way to where all demand fits."""
        demands = [holder.demand for holder in self._holders if holder.demand is not None]
        clearing = clearing_place(demands, self._capacity, asking, start=round(self._level))
        clearing = min(clearing, max(demand.ceiling(self.least_width) for demand in demands))
        now, before = self.clock(), self._priced_at
        self._priced_at = now
        if FREE in (clearing, round(self._level)) or not self.smoothing_s:
            self._level = float(clearing)
        else:
            self._level += (1.0 - math.exp(-(now - before) / self.smoothing_s)) * (clearing - self._level)
        return round(self._level)

    def note_depth(self, frontier: Frontier) -> None:
        """A depth of a search was written."""
        self._lengths.note_depth(expected_step(frontier))

    @property
    def expected_held(self) -> float:
        """KV tokens that a continuation of a search without steps is expected to hold of its own."""
        return self._lengths.step_tokens + (self.block_tokens or 1) - 1

    def remove(self, holder: "_Holder", depth: int) -> None:
        """A search has left, after so many depths."""
        if holder in self._holders:
            self._holders.remove(holder)
            if depth:
                self._lengths.note_end(depth)
            self.serve()


@final
@dataclass(eq=False)
class _Holder:
    """The place of one search in a market; see ``Share``."""

    market: Market
    key: str
    weight: float
    tokens: float = 0.0
    """That it is expected to hold at most, in its depth under way; 0 while it waits."""
    demand: Demand | None = None
    _depth: int = 0

    def observe(self, stats: EngineStats) -> None:
        """See ``Share``."""
        self.market.observe(stats)

    async def begin(self, strategy: Strategy, held_tokens: int, width: int, depth: int) -> int:
        """See ``Share``."""
        chooses = strategy if depth == 0 else None
        demand = FirstDemand(chooses, held_tokens, width, self.market.expected_held, self.weight)
        self._depth = depth
        return demand.width_at(await self.market.take(self, demand, depth))

    async def select(self, strategy: Strategy, frontier: Frontier, width: int) -> Selection:
        """See ``Share``."""
        self._depth += 1
        self.market.note_depth(frontier)
        frontier = replace(frontier, block_tokens=self.market.block_tokens or 1)
        demand = DepthDemand(strategy, frontier, width, self.weight)
        place = await self.market.take(self, demand, self._depth)
        if not isinstance(strategy, BuysWidth):
            place = FREE  # it pays nothing
        selection = demand.selection(place)
        demand.forget()
        return replace(selection, figures={**selection.figures, "price": price_at(place)})

    def give_back(self, demand: Demand) -> None:
        """Holds nothing until it is let in with this demand."""
        self.tokens, self.demand = 0.0, demand

    def leave(self) -> None:
        """See ``Share``."""
        self.tokens = 0.0
        self.market.remove(self, self._depth)
