"""What a request asks for. Every field of the API is honoured, or refused by its name."""

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from etsearch.boundary.numbers import LARGEST_SEED, MOST_TOKENS, shown
from etsearch.errors import ConfigError
from etsearch.loop.settings import SearchSettings, group_settings
from etsearch.serving.config import LOWERED_ONLY, Profile
from etsearch.serving.trouble import ApiError, refuse
from etsearch.types import Message, Problem, Role

MOST_MESSAGES: Final = 1000
"""Messages of a conversation."""

_ROLES: Final[dict[str, Role]] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
"""Roles of the API, and what they are to a model."""
_ONE_WAY: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "stop": (None, []),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none"),
    "parallel_tool_calls": (None,),
    "response_format": (None, {"type": "text"}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "verbosity": (None,),
    "web_search_options": (None,),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "prompt_cache_key": (None,),
    "prompt_cache_retention": (None,),
}
"""Fields that a search cannot honour but in one way: the values of them that ask for nothing else."""
_WHY: Final = {
    "n": "a search gives one answer; its votes are in the 'etsearch' object",
    "stop": "steps end where the profile's format says, and a search ends by itself",
    "tools": "a search writes text and calls no tools",
    "functions": "a search writes text and calls no functions",
    "response_format": "a search writes plain text",
    "logprobs": "an answer is voted, and has no probability of its own",
    "reasoning_effort": "how much is thought is the width: set it in 'etsearch'",
    "store": "answers are kept only with 'background': true",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class _Body(BaseModel):
    """The fields that are honoured; those of ``_ONE_WAY`` are looked at before."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    user: Annotated[str, Field(max_length=512)] | None = None
    safety_identifier: Annotated[str, Field(max_length=512)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    background: bool = False
    etsearch: dict[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """A request that can be served.

    Attributes:
        model: the profile's name.
        problem: what is asked, the conversation before it included.
        settings: of the search.
        stream, include_usage: how it is to be answered.
        background: whether it goes on without its client.
        labels: what the client wants to find again with it: ``user``, ``metadata``.
        body: the request as it came, with the seed that was drawn for it: it asks for the same again.
    """

    model: str
    problem: Problem
    settings: SearchSettings
    body: dict[str, Any]
    stream: bool = False
    include_usage: bool = False
    background: bool = False
    labels: dict[str, Any] | None = None


def read(body: Any, profiles: dict[str, Profile]) -> Asked:
    """What the body of a request asks for.

    Raises:
        ApiError: a field that is unknown, of another type, out of its range, or that a search cannot honour; it names
            the field.
    """
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is {shown(body)}; it must be a JSON object", code="invalid_body")
    rest = _without_one_way(body)
    try:
        asked = _Body(**rest)
    except ValidationError as error:
        raise _refusal(error) from None
    profile = profiles.get(asked.model)
    if profile is None:
        known = ", ".join(profiles)
        message = f"there is no model {shown(asked.model)}; those there are: {known}"
        raise ApiError(404, message, param="model", code="model_not_found")
    if asked.stream_options is not None and not asked.stream:
        raise refuse("stream_options", "stream_options goes with 'stream': true alone")
    if asked.background and asked.stream:
        raise refuse("background", "a search in the background is fetched by its id; it cannot be streamed")
    settings = _settings(asked, profile)
    labels = {"user": asked.user, "safety_identifier": asked.safety_identifier, "metadata": asked.metadata}
    return Asked(
        asked.model,
        _problem(asked.messages),
        settings,
        {**body, "seed": settings.seed},
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
        background=asked.background,
        labels={key: value for key, value in labels.items() if value is not None},
    )


def _without_one_way(body: dict[str, Any]) -> dict[str, Any]:
    """The fields but for those that can ask for one thing only, and do."""
    rest = {}
    for name, value in body.items():
        if not isinstance(name, str) or name not in _ONE_WAY:
            rest[name] = value
            continue
        if not any(value == fine and type(value) is type(fine) for fine in _ONE_WAY[name]):
            why = _WHY.get(name, "a search does not have it")
            raise refuse(name, f"{name} is {shown(value)}, which is not supported: {why}")
    return {str(name): value for name, value in rest.items()}


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return refuse(place, f"there is no field {shown(place)}", "unknown_parameter")
    if first["type"] == "missing":
        return refuse(place, f"the field {place!r} is missing", "missing_required_parameter")
    return refuse(place, f"{place} is {shown(first['input'])}: {first['msg']}", "invalid_value")


def _problem(messages: list[_Message]) -> Problem:
    for number, message in enumerate(messages):
        if message.role not in _ROLES:
            raise refuse(
                f"messages.{number}.role",
                f"the role is {shown(message.role)}; choose {', '.join(_ROLES)}",
                "invalid_value",
            )
        if message.refusal is not None:
            raise refuse(f"messages.{number}.refusal", "a search reads no refusals")
        if message.content is None:
            raise refuse(f"messages.{number}.content", "the content is missing", "missing_required_parameter")
    *before, last = messages
    if last.role != "user":
        raise refuse("messages", f"the last message is the {last.role}'s; it must be the user's question")
    if not last.text.strip():
        raise refuse("messages", "the question is empty", "invalid_value")
    try:
        return Problem(last.text, messages=tuple(Message(_ROLES[m.role], m.text) for m in before))
    except ConfigError as error:
        raise refuse("messages", str(error), "invalid_value") from None


def _settings(asked: _Body, profile: Profile) -> SearchSettings:
    own = profile.search
    values: dict[str, Any] = {"seed": secrets.randbits(31) if asked.seed is None else asked.seed}
    values |= {k: v for k in ("temperature", "top_p") if (v := getattr(asked, k)) is not None}
    for name in ("max_tokens", "max_completion_tokens"):
        if (most := getattr(asked, name)) is not None:
            values["max_tokens"] = min(most, values.get("max_tokens", own.limits.max_tokens))
    for name, value in (asked.etsearch or {}).items():
        place = f"etsearch.{name}"
        if name not in profile.allow:
            allowed = ", ".join(profile.allow) or "none"
            raise refuse(place, f"this model does not allow to set {shown(name)}; it allows: {allowed}")
        most = profile.widest if name == "width" else getattr(own.limits, name, None) if name in LOWERED_ONLY else None
        if most is not None and isinstance(value, int | float) and value > most:
            raise refuse(place, f"{name} is {shown(value)}; this model allows {most} at most", "invalid_value")
        if most is not None and value is None:
            raise refuse(place, f"{name} is null; this model allows {most} at most", "invalid_value")
        values[name] = value
    try:
        return own.with_values(group_settings(values))
    except ConfigError as error:
        raise refuse("etsearch", str(error), "invalid_value") from None
