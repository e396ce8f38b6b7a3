"""Whether the embedded engine continues the prefix that it was given: a step's log probability hangs on that alone.

    python benchmarks/prefix_cache.py expressions 64 12

Trees are grown four times at once from each problem, with four seeds. The same step after the same prefix must have the
same log probability in all of them, but for the last digits; where it has not, one of them read another prefix's KV.
"""

import argparse
import asyncio
from collections import Counter, defaultdict

from etsearch.evaluation.datasets import open_dataset
from etsearch.generators import GENERATORS
from etsearch.types import FinishReason, GenerateRequest

SEEDS, DEPTH, AT_ONCE = 4, 6, 4


async def grow(generator, prefix, width, seed, found, depth=0):
    """Continues a prefix, and each distinct continuation as often as it was drawn."""
    if depth == DEPTH:
        return
    drawn = await generator.generate(GenerateRequest(prefix, width, 100, ("\n",), seed))
    for one in drawn:
        found[prefix, one.token_ids].append(one.log_probability)
    going = Counter(one.token_ids for one in drawn if one.finish_reason is FinishReason.STEP)
    jobs = (
        grow(generator, (*prefix, *ids), count, 31 * seed + number, found, depth + 1)
        for number, (ids, count) in enumerate(going.items(), start=1)
    )
    await asyncio.gather(*jobs)


async def measure(world, width, num_problems, blocks):
    generator = GENERATORS.create(f"{world}(num_kv_blocks={blocks})")
    found, gate = defaultdict(list), asyncio.Semaphore(AT_ONCE)

    async def one(problem):
        async with gate:
            prompt = tuple(await generator.encode_prompt(problem.question))
            await asyncio.gather(*(grow(generator, prompt, width, seed + 1, found) for seed in range(SEEDS)))

    await asyncio.gather(*map(one, open_dataset(f"{world}:test").problems[:num_problems]))
    await generator.aclose()
    return [max(values) - min(values) for values in found.values() if len(values) > 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", choices=("minimath", "expressions"))
    parser.add_argument("width", type=int)
    parser.add_argument("problems", type=int)
    parser.add_argument("--blocks", type=int, default=20_000)
    args = parser.parse_args()
    apart = asyncio.run(measure(args.world, args.width, args.problems, args.blocks))
    print(
        f"{len(apart)} steps seen more than once; apart by more than 0.1: {sum(d > 0.1 for d in apart)}, by 1: ", end=""
    )
    print(f"{sum(d > 1 for d in apart)}; by {max(apart, default=0.0):.2g} at most")


if __name__ == "__main__":
    main()
