"""The parts that the contract suite goes through: in process, scripted, behind doubles of servers, and live by address.

A live server is named by the environment: ETSEARCH_LIVE_GENERATORS and ETSEARCH_LIVE_PRMS hold specifications with
semicolons between. They must serve the miniature models, whose problems the suite puts.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from etsearch import minimath
from etsearch.generators import GENERATORS
from etsearch.prms import REWARD_MODELS
from tests.doubles import world
from tests.doubles.http import running
from tests.doubles.openai import LlamaDouble, PlainDouble
from tests.doubles.sglang import SglangDouble
from tests.doubles.vllm import VllmDouble


@dataclass
class Served:
    """A part behind a double."""

    name: str
    make: Callable
    specification: str

    def __str__(self):
        return self.name


ROW = "{row}"
SERVED_GENERATORS = [
    Served("vllm-double", VllmDouble, "vllm:{url}"),
    Served("sglang-double", SglangDouble, "sglang:{url}"),
    Served("llama-double", lambda _: LlamaDouble(), "openai(format={row}):{url}"),
    Served("text-double", lambda _: PlainDouble(), "openai(format={row}):{url}"),
    Served("text-double-without-logprobs", lambda _: PlainDouble(logprobs=False), "openai(format={row}):{url}"),
    Served("chat-double", lambda _: PlainDouble(), "openai(api=chat, format={row}):{url}"),
]
SERVED_PRMS = [
    Served("vllm-completions", VllmDouble, "vllm(route=completions):{url}"),
    Served("vllm-generative-scoring", VllmDouble, "vllm(route=generative_scoring):{url}"),
    Served("vllm-pooling", lambda f: VllmDouble(f, pools=True), "vllm:{url}"),
    Served("sglang-generate", SglangDouble, "sglang:{url}"),
    Served("llama-completion", lambda _: LlamaDouble(), "openai(family={family}):{url}"),
    Served("text-completions", lambda _: PlainDouble(), "openai(family={family}, api=completions):{url}"),
    Served("chat-judge", lambda _: PlainDouble(), "openai:{url}"),
]


OTHERS = {
    "log_probability": "no text can be scored with it",
    "expressions": "it reads problems of its own world: test_expressions.py",
}
"""Parts that are not tried here, and why."""


def usable(registry):
    """The parts of a registry that can be made from their names alone."""
    for entry in registry.entries():
        if entry.argument is None and entry.name not in OTHERS:
            is_missing = pytest.mark.skipif(not entry.is_available, reason=f"needs the extra {entry.extra!r}")
            yield pytest.param(entry.name, marks=[is_missing, pytest.mark.model] if entry.extra else [])


def live(variable):
    """The parts that the environment names; one that skips loudly where it names none."""
    named = [text.strip() for text in os.environ.get(variable, "").split(";") if text.strip()]
    if not named:
        skips = pytest.mark.skip(reason=f"{variable} names no server")
        return [pytest.param(None, marks=[pytest.mark.live, skips], id=f"live-{variable}")]
    return [pytest.param(text, marks=pytest.mark.live, id=f"live-{text}") for text in named]


async def open_part(registry, choice, folder):
    """Yields the part that a parameter stands for."""
    if isinstance(choice, str):
        part = registry.create(choice)
        yield part
        await part.aclose()
        return
    home = world.folder(folder)
    family = home / "family.yaml"
    family.write_text('template: "Q: {question}\\n"\ntag: "\\n"\ngood: "+"\nbad: "-"\n')
    with running(choice.make(home)) as double:
        given = {"url": double.url, "row": home / "etsearch.json", "family": family}
        part = registry.create(choice.specification.format(**given))
        yield part
        await part.aclose()


@pytest.fixture(params=[*usable(GENERATORS), *SERVED_GENERATORS, *live("ETSEARCH_LIVE_GENERATORS")], ids=str)
async def generator(request, tmp_path):
    async for part in open_part(GENERATORS, request.param, tmp_path / "model"):
        yield part


@pytest.fixture(params=[*usable(REWARD_MODELS), *SERVED_PRMS, *live("ETSEARCH_LIVE_PRMS")], ids=str)
async def reward_model(request, tmp_path):
    async for part in open_part(REWARD_MODELS, request.param, tmp_path / "model"):
        yield part


@pytest.fixture
def problem():
    return minimath.example(3)


@pytest.fixture
def folder(tmp_path):
    """The folder of the doubles' model."""
    return world.folder(tmp_path / "model")


@pytest.fixture
def server(folder):
    """A double of vLLM."""
    with running(VllmDouble(folder)) as double:
        yield double


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Requests are sent again sooner than to a real server."""
    monkeypatch.setattr("etsearch.servers.pool.FIRST_PAUSE_S", 0.02)
