"""What every family is tried with, by every route."""

import asyncio

import pytest

from etsearch.prms.families import FAMILIES, PrmFamily
from etsearch.types import Step, Trajectory

QUESTION = "There are 3 cups and 4 pens. How many things are there?"
TOLERANCE = 1e-4
CASES = {
    "one step": ["So 3 + 4 = 7."],
    "many steps": [f"Then {i} * {i} = {i * i}.\n" for i in range(1, 9)] + ["The answer is 7."],
    "numbered steps": ["Step 1: 3 + 4 = 7.\n", "Step 2: that is it.\n"],
    "a newline within a step": ["a first line\nand a second\n\n", "b"],
    "a step with tags": ["this holds ки, + and - and <extra_0> and Yes inside", "and goes on"],
    "a step with a tag at its end": ["this ends with + and <extra_0>", "and goes on"],
    "a long step": ["x" * 300, "y"],
    "a short one": ["1"],
}
GENERIC = {"template": "Problem: {question}\n", "tag": "<|eot_id|>", "good": "+", "bad": "-"}


def row(family):
    """The row of a family; ``label`` is one that a user would write."""
    return FAMILIES.get(family) or PrmFamily(name="label", **GENERIC)


def tiny_families():
    return [*FAMILIES, "label"]


def trajectory(steps):
    return Trajectory(QUESTION, tuple(map(Step, steps)))


async def check(model, reference, report, route):
    """All cases one by one, then all at once, then the last step alone: equal to the reference within the tolerance."""
    wanted = {name: reference.rewards(QUESTION, steps) for name, steps in CASES.items()}
    spread = [r for rewards in wanted.values() for r in rewards]
    assert max(spread) - min(spread) > 0.2, "the model tells nothing apart"
    try:
        single = {name: (await model.score(trajectory(steps), 0)).rewards for name, steps in CASES.items()}
        batch = await asyncio.gather(*(model.score(trajectory(steps), 0) for steps in CASES.values()))
        last = {name: (await model.score(trajectory(steps), len(steps) - 1)).rewards for name, steps in CASES.items()}
    finally:
        await model.aclose()
    worst = 0.0
    for (name, rewards), scores in zip(wanted.items(), batch, strict=True):
        assert single[name] == pytest.approx(rewards, abs=TOLERANCE), name
        assert scores.rewards == pytest.approx(rewards, abs=TOLERANCE), name
        assert last[name] == pytest.approx(rewards[-1:], abs=TOLERANCE), name
        pairs = [*zip(single[name], rewards, strict=True), *zip(scores.rewards, rewards, strict=True)]
        worst = max([worst, *(abs(a - b) for a, b in pairs)])
    report(route, reference.family, worst)
