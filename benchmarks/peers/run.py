"""etsearch and its peers on the same problems, the same engine and the same PRM: how many problems an hour?

    make bench      # this among others
    python benchmarks/peers/run.py --problems 40 --rounds 2 --json benchmarks/records/peers.json

Every method is measured in an engine of its own, at one problem and at eight in flight where its interface permits,
the methods in turn in every round, so that the machine's other work hits all alike. A round has its own seed. What
answers are right is judged by etsearch's grader for all. See README.md for what each peer is given.
"""

import argparse
import asyncio
import gc
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import search_and_learn
import with_crucible
import with_etsearch
import with_its_hub
import with_treequest
from counting import CountingGenerator, CountingRewardModel, Usage
from door import Door, Terms
from table import comparisons, report, rows_of

from etsearch.embedders import EMBEDDERS, Embedder
from etsearch.evaluation.datasets import DATASETS
from etsearch.evaluation.grading import grade
from etsearch.evaluation.run.environment import environment
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.types import Sampling

MAX_STEPS = 25
MAX_STEP_TOKENS = 256
NUM_WARM_UPS = 2
PEERS = ("its_hub", "treequest", "crucible-ttc")


@dataclass
class Parts:
    """What a method is given: etsearch the parts themselves, a peer the door."""

    generator: CountingGenerator
    reward_model: CountingRewardModel
    embedder: Embedder
    door: Door
    threads: ThreadPoolExecutor
    terms: Terms


@dataclass(frozen=True)
class Method:
    """A way to solve problems; ``solve(parts, problems, in_flight)`` gives a text with an answer for each, or None.

    ``eighths`` of the width are its own. ``is_run_alone`` and ``is_run_together`` say whether it is measured with one
    problem in flight, and with several.
    """

    name: str
    project: str
    solve: Callable
    eighths: int = 8
    is_run_alone: bool = True
    is_run_together: bool = True


@dataclass(frozen=True)
class Cell:
    """A method with so many problems in flight."""

    method: Method
    in_flight: int


@dataclass(frozen=True)
class Measurement:
    """One cell in one round; ``loop_seconds``, of ``cpu_seconds``, are those of the event loop's thread."""

    cell: Cell
    seed: int
    seconds: float
    cpu_seconds: float
    loop_seconds: float
    usage: Usage
    right: dict[str, bool]

    @property
    def problems_per_hour(self):
        return 3600 * len(self.right) / self.seconds


def several(solve):
    """A method of a function for one problem."""

    async def solve_all(parts, problems, in_flight):
        gate = asyncio.Semaphore(in_flight)

        async def solve_one(problem):
            async with gate:
                return await solve(parts, problem)

        return await asyncio.gather(*map(solve_one, problems))

    return solve_all


def in_lockstep(solve):
    """A method of a function for a batch of problems."""

    async def solve_all(parts, problems, in_flight):
        batches = [problems[start : start + in_flight] for start in range(0, len(problems), in_flight)]
        return [answer for batch in batches for answer in await solve(parts, batch)]

    return solve_all


OURS = ("beam", "dvts", "rebase", "ets", "thrift")
WHOLE = (
    *(Method(name, "etsearch", several(with_etsearch.searcher(name))) for name in OURS),
    Method("beam", "its_hub", several(with_its_hub.solve)),
    Method("ToT-BFS", "treequest", several(with_treequest.solve_bfs)),
    Method("AB-MCTS-A", "treequest", several(with_treequest.solve_ab_mcts), is_run_alone=False),
    Method("beam", "crucible-ttc", several(with_crucible.solve)),
    Method("beam", "search-and-learn", several(search_and_learn.solve_beam), is_run_together=False),
    Method("DVTS", "search-and-learn", in_lockstep(search_and_learn.solve_dvts)),
)
QUARTER = tuple(replace(m, eighths=2, is_run_alone=False) for m in WHOLE if m.is_run_alone and m.is_run_together)
"""The same at a quarter of the width, for a method may reach another's accuracy with less."""
OTHERS = tuple(
    replace(m, eighths=eighths, is_run_alone=False)
    for m in WHOLE
    for eighths in (1, 4, 6)
    if m.project == "etsearch" and m.name != "dvts"
)
"""And ours at other widths."""
METHODS = WHOLE + OTHERS + QUARTER


