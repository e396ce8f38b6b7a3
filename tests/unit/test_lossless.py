"""Gains that change no answer: merging, early stop, nothing asked twice. Proven on scripted searches."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.worlds import PROBLEM, reward_of, run, write

from etsearch import Aggregation, Limits, Sampling
from etsearch.errors import EngineError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop.early_stop import RunningVote
from etsearch.loop.expansion import Ahead, Expander
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.strategies import STRATEGIES
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, EndReason, StopReason

STRATEGIES_HERE = [
    *("best_of_n", "beam", "beam(keep=2, shrink=true)", "dvts", "dvts(keep=2, shrink=true)", "rebase"),
    *("rebase(rounding=round)", "ets_kv", "ets", "ets(rounding=ceil)", "ets(lambda_b=1.25, inherit=true)"),
]
STOPPED_EARLY = [*STRATEGIES_HERE, "ab_mcts", "ab_mcts(batch=1)", "ab_mcts(batch=3)"]
"""To one that reaches back draws of one step are one node, so that it is another search where they merge."""


class Streams:
    """A scripted generator whose n-th continuation of a prefix is the same, whatever requests it comes in."""

    def __init__(self, write=write, seed=0, delay=lambda _: 0.0):
        self.inner = ScriptedGenerator(write)
        self.write, self.seed, self.delay = write, seed, delay
        self.given: Counter = Counter()
        self.requests, self.written = [], []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def generate(self, request):
        self.requests.append(request)
        first = self.given[request.prefix]
        self.given[request.prefix] += request.num_continuations
        await asyncio.sleep(self.delay(request))
        so_far = self.inner.decode(request.prefix)
        given = [self.continuation(so_far, first + n, request) for n in range(request.num_continuations)]
        self.written += [continuation.token_ids for continuation in given]
        return given

    def continuation(self, so_far: str, number: int, request) -> Continuation:
        text = self.write(so_far, random.Random(f"{self.seed}/{so_far}/{number}"))
        return self.inner.continuation(text, request)


class CountingModel:
    """The scripted reward model, with what it was asked for."""

    def __init__(self, reward_of=reward_of):
        self.inner, self.asked = ScriptedRewardModel(reward_of), []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def score(self, trajectory, first):
        self.asked.append((trajectory.text, first))
        return await self.inner.score(trajectory, first)


def path_text(tree: SearchTree, node: int) -> str:
    return tree.trajectory(node).text


@pytest.mark.parametrize("width", [1, 7, 16, 40])
@pytest.mark.parametrize("strategy", STRATEGIES_HERE)
async def test_a_merged_search_is_the_unmerged_one_node_by_node(strategy, width):
    plain = await run(strategy, width, generator=Streams(seed=width))
    merged = await run(strategy, width, generator=Streams(seed=width), merge=True)
    assert merged.tree.parent.tolist() == plain.tree.parent.tolist()
    nodes = range(1, len(plain.tree))
    assert [merged.tree.continuation(n) for n in nodes] == [plain.tree.continuation(n) for n in nodes]
    assert merged.tree.rewards[1:].tolist() == plain.tree.rewards[1:].tolist()
    assert [d.widths for d in merged.depths] == [d.widths for d in plain.depths]
    assert [d.clusters for d in merged.depths] == [d.clusters for d in plain.depths]
    assert merged.trajectories == plain.trajectories
    assert merged.votes == plain.votes
    assert merged.usage.num_calls == plain.usage.num_calls


@pytest.mark.parametrize("strategy", STRATEGIES_HERE)
async def test_each_step_is_asked_for_held_and_scored_once(strategy):
    generator, model = Streams(), CountingModel()
    result = await run(strategy, 32, generator=generator, reward_model=model, merge=True)
    tree = result.tree
    steps = {path_text(tree, n) for n in range(1, len(tree))}
    expanded = {tree.prefix(tree.parent_of(n)) for n in range(1, len(tree))}
    assert sorted(r.prefix for r in generator.requests) == sorted(expanded)
    assert result.usage.num_requests == len(expanded)
    assert len({text for text, _ in model.asked}) == len(model.asked) == result.usage.num_scores
    assert len(model.asked) == (len({t.steps for t in result.trajectories}) if strategy == "best_of_n" else len(steps))
    last = [n for n in range(1, len(tree)) if tree.depth[n] == tree.depth.max()]
    prefixes = {tree.prefix(s) for n in last for s in [ROOT, *tree.path(n)]}
    by_hand = sum(len(tree.continuation(n).token_ids) for n in {tree.original(s) for m in last for s in tree.path(m)})
    assert result.depths[-1].kv_tokens == by_hand + tree.prefix_tokens(ROOT)
    assert len(prefixes) == tree.span(last).sum()


async def test_what_is_held_while_a_depth_is_written_counts_every_draw():
    result = await run("rebase", 16, merge=True)
    plain = await run("rebase", 16)
    first = result.depths[0]
    prompt, step = 18, 7
    assert first.kv_tokens == prompt + 2 * step  # "take a" and "take b"
    assert first.kv_tokens_written == plain.depths[0].kv_tokens == prompt + 16 * step
    assert all(d.kv_tokens_written == d.kv_tokens for d in plain.depths)
    assert result.usage.kv_tokens < result.usage.kv_tokens_written < plain.usage.kv_tokens


async def test_greedy_continuations_are_asked_for_once():
    generator = Streams()
    result = await run("beam(keep=2)", 8, generator=generator, merge=True, sampling=Sampling(temperature=0.0))
    assert [r.num_continuations for r in generator.requests] == [1] * len(result.depths)
    assert all(d.num_sampled == 8 for d in result.depths)
    assert result.usage.num_scores == len(result.depths)


async def test_a_failed_expansion_fails_every_draw_of_its_step():
    class Failing(Streams):
        async def generate(self, request):
            if self.inner.decode(request.prefix).endswith("take a\n"):
                raise EngineError("no more a")
            return await super().generate(request)

    result = await run("rebase", 16, generator=Failing(), merge=True)
    lost = [n for n, t in ((t.node, t) for t in result.trajectories) if t.end_reason is EndReason.FAILED]
    assert len(lost) == len(result.failures) > 1
    assert all(path_text(result.tree, n).endswith("take a\n") for n in lost)


AGGREGATIONS = st.sampled_from(list(Aggregation))


def ragged(so_far: str, rng: random.Random) -> str:
    """Solutions of two to five steps; three answers, one of them likely."""
    lines = so_far.splitlines()[1:]
    if len(lines) < 2 or (len(lines) < 5 and rng.random() < 0.4):
        return f"take {rng.choice('aab')}\n"
    return f"The answer is {rng.choices((7, 8, 9), (5, 2, 1))[0]}."


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STOPPED_EARLY), st.integers(1, 24), st.integers(0, 10**6), AGGREGATIONS, st.booleans())
def test_an_early_stop_gives_the_answer_of_the_whole_search(strategy, width, seed, aggregation, merge):
    def delay(request):
        return random.Random(f"{seed}/{request.prefix}").choice((0, 0, 0.001))

    arguments = {"write": ragged, "aggregation": aggregation, "merge": merge, "limits": Limits(max_depth=5)}
    whole = asyncio.run(run(strategy, width, generator=Streams(ragged, seed), **arguments))
    early = asyncio.run(run(strategy, width, generator=Streams(ragged, seed, delay), early_stop=True, **arguments))
    assert early.answer == whole.answer
    assert len(early.trajectories) <= len(whole.trajectories)
    if early.stop_reason is not StopReason.DECIDED:
        assert repr(early.trajectories) == repr(whole.trajectories)  # rewards of what failed are no numbers


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STOPPED_EARLY), st.integers(1, 24), st.integers(0, 10**6), AGGREGATIONS, st.booleans())
def test_where_a_search_stops_is_a_function_of_its_seed(strategy, width, seed, aggregation, merge):
    """However fast the parts are, in whatever order they answer."""

    def record(haste):
        def delay(request):
            return random.Random(f"{haste}/{request.prefix}").choice((0, 0, 0.001, 0.002))

        class Slow(ScriptedRewardModel):
            async def score(self, trajectory, first):
                await asyncio.sleep(random.Random(f"{haste}/{trajectory.text}").choice((0, 0, 0.001)))
                return await super().score(trajectory, first)

        arguments = {"aggregation": aggregation, "merge": merge, "limits": Limits(max_depth=5), "early_stop": True}
        generator = Streams(ragged, seed, delay)
        result = asyncio.run(run(strategy, width, generator=generator, reward_model=Slow(reward_of), **arguments))
        plain = result.to_dict()
        for name in ("seconds", "dropped_tokens", "dropped_prm_tokens"):
            del plain["usage"][name]
        for depth in plain["depths"]:
            depth["figures"] = {}
        tree = [(result.tree.parent_of(n), result.tree.continuation(n)) for n in range(1, len(result.tree))]
        rewards = [result.tree.reward(n) for n in range(1, len(result.tree))]
        return {**plain, "engine": None, "tree": tree, "rewards": repr(rewards)}

    assert record("one") == record("another")


async def test_what_an_early_stop_drops_is_counted_by_itself():
    class Counting(ScriptedRewardModel):
        read = 0

        async def score(self, trajectory, first):
            scores = await super().score(trajectory, first)
            self.read += scores.num_tokens
            return scores

    generator = Streams(ragged, 3, lambda r: 0.001 if r.prefix[-2:-1] == (ord("a"),) else 0.0)
    model = Counting(reward_of)
    early = await run("rebase", 32, generator=generator, reward_model=model, early_stop=True)
    assert early.stop_reason is StopReason.DECIDED
    usage = early.usage
    assert usage.num_cancelled == sum(early.depths[-2].widths) - early.depths[-1].num_sampled > 0
    assert usage.num_calls == len(early.tree) - 1
    written = sum(len(c) for c in generator.written)
    assert usage.generated_tokens + usage.dropped_tokens == written > usage.generated_tokens
    assert usage.prm_tokens + usage.dropped_prm_tokens == model.read


async def test_an_early_stop_spares_the_stragglers_and_says_so():
    whole = await run("rebase", 32, generator=Streams(ragged, 3))
    early = await run("rebase", 32, generator=Streams(ragged, 3), early_stop=True)
    assert early.stop_reason is StopReason.DECIDED
    assert len(early.depths) < len(whole.depths)
    assert early.usage.num_calls < whole.usage.num_calls
    assert early.answer == whole.answer


async def test_requests_under_way_are_cut_off_and_counted():
    def delay(request):
        return 30.0 if request.prefix[-2:] == (ord("b"), ord("\n")) and len(request.prefix) > 35 else 0.0

    early = await asyncio.wait_for(run("rebase", 32, generator=Streams(delay=delay), early_stop=True, merge=True), 10)
    assert early.stop_reason is StopReason.DECIDED
    assert early.usage.num_cancelled == sum(early.depths[-2].widths) - early.depths[-1].num_sampled > 0
    assert early.answer == "7"


@given(
    st.lists(st.tuples(st.sampled_from(["7", "8", "9"]), st.floats(0, 1)), min_size=1, max_size=8),
    st.lists(st.tuples(st.sampled_from(["7", "8", "9", "10"]), st.floats(0, 1)), max_size=4),
    AGGREGATIONS,
)
def test_once_decided_no_further_votes_change_the_winner(there, still_to_come, aggregation):
    if aggregation is Aggregation.MAJORITY:
        there, still_to_come = [(a, 1.0) for a, _ in there], [(a, 1.0) for a, _ in still_to_come]
    vote = RunningVote(SearchState(SearchTree("q", [1])), SearchSettings(16, aggregation=aggregation))
    for answer, reward in there:
        vote.add(answer, (reward,), EndReason.ANSWERED)
    before = vote._tally.votes()[0].answer
    decided = vote.is_decided(len(still_to_come), vote.most(()))
    for answer, reward in still_to_come:
        vote.add(answer, (reward,), EndReason.ANSWERED)
    if decided:
        assert vote._tally.votes()[0].answer == before
    elif not still_to_come and aggregation is not Aggregation.BEST_REWARD:
        assert vote._tally.lead < 1e-6


def test_min_and_prod_bound_what_a_branch_can_weigh():
    for aggregation, most in ((Aggregation.MIN, 0.5), (Aggregation.PROD, 0.25), (Aggregation.LAST, 1.0)):
        vote = RunningVote(SearchState(SearchTree("q", [1])), SearchSettings(4, aggregation=aggregation))
        assert vote.most((0.5, 0.5)) == most
        vote.add("7", (1.0, 0.8), EndReason.ANSWERED)
        assert vote.is_decided(1, most) == (most < 0.8)
    assert vote.most((float("nan"),)) == 1.0


PROPERTIES = [e.name for e in STRATEGIES.entries()]


@pytest.mark.parametrize("strategy", [s for s in PROPERTIES if s != "best_of_n"])
async def test_writing_ahead_changes_no_branch_and_counts_its_waste(strategy):
    def delay(request):
        return random.Random(str(request.prefix)).choice((0.0, 0.01))

    plain = await run(strategy, 24, generator=Streams(delay=delay), merge=True)
    generator = Streams(delay=delay)
    ahead = await run(strategy, 24, generator=generator, merge=True, speculate=True)
    assert [d.num_sampled for d in ahead.depths] == [d.num_sampled for d in plain.depths]
    assert ahead.answer == plain.answer
    used = int(ahead.tree.tokens[1:].sum())
    assert ahead.usage.generated_tokens == used + ahead.usage.wasted_tokens
    assert ahead.usage.num_calls == len(ahead.tree) - 1
    assert len(generator.requests) == ahead.usage.num_requests


async def test_survivors_take_what_was_written_ahead_and_ask_for_the_rest():
    def slow_b(request):
        return 0.05 if request.prefix[-2:] == (ord("b"), ord("\n")) else 0.0

    generator = Streams(delay=slow_b)
    result = await run("rebase", 32, generator=generator, merge=True, speculate=True)
    asked = Counter()
    for request in generator.requests:
        asked[request.prefix] += request.num_continuations
    times = Counter(request.prefix for request in generator.requests)
    assert max(times.values()) > 1  # some were begun before selection
    seeds = [r.seed for r in generator.requests]
    assert len(set(seeds)) == len(seeds)
    drawn = Counter(result.tree.prefix(result.tree.parent_of(n)) for n in range(1, len(result.tree)))
    assert all(asked[prefix] >= count for prefix, count in drawn.items())
    assert PROBLEM.answer == result.answer


async def test_a_failure_of_what_was_written_ahead_costs_no_branch(monkeypatch):
    failed = []

    async def fail():
        failed.append(1)
        raise EngineError("not now")

    monkeypatch.setattr(Expander, "request_ahead", lambda _, __, ___, width: Ahead(width, asyncio.create_task(fail())))
    generator = Streams(delay=lambda r: 0.02 if r.prefix[-2:-1] == (ord("b"),) else 0.0)
    result = await run("rebase", 32, generator=generator, merge=True, speculate=True)
    assert failed
    assert not result.failures
    assert len(result.trajectories) == 32
