"""A recorded tree replayed with the strategy that grew it selects what was selected then."""

import asyncio
from dataclasses import replace

import pytest
from tests.evaluations import recipe, run

from etsearch.embedders import LexicalEmbedder
from etsearch.errors import ConfigError
from etsearch.evaluation.replay import replay_tree
from etsearch.evaluation.run.folder import read_run, read_tree
from etsearch.strategies import STRATEGIES
from etsearch.types import Continuation, FinishReason

GROWN = [
    "rebase",
    "dora",
    "particle_filter",
    "adaptive_width",
    "ab_mcts(batch=2)",
    "ets",
    "ets_kv",
    "beam(keep=2)",
    "beam(keep=2, shrink=true)",
    "dvts(keep=2)",
    "best_of_n",
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("replay") / "run"
    run(path, strategies=GROWN, widths=[8], limit=6)
    return path


def replayed(path, of, by):
    settings = recipe(path).settings(8, 0)
    records = [r for r in read_run(path).records if r.strategy == of]
    assert len(records) == 6
    strategy, embedder = STRATEGIES.create(by), LexicalEmbedder()
    return [d for r in records for d in asyncio.run(replay_tree(read_tree(path, r.key), strategy, settings, embedder))]


@pytest.mark.parametrize("strategy", GROWN)
def test_the_same_strategy_selects_the_same(path, strategy):
    depths = replayed(path, strategy, strategy)
    assert len(depths) > 6
    for depth in depths:
        assert depth.kept == depth.kept_then == depth.shared
        assert depth.kv_tokens == depth.kv_tokens_then


def test_another_strategy_selects_otherwise(path):
    depths = replayed(path, "rebase", "ets(lambda_b=2)")
    assert sum(d.kv_tokens for d in depths) < sum(d.kv_tokens_then for d in depths)
    assert all(1 <= d.kept <= d.num_open for d in depths)
    assert all(d.shared <= min(d.kept, d.kept_then) for d in depths)


def test_steps_that_a_decided_vote_left_without_reward_are_not_asked_about(path):
    key = next(r.key for r in read_run(path).records if r.strategy == "ets")
    stored, settings = read_tree(path, key), recipe(path).settings(8, 0)
    ask = lambda: asyncio.run(replay_tree(stored, STRATEGIES.create("rebase"), settings, LexicalEmbedder()))  # noqa: E731
    before, state = [(d.depth, d.kept) for d in ask()], stored.state
    node = state.tree.add(len(state.tree) - 1, Continuation((1,), "unscored", FinishReason.STEP))
    last = replace(state.depths[-1], nodes=(node,), widths=(0,), remaining_width=1)
    state.depths.append(replace(last, depth=last.depth + 1))
    assert [(d.depth, d.kept) for d in ask()] == before


def test_trees_without_rewards_cannot_be_asked_for_them(tmp_path):
    run(tmp_path / "run", strategies=["best_of_n"], widths=[8], limit=6, prm="none", aggregation="majority")
    assert len(replayed(tmp_path / "run", "best_of_n", "best_of_n")) > 6
    with pytest.raises(ConfigError, match="needs rewards at every depth"):
        replayed(tmp_path / "run", "best_of_n", "rebase")


def test_a_share_of_the_cache_is_that_of_the_recorded_search(path):
    run, record = read_run(path), next(r for r in read_run(path).records if r.strategy == "rebase")
    stored, strategy = read_tree(path, record.key), STRATEGIES.create("ets(kv_budget=50%)")

    def ask(cache_tokens):
        return asyncio.run(replay_tree(stored, strategy, run.settings(record), LexicalEmbedder(), cache_tokens))

    small, large = ask(600), ask(100_000)
    assert sum(d.kv_tokens for d in small) < sum(d.kv_tokens for d in large)
    with pytest.raises(ConfigError, match="does not tell the size of its KV cache"):
        ask(record.cache_tokens)
    assert record.model_copy(update={"engine": {"cache_capacity_tokens": 4096.0}}).cache_tokens == 4096


def test_what_was_pruned_level_by_level_is_nothing_for_one_that_reaches_back(path):
    with pytest.raises(ConfigError, match="grown level by level"):
        replayed(path, "rebase", "ab_mcts(batch=2)")


def test_a_tree_grown_across_depths_has_no_frontier_for_others(path):
    with pytest.raises(ConfigError, match="grown by a strategy that chooses across depths"):
        replayed(path, "ab_mcts(batch=2)", "rebase")
