"""What vLLM's server says of itself and of its cache (0.32)."""

import re
from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter

from etsearch.errors import BadResponseError, ConfigError
from etsearch.servers.answers import MODELS, Answer
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts
from etsearch.servers.figures import read_figures, total
from etsearch.types import EngineStats

_PREFIX: Final = "vllm:"
_FIGURES: Final = tuple(
    _PREFIX + name
    for name in (
        "kv_cache_usage_perc",
        "num_requests_running",
        "num_requests_waiting",
        "cache_config_info",
    )
)

_COUNT: Final = re.compile(r"[0-9]{1,12}")


class _Version(Answer):
    version: str


_VERSION: Final = TypeAdapter(_Version)


def vllm_facts(server: Server) -> ServerFacts:
    """What a vLLM server says of itself, one that pools as well as one that generates."""
    wanted = server.address.model
    try:
        served = {model.id: model for model in server.ask_now("/v1/models", MODELS).data}
        version = server.ask_now("/version", _VERSION).version
        settings = _cache_settings([server.send_now("/metrics").text])
    except (RefusedError, BadResponseError) as error:
        raise ConfigError(
            f"{server.address.base} is no vLLM server ({error}); try openai:{server.address.base}"
        ) from error
    name = wanted or next(iter(served), None)
    if name not in served:
        raise ConfigError(f"{server.address.base} serves no model {name!r}; it serves {', '.join(served) or 'none'}")
    model = served[name]
    caching = settings[0].get("enable_prefix_caching") if settings else None
    return ServerFacts(
        engine=f"vllm {version}",
        model=name,
        folder=model.root,
        context_tokens=model.max_model_len,
        cache_tokens=sum(_cache_tokens(s) or 0 for s in settings) or None,
        has_prefix_cache=None if caching is None else caching == "True",
    )


def vllm_stats(texts: Sequence[str]) -> EngineStats:
    """The figures of vLLM servers now, from what they answered at ``/metrics``; the use of the cache is the mean."""
    servers = read_figures(texts, _FIGURES)
    use = [value for server in servers for _, value in server.get(f"{_PREFIX}kv_cache_usage_perc", ())]
    capacity = [_cache_tokens(settings) for settings in _cache_settings(texts)]
    return EngineStats(
        cache_use=sum(use) / len(use) if use else None,
        cache_capacity_tokens=sum(c or 0 for c in capacity) or None,
        block_tokens=_block_tokens(texts),
        num_running=total(servers, f"{_PREFIX}num_requests_running"),
        num_waiting=total(servers, f"{_PREFIX}num_requests_waiting"),
    )


def vllm_totals(text: str) -> dict[str, int]:
    """What one server has counted since it started, by the names that EngineStats has for it.

    A counter of Prometheus need not be in the text before it has counted for the first time: a server that tells of its
    requests, as every vLLM does, and of no preemptions has had none. Such a one without prefix caching tells no hits,
    and these stay unknown.
    """
    names = {
        "prefix_query_tokens": "prefix_cache_queries_total",
        "prefix_hit_tokens": "prefix_cache_hits_total",
        "num_preemptions": "num_preemptions_total",
    }
    running = f"{_PREFIX}num_requests_running"
    servers = read_figures([text], [running, *(_PREFIX + name for name in names.values())])
    found = {ours: total(servers, _PREFIX + theirs) for ours, theirs in names.items()}
    if found["num_preemptions"] is None and total(servers, running) is not None:
        found["num_preemptions"] = 0
    return {name: value for name, value in found.items() if value is not None}


def _cache_settings(texts: Sequence[str]) -> list[dict[str, str]]:
    """The settings of each engine's cache; a server may have several engines."""
    servers = read_figures(texts, [f"{_PREFIX}cache_config_info"])
    return [dict(labels) for server in servers for labels, _ in server.get(f"{_PREFIX}cache_config_info", ())]


def _block_tokens(texts: Sequence[str]) -> int | None:
    told = [settings.get("block_size", "None") for settings in _cache_settings(texts)]
    return max((int(size) for size in told if _COUNT.fullmatch(size)), default=None)


def _cache_tokens(settings: dict[str, str]) -> int | None:
    told = settings.get("kv_cache_size_tokens", "None")
    if _COUNT.fullmatch(told):
        return int(told)
    blocks, size = settings.get("num_gpu_blocks", "None"), settings.get("block_size", "None")
    return int(blocks) * int(size) if _COUNT.fullmatch(blocks) and _COUNT.fullmatch(size) else None
