"""What the engine measured while a search ran: of that search, or nothing."""

import asyncio
import io
import time

import prometheus_client
import pytest
from rich.console import Console

from etsearch import minimath
from etsearch.cli.show import cost_table
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.watch import SAMPLING_S, EngineWatch, watch_together
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.servers.figures import read_figures, total
from etsearch.servers.vllm import vllm_stats, vllm_totals
from etsearch.strategies import STRATEGIES
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


async def test_searches_side_by_side_share_their_looks():
    alone, shared = Engine(), Engine()

    async def one(engine):
        async with watch_together(engine) as watched:
            await asyncio.sleep(0.3)
        return watched.figures

    await one(alone)
    figures = await asyncio.gather(*(one(shared) for _ in range(10)))
    assert shared.num_looks < alone.num_looks + 30  # one before and one after each of the ten, and no more meanwhile
    assert max(f.mean_in_flight for f in figures) > 5
    again = await one(shared)
    assert again.mean_in_flight == 1


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


def write(so_far, rng):
    del rng
    steps = so_far.count("\n")
    return f"Step {steps}.\n" if steps < 4 else "The answer is 1."


class BusyEngine(Engine):
    """A scripted engine whose cache is in use while it writes, more with each request; it tells so only when asked."""

    def __init__(self):
        super().__init__()
        self.inner, self.num_requests, self.num_preemptions = ScriptedGenerator(write), 0, None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def generate(self, request):
        self.num_requests += 1
        self.use = self.num_requests / 100
        await asyncio.sleep(SAMPLING_S / 2)  # a regular look need not fall into it
        self.use = 0.0
        return await self.inner.generate(request)

    async def stats(self):
        self.num_looks += 1
        return EngineStats(self.use, 1000, num_preemptions=self.num_preemptions)


async def solve(generator, watch=None, **changes):
    return await run_search(
        minimath.example(1),
        generator=generator,
        reward_model=ScriptedRewardModel(lambda question, steps: 0.5),
        strategy=STRATEGIES.create("rebase"),
        settings=SearchSettings(1, seed=0, **changes),
        watch=watch,
    )


def line(result, label):
    console = Console(width=100, file=io.StringIO())
    console.print(cost_table({"it": result}))
    return next((row for row in console.file.getvalue().splitlines() if row.startswith(label)), None)


async def test_a_search_of_its_own_is_seen_at_every_depth():
    """The engine is idle between the depths; its use at the last of them is the largest."""
    engine = BusyEngine()
    result = await solve(engine)
    assert engine.num_requests == len(result.depths) > 1
    assert result.engine.peak_cache_tokens == 10 * engine.num_requests
    assert 0 < result.engine.mean_cache_tokens < result.engine.peak_cache_tokens
    assert f"{10 * engine.num_requests}" in line(result, "… as the engine measured it")


async def test_a_peak_is_of_its_search_and_not_of_the_engine_since_its_start():
    engine = BusyEngine()
    watch = EngineWatch(engine)
    results = []
    for _ in range(3):
        engine.num_requests = 0
        results.append(await solve(engine, watch))
    engine.num_requests = 50
    large = await solve(engine, watch)
    engine.num_requests = 0
    results.append(await solve(engine, watch))
    assert len({r.engine.peak_cache_tokens for r in results}) == 1
    assert large.engine.peak_cache_tokens == 500 + results[0].engine.peak_cache_tokens


async def test_what_was_not_seen_is_said_and_no_nought():
    class Idle(BusyEngine):
        async def stats(self):
            return EngineStats(0.0, 1000)

    result = await solve(Idle())
    assert result.engine.peak_cache_tokens is None
    assert result.engine.cache_capacity_tokens == 1000
    assert line(result, "… as the engine measured it").endswith("too short or small to see")


async def test_an_engine_that_tells_nothing_has_no_line():
    result = await solve(ScriptedGenerator(write))
    assert result.engine.plain() == {}
    assert line(result, "… as the engine measured it") is line(result, "preemptions") is None


async def test_the_largest_prediction_is_kept_whenever_it_was_made():
    async with EngineWatch(Engine()).search() as watched:
        for tokens in (10, 300, 20):
            watched.predicted_tokens = tokens
        await asyncio.sleep(0.01)
    assert watched.figures.peak_predicted_tokens == 300


async def test_looks_grow_rarer():
    """A depth that goes on is looked at soon and then regularly; one look after the other would be hundreds."""
    engine = Engine()
    async with EngineWatch(engine).search():
        await asyncio.sleep(0.2)
    assert 3 < engine.num_looks < 20


@pytest.mark.parametrize(("before", "after", "counted"), [(None, None, None), (0, 0, 0), (7, 7, 0), (7, 9, 2)])
async def test_preemptions_are_those_of_the_search(before, after, counted):
    engine = BusyEngine()
    engine.num_preemptions = before
    async with EngineWatch(engine).search() as watched:
        engine.num_preemptions = after
    assert watched.figures.num_preemptions == counted


async def test_no_preemptions_are_a_figure_and_shown():
    engine = BusyEngine()
    engine.num_preemptions = 0
    assert line(await solve(engine), "preemptions").split() == ["preemptions", "0"]


def test_a_counter_of_vllm_that_has_not_counted_yet_stands_at_nought():
    """In the text that Prometheus' own client writes, as vLLM's server does."""
    registry = prometheus_client.CollectorRegistry()
    running = prometheus_client.Gauge("vllm:num_requests_running", "", ["engine"], registry=registry)
    preemptions = prometheus_client.Counter("vllm:num_preemptions", "", ["engine"], registry=registry)
    text = lambda: prometheus_client.generate_latest(registry).decode()  # noqa: E731
    assert vllm_totals(text()) == vllm_totals("other 1\n") == {}
    running.labels("0").set(3)
    assert vllm_totals(text()) == {"num_preemptions": 0}
    preemptions.labels("0").inc(2)
    preemptions.labels("1").inc(3)
    assert "vllm:num_preemptions_total" in text()
    assert vllm_totals(text()) == {"num_preemptions": 5}


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
