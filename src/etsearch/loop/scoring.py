"""Score: a step gets its reward as soon as it exists, or a whole trajectory as it ends."""

from collections import Counter
from collections.abc import Callable

from etsearch.errors import RewardError
from etsearch.loop.clock import PhaseClock
from etsearch.loop.events import Event, Scored
from etsearch.loop.expansion import Draw, Expansion
from etsearch.loop.parts import Parts
from etsearch.loop.retry import in_one_line, retry
from etsearch.loop.state import SearchState
from etsearch.types import EndReason, Scores, Step, Trajectory


class Scorer:
    """Scores the steps of one search.

    Args:
        state: the search; it is only read.
        parts: the reward model, and the strategy, which says when rewards are needed.
        emit: takes the events.
        clock: takes the time.
    """

    def __init__(self, state: SearchState, parts: Parts, emit: Callable[[Event], None], clock: PhaseClock) -> None:
        self._tree, self._emit, self._clock = state.tree, emit, clock
        self._reward_model, self._needs_rewards = parts.reward_model, parts.strategy.needs_rewards

    async def score(self, depth: int, expansion: Expansion, draw: Draw) -> None:
        """Gives a draw its rewards; one whose reward is lost for good ends its trajectory."""
        await self._score(expansion.node, draw)
        draw.is_settled = True
        if draw.rewards:
            self._emit(Scored(depth, expansion.node, expansion.draws.index(draw), draw.rewards[-1], draw.count))

    async def _score(self, parent: int, draw: Draw) -> None:
        first = self._tree.depth_of(parent) if self._needs_rewards else 0
        if self._reward_model is None or not (self._needs_rewards or draw.end):
            return
        path, step = self._tree.trajectory(parent), draw.continuation
        if not step.text and not path.steps:
            draw.end, draw.failure = EndReason.FAILED, "the generator ended the solution before its first step"
            return
        if not step.text and self._needs_rewards:
            draw.rewards = (self._tree.rewards_to(parent)[-1],)
            return
        steps = (*path.steps, Step(step.text, step.token_ids, step.log_probability))
        trajectory = Trajectory(path.question, steps if step.text else path.steps)
        try:
            rewards = await self._rewards(trajectory, first, draw.spent)
        except RewardError as error:
            draw.end, draw.failure = EndReason.FAILED, in_one_line(error)
            return
        draw.rewards = rewards if step.text else (*rewards, rewards[-1])

    async def score_end(self, expansion: Expansion) -> None:
        """Ends the trajectory to a node that the engine cannot hold any longer; it votes if it states an answer."""
        end, failure = EndReason.LENGTH, expansion.too_long
        if self._reward_model is not None and not self._needs_rewards:
            try:
                expansion.rewards = await self._rewards(self._tree.trajectory(expansion.node), 0, expansion.spent)
            except RewardError as lost:
                end, failure = EndReason.FAILED, f"{failure}; then {in_one_line(lost)}"
        expansion.end, expansion.failure = end, failure

    async def _rewards(self, trajectory: Trajectory, first: int, spent: Counter[str]) -> tuple[float, ...]:
        with self._clock.phase("score"):
            scores = await retry(lambda: self._scores(trajectory, first))
        spent.update(num_scores=1, prm_tokens=scores.num_tokens)
        return scores.rewards

    async def _scores(self, trajectory: Trajectory, first: int) -> Scores:
        """What the reward model says, checked to be what was asked for."""
        assert self._reward_model is not None
        scores = await self._reward_model.score(trajectory, first)
        expected = len(trajectory.steps) - first
        if len(scores.rewards) != expected:
            raise RewardError(f"the reward model gave {len(scores.rewards)} rewards for {expected} steps")
        for offset, reward in enumerate(scores.rewards):
            if not 0.0 <= reward <= 1.0:
                raise RewardError(f"the reward of step {first + offset + 1} is {reward}; it must lie in [0, 1]")
        return scores
