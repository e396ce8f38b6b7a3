"""Searches that share an engine: what the loop makes of waiting, of a price, and of being interrupted."""

import asyncio

import pytest
from tests.worlds import PROBLEM, reward_of, run, write

import etsearch
from etsearch import Limits
from etsearch.errors import EngineError, UnavailableError
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop.events import Selected
from etsearch.loop.state import SearchState
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.sharing import Market
from etsearch.strategies import STRATEGIES
from etsearch.types import StopReason

FREE_OF_PRICE = "ets(lambda_b=0, leaves=steps, node_cost=tokens)"


class Greedy:
    """Somebody who holds the whole cache until told to leave."""

    def __init__(self, market):
        self.share = market.share(key="greedy")

    async def __aenter__(self):
        await self.share.begin(STRATEGIES.create("rebase"), 10**6, 1, 0)
        return self

    async def __aexit__(self, *_):
        self.share.leave()


def test_a_search_waits_until_there_is_room_and_its_deadline_counts_meanwhile():
    async def scenario():
        market = Market(500)
        async with Greedy(market):
            cut = await run("rebase", 8, share=market.share(), limits=Limits(deadline_s=0.05))
            waiting = asyncio.create_task(run("rebase", 8, share=market.share()))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert market.figures.num_waiting == 1
        return market, cut, await waiting

    market, cut, result = asyncio.run(scenario())
    assert (cut.stop_reason, cut.trajectories, cut.usage.num_requests) == (StopReason.DEADLINE, (), 0)
    assert result.stop_reason is StopReason.COMPLETED
    assert result.usage.seconds["wait"] >= 0.05
    assert market.predicted_tokens == 0


def test_a_search_between_two_depths_can_be_cut_by_its_deadline_too():
    async def scenario():
        market = Market(10**6)
        greedy = Greedy(market)

        def when_selected(event):
            if isinstance(event, Selected) and event.summary.depth == 1:
                market.cache_tokens = 1  # the cache shrinks, and somebody else has it
                greedy.share.tokens, greedy.share.demand = 1.0, None
                market._holders.add(greedy.share)

        return await run("rebase", 8, share=market.share(), limits=Limits(deadline_s=0.2), on_event=when_selected)

    result = asyncio.run(scenario())
    assert result.stop_reason is StopReason.DEADLINE
    assert len(result.depths) == 2


def test_under_load_a_search_gives_back_width_and_says_why_it_ended():
    async def scenario():
        market = Market(900, smoothing_s=0, least_width=4, step_tokens=10.0)
        return await asyncio.gather(*(run(FREE_OF_PRICE, 64, share=market.share(), seed=i) for i in range(6)))

    results = asyncio.run(scenario())
    alone = asyncio.run(run(FREE_OF_PRICE, 64))
    assert alone.usage.num_calls == 64 * 4
    for result in results:
        assert result.usage.num_calls < alone.usage.num_calls
        assert any(depth.figures["price"] > 0 for depth in result.depths if depth.nodes)
        assert result.trajectories
    loaded = [result for result in results if result.stop_reason is StopReason.LOAD]
    assert loaded
    assert "left of the KV cache" in loaded[0].stop_reason.message
    assert all(len(result.trajectories) < 64 for result in loaded)


def test_searches_across_depths_share_a_cache_and_none_is_narrowed():
    """They begin with fewer than their width of themselves, which is no lack of room."""

    async def scenario():
        market = Market(900, smoothing_s=0, least_width=4, step_tokens=10.0)
        strategies = ("ab_mcts(batch=4)", "ab_mcts(batch=4)", "rebase")
        results = await asyncio.gather(*(run(one, 16, share=market.share(), seed=7) for one in strategies))
        return market, results

    market, results = asyncio.run(scenario())
    alone = asyncio.run(run("ab_mcts(batch=4)", 16, seed=7))
    assert [result.stop_reason for result in results] == [StopReason.COMPLETED] * 3
    for result in results[:2]:
        assert result.trajectories == alone.trajectories
    assert market.predicted_tokens == market.figures.num_running == 0


async def test_a_search_all_of_whose_requests_fail_says_so_whatever_room_it_had():
    class Failing(ScriptedGenerator):
        async def generate(self, request):
            raise EngineError("no")

    for strategy in ("rebase", "ab_mcts(batch=2)"):
        result = await run(strategy, 8, generator=Failing(write), share=Market(10**6).share())
        assert result.stop_reason is StopReason.FAILED


def test_the_heavier_a_search_the_more_it_keeps():
    async def scenario():
        market = Market(900, smoothing_s=0, least_width=4, step_tokens=10.0)
        shares = [market.share(weight=4.0 if i < 2 else 1.0) for i in range(6)]
        return await asyncio.gather(*(run(FREE_OF_PRICE, 64, share=share, seed=7) for share in shares))

    calls = [result.usage.num_calls for result in asyncio.run(scenario())]
    assert min(calls[:2]) > max(calls[2:])


class Dying(ScriptedGenerator):
    """It goes away at the third depth."""

    async def generate(self, request):
        if len(request.prefix) > 30:
            raise UnavailableError("gone")
        return await super().generate(request)


def test_a_search_whose_engine_went_away_gives_back_its_share_and_goes_on_later():
    async def scenario():
        market = Market(10**5)
        with pytest.raises(UnavailableError) as gone:
            await run("rebase", 8, generator=Dying(write), share=market.share())
        assert market.predicted_tokens == 0
        state = SearchState.from_dict(gone.value.state.to_dict())
        assert state.depths
        resumed = await run("rebase", 8, resume=state, share=market.share())
        assert market.figures.num_running == 0
        return resumed

    whole = asyncio.run(run("rebase", 8))
    assert asyncio.run(scenario()).trajectories == whole.trajectories


def test_the_library_takes_a_share():
    market = Market(10**5)
    given = {"generator": ScriptedGenerator(write), "prm": ScriptedRewardModel(reward_of), "width": 8}
    result = etsearch.solve(PROBLEM, strategy="ets", share=market.share(), **given)
    assert result.answer
    assert result.depths[0].figures["price"] == 0
