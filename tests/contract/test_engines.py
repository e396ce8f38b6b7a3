"""The engines in this process, with the shipped miniature models: what all of them promise.

What only one of them does is in ``test_openvino`` and ``test_transformers``.
"""

import asyncio
import math
import random
from collections import Counter

import numpy as np
import pytest

from etsearch import minimath
from etsearch.errors import ConfigError, ContextLengthError, EngineError
from etsearch.generators.formats import FORMATS
from etsearch.loop.watch import EngineWatch
from etsearch.types import FinishReason, GenerateRequest, Sampling
from tests.contract.tiny_models import QUESTION, STOP, endless, model_path, request, same_share

NUM_TOKENS = len(minimath.language.vocabulary())


@pytest.fixture(
    scope="module",
    params=[pytest.param("openvino", marks=pytest.mark.model), pytest.param("transformers", marks=pytest.mark.vllm)],
)
def make(request):
    """Makes an engine; ``tokens`` is the size of its KV cache."""
    if request.param == "openvino":
        from etsearch.generators.openvino import OpenVinoGenerator

        folder = model_path("policy")

        def openvino(tokens=None, **settings):
            blocks = None if tokens is None else tokens // 32
            return OpenVinoGenerator(folder, num_kv_blocks=blocks, read_question=minimath.read_question, **settings)

        return openvino
    pytest.importorskip("transformers", reason="needs the extra 'transformers'")
    from etsearch.generators.transformers import TransformersGenerator

    folder = request.getfixturevalue("miniature")["policy"]

    def transformers(tokens=None, **settings):
        return TransformersGenerator(folder, cache_tokens=tokens, read_question=minimath.read_question, **settings)

    return transformers


@pytest.fixture(scope="module")
def shared(make):
    generator = make()
    yield generator
    asyncio.run(generator.aclose())


def spelt(generator, ids):
    (text,) = generator._decode([list(ids)])
    return text


async def test_a_format_is_taken_by_its_name(make):
    generator = make(format="math_shepherd")
    assert generator.format is FORMATS["math_shepherd"]
    prompt = spelt(generator, await generator.encode_prompt(QUESTION))
    assert prompt.endswith(minimath.read_question(QUESTION) + "\n")
    await generator.aclose()
    with pytest.raises(ConfigError, match="no format 'shepherd'; choose one of step_by_step"):
        make(format="shepherd")


async def test_a_step_keeps_its_delimiter_and_its_ids_spell_its_text(shared):
    continuations = await shared.generate(await request(shared, 32, seed=1))
    assert len(continuations) == 32
    assert {c.finish_reason for c in continuations} == {FinishReason.STEP}
    for c in continuations:
        assert c.text.endswith("\n")
        assert c.text.count("\n") == 1
        assert spelt(shared, c.token_ids) == c.text
        assert c.log_probability < 0


async def test_children_continue_their_parent_until_the_end(shared):
    written = ()
    for _ in range(12):
        (c,) = await shared.generate(await request(shared, after=written, temperature=0.0))
        written += c.token_ids
        if c.finish_reason is FinishReason.END:
            break
    (whole,) = await shared.generate(await request(shared, max_tokens=300, stop=(), temperature=0.0))
    assert whole.finish_reason is FinishReason.END
    assert whole.token_ids == written
    assert "<eos>" not in whole.text
    assert whole.text.splitlines()[-1].startswith("The answer is ")


async def test_the_token_limit(shared):
    for c in await shared.generate(await request(shared, 8, max_tokens=5, seed=1)):
        assert c.finish_reason is FinishReason.LENGTH
        assert len(c.token_ids) == 5


@pytest.mark.parametrize("stop", [(".\n",), ("are 1", ".\n"), (" = 1", "so 1", ".\n")])
async def test_a_delimiter_of_several_tokens_stays_whole(shared, stop):
    for c in await shared.generate(await request(shared, 24, stop=stop, seed=1)):
        but_last = spelt(shared, c.token_ids[:-1])
        assert c.finish_reason is FinishReason.STEP
        assert any(s in c.text for s in stop)
        assert not any(s in but_last for s in stop)
        assert spelt(shared, c.token_ids) == c.text


