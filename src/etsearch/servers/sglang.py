"""What SGLang's server says of itself (0.5.23)."""

from typing import Any, Final

from etsearch.errors import ConfigError
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts

DETOKENIZE: Final = {"skip_special_tokens": False}
"""What ``/detokenize`` must be told, so that the text of special tokens is given too."""


def sglang_facts(server: Server) -> ServerFacts:
    """What an SGLang server says of itself."""
    try:
        info, model = _either(server, "server_info"), _either(server, "model_info")
        served = server.send_now("/v1/models").json()["data"][0]
        version = info["version"]
    except (RefusedError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{server.address.base} is no SGLang server ({error}); try openai:{server.address.base}"
        ) from error
    name = str(served["id"])
    if server.address.model not in (None, name):
        raise ConfigError(f"{server.address.base} serves no model {server.address.model!r}; it serves {name}")
    return ServerFacts(
        engine=f"sglang {version}",
        model=name,
        folder=model.get("tokenizer_path") or model.get("model_path"),
        context_tokens=served.get("max_model_len"),
        cache_tokens=info.get("max_total_num_tokens"),
        has_prefix_cache=not info.get("disable_radix_cache", False),
        draws_by_seed=bool(info.get("enable_deterministic_inference", False)),
    )


def _either(server: Server, name: str) -> dict[str, Any]:
    """``/server_info`` was ``/get_server_info`` before, ``/model_info`` likewise."""
    try:
        return dict(server.send_now(f"/{name}").json())
    except RefusedError:
        return dict(server.send_now(f"/get_{name}").json())
