"""What a server with an OpenAI-compatible API says of itself, llama.cpp's among them."""

import json
from typing import Any

from etsearch.errors import ConfigError
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts


def openai_facts(server: Server) -> ServerFacts:
    """What a compatible server says of itself: at least its models, if the address names none."""
    props = _props(server)
    try:
        served = server.send_now("/v1/models").json()["data"]
    except (RefusedError, KeyError, json.JSONDecodeError) as error:
        if server.address.model is None:
            raise ConfigError(
                f"{server.address.base} does not list its models ({error}); name one: {server.address.base}/MODEL"
            ) from error
        served = []
    model = server.address.model or str(served[0]["id"])
    entry: dict[str, Any] = next((m for m in served if m["id"] == model), {})
    if props:
        meta, slots = entry.get("meta") or {}, int(props.get("total_slots") or 1)
        context = props.get("default_generation_settings", {}).get("n_ctx") or meta.get("n_ctx")
        return ServerFacts(
            engine=f"llama-server {props['build_info']}",
            model=model,
            context_tokens=context,
            cache_tokens=context * slots if context else None,
            has_prefix_cache=True,
        )
    return ServerFacts(engine="an OpenAI-compatible server", model=model, context_tokens=entry.get("max_model_len"))


def _props(server: Server) -> dict[str, Any]:
    """What llama-server tells at ``/props``; nothing of any other."""
    try:
        answer = server.send_now("/props").json()
    except (RefusedError, ValueError):
        return {}
    return answer if isinstance(answer, dict) and "build_info" in answer else {}