async def test_both_ways_of_stopping_give_the_same_greedy_step(shared):
    one, several = [await shared.generate(await request(shared, stop=s, temperature=0.0)) for s in (STOP, (".\n",))]
    assert same_share(one, several) == 1


async def test_a_seed_fixes_the_continuations_whatever_else_runs(shared):
    ask = await request(shared, 32, seed=5)
    alone = await shared.generate(ask)
    others = [shared.generate(await request(shared, 3, seed=i, max_tokens=20)) for i in range(20)]
    together, *_ = await asyncio.gather(shared.generate(ask), *others)
    assert same_share(together, alone) >= 0.8
    assert same_share(await shared.generate(await request(shared, 32, seed=6)), alone) < 0.5


@pytest.mark.parametrize("stop", [STOP, (".\n",)])
async def test_continuations_of_one_request_differ(shared, stop):
    continuations = await shared.generate(await request(shared, 32, stop=stop))
    assert len({c.text for c in continuations}) > 4


async def test_greedy_continuations_are_copies(shared):
    continuations = await shared.generate(await request(shared, 3, temperature=0.0))
    assert len(continuations) == 3
    assert len(set(continuations)) == 1


async def test_sampling_is_from_the_whole_distribution(shared):
    """The first token's frequencies fit its log probabilities, down to tokens far behind the fiftieth."""
    count = 2000
    continuations = await shared.generate(await request(shared, count, max_tokens=1, stop=()))
    seen = Counter(c.token_ids for c in continuations)
    probability = {c.token_ids: math.exp(c.log_probability) for c in continuations}
    assert sum(probability.values()) == pytest.approx(1, abs=0.05)
    expected = {ids: count * p for ids, p in probability.items() if count * p >= 5}
    chi_square = sum((seen[ids] - e) ** 2 / e for ids, e in expected.items())
    assert chi_square < len(expected) + 5 * math.sqrt(2 * len(expected))
    hot = await shared.generate(await request(shared, count, max_tokens=1, stop=(), temperature=100.0))
    assert len({c.token_ids for c in hot}) > 90  # of 99 tokens: no top-k of 50


async def test_top_p_cuts_the_tail(shared):
    ask = GenerateRequest(tuple(await shared.encode_prompt(QUESTION)), 500, 1, (), 1, Sampling(1.0, top_p=0.5))
    few = {c.token_ids: math.exp(c.log_probability) for c in await shared.generate(ask)}
    assert sum(few.values()) - min(few.values()) <= 0.5


async def test_many_callers_at_once(shared):
    asked = [await request(shared, 1 + i % 4, seed=i) for i in range(64)]
    answers = await asyncio.gather(*map(shared.generate, asked))
    assert [len(a) for a in answers] == [r.num_continuations for r in asked]
    alone = [await shared.generate(ask) for ask in asked]
    assert np.mean([same_share(many, one) for many, one in zip(answers, alone, strict=True)]) >= 0.7


def test_callers_on_several_event_loops(shared):
    ask = asyncio.run(request(shared, 16, seed=3))
    assert same_share(asyncio.run(shared.generate(ask)), asyncio.run(shared.generate(ask))) >= 0.8


async def test_more_continuations_than_a_step_computes(shared):
    count = 2049
    assert len(await shared.generate(await request(shared, count, max_tokens=2, stop=()))) == count


async def test_more_continuations_than_the_batch_holds(make):
    generator = make(max_num_seqs=16)
    continuations = await generator.generate(await request(generator, 50))
    assert len(continuations) == 50
    await generator.aclose()


