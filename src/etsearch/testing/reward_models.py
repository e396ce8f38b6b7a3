"""What every reward model must do; see ``etsearch.prms.RewardModel``."""

import asyncio
import math
from collections.abc import Sequence

from etsearch.errors import RewardError
from etsearch.prms import RewardModel
from etsearch.testing.case import Case
from etsearch.types import Step, Trajectory

_CLOSE = 1e-5
"""What the arithmetic of a batch may change in a reward."""


def trajectory(case: Case, steps: Sequence[str]) -> Trajectory:
    """A solution of the case's problem."""
    return Trajectory(case.problem.question, tuple(Step(text) for text in steps))


async def says_what_it_is(reward_model: RewardModel, case: Case) -> None:
    """An identity with a name and an engine, always the same, without an address."""
    del case
    identity = reward_model.identity
    assert identity.name
    assert identity == reward_model.identity
    assert "http" not in str(identity)


async def scores_each_step_by_its_prefix(reward_model: RewardModel, case: Case) -> None:
    """A step's reward lies in [0, 1] and depends on the question and on the steps up to it, never on later ones."""
    whole = await reward_model.score(trajectory(case, case.steps), 0)
    assert len(whole.rewards) == len(case.steps)
    assert all(0 <= reward <= 1 for reward in whole.rewards)
    assert whole.num_tokens >= 0
    for end in range(1, len(case.steps) + 1):
        part = await reward_model.score(trajectory(case, case.steps[:end]), end - 1)
        assert math.isclose(part.rewards[0], whole.rewards[end - 1], abs_tol=_CLOSE)


async def refuses_steps_that_are_not_there(reward_model: RewardModel, case: Case) -> None:
    """``first`` outside the trajectory is a RewardError."""
    for first in (-1, len(case.steps), 9):
        try:
            await reward_model.score(trajectory(case, case.steps), first)
        except RewardError:
            continue
        raise AssertionError(f"first is {first} of {len(case.steps)} steps, and no RewardError came")


async def serves_many_at_once(reward_model: RewardModel, case: Case) -> None:
    """What is scored together is scored as alone."""
    asked = trajectory(case, case.steps)
    alone = await reward_model.score(asked, 0)
    together = await asyncio.gather(*(reward_model.score(asked, 0) for _ in range(20)))
    for scores in together:
        assert all(math.isclose(a, b, abs_tol=_CLOSE) for a, b in zip(scores.rewards, alone.rewards, strict=True))


async def can_be_closed_twice(reward_model: RewardModel, case: Case) -> None:
    """The second time does nothing."""
    del case
    await reward_model.aclose()
    await reward_model.aclose()


REWARD_MODEL_CHECKS = (
    says_what_it_is,
    scores_each_step_by_its_prefix,
    refuses_steps_that_are_not_there,
    serves_many_at_once,
    can_be_closed_twice,
)
