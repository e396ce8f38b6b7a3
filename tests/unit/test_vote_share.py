"""Who votes: all trajectories, or those with the largest weights."""

import asyncio
import math

import pytest

import etsearch
from etsearch import minimath
from etsearch.errors import ConfigError, RewardError
from etsearch.prms import REWARD_MODELS
from etsearch.prms.log_probability import LogProbabilityRewardModel
from etsearch.types import Step, StopReason, Trajectory


def solved(**settings):
    made = {"strategy": "rebase", "width": 16, "generator": "scripted", "prm": "scripted", **settings}
    return etsearch.solve(minimath.example(3), **made)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_those_with_the_largest_weights_vote(share):
    result = solved(vote_share=share)
    whole = solved(early_stop=False)
    assert [t.weight for t in result.trajectories] == [t.weight for t in whole.trajectories]
    assert result.stop_reason is not StopReason.DECIDED
    voters = [i for vote in result.votes for i in vote.voters]
    assert len(voters) == math.ceil(share * sum(vote.count for vote in whole.votes))
    others = [t.weight for i, t in enumerate(result.trajectories) if i not in voters and t.answer is not None]
    assert min(result.trajectories[i].weight for i in voters) >= max(others)


@pytest.mark.parametrize("share", [0, -0.1, 1.5, math.nan, True])
def test_shares_that_cannot_be(share):
    with pytest.raises(ConfigError, match="vote_share is"):
        solved(vote_share=share)


def scores(of, first=0):
    steps = (Step("a", (1, 2), -2.0), Step("b", (3,), -3.0), Step("c", (4, 5, 6), -1.5))
    return asyncio.run(LogProbabilityRewardModel(of).score(Trajectory("q", steps), first)).rewards


def test_confidence_of_a_trajectory_and_of_a_step():
    assert scores("trajectory") == pytest.approx([math.exp(-1), math.exp(-5 / 3), math.exp(-6.5 / 6)])
    assert scores("step") == pytest.approx([math.exp(-1), math.exp(-3), math.exp(-0.5)])
    assert scores("step", 1) == pytest.approx([math.exp(-3), math.exp(-0.5)])
    assert min(scores("step")) == pytest.approx(math.exp(-3))  # DeepConf's lowest group


def test_confidence_that_cannot_be():
    with pytest.raises(ConfigError, match="of"):
        REWARD_MODELS.create("log_probability(of=token)")
    with pytest.raises(RewardError, match="step 0 has no log probability"):
        asyncio.run(LogProbabilityRewardModel("step").score(Trajectory("q", (Step("a"),)), 0))
