"""The planner against what is measured here: an engine timed on single batches, then whole runs predicted.

    python benchmarks/planner.py --json benchmarks/records/planner.json
    make planner-vllm        # the same of vLLM, with a cache that is large enough and with one that is not

An engine and a reward model are calibrated (``etsearch.planning.calibrate``: single batches; the client alone in
searches). Then other searches run, and their own trees are simulated with what was calibrated; and all of that again,
calibration too, for the machine's pace changes. Nothing else may run beside it. The embedded engine comes with two
caches and with the planner's own speed, simulations of width 256; any other engine is put beside it in the record. With
``--more`` cells are added to that engine's.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path

import numpy as np
from facts import in_words, machine

from etsearch.api import open_parts
from etsearch.evaluation.datasets import minimath_problems
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.calibrate import time_engine
from etsearch.planning.hardware import find_card
from etsearch.planning.models import find_shape
from etsearch.planning.plan import Setup
from etsearch.planning.policy import find_policy
from etsearch.planning.simulate import simulate
from etsearch.planning.trace import SearchTrace
from etsearch.planning.world import Assumptions, DrawnWorld, grow
from etsearch.strategies import STRATEGIES

STRATEGIES_HERE = ("rebase", "ets", "beam", "best_of_n")
NAMES = {"embedded": "The embedded engine", "vllm": "vLLM on this CPU", "sglang": "SGLang on this CPU"}
"""By the engine; where the reward model is not on one of its kind, that is said."""
ENOUGH, SMALL = 4096, 160
"""Blocks of 32 tokens: more than any cell needs, and fewer than most do."""
CELLS = (
    *((16, in_flight, blocks) for in_flight in (4, 8, 32) for blocks in (ENOUGH, SMALL)),
    *((64, in_flight, blocks) for in_flight in (4, 16) for blocks in (ENOUGH, SMALL)),
    (256, 4, ENOUGH),
    (256, 8, SMALL),
)


async def run(parts, problems, width, in_flight, first_seed=0):
    """All searches, so many at once: seconds, and their traces.

    Seeds differ from row to row: a server's client keeps the rewards of what it has read.
    """
    gate = asyncio.Semaphore(in_flight)

    async def one(number, problem):
        async with gate:
            return await search(problem, parts, SearchSettings(width=width, seed=first_seed + number, early_stop=False))

    began = time.perf_counter()
    results = await asyncio.gather(*(one(number, problem) for number, problem in enumerate(problems)))
    return time.perf_counter() - began, [trace_of(result, parts.strategy) for result in results]


def trace_of(result, strategy):
    return SearchTrace.of(SearchState.of(result), scores_steps=strategy.needs_rewards)


async def measure(table, generator, cells, args, problems, number):
    """A row for every cell and strategy, once."""
    rows = []
    async with open_parts(generator, args.prm, STRATEGIES.create("rebase"), "lexical") as parts:
        machine_ = table.machine((await parts.generator.stats()).cache_capacity_tokens)
        await run(parts, problems[:4], 16, 4)  # warm
        for width, in_flight in cells:
            asked = problems[: max(in_flight, args.searches if width < 256 else args.searches // 2)]
            for name in STRATEGIES_HERE:
                first_seed = 1_000_000 * width + 1000 * (len(rows) + 100 * number)
                one = parts.with_strategy(STRATEGIES.create(name))
                seconds, traces = await run(one, asked, width, in_flight, first_seed)
                found = simulate(traces, machine_, in_flight)
                rows.append(row_of(name, width, in_flight, seconds, found))
                say(rows[-1])
    return rows


def row_of(strategy, width, in_flight, seconds, found):
    return {
        "strategy": strategy,
        "width": width,
        "in_flight": in_flight,
        "cache": f"{found.cache_tokens:,}",
        "searches": len(found.latencies),
        "measured_s": seconds,
        "predicted_s": found.seconds,
        "engine_s": found.time.total,
        "prm_s": found.prm_s,
        "client_s": found.client_s,
        "steps": found.counts.num_steps,
        "preemptions": found.counts.num_preemptions,
        "recomputed": found.counts.recomputed,
        "tokens": found.generated_tokens,
    }


def say(row):
    print(
        f"{row['strategy']:10} {row['width']:4} {row['in_flight']:3} {row['cache']:>8} predicted "
        f"{row['predicted_s']:7.2f} measured {row['measured_s']:7.2f} "
        f"{100 * (row['predicted_s'] / row['measured_s'] - 1):+5.0f} %  engine {row['engine_s']:.2f} "
        f"prm {row['prm_s']:.2f} client {row['client_s']:.2f}",
        flush=True,
    )


def middle(repeats):
    """Of every row the repeat whose error is the median one, and the ratio to REBASE whose error is."""
    found = []
    for of_row in zip(*repeats, strict=True):
        place = len(found) - len(found) % len(STRATEGIES_HERE)
        row = dict(median_of(of_row, "s"))
        for name in ("measured_s", "predicted_s"):
            row[f"{name}_of_repeats"] = [one[name] for one in of_row]
        if row["strategy"] != "rebase":
            rebase = [rows[place] for rows in repeats]
            ratios = [
                {f"{what}_ratio": one[f"{what}_s"] / base[f"{what}_s"] for what in ("measured", "predicted")}
                for one, base in zip(of_row, rebase, strict=True)
            ]
            row |= median_of(ratios, "ratio")
        found.append(row)
    return found


def median_of(rows, of):
    """The one whose prediction is off as the median is."""
    return sorted(rows, key=lambda row: row[f"predicted_{of}"] / row[f"measured_{of}"])[len(rows) // 2]


async def calibrate(generator, args, problems):
    policy = find_policy(args.engine, max_sequences=args.max_sequences, step_tokens=args.step_tokens)
    async with open_parts(generator, args.prm, STRATEGIES.create("rebase"), "lexical") as parts:
        return await time_engine(
            parts.generator,
            parts.reward_model,
            problems[:12],
            engine=args.engine,
            policy=policy,
            rounds=args.rounds,
            most_s=args.most_s,
            about=machine(),
            say=print,
        )


def speed():
    """CPU seconds of simulations of width 256, by how many searches."""
    setup = Setup(find_card("h100-nvl"), find_shape("tkitsers/Llemma-metamath-34b"))
    settings = {"width": 256, "merge": False, "early_stop": False}
    worlds = [DrawnWorld(Assumptions(), number) for number in range(4)]
    rebase = STRATEGIES.create("rebase")
    trees = [asyncio.run(grow(w, rebase, SearchSettings(seed=n, **settings), "drawn")) for n, w in enumerate(worlds)]
    rows = []
    for count in (125, 250, 500):
        began = time.process_time()
        found = simulate((trees * count)[:count], setup.machine(), 8)
        seconds, steps = time.process_time() - began, found.counts.num_steps
        rows.append({"searches": count, "steps": steps, "tokens": found.generated_tokens, "cpu_s": seconds})
        print(f"{count} searches of width 256: {steps:,} steps in {seconds:.1f} s")
    return rows


def embedded(blocks):
    return f"minimath(num_kv_blocks={blocks})"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="the record, which other engines may be in already")
    parser.add_argument("--more", action="store_true", help="put the cells into another engine's record")
    parser.add_argument("--searches", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3, help="of every row; the one with the median error counts")
    parser.add_argument("--rounds", type=int, default=1, help="of a calibration")
    parser.add_argument("--most-s", type=float, default=10.0, help="of a batch of the calibration")
    parser.add_argument("--engine", default="embedded")
    parser.add_argument("--generator", help="of another engine than the embedded one")
    parser.add_argument("--max-sequences", type=int, help="as the server was started")
    parser.add_argument("--step-tokens", type=int, help="likewise")
    parser.add_argument("--prm", default="minimath")
    parser.add_argument("--label", help="what is said of this record of the engine, which has others")
    parser.add_argument("--cells", default="16x4,16x8,16x32,64x4,64x16", help="of another engine: width x in flight")
    return parser.parse_args()


def measure_all(generator, cells, args, problems):
    """The rows of the cells, each time with a calibration of its own; and all of those."""
    repeats, tables = [], []
    for number in range(args.repeats):
        table = asyncio.run(calibrate(generator, args, problems))
        say_fits(table)
        tables.append(table.plain())
        repeats.append(asyncio.run(measure(table, generator, cells, args, problems, number)))
    return middle(repeats), tables


def say_fits(table):
    for part in ("generator", "prm"):
        timed = getattr(table, part)
        rates = {feature: rate for feature, rate in timed.rates.items() if rate}
        print(f"{part}: median error of unseen batches {timed.error:.1%}; {rates}")


def say_errors(rows):
    for what, of in (("ratios", "ratio"), ("times", "s")):
        pairs = [(row[f"predicted_{of}"], row[f"measured_{of}"]) for row in rows if f"measured_{of}" in row]
        errors = np.abs([predicted / measured - 1 for predicted, measured in pairs])
        print(f"{what}: median {np.median(errors):.0%}, 90 % {np.quantile(errors, 0.9):.0%}, worst {errors.max():.0%}")


def main():
    args = options()
    problems = minimath_problems("test").problems
    record = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {"engines": []}
    name = NAMES[args.engine]
    if args.generator and not args.prm.startswith(args.engine):
        name += f", rewards by {args.prm}"
    if args.label:
        name += f", {args.label}"
    note = (
        f"{args.searches} searches a cell (half at width 256), or as many as are in flight; of the times that it "
        f"was run, each with its own calibration, the one with the median error. {in_words(machine())}."
    )
    made = {"name": name, "note": note, "cells": []}
    if args.more:
        (made,) = (one for one in record["engines"] if one["name"] == name)
    made.setdefault("calibrations", [])
    if args.generator:
        asked = {args.generator: [tuple(map(int, cell.split("x"))) for cell in args.cells.split(",")]}
    else:
        asked = {embedded(blocks): [cell[:2] for cell in CELLS if cell[2] == blocks] for blocks in (ENOUGH, SMALL)}
    for generator, cells in asked.items():
        rows, tables = measure_all(generator, cells, args, problems)
        made["cells"] += rows
        made["calibrations"] += tables
    say_errors(made["cells"])
    named = {one["name"]: one for one in record["engines"]} | {name: made}  # each in the place that it had
    record["engines"] = list(named.values())
    if not args.generator:
        record["speed"] = speed()
    args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
