"""A scripted world for tests: exact searches without a model."""

import random
from collections.abc import Callable

from etsearch import Problem, SearchResult
from etsearch.embedders.lexical import LexicalEmbedder
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.strategies import STRATEGIES

PROBLEM = Problem("Count to the end.", answer="7")
NUM_STEPS = 3


def write(so_far: str, rng: random.Random) -> str:
    """Three steps, each a random letter, then the answer: the number of steps that are an 'a', plus four."""
    lines = so_far.splitlines()[1:]
    if len(lines) < NUM_STEPS:
        return f"take {rng.choice('aab')}\n"
    return f"The answer is {4 + sum(line.endswith('a') for line in lines)}."


def reward_of(question: str, steps) -> float:
    """The share of the steps that are no 'b'."""
    del question
    return 1 - sum("take b" in step for step in steps) / (NUM_STEPS + 1)


async def run(
    strategy: str = "ets",
    width: int = 8,
    *,
    write: Callable[[str, random.Random], str] = write,
    reward_of: Callable[..., float] = reward_of,
    problem: Problem = PROBLEM,
    on_event=None,
    generator: ScriptedGenerator | None = None,
    reward_model="scripted",
    embedder="lexical",
    resume=None,
    merge: bool = False,
    early_stop: bool = False,
    share=None,
    **settings,
) -> SearchResult:
    """The search as its paper has it: every draw by itself, to the very end, unless it is told otherwise."""
    return await run_search(
        problem,
        generator=generator or ScriptedGenerator(write),
        reward_model=ScriptedRewardModel(reward_of) if reward_model == "scripted" else reward_model,
        strategy=STRATEGIES.create(strategy),
        settings=SearchSettings(width, merge=merge, early_stop=early_stop, **settings),
        embedder=LexicalEmbedder() if embedder == "lexical" else embedder,
        on_event=on_event,
        resume=resume,
        share=share,
    )
