"""A reward that needs no model: how likely the generator itself finds the solution so far."""

import math
from typing import Literal, final, get_args

from etsearch.errors import ConfigError, RewardError
from etsearch.types import Identity, Scores, Trajectory

Of = Literal["trajectory", "step"]


@final
class LogProbabilityRewardModel:
    """Scores a step by how likely the generator found it: a baseline, and a stand-in where there is no PRM.

    With ``of="trajectory"``, ``reward_t = exp(mean log p of the tokens of steps 1 … t)``, in [0, 1]; with ``of="step"``
    of the tokens of step t alone. It says how sure the generator is, not whether it is right. Votes weighted by
    confidence (self-certainty, arXiv:2502.18581; DeepConf, arXiv:2508.15260) are an aggregation over it: the mean of
    steps, or the least (``min``), which is DeepConf's lowest group where a group is a step; its filter is
    ``vote_share``. Those papers take the log probabilities of all, or of the k likeliest, tokens at each position;
    here it is that of the token that was drawn, which every server tells.

    Args:
        of: what a reward is the probability of.
    """

    def __init__(self, of: Of = "trajectory") -> None:
        if of not in get_args(Of):
            raise ConfigError(f"of is {of!r}; choose {' or '.join(get_args(Of))}")
        self._of = of

    @property
    def identity(self) -> Identity:
        return Identity("log_probability" if self._of == "trajectory" else "log_probability of a step")

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
            if self._of == "step":
                total, num_tokens = 0.0, 0
            total += step.log_probability
            num_tokens += len(step.token_ids)
            rewards.append(math.exp(min(total / max(num_tokens, 1), 0.0)))
        return Scores(tuple(rewards[first:]), num_tokens=0)

    async def aclose(self) -> None:
        """Nothing to stop."""
