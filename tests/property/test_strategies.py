"""What holds of every strategy on any frontier."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etsearch.strategies import STRATEGIES
from etsearch.strategies.base import Frontier
from etsearch.strategies.particle_filter import odds
from etsearch.strategies.thrift import price_of_width
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason

NAMES = [entry.name for entry in STRATEGIES.entries()]
SEARCHES = [name for name in NAMES if name != "best_of_n"]


@st.composite
def frontiers(draw):
    """A frontier of a two-level tree, as after two depths of a search of some width."""
    width = draw(st.integers(2, 24))
    tree = SearchTree("q", [0] * draw(st.integers(1, 20)))
    first = [tree.add(ROOT, _step(draw)) for _ in range(width)]
    survivors = draw(st.lists(st.sampled_from(first), min_size=1, max_size=width, unique=True))
    nodes = [tree.add(draw(st.sampled_from(survivors)), _step(draw)) for _ in range(width)]
    num_open = draw(st.integers(1, width))
    completed = nodes[num_open:]
    return Frontier(
        tree=tree,
        nodes=np.array(nodes[:num_open]),
        rewards=np.array(draw(st.lists(st.floats(0, 1), min_size=num_open, max_size=num_open))),
        clusters=np.unique(
            draw(st.lists(st.integers(0, 5), min_size=num_open, max_size=num_open)), return_inverse=True
        )[1],
        completed=np.array(completed, dtype=np.int64),
        total_width=width,
        seed=draw(st.integers(0, 2**32 - 1)),
        embeddings=np.array([[1.0, draw(st.floats(-3, 3))] for _ in range(num_open)], dtype=np.float32),
    )


def _step(draw):
    return Continuation((1,) * draw(st.integers(1, 30)), "s\n", FinishReason.STEP)


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_the_width_is_shared_and_never_exceeded(name, frontier):
    width = frontier.total_width - len(frontier.completed)
    selection = STRATEGIES.create(name).select(frontier, width)
    assert len(selection.widths) == len(frontier.nodes)
    assert min(selection.widths) >= 0
    if name in ("beam", "dvts"):  # the width does not shrink, and few survivors leave some of it unused
        assert sum(selection.widths) <= frontier.total_width
        shrinking = STRATEGIES.create(f"{name}(shrink=true)").select(frontier, width).widths
        if name == "beam":
            assert sum(shrinking) == width
        else:  # each subtree takes off its own; in a frontier made at random another may have ended more than its share
            assert all(few <= many for few, many in zip(shrinking, selection.widths, strict=True))
    elif name == "adaptive_width":  # as many as four for each direction, and no more than are left
        directions = selection.figures["directions"]
        assert 1 - 1e-9 <= directions <= len(set(frontier.clusters.tolist())) + 1e-9
        assert sum(selection.widths) == min(width, math.ceil(4 * directions - 1e-9))
    elif name == "ab_mcts":  # eight at once, and what is under way goes on
        assert sum(selection.widths) == min(width, max(8, len(frontier.nodes)))
    else:
        assert sum(selection.widths) == width


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(frontiers())
def test_select_is_a_pure_function(name, frontier):
    strategy = STRATEGIES.create(name)
    width = frontier.total_width - len(frontier.completed)
    before = frontier.rewards.copy(), len(frontier.tree)
    assert strategy.select(frontier, width).widths == strategy.select(frontier, width).widths
    assert np.array_equal(before[0], frontier.rewards)
    assert before[1] == len(frontier.tree)


@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_systematic_draws_are_what_is_expected_rounded(frontier):
    selection = STRATEGIES.create("particle_filter(resampling=systematic)").select(frontier, 100)
    expected = 100 * odds(frontier.rewards)
    assert all(abs(width - share) < 1 + 1e-6 for width, share in zip(selection.widths, expected, strict=True))


@settings(max_examples=40, deadline=None)
@given(frontiers(), st.floats(0, 4))
def test_thrift_is_ets_at_the_price_of_its_width(frontier, price):
    lambda_b = price * price_of_width(frontier.total_width)
    same = f"ets(lambda_b={lambda_b!r}, leaves=steps, node_cost=tokens, inherit=true)"
    width = frontier.total_width - len(frontier.completed)
    widths = STRATEGIES.create(f"thrift(price={price!r})").select(frontier, width).widths
    assert widths == STRATEGIES.create(same).select(frontier, width).widths


@pytest.mark.parametrize("name", ["particle_filter", "entropic_particle_filter"])
@settings(max_examples=20, deadline=None)
@given(frontiers())
def test_draws_are_those_of_the_seed(name, frontier):
    one = replace(frontier, rewards=np.full(len(frontier.nodes), 0.5))
    drawn = {STRATEGIES.create(name).select(replace(one, seed=seed), 8).widths for seed in range(20)}
    assert len(drawn) > 1 or len(frontier.nodes) == 1
    assert STRATEGIES.create(name).select(one, 8) == STRATEGIES.create(name).select(one, 8)


@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_of_one_direction_dora_is_rebase(frontier):
    width = frontier.total_width - len(frontier.completed)
    rebase = STRATEGIES.create("rebase").select(frontier, width).widths
    assert STRATEGIES.create("dora(similarity_temperature=inf)").select(frontier, width).widths == rebase
    alike = replace(frontier, embeddings=np.ones_like(frontier.embeddings))
    assert STRATEGIES.create("dora").select(alike, width).widths == rebase


@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_of_equal_rewards_a_direction_of_many_gets_no_more_than_one_of_few(frontier):
    count = len(frontier.nodes)
    lonely = np.zeros((count, 2), dtype=np.float32)
    lonely[:, 0], lonely[0] = 1, (0, 1)  # all alike but the first
    view = replace(frontier, rewards=np.full(count, 0.5), embeddings=lonely)
    widths = STRATEGIES.create("dora").select(view, 1000).widths
    assert count == 1 or abs(widths[0] - 500) <= 1


@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_a_dearer_ets_spans_no_more_nodes(frontier):
    width = frontier.total_width - len(frontier.completed)
    spanned = []
    for lambda_b in (0, 0.7, 1.5, 50):
        widths = STRATEGIES.create(f"ets(lambda_b={lambda_b}, rounding=ceil)").select(frontier, width).widths
        spanned.append(frontier.tree.span(frontier.nodes[np.array(widths) > 0].tolist()).sum())
    assert spanned == sorted(spanned, reverse=True)


@settings(max_examples=40, deadline=None)
@given(frontiers())
def test_without_prices_ets_is_rebase(frontier):
    width = frontier.total_width - len(frontier.completed)
    ets = STRATEGIES.create("ets(lambda_b=0, balance_temperature=0.2)").select(frontier, width)
    rebase = STRATEGIES.create("rebase(balance_temperature=0.2)").select(frontier, width)
    assert ets.widths == rebase.widths
