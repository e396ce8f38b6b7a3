"""What SGLang's server says of itself (0.5.23)."""

from typing import Final, TypeVar

from pydantic import TypeAdapter

from etsearch.errors import BadResponseError, ConfigError
from etsearch.servers.answers import MODELS, Answer, Positive
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts

DETOKENIZE: Final = {"skip_special_tokens": False}
"""What ``/detokenize`` must be told, so that the text of special tokens is given too."""


class _ServerInfo(Answer):
    version: str
    max_total_num_tokens: Positive | None = None
    disable_radix_cache: bool | None = None
    enable_deterministic_inference: bool | None = None


class _ModelInfo(Answer):
    tokenizer_path: str | None = None
    model_path: str | None = None


T = TypeVar("T")
_SERVER_INFO: Final = TypeAdapter(_ServerInfo)
_MODEL_INFO: Final = TypeAdapter(_ModelInfo)


def sglang_facts(server: Server) -> ServerFacts:
    """What an SGLang server says of itself."""
    try:
        info, model = _either(server, "server_info", _SERVER_INFO), _either(server, "model_info", _MODEL_INFO)
        served = next(iter(server.ask_now("/v1/models", MODELS).data), None)
        if served is None:
            raise ConfigError(f"{server.address.base} serves no model")
    except (RefusedError, BadResponseError) as error:
        raise ConfigError(
            f"{server.address.base} is no SGLang server ({error}); try openai:{server.address.base}"
        ) from error
    name = served.id
    if server.address.model not in (None, name):
        raise ConfigError(f"{server.address.base} serves no model {server.address.model!r}; it serves {name}")
    return ServerFacts(
        engine=f"sglang {info.version}",
        model=name,
        folder=model.tokenizer_path or model.model_path,
        context_tokens=served.max_model_len,
        cache_tokens=info.max_total_num_tokens,
        has_prefix_cache=not info.disable_radix_cache,
        draws_by_seed=bool(info.enable_deterministic_inference),
    )


def _either(server: Server, name: str, answer: TypeAdapter[T]) -> T:
    """``/server_info`` was ``/get_server_info`` before, ``/model_info`` likewise."""
    try:
        return server.ask_now(f"/{name}", answer)
    except RefusedError:
        return server.ask_now(f"/get_{name}", answer)
