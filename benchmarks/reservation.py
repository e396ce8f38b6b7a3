"""What is gained where the embedded engine keeps room for what steps are likely to need, not for their token limit?

    git worktree add ../before ba69f80
    python benchmarks/reservation.py --before ../before/src --json benchmarks/records/reservation.json
    python benchmarks/reservation.py --problems 8 --rounds 1

REBASE searches of minimath on the embedded models, several in flight, in a cache that ``--holds`` of them fill: so many
times what one search alone holds at its peak, the mean of ``--problems`` of them. The same searches run in turn, each
time in a process of its own, with

``limit``   room for the token limit of every sequence (256); with ``--before`` by the code of then, which did just that
``likely``  room for what sequences lately needed (``etsearch.generators._lengths``)
``large``   a cache that holds them all, for comparison: nobody waits there

Wall time is of all searches from the first to the last; searches an hour follow from it, and the CPU seconds of the
process stand beside, since others may use the cores. Cache use, requests running and waiting are means of samples taken
every ``SAMPLE_S`` seconds. Ratios are of one round, their median is told.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from facts import in_words, machine

from etsearch.evaluation.datasets import DATASETS
from etsearch.generators import GENERATORS
from etsearch.generators._kv_room import BLOCK_TOKENS
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.watch import EngineWatch
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES

DATA = "minimath:test"
SAMPLE_S = 0.01
LARGE_BLOCKS = 16384


@dataclass
class Row:
    """One round of one way; cache use in [0, 1], requests as means over time."""

    way: str
    round: int
    num_blocks: int
    wall_s: float
    cpu_s: float
    searches_an_hour: float
    cache_use: float
    peak_cache_use: float
    running: float
    waiting: float
    preemptions: int
    tokens: int


async def main():
    options = parse_options()
    if options.one:
        way, number, num_blocks = options.one
        problems = DATASETS.create(DATA).problems[: options.problems]
        print(json.dumps(asdict(await measure(way, int(number), int(num_blocks), problems, options))))
        return
    facts = machine("openvino", "openvino-genai")
    print(in_words(facts), end="\n\n")
    problems = DATASETS.create(DATA).problems[: options.problems]
    alone = await peak_blocks(problems, options.width)
    num_blocks = round(options.holds * alone)
    print(f"a search alone holds {alone:.0f} blocks at its peak; the small cache has {num_blocks}\n\n{HEAD}")
    rows = []
    for number in range(options.rounds):
        for way, blocks in (("limit", num_blocks), ("likely", num_blocks), ("large", LARGE_BLOCKS)):
            rows.append(in_a_process(way, number, blocks, options))
            print(line(rows[-1]), flush=True)
    ratios = {name: ratio(rows, name) for name in ("searches_an_hour", "cpu_s", "cache_use", "waiting")}
    for name, (median, each) in ratios.items():
        print(f"likely ÷ limit, {name}: {median:.2f} ({', '.join(f'{one:.2f}' for one in each)})")
    if options.json:
        asked = {name: value for name, value in vars(options).items() if name not in ("json", "one", "before")}
        asked["command"] = "python benchmarks/reservation.py " + ("--before SRC" if options.before else "")
        values = {"machine": facts, "options": asked, "alone_blocks": alone, "rows": [asdict(row) for row in rows]}
        values["likely_over_limit"] = {name: {"median": m, "rounds": each} for name, (m, each) in ratios.items()}
        options.json.write_text(json.dumps(values, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=32, help="searches of a round (default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--in-flight", type=int, default=16, help="searches at once (default: %(default)s)")
    parser.add_argument("--holds", type=float, default=4, help="searches that fill the cache (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="SRC", help="the source folder of the code before, for limit")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # a process of this one: way, round, blocks
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def in_a_process(way, number, num_blocks, options):
    """Measures in a process of its own, which may import the code before."""
    command = [sys.executable, __file__, "--one", way, str(number), str(num_blocks)]
    command += ["--problems", str(options.problems), "--width", str(options.width)]
    command += ["--in-flight", str(options.in_flight)]
    if way == "limit" and options.before:
        command.append("--before=.")  # as it is
        environment = {**os.environ, "PYTHONPATH": str(options.before)}
    else:
        environment = None
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return Row(**json.loads(done.stdout.splitlines()[-1]))


@asynccontextmanager
async def fresh_models(num_blocks):
    generator = GENERATORS.create(f"minimath(num_kv_blocks={num_blocks})")
    prm = REWARD_MODELS.create("minimath")
    try:
        yield generator, prm
    finally:
        await generator.aclose()
        await prm.aclose()


async def peak_blocks(problems, width):
    """Blocks that a search alone holds at its peak, the mean over the problems."""
    async with fresh_models(LARGE_BLOCKS) as (generator, prm):
        peaks = []
        for problem in problems:
            async with EngineWatch(generator).search() as watched:
                await searched(problem, generator, prm, width)
            peaks.append(watched.figures.peak_cache_tokens / BLOCK_TOKENS)
        return statistics.fmean(peaks)


async def measure(way, number, num_blocks, problems, options):
    async with fresh_models(num_blocks) as (generator, prm):
        if way == "limit" and not options.before:
            from etsearch.generators._lengths import Lengths  # noqa: PLC0415 - the code before has none

            generator._pipeline._lengths = Lengths(fewest=math.inf)  # noqa: SLF001 - nothing is ever known
        await searched(problems[0], generator, prm, 4)  # warms up
        samples, waiting = [], iter(problems)

        async def work():
            return [await searched(problem, generator, prm, options.width) for problem in waiting]

        sampler = asyncio.create_task(sample(generator, samples))
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        done = await asyncio.gather(*(work() for _ in range(options.in_flight)))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        sampler.cancel()
        return Row(
            way,
            number,
            num_blocks,
            wall_s,
            cpu_s,
            3600 * len(problems) / wall_s,
            statistics.fmean(s.cache_use for s in samples),
            max(s.cache_use for s in samples),
            statistics.fmean(s.num_running for s in samples),
            statistics.fmean(s.num_waiting for s in samples),
            (await generator.stats()).num_preemptions,
            sum(result.usage.generated_tokens for one in done for result in one),
        )


async def searched(problem, generator, prm, width):
    strategy = STRATEGIES.create("rebase")
    return await run_search(
        problem, generator=generator, reward_model=prm, strategy=strategy, settings=SearchSettings(width)
    )


async def sample(generator, samples):
    while True:
        samples.append(await generator.stats())
        await asyncio.sleep(SAMPLE_S)


def ratio(rows, name):
    """The median over rounds of likely over limit, and each of them."""
    of = {way: [getattr(row, name) for row in rows if row.way == way] for way in ("likely", "limit")}
    each = [likely / limit if limit else math.nan for likely, limit in zip(of["likely"], of["limit"], strict=True)]
    return statistics.median(each), each


HEAD = "way     round   wall s    CPU s  searches/h  cache use   peak  running  waiting  preemptions   tokens"


def line(row):
    return (
        f"{row.way:8}{row.round:5}{row.wall_s:9.2f}{row.cpu_s:9.2f}{row.searches_an_hour:12,.0f}{row.cache_use:11.2f}"
        f"{row.peak_cache_use:7.2f}{row.running:9.1f}{row.waiting:9.1f}{row.preemptions:13}{row.tokens:9,}"
    )


if __name__ == "__main__":
    asyncio.run(main())
