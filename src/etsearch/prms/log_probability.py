"""A reward that needs no model: how likely the generator itself finds the solution so far."""

import math
from typing import final

from etsearch.errors import RewardError
from etsearch.types import Identity, Scores, Trajectory


@final
class LogProbabilityRewardModel:
    """Scores a step by the length-normalised probability of the trajectory up to it.

    ``reward_t = exp(mean log p of the tokens of steps 1 … t)``, in [0, 1]. It says how sure the generator is, not
    whether it is right: a baseline, and a stand-in where there is no PRM.
    """

    @property
    def identity(self) -> Identity:
        return Identity("log_probability")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        if not 0 <= first < len(trajectory.steps):
            raise RewardError(f"first is {first}; the trajectory has steps 0 to {len(trajectory.steps) - 1}")
        total, num_tokens, rewards = 0.0, 0, []
        for index, step in enumerate(trajectory.steps):
            if step.log_probability is None or math.isnan(step.log_probability):
                raise RewardError(
                    f"step {index} has no log probability (it is {step.log_probability}); "
                    "this generator gives none, so choose another reward model"
                )
            total += step.log_probability
            num_tokens += len(step.token_ids)
            rewards.append(math.exp(min(total / max(num_tokens, 1), 0.0)))
        return Scores(tuple(rewards[first:]), num_tokens=0)

    async def aclose(self) -> None:
        """Nothing to stop."""
