"""What every generator must do; see ``etsearch.generators.Generator``."""

import asyncio
from typing import Any

import pytest

from etsearch.answers import extract
from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.generators.base import ReadsConversations
from etsearch.testing.case import Case
from etsearch.types import FinishReason, GenerateRequest, Message

_MOST_STEPS = 40
_LONGEST_STEP = 200


async def request(generator: Generator, case: Case, **changes: Any) -> GenerateRequest:
    """A request for three continuations of a problem, with some values changed."""
    prefix = tuple(await generator.encode_prompt(case.problem.question))
    stop = (generator.format.step_delimiter,)
    values = {"prefix": prefix, "num_continuations": 3, "max_tokens": _LONGEST_STEP, "stop": stop, "seed": 5}
    return GenerateRequest(**{**values, **changes})


async def says_what_it_is(generator: Generator, case: Case) -> None:
    """An identity with a name and an engine, always the same, without an address."""
    del case
    identity = generator.identity
    assert identity.name
    assert identity.engine
    assert identity == generator.identity
    assert "http" not in str(identity)


async def gives_what_was_asked_for(generator: Generator, case: Case) -> None:
    """As many continuations as were asked for, each a step that keeps its delimiter."""
    asked = await request(generator, case)
    continuations = await generator.generate(asked)
    assert len(continuations) == asked.num_continuations
    for continuation in continuations:
        assert continuation.token_ids
        if continuation.finish_reason is FinishReason.STEP:
            assert continuation.text.endswith(asked.stop)


async def keeps_its_seed(generator: Generator, case: Case) -> None:
    """The same request gives the same continuations (an engine's arithmetic may move a draw), another seed others.

    Skipped, with the reason, for a server that says that it obeys no seeds: see ``RemoteGenerator.obeys_seeds``.
    """
    if getattr(generator, "obeys_seeds", True) is False:
        told = generator.identity
        pytest.skip(
            f"the seeds of {told.name} on {told.engine} do not hold: its server was started without obeying them"
        )
    first = await generator.generate(await request(generator, case, num_continuations=8))
    again = await generator.generate(await request(generator, case, num_continuations=8))
    other = await generator.generate(await request(generator, case, num_continuations=8, seed=6))
    assert sum(a.token_ids == b.token_ids for a, b in zip(first, again, strict=True)) >= 7
    assert [c.text for c in other] != [c.text for c in first]


async def obeys_the_token_limit(generator: Generator, case: Case) -> None:
    """No continuation is longer than the limit, and one that reached it says so."""
    for continuation in await generator.generate(await request(generator, case, max_tokens=4)):
        assert 0 < len(continuation.token_ids) <= 4
        assert continuation.finish_reason is FinishReason.LENGTH


async def goes_on_where_a_step_ended(generator: Generator, case: Case) -> None:
    """Steps lead to an answer, or to an end: token ids of a prefix are understood as they were given."""
    prefix = await generator.encode_prompt(case.problem.question)
    texts: list[str] = []
    for _ in range(_MOST_STEPS):
        (step,) = await generator.generate(await request(generator, case, prefix=tuple(prefix), num_continuations=1))
        prefix = [*prefix, *step.token_ids]
        texts.append(step.text)
        if step.finish_reason is not FinishReason.STEP or extract(step.text) is not None:
            return
    raise AssertionError(f"after {_MOST_STEPS} steps the solution has not ended: {''.join(texts)!r}")


async def serves_many_at_once(generator: Generator, case: Case) -> None:
    """Requests of several searches may be in flight together."""
    asked = [await request(generator, case, seed=seed) for seed in range(8)]
    answers = await asyncio.gather(*(generator.generate(one) for one in asked))
    assert [len(answer) for answer in answers] == [one.num_continuations for one in asked]


async def reads_a_conversation_or_says_not(generator: Generator, case: Case) -> None:
    """What was said before a question is part of the prompt; a model that reads one question alone says so."""
    said = (Message("user", case.problem.question), Message("assistant", "The answer is 3."))
    if not isinstance(generator, ReadsConversations):
        return
    try:
        ids = await generator.encode_conversation(said, case.problem.question)
    except ConfigError:
        return
    assert ids == await generator.encode_conversation(said, case.problem.question)
    assert ids != await generator.encode_conversation(said[:1], case.problem.question)
    assert ids != await generator.encode_prompt(case.problem.question)


async def tells_its_figures(generator: Generator, case: Case) -> None:
    """Shares lie in [0, 1], counts are not negative; what it cannot tell is None."""
    await generator.generate(await request(generator, case))
    stats = await generator.stats()
    assert stats.cache_use is None or 0 <= stats.cache_use <= 1
    counts = (stats.cache_capacity_tokens, stats.num_running, stats.num_waiting, stats.num_preemptions)
    assert all(count is None or count >= 0 for count in counts)


async def can_be_closed_twice(generator: Generator, case: Case) -> None:
    """The second time does nothing."""
    del case
    await generator.aclose()
    await generator.aclose()


GENERATOR_CHECKS = (
    says_what_it_is,
    gives_what_was_asked_for,
    keeps_its_seed,
    obeys_the_token_limit,
    goes_on_where_a_step_ended,
    serves_many_at_once,
    reads_a_conversation_or_says_not,
    tells_its_figures,
    can_be_closed_twice,
)
