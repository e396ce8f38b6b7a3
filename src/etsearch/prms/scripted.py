"""A process reward model without a model: a function gives the rewards."""

import asyncio
from collections.abc import Callable, Sequence
from typing import final

from etsearch.boundary.numbers import check_number
from etsearch.errors import RewardError
from etsearch.types import Identity, Scores, Trajectory

RewardOf = Callable[[str, Sequence[str]], float]


@final
class ScriptedRewardModel:
    """Calls ``reward_of(question, steps)`` for each prefix of steps; it gives the reward of the last, in [0, 1].

    Args:
        reward_of: gives a reward; may raise RewardError.
        delay_s: seconds to wait before answering a request, at most 3,600.
        name: what a record calls it; by default the function's name.
    """

    def __init__(self, reward_of: RewardOf, *, delay_s: float = 0.0, name: str = "") -> None:
        self._reward_of = reward_of
        self._name = name or getattr(reward_of, "__qualname__", repr(reward_of))
        check_number("delay_s", delay_s, 0, 3600)
        self._delay_s = delay_s

    @property
    def identity(self) -> Identity:
        return Identity(self._name, engine="scripted")

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        steps = [step.text for step in trajectory.steps]
        if not 0 <= first < len(steps):
            raise RewardError(f"first is {first}; the trajectory has steps 0 to {len(steps) - 1}")
        await asyncio.sleep(self._delay_s)
        rewards = tuple(self._reward_of(trajectory.question, steps[: i + 1]) for i in range(first, len(steps)))
        return Scores(rewards, len(trajectory.question) + sum(map(len, steps)))

    async def aclose(self) -> None:
        """Nothing to stop."""
