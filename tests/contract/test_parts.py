"""One suite over all strategies, generators, reward models, embedders and data sets: the one that is there for anybody.

What only ours promise comes after it.
"""

import asyncio

import pytest

from etsearch import minimath
from etsearch.embedders import EMBEDDERS
from etsearch.errors import ConfigError, EngineError
from etsearch.evaluation.datasets import open_dataset
from etsearch.generators import GENERATORS
from etsearch.generators.scripted import ScriptedGenerator
from etsearch.loop import run_search
from etsearch.loop.settings import SearchSettings
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import STRATEGIES
from etsearch.testing import (
    CASE,
    DATASET_CHECKS,
    EMBEDDER_CHECKS,
    GENERATOR_CHECKS,
    REWARD_MODEL_CHECKS,
    STRATEGY_CHECKS,
)
from etsearch.types import FinishReason, GenerateRequest
from tests.contract.conftest import usable

PROBLEM = minimath.example(3)
STRATEGY_NAMES = [e.name for e in STRATEGIES.entries()]


def name(check):
    return check.__name__


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=name)
@pytest.mark.parametrize("strategy", [*STRATEGY_NAMES, "beam(shrink=true)", "dvts(shrink=true)", "ets(leaves=steps)"])
def test_strategy(strategy, check):
    check(STRATEGIES.create(strategy))


@pytest.mark.parametrize("check", GENERATOR_CHECKS, ids=name)
async def test_generator(generator, check):
    await check(generator, CASE)


@pytest.mark.parametrize("check", REWARD_MODEL_CHECKS, ids=name)
async def test_reward_model(reward_model, check):
    await check(reward_model, CASE)


@pytest.mark.parametrize("check", EMBEDDER_CHECKS, ids=name)
@pytest.mark.parametrize("part", list(usable(EMBEDDERS)))
async def test_embedder(part, check):
    embedder = EMBEDDERS.create(part)
    await check(embedder, CASE)
    await embedder.aclose()


@pytest.mark.parametrize("check", DATASET_CHECKS, ids=name)
def test_data_set(check):
    check(lambda: open_dataset("minimath:validation"))


@pytest.mark.parametrize("name", STRATEGY_NAMES)
async def test_every_strategy_solves_a_problem(name):
    result = await run_search(
        PROBLEM,
        generator=GENERATORS.create("scripted"),
        reward_model=REWARD_MODELS.create("scripted"),
        strategy=STRATEGIES.create(name),
        settings=SearchSettings(32, seed=1, early_stop=False),
        embedder=EMBEDDERS.create("lexical"),
    )
    assert result.answer == PROBLEM.answer
    if name == "adaptive_width":  # which gives back what it has no use for
        assert 4 <= len(result.trajectories) < 32
    else:
        assert len(result.trajectories) == 32


def test_models_in_process_say_which_files_they_are(generator):
    identity = generator.identity
    if identity.engine.startswith("openvino"):
        assert len(identity.sha256) == 64
        assert identity.num_parameters == 868_224


def test_a_reward_model_says_what_runs_it(reward_model):
    identity = reward_model.identity
    assert identity.engine
    if identity.engine.startswith("openvino"):
        assert len(identity.sha256) == 64
        assert identity.num_parameters == 868_224


async def make_request(generator, **changes):
    prefix = tuple(await generator.encode_prompt(PROBLEM.question))
    values = {"prefix": prefix, "num_continuations": 3, "max_tokens": 200, "stop": ("\n",), "seed": 5} | changes
    return GenerateRequest(**values)


async def spells(generator, continuation):
    """Whether the ids are those of the text."""
    if hasattr(generator, "codec"):
        return await asyncio.to_thread(generator.codec.decode_now, continuation.token_ids) == continuation.text
    return list(continuation.token_ids) == await generator.encode(continuation.text)


async def test_ids_spell_the_text(generator):
    for continuation in await generator.generate(await make_request(generator)):
        assert continuation.finish_reason is FinishReason.STEP
        assert continuation.text.endswith("\n")
        assert await spells(generator, continuation)


async def test_generator_reaches_the_token_limit(generator):
    for continuation in await generator.generate(await make_request(generator, max_tokens=4)):
        is_told = continuation.log_probability is not None or not hasattr(generator, "codec")
        assert len(continuation.token_ids) == 4 if is_told else 0 < len(continuation.token_ids) <= 4


@pytest.mark.parametrize("generator", list(usable(GENERATORS)), indirect=True)
async def test_generator_refuses_words_it_cannot_read(generator):
    with pytest.raises(ConfigError, match="does not know 'zebras'"):
        await generator.encode_prompt("There are 3 zebras. How many zebras are there?")


async def test_a_closed_generator_says_so():
    generator = ScriptedGenerator(lambda _s, _r: "x")
    await generator.aclose()
    await generator.aclose()
    with pytest.raises(EngineError, match="closed"):
        await generator.generate(await make_request(generator))


async def test_generator_writes_up_to_the_answer(generator):
    prefix = await generator.encode_prompt(PROBLEM.question)
    for _ in range(12):
        (step,) = await generator.generate(await make_request(generator, prefix=tuple(prefix), num_continuations=1))
        prefix = [*prefix, *step.token_ids]
        if step.finish_reason is not FinishReason.STEP or "answer is" in step.text:
            break
    assert "The answer is" in step.text


async def test_generator_refuses_a_request_that_makes_no_sense(generator):
    for change in ({"num_continuations": 0}, {"max_tokens": 0}, {"stop": ("",)}, {"prefix": ()}):
        if type(generator) is not ScriptedGenerator:
            with pytest.raises(ConfigError):
                await generator.generate(await make_request(generator, **change))
