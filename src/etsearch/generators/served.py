"""Generators behind servers, by their addresses."""

from typing import Annotated, Final, Literal

from etsearch.generators.openai import OpenAiGenerator
from etsearch.generators.remote import RemoteOptions
from etsearch.generators.sglang import SglangGenerator
from etsearch.generators.vllm import VllmGenerator
from etsearch.servers.conditions import Conditions
from etsearch.servers.pool import pool_at

_OPTIONS: Final = RemoteOptions()
_CONDITIONS: Final = Conditions()


def vllm(
    address: Annotated[str, "http://HOST:PORT[/MODEL][,…]"],
    options: RemoteOptions = _OPTIONS,
    conditions: Conditions = _CONDITIONS,
) -> VllmGenerator:
    """A vLLM server, or replicas."""
    return VllmGenerator(pool_at(address, conditions), options)


def sglang(
    address: Annotated[str, "http://HOST:PORT[,…]"],
    options: RemoteOptions = _OPTIONS,
    conditions: Conditions = _CONDITIONS,
) -> SglangGenerator:
    """An SGLang server, or replicas."""
    return SglangGenerator(pool_at(address, conditions), options)


def openai(
    address: Annotated[str, "http://HOST:PORT[/v1/MODEL][,…]"],
    api: Literal["completions", "chat"] = "completions",
    format: str | None = None,  # noqa: A002 - what it is called everywhere
    conditions: Conditions = _CONDITIONS,
) -> OpenAiGenerator:
    """llama-server, or any server with an OpenAI-compatible API.

    Args:
        address: of the server, or of replicas.
        api: the route: plain completions, or chat.
        format: one by name (:data:`~etsearch.generators.formats.FORMATS`), or a JSON or YAML file.
        conditions: how long it is waited for.
    """
    return OpenAiGenerator(pool_at(address, conditions), RemoteOptions(format=format), api=api)
