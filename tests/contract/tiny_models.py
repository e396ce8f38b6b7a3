"""The shipped miniature models, loaded for tests, and requests to put to them."""

import numpy as np
import pytest

from etsearch import minimath
from etsearch.types import GenerateRequest, Sampling

QUESTION = minimath.example(3).question
STOP = (minimath.FORMAT.step_delimiter,)


def model_path(model):
    """The folder of a shipped model; skips where it or OpenVINO GenAI is missing."""
    pytest.importorskip("openvino_genai", reason="needs the extra 'local'")
    path = minimath.model_path(model)
    if not (path / "openvino_model.xml").exists():
        pytest.skip(f"{path} holds no model; training/ makes it")
    return path


async def request(
    generator, count=1, *, after=(), max_tokens=40, stop=STOP, seed=0, question=QUESTION, temperature=1.0
):
    """Asks for ``count`` continuations of a question's prompt and the ids after it."""
    prefix = (*await generator.encode_prompt(question), *after)
    return GenerateRequest(prefix, count, max_tokens, stop, seed, Sampling(temperature))


def ids_of(continuations):
    """What must be the same again; log probabilities move in the last digits with the batch."""
    return [c.token_ids for c in continuations]


def same_share(some, others):
    """The share of continuations that are the same: a draw can fall on the other side with the batch's last digits."""
    return np.mean([a == b for a, b in zip(ids_of(some), ids_of(others), strict=True)])


async def endless(generator, count=1, *, max_tokens=400, seed=0):
    """A request that runs for a while: at a temperature this high the model seldom ends."""
    return await request(generator, count, max_tokens=max_tokens, stop=(), seed=seed, temperature=50.0)