def main():
    options = parse_options()
    measurements = asyncio.run(measure_all(options))
    facts, rows, pairs = (
        facts_of(options),
        rows_of(measurements, options.width),
        comparisons(measurements, options.width),
    )
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "rows": rows, "comparisons": pairs}, indent=2) + "\n")
    report(facts, rows, pairs)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=40, help="the first of minimath:test (default: %(default)s)")
    parser.add_argument("--width", type=int, default=16, choices=(16, 64), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=2, help="each with a seed of its own (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8], help="problems (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="PROJECT", help="methods of these projects alone")
    parser.add_argument("--unfolded", action="store_true", help="equal paths of a peer are requests of their own")
    parser.add_argument("--generator", default="minimath", help="default: %(default)s")
    parser.add_argument("--prm", default="minimath", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


def facts_of(options):
    return {
        "command": " ".join(["python", "benchmarks/peers/run.py", *sys.argv[1:]]),
        "data": "minimath:test",
        "problems": options.problems,
        "width": options.width,
        "kept": kept_of(options.width),
        "max_steps": MAX_STEPS,
        "max_step_tokens": MAX_STEP_TOKENS,
        "temperature": 1.0,
        "seeds": list(range(options.rounds)),
        "generator": options.generator,
        "prm": options.prm,
        "equal_paths_of_a_peer": "requests of their own" if options.unfolded else "one request",
        "peers": {name: metadata.version(name) for name in PEERS},
        "environment": environment(),
    }


def kept_of(width):
    """Paths that go on from a depth: the square root of the width, as etsearch's beam and DVTS have it."""
    return math.isqrt(width)


# --- what is measured -------------------------------------------------------------------------------------------------


async def measure_all(options):
    """All cells in every round, starting one cell later each time."""
    problems = DATASETS.create("minimath:test").problems[: options.problems]
    warm_ups = DATASETS.create("minimath:validation").problems[:NUM_WARM_UPS]
    cells = cells_of(options)
    measurements = []
    for seed in range(options.rounds):
        start = seed * len(cells) // options.rounds
        for cell in cells[start:] + cells[:start]:
            measurements.append(await measure(cell, warm_ups, problems, seed, options))
            last = measurements[-1]
            print(f"{label_of(cell)}: {last.seconds:.2f} s, {sum(last.right.values())} right", file=sys.stderr)
    return measurements


def cells_of(options):
    chosen = [method for method in METHODS if not options.only or method.project in options.only]
    return [Cell(m, n) for n in options.in_flight for m in chosen if (m.is_run_alone if n == 1 else m.is_run_together)]


def label_of(cell):
    width = f" at {cell.method.eighths}/8" if cell.method.eighths < 8 else ""
    return f"{cell.method.project} {cell.method.name}{width}, {cell.in_flight} in flight"


async def measure(cell, warm_ups, problems, seed, options):
    """One cell in an engine of its own, which has solved two problems of another split before the clock starts."""
    width = options.width * cell.method.eighths // 8
    terms = Terms(width, kept_of(width), MAX_STEPS, MAX_STEP_TOKENS, Sampling(), seed)
    async with opened(options, cell.in_flight, terms) as (parts, usage):
        await cell.method.solve(parts, warm_ups, cell.in_flight)
        hits_before = (await parts.generator.stats()).prefix_hit_tokens
        usage.reset()
        gc.collect()
        start, cpu_start, loop_start = time.perf_counter(), time.process_time(), time.thread_time()
        texts = await cell.method.solve(parts, problems, cell.in_flight)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        loop_seconds = time.thread_time() - loop_start
        if hits_before is not None:
            usage.engine_hit_tokens = (await parts.generator.stats()).prefix_hit_tokens - hits_before
    right = {p.id: grade(text, p.answer) for p, text in zip(problems, texts, strict=True)}
    return Measurement(cell, seed, seconds, cpu_seconds, loop_seconds, usage, right)


@asynccontextmanager
async def opened(options, num_threads, terms):
    """New parts that count, and their counts."""
    usage = Usage()
    async with AsyncExitStack() as stack:
        generator = CountingGenerator(GENERATORS.create(options.generator), usage)
        stack.push_async_callback(generator.aclose)
        reward_model = CountingRewardModel(REWARD_MODELS.create(options.prm), usage)
        stack.push_async_callback(reward_model.aclose)
        threads = stack.enter_context(ThreadPoolExecutor(num_threads))
        door = Door(generator, reward_model, terms, folds=not options.unfolded)
        yield Parts(generator, reward_model, EMBEDDERS.create("lexical"), door, threads, terms), usage


if __name__ == "__main__":
    main()
