"""Early stop: a search is over as soon as no vote that may still come can change its answer."""

import math
from collections.abc import Iterator
from typing import Final

from etsearch import answers
from etsearch.answers import Aggregation
from etsearch.loop.expansion import Draw, Expansion
from etsearch.loop.growth import Growth
from etsearch.loop.settings import SearchSettings, to_aggregation
from etsearch.loop.state import SearchState
from etsearch.loop.voting import answer_at, answer_in, weight_of
from etsearch.strategies import Strategy
from etsearch.strategies.base import completes_at_most_width, reaches_back
from etsearch.types import EndReason

ROUNDING: Final = 1e-9
"""What the sums of weights may be off by."""


class RunningVote:
    """The vote of a search under way, which tells when it is decided.

    A trajectory weighs at most 1, for rewards lie in [0, 1] and ``last``, ``min``, ``prod`` and ``mean`` of them do
    too. Where ``r`` trajectories at most are still to end, each at most of weight ``c``, no answer can gain more than
    ``r c`` on the leading one, whether it has votes already or is yet unseen. So once the leader is ahead of every
    other answer, and of an unseen one, by more than ``r c``, it wins the whole search, whatever the rest would have
    been. ``c`` is 1, but under ``min`` and ``prod`` a trajectory weighs no more than its first steps do, where all that
    come begin with steps of this depth: not where a strategy reaches back. (Where
    equivalence of answers is not transitive, see ``answers.Tally``, the order of voters matters, and the proof goes
    for the groups as they have formed so far. The answer may be written as another of its voters wrote it.)

    Under ``best_reward`` there is no vote, and it is never decided: whatever is still to come may have a better reward.

    Args:
        state: the search; what has ended in it has voted.
        settings: of the search.
    """

    def __init__(self, state: SearchState, settings: SearchSettings) -> None:
        self._settings, self._tally = settings, answers.Tally()
        for node, reason in state.ended.items():
            self.add(answer_at(state, node, settings), state.tree.rewards_to(node), reason)

    def add(self, answer: str | None, rewards: tuple[float, ...], reason: EndReason) -> None:
        """The next trajectory that has ended: its answer, the rewards of all its steps, and why it ended."""
        self._tally.add(answer, weight_of(answer, rewards, reason, self._settings))

    def most(self, rewards: tuple[float, ...]) -> float:
        """The most that a trajectory can weigh whose first steps have these rewards."""
        aggregation = to_aggregation(self._settings.aggregation)
        falls = aggregation in (Aggregation.MIN, Aggregation.PROD)
        is_known = bool(rewards) and not any(map(math.isnan, rewards))
        return answers.weight(rewards, aggregation) if falls and is_known else 1.0

    def is_decided(self, num_open: float, most: float) -> bool:
        """Whether no ``num_open`` trajectories that weigh at most ``most`` each can change the answer."""
        if to_aggregation(self._settings.aggregation) is Aggregation.BEST_REWARD:
            return False
        return self._tally.lead > num_open * most + ROUNDING * self._settings.width


class EarlyStop:
    """Watches the vote of a search, and tells when it is decided.

    Steps are looked at in the order of the draws, not of their coming: the depth ends with the first whose vote, with
    those before it, decides. So where a search stops is a function of its seed, however fast its parts are; what comes
    after that step is dropped, even if it is there already.

    Args:
        state: the search.
        settings: of the search; where ``early_stop`` is false, or not all trajectories vote, it is never decided.
        strategy: of the search, which may say how many trajectories it can still complete.
    """

    def __init__(self, state: SearchState, settings: SearchSettings, strategy: Strategy) -> None:
        self._state, self._tree, self._settings = state, state.tree, settings
        self._keeps_to_width, self._reaches_back = completes_at_most_width(strategy), reaches_back(strategy)
        self._vote = RunningVote(state, settings)
        self._settled: Iterator[tuple[Expansion, Draw] | None] = iter(())
        self._num_ended = self._num_missing = 0
        self._most = 1.0
        self.is_decided = False

    def begin(self, growth: Growth) -> None:
        """A depth is being written."""
        self._settled = _settled(growth)
        self._num_ended, self._num_missing = len(self._state.ended), growth.width
        most = (self._vote.most(self._tree.rewards_to(step)) for step in growth.expansions)
        self._most = 1.0 if self._reaches_back else max(most)

    def look(self, growth: Growth) -> None:
        """Takes note of the steps that have settled, in the order of the draws; ends the depth if one decides."""
        may_stop = self._settings.early_stop and self._settings.vote_share == 1
        while may_stop and not self.is_decided and (step := next(self._settled, None)):
            expansion, draw = step
            self._num_missing -= draw.count
            if draw.end is not None:
                self._add(expansion.node, draw, draw.end)
                self.is_decided = self._vote.is_decided(self._num_open(growth.depth), self._most)
            if self.is_decided:
                growth.end_with(expansion, draw)

    def _add(self, parent: int, draw: Draw, end: EndReason) -> None:
        text = self._tree.trajectory(parent).text + draw.continuation.text
        answer = answer_in(text, draw.continuation, self._settings)
        before = self._tree.rewards_to(parent)
        rewards = before[: len(before) + 1 - len(draw.rewards)] + draw.rewards
        for _ in range(draw.count):
            self._vote.add(answer, rewards, end)
        self._num_ended += draw.count

    def note_end(self, node: int) -> None:
        """Takes note of a trajectory that ended since its node could not be expanded."""
        answer = answer_at(self._state, node, self._settings)
        self._vote.add(answer, self._tree.rewards_to(node), self._state.ended[node])

    def _num_open(self, depth: int) -> float:
        """The most trajectories that may still end, in this depth and in all later ones."""
        width = self._settings.width
        is_last = depth == self._settings.limits.max_depth and not self._reaches_back
        if is_last or self._num_ended >= width:
            return self._num_missing
        return width - self._num_ended if self._keeps_to_width else math.inf


def _settled(growth: Growth) -> Iterator[tuple[Expansion, Draw] | None]:
    """The distinct draws of a depth in their order; None as long as the next has not settled."""
    for expansion in growth.expansions.values():
        while not expansion.is_over:
            yield None
        for draw in expansion.distinct():
            while not draw.is_settled:
                yield None
            yield expansion, draw
