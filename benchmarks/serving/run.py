"""Many searches that come when they come, on one engine with a small cache: who is let in, and how wide.

    python benchmarks/serving/run.py --json benchmarks/records/serving.json
    python benchmarks/serving/run.py --loads 1,2 --policies rebase,market --searches 20

Problems of minimath come at random moments (Poisson), the same problems at the same moments for every policy:

``rebase``  REBASE at width 64, so many at once as were fastest
``ets``     ETS at the one price and the number at once that were fastest
``all``     that ETS, everything admitted
``aimd``    that ETS, admitted by additive increase and multiplicative decrease on the cache's use (Concur's rule)
``market``  that ETS in the market of KV tokens (``etsearch.sharing``): what ``ets serve`` does
``narrow``  the market with a least width of 16 in place of 24
``free``    the market over ETS without a price of its own: REBASE's branches as long as there is room

The embedded engine's cache holds about four REBASE searches of width 64, at their fullest; another engine is asked for
with ``--generator`` and ``--prm`` (``make bench-serving-vllm``). Load 1 is what the fastest of REBASE and ETS can do
when all are there at once, which is measured first. A search that comes while ``--most-open`` are open is refused.
Every cell is written as soon as it is done, and the same command goes on from there.
"""

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from facts import machine
from serving.policies import AdditiveIncrease, Everything, Fixed, market

from etsearch.api import open_parts
from etsearch.evaluation.datasets import minimath_problems
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.watch import EngineWatch
from etsearch.strategies import STRATEGIES

REBASE = "rebase"
FREE = "ets(lambda_b=0, leaves=steps, node_cost=tokens, inherit=true)"


def ets_at(price):
    return f"ets(lambda_b={price}, leaves=steps, node_cost=tokens, inherit=true)"


@dataclass
class Cell:
    """What came of the searches of one policy at one load."""

    policy: str
    load: float
    strategy: str
    right: dict[str, bool] = field(default_factory=dict)
    latency_s: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    cache: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    kv_tokens: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    offered: int = 0
    refused: int = 0
    preemptions: int = 0
    seconds: float = 0.0
    notes: str = ""

    @property
    def per_hour(self):
        return 3600 * len(self.latency_s) / self.seconds

    def plain(self):
        ordered = sorted(self.latency_s)
        return {
            "policy": self.policy,
            "load": self.load,
            "strategy": self.strategy,
            "notes": self.notes,
            "searches": len(self.latency_s),
            "refused": self.refused,
            "offered": self.offered,
            "seconds": round(self.seconds, 2),
            "per_hour": round(self.per_hour, 1),
            "accuracy": sum(self.right.values()) / max(1, len(self.right)),
            "mean_latency_s": round(statistics.mean(ordered), 3),
            "p95_latency_s": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
            "mean_width": round(statistics.mean(self.widths), 2),
            "kv_tokens": round(statistics.mean(self.kv_tokens), 1),
            "generated_tokens": round(statistics.mean(self.tokens), 1),
            "mean_cache_use": round(statistics.mean(self.cache), 4) if self.cache else None,
            "peak_cache_use": round(max(self.peaks), 4) if self.peaks else None,
            "preemptions": self.preemptions,
            "right": self.right,
            "latencies_s": [round(s, 3) for s in self.latency_s],
        }


async def run_cell(args, policy_name, load, policy, strategy, arrivals, problems):
    """Searches that come at these moments, to the last one's end."""
    cell = Cell(policy_name, load, strategy)
    generator = args.generator.format(blocks=args.blocks)
    async with open_parts(generator, args.prm, STRATEGIES.create(strategy), "lexical") as parts:
        watch = EngineWatch(parts.generator, policy.observe)
        await search(problems[-1], parts, SearchSettings(width=8), watch=watch)  # warm
        stats = await parts.generator.stats()
        before = stats.num_preemptions or 0
        policy.observe(stats)
        began, num_open, last = time.monotonic(), 0, 0.0

        async def sample():
            while True:
                await asyncio.sleep(0.1)
                stats = await parts.generator.stats()
                policy.observe(stats)
                cell.cache.append(stats.cache_use or 0.0)

        async def one(number, problem, at):
            nonlocal num_open, last
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            if num_open >= args.most_open:
                cell.refused += 1
                return
            num_open += 1
            settings = SearchSettings(width=args.width, seed=number)
            result = await search(problem, parts, settings, watch=watch, share=policy.share())
            num_open -= 1
            last = time.monotonic()
            cell.latency_s.append(last - began - at)
            cell.right[problem.id or str(number)] = result.answer == problem.answer
            cell.widths.append(statistics.mean(depth.num_sampled for depth in result.depths))
            cell.kv_tokens.append(result.usage.kv_tokens)
            cell.tokens.append(result.usage.generated_tokens)
            if result.engine.peak_cache_tokens:
                cell.peaks.append(result.engine.peak_cache_tokens / result.engine.cache_capacity_tokens)

        cell.offered = len(problems)
        sampling = asyncio.create_task(sample())
        gc.collect()
        await asyncio.gather(*(one(i, p, at) for i, (p, at) in enumerate(zip(problems, arrivals, strict=True))))
        sampling.cancel()
        cell.seconds = last - began
        cell.preemptions = ((await parts.generator.stats()).num_preemptions or 0) - before
    return cell


