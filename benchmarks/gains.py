"""What each gain beyond the paper is worth, on a few problems: the recipes of docs/results.md, shortened.

    python benchmarks/gains.py --json benchmarks/records/gains.json

REBASE and ETS as their papers have them beside this library's, alone and together: at width 64 with a cache that holds
everything, at width 256 with one of 4,096 tokens, one search alone with and without writing ahead. Settings run one
after the other, on the same problems. The whole recipes (``ets eval recipes/gains.yaml``) take most of an hour.
"""

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from facts import in_words, machine

from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.tables import gains
from etsearch.evaluation.run.recipe import Recipe
from etsearch.evaluation.run.runner import evaluate

RECIPES = Path(__file__).parent.parent / "recipes"
SHORTENED = {"gains": 2, "gains-256": 1, "speculation": 1}
"""Recipes, and how many times as many problems each gets."""


async def main():
    options = parse_options()
    facts = machine("openvino", "openvino-genai", "numpy")
    print(in_words(facts), end="\n\n")
    tables = []
    for name, factor in SHORTENED.items():
        table = await measure(name, factor * options.problems)
        tables.append({"recipe": name, **asdict(table)})
        print(table.markdown(), end="\n\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "tables": tables}, indent=2) + "\n")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=8, help="at width 256; twice as many at 64 (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser.parse_args()


async def measure(name, problems):
    """The table of a recipe's first problems."""
    with tempfile.TemporaryDirectory() as folder:
        changes = (f"limit={problems}", f"timed={problems}", f"out={folder}/{name}")
        recipe = Recipe.load(RECIPES / f"{name}.yaml", changes)
        await evaluate(recipe)
        return gains(Results.read([recipe.folder]))


if __name__ == "__main__":
    asyncio.run(main())
