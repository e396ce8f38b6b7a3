"""Writing ahead: idle places in the engine's batch begin the next depth while the last of this one are under way."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etsearch.loop.expansion import Ahead, Draw, Expander, Expansion, num_tokens
from etsearch.loop.growth import Growth
from etsearch.strategies import Strategy
from etsearch.strategies.base import SharesByReward
from etsearch.types import FinishReason

TEMPERATURE: Final = 0.2
"""Balance temperature by which a share is guessed, where the strategy has none."""

_StepKey = tuple[int, tuple[int, ...], FinishReason]
"""A step before it is in the tree: the original that it continues, its token ids, and how it finished."""


class Speculation:
    """The continuations of one search that were asked for before selection.

    As soon as a step is scored, it is given as many continuations as it would get if the steps that are not scored yet
    were like those that are (``softmax(R / T_R)``, rounded down), and no more than there are idle places: the width
    less what is under way. The best come first. Selection looks at none of this. A survivor uses what was written for
    it, up to its width, and asks for the rest; what was written for a pruned step, or beyond the width, is waste.
    So every survivor gets as many independent continuations of its prefix as without, and nothing else changes.

    Args:
        expander: asks for continuations.
        places: sequences that the search may have under way at once, its width.
        strategy: of the search; its ``T_R`` counts, where it has one.
    """

    def __init__(self, expander: Expander, places: int, strategy: Strategy) -> None:
        self._expander, self._places = expander, places
        self._temperature = strategy.balance_temperature if isinstance(strategy, SharesByReward) else TEMPERATURE
        self._ahead: dict[_StepKey, Ahead] = {}
        self._growth: Growth | None = None
        self._open: list[tuple[Expansion, Draw]] = []
        self._remaining = 0

    def begin(self, growth: Growth, remaining: int) -> dict[int, Ahead]:
        """A new depth is being written, with ``remaining`` of the width left.

        Returns what was asked for ahead, by the step that it continues; the rest of it is dropped.
        """
        ahead = {step: self._take(step) for step in growth.expansions}
        self.drop()
        self._growth, self._open, self._remaining = growth, [], remaining
        return {step: early for step, early in ahead.items() if early}

    def _take(self, step: int) -> Ahead | None:
        """What was asked for ahead for a step that is to be expanded."""
        tree = self._expander.tree
        written = tree.continuation(step)
        return self._ahead.pop((tree.step_above(step), written.token_ids, written.finish_reason), None)

    def consider(self, expansion: Expansion, draw: Draw) -> None:
        """An open step has its reward: perhaps it, or another, can be continued now."""
        self._open.append((expansion, draw))
        idle = self._places - self._num_under_way()
        if idle < 1:
            return
        expected = self._expected_widths()
        for index in np.argsort(-expected, kind="stable").tolist():
            width = min(idle, int(expected[index]))
            if width < 1:
                return
            parent, step = self._open[index]
            key = (parent.node, step.continuation.token_ids, step.continuation.finish_reason)
            if key not in self._ahead:
                self._ahead[key] = self._expander.request_ahead(parent, step, width)
                idle -= width

    def drop(self) -> None:
        """Stops all that was not taken, and counts it as waste."""
        for ahead in self._ahead.values():
            written = ahead.drop()
            wasted, cancelled = num_tokens(written), ahead.width - len(written)
            self._expander.state.spend(**ahead.spent, wasted_tokens=wasted, num_cancelled=cancelled)
        self._ahead.clear()

    def _num_under_way(self) -> int:
        own = self._growth.num_under_way if self._growth else 0
        return own + sum(ahead.width for ahead in self._ahead.values() if not ahead.task.done())

    def _expected_widths(self) -> NDArray[np.float64]:
        """The share of each open step scored so far ``[open]``, as if the others were like them."""
        rewards = np.array([draw.rewards[-1] for _, draw in self._open])
        counts = np.array([draw.count for _, draw in self._open])
        mass = counts * np.exp((rewards - rewards.max()) / self._temperature)
        num_asked = self._growth.width if self._growth else 0
        share: NDArray[np.float64] = mass / mass.sum() * (counts.sum() / num_asked)
        return self._remaining * share
