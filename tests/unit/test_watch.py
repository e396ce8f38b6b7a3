"""What the engine measured while a search ran: of that search, or nothing."""

import asyncio
import time

import pytest

from etsearch.loop.watch import EngineWatch
from etsearch.servers.figures import read_figures, total
from etsearch.servers.vllm import vllm_stats
from etsearch.types import EngineStats


class Engine:
    """Its cache is in use when it is told so."""

    def __init__(self):
        self.use, self.num_looks = 0.0, 0

    async def stats(self):
        self.num_looks += 1
        return EngineStats(cache_use=self.use, cache_capacity_tokens=1000, num_preemptions=0)


class SeeingEngine(Engine):
    """Remembers what it held, step by step."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def step(self, use):
        self.steps.append((time.monotonic(), use))

    def peak_cache_use(self, since):
        return max((use for moment, use in self.steps if moment >= since), default=None)


async def test_a_search_that_no_look_fell_into_has_no_peak():
    async with EngineWatch(Engine()).search() as watched:
        pass
    assert watched.figures.peak_cache_tokens is None
    assert watched.figures.mean_cache_tokens is None
    assert watched.figures.num_preemptions == 0


async def test_an_engine_that_sees_its_steps_tells_the_peak_of_the_shortest_search():
    engine = SeeingEngine()
    watch = EngineWatch(engine)
    engine.step(0.9)
    async with watch.search() as first:
        engine.step(0.25)
        engine.step(0.5)
        engine.step(0.125)
    async with watch.search() as second:
        engine.step(0.0625)
    assert first.figures.peak_cache_tokens == 500.0
    assert second.figures.peak_cache_tokens == 62.5


async def test_searches_side_by_side_each_see_the_whole_engine_while_they_run():
    engine = SeeingEngine()
    watch = EngineWatch(engine)
    async with watch.search() as long:
        engine.step(0.75)
        async with watch.search() as short:
            engine.step(0.5)
        engine.step(0.25)
    assert short.figures.peak_cache_tokens == 500.0
    assert long.figures.peak_cache_tokens == 750.0


async def test_two_watches_take_nothing_from_each_other():
    engine = SeeingEngine()
    async with EngineWatch(engine).search() as one, EngineWatch(engine).search() as other:
        engine.step(0.5)
        await asyncio.sleep(0.05)
    assert one.figures.peak_cache_tokens == other.figures.peak_cache_tokens == 500.0


BROKEN = [
    "",
    "\x00",
    "vllm:kv_cache_usage_perc",
    "vllm:kv_cache_usage_perc{ 1",
    'vllm:kv_cache_usage_perc{a="} 1',
    "<html>",
]


@pytest.mark.parametrize("text", BROKEN)
def test_figures_that_cannot_be_read_are_none(text):
    assert vllm_stats([text]) == EngineStats()


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "1e999"])
def test_figures_that_are_no_numbers_are_left_out(value):
    names = ["vllm:num_preemptions_total"]
    assert total(read_figures([f"{names[0]} {value}\n", f"{names[0]} 3\n"], names), names[0]) == 3


@pytest.mark.parametrize("size", ["²", "9" * 30, "-1", "None", "1.5"])
def test_a_cache_size_that_is_none(size):
    stats = vllm_stats([f'vllm:cache_config_info{{block_size="{size}",num_gpu_blocks="{size}"}} 1.0\n'])
    assert stats.cache_capacity_tokens is None
