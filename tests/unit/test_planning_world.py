"""Worlds that draw trees: what is assumed is what comes, and what is out of range is told."""

import asyncio
import random

import numpy as np
import pytest

from etsearch.errors import ConfigError, RewardError
from etsearch.loop import Parts
from etsearch.loop.search import search
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.world import Assumptions, DrawnWorld, RecordedWorld, _geometric, grow, read_assumptions
from etsearch.strategies import STRATEGIES
from etsearch.tree import SearchTree
from etsearch.types import Continuation, FinishReason, Problem, Step, Trajectory


def searched(world, strategy="rebase", **settings):
    made = SearchSettings(**{"merge": False, "early_stop": False, "width": 32, **settings})
    embedder = world if isinstance(world, DrawnWorld) else None
    return asyncio.run(search(Problem("q"), Parts(world, world, STRATEGIES.create(strategy), embedder), made))


def recorded(result):
    return SearchState.of(result)


def steps_of(assumed, seeds=range(12)):
    ends = [len(t.steps) for seed in seeds for t in searched(DrawnWorld(assumed, seed), "best_of_n").trajectories]
    return np.array(ends)


@pytest.mark.parametrize("same", [5e-324, 1e-300, 1e-17, 0.5, 1 - 2**-53])
def test_however_rarely_draws_are_alike_one_is_drawn(same):
    rng = random.Random(0)
    assert all(0 <= _geometric(rng, same) <= 10_000 for _ in range(100))


def test_a_number_of_steps_that_never_varies_is_met_on_average():
    assert set(steps_of(Assumptions(steps=3, steps_sd=0), range(2))) == {3}
    found = steps_of(Assumptions(steps=2.5, steps_sd=0))
    assert set(found) == {2, 3}
    assert found.mean() == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize("reward", [0.2, 0.6, 0.9])
def test_half_of_the_rewards_are_above_the_one_assumed(reward):
    results = [searched(DrawnWorld(Assumptions(reward=reward), seed), "best_of_n") for seed in range(8)]
    rewards = [r for result in results for t in result.trajectories for r in t.rewards[-1:]]
    assert np.mean(np.array(rewards) > reward) == pytest.approx(0.5, abs=0.12)


def test_a_step_that_is_longer_than_its_limit_is_cut():
    result = searched(DrawnWorld(Assumptions(step_tokens=40), 0), limits=Limits(max_step_tokens=12))
    cut = [c for c in map(result.tree.continuation, range(1, len(result.tree))) if c.finish_reason == "length"]
    assert cut
    assert {len(c.token_ids) for c in cut} == {12}


def test_the_recorded_strategy_grows_only_what_was_recorded():
    state = recorded(searched(DrawnWorld(Assumptions(steps=5), 1)))
    again = searched(RecordedWorld(state), seed=7)
    steps = {(c.token_ids, r) for c, r in zip(*all_of(state.tree), strict=True)}
    assert {(c.token_ids, r) for c, r in zip(*all_of(again.tree), strict=True)} <= steps
    assert max(again.tree.depth) <= max(state.tree.depth)
    trace = asyncio.run(grow(RecordedWorld(state), STRATEGIES.create("beam"), SearchSettings(width=8), "again"))
    assert trace.tokens[0] == state.tree.tokens[0]


def all_of(tree):
    nodes = range(1, len(tree))
    return [tree.continuation(node) for node in nodes], [tree.reward(node) for node in nodes]


def test_a_recorded_world_scores_nothing_else():
    world = RecordedWorld(recorded(searched(DrawnWorld(Assumptions(steps=3), 1))))
    with pytest.raises(RewardError, match="none of the recorded"):
        asyncio.run(world.score(Trajectory("q", (Step("else", (1, 2)),)), 0))


def test_a_tree_without_steps_is_no_world():
    with pytest.raises(ConfigError, match="no steps"):
        RecordedWorld(SearchState(SearchTree("q", (1, 2))))


def test_a_tree_with_a_step_without_reward_is_no_world():
    tree = SearchTree("q", (1, 2))
    tree.add(0, Continuation((3,), "x", FinishReason.STEP))
    with pytest.raises(ConfigError, match="no reward"):
        RecordedWorld(SearchState(tree))


@pytest.mark.parametrize(
    "values",
    [
        {"prompt_tokens": 0},
        {"steps": 0.5},
        {"steps_sd": -1},
        {"step_tokens": 1e6},
        {"step_tokens_sd": float("nan")},
        {"same_idea": 0},
        {"same_text": 1},
        {"reward": 1},
        {"reward_sd": 21},
        {"reward_memory": 1.1},
    ],
)
def test_what_is_out_of_range_is_told_by_its_name(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Assumptions(**values)


def test_assumptions_are_read_beside_the_default():
    default = Assumptions(steps=4)
    found = read_assumptions("prompt_tokens=9, reward=0.5,", default)
    assert (found.steps, found.prompt_tokens, found.reward) == (4, 9, 0.5)
    assert read_assumptions("", default) == default
    with pytest.raises(ConfigError, match="prompt_tokens"):
        read_assumptions("prompt_tokens=1.5", default)
