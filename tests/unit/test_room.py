"""How many tokens a trajectory may have is known before a search begins."""

import pytest
from tests.worlds import PROBLEM, reward_of, run, write

from etsearch import Limits
from etsearch.errors import ConfigError, RewardError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.types import EndReason

PROMPT = len(PROBLEM.question) + 1


class Short:
    """A scripted part that says how much it holds."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class ShortGenerator(Short):
    def __init__(self, context_tokens):
        super().__init__(ScriptedGenerator(write))
        self.context_tokens = context_tokens


class ShortModel(Short):
    """Holds so many letters of steps, and fails at more."""

    def __init__(self, letters):
        super().__init__(ScriptedRewardModel(reward_of))
        self.letters, self.asked = letters, []

    async def room(self, question, num_steps):
        self.asked.append((question, num_steps))
        return self.letters

    async def score(self, trajectory, first):
        if self.letters is not None and len(trajectory.text) > self.letters:
            raise RewardError("it does not fit", retryable=False)
        return await self.inner.score(trajectory, first)


@pytest.mark.parametrize("strategy", ["rebase", "best_of_n", "ets"])
async def test_no_request_is_lost_to_a_reward_model_that_holds_less(strategy):
    model = ShortModel(15)
    result = await run(strategy, 16, reward_model=model, limits=Limits(max_depth=9))
    assert model.asked == [(PROBLEM.question, 9)]
    assert result.notes == ("max_tokens was lowered from 1024 to 15: the reward model holds no more",)
    assert not result.failures
    assert {t.end_reason for t in result.trajectories} == {EndReason.LENGTH}
    assert max(len("".join(t.steps)) for t in result.trajectories) == 15
    assert result.to_dict()["notes"] == list(result.notes)


async def test_the_generator_is_asked_too_and_the_least_counts():
    result = await run("rebase", 8, generator=ShortGenerator(PROMPT + 20), reward_model=ShortModel(500))
    assert result.notes == ("max_tokens was lowered from 1024 to 20: the generator holds no more",)
    assert max(len("".join(t.steps)) for t in result.trajectories) == 20


@pytest.mark.parametrize("letters", [None, 1024, 5000])
async def test_what_fits_is_left_as_it_is(letters):
    plain = await run("rebase", 8)
    result = await run("rebase", 8, generator=ShortGenerator(None), reward_model=ShortModel(letters))
    assert result.notes == ()
    assert result.trajectories == plain.trajectories


@pytest.mark.parametrize("letters", [0, -7])
async def test_a_question_that_is_too_long_is_an_error(letters):
    with pytest.raises(ConfigError, match=f"too long for the reward model: with 25 steps it leaves {letters} tokens"):
        await run("rebase", 8, reward_model=ShortModel(letters))
