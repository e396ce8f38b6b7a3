"""The planner by hand: small caches, small trees, and the trees that worlds draw."""

import asyncio
import random
from collections import Counter
from unittest.mock import AsyncMock

import numpy as np
import pytest

from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.datasets import minimath_problems
from etsearch.generators import GENERATORS
from etsearch.loop import Parts
from etsearch.loop.search import search
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.calibrate import time_engine
from etsearch.planning.cost import Batch, TimedCost, features
from etsearch.planning.engine import SimulatedEngine
from etsearch.planning.engine_table import CLIENT_RATES, EngineTable, Timed
from etsearch.planning.plan import TimedSetup
from etsearch.planning.policy import EnginePolicy, find_policy
from etsearch.planning.requests import CachedTree, Request
from etsearch.planning.scorer import Reading, Score, SimulatedScorer
from etsearch.planning.simulate import Client, Machine, simulate
from etsearch.planning.table import read_table, shipped_table
from etsearch.planning.timing.reading import Unread
from etsearch.planning.trace import Draws, SearchTrace
from etsearch.planning.world import Assumptions, DrawnWorld, RecordedWorld, grow, read_assumptions
from etsearch.prms import REWARD_MODELS
from etsearch.prms.packing import pack
from etsearch.strategies import STRATEGIES
from etsearch.tree import NO_PARENT, SearchTree
from etsearch.types import EngineStats

#  prompt 10 ── step 1: 6 ── step 3: 5
#           └── step 2: 3
TREE = SearchTrace("tree", (NO_PARENT, 0, 0, 1), (10, 6, 3, 5), (10, 16, 13, 21), (), 0)


def engine(cache_tokens=1000, **policy):
    return SimulatedEngine(EnginePolicy(block_tokens=4, **policy), cache_tokens)


def run(engine):
    """Steps until it is idle: rows of each, and the requests that it gave back."""
    rows, done = [], []
    while not engine.is_idle:
        rows.append(engine.begin()[0].rows)
        done += engine.end()
    return rows, done


def request(tree, step, *lengths, writes=None):
    return Request(tree, step, lengths, writes or (step + 1,) * len(lengths))


def test_whole_blocks_of_a_prefix_are_found_and_what_is_left_over_is_each_ones_own():
    engine_ = engine()
    tree = CachedTree.of(TREE, 4)
    assert [step.owned for step in tree.steps] == [2, 2, 1, 1]  # of 10, of 16, of 13 and of 21 tokens, in blocks of 4
    engine_.submit(Request(tree, 0, (6, 3), (1, 2)))
    rows, done = run(engine_)
    assert rows == [10 + 2, 2, 2, 1, 1, 1]  # the second finds 8 tokens; a token comes with the last of the prefix
    assert [r.step for r in done] == [0]
    assert (engine_.counts.queried, engine_.counts.hits) == (20, 8)
    engine_.submit(request(tree, 1, 5, writes=(3,)))
    rows, _ = run(engine_)
    assert rows == [4, 1, 1, 1, 1]  # all 16 are there, and the last block is computed for its last token
    assert engine_.counts.recomputed == 0


def test_forks_share_what_is_left_over():
    engine_ = engine(forks=True)
    engine_.submit(Request(CachedTree.of(TREE, 4), 0, (6, 3), (1, 2)))
    assert run(engine_)[0][0] == 10 + 1


def test_the_longest_unused_go_first_and_of_a_prefix_its_end():
    engine_ = engine(cache_tokens=6 * 4)
    trees = [CachedTree.of(TREE, 4) for _ in range(2)]
    engine_.submit(Request(trees[0], 0, (6,), (1,)))
    run(engine_)
    assert trees[0].cached == [2, 2, 0, 0]
    engine_.submit(Request(trees[1], 0, (6,), (1,)))
    run(engine_)
    assert trees[1].cached == [2, 2, 0, 0]
    assert trees[0].cached == [2, 0, 0, 0]
    assert engine_.counts.evicted == 2 * 4
    engine_.submit(request(trees[0], 1, 5, writes=(3,)))
    run(engine_)
    assert engine_.counts.recomputed == 16 - 8  # step 1 was thrown out; the prompt was kept for it though the oldest


