"""Vote: what a search comes to, from the answers of its trajectories and their weights."""

from collections.abc import Iterable

from etsearch import answers
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
    """The result of a search that is over; ``notes`` is what there is to say of how it was run."""
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
        notes=notes,
    )


def _trajectory(state: SearchState, node: int, settings: SearchSettings) -> EndedTrajectory:
    reason, answer = state.ended[node], answer_at(state, node, settings)
    rewards = state.tree.rewards_to(node)
    weight = weight_of(answer, rewards, reason, settings)
    steps = tuple(step.text for step in state.tree.trajectory(node).steps)
    return EndedTrajectory(node, reason, answer, weight, steps, rewards)


def _may_vote(reason: EndReason, settings: SearchSettings) -> bool:
    return reason is EndReason.ANSWERED or (settings.cut_votes and reason is not EndReason.FAILED)
