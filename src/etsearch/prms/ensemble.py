"""Several reward models as one, by a stated rule."""

import asyncio
import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Final, Literal, final

from etsearch.errors import ConfigError
from etsearch.prms.base import RewardModel, TellsRoom
from etsearch.types import Identity, Scores, Trajectory

Rule = Literal["mean", "least", "median", "product"]


def _geometric(rewards: Sequence[float]) -> float:
    return math.prod(rewards) ** (1 / len(rewards))


RULES: Final[dict[Rule, Callable[[Sequence[float]], float]]] = {
    "mean": fmean,
    "least": min,
    "median": median,
    "product": _geometric,
}
"""How rewards of one step become one; ``product`` is the geometric mean, so that it stays on the scale of a reward."""


@final
class EnsembleRewardModel:
    """Asks all of them at once; a step's reward is the rule over theirs. Tokens read are the sum.

    Where one fails, the step fails: a reward of the others alone would be of another scale.

    Args:
        members: at least two.
        rule: over a step's rewards.

    Raises:
        ConfigError: fewer than two members, or no such rule.
    """

    def __init__(self, members: Sequence[RewardModel], rule: Rule = "mean") -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble of {len(members)} is none; give two reward models or more, as A+B")
        if rule not in RULES:
            raise ConfigError(f"the rule is {rule!r}; choose one of {', '.join(RULES)}")
        self._members, self._rule = tuple(members), rule

    @property
    def identity(self) -> Identity:
        """All members' names and the rule."""
        found = [member.identity for member in self._members]
        known = [identity.num_parameters for identity in found if identity.num_parameters is not None]
        engines = dict.fromkeys(identity.engine or "?" for identity in found)
        return Identity(
            f"{self._rule} of {' and '.join(identity.name for identity in found)}",
            num_parameters=sum(known) if len(known) == len(found) else None,
            engine=", ".join(engines),
        )

    async def score(self, trajectory: Trajectory, first: int) -> Scores:
        """Rewards of the steps ``first`` to last; see :class:`~etsearch.prms.base.RewardModel`."""
        found = await asyncio.gather(*(member.score(trajectory, first) for member in self._members))
        rule = RULES[self._rule]
        of_steps = zip(*(scores.rewards for scores in found), strict=True)
        return Scores(tuple(rule(rewards) for rewards in of_steps), sum(scores.num_tokens for scores in found))

    async def room(self, question: str, num_steps: int) -> int | None:
        """The least of theirs; see ``TellsRoom``."""
        rooms = [await member.room(question, num_steps) for member in self._members if isinstance(member, TellsRoom)]
        return min((room for room in rooms if room is not None), default=None)

    async def aclose(self) -> None:
        """Stops all of them."""
        for member in self._members:
            await member.aclose()