def test_the_youngest_loses_its_blocks_and_reads_its_tokens_again():
    engine_ = engine(cache_tokens=5 * 4)
    tree = CachedTree.of(SearchTrace("two", (NO_PARENT, 0, 0), (7, 8, 8), (7, 15, 15), (), 0), 4)
    engine_.submit(Request(tree, 0, (8, 8), (1, 2)))
    _, done = run(engine_)
    assert len(done) == 1
    assert engine_.counts.decoded == 16
    assert engine_.counts.num_preemptions == 1
    assert engine_.counts.recomputed > 0


def test_an_engine_that_restarts_writes_them_again():
    engine_ = engine(cache_tokens=5 * 4, restarts=True)
    tree = CachedTree.of(SearchTrace("two", (NO_PARENT, 0, 0), (7, 8, 8), (7, 15, 15), (), 0), 4)
    engine_.submit(Request(tree, 0, (8, 8), (1, 2)))
    run(engine_)
    assert engine_.counts.decoded > 16


def test_an_engine_that_reserves_takes_a_request_once_what_it_may_come_to_fits():
    engine_ = SimulatedEngine(EnginePolicy(block_tokens=4, reserves=True), 10 * 4, likely_tokens=8)
    trees = [CachedTree.of(TREE, 4) for _ in range(2)]
    for tree in trees:
        engine_.submit(Request(tree, 0, (8, 8), (1, 2)))
    engine_.begin()
    assert (engine_.num_running, engine_.num_waiting) == (2, 2)
    engine_.end()
    run(engine_)
    assert engine_.counts.num_preemptions == 0


@pytest.mark.parametrize("cache_tokens", [3, 20])
def test_a_cache_that_holds_no_trajectory_is_told(cache_tokens):
    with pytest.raises(ConfigError, match="more memory"):
        engine(cache_tokens).submit(request(CachedTree.of(TREE, 4), 1, 5))


def test_packed_trajectories_are_those_of_the_real_packing():
    scorer = SimulatedScorer(Reading("packed", 4 * 20, row_tokens=20))
    ids = {0: tuple(range(10)), 1: tuple(range(16)), 2: (*range(10), 90, 91, 92), 3: (*range(16), 70, 71, 72, 73, 74)}
    for step in (1, 2, 3):
        scorer.submit(Score(TREE, step, None))
    batch = scorer.begin()
    rows = pack([ids[step] for step in (1, 2, 3)], 20).rows
    assert batch.prefixes == len(rows)
    assert batch.rows == len(rows) * max(len(row.ids) for row in rows)
    assert len(scorer.end()) == 3


def test_a_reward_model_with_a_cache_reads_the_step_and_one_without_all():
    for sharing, rows in (("cache", 5 + 1), ("none", 21)):
        scorer = SimulatedScorer(Reading(sharing))
        scorer.submit(Score(TREE, 3, None))
        assert scorer.begin().rows == rows


def test_a_search_of_two_depths_by_hand():
    trace = SearchTrace(
        "two depths",
        TREE.parent,
        TREE.tokens,
        TREE.prefix,
        ((Draws(0, (1, 2), (6, 3), (1, 2)),), (Draws(1, (3,), (5,), (3,)),)),
        0,
    )
    step = TimedCost({"step": 1.0})
    client = Client(request_s=0.1, draw_s=0.01, select_s=0.5, score_s=0.03, depth_s=0.06, search_s=0.2)
    found = simulate([trace], Machine(step, EnginePolicy(block_tokens=4), 1000, step, client=client), 1)
    # 6 steps, 0.1 + 2 · (0.01 + 0.03), one batch of scores, 0.56; then 5 steps, 0.1 + 0.01 + 0.03, scores, 0.56 + 0.2
    assert found.seconds == pytest.approx(6 + 0.18 + 1 + 0.56 + 5 + 0.14 + 1 + 0.76)
    assert found.latencies == [pytest.approx(found.seconds)]
    assert found.prm_s == 2


