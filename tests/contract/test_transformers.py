"""The generator of transformers: its own draws, its parity with others, and its cache running full.

What it shares with the embedded engine is in ``test_engines``.
"""

import asyncio
import random

import pytest

from etsearch import minimath
from etsearch.errors import ConfigError, EngineError
from etsearch.types import GenerateRequest, Sampling
from tests.contract.tiny_models import STOP, endless, model_path, request, same_share

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def make(miniature):
    pytest.importorskip("transformers", reason="needs the extra 'transformers'")
    from etsearch.generators.transformers import TransformersGenerator

    return lambda **settings: TransformersGenerator(
        miniature["policy"], read_question=minimath.read_question, **settings
    )


@pytest.fixture
async def generator(make):
    made = make()
    yield made
    await made.aclose()


async def greedy_steps(generator, problem, stop=STOP):
    """The ids of a whole greedy solution, step by step, and the sum of its log probabilities."""
    after, total = (), 0.0
    for _ in range(12):
        ask = await request(generator, after=after, question=problem.question, temperature=0.0, stop=stop)
        (c,) = await generator.generate(ask)
        after, total = (*after, *c.token_ids), total + c.log_probability
        if c.finish_reason.value != "step":
            break
    return after, total


async def test_greedy_tokens_are_those_of_the_embedded_engine(generator):
    from etsearch.generators.openvino import OpenVinoGenerator

    embedded = OpenVinoGenerator(model_path("policy"), precision="f32", read_question=minimath.read_question)
    for problem in minimath.world.problems("test", 20):
        ours, log_probability = await greedy_steps(generator, problem)
        theirs, expected = await greedy_steps(embedded, problem)
        assert ours == theirs
        assert log_probability == pytest.approx(expected, abs=2e-2)  # the shipped weights are halves there
    await embedded.aclose()


@pytest.mark.parametrize("stop", [STOP, (".\n",)])
async def test_greedy_tokens_are_those_of_plain_generate(generator, miniature, stop):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(miniature["policy"], dtype=torch.float32)
    for problem in minimath.world.problems("test", 10):
        prompt = await generator.encode_prompt(problem.question)
        ours, log_probability = await greedy_steps(generator, problem, stop)
        with torch.no_grad():
            out = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=len(ours))
            logits = model(out[:, :-1]).logits[0, len(prompt) - 1 :].log_softmax(-1)
        assert out[0, len(prompt) :].tolist() == list(ours)
        expected = logits.gather(1, out[0, len(prompt) :, None]).sum()
        assert log_probability == pytest.approx(float(expected), abs=1e-3)


async def test_log_probabilities_are_the_models_own(generator):
    """Temperature and top-p move the draws, not what is told of them."""
    cold = Sampling(0.3, top_p=0.9)
    prefix = tuple(await generator.encode_prompt(minimath.example(3).question))
    told = {}
    for sampling in (Sampling(1.0), cold):
        ask = GenerateRequest(prefix, 64, 1, (), 1, sampling)
        told[sampling] = {c.token_ids: c.log_probability for c in await generator.generate(ask)}
    shared = told[cold].keys() & told[Sampling(1.0)].keys()
    assert shared
    assert all(told[cold][ids] == pytest.approx(told[Sampling(1.0)][ids], abs=1e-4) for ids in shared)


def test_a_draw_is_where_the_sum_of_the_probabilities_exceeds_its_share():
    import torch

    from etsearch.generators._transformers_batch import draw

    logits = torch.tensor([0.2, 0.0, 0.5, 0.3]).log().repeat(6, 1)
    shares = [0.0, 0.199, 0.2, 0.699, 0.7, 1 - 2**-53]
    assert draw(logits, [Sampling(1.0)] * 6, shares).tolist() == [0, 0, 2, 2, 3, 3]
    assert draw(logits, [Sampling(0.0)] * 6, shares).tolist() == [2] * 6
    nucleus = [Sampling(1.0, top_p=0.6)] * 6  # 0.5 and 0.3
    assert draw(logits, nucleus, shares).tolist() == [2, 2, 2, 3, 3, 3]
    mixed = [Sampling(0.0), Sampling(1.0), Sampling(1.0, top_p=0.5), Sampling(100.0), Sampling(0.01), Sampling(1.0)]
    assert draw(logits, mixed, [0.99, 0.1, 0.1, 0.1, 0.1, 0.999]).tolist() == [2, 0, 2, 0, 2, 3]


