"""What a search comes to: the answers of its trajectories, their weights, the vote, and when it is decided."""

import math
from collections.abc import Iterable
from typing import Final

from etsearch import answers
from etsearch.answers import Aggregation
from etsearch.loop.result import EndedTrajectory, SearchResult
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.types import Continuation, EndReason, EngineFigures, FinishReason, StopReason


def stated(text: str, last: Continuation, settings: SearchSettings) -> str | None:
    """The answer stated in a text that ends with ``last``; one that a token limit may have cut is none."""
    return answers.extract(text, settings.patterns, is_cut=last.finish_reason is FinishReason.LENGTH)


def answer_at(state: SearchState, node: int, settings: SearchSettings) -> str | None:
    """The answer of the trajectory to a node; None if it states none."""
    return stated(state.tree.trajectory(node).text, state.tree.continuation(node), settings)


ROUNDING: Final = 1e-9
"""What the sums of weights may be off by."""


class RunningVote:
    """The vote of a search under way, which tells when it is decided.

    A trajectory weighs at most 1, for rewards lie in [0, 1] and ``last``, ``min``, ``prod`` and ``mean`` of them do
    too. Where ``r`` trajectories at most are still to end, each at most of weight ``c``, no answer can gain more than
    ``r c`` on the leading one, whether it has votes already or is yet unseen. So once the leader is ahead of every
    other answer, and of an unseen one, by more than ``r c``, it wins the whole search, whatever the rest would have
    been. ``c`` is 1, but under ``min`` and ``prod`` a trajectory weighs no more than its first steps do. (Where
    equivalence of answers is not transitive, see ``answers.Tally``, the order of voters matters, and the proof goes
    for the groups as they have formed so far. The answer may be written as another of its voters wrote it.)

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
        falls = self._settings.aggregation in (Aggregation.MIN, Aggregation.PROD)
        is_known = bool(rewards) and not any(map(math.isnan, rewards))
        return answers.weight(rewards, self._settings.aggregation) if falls and is_known else 1.0

    def is_decided(self, num_open: float, most: float) -> bool:
        """Whether no ``num_open`` trajectories that weigh at most ``most`` each can change the answer."""
        return self._tally.lead > num_open * most + ROUNDING * self._settings.width


def weight_of(answer: str | None, rewards: Iterable[float], reason: EndReason, settings: SearchSettings) -> float:
    """What a trajectory that has ended votes with; 0 for one that does not vote."""
    votes = answer is not None and _may_vote(reason, settings)
    return answers.weight(tuple(rewards), settings.aggregation) if votes else 0.0


def conclude(
    state: SearchState, settings: SearchSettings, stop_reason: StopReason, engine: EngineFigures
) -> SearchResult:
    """The result of a search that is over."""
    trajectories = tuple(_trajectory(state, node, settings) for node in state.ended)
    voters = [t.answer if _may_vote(t.end_reason, settings) else None for t in trajectories]
    votes = tuple(answers.vote(voters, [t.weight for t in trajectories]))
    return SearchResult(
        question=state.tree.question,
        answer=votes[0].answer if votes else None,
        votes=votes,
        trajectories=trajectories,
        stop_reason=stop_reason,
        usage=state.usage,
        engine=engine,
        depths=tuple(state.depths),
        failures=tuple(state.failures),
        width=settings.width,
        seed=settings.seed,
        tree=state.tree,
    )


def _trajectory(state: SearchState, node: int, settings: SearchSettings) -> EndedTrajectory:
    reason, answer = state.ended[node], answer_at(state, node, settings)
    rewards = state.tree.rewards_to(node)
    weight = weight_of(answer, rewards, reason, settings)
    steps = tuple(step.text for step in state.tree.trajectory(node).steps)
    return EndedTrajectory(node, reason, answer, weight, steps, rewards)


def _may_vote(reason: EndReason, settings: SearchSettings) -> bool:
    return reason is EndReason.ANSWERED or (settings.cut_votes and reason is not EndReason.FAILED)