def arrivals_at(rate, count, seed):
    """Moments in seconds: the same draws at every rate, nearer to one another as it rises."""
    rng, now, moments = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(1.0) / rate
        moments.append(now)
    return moments


class Record:
    """The file, cell by cell."""

    def __init__(self, path):
        self.path = path
        self.values = json.loads(path.read_text()) if path and path.exists() else {}

    def save(self, **values):
        self.values |= values
        if self.path:
            self.path.write_text(json.dumps(self.values, indent=1) + "\n")


def choose(args, record, problems):
    """Which number at once is fastest for REBASE, which price and number for ETS: all problems there at once."""
    if "chosen" in record.values:
        return record.values["chosen"]
    tried = []
    some = problems[: args.choosing]
    for strategy, price in [(REBASE, None), *((ets_at(price), price) for price in map(float, args.prices.split(",")))]:
        for most in map(int, args.at_once.split(",")):
            cell = asyncio.run(run_cell(args, "choosing", 0, Fixed(most), strategy, [0.0] * len(some), some))
            plain = cell.plain()
            tried.append({"strategy": strategy, "price": price, "at_once": most, **without_lists(plain)})
            print(
                f"{strategy} {most} at once: {plain['per_hour']:.0f} an hour, {plain['accuracy']:.2f} right", flush=True
            )
    best = {}
    for name, rows in (("rebase", [t for t in tried if t["price"] is None]), ("ets", [t for t in tried if t["price"]])):
        best[name] = max(rows, key=lambda row: row["per_hour"])
    record.save(machine=machine(*args.packages.split(",")), chosen=best, tried=tried)
    return best


def without_lists(plain):
    return {key: value for key, value in plain.items() if key not in ("right", "latencies_s")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--loads", default="0.4,0.8,1.2,1.6,2")
    parser.add_argument("--policies", default="rebase,ets,all,aimd,market,narrow")
    parser.add_argument("--searches", type=int, default=120)
    parser.add_argument("--choosing", type=int, default=32, help="searches for the choice of price and number at once")
    parser.add_argument("--prices", default="1.75,2.5,4", help="lambda_b to choose from")
    parser.add_argument("--at-once", default="2,4,8", help="numbers at once to choose from")
    parser.add_argument("--generator", default="minimath(num_kv_blocks={blocks})")
    parser.add_argument("--prm", default="minimath")
    parser.add_argument("--packages", default="openvino-genai,openvino", help="whose versions the record tells")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=560, help="of 32 tokens: the cache")
    parser.add_argument("--most-open", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    problems = list(minimath_problems("test").problems[: args.searches])
    record = Record(args.json)
    asked = {key: value for key, value in vars(args).items() if key != "json"}
    chosen = choose(args, record, problems)
    record.save(asked=asked, command=" ".join(["python", *sys.argv]))
    best_ets = chosen["ets"]
    saturated = max(chosen["rebase"]["per_hour"], best_ets["per_hour"]) / 3600
    policies = {
        "rebase": (lambda: Fixed(chosen["rebase"]["at_once"]), REBASE),
        "ets": (lambda: Fixed(best_ets["at_once"]), best_ets["strategy"]),
        "all": (Everything, best_ets["strategy"]),
        "aimd": (AdditiveIncrease, best_ets["strategy"]),
        "market": (market, best_ets["strategy"]),
        "narrow": (lambda: market(least_width=16), best_ets["strategy"]),
        "free": (market, FREE),
    }
    cells = record.values.get("cells", [])
    for load in map(float, args.loads.split(",")):
        arrivals = arrivals_at(load * saturated, len(problems), args.seed)
        for name in args.policies.split(","):
            if any(cell["policy"] == name and cell["load"] == load for cell in cells):
                continue
            make, strategy = policies[name]
            cell = asyncio.run(run_cell(args, name, load, make(), strategy, arrivals, problems)).plain()
            cells.append(cell)
            record.save(cells=cells)
            print(
                f"load {load} {name:8} {cell['per_hour']:7.0f} an hour {cell['accuracy']:.3f} right "
                f"mean {cell['mean_latency_s']:.2f} s p95 {cell['p95_latency_s']:.2f} s width {cell['mean_width']:.1f} "
                f"cache {cell['mean_cache_use']} refused {cell['refused']} preempted {cell['preemptions']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
