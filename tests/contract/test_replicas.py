"""Several servers of one model: trees stay, spread and move."""

import asyncio

import pytest

from etsearch.errors import (
    ConfigError,
)
from etsearch.generators import GENERATORS
from tests.contract.serving import QUICK, make_request, open_part, search, shape
from tests.doubles.http import running
from tests.doubles.vllm import VllmDouble


async def test_a_tree_stays_on_one_replica_and_trees_spread(folder):
    doubles = [VllmDouble(folder) for _ in range(3)]
    with running(*doubles):
        address = ",".join(double.url for double in doubles)
        async with open_part(GENERATORS, f"vllm:{address}") as generator:
            await asyncio.gather(*(search(generator) for _ in range(6)))
    seeds = [[body["seed"] for body in double.posts("/v1/completions")] for double in doubles]
    assert all(seeds)
    roots = [found.count(seeds[0][0]) for found in seeds]
    assert roots == [2, 2, 2], "six searches with one seed, two on each replica"
    for found in seeds:
        assert len(found) == 2 * len(set(found)), "a search's requests are all on its replica"


async def test_a_dead_replicas_trees_move(folder):
    straight = await search(GENERATORS.create("scripted"))
    doubles = [VllmDouble(folder) for _ in range(2)]
    with running(*doubles):
        async with open_part(GENERATORS, f"vllm({QUICK}):{doubles[0].url},{doubles[1].url}") as generator:
            for double in doubles:
                double.trouble = lambda call, double=double: dies_after_three(double)

            def dies_after_three(double):
                is_first = all(other is double or not other.posts("/v1/completions") for other in doubles)
                return "drop" if is_first and len(double.posts("/v1/completions")) >= 3 else None

            result = await search(generator)
    assert all(double.posts("/v1/completions") for double in doubles)
    assert shape(result) == shape(straight)


async def test_replicas_must_serve_one_model(folder):
    with running(VllmDouble(folder), VllmDouble(folder, model="other")) as (one, two):
        with pytest.raises(ConfigError, match="these differ"):
            GENERATORS.create(f"vllm:{one.url},{two.url}")
        with pytest.raises(ConfigError, match="serves no model 'mine'; it serves scripted"):
            GENERATORS.create(f"vllm:{one.url}/mine")


async def test_a_replica_that_is_away_from_the_start_is_left_out(server, caplog):
    specification = f"vllm({QUICK}):http://127.0.0.1:9,{server.url}"
    async with open_part(GENERATORS, specification) as generator:
        assert len(await generator.generate(await make_request(generator))) == 2
    assert "a replica is away" in caplog.text


async def test_a_replica_that_tells_no_figures_for_once_changes_no_totals(folder):
    doubles = [VllmDouble(folder), VllmDouble(folder)]
    with running(*doubles):
        async with open_part(GENERATORS, f"vllm:{doubles[0].url},{doubles[1].url}") as generator:
            for double in doubles:
                double.hits = 1000
            first = (await generator.stats()).prefix_hit_tokens
            doubles[1].stop()
            doubles[0].hits += 10
            without = (await generator.stats()).prefix_hit_tokens
            doubles[1].hits = 5
            doubles[1].start()
            again = (await generator.stats()).prefix_hit_tokens
    assert (first, without - first, again - without) == (2000, 10, 5)
