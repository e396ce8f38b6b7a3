"""How accurate is each strategy on the miniature world, and what does it cost?

    python benchmarks/minimath.py --width 16 --problems 100

One line a search, written as it ends; what is there already is not run again. Width 1 gives the policy's pass@1.
The table is computed from the records: `--table` prints it without running anything.
"""

import argparse
import asyncio
import json
import statistics
from dataclasses import asdict
from pathlib import Path

import etsearch
from etsearch import answers, minimath
from etsearch.api import opened
from etsearch.strategies import STRATEGIES

DEFAULT = ("best_of_n", "beam", "beam(keep=4)", "dvts", "dvts(keep=4)", "rebase", "ets_kv", "ets")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="default: benchmarks/records/minimath.jsonl, or minimath-SPLIT.jsonl")
    parser.add_argument("--strategies", nargs="+", default=DEFAULT)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--split", default="test", choices=minimath.world.SPLITS, help="a record holds one split")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--table", action="store_true", help="print the table of the records and stop")
    options = parser.parse_args()
    name = "minimath" if options.split == "test" else f"minimath-{options.split}"
    options.out = options.out or Path("benchmarks/records") / f"{name}.jsonl"
    if not options.table:
        asyncio.run(run(options))
    print(table(read(options.out)))


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open()] if path.exists() else []


async def run(options: argparse.Namespace) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = {key(row) for row in read(options.out)}
    tasks = [
        {"strategy": strategy, "width": options.width, "problem": number, "seed": options.seed}
        for strategy in options.strategies
        for number in range(options.problems)
    ]
    waiting = iter([task for task in tasks if key(task) not in done])
    problems = list(minimath.world.problems(options.split, options.problems))
    async with opened("minimath", "minimath") as (generator, prm):

        async def work() -> None:
            for task in waiting:
                problem = problems[task["problem"]]
                result = await etsearch.search(
                    problem.question,
                    generator=generator,
                    prm=prm,
                    strategy=STRATEGIES.create(task["strategy"]),
                    width=task["width"],
                    seed=task["seed"],
                )
                is_right = result.answer is not None and answers.equivalent(result.answer, str(problem.answer))
                row = {**task, "level": problem.level, "right": is_right, "usage": asdict(result.usage)}
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")

        await asyncio.gather(*(work() for _ in range(options.concurrency)))


def key(row: dict) -> tuple:
    return row["strategy"], row["width"], row["problem"], row["seed"]


def table(rows: list[dict]) -> str:
    lines = ["| width | strategy | accuracy | KV tokens | shared | calls | tokens |", "|--:|---|--:|--:|--:|--:|--:|"]
    for width, strategy in dict.fromkeys((r["width"], r["strategy"]) for r in rows):
        chosen = [r for r in rows if (r["width"], r["strategy"]) == (width, strategy)]
        mean = {k: statistics.mean(r["usage"][k] for r in chosen) for k in chosen[0]["usage"] if k != "seconds"}
        cells = (
            f"{sum(r['right'] for r in chosen)}/{len(chosen)}",
            f"{mean['kv_tokens']:,.0f}",
            f"{mean['kv_tokens_unshared'] / mean['kv_tokens']:.2f}×",
            f"{mean['num_calls']:.0f}",
            f"{mean['generated_tokens']:,.0f}",
        )
        lines.append(f"| {width} | `{strategy}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
