"""What holds of the price of a KV token, whatever the searches are."""

import asyncio
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_strategies import frontiers
from tests.worlds import run

from etsearch.errors import ConfigError
from etsearch.sharing import Market
from etsearch.sharing.clearing import clearing_place
from etsearch.sharing.demand import DepthDemand, FirstDemand
from etsearch.sharing.grid import DEAREST, FREE, least_place
from etsearch.sharing.queue import AdmissionQueue, Waiting
from etsearch.strategies import STRATEGIES
from etsearch.types import EngineStats

ETS = ["ets(lambda_b=0)", "ets", "ets(leaves=steps, node_cost=tokens, inherit=true)", "ets_kv(node_cost=tokens)"]


def demand_of(name, frontier, weight=1.0):
    width = frontier.total_width - len(frontier.completed)
    return DepthDemand(STRATEGIES.create(name), frontier, width, weight)


@st.composite
def demands(draw):
    """The demands of some searches, one at least, some of which heed no price."""
    names = st.sampled_from([*ETS, "rebase", "beam"])
    weights = st.sampled_from([0.5, 1, 4])
    between = [demand_of(draw(names), f, draw(weights)) for f in draw(st.lists(frontiers(), max_size=3))]
    first = FirstDemand(STRATEGIES.create(draw(names)), draw(st.integers(1, 50)), draw(st.integers(1, 64)), 12.5, 1.0)
    return [*between, first]


@given(st.integers(FREE, DEAREST + 1), st.integers(FREE, DEAREST))
def test_the_lowest_place_that_fits_is_found_in_few_trials(lowest, start):
    tried = []

    def fits(place):
        tried.append(place)
        return place >= lowest

    assert least_place(fits, start) == (None if lowest > DEAREST else lowest)
    assert len(tried) <= 17
    assert len(set(tried)) == len(tried)


@pytest.mark.parametrize("name", [*ETS, "rebase", "dvts"])
@settings(max_examples=30, deadline=None)
@given(frontiers(), st.lists(st.integers(FREE, DEAREST), min_size=1, max_size=6))
def test_a_search_holds_less_as_the_price_rises_and_one_branch_in_the_end(name, frontier, places):
    demand = demand_of(name, frontier)
    places = [*sorted(places), DEAREST]
    worked_out = [demand.at(place) for place in places]
    held = [demand.known_at(place) for place in range(FREE, DEAREST + 1)]
    assert held == sorted(held, reverse=True)
    assert all(known >= tokens for known, tokens in zip([held[place] for place in places], worked_out, strict=True))
    assert held[DEAREST] == demand.at(DEAREST) <= demand.at(FREE)
    if name in ("rebase", "dvts"):
        assert len(set(held)) == 1
        return
    last = demand.selection(DEAREST)
    assert sum(last.widths) == (0 if len(frontier.completed) else 1)


@settings(max_examples=60, deadline=None)
@given(demands(), demands(), st.floats(1, 4000))
def test_the_price_rises_with_the_load_and_does_not_depend_on_the_order(some, more, capacity):
    alone = clearing_place(some, capacity)
    assert clearing_place([*some, *more], capacity) >= alone
    assert clearing_place(some[::-1], capacity) == alone
    assert clearing_place(some, capacity / 2) >= alone
    for one in some:
        for place in range(FREE, DEAREST + 1, 8):
            one.at(place)
    cleared = clearing_place(some, capacity)
    held = math.fsum(one.known_at(cleared) for one in some)
    assert held <= capacity or held == math.fsum(one.at(DEAREST) for one in some)
    assert (cleared == FREE) == (math.fsum(one.at(FREE) for one in some) <= max(capacity, held))


@settings(max_examples=30, deadline=None)
@given(frontiers(), st.sampled_from(ETS))
def test_where_there_is_room_a_frontier_is_selected_from_as_without_a_market(frontier, name):
    strategy, width = STRATEGIES.create(name), frontier.total_width - len(frontier.completed)
    if width < 1:
        return
    without = strategy.select(frontier, width)
    assert demand_of(name, frontier).selection(FREE).widths == without.widths


