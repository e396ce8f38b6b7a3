"""AB-MCTS: its posteriors by hand, which way its walks go, and what a search across depths does and keeps."""

import math

import numpy as np
import pytest
from tests.worlds import run

from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.strategies import ABMCTS, STRATEGIES, Frontier
from etsearch.strategies.ab_mcts import Rewards, _outcomes, draw, normal_posterior
from etsearch.strategies.base import reaches_back
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason, StopReason


def test_the_normal_posterior_of_two_rewards_by_hand():
    place, certainty, freedom, variance = normal_posterior(Rewards.of([(0.5, 0.7), ()]), prior_mean=0.0)
    # n = 2, mean 0.6: m' = 1.2 / 3; nu' tau'^2 = 0.1 + 2 * 0.1^2 + 2/3 * 0.6^2 = 0.36
    assert place == pytest.approx([0.4, 0.0])
    assert certainty.tolist() == freedom.tolist() == [3, 1]
    assert variance == pytest.approx([0.12, 0.1])


def test_an_arm_that_nobody_has_tried_draws_from_a_cauchy_distribution():
    """One degree of freedom, scale sqrt(0.1): above 0.6 with 1/2 - atan(0.6 / sqrt 0.1) / pi."""
    untried = Rewards.of([()] * 40_000)
    numbers = draw(untried, ABMCTS(), np.random.default_rng(0))
    assert np.mean(numbers > 0.6) == pytest.approx(0.5 - math.atan(0.6 / math.sqrt(0.1)) / math.pi, abs=0.01)
    assert np.median(draw(untried, ABMCTS(prior_mean=0.5), np.random.default_rng(0))) == pytest.approx(0.5, abs=0.01)


def test_the_beta_posterior_counts_a_reward_as_a_share_of_success():
    numbers = draw(Rewards.of([(0.5, 0.7)] * 40_000), ABMCTS(prior="beta"), np.random.default_rng(0))
    a, b = 1.7, 1.3
    assert numbers.mean() == pytest.approx(a / (a + b), abs=0.005)
    assert numbers.var() == pytest.approx(a * b / (a + b) ** 2 / (a + b + 1), abs=0.005)


def grown(*steps):
    """A tree of (parent, reward), each step of its own text."""
    tree = SearchTree("q", [1, 2, 3])
    for number, (parent, reward) in enumerate(steps):
        node = tree.add(parent, Continuation((number + 5,), f"{number}\n", FinishReason.STEP))
        tree.set_reward(node, reward)
    return tree


def chosen(tree, ended, width=400, **settings):
    """How many new children each open node gets."""
    nodes = [node for node in range(len(tree)) if node not in ended]
    frontier = Frontier(
        tree,
        np.array(nodes),
        tree.rewards[nodes],
        clusters=None,
        completed=np.array(ended, dtype=np.int64),
        total_width=width,
        seed=3,
    )
    widths = ABMCTS(**{"batch": width, **settings}).select(frontier, width).widths
    return dict(zip(nodes, widths, strict=True))


def test_outcomes_of_a_tree_by_hand():
    """Begun at the root: 1-2-3 (0.9) and 4-5 (0.2); at 1: 6-7 (0.5)."""
    tree = grown((ROOT, 0.1), (1, 0.1), (2, 0.9), (ROOT, 0.1), (4, 0.2), (1, 0.1), (6, 0.5))
    begun, below, through = _outcomes(tree, [3, 5, 7])
    assert begun.number.tolist() == [2, 2, 1, 0, 1, 0, 1, 0]
    assert begun.total == pytest.approx([1.1, 1.4, 0.9, 0, 0.2, 0, 0.5, 0])
    assert below.number.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert below.total[ROOT] == pytest.approx(0.5)
    assert through.squares == pytest.approx([1.1, 1.06, 0.81, 0, 0.04, 0, 0.25, 0])


def test_the_first_choice_is_between_the_root_and_what_is_below_it():
    counts = chosen(grown((ROOT, 0.1), (1, 0.6)), ended=[2], width=4000)
    # GEN has seen 0.6: t of 2 degrees about 0.3; CONT nothing: Cauchy about 0. Counted by 10^6 draws of NumPy's t.
    chance = np.random.default_rng(1)
    gen = 0.3 + chance.standard_t(2, 10**6) * math.sqrt((0.1 + 0.5 * 0.36) / 2 / 2)
    cont = chance.standard_t(1, 10**6) * math.sqrt(0.1)
    assert counts[ROOT] + counts[1] == 4000
    assert counts[ROOT] / 4000 == pytest.approx(np.mean(gen > cont), abs=0.03)


