"""What the arms of ``benchmarks/diversity.py`` must be, so that they say something of thrift."""

import importlib
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etsearch.allocation import share
from etsearch.strategies.base import Frontier
from etsearch.strategies.leaves import LeafDraws
from etsearch.strategies.thrift import Thrift, price_of_width
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason

HARD = (
    "Soft()",
    "Soft(cover='kernel', inherit='similarity', temperature=0.02)",
    "Soft(cover='share', full=1e-9)",
    "Soft(cover='nested', cuts='0.05 0.5')",
)


@pytest.fixture(scope="module")
def arms():
    pytest.importorskip("openvino", reason="needs the extra 'local'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        return importlib.import_module("diversity_arms")


@st.composite
def frontiers(draw):
    """Draws of up to seven different steps under two nodes, in clusters whose members have one embedding."""
    tree = SearchTree("q", [0] * 5)
    above = [tree.add(ROOT, step(kind, 3 + 9 * kind)) for kind in range(2)]
    kinds = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=7))
    tokens = draw(st.lists(st.integers(1, 30), min_size=8, max_size=8))
    nodes = np.array([tree.add(above[of], step(kind, tokens[4 * of + kind])) for of, kind in kinds])
    rewards = np.array(draw(st.lists(st.floats(0, 1), min_size=len(tree), max_size=len(tree))))
    clusters = np.unique([draw(st.integers(0, 2)) for _ in range(8)], return_inverse=True)[1]
    labels = np.unique([clusters[4 * of + kind] for of, kind in kinds], return_inverse=True)[1]
    return Frontier(
        tree=tree,
        nodes=nodes,
        rewards=rewards[tree.originals(nodes)],
        clusters=labels,
        completed=np.zeros(0, dtype=np.int64),
        total_width=8,
        embeddings=np.eye(3, dtype=np.float32)[labels],
    )


def step(kind, tokens):
    return Continuation((kind,) * tokens, f"step {kind}\n", FinishReason.STEP)


@pytest.mark.parametrize("hard", HARD)
@settings(max_examples=20, deadline=None)
@given(frontier=frontiers())
def test_with_hard_similarities_they_are_thrift(arms, hard, frontier):
    made = eval(hard, vars(arms))
    widths, thrift = (np.array(s.select(frontier, 8).widths) for s in (made, Thrift()))
    first, programme = LeafDraws.of(frontier, "steps").first, Thrift().programme(frontier, 8)
    worth, best = (programme.objective(found[first] > 0) for found in (widths, thrift))
    assert worth == pytest.approx(best, abs=1e-6)
    if ((widths > 0) == (thrift > 0)).all() and len(set(frontier.rewards.tolist())) > 1:
        assert widths.tolist() == thrift.tolist()


@settings(max_examples=20, deadline=None)
@given(frontier=frontiers(), slopes=st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_soft_coverage_is_at_its_optimum(arms, frontier, slopes):
    rows = np.array([[1.0, slope] for slope in slopes], dtype=np.float32)
    soft = arms.Soft(cover="kernel", temperature=0.1)
    view = soft.view(replace(frontier, embeddings=rows[frontier.clusters]))
    weight = np.array(share(view.rewards.tolist(), 8, arms.T_R, "ceil", view.leaves.count.tolist()), dtype=float)
    kernel, tree = view.kernel(0.1), frontier.tree
    own = 1 / kernel.sum(axis=1)

    def worth(kept):
        held = tree.kv_tokens(view.leaves.node[kept]) / tree.kv_tokens(frontier.nodes)
        covered = own @ kernel[:, kept].max(axis=1) / own.sum()
        return weight[kept].sum() / weight.sum() - price_of_width(8) * held + covered

    count = len(weight)
    every = [list(kept) for size in range(1, count + 1) for kept in combinations(range(count), size)]
    found = np.flatnonzero(arms.best_leaves(view, weight, price_of_width(8), soft.sets(view)))
    assert worth(found) == pytest.approx(max(map(worth, every)), abs=1e-5)


@pytest.mark.parametrize("rule", ["beam", "rebase"])
@settings(max_examples=20, deadline=None)
@given(frontier=frontiers())
def test_merging_goes_on_with_the_best_of_a_cluster_alone(arms, frontier, rule):
    widths = np.array(arms.Merged(rule=rule).select(frontier, 8).widths)
    assert widths.sum() == 8
    kept = np.flatnonzero(widths)
    assert 1 <= len(kept) <= 3
    assert len(set(frontier.clusters[kept].tolist())) == len(kept)
    for place in kept:
        assert frontier.rewards[place] == frontier.rewards[frontier.clusters == frontier.clusters[place]].max()
    assert frontier.rewards.max() in frontier.rewards[kept]