@pytest.mark.parametrize(("together", "seconds"), [(1.0, 3), (0.75, 2 + 4 / 3), (0.5, 4), (0.4, 4.5)])
def test_two_that_share_a_device_are_slower_while_both_are_at_work(together, seconds):
    draws = (Draws(0, (1,), (2,), (1,)), Draws(0, (2,), (1,), (2,)))
    trace = SearchTrace("apart", (NO_PARENT, 0, 0), (10, 2, 1), (10, 12, 11), (draws,), 0)
    step = TimedCost({"step": 1.0})
    found = simulate([trace], Machine(step, EnginePolicy(block_tokens=4), 1000, step, together=together), 1)
    # a step of both; the longer one's second step beside the score of the shorter one; the score of the longer one
    assert found.seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("lingers_s", "pace", "seconds"),
    [
        (0, 0.25, 3),  # two steps, one after the other's score
        (10, 0.5, 2 + 2),  # the engine has become idle, and the score takes twice as long
        (1, 0.25, 2 + 1 + 0.75),  # after a second the engine sleeps, and three quarters of the score are left
    ],
)
def test_an_engine_that_looks_for_work_slows_the_reward_model(lingers_s, pace, seconds):
    trace = SearchTrace("one", (NO_PARENT, 0), (10, 2), (10, 12), ((Draws(0, (1,), (2,), (1,)),),), 0)
    step = TimedCost({"step": 1.0})
    machine = Machine(
        step, EnginePolicy(block_tokens=4), 1000, step, lingers_s=lingers_s, beside_lingering=pace, together=0.5
    )
    assert simulate([trace], machine, 1).seconds == pytest.approx(seconds)


def test_an_engine_that_reserves_takes_in_so_many_requests_and_all_of_each():
    tree, one = CachedTree.of(TREE, 4), engine(max_sequences=1, reserves=True)
    for _ in range(2):
        one.submit(Request(tree, 0, (2, 2, 2), (1, 2, 1)))
    assert [one.begin()[0].prefixes, len(one.end())] == [3, 0]
    assert [one.begin()[0].decoding, len(one.end())] == [3, 1]
    assert one.begin()[0].prefixes == 3


def test_blocks_that_begin_in_a_step_are_counted():
    one, begun = engine(), []
    one.submit(Request(CachedTree.of(TREE, 4), 0, (6,), (1,)))  # tokens 11 to 16 of blocks of 4, after a prefix of 10
    while not one.is_idle:
        begun.append(one.begin()[0].begun_blocks)
        one.end()
    assert sum(begun) == 2
    assert begun[0] == 1


def test_requests_are_counted_once_whatever_they_ask_for():
    tree, one, begun = CachedTree.of(TREE, 4), engine(max_sequences=3), []
    for _ in range(2):
        one.submit(Request(tree, 0, (2, 2, 2), (1, 2, 1)))
    while not one.is_idle:
        begun.append(one.begin()[0].begun_requests)
        one.end()
    assert begun == [1, 0, 1, 0]


async def scripted(strategy, **settings):
    parts = Parts(GENERATORS.create("scripted"), REWARD_MODELS.create("scripted"), STRATEGIES.create(strategy))
    return await search(minimath_problems("test").problems[0], parts, SearchSettings(**settings))


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("strategy", ["rebase", "beam", "best_of_n"])
def test_a_trace_has_the_tokens_and_the_kv_of_its_search(strategy, merge):
    result = asyncio.run(scripted(strategy, width=8, merge=merge, early_stop=False))
    state = SearchState.of(result)
    trace = SearchTrace.of(state, scores_steps=strategy != "best_of_n")
    assert trace.generated_tokens == result.usage.generated_tokens
    assert trace.kv_tokens == result.usage.kv_tokens
    assert sum(len(requests) for requests in trace.depths) == result.usage.num_requests
    scored = [step for requests in trace.depths for draws in requests for step in draws.scored]
    assert len(scored) == result.usage.num_scores
    if strategy == "best_of_n":
        assert set(scored) == {result.tree.original(t.node) for t in result.trajectories}


