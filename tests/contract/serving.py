"""Searches over the doubles of servers, for the suites beside."""

import contextlib

import etsearch
from etsearch import minimath
from etsearch.generators import GENERATORS
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.prms import REWARD_MODELS
from etsearch.prms.scripted import ScriptedRewardModel
from etsearch.strategies import STRATEGIES
from etsearch.types import GenerateRequest
from tests.doubles import world
from tests.doubles.http import running

PROBLEM = minimath.example(3)
QUICK = "connect_timeout_s=1, patience_s=5"


@contextlib.asynccontextmanager
async def open_part(registry, specification):
    part = registry.create(specification)
    try:
        yield part
    finally:
        await part.aclose()


async def make_request(generator, **changes):
    values = {"prefix": tuple(await generator.encode_prompt(PROBLEM.question)), "num_continuations": 2}
    values |= {"max_tokens": 300, "stop": ("\n",), "seed": 1}
    return GenerateRequest(**(values | changes))


def settings(width=8, seed=2, *, early_stop=False, **more):
    """To the very end: all that is asked for enters the tree."""
    return SearchSettings(width, seed=seed, early_stop=early_stop, **more)


async def search(generator, strategy="rebase", reward_model=None, *, early_stop=False, **more):
    return await run_search(
        PROBLEM,
        generator=generator,
        reward_model=reward_model or ScriptedRewardModel(world.reward_of),
        strategy=STRATEGIES.create(strategy),
        settings=settings(early_stop=early_stop),
        embedder=etsearch.embedders.LexicalEmbedder(),
        **more,
    )


async def search_over(folder, kind, name, strategy, **more):
    with running(kind(folder), kind(folder)) as (policy, prm):
        async with (
            open_part(GENERATORS, f"{name}:{policy.url}") as generator,
            open_part(REWARD_MODELS, f"{name}:{prm.url}") as reward_model,
        ):
            return await search(generator, strategy, reward_model, **more)


def shape(result):
    """What two searches must have in common to be the same."""
    tree = result.tree
    rewards = [f"{tree.reward(n):.9f}" for n in range(1, len(tree))]  # nan is unlike itself
    nodes = [(tree.parent_of(n), tree.continuation(n).text, rewards[n - 1]) for n in range(1, len(tree))]
    return result.answer, nodes, [(d.kv_tokens, d.widths) for d in result.depths]


def trajectory(*texts):
    return etsearch.types.Trajectory(PROBLEM.question, tuple(map(etsearch.types.Step, texts)))
