"""What a gateway serves: a YAML file, or the options of ``ets serve``, checked as a whole before anything starts."""

import ipaddress
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from etsearch.boundary.numbers import LONGEST_S, MOST_TOKENS, MOST_WIDTH
from etsearch.boundary.plain import load_mapping
from etsearch.errors import ConfigError
from etsearch.loop.parts import can_go_without_rewards
from etsearch.loop.settings import SearchSettings, groups
from etsearch.registry import reason_of
from etsearch.sharing.market import LEAST_WIDTH, SMOOTHING_S
from etsearch.sharing.queue import MOST_OVERTAKEN
from etsearch.strategies import STRATEGIES

DEFAULT_STRATEGY: Final = "ets(lambda_b=1.75, leaves=steps, node_cost=tokens, inherit=true)"
"""REBASE's accuracy at its width for less where there is room; more is given back as the price rises."""
DEFAULT_ALLOWED: Final = ("width", "deadline_s", "max_generated_tokens")
"""What a request may set for itself, by default."""
LOWERED_ONLY: Final = ("deadline_s", "max_generated_tokens", "max_depth", "max_step_tokens", "max_tokens")
"""Limits of a profile, which a request may lower and not raise."""
DEFAULT_PORT: Final = 8000

_STRICT: Final = ConfigDict(extra="forbid", frozen=True)
_Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
_Seconds = Annotated[float, Field(ge=0, le=LONGEST_S)]
_Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]


def setting_names() -> tuple[str, ...]:
    """The settings of a search by single names, such as ``max_depth``."""
    own = [f.name for f in fields(SearchSettings) if f.name not in groups()]
    return (*own, *(f.name for group in groups().values() for f in fields(group)))


class Profile(BaseModel):
    """A model's name, and what answers under it.

    Attributes:
        description: for people.
        generator, prm, embedder: the parts; ``prm: none`` for best-of-N under a plain majority.
        strategy: chooses the branches.
        most_width: that a request may ask for; by default the profile's own.
        allow: settings that a request may set, in ``etsearch`` of its body. Limits may be lowered, not raised.
        search: the settings of its searches. In a file each of them is a key of its own: ``width``, ``limits`` …
    """

    model_config = _STRICT

    description: str = ""
    generator: str = "minimath"
    prm: str = "minimath"
    embedder: str = "lexical"
    strategy: str = DEFAULT_STRATEGY
    most_width: _Width | None = None
    allow: tuple[str, ...] = DEFAULT_ALLOWED
    search: SearchSettings = SearchSettings(width=64)

    @model_validator(mode="before")
    @classmethod
    def _settings_are_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or isinstance(values.get("search"), SearchSettings):
            return values
        if "search" in values:
            raise ConfigError("there is no key 'search'; the settings of a search are keys of their own, such as width")
        names = [f.name for f in fields(SearchSettings)]
        given = {key: values[key] for key in names if key in values}
        settings = SearchSettings.of({"width": 64, **given})
        return {**{k: v for k, v in values.items() if k not in given}, "search": settings}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        strategy = STRATEGIES.create(self.strategy)
        if self.prm == "none" and not can_go_without_rewards(strategy, self.search):
            raise ConfigError(f"{self.strategy!r} needs a reward model; without, only best_of_n under 'majority' goes")
        for name in self.allow:
            if name not in setting_names():
                raise ConfigError(f"allow names {name!r}, which is no setting; those are {', '.join(setting_names())}")
        if self.most_width is not None and self.most_width < self.search.width:
            raise ConfigError(f"most_width is {self.most_width}, below the width of {self.search.width}")
        return self

    @property
    def widest(self) -> int:
        """The largest width that a request may ask for."""
        return self.most_width or self.search.width

    def plain(self) -> dict[str, Any]:
        """Values for JSON, by which a job knows whether its profile is still the same."""
        return {**self.model_dump(mode="json", exclude={"search", "description"}), "search": self.search.plain()}


class MarketSettings(BaseModel):
    """How the searches of an engine share its cache; see ``etsearch.sharing.Market``.

    Attributes:
        cache_tokens: what it holds, 1 to 2^30; by default what the engine tells.
        block_tokens: tokens in a block of it; by default what the engine tells, or 1.
        order: who is next of those that wait, ``fair`` or ``short_first``.
        most_overtaken: how many later ones may be let in before one that waits.
        least_width: how narrow a search is made for the sake of others.
        most_running: searches that may hold something at once.
        smoothing_s: seconds in which the price makes two thirds of its way.
    """

    model_config = _STRICT

    cache_tokens: _Tokens | None = None
    block_tokens: _Tokens | None = None
    order: Literal["fair", "short_first"] = "fair"
    most_overtaken: Annotated[int, Field(ge=0, le=10**9)] = MOST_OVERTAKEN
    least_width: _Width = LEAST_WIDTH
    most_running: _Width = 64
    smoothing_s: _Seconds = SMOOTHING_S


class Config(BaseModel):
    """A gateway.

    Attributes:
        host, port: where it listens; port 0 is any that is free.
        keys: the file of keys; see ``keys``. Without one everybody may ask, which is refused but on loopback.
        open: whether everybody may ask on other addresses too.
        jobs: the SQLite file of searches in the background, and of those that were unfinished when it ended.
        keep_days: how long they are kept once they are over.
        most_open: searches under way or waiting; more are refused (429).
        most_body_kb: the largest body of a request.
        drain_s: how long searches under way are waited for when it is told to end.
        patience_s: how long a search waits for an engine that went away, from its last depth on.
        log_questions: whether questions and answers are in the log.
        market: how the searches of an engine share its cache.
        profiles: by the model name under which they are asked for.
    """

    model_config = _STRICT

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_PORT
    keys: str = ""
    open: bool = False
    jobs: str = "ets-jobs.sqlite"
    keep_days: Annotated[float, Field(gt=0, le=36500)] = 7
    most_open: Annotated[int, Field(ge=1, le=10**6)] = 256
    most_body_kb: Annotated[int, Field(ge=1, le=10**6)] = 1024
    drain_s: _Seconds = 30
    patience_s: _Seconds = 60
    log_questions: bool = False
    market: MarketSettings = MarketSettings()
    profiles: dict[Annotated[str, Field(min_length=1, max_length=200)], Profile]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.profiles:
            raise ConfigError("profiles is empty; give one at least")
        if not (self.keys or self.open or is_loopback(self.host)):
            raise ConfigError(
                f"host is {self.host}, where others can ask, and there are no keys; give a file of keys, "
                "or 'open: true' if everybody may ask"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file. Raises ConfigError, which names the first that cannot be used."""
        values = load_mapping(path, "the gateway's file", "'profiles: …'")
        return cls.of(values, f"the gateway's file {path}")

    @classmethod
    def of(cls, values: Mapping[str, Any], what: str = "the gateway") -> Self:
        """The gateway with these values. Raises ConfigError, which names the first that cannot be used."""
        if odd := [key for key in values if not isinstance(key, str)]:
            raise ConfigError(f"{what}: {odd[0]!r} is no key; keys are texts")
        try:
            return cls(**values)
        except ValidationError as error:
            raise ConfigError(f"{what}: {reason_of(error, known=list(cls.model_fields))}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
