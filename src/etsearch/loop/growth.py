"""A depth that is being written: which steps are expanded, and how what comes of them enters the tree."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from etsearch.loop.events import Completed, Event
from etsearch.loop.expansion import Draw, Expansion
from etsearch.loop.result import Failure
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.voting import answer_at
from etsearch.types import EndReason


@dataclass(eq=False)
class Growth:
    """A depth that is being written. All draws of a step are expanded together.

    Attributes:
        depth: of the new steps.
        widths: expansion width of each node that is expanded.
        expansions: what comes of each step among them, by its original.
        tasks: what is at work on it.
        dropped: the draws that are left out, since the search was decided before them.
        later: what comes after the last step that is kept; it is left out altogether.
    """

    depth: int
    widths: Mapping[int, int]
    expansions: dict[int, Expansion] = field(default_factory=dict)
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    dropped: set[Draw] = field(default_factory=set)
    later: list[Expansion] = field(default_factory=list)

    @classmethod
    def of(cls, state: SearchState, widths: Mapping[int, int]) -> "Growth":
        """The next depth of a search, nothing of it written."""
        growth = cls(len(state.depths) + 1, widths)
        for node, width in widths.items():
            step = state.tree.original(node)
            growth.expansions.setdefault(step, Expansion(step, 0)).width += width
        return growth

    @property
    def width(self) -> int:
        """Continuations that were asked for."""
        return sum(self.widths.values())

    @property
    def num_under_way(self) -> int:
        """Those of them that are not there, and of which it is not known either that they will never be."""
        return sum(e.width for e in self.expansions.values() if not e.is_over)

    def stop(self) -> None:
        """Stops what is at work; what is there already stays."""
        for task in self.tasks:
            task.cancel()

    def drop_unsettled(self) -> None:
        """Drops what was stopped before it was there, or before its rewards were."""
        open_steps = [step for step, expansion in self.expansions.items() if not expansion.is_over]
        self.later += [self.expansions.pop(step) for step in open_steps]
        draws = [draw for expansion in self.expansions.values() for draw in expansion.distinct()]
        self.dropped |= {draw for draw in draws if not draw.is_settled}

    def end_with(self, expansion: Expansion, draw: Draw) -> None:
        """Makes a draw the last: stops what is at work, and drops what comes after it in the order of the draws."""
        self.stop()
        steps = list(self.expansions)
        after = steps[steps.index(expansion.node) + 1 :]
        self.later = [self.expansions.pop(step) for step in after]
        distinct = expansion.distinct()
        self.dropped = set(distinct[distinct.index(draw) + 1 :])

    @property
    def num_dropped(self) -> int:
        """Continuations that were asked for and are left out."""
        return sum(expansion.width for expansion in self.later) + sum(draw.count for draw in self.dropped)

    @property
    def spent_for_dropped(self) -> Counter[str]:
        """What was asked for what is left out, by the names of ``Spent``."""
        draws = [*self.dropped, *(draw for expansion in self.later for draw in expansion.distinct())]
        return _sum(self.later, draws)

    @property
    def spent(self) -> Counter[str]:
        """What was asked for what is kept, by the names of ``Spent``."""
        draws = [draw for expansion in self.expansions.values() for draw in expansion.distinct()]
        return _sum(self.expansions.values(), [draw for draw in draws if draw not in self.dropped])


def _sum(expansions: Iterable[Expansion], draws: Iterable[Draw]) -> Counter[str]:
    spent = [expansion.spent for expansion in expansions] + [draw.spent for draw in draws]
    return sum(spent, Counter())


class TreeWriter:
    """Puts what was written into the tree.

    Args:
        state: the search.
        settings: of the search.
        emit: takes the events.
    """

    def __init__(self, state: SearchState, settings: SearchSettings, emit: Callable[[Event], None]) -> None:
        self._state, self._tree, self._settings, self._emit = state, state.tree, settings, emit

    def add(self, growth: Growth) -> tuple[list[int], list[int]]:
        """Adds the draws as children of every node that was expanded; each takes its share of what came, in its order.

        Returns:
            the new nodes, and the nodes at which trajectories ended since they could not be expanded.
        """
        taken = dict.fromkeys(growth.expansions, 0)
        written: list[int] = []
        ended: list[int] = []
        for parent, width in growth.widths.items():
            step = self._tree.original(parent)
            if step not in taken:
                continue
            expansion, first = growth.expansions[step], taken[step]
            if expansion.failure:
                self._state.failures.append(Failure(parent, "expand", expansion.failure))
            if expansion.end:
                self._set_rewards(parent, expansion.rewards)
                self._end(growth.depth, parent, expansion.end)
                ended.append(parent)
            draws = [draw for draw in expansion.draws[first : first + width] if draw not in growth.dropped]
            written += [self._add(growth.depth, parent, draw) for draw in draws]
            taken[step] = first + width
        self._count(growth, len(written))
        return written, ended

    def _count(self, growth: Growth, num_written: int) -> None:
        dropped = growth.spent_for_dropped
        self._state.spend(**growth.spent, num_calls=num_written, num_cancelled=growth.num_dropped)
        self._state.spend(dropped_tokens=dropped["generated_tokens"], dropped_prm_tokens=dropped["prm_tokens"])

    def _add(self, depth: int, parent: int, draw: Draw) -> int:
        node = self._tree.add(parent, draw.continuation)
        self._set_rewards(node, draw.rewards)
        if draw.failure:
            self._state.failures.append(Failure(node, "score", draw.failure))
        if draw.end:
            self._end(depth, node, draw.end)
        return node

    def _set_rewards(self, node: int, rewards: tuple[float, ...]) -> None:
        """Gives the last steps on the path to ``node`` their rewards; one that a step has already stays."""
        path = self._tree.path(node)
        for step, reward in zip(path[len(path) - len(rewards) :], rewards, strict=True):
            if math.isnan(self._tree.reward(step)):
                self._tree.set_reward(step, reward)

    def _end(self, depth: int, node: int, reason: EndReason) -> None:
        self._state.ended[node] = reason
        answer = answer_at(self._state, node, self._settings)
        self._emit(Completed(depth, node, reason, answer, self._tree.reward(node)))
