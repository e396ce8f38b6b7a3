"""A generator and a reward model of the miniature world without a model: to try strategies quickly, and for tests."""

import hashlib
import random
from collections.abc import Sequence
from typing import Final

from etsearch.minimath import language, world
from etsearch.minimath.checker import read_step, right_steps

ERROR_RATE: Final = 0.2
"""Share of the steps in which the scripted policy gets its sum wrong."""


def write_step(so_far: str, rng: random.Random) -> str:
    """The next step of a solution: a needed quantity, from the values as written so far, now and then wrong."""
    question, _, solution = so_far.removeprefix("Q: ").partition("\n")
    problem = world.parse(question)
    values = {f.name: f.amount for f in problem.facts if not f.operands}
    for line in solution.splitlines():
        if said := read_step(line):
            values[said.fact.name] = said.result
    if problem.target in values:
        return language.fill(language.ANSWER, v=values[problem.target])
    ready = [f for f in problem.needed if f.name not in values and all(o in values for o in f.operands)]
    fact = rng.choice(ready)
    right = fact.value(values) or 1
    result = max(1, right + rng.choice((-1, 1, 2))) if rng.random() < ERROR_RATE else right
    return world.step_text(fact, values, result, rng) + "\n"


def reward_of(question: str, steps: Sequence[str]) -> float:
    """A reward near 0.8 for a right prefix of steps, near 0.3 for a wrong one, always the same for the same text."""
    is_right = right_steps(world.parse(question), steps)[-1]
    digest = hashlib.blake2b(f"{question}{''.join(steps)}".encode(), digest_size=4).digest()
    noise = int.from_bytes(digest, "big") / 2**32 - 0.5
    return (0.8 if is_right else 0.3) + 0.35 * noise