def stats(tokens, capacity, preemptions=0):
    return EngineStats(cache_use=tokens / capacity, cache_capacity_tokens=capacity, num_preemptions=preemptions)


class Ledger(Market):
    """A market that is looked at whenever somebody was let in."""

    looks: int = 0

    def serve(self):
        super().serve()
        self.looks += 1
        running = [holder for holder in self._holders if holder.tokens > 0]
        assert self.predicted_tokens <= self.cache_tokens or len(running) == 1, (self.predicted_tokens, running)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([*ETS, "rebase", "beam", "best_of_n"]), min_size=1, max_size=8),
    st.integers(20, 900),
    st.sampled_from(["fair", "short_first"]),
    st.integers(0, 1000),
)
def test_searches_that_share_hold_no_more_than_there_is_and_all_come_to_their_end(names, capacity, order, seed):
    async def together():
        market = Ledger(capacity, order=order, most_overtaken=2)
        shares = [market.share(key=name, weight=1 + index % 3) for index, name in enumerate(names)]
        pairs = enumerate(zip(names, shares, strict=True))
        results = await asyncio.gather(*(run(name, 12, share=share, seed=seed + i) for i, (name, share) in pairs))
        assert market.looks
        assert (market.predicted_tokens, market.figures.num_running, market.figures.num_waiting) == (0, 0, 0)
        return results

    for result in asyncio.run(together()):
        assert result.trajectories
        assert all(depth.figures.get("price", 0) >= 0 for depth in result.depths)


@pytest.mark.parametrize("name", [*ETS, "rebase", "dvts", "best_of_n"])
def test_a_lone_search_with_room_is_untouched(name):
    async def both():
        return await run(name, 16), await run(name, 16, share=Market(10**6).share())

    alone, shared = asyncio.run(both())
    assert shared.trajectories == alone.trajectories
    assert shared.votes == alone.votes
    assert [d.widths for d in shared.depths] == [d.widths for d in alone.depths]


@pytest.mark.parametrize("name", ["ets(lambda_b=0)", "rebase"])
def test_equal_searches_pay_the_same_in_whatever_order_they_come(name):
    def prices(order):
        async def together():
            market = Market(700, smoothing_s=0)
            results = {}

            async def one(number):
                results[number] = await run(name, 24, share=market.share(), seed=3)

            await asyncio.gather(*map(one, order))
            return market, results

        return asyncio.run(together())[1]

    there, back = prices(range(4)), prices(range(3, -1, -1))
    assert {sum(sum(d.widths) for d in r.depths) for r in there.values()} == {
        sum(sum(d.widths) for d in r.depths) for r in back.values()
    }