@pytest.mark.parametrize("stop", [STOP, (".\n",)])
async def test_a_small_cache_loses_nothing(make, stop):
    """Smaller than one request: it is split, and the others wait."""
    generator = make(tokens=256)
    asked = [await request(generator, 6, seed=i, stop=stop) for i in range(1, 7)]
    async with EngineWatch(generator).search() as watched:
        answers = await asyncio.gather(*map(generator.generate, asked))
    stats = await generator.stats()
    await generator.aclose()
    assert [len(a) for a in answers] == [6] * 6
    assert all(c.text.endswith(stop) for a in answers for c in a)
    assert stats.cache_capacity_tokens == 256
    assert watched.figures.peak_cache_tokens >= 0.5 * 256


async def test_the_shortest_search_has_a_peak_of_its_own(make):
    generator = make()
    watch = EngineWatch(generator)
    async with watch.search() as wide:
        await generator.generate(await request(generator, 16))
    async with watch.search() as narrow:
        await generator.generate(await request(generator, 1, max_tokens=1))
    await generator.aclose()
    assert 0 < narrow.figures.peak_cache_tokens < wide.figures.peak_cache_tokens
    assert narrow.figures.num_preemptions == 0


async def test_a_cancelled_request_leaves_and_frees(make):
    generator = make()
    task = asyncio.create_task(generator.generate(await endless(generator, 32)))
    while not (await generator.stats()).num_running:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (c,) = await generator.generate(await request(generator))
    assert c.finish_reason is FinishReason.STEP
    stats = await generator.stats()
    assert (stats.num_running, stats.num_waiting, stats.cache_use) == (0, 0, 0.0)
    await generator.aclose()


async def test_closing_ends_what_is_in_flight(make, capfd):
    generator = make()
    asked = await request(generator)
    tasks = [asyncio.create_task(generator.generate(await endless(generator, 4, seed=i))) for i in range(8)]
    while (await generator.stats()).num_running < 8:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.001)
    await generator.aclose()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(a, EngineError) and "closed" in str(a) for a in answers)
    assert "leaked" not in capfd.readouterr().err
    await generator.aclose()
    with pytest.raises(EngineError, match="closed"):
        await generator.generate(asked)


async def test_figures(shared):
    async with EngineWatch(shared).search() as watched:
        await asyncio.gather(*[shared.generate(await request(shared, 16, seed=i)) for i in range(16)])
    stats, figures = await shared.stats(), watched.figures
    assert stats.cache_capacity_tokens >= 16_384
    assert 0 < figures.mean_cache_tokens <= figures.peak_cache_tokens < stats.cache_capacity_tokens
    assert (stats.cache_use, stats.num_running, stats.num_waiting) == (0.0, 0, 0)


async def test_a_prefix_beyond_the_context(shared):
    with pytest.raises(ContextLengthError, match="512"):
        await shared.generate(await request(shared, after=await shared.encode("\n" * 480)))


async def test_a_step_limit_beyond_the_context_is_lowered_to_it(shared):
    prompt = await shared.encode_prompt(QUESTION)
    after = await shared.encode("\n" * (500 - len(prompt)))
    for c in await shared.generate(await request(shared, 4, after=after, max_tokens=256, stop=())):
        assert 0 < len(c.token_ids) <= 12


@pytest.mark.parametrize(
    "change", [{"count": 0}, {"max_tokens": 0}, {"stop": ("",)}, {"after": (NUM_TOKENS,)}, {"temperature": -1.0}]
)
async def test_a_request_that_makes_no_sense(shared, change):
    with pytest.raises(ConfigError):
        await shared.generate(await request(shared, **change))


async def test_text_and_ids(shared):
    rng = random.Random(0)
    for problem in minimath.world.problems("test", 50):
        text = minimath.language.PROMPT.format(question=problem.question)
        assert await shared.encode(text) == await shared.encode_prompt(problem.question)
        steps = "".join(f"{s}\n" for s in minimath.world.solution(problem, rng))
        assert spelt(shared, await shared.encode(text + steps)) == text + steps
    assert await shared.encode("") == []
    with pytest.raises(ConfigError, match="zebras"):
        await shared.encode_prompt("There are 3 zebras. How many zebras are there?")
