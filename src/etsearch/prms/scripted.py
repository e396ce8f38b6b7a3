"""A process reward model without a model: a function gives the rewards."""

import asyncio
from collections.abc import Callable, Sequence
from typing import final

from etsearch.errors import RewardError
from etsearch.types import Identity, Scores, Trajectory

Judge = Callable[[str, Sequence[str]], float]


@final
class ScriptedRewardModel:
    """Calls ``judge(question, steps)`` for each prefix of steps; it gives the reward of the last, in [0, 1].

    Args:
        judge: gives a reward; may raise RewardError.
        delay_s: seconds to wait before answering a request.
    """

    def __init__(self, judge: Judge, *, delay_s: float = 0.0) -> None:
        self._judge = judge
        self._delay_s = delay_s

    @property
    def identity(self) -> Identity:
        return Identity(getattr(self._judge, "__qualname__", repr(self._judge)), engine="scripted")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        steps = [step.text for step in trajectory.steps]
        if not 0 <= first < len(steps):
            raise RewardError(f"first is {first}; the trajectory has steps 0 to {len(steps) - 1}")
        await asyncio.sleep(self._delay_s)
        rewards = tuple(self._judge(trajectory.question, steps[: i + 1]) for i in range(first, len(steps)))
        return Scores(rewards, len(trajectory.question) + sum(map(len, steps)))

    async def aclose(self) -> None:
        """Nothing to stop."""
