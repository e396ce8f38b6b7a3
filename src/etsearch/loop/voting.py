"""Vote: what a search comes to, from the answers of its trajectories and their weights, or from their rewards alone."""

import math
from collections.abc import Iterable, Sequence

from etsearch import answers
from etsearch.answers import Aggregation, Vote
from etsearch.loop.result import EndedTrajectory, SearchResult
from etsearch.loop.settings import SearchSettings, to_aggregation
from etsearch.loop.state import SearchState
from etsearch.types import Continuation, EndReason, EngineFigures, FinishReason, StopReason


def answer_in(text: str, last: Continuation, settings: SearchSettings) -> str | None:
    """The answer stated in a text that ends with ``last``; one that a token limit may have cut is none."""
    return answers.extract(text, settings.patterns, is_cut=last.finish_reason is FinishReason.LENGTH)


def answer_at(state: SearchState, node: int, settings: SearchSettings) -> str | None:
    """The answer of the trajectory to a node; None if it states none."""
    return answer_in(state.tree.trajectory(node).text, state.tree.continuation(node), settings)


def weight_of(answer: str | None, rewards: Iterable[float], reason: EndReason, settings: SearchSettings) -> float:
    """What a trajectory that has ended votes with; 0 for one that does not vote."""
    votes = answer is not None and _may_vote(reason, settings)
    return answers.weight(tuple(rewards), to_aggregation(settings.aggregation)) if votes else 0.0


def vote(
    state: SearchState,
    settings: SearchSettings,
    stop_reason: StopReason,
    engine: EngineFigures,
    notes: tuple[str, ...] = (),
) -> SearchResult:
    """The result of a search that is over; ``notes`` is what there is to say of how it was run.

    Where no trajectory states an answer, the one with the best reward is the answer (``best_reward``).
    """
    trajectories = tuple(_trajectory(state, node, settings) for node in state.ended)
    aggregation = to_aggregation(settings.aggregation)
    votes = () if aggregation is Aggregation.BEST_REWARD else _votes(trajectories, settings)
    if votes:
        answer: str | None = votes[0].answer
        best: EndedTrajectory | None = max((trajectories[i] for i in votes[0].voters), key=lambda t: t.weight)
    else:
        best = _best_reward(state, trajectories, settings)
        answer = best.answer if best and _may_vote(best.end_reason, settings) else None
        aggregation = Aggregation.BEST_REWARD if best else aggregation
    return SearchResult(
        question=state.tree.question,
        answer=answer,
        aggregation=aggregation,
        best=best,
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
        notes=notes,
    )


def stated(result: SearchResult, settings: SearchSettings) -> tuple[Vote, ...]:
    """The distinct answers, the winner first: the votes, or what they would have been where there was no vote."""
    if result.votes or result.best is None:
        return result.votes
    winner = [t.node for t in result.trajectories].index(result.best.node)
    return tuple(sorted(_votes(result.trajectories, settings), key=lambda vote: winner not in vote.voters))


def _votes(trajectories: Sequence[EndedTrajectory], settings: SearchSettings) -> tuple[Vote, ...]:
    voters = [t.answer if _may_vote(t.end_reason, settings) else None for t in trajectories]
    if settings.vote_share < 1:
        having = [i for i, answer in enumerate(voters) if answer is not None]
        having.sort(key=lambda i: -trajectories[i].weight)
        for i in having[math.ceil(settings.vote_share * len(having)) :]:
            voters[i] = None
    return tuple(answers.vote(voters, [t.weight for t in trajectories]))


def _best_reward(
    state: SearchState, trajectories: Sequence[EndedTrajectory], settings: SearchSettings
) -> EndedTrajectory | None:
    """The trajectory whose last step has the best reward, the first of equals; None if there is none with a step.

    It is one of those that may vote; if there are none, one of those that did not fail; else one of all. Those whose
    last step has no reward come after those where it has; among them the one that the generator found likeliest wins.
    """
    some = [t for t in trajectories if t.steps]
    for chosen in (
        [t for t in some if _may_vote(t.end_reason, settings)],
        [t for t in some if t.end_reason is not EndReason.FAILED],
        some,
    ):
        if chosen:
            return max(chosen, key=lambda t: _rank(state, t))
    return None


def _rank(state: SearchState, trajectory: EndedTrajectory) -> tuple[float, float]:
    """The last reward; where there is none, -1 and the mean log probability of a token, as far as that is known."""
    last = trajectory.rewards[-1]
    if not math.isnan(last):
        return last, 0.0
    steps = state.tree.trajectory(trajectory.node).steps
    told = [step.log_probability for step in steps if step.log_probability is not None]
    num_tokens = sum(len(step.token_ids) for step in steps)
    return -1.0, math.fsum(told) / num_tokens if num_tokens and len(told) == len(steps) else -math.inf


def _trajectory(state: SearchState, node: int, settings: SearchSettings) -> EndedTrajectory:
    reason, answer = state.ended[node], answer_at(state, node, settings)
    rewards = state.tree.rewards_to(node)
    weight = weight_of(answer, rewards, reason, settings)
    steps = tuple(step.text for step in state.tree.trajectory(node).steps)
    return EndedTrajectory(node, reason, answer, weight, steps, rewards)


def _may_vote(reason: EndReason, settings: SearchSettings) -> bool:
    return reason is EndReason.ANSWERED or (settings.cut_votes and reason is not EndReason.FAILED)
