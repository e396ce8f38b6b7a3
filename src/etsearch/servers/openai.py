"""What a server with an OpenAI-compatible API says of itself, llama.cpp's among them."""

from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from etsearch.errors import BadResponseError, ConfigError
from etsearch.servers.answers import Answer, Positive, ServedModel
from etsearch.servers.client import RefusedError, Server
from etsearch.servers.facts import ServerFacts


class _Meta(Answer):
    n_ctx: Positive | None = None


class _Model(ServedModel):
    meta: _Meta | None = None


class _Models(Answer):
    data: Annotated[list[_Model], Field(min_length=1)]


class _Props(Answer):
    """What llama-server tells of itself."""

    build_info: str
    default_generation_settings: _Meta = _Meta()
    total_slots: Positive | None = None


_MODELS: Final = TypeAdapter(_Models)
_PROPS: Final = TypeAdapter(_Props)


def openai_facts(server: Server) -> ServerFacts:
    """What a compatible server says of itself: at least its models, if the address names none."""
    props = _props(server)
    named = server.address.model
    served: dict[str, _Model] = {}
    try:
        served = {model.id: model for model in server.ask_now("/v1/models", _MODELS).data}
    except (RefusedError, BadResponseError) as error:
        if named is None:
            raise ConfigError(
                f"{server.address.base} lists no models ({error}); name one: {server.address.base}/v1/MODEL"
            ) from error
    name = named or next(iter(served))
    entry = served.get(name) or _Model(id=name)
    if props:
        of_entry = entry.meta.n_ctx if entry.meta else None
        return ServerFacts(
            engine=f"llama-server {props.build_info}",
            model=name,
            context_tokens=props.default_generation_settings.n_ctx or of_entry,
            has_prefix_cache=True,
            num_slots=props.total_slots,
        )
    return ServerFacts(engine="an OpenAI-compatible server", model=name, context_tokens=entry.max_model_len)


def _props(server: Server) -> _Props | None:
    """What llama-server tells at ``/props``; nothing of any other."""
    try:
        return server.ask_now("/props", _PROPS)
    except (RefusedError, BadResponseError, ConfigError):  # a gateway may guard what it does not know
        return None
