"""ETS over steps, under a budget of KV tokens, and with a price that meets a target."""

import asyncio

import numpy as np
import pytest
from tests.unit.test_lossless import Streams, ragged
from tests.worlds import run

from etsearch.errors import ConfigError
from etsearch.selection import Programme
from etsearch.strategies import ETS, STRATEGIES
from etsearch.strategies.base import Frontier
from etsearch.strategies.kv_limits import budget_tokens, expected_growth, mean_allowance, parse_budget
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason

PROMPT, STEP = 20, 10


def step(text: str) -> Continuation:
    return Continuation(tuple(map(ord, text.ljust(STEP))), text, FinishReason.STEP)


def drawn(texts: str, rewards: dict[str, float], *, merges: bool = True, cache_tokens: int | None = None) -> Frontier:
    """A frontier of first steps, one letter a draw; a cluster a letter."""
    tree = SearchTree("q", [0] * PROMPT, merges=merges)
    nodes = np.array([tree.add(ROOT, step(letter)) for letter in texts])
    for node, letter in zip(nodes.tolist(), texts, strict=True):
        tree.set_reward(node, rewards[letter])
    return Frontier(
        tree=tree,
        nodes=nodes,
        rewards=tree.rewards[nodes],
        clusters=np.unique(list(texts), return_inverse=True)[1],
        completed=np.zeros(0, dtype=np.int64),
        total_width=len(texts),
        cache_tokens=cache_tokens,
    )


REWARDS = dict.fromkeys("abcd", 0.9)


def kept(frontier: Frontier, widths: tuple[int, ...]) -> str:
    texts = [frontier.tree.continuation(n).text for n in frontier.nodes.tolist()]
    return "".join(sorted({t for t, w in zip(texts, widths, strict=True) if w > 0}))


def test_a_step_is_one_leaf_that_weighs_as_often_as_it_was_drawn():
    view = drawn("aaabcc", REWARDS)
    programme = ETS(leaves="steps").programme(view, 6)
    assert programme.leaves.tolist() == [1, 4, 5]
    assert programme.weight.tolist() == [3, 1, 2]
    assert programme.spanned.sum() == 4  # the root and three steps
    by_draws = ETS(leaves="draws").programme(view, 6)
    assert by_draws.num_leaves == 6
    assert by_draws.spanned.sum() == 7


def test_a_kept_step_keeps_the_share_of_all_its_draws():
    view = drawn("aaabbb", {"a": 0.6, "b": 0.6})
    assert ETS(leaves="steps", lambda_b=0.1).select(view, 6).widths == (1, 1, 1, 1, 1, 1)
    # The paper's form prunes copies once a node costs more than its share, and shares the width by rewards alone.
    often = drawn("aaaaab", {"a": 0.6, "b": 0.6})
    assert sorted(ETS(leaves="draws", lambda_b=2.0).select(often, 6).widths) == [0, 0, 0, 0, 3, 3]
    assert sum(ETS(leaves="steps").select(often, 6).widths[:5]) == 5


def test_without_merging_steps_are_draws():
    view = drawn("aaabcc", REWARDS, merges=False)
    assert ETS(leaves="steps").select(view, 6).widths == ETS(leaves="draws").select(view, 6).widths


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (PROMPT + 4 * STEP + 10 * STEP, "abcd"),  # all four steps and the next ten fit
        (PROMPT + 3 * STEP + 10 * STEP, "abc"),
        (PROMPT + 2 * STEP + 10 * STEP + 9, "ab"),
        (PROMPT + 1 * STEP + 10 * STEP, "a"),
        (1, "a"),  # nothing fits: the cheapest is kept, and of equally cheap ones the heaviest
    ],
)
def test_a_budget_holds_the_survivors_and_what_the_next_depth_writes(budget, expected):
    view = drawn("aaaabbbccd", REWARDS)
    selection = ETS(kv_budget=budget).select(view, 10)
    assert kept(view, selection.widths) == expected
    assert sum(selection.widths) == 10
    assert selection.figures["kv_allowed"] == budget - 10 * STEP


def test_a_budget_may_be_a_share_of_the_cache():
    view = drawn("aaaabbbccd", REWARDS, cache_tokens=2 * (PROMPT + 2 * STEP + 10 * STEP))
    assert kept(view, ETS(kv_budget="50%").select(view, 10).widths) == "ab"
    assert kept(view, ETS(kv_budget="100%").select(view, 10).widths) == "abcd"
    with pytest.raises(ConfigError, match="does not tell the size of its KV cache"):
        ETS(kv_budget="50%").select(drawn("ab", REWARDS), 2)


