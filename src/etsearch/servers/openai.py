"""What a server with an OpenAI-compatible API says of itself, llama.cpp's among them."""

from typing import Any

from etsearch.errors import ConfigError
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts


def openai_facts(server: Server) -> ServerFacts:
    """What a compatible server says of itself: at least its models, if the address names none."""
    props = _props(server)
    try:
        served: dict[str, Any] = {str(m["id"]): m for m in server.send_now("/v1/models").json()["data"]}
        model = server.address.model or next(iter(served))
    except (RefusedError, LookupError, TypeError, ValueError, StopIteration) as error:
        if isinstance(error, ConfigError):
            raise
        if server.address.model is None:
            raise ConfigError(
                f"{server.address.base} lists no models ({error!r}); name one: {server.address.base}/v1/MODEL"
            ) from error
        served, model = {}, server.address.model
    entry = served.get(model) or {}
    if props:
        context = props.get("default_generation_settings", {}).get("n_ctx") or (entry.get("meta") or {}).get("n_ctx")
        return ServerFacts(
            engine=f"llama-server {props['build_info']}",
            model=model,
            context_tokens=context,
            has_prefix_cache=True,
            num_slots=props.get("total_slots"),
        )
    return ServerFacts(engine="an OpenAI-compatible server", model=model, context_tokens=entry.get("max_model_len"))


def _props(server: Server) -> dict[str, Any]:
    """What llama-server tells at ``/props``; nothing of any other."""
    try:
        answer = server.send_now("/props").json()
    except (RefusedError, ValueError):  # a ConfigError, too: a gateway may guard what it does not know
        return {}
    return answer if isinstance(answer, dict) and "build_info" in answer else {}
