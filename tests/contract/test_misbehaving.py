"""Servers that answer what no server should: an error of ours, soon, or what is right all the same."""

import asyncio
import contextlib
import json
import time

import pytest

from etsearch.boundary.texts import is_readable
from etsearch.errors import ConfigError, EtsearchError
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from etsearch.registry import Registry
from etsearch.types import Continuation, Scores, Step, Trajectory
from tests.contract.conftest import SERVED_GENERATORS, SERVED_PRMS
from tests.contract.serving import PROBLEM, make_request
from tests.doubles import misbehaving, world
from tests.doubles.http import running

pytestmark = pytest.mark.slow
LONGEST_S = 5.0
"""What no request may take; a server here is waited for no longer than a tenth of a second."""
CONDITIONS = "connect_timeout_s=1, read_timeout_s=2, patience_s=0.05, max_answer_mb=1"
NUM_ODD = 110
NUM_ODD_FACTS = 25
STEPS = ("1 + 1 = 2 cups.\n", "2 + 1 = 3 cups.\n", "The answer is 3.")


def specification(choice, url, home):
    family = home / "family.yaml"
    family.write_text('template: "Q: {question}\\n"\ntag: "\\n"\ngood: "+"\nbad: "-"\n')
    text = choice.specification.format(url=url, row=home / "etsearch.json", family=family)
    name, _, argument = text.partition(":http")
    settings = f"{name[:-1]}, {CONDITIONS})" if name.endswith(")") else f"{name}({CONDITIONS})"
    return f"{settings}:http{argument}"


def told(wrong):
    return "\n".join([f"{len(wrong)} went wrong:", *wrong[:20]])


@contextlib.asynccontextmanager
async def served(registry, choice, tmp_path):
    home = world.folder(tmp_path / "model")
    with running(choice.make(home)) as double:
        part = registry.create(specification(choice, double.url, home))
        yield part, double
        await part.aclose()


async def try_all(double, paths, ask, check):
    """Asks once to see the answers, then once with each of them spoilt; says how many were, and what went wrong."""
    seen = {}
    double.spoil = lambda call, answer: seen.setdefault(call.path, answer)
    await ask(0)
    cases = [(path, name, raw) for path in paths for name, raw in misbehaving.raw_answers().items()]
    for path in paths:
        odd = misbehaving.odd_answers(json.loads(json.dumps(seen[path])), NUM_ODD)
        cases += [(path, name, misbehaving.as_raw(answer)) for name, answer in odd]
    wrong = []
    for number, (path, name, raw) in enumerate(cases, 1):
        double.spoil = lambda call, answer, path=path, raw=raw: raw if call.path == path else answer
        begun = time.monotonic()
        try:
            check(await asyncio.wait_for(ask(number), LONGEST_S))
        except EtsearchError as error:
            if not (str(error) and str(error).isprintable()):
                wrong.append(f"{path} {name}: the message is {str(error)!r}")
        except Exception as error:  # noqa: BLE001 - which is what is looked for
            wrong.append(f"{path} {name}: {type(error).__name__}: {error}")
        if time.monotonic() - begun > LONGEST_S:
            wrong.append(f"{path} {name}: too slow")
    return len(cases), wrong


@pytest.mark.parametrize("choice", SERVED_GENERATORS, ids=str)
async def test_a_generator_whose_server_misbehaves(choice, tmp_path, monkeypatch):
    monkeypatch.setattr("etsearch.servers.pool.FIRST_PAUSE_S", 0.001)

    def check(continuations):
        assert len(continuations) == 2
        for continuation in continuations:
            assert isinstance(continuation, Continuation)
            assert is_readable(continuation.text)
            assert all(isinstance(token, int) for token in continuation.token_ids)
            assert continuation.token_ids or not continuation.text

    async with served(GENERATORS, choice, tmp_path) as (generator, double):
        request = await make_request(generator)
        double.calls.clear()

        async def ask(_):
            return await generator.generate(request)

        await ask(0)
        count, wrong = await try_all(double, {call.path for call in double.calls}, ask, check)
        assert not wrong, told(wrong)
        assert count >= 100
        double.spoil = lambda call, answer: answer
        check(await ask(0))


@pytest.mark.parametrize("choice", SERVED_PRMS, ids=str)
async def test_a_prm_whose_server_misbehaves(choice, tmp_path, monkeypatch):
    monkeypatch.setattr("etsearch.servers.pool.FIRST_PAUSE_S", 0.001)

    def check(scores):
        assert isinstance(scores, Scores)
        assert len(scores.rewards) == len(STEPS)
        assert all(0 <= reward <= 1 for reward in scores.rewards)

    async with served(REWARD_MODELS, choice, tmp_path) as (reward_model, double):

        async def ask(number):  # each time another trajectory, since a reward is kept
            steps = (f"{number} + 0 = {number} cups.\n", *STEPS[1:])
            return await reward_model.score(Trajectory(PROBLEM.question, tuple(map(Step, steps))), 0)

        await ask(-1)
        paths = {call.path for call in double.calls if call.method == "POST" and "tokenize" not in call.path}
        count, wrong = await try_all(double, paths, ask, check)
        assert not wrong, told(wrong)
        assert count >= 100
        double.spoil = lambda call, answer: answer
        check(await ask(10**6))


@pytest.mark.parametrize(
    ("registry", "choice"),
    [*((GENERATORS, choice) for choice in SERVED_GENERATORS), *((REWARD_MODELS, choice) for choice in SERVED_PRMS)],
    ids=lambda one: one.kind if isinstance(one, Registry) else str(one),
)
def test_what_a_server_says_of_itself_may_be_anything(registry, choice, tmp_path):
    home = world.folder(tmp_path / "model")
    with running(choice.make(home)) as double:
        text = specification(choice, double.url, home)
        seen = {}
        double.spoil = lambda call, answer: seen.setdefault(call.path, answer)
        asyncio.run(registry.create(text).aclose())
        wrong = []
        for path, answer in seen.items():
            plain = json.loads(json.dumps(answer))
            odd = [(name, misbehaving.as_raw(a)) for name, a in misbehaving.odd_answers(plain, NUM_ODD_FACTS)]
            for name, raw in [*odd, *misbehaving.raw_answers().items()]:
                double.spoil = lambda call, answer, path=path, raw=raw: raw if call.path == path else answer
                begun = time.monotonic()
                try:
                    asyncio.run(registry.create(text).aclose())
                except ConfigError as error:
                    if not str(error).isprintable():
                        wrong.append(f"{path} {name}: the message is {str(error)!r}")
                except Exception as error:  # noqa: BLE001 - which is what is looked for
                    wrong.append(f"{path} {name}: {type(error).__name__}: {error}")
                if time.monotonic() - begun > LONGEST_S:
                    wrong.append(f"{path} {name}: too slow")
        assert not wrong, told(wrong)