def test_a_target_is_met_by_a_price():
    view = drawn("aaaabbbccd", REWARDS)
    held = PROMPT + 10 * STEP
    for steps, expected in ((4, "abcd"), (2, "ab"), (1, "a")):
        # the mean of this depth and of the next, which holds the prompt, the survivors and ten new steps
        target = (held + PROMPT + steps * STEP + 10 * STEP) / 2
        selection = ETS(kv_target=target).select(view, 10)
        assert kept(view, selection.widths) == expected
        assert selection.figures["kv_allowed"] == pytest.approx(PROMPT + steps * STEP)
    assert ETS(kv_target=held + PROMPT + 14 * STEP).select(view, 10).figures["lambda_b"] == 0.0


def test_what_the_next_depth_is_expected_to_write():
    view = drawn("aab", REWARDS)
    assert expected_growth(view, 3) == 3 * STEP
    assert mean_allowance(100.0, view) == 200 - (PROMPT + 3 * STEP)
    child = view.tree.add(1, Continuation((1,) * 4, "x", FinishReason.STEP))
    deeper = Frontier(view.tree, np.array([child]), np.array([0.5]), None, np.zeros(0, dtype=np.int64), 3)
    assert expected_growth(deeper, 3) == 12
    assert mean_allowance(100.0, deeper) == 300 - (PROMPT + 3 * STEP) - (PROMPT + STEP + 4)


@pytest.mark.parametrize("bad", ["0", 0, -3, "0%", "101%", "much", "%", "1.5"])
def test_a_budget_that_is_none_is_refused(bad):
    with pytest.raises(ConfigError, match="kv_budget"):
        ETS(kv_budget=bad)


def test_budgets_are_read_as_users_write_them():
    assert parse_budget("4000") == parse_budget(4000) == 4000
    assert parse_budget("12.5%") == 0.125
    assert budget_tokens("50%", drawn("a", REWARDS, cache_tokens=64)) == 32
    assert STRATEGIES.create("ets(kv_budget=50%)").kv_budget == "50%"


@pytest.mark.parametrize(
    ("specification", "form"),
    [
        ("ets", (1.0, "draws", "uniform")),
        ("ets_kv(kv_budget=4000)", (0.0, "steps", "tokens")),
        ("ets(kv_target=4000)", (0.0, "steps", "tokens")),
        ("ets(kv_budget=4000, lambda_b=0.5)", (0.5, "steps", "tokens")),
        ("ets(kv_budget=4000, leaves=draws)", (0.0, "draws", "tokens")),
        ("ets(lambda_b=0, leaves=steps, node_cost=tokens)", (0.0, "steps", "tokens")),
    ],
)
def test_a_setting_that_is_left_out_is_the_papers_or_what_a_limit_asks_for(specification, form):
    assert STRATEGIES.create(specification).form == form


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kv_target": 0}, "kv_target is 0"),
        ({"kv_target": 10, "lambda_b": 1.0}, "leave out lambda_b"),
        ({"kv_target": 10, "kv_budget": 10}, "leave out kv_budget"),
        ({"kv_budget": 10, "node_cost": "uniform"}, "node_cost is uniform"),
        ({"leaves": "twigs"}, "leaves is 'twigs'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ETS(**settings)


@pytest.mark.parametrize("budget", [420, 500, 700])
def test_a_search_stays_within_its_budget(budget):
    result = asyncio.run(run(f"ets(kv_budget={budget})", 32, generator=Streams(ragged), merge=True))
    for before, after in zip(result.depths, result.depths[1:], strict=False):
        expected = before.figures["kv_allowed"]
        survivors = [n for n, w in zip(before.nodes, before.widths, strict=True) if w]
        cheapest = min(result.tree.kv_tokens([n]) for n in before.nodes)
        assert result.tree.kv_tokens(survivors) <= max(expected, cheapest)
        assert after.num_sampled <= 32
    assert isinstance(ETS(kv_budget=budget).programme(drawn("ab", REWARDS), 2), Programme)


def test_a_search_meets_its_target_on_average():
    """Steps of one length, so that what the next depth writes is known."""

    def write(so_far, rng):
        is_over = so_far.count("\n") > 6
        return f"So the answer is {rng.choice('77778')}" if is_over else f"take {rng.choice('abcdefgh') * 13}\n"

    def search(strategy):
        return asyncio.run(run(strategy, 64, generator=Streams(write), merge=True))

    def mean(result):
        return result.usage.kv_tokens_written / len(result.depths)

    free, least = mean(search("ets(lambda_b=0)")), mean(search("ets(lambda_b=50)"))
    assert least < 0.75 * free
    for share in (0.9, 0.6, 0.3):
        target = least + share * (free - least)
        assert 0.93 * target <= mean(search(f"ets(kv_target={target})")) <= target * 1.001