def test_a_search_without_a_depth_has_no_trace():
    with pytest.raises(RecordError, match="over before its first depth"):
        SearchTrace.of(SearchState(SearchTree("q", (1, 2))))


def drawn(strategy, seed, assumed=None, **settings):
    world = DrawnWorld(assumed or Assumptions(), seed)
    made = SearchSettings(**{"merge": False, "early_stop": False, "seed": seed, **settings})
    return asyncio.run(grow(world, STRATEGIES.create(strategy), made, "drawn"))


def test_drawn_trees_are_as_assumed():
    assumed = Assumptions(prompt_tokens=77, steps=6, steps_sd=1, step_tokens=30, step_tokens_sd=10)
    traces = [drawn("best_of_n", seed, assumed, width=64, limits=Limits(max_tokens=4096)) for seed in range(8)]
    lengths = [tokens for trace in traces for requests in trace.depths for draws in requests for tokens in draws.tokens]
    assert np.mean(lengths) == pytest.approx(30, rel=0.1)
    assert np.std(lengths) == pytest.approx(10, rel=0.2)
    assert {trace.tokens[0] for trace in traces} == {77}
    drawn_steps = [sum(len(d.steps) for requests in trace.depths for d in requests) / 64 for trace in traces]
    assert np.mean(drawn_steps) == pytest.approx(6, abs=0.7)


def test_draws_are_alike_as_often_as_assumed():
    same, text = [], []
    for seed in range(20):
        world = DrawnWorld(Assumptions(same_idea=0.3, same_text=0.4), seed)
        settings = SearchSettings(width=64, merge=False, limits=Limits(max_depth=1))
        result = asyncio.run(search(minimath_problems("test").problems[0], parts_of(world), settings))
        texts = [result.tree.continuation(node).text for node in range(1, len(result.tree))]
        same.append(pairs([t.partition("#")[0] for t in texts]))
        text.append(pairs(texts))
    assert np.mean(same) == pytest.approx(0.3, abs=0.05)
    assert np.mean(text) == pytest.approx(0.3 * 0.4, abs=0.03)


def parts_of(world):
    return Parts(world, world, STRATEGIES.create("rebase"), world)


def pairs(values):
    """The share of pairs that are equal."""
    count = len(values)
    return sum(n * (n - 1) for n in Counter(values).values()) / (count * (count - 1))


def test_the_same_seed_draws_the_same_tree():
    assert drawn("ets", 3, width=16).depths == drawn("ets", 3, width=16).depths
    assert drawn("ets", 3, width=16).depths != drawn("ets", 4, width=16).depths


def test_a_recorded_tree_is_drawn_from_again_with_its_rewards():
    result = asyncio.run(scripted("rebase", width=16, early_stop=False))
    state = SearchState.of(result)
    world = RecordedWorld(state)
    again = asyncio.run(
        search(minimath_problems("test").problems[0], Parts(world, world, STRATEGIES.create("beam")), SearchSettings())
    )
    known = {result.tree.continuation(node).text for node in range(1, len(result.tree))}
    rewards = set(result.tree.rewards[1:])
    assert {again.tree.continuation(node).text for node in range(1, len(again.tree))} <= known
    assert set(again.tree.rewards[1:]) <= rewards


def test_a_tree_without_rewards_is_no_world():
    tree = SearchTree("q", (1, 2))
    tree.add(0, next(iter(asyncio.run(scripted("rebase", width=1)).tree.continuation(n) for n in (1,))))
    with pytest.raises(ConfigError, match="no reward"):
        RecordedWorld(SearchState(tree))


@pytest.mark.parametrize(
    ("text", "told"),
    [("steps", "nothing that can be assumed"), ("steps=x", "must be a number"), ("same_idea=1", "must be below 1")],
)
def test_assumptions_that_are_none(text, told):
    with pytest.raises(ConfigError, match=told):
        read_assumptions(text, Assumptions())


def test_a_table_fits_what_was_timed():
    errors = shipped_table().cross_validate()
    assert np.median(np.abs(errors["linear"])) < 0.1
    assert np.median(np.abs(errors["attention"])) < 0.1