def test_walks_go_deeper_where_what_was_begun_below_came_out_better():
    """Forty were begun at the root, and forty at the second of two steps, after the first that came through there."""
    bad = [(ROOT, 0.2)] * 40
    tree = grown(*bad, (ROOT, 0.9), *[(41, 0.9)] * 40)
    counts = chosen(tree, ended=[*range(1, 41), *range(42, 82)])
    assert counts[41] > 380
    assert counts[ROOT] < 20


def test_walks_stay_wide_where_what_was_begun_below_came_out_worse():
    tree = grown(*[(ROOT, 0.9)] * 40, (ROOT, 0.5), *[(41, 0.1)] * 40)
    assert chosen(tree, ended=[*range(1, 41), *range(42, 82)])[ROOT] > 380


def test_what_is_under_way_goes_on_and_counts_in_the_batch():
    tree = grown((ROOT, 0.5), (ROOT, 0.5), (1, 0.5))
    counts = chosen(tree, ended=[], width=8, batch=5)
    assert sum(counts.values()) == 5
    assert counts[2] >= 1
    assert counts[3] >= 1
    assert chosen(tree, ended=[], width=1) == {ROOT: 0, 1: 0, 2: 1, 3: 0}


def test_draws_of_one_step_are_one_node_whose_outcomes_all_count():
    tree = SearchTree("q", [1])
    for _ in range(50):
        tree.add(ROOT, Continuation((7,), "same\n", FinishReason.STEP))
    ends = [tree.add(node, Continuation((8 + node,), "end\n", FinishReason.END)) for node in range(1, 51)]
    for node in ends:
        tree.set_reward(node, 0.9)
    begun, below, through = _outcomes(tree, ends)
    assert begun.number[[ROOT, 1]].tolist() == through.number[[ROOT, 1]].tolist() == [50, 50]
    assert not below.number.any()
    counts = chosen(tree, ended=ends)
    assert sum(counts[node] for node in range(2, 51)) == 0
    # Fifty of 0.9 make GEN of the root sure of 0.88, which an arm without any exceeds one time in nine.
    assert 25 < counts[1] < 70


async def test_a_search_takes_up_what_it_left_behind():
    result = await run("ab_mcts(batch=4, prior_mean=0.5)", 16)
    state, parents = SearchState.of(result), result.tree.parent
    assert state.reached_back
    again = [node for node in range(1, len(result.tree)) if len(set(state.written_at[parents == node].tolist())) > 1]
    assert again
    assert {d.num_sampled for d in result.depths} <= {1, 2, 3, 4}
    assert len(result.trajectories) == 16
    assert result.stop_reason is StopReason.COMPLETED
    assert [d.depth for d in result.depths] == list(range(1, len(result.depths) + 1))
    assert sum(d.num_sampled for d in result.depths) == len(result.tree) - 1
    result.tree.check_integrity()


async def test_a_step_that_is_chosen_again_is_not_asked_for_the_same_again():
    result = await run("ab_mcts(batch=1)", 32)
    below_root = [result.tree.continuation(int(node)).text for node in result.tree.children(ROOT)]
    assert len(below_root) > 8
    assert len(set(below_root)) > 1


async def test_no_step_lies_deeper_than_the_limit_however_many_rounds_there_are():
    result = await run("ab_mcts(batch=2)", 8, limits=Limits(max_depth=3))
    assert result.tree.depth.max() == 3
    assert len(result.depths) > 3
    assert len(result.trajectories) == 8


async def test_all_at_once_is_best_of_n():
    one, other = await run("ab_mcts(batch=8)", 8), await run("best_of_n", 8)
    assert [t.steps for t in one.trajectories] == [t.steps for t in other.trajectories]


def test_only_what_says_so_reaches_back():
    assert [entry.name for entry in STRATEGIES.entries() if reaches_back(STRATEGIES.create(entry.name))] == ["ab_mcts"]


async def test_the_viewer_shows_steps_by_their_depth_and_not_by_rounds():
    from etsearch.viewer.page import view_result

    result = await run("ab_mcts(batch=2)", 16)
    tree, depths = result.tree, view_result("", result, SearchSettings(16)).values["depths"]
    assert len(depths) == tree.depth.max() < len(result.depths)
    assert depths[0]["kv"] == tree.kv_tokens(tree.children(ROOT).tolist())
    assert sum(depth["open"] + depth["completed"] for depth in depths) == len(tree) - 1
    assert sum(depth["completed"] for depth in depths) == 16