async def test_prefixes_are_computed_once(generator):
    """Of a step's continuations the first computes the prefix; the others find its full blocks."""
    ask = await request(generator, 16)
    before = await generator.stats()
    await generator.generate(ask)
    stats = await generator.stats()
    full = (len(ask.prefix) - 1) // 16 * 16
    assert stats.prefix_query_tokens - before.prefix_query_tokens == 16 * len(ask.prefix)
    assert stats.prefix_hit_tokens - before.prefix_hit_tokens >= 15 * full


@pytest.mark.parametrize(("tokens", "seed"), [(320, 0)])
async def test_hundreds_of_requests_in_a_small_cache(make, tokens, seed):
    """Sequences lose their place and go on; some are cancelled; nothing is lost, and a draw is no other for it."""
    rng, generator = random.Random(seed), make(cache_tokens=tokens)

    async def ask(number):
        count, most = rng.choice([1, 2, 16]), rng.choice([3, 40, 200])
        return await request(generator, count, max_tokens=most, stop=rng.choice([(), STOP, (".\n",)]), seed=number)

    async def put(asked):
        await asyncio.sleep(rng.random())
        return await generator.generate(asked)

    asked = [await ask(number) for number in range(60)] + [await endless(generator, 4, seed=i) for i in range(6)]
    tasks = [asyncio.create_task(put(one)) for one in asked]
    await asyncio.sleep(0.4)
    for task in tasks[:10]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    stats = await generator.stats()
    again = await generator.generate(asked[20])
    await generator.aclose()
    assert all(isinstance(a, asyncio.CancelledError) or len(a) for a in answers[:10])
    assert [len(a) for a in answers[10:]] == [one.num_continuations for one in asked[10:]]
    assert stats.num_preemptions > 0
    assert (stats.num_running, stats.num_waiting, stats.cache_use) == (0, 0, 0.0)
    assert same_share(answers[20], again) >= 0.7


async def test_nobody_waits_for_a_thread_that_has_failed(make, monkeypatch):
    generator = make()
    asked = [await request(generator, 4, seed=i) for i in range(3)]
    monkeypatch.setattr(generator._batch, "end_step", lambda rows: 1 / 0)
    answers = await asyncio.gather(*map(generator.generate, asked), return_exceptions=True)
    assert all(isinstance(a, EngineError) for a in answers)
    with pytest.raises(EngineError, match="make a new one"):
        await generator.generate(asked[0])
    await generator.aclose()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:77"}, "cannot compute on the device 'cuda:77'"),
        ({"device": "abacus"}, "cannot compute on the device 'abacus'"),
        ({"precision": "f32"}, "precision is 'f32'; choose one of float32, bfloat16, float16"),
        ({"cache_tokens": 2**30}, "there is no room for the KV cache"),
        ({"cache_tokens": 0}, "cache_tokens is 0"),
        ({"block_tokens": 3}, "block_tokens is 3"),
        ({"memory": 0}, "memory is 0"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0"),
    ],
)
def test_settings_that_cannot_be(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_models_that_are_not_there(tmp_path):
    from etsearch.embedders.sentence_transformers import SentenceTransformersEmbedder
    from etsearch.generators.transformers import TransformersGenerator
    from etsearch.prms.transformers import TransformersRewardModel

    for part in (TransformersGenerator, TransformersRewardModel):
        with pytest.raises(ConfigError, match=r"holds no config\.json"):
            part(tmp_path)
        with pytest.raises(ConfigError, match="nobody/nothing is no folder here, and the hub gives no such model"):
            part("nobody/nothing")
    for part in (TransformersRewardModel, SentenceTransformersEmbedder):
        with pytest.raises(ConfigError, match="cannot compute on the device 'cuda:77'"):
            part(str(tmp_path), device="cuda:77")


async def test_a_search_without_any_server(miniature):
    from etsearch import search

    parts = {"generator": f"transformers:{miniature['policy']}", "prm": f"transformers:{miniature['prm']}"}
    problem = minimath.example(3)
    result = await search(problem, **parts, strategy="ets", width=16)
    assert result.answer == problem.answer
    assert result.engine.prefix_hit_tokens > 0
    assert result.engine.peak_cache_tokens > 0