@pytest.mark.parametrize("content", ["[]", "{}", '{"device": 1, "linear": {"a": 3}, "attention": []}', "no JSON"])
def test_tables_that_are_none(content, tmp_path):
    file = tmp_path / "table.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="table"):
        read_table(file)
    with pytest.raises(ConfigError, match="calibrated engine"):
        EngineTable.read(file)


def test_rates_that_made_the_seconds_are_found():
    batches = [Batch(rows=n, decoding=n, logical=n * c, distinct=c) for n in (1, 3, 9, 40, 200) for c in (10, 90, 400)]
    rows = [{**features(batch), "seconds": 0.002 + 3e-5 * batch.rows + 2e-7 * batch.logical} for batch in batches]
    timed = Timed.of(rows)
    assert timed.error < 1e-6
    for batch, row in zip(batches, rows, strict=True):
        assert timed.cost.step(batch).total == pytest.approx(row["seconds"])


def timed_table(cache_tokens):
    rows = [{**features(Batch(rows=n, decoding=n)), "seconds": 0.002 + 3e-5 * n} for n in range(1, 12)]
    of = Timed.of(rows), Timed.of(rows)
    return EngineTable(
        "vllm", find_policy("vllm"), *of, Client(0.1), Reading("none"), 0.5, True, cache_tokens=cache_tokens
    )


def test_an_engine_has_the_cache_that_it_was_timed_with_and_another_is_told(tmp_path):
    timed_table(4096).write(tmp_path / "here.json")
    table = EngineTable.read(tmp_path / "here.json")
    setup = TimedSetup.of(table)
    assert setup.kv_tokens == 4096
    assert len(list(setup.trust())) == 1
    assert "timed with a cache of 4,096 tokens" in list(TimedSetup.of(table, 100_000).trust())[1]
    with pytest.raises(ConfigError, match="--cache-tokens"):
        TimedSetup.of(timed_table(None))


def test_trajectories_that_nobody_has_read_are_counted_as_they_are():
    unread = Unread([SearchState.of(asyncio.run(scripted("rebase", width=8)))])
    chance, seen = random.Random(0), set()
    for _ in range(20):  # more than the tree has, so that they grow longer than those that are asked for
        given = unread.give(unread.any(16, chance), chance)
        scores = unread.scores(given)
        for trajectory, score in zip(given, scores, strict=True):
            own = sum(len(step.token_ids) for step in trajectory.steps)
            assert score.trace.prefix[score.step] == score.trace.prefix[0] + own
            assert len(score.trace.path(score.step)) == 1 + len(trajectory.steps)
        texts = {tuple(step.text for step in trajectory.steps) for trajectory in given}
        assert len(texts) == len(given) == len({score.step for score in scores})
        assert not seen & texts
        seen |= texts


@pytest.mark.slow
def test_an_engine_is_timed_and_read_again(tmp_path):
    async def timed():
        world = DrawnWorld(Assumptions(steps=4), 0)
        world.stats = AsyncMock(return_value=EngineStats(block_tokens=32))
        problems = minimath_problems("test").problems[:2]
        policy = find_policy("vllm", max_sequences=128)
        return await time_engine(world, world, problems, engine="vllm", policy=policy, rounds=1, about={"cpu": "here"})

    table = asyncio.run(timed())
    new, known = ([row["rows"] - row["decoding"] for row in table.generator.rows[first::2]] for first in (0, 1))
    assert len(new) == len(known) >= 10
    assert all(less <= more for less, more in zip(known, new, strict=True))
    assert sum(known) < sum(new)
    assert sum(getattr(table.client, rate) for rate in CLIENT_RATES) > 0
    assert (table.policy.max_sequences, table.policy.block_tokens) == (128, 32)
    assert (table.lingers_s, table.beside_lingering, table.cache_tokens) == (0.0, 1.0, None)
    table.write(tmp_path / "here.json")
    again = EngineTable.read(tmp_path / "here.json")
    assert again.plain() == table.plain()
    run = simulate([drawn("rebase", 0, width=8)], again.machine(100_000), 1)
    assert run.seconds > 0