class Rush:
    """A market that is asked by many at once, with the places they got."""

    def __init__(self, num, capacity=400, **options):
        self.market, self.num = Market(capacity, smoothing_s=0, **options), num

    async def widths(self, seed=0):
        strategy = STRATEGIES.create("ets(lambda_b=0)")
        shares = [self.market.share() for _ in range(self.num)]
        tasks = [asyncio.create_task(share.begin(strategy, 10, 64, 0)) for share in shares]
        await asyncio.sleep(0)
        done = [task.result() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for share in shares:
            share.leave()
        assert self.market.figures.num_waiting == 0
        return done


def test_the_more_there_are_the_narrower_each_begins_and_then_they_wait():
    widths = [asyncio.run(Rush(num, 3000, step_tokens=10.0).widths()) for num in range(1, 40)]
    assert widths[0] == [64]
    assert all(min(after) <= min(before) for before, after in itertools.pairwise(widths))
    assert min(widths[-1]) >= 13  # the least width, and a notch of the price
    assert len(widths[-1]) < 39


def test_what_the_engine_measures_corrects_what_is_predicted():
    now = [0.0]
    market = Market(1000, clock=lambda: now[0])
    strategy = STRATEGIES.create("rebase")

    async def scenario():
        share = market.share()
        await share.begin(strategy, 100, 10, 0)
        assert market.predicted_tokens == 100 + 10 * 32
        seen = []
        for measured in (420, 420, 840, 840, 840, 100, 100, 100):
            now[0] += 5
            market.observe(stats(measured, 1000))
            seen.append(market.figures.correction)
        before = market.figures.correction
        market.observe(stats(100, 1000, preemptions=3))
        assert market.figures.correction > before
        share.leave()
        return seen

    seen = asyncio.run(scenario())
    assert seen[:2] == [1.0, 1.0]
    assert seen[1] < seen[2] < seen[3] < seen[4] <= 2
    assert seen[4] > seen[5] > seen[6] >= 0.5


def test_a_market_that_knows_no_cache_says_so():
    with pytest.raises(ConfigError, match="cache_tokens"):
        asyncio.run(run("rebase", 4, share=Market().share()))
    with pytest.raises(ConfigError, match="weight"):
        Market(100).share(weight=0)
    with pytest.raises(ConfigError, match="order"):
        Market(100, order="lifo")
    with pytest.raises(ConfigError, match="cache_tokens is 0"):
        Market(0)


def test_a_search_that_is_given_up_while_it_waits_leaves_no_trace():
    async def scenario():
        market = Market(300)
        first, second = market.share(), market.share()
        strategy = STRATEGIES.create("rebase")
        await first.begin(strategy, 10, 8, 0)
        waiting = asyncio.create_task(second.begin(strategy, 10, 8, 0))
        await asyncio.sleep(0)
        assert market.figures.num_waiting == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        second.leave()
        assert (market.figures.num_waiting, market.figures.num_running) == (0, 1)
        first.leave()
        assert market.predicted_tokens == 0

    asyncio.run(scenario())


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 100)), min_size=1, max_size=60),
    st.integers(0, 8),
    st.sampled_from(["fair", "short_first"]),
    st.randoms(use_true_random=False),
)
def test_nobody_is_overtaken_more_often_than_the_bound_says(arrivals, bound, order, chance):
    queue = AdmissionQueue(order, bound)
    coming, let_in, overtaken = list(enumerate(arrivals)), [], {}
    while coming or len(queue):
        if coming and (not len(queue) or chance.random() < 0.5):
            number, (key, work) = coming.pop(0)
            queue.add(Waiting(number, key, {"a": 1, "b": 2, "c": 5}[key], work, is_under_way=False))
            overtaken[number] = 0
            continue
        first = queue.first()
        queue.let_in(first)
        let_in.append(first.item)
        for other in overtaken:
            overtaken[other] += other < first.item and other not in let_in
    assert sorted(let_in) == list(range(len(arrivals)))
    # those that were passed over as often as may be go in the order of their coming
    assert max(overtaken.values()) <= bound
    if bound == 0:
        assert let_in == sorted(let_in)


def test_keys_get_what_they_wait_for_by_their_weights():
    queue = AdmissionQueue(most_overtaken=10**6)
    for number in range(400):
        key = "ab"[number % 2]
        queue.add(Waiting(number, key, {"a": 1.0, "b": 3.0}[key], 10.0, is_under_way=False))
    given = []
    for _ in range(120):
        first = queue.first()
        queue.let_in(first)
        given.append(first.key)
    assert given.count("b") == pytest.approx(90, abs=2)


def test_a_key_that_comes_back_has_no_credit_and_short_ones_come_first_where_asked_for():
    queue = AdmissionQueue()
    for number in range(50):
        queue.add(Waiting(number, "busy", 1.0, 1.0, is_under_way=False))
    for _ in range(40):
        queue.let_in(queue.first())
    for number in range(50, 60):
        queue.add(Waiting(number, "idle", 1.0, 1.0, is_under_way=False))
    next_ones = []
    for _ in range(10):
        next_ones.append(queue.first().key)
        queue.let_in(queue.first())
    assert next_ones.count("busy") in (4, 5, 6)

    short = AdmissionQueue("short_first")
    for work in (5.0, 1.0, 3.0):
        short.add(Waiting(work, "k", 1.0, work, is_under_way=False))
    short.add(Waiting(9.0, "k", 1.0, 9.0, is_under_way=True))
    order = []
    while (first := short.first()) is not None:
        short.let_in(first)
        order.append(first.item)
    assert order == [9.0, 1.0, 3.0, 5.0]
