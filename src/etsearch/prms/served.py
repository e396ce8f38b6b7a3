"""Reward models behind servers: which route each kind of server is asked by."""

from typing import Annotated, Any, Final, Literal

from pydantic import TypeAdapter

from etsearch.errors import BadResponseError, ConfigError
from etsearch.models.codec import Codec, TextCodec, local_codec
from etsearch.prms.families import Head, find_family
from etsearch.prms.remote import PrmOptions, RemoteRewardModel, Route
from etsearch.prms.routes import (
    VLLM_ROUTES,
    LlamaServerCompletion,
    OpenAiChat,
    OpenAiCompletions,
    SglangGenerate,
    VllmCompletions,
    VllmPooling,
)
from etsearch.servers.answers import Answer
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.conditions import Conditions
from etsearch.servers.facts import ServerFacts
from etsearch.servers.openai import openai_facts
from etsearch.servers.pool import Pool, pool_at
from etsearch.servers.sglang import DETOKENIZE, sglang_facts
from etsearch.servers.tokenizers import LlamaServerCodec, ServerCodec
from etsearch.servers.vllm import vllm_facts


class _Paths(Answer):
    """Of a server's description of its own routes."""

    paths: dict[str, Any]


_PATHS: Final = TypeAdapter(_Paths)
_OPTIONS: Final = PrmOptions()
_JUDGE: Final = PrmOptions(family="judge", max_batch=16)
_CONDITIONS: Final = Conditions()

VllmRoute = Literal["auto", "completions", "generative_scoring", "pooling"]


def vllm(
    address: Annotated[str, "http://HOST:PORT[/MODEL][,…]"],
    route: VllmRoute = "auto",
    options: PrmOptions = _OPTIONS,
    conditions: Conditions = _CONDITIONS,
) -> RemoteRewardModel:
    """A PRM on a vLLM server, or replicas.

    Args:
        address: of the server, or of replicas.
        options: how the PRM is read.
        conditions: how long it is waited for.
        route: ``auto`` takes ``/pooling`` where the server was started for it, else ``/v1/completions``.

    Raises:
        ConfigError: no replica answers, or they have no route for this family.
    """
    pool = pool_at(address, conditions)
    facts = pool.describe(vllm_facts)[0]
    if route == "auto":
        chosen: Route = VllmPooling() if pool.describe(_pools)[0] else VllmCompletions()
    else:
        chosen = VLLM_ROUTES[route]()
    family = find_family(options.family, facts.model, facts.local_folder)
    if isinstance(chosen, VllmCompletions) and family.head is not Head.LABELS:
        raise ConfigError(
            f"{family.name} ({family.head}) needs vLLM's /pooling, and {facts.model} was started to generate; start it "
            "with --runner pooling (docs/guides/prms.md)"
        )
    return _open(pool, chosen, options, facts, ServerCodec(pool, facts.model))


def sglang(
    address: Annotated[str, "http://HOST:PORT[,…]"],
    options: PrmOptions = _OPTIONS,
    conditions: Conditions = _CONDITIONS,
) -> RemoteRewardModel:
    """A label PRM on an SGLang server, or replicas.

    Raises:
        ConfigError: no replica answers, or the family needs more than labels.
    """
    pool = pool_at(address, conditions)
    facts = pool.describe(sglang_facts)[0]
    return _open(pool, SglangGenerate(), options, facts, ServerCodec(pool, facts.model, DETOKENIZE))


def openai(
    address: Annotated[str, "http://HOST:PORT[/v1/MODEL][,…]"],
    api: Literal["completions", "chat"] = "chat",
    options: PrmOptions = _JUDGE,
    conditions: Conditions = _CONDITIONS,
) -> RemoteRewardModel:
    """A label PRM on llama-server, or any model as a judge.

    Args:
        address: of the server, or of replicas.
        api: the route by which a judge is asked: chat, or plain completions.
        options: how the PRM is read.
        conditions: how long it is waited for.

    Raises:
        ConfigError: no replica answers.
    """
    pool = pool_at(address, conditions)
    facts = pool.describe(openai_facts)[0]
    if facts.engine.startswith("llama-server"):
        return _open(pool, LlamaServerCompletion(), options, facts, LlamaServerCodec(pool))
    route: Route = OpenAiChat() if api == "chat" else OpenAiCompletions()
    return _open(pool, route, options, facts, TextCodec(marks_turns=api == "chat"))


def _open(pool: Pool, route: Route, options: PrmOptions, facts: ServerFacts, server_codec: Codec) -> RemoteRewardModel:
    return RemoteRewardModel(
        pool,
        route,
        model=facts.model,
        engine=facts.engine,
        family=find_family(options.family, facts.model, facts.local_folder),
        codec=local_codec(options.tokenizer, facts.local_folder) or server_codec,
        folder=facts.local_folder,
        context_tokens=facts.context_tokens,
        max_batch=options.max_batch,
    )


def _pools(server: Server) -> bool:
    """Whether a vLLM server was started to pool; one that does not tell is taken to generate."""
    try:
        return "/pooling" in server.ask_now("/openapi.json", _PATHS).paths
    except (RefusedError, BadResponseError, ConfigError):
        return False
