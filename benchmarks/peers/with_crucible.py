"""crucible-ttc's beam search, given the engine as its PolicyModel and ProcessVerifier.

Both are synchronous, and the verifier is asked about one path at a time: a search waits for each score before it asks
for the next. Its runner takes problems one after the other; where several are in flight here, each has a thread.
"""

import asyncio

from crucible.config import PolicyConfig, RunConfig
from crucible.domain.types import Problem, Step
from crucible.search import get_strategy
from crucible.verify import MathOutcomeVerifier


class Policy:
    """Samples the continuations of a path in one request."""

    name = "etsearch"

    def __init__(self, door, loop):
        self._door, self._loop = door, loop

    def sample_step(self, problem, prefix, *, n, **_):
        steps = waited_for(self._door.write(problem.prompt, texts(prefix), n), self._loop)
        return [Step(step.text, step.num_tokens) for step in steps]


class Judge:
    """The rewards of all steps of a path."""

    name = "etsearch"

    def __init__(self, door, loop):
        self._door, self._loop = door, loop

    def score_steps(self, problem, prefix):
        return list(waited_for(self._door.rewards(problem.prompt, texts(prefix)), self._loop))


async def solve(parts, problem):
    """The completed trace with the highest reward, which is crucible's own choice."""
    loop, door, terms = asyncio.get_running_loop(), parts.door, parts.terms
    config = RunConfig(
        method="beam",
        beam_width=terms.keep,
        beam_expansions=terms.width // terms.keep,
        max_steps=terms.max_steps,
        prm_aggregate="last",
        policy=PolicyConfig(temperature=terms.sampling.temperature, max_tokens=terms.max_step_tokens),
    )
    trace = await loop.run_in_executor(
        parts.threads,
        get_strategy("beam").search,
        Problem(problem.id, problem.question),
        Policy(door, loop),
        MathOutcomeVerifier(),
        Judge(door, loop),
        config,
    )
    return "\n".join(texts(trace.steps))


def texts(steps):
    return tuple(step.text for step in steps)


def waited_for(coroutine, loop):
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
