"""The ETS paper's throughput on its own card, simulated; how the answer moves with the trees; and what lies beyond.

    python benchmarks/planner_paper.py --json benchmarks/records/planner-paper.json

Nothing is run on a GPU: trees are drawn (``etsearch.planning.world``), engine and card are simulated. Llemma-34B in
bfloat16, its PRM on a card of its own with a KV cache, width 256, draws not merged, no early stop, as in the paper.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from facts import machine

from etsearch.evaluation.run.recipe import Recipe
from etsearch.planning.hardware import find_card
from etsearch.planning.models import find_shape
from etsearch.planning.plan import Setup, drawn_trees, plan
from etsearch.planning.world import Assumptions

MODEL = "tkitsers/Llemma-metamath-34b"
ETS = {f"ets, {price:g}": f"ets(lambda_b={price:g}, balance_temperature=1)" for price in (1.0, 1.5, 2.0)}
RELEASED = "ets(balance_temperature=0.2, lambda_b=1, lambda_d=1.45, weights=sequential, rounding=released)"
PAPER = {"beam": "beam(keep=4)", "dvts": "dvts(keep=4)", "rebase": "rebase", **ETS, "ets, released": RELEASED}
SENSITIVITY = {
    "as assumed": {},
    "shorter steps": {"step_tokens": 20},
    "longer steps": {"step_tokens": 80},
    "fewer steps": {"steps": 6},
    "more steps": {"steps": 15},
    "draws rarely alike": {"same_idea": 0.1},
    "draws often alike": {"same_idea": 0.5},
    "a longer prompt": {"prompt_tokens": 1000},
    "rewards far apart": {"reward_sd": 2.0},
    "rewards alike": {"reward_sd": 0.4},
}


def grown(strategies, width, assumed, count, **search):
    entries = [{"strategy": text, "label": label, "search": search} for label, text in strategies.items()]
    recipe = Recipe.of({"name": "paper", "data": "minimath:test", "strategies": entries, "widths": [width]})
    return list(drawn_trees(recipe, assumed, count))


def figures(found, **more):
    return [{**arm.plain(), **more} for arm in found.arms]


def setup_of(card, **changes):
    return replace(Setup(find_card(card), find_shape(MODEL), find_shape(MODEL), engine="sglang"), **changes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--trees", type=int, default=8)
    parser.add_argument("--searches", type=int, default=48)
    parser.add_argument("--width", type=int, default=256)
    args = parser.parse_args()
    began, assumed, as_paper = time.monotonic(), Assumptions(), {"merge": False, "early_stop": False}
    record = {"machine": machine(), "asked": vars(args) | {"json": None}, "assumed": assumed.in_words()}

    def say(what):
        print(f"{time.monotonic() - began:6.0f} s  {what}", flush=True)

    trees = grown(PAPER, args.width, assumed, args.trees, **as_paper)
    say("trees of the paper's strategies")
    record["paper"] = figures(plan(trees, [setup_of("h100-nvl")], [4, 8, 16, 32], args.searches))
    say("the paper's table")
    chosen = {name: PAPER[name] for name in ("beam", "rebase", "ets, 2")}
    record["sensitivity"] = []
    for name, changes in SENSITIVITY.items():
        some = grown(chosen, args.width, replace(assumed, **changes), args.trees // 2, **as_paper)
        found = plan(some, [setup_of("h100-nvl")], [4, 8, 16], args.searches // 2)
        record["sensitivity"] += figures(found, assumption=name)
        say(f"sensitivity: {name}")
    best = {"rebase": "rebase", "together": "ets(lambda_b=1.75, leaves=steps, node_cost=tokens, inherit=true)"}
    merged = grown(best, args.width, assumed, args.trees, merge=True, early_stop=True)
    plain = [arm for arm in trees if arm.label in ("rebase", "ets, 2")]
    record["beyond"] = []
    for card in ("h100-nvl", "h200", "b200"):
        for kernel in (False, True):
            setup = setup_of(card, reads_shared_once=kernel)
            for name, some in (("as in the paper", plain), ("merged, stopped early", merged)):
                found = plan(some, [setup], [4, 8, 32], args.searches)
                record["beyond"] += figures(found, kernel="tree" if kernel else "paged", draws=name)
        say(f"beyond: {card}")
    record["users"] = []
    narrow = grown(best, 16, assumed, args.trees * 4, merge=True, early_stop=True)
    for users in (1, 10, 100, 1000):
        setup = setup_of("h200")
        record["users"] += figures(plan(narrow, [setup], [users], max(64, 2 * users)), users=users)
        say(f"{users} users")
    for rows in record.values():
        if isinstance(rows, list):
            print(
                len(rows), "rows;", f"problems an hour {np.median([row['per_hour'] for row in rows]):.0f} in the median"
            )
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
