"""Demand: the KV tokens that a search would hold at each price, for its next depth."""

from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from dataclasses import replace
from typing import final

import numpy as np

from etsearch.sharing.grid import DEAREST, FREE, least_place, price_at
from etsearch.strategies import Frontier, Selection, Strategy
from etsearch.strategies.base import BuysWidth, select
from etsearch.strategies.kv_limits import expected_held


class Demand(ABC):
    """Tokens by price, known at the places that were asked for.

    What a strategy keeps falls with the price, but for ties and the rounding of widths. So a curve counts at a place as
    the most that is known there or further up, the nearest place below among them: it falls, and is never too little.
    """

    def __init__(self) -> None:
        self._tokens: dict[int, float] = {}
        self._places: list[int] = []
        self._ceilings: dict[int, int] = {}

    def at(self, place: int) -> float:
        """Tokens at a place of the grid; they are worked out where they are not known."""
        if place not in self._tokens:
            self._tokens[place] = self._work_out(place)
            insort(self._places, place)
        return self._tokens[place]

    def known_at(self, place: int) -> float:
        """Tokens at a place of the grid at most, by what is known; only those of price 0 are worked out for it."""
        self.at(FREE)
        from_below = bisect_right(self._places, place) - 1
        return max(self._tokens[known] for known in self._places[from_below:])

    def least_place(self, room: float, start: int = FREE) -> int | None:
        """The lowest place at which the tokens fit into ``room``; None where they do at no price.

        Args:
            room: in tokens.
            start: where to look first; a good guess saves work.
        """
        return least_place(lambda place: self.at(place) <= room, start)

    def ceiling(self, least_width: int) -> int:
        """The highest place at which the search is as wide as this, or as wide as it asked for."""
        if least_width not in self._ceilings:
            narrow = least_place(lambda place: self._total_width_at(place) < self._total_width_at(FREE, least_width))
            self._ceilings[least_width] = DEAREST if narrow is None else narrow - 1
        return self._ceilings[least_width]

    @abstractmethod
    def _total_width_at(self, place: int, most: int | None = None) -> int:
        """The total width at a place, ``most`` at most."""

    @abstractmethod
    def _work_out(self, place: int) -> float:
        """Tokens at a place."""


@final
class FirstDemand(Demand):
    """Of a search that has not begun, or goes on from where it was interrupted: all of its next depth from one prefix.

    Args:
        strategy: of the search; None where the width of the depth is settled.
        held_tokens: of the prompt, or of what was there.
        width: the most continuations of the next depth.
        step_tokens: KV tokens that each of them is expected to hold of its own, above 0.
        weight: of the search.
    """

    def __init__(
        self, strategy: Strategy | None, held_tokens: int, width: int, step_tokens: float, weight: float
    ) -> None:
        super().__init__()
        self._strategy, self._held, self._width = strategy, held_tokens, width
        self._step_tokens, self._weight = step_tokens, weight

    def width_at(self, place: int) -> int:
        """Continuations at a place."""
        return self._total_width_at(place)

    def _total_width_at(self, place: int, most: int | None = None) -> int:
        price, most = price_at(place) / self._weight, min(self._width, most or self._width)
        return width_at(self._strategy, price, self._step_tokens, most)

    def known_at(self, place: int) -> float:
        """Tokens at a place, which take no work."""
        return self.at(place)

    def _work_out(self, place: int) -> float:
        return self._held + self.width_at(place) * self._step_tokens


@final
class DepthDemand(Demand):
    """Of a search between two depths: what its strategy keeps at a price, and the steps that it then expects to write.

    Args:
        strategy: of the search; one that heeds no price holds the same at all.
        frontier: that it selects from.
        width: what is left of its width.
        weight: of the search: at weight 2 a token costs it half.
    """

    def __init__(self, strategy: Strategy, frontier: Frontier, width: int, weight: float) -> None:
        super().__init__()
        self._strategy, self._frontier, self._width, self._weight = strategy, frontier, width, weight
        self._step_tokens = expected_held(frontier)
        self._selections: dict[int, Selection] = {}

    def selection(self, place: int) -> Selection:
        """What the strategy keeps at a place."""
        if not isinstance(self._strategy, BuysWidth):
            place = FREE
        if place not in self._selections:
            priced = replace(self._frontier, price=price_at(place) / self._weight)
            self._selections[place] = select(self._strategy, priced, self._width)
        return self._selections[place]

    def _total_width_at(self, place: int, most: int | None = None) -> int:
        price, total = price_at(place) / self._weight, self._frontier.total_width
        return width_at(self._strategy, price, self._step_tokens, min(total, most or total))

    def forget(self) -> None:
        """Lets go of the frontier; what is known of the curve stays."""
        self.at(FREE)
        self.at(DEAREST)
        self._selections = {}

    def _work_out(self, place: int) -> float:
        return held_tokens(self._frontier, self.selection(place), self._step_tokens)


def held_tokens(frontier: Frontier, selection: Selection, step_tokens: float) -> float:
    """KV tokens that the next depth holds while it is written: the prefixes of what is kept, and its steps."""
    widths = np.array(selection.widths)
    kept = frontier.nodes[widths > 0].tolist()
    return frontier.tree.kv_tokens(kept) + float(widths.sum()) * step_tokens if kept else 0.0


def width_at(strategy: Strategy | None, price: float, step_tokens: float, width: int) -> int:
    """The total width of a strategy at a price; that which was asked for of one that heeds no price, or of none."""
    return strategy.width_at(price, step_tokens, width) if isinstance(strategy, BuysWidth) else width
